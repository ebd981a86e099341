"""Time of the starter on a 512 x 512 plane, on one thread: a plane, a new box, a further click.

    python benchmarks/starter_speed.py [--repeats 40]

A new box costs a look (the encoder on a view of the box, and the contour of the box) and a decode; a further click on
it a decode alone. Besides the wall time the processor's time of the thread is told: on a machine that does other work,
only that says what the model costs, and the least of it what it costs when nothing else fills the caches.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from napari_medsam.models.base import Embedding
from napari_medsam.models.starter import Starter
from napari_medsam.prompts import Box, MaskPrompt, Point, Prompts

Times = dict[str, list[tuple[float, float]]]


def plane() -> NDArray[np.uint8]:
    """Noise and a disc."""
    rows, columns = np.ogrid[:512, :512]
    bright = 90.0 * ((rows - 250) ** 2 + (columns - 240) ** 2 < 90**2)
    return (100 + bright + np.random.default_rng(0).normal(0, 15, (512, 512))).clip(0, 255).astype(np.uint8)


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds of the wall and of the thread."""
    wall, own = time.perf_counter(), time.thread_time()
    call()
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.thread_time() - own)


def once(model: Starter, image: NDArray[np.uint8], turn: int, times: Times) -> None:
    """One box that was not seen before, a click on it, and a mask for it."""
    times["encode a plane"].append(timed(lambda: model.encode(image)))
    embedding: Embedding = model.encode(image)
    box = Box(140 + turn % 20, 130 + turn // 20, 345, 350)
    click = (Point(200.0, 200.0),)
    mask = np.zeros(image.shape, dtype=bool)
    mask[170:330, 160:320] = True
    times["a new box: look and decode"].append(timed(lambda: model.decode(embedding, Prompts(box))))
    times["a click on it: decode"].append(timed(lambda: model.decode(embedding, Prompts(box, click))))
    given = Prompts(box, mask=MaskPrompt(mask))
    times["a mask for it: decode"].append(timed(lambda: model.decode(embedding, given)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args()
    model, image = Starter(), plane()
    names = ("encode a plane", "a new box: look and decode", "a click on it: decode", "a mask for it: decode")
    times: Times = {name: [] for name in names}
    for turn in range(options.repeats + 3):
        once(model, image, turn, times)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {options.repeats} times, ms")
    print(f"{'':28s} {'wall':>7s} {'thread':>7s} {'least':>7s}")
    for name, found in times.items():
        wall, own = zip(*found[3:], strict=True)
        print(f"{name:28s} {statistics.median(wall):7.1f} {statistics.median(own):7.1f} {min(own):7.1f}")


if __name__ == "__main__":
    main()
