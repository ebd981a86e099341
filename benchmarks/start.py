"""How long the plugin takes to be there: its widget, and the first mask with the built-in model on an image.

    python benchmarks/start.py [--repeats 5] [--json FILE]

Each repeat is a process of its own. Beside stands what napari itself takes to open its window. Needs a display
(`python dev.py exec --display -- python benchmarks/start.py`) and a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SHAPE = (60, 512, 512)
PARTS = {
    "napari": "napari is imported and its window is open",
    "widget": "the plugin's widget is opened after that",
    "image": "an image is added, and taken up",
    "first mask": "from the first box to its mask, with the built-in model",
    "second mask": "from the next box on that slice to its mask",
    "torch": "1 when torch was imported on the way",
}


def once() -> dict[str, float]:
    """Open everything in this process; seconds."""
    times: dict[str, float] = {}
    start = time.perf_counter()
    import napari
    import numpy as np
    from qtpy.QtCore import QEventLoop
    from qtpy.QtWidgets import QApplication

    viewer = napari.Viewer(show_welcome_screen=False)
    QApplication.processEvents()

    def note(name: str) -> None:
        nonlocal start
        times[name], start = time.perf_counter() - start, time.perf_counter()

    note("napari")
    _, dock = viewer.window.add_plugin_dock_widget("napari-medsam", "Prompt segmentation")
    QApplication.processEvents()
    note("widget")
    from napari_medsam.geometry import Plane
    from napari_medsam.phantom import ct_phantom
    from napari_medsam.prompts import Box

    data = np.asarray(ct_phantom(SHAPE)[0].data)
    start = time.perf_counter()
    viewer.add_image(data)
    QApplication.processEvents()
    note("image")
    controller: Any = dock.controller
    controller.draw("box")
    QApplication.processEvents()
    boxes = controller.proposals.layers.boxes
    for name, box in (("first mask", Box(120, 90, 330, 320)), ("second mask", Box(200, 120, 400, 300))):
        start = time.perf_counter()
        boxes.add_rectangles(Plane.across(0, 30).to_index(box.outline))
        while not any(d.prediction is not None for d in controller.session.drafts.values()):
            QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
        note(name)
        controller.clear()
        QApplication.processEvents()
    times["torch"] = float("torch" in sys.modules)
    viewer.close()
    return times


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(once()))
        return
    command = [sys.executable, __file__, "--once"]
    runs = [
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        for _ in range(options.repeats)
    ]
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    print(f"{machine}; {SHAPE} int16; seconds, {options.repeats} processes\n{'':12s} {'median':>7s} {'most':>7s}")
    rows = {name: [run[name] for run in runs] for name in PARTS}
    for name, values in rows.items():
        print(f"{name:12s} {statistics.median(values):7.2f} {max(values):7.2f}  {PARTS[name]}")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "seconds": rows}, indent=2))


if __name__ == "__main__":
    main()
