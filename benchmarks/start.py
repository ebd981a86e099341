"""How long the plugin takes to be there: its widget, and the first mask with the built-in model on an image.

    python benchmarks/start.py [--repeats 5] [--without-window] [--json FILE]

Each repeat is a process of its own. Beside stands what napari itself takes to open its window, which needs a display
(`python dev.py exec --display -- python benchmarks/start.py`) and a quiet machine. Without a window it is the Python
interface that is imported and asked for a first mask.
"""

from __future__ import annotations

import argparse
import importlib
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
}
WITHOUT_WINDOW = {
    "import": "the Python interface is imported",
    "first mask": "from there to a box's mask, with the built-in model",
}


class Clock:
    """Seconds of the wall and of the processor from one note to the next."""

    def __init__(self) -> None:
        self.noted: dict[str, tuple[float, float]] = {}
        self.again()

    def again(self) -> None:
        """Begin here."""
        self.wall, self.own = time.perf_counter(), time.process_time()

    def note(self, name: str) -> None:
        """Keep what has passed under a name, and begin here."""
        self.noted[name] = time.perf_counter() - self.wall, time.process_time() - self.own
        self.again()


def in_a_window() -> dict[str, tuple[float, float]]:
    """Open everything in this process."""
    clock = Clock()
    import napari
    import numpy as np
    from qtpy.QtCore import QEventLoop
    from qtpy.QtWidgets import QApplication

    viewer = napari.Viewer(show_welcome_screen=False)
    QApplication.processEvents()
    clock.note("napari")
    _, dock = viewer.window.add_plugin_dock_widget("napari-medsam", "Prompt segmentation")
    QApplication.processEvents()
    clock.note("widget")
    from napari_medsam.geometry import Plane
    from napari_medsam.phantom import ct_phantom
    from napari_medsam.prompts import Box

    data = np.asarray(ct_phantom(SHAPE)[0].data)
    clock.again()
    viewer.add_image(data)
    QApplication.processEvents()
    clock.note("image")
    controller: Any = dock.controller
    controller.draw("box")
    QApplication.processEvents()
    boxes = controller.proposals.layers.boxes
    for name, box in (("first mask", Box(120, 90, 330, 320)), ("second mask", Box(200, 120, 400, 300))):
        clock.again()
        boxes.add_rectangles(Plane.across(0, 30).to_index(box.outline))
        while not any(d.prediction is not None for d in controller.session.drafts.values()):
            QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
        clock.note(name)
        controller.clear()
        QApplication.processEvents()
    viewer.close()
    return clock.noted


def without_window() -> dict[str, tuple[float, float]]:
    """Import the Python interface in this process, and ask for a mask."""
    clock = Clock()
    import numpy as np

    importlib.import_module("napari_medsam.api")
    clock.note("import")
    plane = np.zeros((512, 512), np.uint8)
    plane[200:300, 180:320] = 200
    clock.again()
    from napari_medsam.models.contour import Contour
    from napari_medsam.prompts import Box, Prompts

    model = Contour()
    model.decode(model.encode(plane), Prompts(Box(190, 170, 310, 330)))
    clock.note("first mask")
    return clock.noted


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--without-window", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        noted = without_window() if options.without_window else in_a_window()
        print(json.dumps({"noted": noted, "torch": "torch" in sys.modules}))
        return
    command = [sys.executable, __file__, "--once", *(["--without-window"] if options.without_window else [])]
    runs = [
        json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
        for _ in range(options.repeats)
    ]
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    print(f"{machine}; {SHAPE} int16; seconds, {options.repeats} processes; the processor's time in brackets")
    print(f"{'':12s} {'median':>15s} {'most':>15s}")
    parts = WITHOUT_WINDOW if options.without_window else PARTS
    rows = {name: [run["noted"][name] for run in runs] for name in parts}
    for name, values in rows.items():
        wall, own = zip(*values, strict=True)
        told = (f"{act(wall):7.2f} ({act(own):5.2f})" for act in (statistics.median, max))
        print(f"{name:12s} {' '.join(told)}  {parts[name]}")
    torch = any(run["torch"] for run in runs)
    print(f"torch was {'' if torch else 'not '}imported on the way")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "parts": parts, "seconds": rows, "torch": torch}))


if __name__ == "__main__":
    main()
