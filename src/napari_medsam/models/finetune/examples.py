"""What there is to learn from: objects outlined on slices, out of images of which some slices are labelled."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_medsam.errors import LabelsError
from napari_medsam.intensity import Window, to_uint8
from napari_medsam.models.finetune.people import BoolArray

LEAST_PIXELS = 10
"""Pieces of fewer pixels are taken for slips of the brush."""

WHOLE = 0.9
"""Where the largest piece holds this part of an object, the object is taken as one, else piece by piece."""


@dataclass(frozen=True)
class Example:
    """An object on a slice.

    Parameters
    ----------
    plane : (rows, columns) or (rows, columns, 3) uint8 array
        The slice as a model sees it.
    mask : (rows, columns) bool array
    """

    plane: NDArray[np.uint8]
    mask: BoolArray


def examples_of(values: NDArray[Any], labels: NDArray[np.integer[Any]], window: Window, axis: int = 0) -> list[Example]:
    """Every object on every labelled slice. A slice without any label counts as not looked at, not as empty.

    Parameters
    ----------
    values : array
        (y, x), (z, y, x) or (t, z, y, x), with 3 colours at the end or none.
    labels : array
        The same without colours: 0 is background, and each other value is a structure.
    window : Window
    axis : int
        The spatial axis across which slices are cut: 0 axial, 1 coronal, 2 sagittal. Two-dimensional images have one.

    Raises
    ------
    LabelsError
        The shapes differ.
    """
    if values.shape[: labels.ndim] != labels.shape or values.ndim - labels.ndim not in (0, 1):
        raise LabelsError(f"The image has {values.shape} voxels and its labels {labels.shape}; they must be the same.")
    found = []
    for plane, drawn in _slices(values, labels, axis):
        if drawn.any():
            grey = to_uint8(plane, window)
            found += [Example(grey, piece) for value in np.unique(drawn[drawn > 0]) for piece in pieces(drawn == value)]
    return found


def pieces(mask: BoolArray) -> list[BoolArray]:
    """A structure as the objects that a person would prompt for, one by one."""
    labelled, count = ndimage.label(mask, np.ones((3, 3)))
    sizes = np.bincount(labelled.ravel())[1:]
    if not count or sizes.max() >= WHOLE * sizes.sum():
        return [mask] if mask.sum() >= LEAST_PIXELS else []
    return [labelled == i + 1 for i in range(count) if sizes[i] >= LEAST_PIXELS]


def digest_of(examples: Iterable[Example]) -> str:
    """A digest of what there is to learn from, in hex."""
    digest = hashlib.blake2b(digest_size=16)
    for example in examples:
        for array in (example.plane, np.packbits(example.mask)):
            digest.update(str(array.shape).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def require_some(examples: Sequence[Example]) -> None:
    """Raise LabelsError when there is nothing to learn from."""
    if not examples:
        raise LabelsError(
            f"No labelled object of at least {LEAST_PIXELS} pixels was found. Label some slices, save the labels "
            "beside the image, and try again."
        )


def _slices(
    values: NDArray[Any], labels: NDArray[np.integer[Any]], axis: int
) -> Iterator[tuple[NDArray[Any], NDArray[np.integer[Any]]]]:
    if labels.ndim == 2:
        yield values, labels
    elif labels.ndim == 3:
        for i in range(labels.shape[axis]):
            yield np.take(values, i, axis), np.take(labels, i, axis)
    else:
        for one, its in zip(values, labels, strict=True):
            yield from _slices(one, its, axis)
