"""How SAM-Med2D, SAMUS and Medical-SAM-Adapter see a plane: squashed to a square, each in its way. No torch here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_medsam.models.frame import BoolArray, FloatArray, Shape, as_grey, as_rgb
from napari_medsam.prompts import Box

MEAN = np.array([123.675, 116.28, 103.53], np.float32)
DEVIATION = np.array([58.395, 57.12, 57.375], np.float32)
"""Of ImageNet's colours in grey levels, as in SAM's build_sam.py."""

MSA_THRESHOLD = 0.5
"""Medical-SAM-Adapter takes no one threshold: it averages overlaps at 0.1 to 0.9 on the logits. This is the middle."""


@dataclass(frozen=True)
class SquashFrame:
    """A `Frame` (see `frame`) of a square without padding: each axis is scaled by itself.

    Parameters
    ----------
    name : str
    size : int
        Side in pixels of the network's input.
    side : int
        Side of the decoder's logits, and of the mask prompt.
    seen : callable
        A plane and the size to the network's input.
    enlarged : callable
        Logits, (side, side), and the plane's shape to logits on the plane.
    threshold : float
        Logits above it are on the object.
    exchanged : bool
        Whether the network takes (row, column) where others take (x, y).
    """

    name: str
    size: int
    side: int
    seen: Callable[[NDArray[np.uint8], int], FloatArray]
    enlarged: Callable[[FloatArray, Shape], FloatArray]
    threshold: float = 0.0
    exchanged: bool = False

    def image(self, plane: NDArray[np.uint8]) -> FloatArray:
        """(channels, size, size)."""
        return self.seen(plane, self.size)

    def positions(self, xy: NDArray[np.float64], shape: Shape) -> FloatArray:
        """Each axis by its own scale; the half pixel is added within the prompt encoder, in the input's pixels."""
        scaled = xy * (self.size / shape[1], self.size / shape[0])
        return np.ascontiguousarray(scaled[:, ::-1] if self.exchanged else scaled, dtype=np.float32)

    def mask(self, pixels: BoolArray) -> FloatArray:
        """How much of each cell is on the object, 0 to 1, (side, side).

        SAM-Med2D was trained with the sigmoid of its own last logits (`generate_point` in its utils.py), which is of
        that range. The other two were trained without mask prompts.
        """
        rows, columns = (_shares(length, self.side) for length in pixels.shape)
        return np.asarray(rows @ pixels.astype(np.float32) @ columns.T)

    def again(self, logits: FloatArray) -> FloatArray:
        """The sigmoid of the logits, as SAM-Med2D was trained."""
        return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)), dtype=np.float32)

    def restore(self, logits: FloatArray, shape: Shape) -> BoolArray:
        """Enlarge, then compare. One mask at a time: large planes take much memory as logits."""
        masks = np.empty((len(logits), *shape), dtype=bool)
        for mask, one in zip(masks, logits, strict=True):
            np.greater(self.enlarged(one, shape), self.threshold, out=mask)
        return masks


def ends_of(box: Box) -> NDArray[np.float64]:
    """The first pixel of a box and the one after its last as (x, y), (2, 2).

    SAM-Med2D was trained on the boxes of scikit-image's `regionprops`, which are half-open, moved by up to five pixels.
    """
    return np.array([(box.column0, box.row0), (box.column1, box.row1)], dtype=np.float64)


def in_imagenet_colours(plane: NDArray[np.uint8], size: int) -> FloatArray:
    """SAM-Med2D: copies of the nearest pixels, normalised, (3, size, size).

    The original normalises before it resizes. To copy pixels first gives the same numbers with less work.
    """
    rows, columns = (_copied(length, size) for length in plane.shape[:2])
    square = as_rgb(plane[rows[:, None], columns])
    return np.ascontiguousarray(((square - MEAN) / DEVIATION).transpose(2, 0, 1), dtype=np.float32)


def in_grey(plane: NDArray[np.uint8], size: int) -> FloatArray:
    """SAMUS: PIL's bilinear resize of grey levels, as 0 to 1, (1, size, size)."""
    return _as_fractions(_resized(as_grey(plane), size)[..., None])


def in_colour(plane: NDArray[np.uint8], size: int) -> FloatArray:
    """Medical-SAM-Adapter: PIL's bilinear resize of colours, as 0 to 1, (3, size, size); no mean, no deviation."""
    return _as_fractions(as_rgb(_resized(plane, size)))


def bilinear(logits: FloatArray, shape: Shape) -> FloatArray:
    """As torch's `interpolate` with align_corners=False."""
    upper, lower, down = _between(logits.shape[0], shape[0])
    left, right, across = _between(logits.shape[1], shape[1])
    tall = logits[upper] * (1 - down)[:, None] + logits[lower] * down[:, None]
    return np.asarray(tall[:, left] * (1 - across) + tall[:, right] * across)


def bilinear_twice(logits: FloatArray, shape: Shape) -> FloatArray:
    """First to the network's input of 256 pixels, then to the plane."""
    return bilinear(bilinear(logits, (256, 256)), shape)


def nearest(logits: FloatArray, shape: Shape) -> FloatArray:
    """As torch's `interpolate`, which counts in float32."""
    rows, columns = (
        np.minimum((np.arange(new, dtype=np.float32) * np.float32(old / new)).astype(np.intp), old - 1)
        for old, new in zip(logits.shape, shape, strict=True)
    )
    return np.asarray(logits[rows[:, None], columns])


MED2D = SquashFrame("sam-med2d", 256, 64, in_imagenet_colours, bilinear_twice)
"""As in segment_anything/predictor_sammed.py; sigmoid(x) > 0.5 is x > 0."""

SAMUS = SquashFrame("samus", 256, 128, in_grey, bilinear_twice)
"""The original compares at 256 pixels. The way back to the plane is ours: bilinear on the logits, then > 0."""

MSA = SquashFrame("msa", 1024, 256, in_colour, nearest, MSA_THRESHOLD, exchanged=True)
"""See `msa` for the exchanged axes."""


def _copied(old: int, new: int) -> NDArray[np.intp]:
    """Which pixel each new one copies, as OpenCV's INTER_NEAREST; it divides twice, which can differ from once."""
    at = np.floor(np.arange(new) * (1.0 / (new / old))).astype(np.intp)
    return np.asarray(np.minimum(at, old - 1))


def _resized(plane: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize((size, size), Image.Resampling.BILINEAR))


def _as_fractions(square: NDArray[np.uint8]) -> FloatArray:
    return np.ascontiguousarray(square.transpose(2, 0, 1), dtype=np.float32) / np.float32(255)


def _between(old: int, new: int) -> tuple[NDArray[np.intp], NDArray[np.intp], FloatArray]:
    """The two places between which each new one lies, and the share of the second; half a pixel is the edge."""
    at = np.maximum((np.arange(new) + 0.5) * (old / new) - 0.5, 0)
    first = np.minimum(at.astype(np.intp), old - 1)
    return first, np.minimum(first + 1, old - 1), (at - first).astype(np.float32)


def _shares(old: int, new: int) -> FloatArray:
    """How much of each new cell each old one covers, (new, old); rows sum to 1."""
    edges = np.arange(new + 1) * (old / new)
    covered = np.clip(edges[:, None] - np.arange(old), 0, 1)
    return np.asarray(np.diff(covered, axis=0) * (new / old), dtype=np.float32)
