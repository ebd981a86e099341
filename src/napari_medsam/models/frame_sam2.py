"""How SAM 2 and MedSAM2 see a plane: squashed to a square, in colours normalised as ImageNet's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from napari_medsam.models.frame import BoolArray, FloatArray, Shape, as_rgb

MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
"""Of ImageNet's colours, as in sam2/utils/transforms.py."""

MASK_SCALE, MASK_OFFSET = 20.0, -10.0
"""What SAM 2 makes of a given mask of 0 and 1 before it takes it for its own logits (sam2/modeling/sam2_base.py)."""

MOST_SURE = 32.0
"""Logits beyond this are cut off before they are taken for the next round."""


@dataclass(frozen=True)
class Sam2Frame:
    """A `Frame` (see `frame`) of a square without padding.

    Parameters
    ----------
    name : str
    size : int
        Side in pixels of the network's input; its mask prompts are a quarter of it.
    resized : callable
        (rows, columns, 3) uint8 and a size to (3, size, size) float32 of 0 to 1.
    """

    name: str
    size: int
    resized: Callable[[NDArray[np.uint8], int], FloatArray]

    def image(self, plane: NDArray[np.uint8]) -> FloatArray:
        """(3, size, size), normalised after the resize."""
        return np.asarray((self.resized(as_rgb(plane), self.size) - MEAN) / DEVIATION, dtype=np.float32)

    def positions(self, xy: NDArray[np.float64], shape: Shape) -> FloatArray:
        """Each axis by its own scale; the half pixel is added within the prompt encoder, in the input's pixels."""
        return np.asarray(xy / (shape[1], shape[0]) * self.size, dtype=np.float32)

    def mask(self, pixels: BoolArray) -> FloatArray:
        """Logits on the decoder's grid, (size / 4, size / 4)."""
        side = self.size // 4
        part = _shrunk(torch.from_numpy(pixels.astype(np.float32))[None], side)[0]
        return np.asarray(part * MASK_SCALE + MASK_OFFSET, dtype=np.float32)

    def again(self, logits: FloatArray) -> FloatArray:
        """The logits, cut off as in sam2/sam2_image_predictor.py."""
        return logits.clip(-MOST_SURE, MOST_SURE)

    def truth(self, pixels: BoolArray) -> FloatArray:
        """A mask as 0 and 1 on the input's grid, (size, size): above a half, or where it is most."""
        part = _shrunk(torch.from_numpy(pixels.astype(np.float32))[None], self.size)[0]
        return np.asarray(part >= min(0.5, float(part.max())), dtype=np.float32)

    def restore(self, logits: FloatArray, shape: Shape) -> BoolArray:
        """Bilinear to the plane, then above 0. One at a time: large planes take much memory as logits."""
        masks = np.empty((len(logits), *shape), dtype=bool)
        for mask, one in zip(masks, logits, strict=True):
            given = torch.from_numpy(np.ascontiguousarray(one))[None, None]
            mask[:] = (functional.interpolate(given, shape, mode="bilinear", align_corners=False)[0, 0] > 0).numpy()
        return masks


def as_tensor(rgb: NDArray[np.uint8], size: int) -> FloatArray:
    """As SAM2Transforms: bilinear, smoothed where it shrinks, of numbers that are no longer rounded."""
    return _shrunk(torch.from_numpy(np.moveaxis(rgb, -1, 0) / np.float32(255)), size)


def as_picture(rgb: NDArray[np.uint8], size: int) -> FloatArray:
    """As MedSAM2's scripts: PIL's bicubic of whole numbers, rounded to whole numbers."""
    square = Image.fromarray(np.ascontiguousarray(rgb)).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(np.moveaxis(np.asarray(square), -1, 0) / np.float32(255), dtype=np.float32)


def _shrunk(channels: torch.Tensor, size: int) -> FloatArray:
    """(c, rows, columns) to (c, size, size)."""
    square = functional.interpolate(channels[None], (size, size), mode="bilinear", align_corners=False, antialias=True)
    return np.asarray(square[0].numpy(), dtype=np.float32)


SAM2 = Sam2Frame("sam2", 1024, as_tensor)
MEDSAM2 = Sam2Frame("medsam2", 512, as_picture)
