"""Resize of uint8 images by area, grey level by grey level what OpenCV's INTER_AREA gives.

LiteMedSAM was trained on images that OpenCV made small. A resize of our own saves users a dependency of 60 MB, and
being equal to the grey level keeps the masks those of the original. OpenCV goes one of three ways:

- shrinking by whole factors: the mean of a block, in integers;
- other shrinking: the mean of the pixels under each new one, weighted by their share, in float32, along rows and then
  along columns;
- enlarging: copies of pixels with one blended pixel where two meet, in fixed point with 11 bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Uint8Array = NDArray[np.uint8]
FloatArray = NDArray[np.float32]
Shape = tuple[int, int]

SHARE = 1e-3
"""A pixel of which less than this lies under the new one does not count (OpenCV's own limit)."""

ONE = 2048
"""1 in OpenCV's fixed point for weights of uint8 pixels: 11 bits."""


def area_resize(image: Uint8Array, shape: Shape) -> Uint8Array:
    """Resize an image to `shape` as `cv2.resize(..., interpolation=cv2.INTER_AREA)` does.

    Parameters
    ----------
    image : (rows, columns) or (rows, columns, 3) uint8 array
    shape : (int, int)
        Rows and columns of the result, at least 1.

    Returns
    -------
    (*shape) or (*shape, 3) uint8 array
    """
    if image.shape[:2] == shape:
        return image.copy()
    # the inverse of the inverse, as OpenCV has it: it is not always the quotient, and whole or not decides the way
    factors = [1.0 / (new / old) for old, new in zip(image.shape, shape, strict=False)]
    if min(factors) < 1:
        return _enlarged(image, shape, factors)
    whole = [round(factor) for factor in factors]
    if all(abs(f - w) < np.finfo(np.float64).eps for f, w in zip(factors, whole, strict=True)):
        return _block_means(image, shape, whole)
    along = _weighted(image.swapaxes(0, 1), shape[1], factors[1]).swapaxes(0, 1)
    return _to_uint8(_weighted(along, shape[0], factors[0]))


def _block_means(image: Uint8Array, shape: Shape, block: list[int]) -> Uint8Array:
    rows, columns = block
    cut = image[: shape[0] * rows, : shape[1] * columns]
    sums = cut.reshape(shape[0], rows, shape[1], columns, *image.shape[2:]).sum(axis=(1, 3), dtype=np.int32)
    if block == [2, 2]:
        return np.asarray((sums + 2) >> 2, dtype=np.uint8)
    return _to_uint8(sums.astype(np.float32) * (np.float32(1) / np.float32(rows * columns)))


def _weighted(image: NDArray[np.generic], size: int, factor: float) -> FloatArray:
    """Weighted means along the first axis; sums are made in the order of the pixels, since float32 rounds each."""
    at, weights = _shares(image.shape[0], size, factor)
    total = np.zeros((size, *image.shape[1:]), dtype=np.float32)
    for pixels, share in zip(at.T, weights.T, strict=True):
        total += image[pixels].astype(np.float32) * share.reshape(-1, *[1] * (image.ndim - 1))
    return total


def _shares(old: int, new: int, factor: float) -> tuple[NDArray[np.intp], FloatArray]:
    """Which pixels lie under each new one, (new, k), and their shares of it, (new, k), 0 where there are fewer."""
    start = np.arange(new) * factor
    end = start + factor
    width = np.minimum(factor, old - start)
    last = np.minimum(np.floor(end), old - 1)
    first = np.minimum(np.ceil(start), last)
    at = (first - 1)[:, None] + np.arange(int((last - first).max()) + 2)
    share = np.where((at >= first[:, None]) & (at < last[:, None]), 1.0, 0.0)
    before, after = first - start, end - last
    share[:, 0] = np.where(before > SHARE, before, 0)
    tail = at == last[:, None]
    share[tail] = np.where(after > SHARE, np.minimum(np.minimum(after, 1), width), 0)
    return at.clip(0, old - 1).astype(np.intp), (share / width[:, None]).astype(np.float32)


class _Pairs(NamedTuple):
    """The two pixels that each new one blends, and their weights in parts of ONE; all (new,)."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    of_first: NDArray[np.int32]
    of_second: NDArray[np.int32]


def _enlarged(image: Uint8Array, shape: Shape, factors: list[float]) -> Uint8Array:
    rows = _pairs(image.shape[0], shape[0], factors[0])
    columns = _pairs(image.shape[1], shape[1], factors[1])
    across = (1, -1, *[1] * (image.ndim - 2))
    left, right = image[:, columns.first], image[:, columns.second]
    blended = left * columns.of_first.reshape(across) + right * columns.of_second.reshape(across)
    # OpenCV drops 4 bits before each product and 16 after it, so that they fit its registers
    down = (-1, *[1] * (image.ndim - 1))
    upper = ((blended[rows.first] >> 4) * rows.of_first.reshape(down)) >> 16
    lower = ((blended[rows.second] >> 4) * rows.of_second.reshape(down)) >> 16
    return np.asarray((upper + lower + 2) >> 2, dtype=np.uint8)


def _pairs(old: int, new: int, factor: float) -> _Pairs:
    index = np.arange(new)
    first = np.floor(index * factor).astype(np.intp).clip(0, old - 1)
    blend = ((index + 1) - (first + 1) * (new / old)).astype(np.float32)
    blend = np.where((blend <= 0) | (first == old - 1), np.float32(0), blend - np.floor(blend))
    of_first, of_second = (np.rint(part * np.float32(ONE)).astype(np.int32) for part in (1 - blend, blend))
    return _Pairs(first, (first + 1).clip(max=old - 1), of_first, of_second)


def _to_uint8(values: FloatArray) -> Uint8Array:
    """Rounded, halves to the even number; the means of grey levels never leave their range."""
    return np.rint(values).astype(np.uint8)
