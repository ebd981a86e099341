"""The cells on which the contour model works: a box and its surroundings, resampled to a fixed number of cells.

Every length of the method is then a part of the box, so small and large objects, and images of any resolution, are
treated alike, and the cost does not grow with the box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

CELLS = 48
"""Cells along the geometric mean of the box's sides."""

MOST_CELLS = 120
"""Cells along the longer side, at most."""

LEAST_CELLS = 12
"""Cells along the shorter side, at least, if they are not finer than FINEST."""

FINEST = 1 / 3
"""Size of a cell in pixels, at least: finer cells would hold nothing new."""

MARGIN = 0.3
"""Width of the surroundings seen on each side, as a part of the geometric mean of the box's sides."""

Bounds = tuple[int, int, int, int]
"""(row0, column0, row1, column1), half open, in pixels. Unlike a Box it may be one pixel wide."""


@dataclass(frozen=True)
class WorkFrame:
    """Cells over a box and its surroundings, clipped to the plane.

    Parameters
    ----------
    bounds : Bounds
        The box, in pixels of the plane.
    rows, columns : (n,) and (m,) arrays
        Where the cells' centres lie, in pixels of the plane.
    values : (n, m, channels) array
        Intensities at the cells: grey, or for a colour image grey and two colour differences.
    """

    bounds: Bounds
    rows: FloatArray
    columns: FloatArray
    values: FloatArray

    @property
    def shape(self) -> tuple[int, int]:
        """Number of cells along rows and columns."""
        return len(self.rows), len(self.columns)

    @property
    def steps(self) -> tuple[float, float]:
        """Size of a cell along rows and columns, in pixels."""
        return _step(self.rows), _step(self.columns)

    @property
    def offset(self) -> tuple[FloatArray, FloatArray]:
        """Rows (n, 1) and columns (1, m) from the box's centre, in units of half its sides: -1 to 1 in the box."""
        row0, column0, row1, column1 = self.bounds
        rows = (self.rows - (row0 + row1 - 1) / 2) / ((row1 - row0) / 2)
        columns = (self.columns - (column0 + column1 - 1) / 2) / ((column1 - column0) / 2)
        return rows[:, None], columns[None, :]

    @property
    def inside(self) -> BoolArray:
        """(n, m): which cells lie in the box."""
        rows, columns = self.offset
        return (np.abs(rows) < 1) & (np.abs(columns) < 1)

    def cells_of(self, pixels: NDArray[np.intp]) -> NDArray[np.intp]:
        """The cells, (k, 2), nearest to those of the (k, 2) pixels that lie in the frame."""
        at = np.stack([_position(self.rows, pixels[:, 0]), _position(self.columns, pixels[:, 1])], axis=1)
        near = ((at > -0.5) & (at < np.array(self.shape) - 0.5)).all(axis=1)
        return np.asarray(np.floor(at[near] + 0.5).astype(np.intp))

    def to_plane(self, values: FloatArray) -> NDArray[np.floating]:
        """Cell values, (n, m), at the pixels of the box, (row1 - row0, column1 - column0); bilinear."""
        row0, column0, row1, column1 = self.bounds
        rows = np.clip(_position(self.rows, np.arange(row0, row1)), 0, len(self.rows) - 1)
        columns = np.clip(_position(self.columns, np.arange(column0, column1)), 0, len(self.columns) - 1)
        # half the memory is half the time for a box as large as the plane
        return _bilinear(values[..., None].astype(np.float32), rows, columns)[..., 0]


def pyramid_of(plane: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """The plane, (rows, columns, channels), and its means over 2 x 2, 4 x 4, ... pixels, down to MOST_CELLS cells.

    Sums of up to 2^16 bytes are exact in float32, so the order of rows and columns leaves no trace.
    """
    levels = [np.asarray(plane, dtype=np.float32).reshape(*plane.shape[:2], -1)]
    while max(levels[-1].shape[:2]) > MOST_CELLS and len(levels) < 9:
        fine = levels[-1]
        fine = np.pad(fine, ((0, fine.shape[0] % 2), (0, fine.shape[1] % 2), (0, 0)), mode="edge")
        rows = fine[0::2] + fine[1::2]
        levels.append(((rows[:, 0::2] + rows[:, 1::2]) / 4).astype(np.float32))
    return levels


def frame_of(pyramid: Sequence[NDArray[np.float32]], bounds: Bounds) -> WorkFrame:
    """The cells over the box `bounds` and its surroundings in the plane of which `pyramid` was made."""
    shape = pyramid[0].shape
    row0, column0, row1, column1 = bounds
    height, width = row1 - row0, column1 - column0
    size = max(np.sqrt(height * width) / CELLS, max(height, width) / MOST_CELLS, FINEST)
    margin = max(round(MARGIN * np.sqrt(height * width) / size), 4)
    rows = _centres(row0, row1, size, margin, shape[0])
    columns = _centres(column0, column1, size, margin, shape[1])
    return WorkFrame(bounds, rows, columns, _decorrelated(_sample(pyramid, rows, columns, size)))


def _centres(start: int, stop: int, size: float, margin: int, limit: int) -> FloatArray:
    cells = max(round((stop - start) / size), round(min(LEAST_CELLS, (stop - start) / FINEST)))
    step = (stop - start) / cells
    centres = start - 0.5 + (np.arange(-margin, cells + margin) + 0.5) * step
    return np.asarray(centres[(centres > -0.5) & (centres < limit - 0.5)])


def _sample(pyramid: Sequence[NDArray[np.float32]], rows: FloatArray, columns: FloatArray, size: float) -> FloatArray:
    level = int(np.clip(np.floor(np.log2(size)), 0, len(pyramid) - 1))
    plane = pyramid[level]
    at = [np.clip((p + 0.5) / 2**level - 0.5, 0, n - 1) for p, n in zip((rows, columns), plane.shape, strict=False)]
    return np.asarray(_bilinear(plane, at[0], at[1]), dtype=np.float64)


def _decorrelated(values: FloatArray) -> FloatArray:
    """Grey and two colour differences of RGB values, which are nearly independent; grey values as they are."""
    if values.shape[2] == 1:
        return values
    red, green, blue = np.moveaxis(values, 2, 0)
    return np.stack([(red + green + blue) / 3, red - blue, green - (red + blue) / 2], axis=2)


def _position(centres: FloatArray, pixels: NDArray[np.intp]) -> FloatArray:
    return np.asarray((pixels - centres[0]) / _step(centres))


def _step(centres: FloatArray) -> float:
    return float(centres[1] - centres[0]) if len(centres) > 1 else 1.0


def _bilinear(values: NDArray[np.floating], rows: FloatArray, columns: FloatArray) -> NDArray[np.floating]:
    """`values`, (n, m, channels), at the crossings of fractional `rows` and `columns`, all within the array."""
    for axis, at in enumerate((rows, columns)):
        low = np.minimum(np.floor(at).astype(np.intp), values.shape[axis] - 1)
        high = np.minimum(low + 1, values.shape[axis] - 1)
        part = (at - low).astype(values.dtype).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        first = np.take(values, low, axis)
        values = first + (np.take(values, high, axis) - first) * part
    return values
