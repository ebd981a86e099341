"""How SAM sees a plane: the longest side made to fit, colours normalised, padded at the right and below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from napari_medsam.models.frame import BoolArray, FloatArray, Shape

Plane = TypeVar("Plane", NDArray[np.uint8], NDArray[np.float32])

MEAN = np.array([123.675, 116.28, 103.53], np.float32)[:, None, None]
DEVIATION = np.array([58.395, 57.12, 57.375], np.float32)[:, None, None]
"""Of the colours, 0 to 255 (segment_anything/build_sam.py)."""

CELL = 4
"""Side in pixels of the input of a cell of the decoder's grid, on which logits and mask prompts are."""

CERTAIN = 10.0
"""The logit of a mask prompt's inside, and minus that of its outside.

SAM takes its own logits of the round before as a mask prompt. Those lie about this far from 0, and it is what SAM 2, by
the same authors, makes of a given mask of 0 and 1 (`mask * 20 - 10` in sam2/modeling/sam2_base.py).
"""


@dataclass(frozen=True)
class SamFrame:
    """A `Frame` (see `frame`) of a padded square; SAM's and MobileSAM's.

    Parameters
    ----------
    size : int
        Side in pixels of the network's input.
    name : str
    """

    size: int = 1024
    name: str = "sam"

    def image(self, plane: NDArray[np.uint8]) -> FloatArray:
        """(3, size, size). The padding is 0 after normalising: the mean colour."""
        small = self.resized(plane)
        channels = small[None] if small.ndim == 2 else np.moveaxis(small, -1, 0)
        padded = np.zeros((3, self.size, self.size), np.float32)
        padded[:, : small.shape[0], : small.shape[1]] = (channels.astype(np.float32) - MEAN) / DEVIATION
        return padded

    def resized(self, plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The plane at the size that the network sees, without padding."""
        return shrunk(plane, fitting(_shape(plane), self.size))

    def positions(self, xy: NDArray[np.float64], shape: Shape) -> FloatArray:
        """Each axis by its own scale; the half pixel is added within the prompt encoder, in the input's pixels."""
        rows, columns = fitting(shape, self.size)
        return np.asarray(xy * (columns / shape[1], rows / shape[0]), dtype=np.float32)

    def mask(self, pixels: BoolArray) -> FloatArray:
        """Logits on the decoder's grid, (size / 4, size / 4), between by the share of a cell that is on the object."""
        small = shrunk(pixels.astype(np.float32), fitting(_shape(pixels), self.size))
        padded = np.zeros((self.size, self.size), np.float32)
        padded[: small.shape[0], : small.shape[1]] = small
        cells = self.size // CELL
        share = padded.reshape(cells, CELL, cells, CELL).mean(axis=(1, 3))
        return np.asarray((2 * share - 1) * CERTAIN, dtype=np.float32)

    def again(self, logits: FloatArray) -> FloatArray:
        """The logits as they are (segment_anything/predictor.py)."""
        return logits

    def restore(self, logits: FloatArray, shape: Shape) -> BoolArray:
        """Bilinear to the input's size, the padding cut off, bilinear to the plane, above 0; one mask at a time.

        A plane of half the input's size, as one of 512 x 512, takes the mean of each two pixels of the larger one. Both
        lie between the same two logits, of which a cell has one, so one step is the same but for rounding.
        """
        rows, columns = fitting(shape, self.size)
        if (rows, columns) == (2 * shape[0], 2 * shape[1]) and CELL * logits.shape[-1] == self.size:
            half = bilinear(torch.from_numpy(np.ascontiguousarray(logits)), (self.size // 2, self.size // 2))
            return np.asarray((half[:, : shape[0], : shape[1]] > 0).numpy())
        masks = np.empty((len(logits), *shape), dtype=bool)
        for mask, one in zip(masks, logits, strict=True):
            square = bilinear(torch.from_numpy(np.ascontiguousarray(one)), (self.size, self.size))
            mask[:] = (bilinear(square[:rows, :columns], shape) > 0).numpy()
        return masks


def fitting(shape: Shape, size: int) -> Shape:
    """Rows and columns of a plane of `shape` with its longest side made `size`, at least 1 each.

    As `ResizeLongestSide.get_preprocess_shape` of segment-anything; that gives 0 for planes a thousand times as long as
    wide.
    """
    scale = size * 1.0 / max(shape)
    return max(1, int(shape[0] * scale + 0.5)), max(1, int(shape[1] * scale + 0.5))


def shrunk(plane: Plane, shape: Shape) -> Plane:
    """A plane at another shape by PIL's bilinear resize, smoothed where it shrinks; uint8, or grey and float32."""
    resized = Image.fromarray(np.ascontiguousarray(plane)).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=plane.dtype)


def bilinear(picture: torch.Tensor, shape: Shape) -> torch.Tensor:
    """(..., rows, columns) at another shape, pixels taken as areas."""
    stack = picture.reshape(1, -1, *picture.shape[-2:])
    larger = functional.interpolate(stack, shape, mode="bilinear", align_corners=False)
    return larger.reshape(*picture.shape[:-2], *shape)


def _shape(plane: NDArray[np.generic]) -> Shape:
    return int(plane.shape[0]), int(plane.shape[1])


SAM = SamFrame()
