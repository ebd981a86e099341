"""From a click to its mask on the screen, on a 512 x 512 slice of a volume of 300, beside what napari itself redraws.

    python benchmarks/click_to_mask.py [--prompts 200] [--json FILE]

Real mouse clicks go to a real canvas; a prompt ends when the window that shows its mask has been swapped in (Qt's
`frameSwapped`). The slice is encoded beforehand: the model is SAM's own prompt encoder and mask decoder for 1024
pixels with random weights, behind an encoder that costs nothing. `redraw` is, in the same run, one `refresh` of the
preview layer until it is on the screen: the part that is napari's and the graphics driver's. `commit` is an accepted
mask in labels of uint16, again until it is on the screen. Needs a display
(`xvfb-run -s "-screen 0 1600x1000x24" python benchmarks/click_to_mask.py`) and a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import napari
import numpy as np
from napari.layers import Layer, Points
from qtpy.QtCore import QEventLoop, QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_medsam.geometry import Plane
from napari_medsam.models.base import Embedding, Prediction
from napari_medsam.models.contour import Contour
from napari_medsam.phantom import ct_phantom
from napari_medsam.prompts import Prompts
from napari_medsam.widgets.coordinates import to_viewer_world
from napari_medsam.widgets.model_choice import ModelChoice

SHAPE = (300, 512, 512)
SAMM_CYCLE_MS = 612.0
"""From the request to the mask applied, with the embedding cached (Liu et al., SAMM, 2023, table 1)."""

Times = dict[str, list[float]]
PARTS = {
    "click": "napari takes the click and keeps the point",
    "to lane": "the point is read, and the model begins",
    "decode": "the model answers",
    "back": "the answer is on its way, taken and painted into the preview",
    "cycle": "from the click to the mask applied",
    "screen": "from the click to the mask on the screen",
    "redraw": "napari draws the preview again",
    "call": "accept: the mask is in the labels",
    "own": "the same without what napari takes to draw layers anew and to take the prompt off its layer",
    "commit": "accept: the labels are on the screen",
    "decode cpu": "processor's time of the model's thread",
    "gui cpu": "processor's time of the window's thread, from the click to the screen",
}


def sam_size(device: str) -> Any:
    """SAM's decoder at its real size with random weights, behind an encoder of one layer."""
    import torch
    from torch import nn

    from napari_medsam.models import registry
    from napari_medsam.models.compute import Compute
    from napari_medsam.models.frame_sam import SAM
    from napari_medsam.models.sam_network import Rule, SamNetwork, sam_heads
    from napari_medsam.models.sam_segmenter import SamSegmenter

    torch.manual_seed(0)
    encoder = nn.Conv2d(3, 256, kernel_size=16, stride=16)
    network = SamNetwork(encoder, sam_heads(1024, 64), Rule.SAM, Compute(device, "float32"))
    return SamSegmenter(registry.row("sam-vit-b").spec("random"), SAM, network)


class Watched:
    """A segmenter that notes when it decodes."""

    def __init__(self, model: Any, times: Times) -> None:
        self.model, self.spec, self.times = model, model.spec, times
        self.began = 0.0

    def encode(self, plane: Any) -> Embedding:
        """As the model."""
        return self.model.encode(plane)

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        """As the model."""
        self.began, own = time.perf_counter(), time.thread_time()
        found = self.model.decode(embedding, prompts)
        self.times["decode cpu"].append(1e3 * (time.thread_time() - own))
        self.times["decode"].append(1e3 * (time.perf_counter() - self.began))
        return found


class Inside:
    """How long calls of some methods took, each within another one counted once."""

    def __init__(self, *methods: tuple[type, str]) -> None:
        self.seconds = 0.0
        self._depth = 0
        for owner, name in methods:
            setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            self._depth += 1
            try:
                return method(*args, **options)
            finally:
                self._depth -= 1
                self.seconds += 0 if self._depth else time.perf_counter() - start

        return timed


class Bench:
    """A viewer with the dock on a big volume, and a clock on its canvas."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.times: Times = {}
        for name in PARTS:
            self.times[name] = []
        self.model = Watched(make(), self.times)
        self.napari = Inside((Layer, "refresh"), (Points, "remove"))
        ModelChoice.load = lambda choice, reference: self.model  # type: ignore[method-assign,assignment]
        image, _, _ = ct_phantom(SHAPE)
        self.viewer = napari.Viewer(show_welcome_screen=False)
        spacing, origin = image.grid.spacing, tuple(image.grid.affine[:3, 3])
        self.viewer.add_image(np.asarray(image.data), scale=spacing, translate=origin, units=("mm",) * 3)
        _, self.dock = self.viewer.window.add_plugin_dock_widget("napari-medsam", "Prompt segmentation")
        self.controller = self.dock.controller
        self.proposals = self.controller.proposals
        self.canvas = self.viewer.window._qt_viewer.canvas.native
        self.swapped = self.shown = 0.0
        self.canvas.frameSwapped.connect(self._on_swapped)
        self.proposals.changed.connect(self._on_changed)
        self.plane = Plane.across(0, 150)
        self.viewer.dims.point = tuple(to_viewer_world(self.viewer, self.controller.image, (150, 0, 0))[0])
        self.turn(1.0)

    def turn(self, seconds: float) -> None:
        """Run the event loop for a while."""
        loop = QEventLoop()
        QTimer.singleShot(round(1e3 * seconds), loop.quit)
        loop.exec()

    def until(self, true: Callable[[], bool]) -> None:
        """Run the event loop until something is true; it sleeps between events, as napari's does.

        A loop that only asks again and again would hold the interpreter, and the lane would wait for it.
        """
        while not true():
            QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)

    def until_swapped(self, since: float) -> None:
        """Until what was drawn after `since` is on the screen."""
        self.until(lambda: self.swapped > since)

    def prompt(self, number: int) -> None:
        """Click on a place of its own; every fourth click is a new object, the others refine it."""
        if number % 4 == 0:
            self.controller.clear()
            self.turn(0.1)
        row, column = 150 + 7 * (number % 30), 160 + 5 * (number % 40)
        at = self._canvas_at(row, column)
        QTest.mouseMove(self.canvas, at)
        self.turn(0.1)
        self.shown, asked, own = 0.0, time.perf_counter(), time.thread_time()
        QTest.mouseClick(self.canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, at)
        clicked = time.perf_counter()
        self.until(lambda: self.shown > 0)
        self.until_swapped(self.shown)
        self.times["gui cpu"].append(1e3 * (time.thread_time() - own))
        decoded = self.model.began + self.times["decode"][-1] / 1e3
        for name, start, end in (
            ("click", asked, clicked),
            ("to lane", clicked, self.model.began),
            ("back", decoded, self.shown),
            ("cycle", asked, self.shown),
            ("screen", asked, self.swapped),
        ):
            self.times[name].append(1e3 * (end - start))

    def redraw(self) -> None:
        """What napari takes to draw the preview again."""
        self.turn(0.1)
        start = time.perf_counter()
        self.proposals.preview.layer.refresh()
        self.until_swapped(start)
        self.times["redraw"].append(1e3 * (self.swapped - start))

    def commit(self) -> None:
        """Accept what is proposed."""
        self.turn(0.1)
        start, before = time.perf_counter(), self.napari.seconds
        self.controller.accept()
        done, drawn = time.perf_counter(), self.napari.seconds - before
        self.until_swapped(done)
        self.times["call"].append(1e3 * (done - start))
        self.times["own"].append(1e3 * (done - start - drawn))
        self.times["commit"].append(1e3 * (self.swapped - start))

    def close(self) -> None:
        """Close the viewer."""
        self.viewer.close()
        self.turn(0.5)

    def _canvas_at(self, row: int, column: int) -> QPoint:
        (world,) = to_viewer_world(self.viewer, self.controller.image, self.plane.to_index([(row, column)])[0])
        camera, size = self.viewer.scene.camera, self.canvas.size()
        y, x = camera.zoom * (world[-2:] - np.asarray(camera.center)[-2:])
        return QPoint(round(size.width() / 2 + x), round(size.height() / 2 + y))

    def _on_swapped(self) -> None:
        self.swapped = time.perf_counter()

    def _on_changed(self) -> None:
        drafts = self.controller.session.drafts.values()
        if not self.shown and drafts and not any(d.pending for d in drafts):
            self.shown = time.perf_counter()


def measure(make: Callable[[], Any], prompts: int) -> dict[str, dict[str, float]]:
    """The least, p50 and p95 in milliseconds of each part."""
    bench = Bench(make)
    bench.controller.draw("point")
    bench.turn(1.0)
    bench.prompt(1)
    bench.times.update({name: [] for name in bench.times})
    for number in range(prompts):
        bench.prompt(number)
        if number % 4 == 3:
            bench.redraw()
            bench.commit()
            bench.controller.undo()
            bench.controller.session.labels.highest()  # after an undo it is looked for anew, once
            bench.turn(0.1)
    bench.close()
    return {name: _told(values) for name, values in bench.times.items() if values}


def _told(values: list[float]) -> dict[str, float]:
    least, most = min(values), float(np.percentile(values, 95))
    return {"least": least, "p50": statistics.median(values), "p95": most, "n": len(values)}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--device", default="cpu", help="of SAM's decoder: cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, napari {napari.__version__}"
    print(f"{machine}; {SHAPE} int16; milliseconds")
    sam = partial(sam_size, options.device)
    rows = {"SAM's decoder": measure(sam, options.prompts), "contour": measure(Contour, options.prompts)}
    for title, parts in rows.items():
        print(f"\n{title}\n{'':10s} {'least':>7s} {'p50':>7s} {'p95':>7s} {'n':>5s}")
        for name, told in parts.items():
            print(
                f"{name:10s} {told['least']:7.1f} {told['p50']:7.1f} {told['p95']:7.1f} {told['n']:5.0f}  {PARTS[name]}"
            )
        print(f"a cycle of SAMM / of this: {SAMM_CYCLE_MS / parts['cycle']['p50']:.1f}")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
