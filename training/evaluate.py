"""Score weights on the reference planes: one box, corrective clicks, rank of scores, time.

    python evaluate.py --planes FOLDER

The planes were used for this, and to choose among configurations; never to train.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy import ndimage, stats  # noqa: E402

from napari_medsam.intensity import Window, percentile_window, to_uint8  # noqa: E402
from napari_medsam.models.starter import HINT, WEIGHTS, Starter  # noqa: E402
from napari_medsam.prompts import Box, Point, Prompts  # noqa: E402

BoolArray = NDArray[np.bool_]


@dataclass
class Result:
    """What happened on one plane."""

    name: str
    source: str
    dice: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    candidates: list[float] = field(default_factory=list)
    judged: list[float] = field(default_factory=list)
    points_only: float = 0.0
    milliseconds: list[float] = field(default_factory=list)


def dice(a: BoolArray, b: BoolArray) -> float:
    """Overlap of two masks."""
    return float(2 * np.count_nonzero(a & b) / max(int(a.sum()) + int(b.sum()), 1))


def prompt_box(mask: BoolArray) -> Box:
    """As score_planes.py: the bounds and a pixel, or 2 % of the longer side where that is over 200."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    grow = 1 if max(mask.shape) <= 200 else max(1, int(0.02 * max(mask.shape)))
    low = np.maximum([rows[0] - grow, columns[0] - grow], 0)
    high = np.minimum([rows[-1] + 1 + grow, columns[-1] + 1 + grow], mask.shape)
    return Box(int(low[0]), int(low[1]), int(high[0]), int(high[1]))


def next_click(shown: BoolArray, truth: BoolArray) -> Point:
    """The deepest pixel of the largest piece of the error."""
    pieces, count = ndimage.label(shown != truth)
    if not count:
        depth = ndimage.distance_transform_edt(np.pad(truth, 1))[1:-1, 1:-1]
    else:
        largest = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
        depth = ndimage.distance_transform_edt(np.pad(largest, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return Point(float(row), float(column), bool(truth[row, column]))


def play(model: Starter, plane: NDArray[np.uint8], truth: BoolArray, clicks: int, result: Result) -> None:
    """A box, then corrective clicks."""
    started = time.perf_counter()
    embedding = model.encode(plane)
    result.milliseconds.append(1e3 * (time.perf_counter() - started))
    points: list[Point] = []
    for _ in range(clicks + 1):
        started = time.perf_counter()
        answer = model.decode(embedding, Prompts(prompt_box(truth), tuple(points)))
        result.milliseconds.append(1e3 * (time.perf_counter() - started))
        result.dice.append(dice(answer.mask, truth))
        result.scores.append(answer.score)
        if not points:
            result.candidates = [dice(m, truth) for m in answer.masks]
            result.judged = [float(s) for s in answer.scores]
        points.append(next_click(answer.mask, truth))
    alone = model.decode(embedding, Prompts(None, (next_click(np.zeros_like(truth), truth),)))
    result.points_only = dice(alone.mask, truth)


def evaluate(model: Starter, folder: Path, clicks: int = 3) -> list[Result]:
    """All planes of a folder with manifest.json."""
    results = []
    for case in json.loads((folder / "manifest.json").read_text()):
        data = np.load(folder / f"{case['name']}.npz")
        window = Window(*case["window"]) if case["window"] else percentile_window(data["image"])
        result = Result(case["name"], case.get("source", ""))
        play(model, to_uint8(data["image"], window), data["mask"], clicks, result)
        results.append(result)
    return results


def rank(results: list[Result]) -> dict[str, float]:
    """Spearman correlation of scores with true Dice: answers to a box, all rounds, all candidates of a box."""

    def spearman(a: list[float], b: list[float]) -> float:
        return float(stats.spearmanr(a, b).statistic)

    def flat(rows: list[list[float]]) -> list[float]:
        return [v for row in rows for v in row]

    return {
        "box": spearman([r.scores[0] for r in results], [r.dice[0] for r in results]),
        "rounds": spearman(flat([r.scores for r in results]), flat([r.dice for r in results])),
        "candidates": spearman(flat([r.judged for r in results]), flat([r.candidates for r in results])),
    }


def table(results: list[Result]) -> str:
    """Per set: number, Dice of a box (mean, tenth percentile), after each click, of the best candidate, of a point."""
    groups: dict[str, list[Result]] = defaultdict(list)
    for r in results:
        groups[r.source].append(r)
    lines = [
        "| set | n | box | p10 | 1 click | 2 | 3 | first candidate | best candidate | point alone |",
        "|---" * 10 + "|",
    ]
    for name, rows in [*sorted(groups.items()), ("all", results)]:
        d = np.array([r.dice for r in rows])
        numbers = [d[:, 0].mean(), np.percentile(d[:, 0], 10), *d[:, 1:].mean(0)]
        numbers += [np.mean([r.candidates[0] for r in rows]), np.mean([max(r.candidates) for r in rows])]
        numbers += [np.mean([r.points_only for r in rows])]
        lines.append(f"| {name} | {len(rows)} | " + " | ".join(f"{v:.3f}" for v in numbers) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planes", default=str(HERE.parent.parent / "shared" / "data" / "planes"))
    parser.add_argument("--weights", default=str(WEIGHTS))
    parser.add_argument("--view", type=int, default=64)
    parser.add_argument("--flips", type=int, default=4)
    parser.add_argument("--hint", type=float, default=HINT, help="weight of the contour; 0 for the network alone")
    parser.add_argument("--each", action="store_true", help="print every plane")
    arguments = parser.parse_args()
    model: Any = Starter(Path(arguments.weights), arguments.view, arguments.flips, arguments.hint)
    results = evaluate(model, Path(arguments.planes))
    if arguments.each:
        for r in results:
            print(
                f"{r.name:48s} " + " ".join(f"{d:.3f}" for d in r.dice),
                f"score {r.scores[0]:.2f}",
                f"point {r.points_only:.2f}",
            )
    print(table(results))
    print("Spearman of score and Dice:", {k: round(v, 3) for k, v in rank(results).items()})
    t = np.array([r.milliseconds for r in results])
    once = f"encode {np.median(t[:, 0]):.1f}, first decode {np.median(t[:, 1]):.1f}"
    print(f"median ms: {once}, click {np.median(t[:, 2:]):.1f}")


if __name__ == "__main__":
    main()
