"""How many threads a model should take: encodes beside a ticking event loop, and beside other work, for each number.

    python benchmarks/threads.py [--model litemedsam] [--busy 0 1] [--most 0] [--json FILE]

The encode runs on a thread of its own, as in the plugin, while the main thread runs a Qt event loop in which a timer
ticks and does what a redraw costs here (12 ms of array work at each 25 ms), or, with `--still`, nothing. `--busy` says
how many other processes compute meanwhile. Told are the median seconds of an encode, and the longest and 99th
percentile of what a tick came late, in ms. No display is needed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import torch
from qtpy.QtCore import QCoreApplication, QTimer

from napari_medsam.models import cost, registry
from napari_medsam.models.compute import Compute

TICK_MS = 25
DRAW_MS = 12.0
SPIN = "while True: pass"


def encodes(network: Any, image: Any, count: int, threads: int, done: threading.Event, times: list[float]) -> None:
    torch.set_num_threads(threads)
    network.embed(image)
    for _ in range(count):
        start = time.perf_counter()
        network.embed(image)
        times.append(time.perf_counter() - start)
    done.set()


def draw() -> None:
    end = time.perf_counter() + DRAW_MS / 1e3
    plane = np.zeros((512, 512), np.float32)
    while time.perf_counter() < end:
        np.add(plane, 1, out=plane)


def measure(network: Any, image: Any, threads: int, options: argparse.Namespace) -> dict[str, float]:
    app = QCoreApplication.instance() or QCoreApplication([])
    done, times, ticks = threading.Event(), list[float](), list[float]()
    timer = QTimer()
    timer.setInterval(TICK_MS)
    timer.timeout.connect(lambda: ticks.append(time.perf_counter()) or (None if options.still else draw()))
    worker = threading.Thread(target=encodes, args=(network, image, options.repeats, threads, done, times))
    timer.start()
    worker.start()
    while not done.is_set():
        app.processEvents()
        time.sleep(0.001)
    worker.join()
    timer.stop()
    late = [max(0.0, 1e3 * (b - a) - TICK_MS) for a, b in itertools.pairwise(ticks)]
    encode = statistics.median(times)
    return {"threads": threads, "encode_s": encode, "late_p99": float(np.percentile(late, 99)), "late_most": max(late)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="litemedsam")
    parser.add_argument("--busy", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--most", type=int, default=0, help="threads to try at most; 0 for the cores")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--still", action="store_true", help="the event loop draws nothing")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    row = registry.row(options.model)
    config = cost.shape_of(row)
    network = cost.backend_module(row).network(config, Compute("cpu"))
    side = cost.side_of(config)
    image = np.random.default_rng(0).random((3, side, side), dtype=np.float32)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {row.title}")
    print(f"{'others':>6s} {'threads':>8s} {'encode s':>9s} {'late p99 ms':>12s} {'longest ms':>11s}")
    rows = []
    for busy in options.busy:
        others = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(busy)]
        try:
            for threads in range(1, (options.most or os.cpu_count() or 1) + 1):
                one = measure(network, image, threads, options) | {"others": busy}
                rows.append(one)
                times = f"{one['encode_s']:9.2f} {one['late_p99']:12.1f} {one['late_most']:11.1f}"
                print(f"{busy:6d} {threads:8d} {times}", flush=True)
        finally:
            for other in others:
                other.kill()
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
