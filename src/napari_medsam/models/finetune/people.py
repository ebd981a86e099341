"""People who draw boxes and first tries at a mask, simulated with numpy; the plane's frame, (row, column)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

BoolArray = NDArray[np.bool_]
BoxTuple = tuple[float, float, float, float]
"""row0, column0, row1, column1 in pixels, half open."""

Rng = np.random.Generator


def bounds(mask: BoolArray) -> tuple[int, int, int, int]:
    """Half-open bounds of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def drawn_box(mask: BoolArray, rng: Rng) -> BoxTuple:
    """The bounds as a person draws them: one pixel around, loose by one margin, or each side by itself."""
    row0, column0, row1, column1 = bounds(mask)
    height, width = row1 - row0, column1 - column0
    kind = rng.random()
    if kind < 0.35:
        grow = np.ones(4)
    elif kind < 0.72:
        share = np.exp(rng.uniform(np.log(0.05), np.log(0.5)))
        grow = np.full(4, np.ceil(share * np.sqrt(height * width)))
    else:
        grow = np.round(rng.normal(0.05, 0.07, 4) * (height, width, height, width))
    box = np.array([row0, column0, row1, column1]) + grow * (-1, -1, 1, 1)
    box[:2], box[2:] = np.maximum(box[:2], 0), np.minimum(box[2:], mask.shape)
    if (box[2:] - box[:2] < 2).any():
        return row0, column0, row1, column1
    return tuple(float(v) for v in box)  # type: ignore[return-value]


def box_about(mask: BoolArray) -> BoxTuple:
    """The bounds of a mask and a pixel around, within the plane."""
    row0, column0, row1, column1 = bounds(mask)
    rows, columns = mask.shape
    return max(row0 - 1.0, 0.0), max(column0 - 1.0, 0.0), min(row1 + 1.0, rows), min(column1 + 1.0, columns)


def first_try(mask: BoolArray, rng: Rng) -> BoolArray:
    """A mask by another tool: too large or small, moved, with a part cut off or added, wavy; sometimes just right."""
    reach = np.sqrt(np.count_nonzero(mask) / np.pi)
    depth = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    level = rng.normal(0, 0.12) * reach if rng.random() < 0.6 else 0.0
    if rng.random() < 0.5:
        waves = ndimage.gaussian_filter(rng.standard_normal(mask.shape), max(reach * rng.uniform(0.2, 0.6), 0.7))
        depth = depth + waves / (waves.std() + 1e-9) * reach * rng.uniform(0.03, 0.25)
    found = depth > level
    if rng.random() < 0.4:
        found = ndimage.shift(found, rng.normal(0, 0.12, 2) * reach, order=0)
    if rng.random() < 0.4:
        row0, column0, row1, column1 = bounds(mask)
        at = np.array([rng.uniform(row0, row1), rng.uniform(column0, column1)])
        near = np.hypot(*(np.indices(mask.shape) - at[:, None, None])) < reach * rng.uniform(0.3, 0.9)
        found = found & ~near if rng.random() < 0.5 else found | near
    return np.asarray(found) if np.count_nonzero(found & mask) > 4 else mask


def click_in(error: BoolArray, rng: Rng) -> tuple[int, int]:
    """The (row, column) of a click: near the middle of the largest piece of an error, which is not empty."""
    pieces, count = ndimage.label(error)
    largest = error if count < 2 else pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    depth = ndimage.distance_transform_edt(np.pad(largest, 1))[1:-1, 1:-1]
    places = np.argwhere(depth >= max(0.7 * depth.max(), 1))
    row, column = places[int(rng.integers(len(places)))]
    return int(row), int(column)
