"""The built-in model on the 82 reference planes: it is worth its place beside the naive answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_medsam.intensity import Window, percentile_window, to_uint8
from napari_medsam.models.contour import Contour
from napari_medsam.prompts import Box, Prompts

FLOOR = 0.78


@dataclass(frozen=True)
class Result:
    source: str
    contour: float
    ellipse: float
    score: float


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(2 * np.count_nonzero(a & b) / max(int(a.sum()) + int(b.sum()), 1))


def reference_box(mask: NDArray[np.bool_]) -> Box:
    """Bounds of the mask, enlarged by 1 pixel, or by 2 % of the longer side where that is over 200 pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    grow = 1 if max(mask.shape) <= 200 else max(1, int(0.02 * max(mask.shape)))
    return Box(rows[0] - grow, columns[0] - grow, rows[-1] + 1 + grow, columns[-1] + 1 + grow).clipped(mask.shape)


def ellipse_in(box: Box, shape: tuple[int, int]) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    down = (rows - (box.row0 + box.row1 - 1) / 2) / ((box.row1 - box.row0) / 2)
    across = (columns - (box.column0 + box.column1 - 1) / 2) / ((box.column1 - box.column0) / 2)
    return np.asarray(down**2 + across**2 <= 1)


@pytest.fixture(scope="module")
def results(shared: Path) -> list[Result]:
    folder = shared / "data" / "planes"
    if not (folder / "manifest.json").exists():
        pytest.skip(f"no reference planes at {folder}")
    model, found = Contour(), []
    for case in json.loads((folder / "manifest.json").read_text(encoding="utf-8")):
        with np.load(folder / f"{case['name']}.npz") as stored:
            image, mask = stored["image"], stored["mask"]
        window = Window(*case["window"]) if case["window"] else percentile_window(image)
        box = reference_box(mask)
        prediction = model.decode(model.encode(to_uint8(image, window)), Prompts(box))
        naive = ellipse_in(box, mask.shape)
        found.append(Result(case["source"], dice(prediction.mask, mask), dice(naive, mask), prediction.score))
    return found


def test_the_mean_over_all_planes_is_above_the_floor(results: list[Result]) -> None:
    assert np.mean([r.contour for r in results]) >= FLOOR


def test_no_set_is_below_the_ellipse(results: list[Result]) -> None:
    for source in sorted({r.source for r in results}):
        ours, naive = np.mean([(r.contour, r.ellipse) for r in results if r.source == source], axis=0)
        assert ours >= naive, source


def test_the_score_tells_good_masks_from_bad(results: list[Result]) -> None:
    good = [r.score for r in results if r.contour >= 0.85]
    bad = [r.score for r in results if r.contour < 0.7]
    assert np.mean(good) > np.mean(bad) + 0.05
