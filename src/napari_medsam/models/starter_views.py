"""Where a look at a box lies on its plane, and how pixels go there and back. numpy only.

A view is a square raster of `size` samples a side that covers the box and about as much again around it. Its two
sides may differ in pixels: a long thin box is squashed half way (the square root of its aspect), so that a rib or a
vessel gets samples across as well as along. Frames: *plane* is (row, column) of the image, *view* is (row, column)
of the raster; the centre of a pixel is at the integer in both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

CONTEXT = 2.0
"""Side of the view over side of the box."""

SHORTEST = 8.0
"""A view covers at least this many pixels a side."""


@dataclass(frozen=True)
class View:
    """A rectangle of the plane, sampled `size` x `size` times.

    Parameters
    ----------
    row, column : float
        Outer corner on the plane, in pixel-edge coordinates: the centre of pixel i is at i + 0.5.
    height, width : float
        Extent on the plane in pixels.
    size : int
        Samples a side.
    """

    row: float
    column: float
    height: float
    width: float
    size: int

    @classmethod
    def around(cls, box: tuple[float, float, float, float], size: int, context: float = CONTEXT) -> View:
        """The view of a half-open `box` (row0, column0, row1, column1)."""
        row0, column0, row1, column1 = box
        longer = max(row1 - row0, column1 - column0)
        height = max(context * float(np.sqrt((row1 - row0) * longer)), SHORTEST)
        width = max(context * float(np.sqrt((column1 - column0) * longer)), SHORTEST)
        return cls((row0 + row1 - height) / 2, (column0 + column1 - width) / 2, height, width, size)

    def to_view(self, row: float, column: float) -> tuple[float, float]:
        """View position of a plane position (centres at integers in both)."""
        return (
            (row + 0.5 - self.row) * self.size / self.height - 0.5,
            (column + 0.5 - self.column) * self.size / self.width - 0.5,
        )

    def look(self, plane: NDArray[np.generic]) -> FloatArray:
        """Samples of a (rows, columns) plane, (size, size) float32; edge values continue outside the plane."""
        rows, row_weights = _taps(self.size, plane.shape[0], self.row, self.height)
        columns, column_weights = _taps(self.size, plane.shape[1], self.column, self.width)
        part = plane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        part = part[np.ix_(rows - rows[0], columns - columns[0])]
        return np.asarray(row_weights @ part.astype(np.float32) @ column_weights.T)

    def inside(self, shape: tuple[int, int]) -> FloatArray:
        """Per sample 1 where the plane of `shape` is, 0 outside; (size, size) float32."""
        rows = self.row + (np.arange(self.size) + 0.5) * self.height / self.size
        columns = self.column + (np.arange(self.size) + 0.5) * self.width / self.size
        row_in = ((rows >= 0) & (rows <= shape[0])).astype(np.float32)
        column_in = ((columns >= 0) & (columns <= shape[1])).astype(np.float32)
        return np.asarray(row_in[:, None] * column_in[None])

    def box_map(self, box: tuple[float, float, float, float]) -> FloatArray:
        """How much of each sample the box covers, (size, size) float32."""
        top, left = self.to_view(box[0] - 0.5, box[1] - 0.5)
        bottom, right = self.to_view(box[2] - 0.5, box[3] - 0.5)
        at = np.arange(self.size, dtype=np.float32)
        rows = np.clip(np.minimum(bottom, at + 0.5) - np.maximum(top, at - 0.5), 0, 1)
        columns = np.clip(np.minimum(right, at + 0.5) - np.maximum(left, at - 0.5), 0, 1)
        return np.asarray(rows[:, None] * columns[None], dtype=np.float32)

    def back(self, values: FloatArray, shape: tuple[int, int], fill: float) -> FloatArray:
        """(k, size, size) view values on the whole plane, (k, rows, columns); `fill` outside the view."""
        out = np.full((len(values), *shape), fill, dtype=np.float32)
        row0, row1 = _span(self.row, self.height, shape[0])
        column0, column1 = _span(self.column, self.width, shape[1])
        rows = _weights_back(row0, row1, self.row, self.height, self.size)
        columns = _weights_back(column0, column1, self.column, self.width, self.size)
        out[:, row0:row1, column0:column1] = rows @ values @ columns.T
        return out


def _triangle(at: NDArray[np.float64], taps: NDArray[np.intp], reach: float) -> FloatArray:
    weights = np.maximum(1 - np.abs(at[:, None] - taps[None]) / reach, 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def _taps(size: int, length: int, start: float, extent: float) -> tuple[NDArray[np.intp], FloatArray]:
    """Pixels to read along one axis (clamped to the plane) and the (size, taps) weights of a triangle filter."""
    step = extent / size
    at = start + (np.arange(size, dtype=np.float64) + 0.5) * step - 0.5
    reach = max(step, 1.0)
    taps = np.arange(int(np.floor(at[0] - reach)), int(np.ceil(at[-1] + reach)) + 1)
    return np.clip(taps, 0, length - 1), _triangle(at, taps, reach)


def _span(start: float, extent: float, length: int) -> tuple[int, int]:
    first = min(max(int(np.floor(start)), 0), length)
    return first, max(min(int(np.ceil(start + extent)), length), first)


def _weights_back(first: int, last: int, start: float, extent: float, size: int) -> FloatArray:
    at = (np.arange(first, last, dtype=np.float64) + 0.5 - start) * size / extent - 0.5
    return _triangle(np.asarray(np.clip(at, 0, size - 1), np.float64), np.arange(size), max(size / extent, 1.0))
