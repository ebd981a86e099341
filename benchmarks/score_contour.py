"""Score the built-in model against two naive answers on the reference planes, per set, with and without clicks.

    python benchmarks/score_contour.py [--planes FOLDER] [--repeats 5]

The planes lie in $NAPARI_MEDSAM_SHARED/data/planes, or in `shared` beside the repository. Every answer is given the
same box: the bounds of the reference mask, enlarged by 1 pixel, or by 2 % of the longer side where that is over 200.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats
from skimage.segmentation import random_walker

from napari_medsam.intensity import Window, percentile_window, to_uint8
from napari_medsam.models.base import Prediction
from napari_medsam.models.contour import Contour
from napari_medsam.prompts import Box, Point, Prompts

BoolArray = NDArray[np.bool_]
CLICKS = 3
POOR = 0.8
"""Planes below this Dice get clicks."""

CORE = 0.5
"""Size of the random walker's seed, an ellipse in the box's centre, as a part of the box. Of 1/3 and 1/2 the better."""


@dataclass(frozen=True)
class Case:
    name: str
    source: str
    plane: NDArray[np.uint8]
    mask: BoolArray
    box: Box


def load(folder: Path) -> list[Case]:
    cases = []
    for entry in json.loads((folder / "manifest.json").read_text(encoding="utf-8")):
        with np.load(folder / f"{entry['name']}.npz") as stored:
            image, mask = stored["image"], stored["mask"]
        window = Window(*entry["window"]) if entry["window"] else percentile_window(image)
        cases.append(Case(entry["name"], entry["source"], to_uint8(image, window), mask, box_of(mask)))
    return cases


def box_of(mask: BoolArray) -> Box:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    grow = 1 if max(mask.shape) <= 200 else max(1, int(0.02 * max(mask.shape)))
    shape = mask.shape[0], mask.shape[1]
    return Box(rows[0] - grow, columns[0] - grow, rows[-1] + 1 + grow, columns[-1] + 1 + grow).clipped(shape)


def dice(a: BoolArray, b: BoolArray) -> float:
    return float(2 * np.count_nonzero(a & b) / max(int(a.sum()) + int(b.sum()), 1))


def ellipse(case: Case, size: float = 1.0) -> BoolArray:
    rows, columns = np.ogrid[: case.mask.shape[0], : case.mask.shape[1]]
    box = case.box
    down = (rows - (box.row0 + box.row1 - 1) / 2) / ((box.row1 - box.row0) / 2 * size)
    across = (columns - (box.column0 + box.column1 - 1) / 2) / ((box.column1 - box.column0) / 2 * size)
    return np.asarray(down**2 + across**2 <= 1)


def walker(case: Case) -> BoolArray:
    """Run scikit-image's random walker, seeded with the outside of the box and with an ellipse in its centre."""
    seeds = np.full(case.mask.shape, 2)
    seeds[case.box.slices] = 0
    seeds[ellipse(case, CORE)] = 1
    ring = 5
    near = (
        slice(max(case.box.row0 - ring, 0), case.box.row1 + ring),
        slice(max(case.box.column0 - ring, 0), case.box.column1 + ring),
    )
    out = np.zeros(case.mask.shape, dtype=bool)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out[near] = random_walker(case.plane[near].astype(float), seeds[near], beta=130, mode="cg_j") == 1
    return out


def next_click(mask: BoolArray, truth: BoolArray) -> Point | None:
    """Click where a user would: in the middle of the largest error."""
    labels, count = ndimage.label(mask != truth)
    if not count:
        return None
    largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    depth = ndimage.distance_transform_edt(np.pad(largest, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(np.argmax(depth), depth.shape)
    return Point(float(row), float(column), bool(truth[row, column]))


def with_clicks(model: Contour, case: Case) -> list[float]:
    """Dice of the box alone and after each of CLICKS corrections."""
    embedding = model.encode(case.plane)
    points: tuple[Point, ...] = ()
    found = []
    for _ in range(CLICKS + 1):
        mask = model.decode(embedding, Prompts(case.box, points)).mask
        found.append(dice(mask, case.mask))
        click = next_click(mask, case.mask)
        points = points if click is None else (*points, click)
    return found


def print_table(cases: Sequence[Case], columns: dict[str, list[float]]) -> None:
    print(f"{'set':24s}   n " + "".join(f"{name:>15s}" for name in columns))
    for source in [*sorted({case.source for case in cases}), "all"]:
        rows = [i for i, case in enumerate(cases) if source in ("all", case.source)]
        means = "".join(f"{np.mean([values[i] for i in rows]):15.3f}" for values in columns.values())
        print(f"{source:24s} {len(rows):3d} {means}")


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def print_times(model: Contour, repeats: int) -> None:
    rows, columns = np.ogrid[:512, :512]
    bright = 90.0 * ((rows - 250) ** 2 + (columns - 240) ** 2 < 90**2)
    plane = (100 + bright + np.random.default_rng(0).normal(0, 15, (512, 512))).clip(0, 255).astype(np.uint8)
    embedding = model.encode(plane)
    print(f"encode 512 x 512: {milliseconds(lambda: model.encode(plane), repeats):.1f} ms")
    boxes = {"small": Box(200, 200, 230, 236), "medium": Box(150, 140, 350, 340), "full": Box(0, 0, 512, 512)}
    for name, box in boxes.items():
        spent = milliseconds(lambda box=box: model.decode(embedding, Prompts(box)), repeats)  # type: ignore[misc]
        print(f"decode, {name} box: {spent:.1f} ms")
    point = Prompts(points=(Point(250, 240),))
    print(f"decode, a point: {milliseconds(lambda: model.decode(embedding, point), repeats):.1f} ms")


def main() -> None:
    beside = Path(__file__).resolve().parents[2] / "shared"
    default = Path(os.environ.get("NAPARI_MEDSAM_SHARED", beside)) / "data" / "planes"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--planes", type=Path, default=default)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    cases, model = load(options.planes), Contour()
    predictions: list[Prediction] = [model.decode(model.encode(c.plane), Prompts(c.box)) for c in cases]
    ours = [dice(p.mask, c.mask) for p, c in zip(predictions, cases, strict=True)]
    columns = {
        "contour": ours,
        "best of 3": [max(dice(m, c.mask) for m in p.masks) for p, c in zip(predictions, cases, strict=True)],
        "ellipse": [dice(ellipse(case), case.mask) for case in cases],
        "random walker": [dice(walker(case), case.mask) for case in cases],
    }
    print_table(cases, columns)
    correlation = stats.spearmanr([p.score for p in predictions], ours)[0]
    print(f"\nSpearman's correlation of score and Dice: {correlation:.2f}")
    poor = [case for case, found in zip(cases, ours, strict=True) if found < POOR]
    steps = np.mean([with_clicks(model, case) for case in poor], axis=0)
    print(f"{len(poor)} planes below {POOR}, after 0 to {CLICKS} clicks: " + " ".join(f"{s:.3f}" for s in steps) + "\n")
    print_times(model, options.repeats)


if __name__ == "__main__":
    main()
