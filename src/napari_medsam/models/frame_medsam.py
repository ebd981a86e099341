"""How MedSAM sees a plane: squashed to a square by splines, then stretched to 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.transform import resize

from napari_medsam.models.frame import BoolArray, FloatArray, Shape
from napari_medsam.models.frame_sam import CELL, CERTAIN, bilinear, shrunk

LEAST_RANGE = 1e-8
"""What the range of grey levels counts as at least, so that a flat plane gives 0 (MedSAM_Inference.py)."""


@dataclass(frozen=True)
class MedSamFrame:
    """A `Frame` (see `frame`) of a square without padding.

    Parameters
    ----------
    size : int
        Side in pixels of the network's input.
    name : str
    """

    size: int = 1024
    name: str = "medsam"

    def image(self, plane: NDArray[np.uint8]) -> FloatArray:
        """(3, size, size) of 0 to 1, over all channels together."""
        ends = int(plane.min()), int(plane.max())
        levels = np.stack([self.squashed(channel, ends) for channel in np.moveaxis(np.atleast_3d(plane), -1, 0)])
        low, high = int(levels.min()), int(levels.max())
        stretched = ((levels - float(low)) / max(high - low, LEAST_RANGE)).astype(np.float32)
        return np.ascontiguousarray(np.broadcast_to(stretched, (3, self.size, self.size)))

    def squashed(self, channel: NDArray[np.uint8], ends: tuple[int, int]) -> NDArray[np.uint8]:
        """One channel, (size, size), by splines of order 3, smoothed where it shrinks, and cut to whole numbers.

        What the splines overshoot is clipped to the `ends` of the whole plane, of all its channels together.

        The original resizes the three channels as one block, which takes ten times as long for the same numbers: they
        differ by 1e-13, which matters only where the exact number is whole, and there its own equal channels differ.
        """
        resized: Any = resize  # untyped
        shape = (self.size, self.size)
        square = resized(channel, shape, order=3, preserve_range=True, anti_aliasing=True, clip=False)
        return np.asarray(np.clip(square, *ends), dtype=np.uint8)

    def positions(self, xy: NDArray[np.float64], shape: Shape) -> FloatArray:
        """Each axis by its own scale; the half pixel is added within the prompt encoder, in the input's pixels."""
        return np.asarray(xy / (shape[1], shape[0]) * self.size, dtype=np.float32)

    def mask(self, pixels: BoolArray) -> FloatArray:
        """Logits on the decoder's grid, (size / 4, size / 4), between by the share of a cell that is on the object."""
        cells = self.size // CELL
        share = shrunk(pixels.astype(np.float32), (cells, cells))
        return np.asarray((2 * share - 1) * CERTAIN, dtype=np.float32)

    def restore(self, logits: FloatArray, shape: Shape) -> BoolArray:
        """Probabilities, bilinear to the plane at once, above one half: not the same as resizing the logits."""
        masks = np.empty((len(logits), *shape), dtype=bool)
        for mask, one in zip(masks, logits, strict=True):
            probable = torch.sigmoid(torch.from_numpy(np.ascontiguousarray(one)))
            mask[:] = (bilinear(probable, shape) > 0.5).numpy()
        return masks


MEDSAM = MedSamFrame()
