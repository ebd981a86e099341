"""Make a contact sheet of runs through a volume: boxes, the run as it grows, and what came of it, in a real viewer.

    python docs/make_run_frames.py                                              organs of the phantom
    python docs/make_run_frames.py VOLUME docs/torso_boxes.json -o SHEET.png    any volume and boxes

The boxes of that file are for `torso_ct`, a CT of a torso in voxels of 1.5 mm; their format is that of `napari-medsam
segment`. All boxes of one view and one "range" (first and last slice, both included; all slices when left out) are
followed together. The run is watched from another view, where it grows out of the line that the boxes are on.
Needs a display, as `make_screenshots.py` does. `--window` adds a picture of the window during the first run.
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
from make_screenshots import HERE, VIEWS, draw, look, open_viewer, save, settle
from PIL import Image, ImageDraw
from qtpy.QtWidgets import QApplication
from superqt import QCollapsible

from napari_medsam.phantom import ct_phantom

PHANTOM = (
    ("axial", {"liver": 30, "spleen": 30, "left kidney": 30}),
    ("coronal", {"right kidney": 103, "spleen": 103, "left kidney": 103}),
)
"""Slices on which the phantom's organs are boxed: those that end within it."""
WATCHED = {"axial": "coronal", "coronal": "axial", "sagittal": "axial"}
"""From where a run is watched: the rows of its slices lie along that view's axis."""
FOUND = (6, 14, 24)
"""A frame is taken when so many slices are found."""
FRAMES = 6
"""Of each run: its boxes, those, all that was written, and a slice of it."""
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


def framed(viewer: Any, text: str) -> Image.Image:
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
    frames = [framed(viewer, f"{view} slice {at}: the boxes")]
    stack, _ = volume.shown
    begun = time.monotonic()
    controller.attempt(volume.propagate)
    across = WATCHED[view]
    show(viewer, controller, across, crossed(entries))
    due = list(FOUND)
    while volume.growing.running:
        QApplication.processEvents()
        growth = volume.growing.growth
        if growth is not None and due and len(growth) >= due[0]:
            due.pop(0)
            frames.append(framed(viewer, f"{across} slice {crossed(entries)}: {len(growth)} slices found"))
            while window and not due:
                show(viewer, controller, view, at + 2)
                save(Image.fromarray(viewer.screenshot(canvas_only=False, flash=False)[..., :3]), window.pop())
                show(viewer, controller, across, crossed(entries))
    print(view, f"{time.monotonic() - begun:.1f} s", controller.status[0])
    name_them(controller, entries)
    settle(controller)
    frames.append(framed(viewer, f"{across} slice {crossed(entries)}: all, written"))
    for position in spread(controller, stack, FRAMES - len(frames)):
        show(viewer, controller, view, position)
        frames.append(framed(viewer, f"{view} slice {position}: written"))
    return frames


def show(viewer: Any, controller: Any, view: str, position: int) -> None:
    """Turn to a slice, without waiting for the run."""
    controller.turn(view)
    controller.volume.go(position)
    viewer.reset_view()
    for _ in range(10):
        QApplication.processEvents()


def crossed(entries: list[dict[str, Any]]) -> int:
    """The row that most of the boxes reach over, in the middle where there are several."""
    rows = np.concatenate([np.arange(entry["box"][0], entry["box"][2]) for entry in entries])
    reached = np.bincount(rows)
    return int(np.median(np.flatnonzero(reached == reached.max())))


def name_them(controller: Any, entries: list[dict[str, Any]]) -> None:
    """Give the new objects the names of their boxes."""
    work = controller.work
    for value, entry in zip(sorted(work.session.names)[-len(entries) :], entries, strict=True):
        work.session.rename(value, entry["name"])
    work.target.show_names()


def unfold(viewer: Any) -> None:
    """Open the 3D section of the dock."""
    for dock in viewer.window.dock_widgets.values():
        for fold in dock.findChildren(QCollapsible):
            if fold.text() == "3D":
                fold.expand(animate=False)


def spread(controller: Any, stack: Any, count: int) -> list[int]:
    """Slices of a stack that have something, evenly spaced."""
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


if __name__ == "__main__":
    main()
