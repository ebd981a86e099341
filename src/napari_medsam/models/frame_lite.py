"""How LiteMedSAM sees a plane: the longest side at 256 pixels, stretched to 0 to 1, zeros at the right and below."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from napari_medsam.models.area_resize import area_resize
from napari_medsam.models.frame import BoolArray, FloatArray, Shape, as_rgb
from napari_medsam.models.frame_sam import bilinear, fitting

SIZE = 256
"""Side in pixels of the input, of a mask prompt, and of the decoder's logits."""


class LiteFrame:
    """A `Frame` (see `frame`), equal to MedSAM's CVPR24_LiteMedSAM_infer.py and its version for scribbles."""

    name = "litemedsam"

    def image(self, plane: NDArray[np.uint8]) -> FloatArray:
        """(3, SIZE, SIZE), 0 to 1: stretched between its own least and greatest value after the resize, then padded."""
        small = area_resize(plane, fitting((plane.shape[0], plane.shape[1]), SIZE))
        low, high = int(small.min()), int(small.max())
        stretched = (as_rgb(small) - np.float64(low)) / max(high - low, 1e-8)
        return np.moveaxis(_padded(stretched), -1, 0).astype(np.float32, order="C")

    def positions(self, xy: NDArray[np.float64], shape: Shape) -> FloatArray:
        """Whole pixels of the input, cut off and not rounded, as the original has its boxes."""
        return np.trunc(xy * (SIZE / max(shape))).astype(np.float32)

    def mask(self, pixels: BoolArray) -> FloatArray:
        """A scribble, (SIZE, SIZE), of 0 and 1, which are no logits.

        Of a large plane the original loses thin strokes: it resizes 0 and 1 by area and rounds, so a line is gone where
        it fills less than half of each new pixel. Here the new pixels that hold the middle of a drawn one are set, too.
        Where the original keeps a stroke, that only rounds its rim another way.
        """
        shape = int(pixels.shape[0]), int(pixels.shape[1])
        rows, columns = fitting(shape, SIZE)
        scribble = area_resize(pixels.astype(np.uint8), (rows, columns))
        row, column = np.nonzero(pixels)
        scribble[(2 * row + 1) * rows // (2 * shape[0]), (2 * column + 1) * columns // (2 * shape[1])] = 1
        return _padded(scribble).astype(np.float32)

    def restore(self, logits: FloatArray, shape: Shape) -> BoolArray:
        """The padding cut off, bilinear to the plane, above 0, where the original's sigmoid is above one half."""
        rows, columns = fitting(shape, SIZE)
        inner = torch.from_numpy(np.ascontiguousarray(logits[:, :rows, :columns]))
        return np.stack([(bilinear(one, shape) > 0).numpy() for one in inner])


def _padded(image: NDArray[np.generic]) -> NDArray[np.generic]:
    beyond = [(0, SIZE - image.shape[0]), (0, SIZE - image.shape[1])]
    return np.pad(image, beyond + [(0, 0)] * (image.ndim - 2))


LITE = LiteFrame()
