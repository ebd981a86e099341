"""Make a contact sheet of runs through a volume: boxes, the run as it grows, and what came of it, in a real viewer.

    python docs/make_run_frames.py                                  aorta, kidney and vertebra of the phantom
    python docs/make_run_frames.py VOLUME BOXES.json -o SHEET.png   any volume; boxes as for `napari-medsam segment`

All boxes of one view and one "range" (first and last slice, both included; all slices when left out) are followed
together. Needs a display, as `make_screenshots.py` does. `--window` adds a picture of the window during the first run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from make_screenshots import HERE, VIEWS, draw, look, open_viewer, settle
from PIL import Image, ImageDraw
from qtpy.QtWidgets import QApplication
from superqt import QCollapsible

from napari_medsam.phantom import ct_phantom

PHANTOM = (
    ("axial", {"aorta": 23, "left kidney": 23, "vertebra": 23}),
    ("coronal", {"aorta": 93, "left kidney": 108, "vertebra": 108}),
)
"""Slices on which the phantom's organs are boxed."""
FOUND = (4, 12, 24)
"""A frame is taken when so many slices are found."""
FRAMES = 6
"""Of each run: its boxes, those, and slices of what was written."""
SIZE = (280, 220)
LOOSE = 2


def phantom_entries() -> list[dict[str, Any]]:
    """Loose boxes around organs of the phantom."""
    _, truth, names = ct_phantom()
    value_of = {name: value for value, name in names.items()}
    entries = []
    for view, name, at in ((view, name, at) for view, organs in PHANTOM for name, at in organs.items()):
        where = np.argwhere(truth.take(at, axis=VIEWS[view]) == value_of[name])
        box = [*(where.min(axis=0) - LOOSE).tolist(), *(where.max(axis=0) + 1 + LOOSE).tolist()]
        entries.append({"view": view, "slice": at, "box": box, "name": name})
    return entries


def framed(viewer: Any, controller: Any, text: str) -> Image.Image:
    """What the canvas shows, with a line of text."""
    for _ in range(3):
        QApplication.processEvents()
    shown = Image.fromarray(viewer.screenshot(canvas_only=True, flash=False)[..., :3])
    scale = max(SIZE[0] / shown.width, SIZE[1] / shown.height)
    shown = shown.resize((round(shown.width * scale), round(shown.height * scale)), Image.Resampling.LANCZOS)
    left, top = (shown.width - SIZE[0]) // 2, (shown.height - SIZE[1]) // 2
    frame = shown.crop((left, top, left + SIZE[0], top + SIZE[1]))
    pen = ImageDraw.Draw(frame)
    pen.rectangle((0, SIZE[1] - 17, SIZE[0], SIZE[1]), fill="black")
    pen.text((6, SIZE[1] - 15), text, fill="white")
    return frame


def run(viewer: Any, controller: Any, entries: list[dict[str, Any]], window: list[Path]) -> list[Image.Image]:
    """Draw the boxes of one view, follow them, and picture it; the first time the whole `window` too."""
    volume = controller.volume
    volume.choose(replace(volume.options, collect=True))
    drawn = [{key: value for key, value in entry.items() if key != "range"} for entry in entries]
    look(viewer, controller, drawn[0])
    volume.set_range(*entries[0].get("range", (None, None)))
    for entry in drawn:
        draw(viewer, controller, entry)
    controller.name_object("")
    view, at = entries[0].get("view", "axial"), entries[-1]["slice"]
    frames = [framed(viewer, controller, f"{view}, slice {at}: boxes")]
    begun = time.monotonic()
    controller.attempt(volume.propagate)
    due = list(FOUND)
    while volume.growing.running:
        QApplication.processEvents()
        growth = volume.growing.growth
        if growth is not None and due and len(growth) >= due[0]:
            due.pop(0)
            newest = max((growth.positions[0], growth.positions[-1]), key=lambda p: abs(p - volume.shown[1]))
            volume.go(newest)
            frames.append(framed(viewer, controller, f"slice {newest}, {len(growth)} found"))
            while window and not due:
                save(Image.fromarray(viewer.screenshot(canvas_only=False, flash=False)[..., :3]), window.pop())
    seconds = time.monotonic() - begun
    print(view, f"{seconds:.1f} s", controller.status[0])
    work = controller.work
    for value, entry in zip(sorted(work.session.names)[-len(entries) :], entries, strict=True):
        work.session.rename(value, entry["name"])
    work.target.show_names()
    settle(controller)
    for position in spread(controller, FRAMES - len(frames)):
        volume.go(position)
        frames.append(framed(viewer, controller, f"slice {position}, written"))
    return frames


def unfold(viewer: Any) -> None:
    """Open the 3D section of the dock."""
    for dock in viewer.window.dock_widgets.values():
        for fold in dock.findChildren(QCollapsible):
            if fold.text() == "3D":
                fold.expand(animate=False)


def spread(controller: Any, count: int) -> list[int]:
    """Slices of the shown stack that have something, evenly spaced."""
    stack, _ = controller.volume.shown
    data = np.asarray(controller.work.target.layer.data)
    others = tuple(axis for axis in range(data.ndim) if axis != stack.axis)
    there = np.flatnonzero(data.any(axis=others))
    return [int(there[len(there) * (i + 1) // (count + 1)]) for i in range(count)]


def main() -> None:
    """Make the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volume", nargs="?")
    parser.add_argument("boxes", nargs="?")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "images" / "propagation.png")
    parser.add_argument("--window", type=Path, action="append", default=[], help="picture of the window")
    parser.add_argument("--model", default="contour", help="reference of the model")
    options = parser.parse_args()
    entries = json.loads(Path(options.boxes).read_text()) if options.boxes else phantom_entries()
    viewer, controller = open_viewer(options.volume, "dark", (1280, 800))
    controller.choose_model(options.model)
    unfold(viewer)
    settle(controller)
    rows = []
    for _, mine in itertools.groupby(entries, key=lambda e: (e.get("view", "axial"), e.get("range"))):
        rows.append(run(viewer, controller, list(mine), options.window))
        controller.undo()
    viewer.close()
    sheet = Image.new("RGB", (SIZE[0] * max(map(len, rows)), SIZE[1] * len(rows)))
    for y, row in enumerate(rows):
        for x, frame in enumerate(row):
            sheet.paste(frame, (x * SIZE[0], y * SIZE[1]))
    save(sheet, options.output)


def save(picture: Image.Image, path: Path) -> None:
    """In 256 colours, which keeps it small."""
    picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path, f"{path.stat().st_size >> 10} kB")


if __name__ == "__main__":
    main()
