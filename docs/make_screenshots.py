"""Make the pictures of the documentation: a real viewer, a real file, accepted masks in all three views.

    python docs/make_screenshots.py                                  README's picture, on the phantom
    python docs/make_screenshots.py VOLUME BOXES.json -o FOLDER      any volume; boxes as for `napari-medsam segment`
    python docs/make_screenshots.py --models                         the window of models, each state in it

Needs a display; without one, run it under `python dev.py exec --display -- python docs/make_screenshots.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import napari
import numpy as np
from PIL import Image
from qtpy.QtWidgets import QApplication

from napari_medsam.cli.segment import VIEWS, task_of_entry
from napari_medsam.phantom import ct_phantom
from napari_medsam.widgets.coordinates import to_viewer_world
from napari_medsam.widgets.dock import SegmentDock

HERE = Path(__file__).resolve().parent
PHANTOM = (
    ("axial", 30, ("liver", "spleen", "left kidney", "aorta")),
    ("coronal", 100, ("spleen", "left kidney")),
    ("sagittal", 132, ("left kidney",)),
)
LOOSE = 2


def phantom_entries() -> list[dict[str, Any]]:
    """Loose boxes around organs of the phantom."""
    _, truth, names = ct_phantom()
    value_of = {name: value for value, name in names.items()}
    entries = []
    for view, at, organs in PHANTOM:
        for name in organs:
            where = np.argwhere(truth.take(at, axis=VIEWS[view]) == value_of[name])
            box = [*(where.min(axis=0) - LOOSE).tolist(), *(where.max(axis=0) + 1 + LOOSE).tolist()]
            entries.append({"view": view, "slice": at, "box": box, "name": f"{name}, {view}"})
    return entries


def settle(controller: Any, seconds: float = 0.4) -> None:
    """Run the event loop for a while, and on until the lane is idle."""
    end = time.monotonic() + seconds
    while time.monotonic() < end or controller.proposals.engine.busy:
        QApplication.processEvents()
        time.sleep(0.005)


def open_viewer(path: str | None, theme: str, size: tuple[int, int]) -> tuple[Any, Any]:
    """A viewer with the dock open on a file, or on the phantom."""
    viewer = napari.Viewer(show_welcome_screen=False)
    viewer.theme = theme
    viewer.window._qt_window.resize(*size)
    if path is None:
        viewer.open_sample("napari-medsam", "ct_phantom")
    else:
        viewer.open(path, plugin="napari-medsam")
    _, dock = viewer.window.add_plugin_dock_widget("napari-medsam", "Prompt segmentation")
    settle(dock.controller)
    return viewer, dock.controller


def look(viewer: Any, controller: Any, entry: dict[str, Any]) -> Any:
    """Turn to the slice of a prompt entry."""
    task = task_of_entry(entry, controller.session.image, 1)
    controller.turn(entry.get("view", "axial"))
    index = task.plane.to_index([(0, 0)])[0]
    viewer.dims.point = tuple(to_viewer_world(viewer, controller.image, index)[0])
    viewer.reset_view()
    settle(controller, 0.2)
    return task


def draw(viewer: Any, controller: Any, entry: dict[str, Any]) -> None:
    """Draw the box of a prompt entry, which accepts the last one."""
    task = look(viewer, controller, entry)
    controller.draw("box")
    controller.proposals.layers.boxes.add_rectangles(task.plane.to_index(task.prompts.box.outline))
    settle(controller)
    controller.name_object(task.name)


def put_weights(folder: Path) -> None:
    """Files of the right names and sizes, and nothing in them, so that each state of a model is there."""
    sizes = {
        "sam_vit_b_01ec64.pth": 375042383,  # on disk
        "MedSAM2_latest.pt.part": 41_300_000,  # incomplete
        "sam2.1_hiera_tiny.pt": 1000,  # wrong
        "samed_h.pth": 21_700_000,  # its base is missing
    }
    folder.mkdir()
    for name, size in sizes.items():
        with (folder / name).open("wb") as file:
            file.truncate(size)


def picture_models(output: Path, theme: str) -> None:
    """The window of models on a machine that has a few of them, with a download that goes on."""
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        os.environ |= {name: str(home / name) for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "HF_HOME", "TORCH_HOME")}
        os.environ["NAPARI_MEDSAM_WEIGHTS"] = str(home / "weights")
        put_weights(home / "weights")
        viewer, controller = open_viewer(None, theme, (1280, 800))
        panel = next(dock.model for dock in viewer.window.dock_widgets.values() if isinstance(dock, SegmentDock))
        panel.open()
        settle(controller, 2.0)
        window: Any = panel.dialog
        window.resize(1080, 1170)
        item = next(item for item in window._lines() if item.text(0) == "MedSAM2")
        window.tree.setCurrentItem(item)
        window.set_places("~/weights", ("auto", "cuda:0", "cpu"), "auto", "auto")
        window.set_progress("MedSAM2: 41 MB of 156 MB", 41_300_000, 156_000_000)
        settle(controller)
        picture = window.grab().toImage()
        path = output / "models.png"
        picture.save(str(path))
        Image.open(path).convert("RGB").quantize(128, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
        print(path, f"{path.stat().st_size >> 10} kB")
        window.close()
        viewer.close()


def save(picture: Image.Image, path: Path) -> None:
    """In 256 colours, which keeps it small."""
    picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path, f"{path.stat().st_size >> 10} kB")


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volume", nargs="?")
    parser.add_argument("boxes", nargs="?")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "images")
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    parser.add_argument("--models", action="store_true", help="make the picture of the window of models instead")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.models:
        picture_models(options.output, options.theme)
        return
    entries = json.loads(Path(options.boxes).read_text()) if options.boxes else phantom_entries()
    viewer, controller = open_viewer(options.volume, options.theme, (1280, 800))
    stem = Path(options.volume).name.split(".")[0] if options.volume else "phantom"
    for view in VIEWS:
        mine = [entry for entry in entries if entry.get("view", "axial") == view]
        for entry in mine:
            draw(viewer, controller, entry)
        path = options.output / f"{stem}_{view}_{options.theme}.png"
        save(Image.fromarray(viewer.screenshot(canvas_only=False, flash=False)[..., :3]), path)
        controller.accept()
        settle(controller)
        data = np.asarray(controller.session.labels.layer.data)
        print({value: int(np.count_nonzero(data == value)) for value in controller.session.names})
    viewer.close()


if __name__ == "__main__":
    main()
