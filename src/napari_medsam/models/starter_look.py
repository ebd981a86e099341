"""What the network of the `starter` model is shown: one view of a plane, and the prompts in it. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.models.base import Embedding
from napari_medsam.models.starter_marks import Mark
from napari_medsam.models.starter_views import View
from napari_medsam.prompts import MaskPrompt

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
BoxTuple = tuple[float, float, float, float]

SPREAD = 1 / 40
"""Deviation of a mark over the side of the view, as in training."""

BEYOND = -9.0
"""Logits outside the view."""


class Look:
    """One view of a plane: what the network is shown, and where marks lie in it."""

    def __init__(
        self,
        embedding: Embedding,
        box: BoxTuple | None,
        turned: bool,
        size: int,
        square: tuple[NDArray[Any], float] | None = None,
    ) -> None:
        grey = np.asarray(embedding.arrays["grey"])
        self.turned = turned
        self.plane = grey.T if turned else grey
        self.box = None if box is None else ((box[1], box[0], box[3], box[2]) if turned else box)
        if self.box is not None:
            self.view = View.around(self.box, size)
        elif square is not None:
            (row, column), side = square
            self.view = View(float(row) - side / 2, float(column) - side / 2, side, side, size)
        self.key = (embedding.arrays["digest"].tobytes(), self.view, self.box, turned)

    def channels(self) -> FloatArray:
        """(4, v, v) as the encoder takes them."""
        size = self.view.size
        shape = (self.plane.shape[0], self.plane.shape[1])
        box = np.zeros((size, size), np.float32) if self.box is None else self.view.box_map(self.box)
        flag = np.full((size, size), float(self.box is not None), np.float32)
        return np.stack([self.view.look(self.plane) / 255, self.view.inside(shape), box, flag])

    def start(self, mask: MaskPrompt) -> FloatArray:
        """How much of each sample a mask on the plane covers, (v, v)."""
        return self.view.look(mask.pixels.T if self.turned else mask.pixels)

    def prompt_maps(self, marks: Sequence[Mark], previous: FloatArray | None) -> FloatArray:
        """(3, v, v) as the decoder takes them; `previous` is the mask so far, (v, v), from 0 to 1."""
        size = self.view.size
        maps = np.zeros((3, size, size), np.float32)
        at = np.arange(size, dtype=np.float32)
        spread = 2 * (SPREAD * size) ** 2
        for points, positive in marks:
            for row, column in points:
                r, c = self.view.to_view(column, row) if self.turned else self.view.to_view(row, column)
                mark = np.exp(-((at - r) ** 2) / spread)[:, None] * np.exp(-((at - c) ** 2) / spread)[None]
                np.maximum(maps[1 - positive], mark, out=maps[1 - positive])
        if previous is not None:
            maps[2] = previous - 0.5
        return maps

    def back(self, logits: FloatArray) -> FloatArray:
        """(k, v, v) logits on the plane, (k, rows, columns); none of the object beyond the view."""
        maps = self.view.back(logits, self.plane.shape, BEYOND)
        return np.swapaxes(maps, 1, 2) if self.turned else maps


def tall(embedding: Embedding, box: BoxTuple) -> bool:
    """Whether to look at the transposed plane, so that a plane and its transpose get the same answer."""
    height, width = box[2] - box[0], box[3] - box[1]
    if height != width:
        return bool(height > width)
    rows, columns = slice(int(box[0]), int(box[2])), slice(int(box[1]), int(box[3]))
    part = embedding.arrays["grey"][rows, columns]
    return bool(part.tobytes() > np.ascontiguousarray(part.T).tobytes())


def around(mask: NDArray[np.bool_]) -> BoxTuple:
    """Bounds of a mask, a pixel around."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    low, high = np.array([rows[0], columns[0]]), np.array([rows[-1], columns[-1]]) + 1
    return fitting(low - 1, high + 1, mask.shape)


def fitting(low: NDArray[Any], high: NDArray[Any], shape: tuple[int, ...]) -> BoxTuple:
    """A box clipped to the plane."""
    low, high = np.maximum(low, 0), np.minimum(high, shape)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])
