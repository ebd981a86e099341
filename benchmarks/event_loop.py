"""How long the event loop stands still while a model works, and how long a drawn box takes to its preview.

    python benchmarks/event_loop.py [--json FILE]

A ticking timer runs in a real viewer on a 512 x 512 x 300 volume: with nothing asked, and with boxes drawn on slice
after slice for a model that answers at once, one that sleeps 0.5 s a slice, and the built-in contour. The gap between
ticks, less the timer's own interval, is the stall; the model that answers at once shows what napari itself takes to
draw. Needs a display (`python dev.py exec --display -- python benchmarks/event_loop.py`) and a quiet machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication

from napari_medsam.geometry import Plane
from napari_medsam.models.base import Embedding, Prediction
from napari_medsam.models.contour import Contour
from napari_medsam.phantom import ct_phantom
from napari_medsam.prompts import Box, Prompts
from napari_medsam.widgets.coordinates import to_viewer_world
from napari_medsam.widgets.model_choice import ModelChoice

SHAPE = (300, 512, 512)
TICK_MS = 2
PROMPTS = 40


class AtOnce(Contour):
    """Answers with the box itself."""

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        mask = np.zeros((1, *embedding.shape), dtype=bool)
        if prompts.box is not None:
            mask[0][prompts.box.slices] = True
        return Prediction(mask, np.ones(1))


class Sleeping(AtOnce):
    """The same, after a sleep of half a second a slice."""

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        time.sleep(0.5)
        return super().encode(plane)


def gaps_while(act: Callable[[], None]) -> list[float]:
    """Milliseconds between ticks, beyond the timer's own interval, while `act` runs."""
    ticks: list[float] = []
    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.setInterval(TICK_MS)
    timer.timeout.connect(lambda: ticks.append(time.perf_counter()))
    timer.start()
    act()
    timer.stop()
    return [max(1e3 * (b - a) - TICK_MS, 0.0) for a, b in itertools.pairwise(ticks)]


def turn_loop(seconds: float) -> None:
    """Run the event loop for a while."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()


def open_bench(load: Callable[[str], Any]) -> tuple[Any, Any]:
    ModelChoice.load = lambda self, reference: load(reference)
    image, _, _ = ct_phantom(SHAPE)
    viewer = napari.Viewer(show_welcome_screen=False)
    spacing, origin = image.grid.spacing, tuple(image.grid.affine[:3, 3])
    viewer.add_image(np.asarray(image.data), scale=spacing, translate=origin, units=("mm",) * 3)
    _, dock = viewer.window.add_plugin_dock_widget("napari-medsam", "Prompt segmentation")
    turn_loop(1.0)
    return viewer, dock.controller


def prompt(viewer: Any, controller: Any, number: int) -> float:
    """Draw a box on a slice that was not seen yet; milliseconds until its preview is painted."""
    plane, box = Plane.across(0, 100 + number), Box(120, 90, 330, 320)
    viewer.dims.point = tuple(to_viewer_world(viewer, controller.image, plane.to_index([(0, 0)])[0])[0])
    turn_loop(0.05)
    boxes = controller.proposals.layers.boxes
    boxes.data = []
    QApplication.processEvents()
    start = time.perf_counter()
    boxes.add_rectangles(plane.to_index(box.outline))
    while not any(d.prediction is not None for d in controller.session.drafts.values()):
        QApplication.processEvents()
    QApplication.processEvents()
    return 1e3 * (time.perf_counter() - start)


def measure(name: str, load: Callable[[str], Any] | None) -> dict[str, Any]:
    """One row of the table."""
    viewer, controller = open_bench(load or (lambda _: Contour()))
    controller.draw("box")
    turn_loop(0.5)
    times: list[float] = []

    def act() -> None:
        for number in range(PROMPTS if load else 0):
            times.append(prompt(viewer, controller, number))
        if not load:
            turn_loop(5.0)

    gaps = gaps_while(act)
    viewer.close()
    turn_loop(0.5)
    q = np.percentile(gaps, [50, 95, 99])
    row = {"name": name, "ticks": len(gaps), "p50": q[0], "p95": q[1], "p99": q[2], "longest": max(gaps)}
    if times:
        row |= {"prompt_p50": statistics.median(times), "prompt_p95": float(np.percentile(times, 95))}
    return row


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, napari {napari.__version__}"
    print(f"{machine}; {SHAPE} int16; milliseconds")
    rows = [
        measure("nothing asked", None),
        measure("answer at once", lambda _: AtOnce()),
        measure("0.5 s an encode", lambda _: Sleeping()),
        measure("contour", lambda _: Contour()),
    ]
    print(f"{'':18s} {'ticks':>6s} {'p50':>7s} {'p95':>7s} {'p99':>7s} {'longest':>8s}  box to preview p50, p95")
    for r in rows:
        prompt_times = f"{r['prompt_p50']:.0f}, {r['prompt_p95']:.0f}" if "prompt_p50" in r else "-"
        line = f"{r['name']:18s} {r['ticks']:6d} {r['p50']:7.1f} {r['p95']:7.1f} {r['p99']:7.1f} {r['longest']:8.1f}"
        print(f"{line}  {prompt_times}")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
