"""Between the plane's own grid and the square that a network sees. (x, y) begins here, and ends here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from napari_medsam.prompts import Box, Point

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Shape = tuple[int, int]


@dataclass(frozen=True)
class InputPrompts:
    """Prompts in the frame of a network's input: (x, y) in pixels of the square that it sees.

    Parameters
    ----------
    points : (n, 2) float32 array
    labels : (n,) int64 array
        1 on the object, 0 off it.
    box : (4,) float32 array, optional
        x0, y0, x1, y1.
    mask : (m, m) float32 array, optional
        As the network's prompt encoder takes it.
    """

    points: FloatArray
    labels: NDArray[np.int64]
    box: FloatArray | None = None
    mask: FloatArray | None = None


class Frame(Protocol):
    """How one family of models sees a plane. Equal to the pre- and post-processing of the original, step by step."""

    @property
    def name(self) -> str:
        """Part of the model's digest: another way to see a plane gives another embedding."""
        ...

    def image(self, plane: NDArray[np.uint8]) -> FloatArray:
        """The network's input, (channels, size, size), of a uint8 plane, (rows, columns) or (rows, columns, 3)."""
        ...

    def positions(self, xy: NDArray[np.float64], shape: Shape) -> FloatArray:
        """Positions in the input's frame, (n, 2), of (x, y) pixel indices on a plane of `shape`, (n, 2)."""
        ...

    def mask(self, pixels: BoolArray) -> FloatArray:
        """The mask prompt, (m, m), of a mask on the plane, (rows, columns)."""
        ...

    def restore(self, logits: FloatArray, shape: Shape) -> BoolArray:
        """Masks on the plane, (k, rows, columns), of the decoder's logits, (k, m, m)."""
        ...


@runtime_checkable
class RoundsFrame(Protocol):
    """A `Frame` of a family that may start from its own logits of the round before."""

    def again(self, logits: FloatArray) -> FloatArray:
        """The mask prompt, (m, m), of the decoder's logits, (m, m), as the original makes it."""
        ...


def as_rgb(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(rows, columns, 3) of a grey or colour plane."""
    return plane if plane.ndim == 3 else np.repeat(plane[..., None], 3, axis=-1)


def as_grey(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(rows, columns) of a grey or colour plane, with the weights of ITU-R BT.601."""
    if plane.ndim == 2:
        return plane
    return np.asarray(np.rint(plane @ np.array([0.299, 0.587, 0.114])), dtype=np.uint8)


def xy_of(points: tuple[Point, ...]) -> NDArray[np.float64]:
    """(n, 2) positions as x, y; the centre of a pixel at the integer, as in the originals."""
    return np.array([(p.column, p.row) for p in points], dtype=np.float64).reshape(-1, 2)


def corners_of(box: Box) -> NDArray[np.float64]:
    """The first and last pixel of a box as (x, y), (2, 2): the originals were trained on such inclusive bounds."""
    return np.array([(box.column0, box.row0), (box.column1 - 1, box.row1 - 1)], dtype=np.float64)
