"""Where a mask may be written among labels that are already there."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import LabelsError

BoolArray = NDArray[np.bool_]


class Overlap(Enum):
    """What happens to voxels of other objects under a new mask."""

    KEEP = "keep other objects"
    OVERWRITE = "overwrite other objects"


def paintable(current: NDArray[Any], mask: BoolArray, value: int, overlap: Overlap) -> BoolArray:
    """Which pixels of one slice change when `mask` is written as `value`.

    Parameters
    ----------
    current : (rows, columns) int array
        The labels of the slice.
    mask : (rows, columns) bool array
    value : int
    overlap : Overlap

    Returns
    -------
    (rows, columns) bool array
        Pixels inside the mask that are free (KEEP), or that do not hold `value` yet (OVERWRITE).
    """
    _require_same_shape(current, mask)
    free = current == 0 if overlap is Overlap.KEEP else current != value
    return np.asarray(mask & free, dtype=bool)


def merged(current: NDArray[Any], new: NDArray[Any], overlap: Overlap) -> NDArray[np.int64]:
    """One slice of labels with new ones laid over it.

    Parameters
    ----------
    current, new : (rows, columns) int arrays
        Where `new` is 0, nothing changes.
    overlap : Overlap
        Whether `new` goes onto free pixels only, or onto other objects too.

    Returns
    -------
    (rows, columns) int64 array
    """
    _require_same_shape(current, new)
    laid = (new != 0) & (current == 0) if overlap is Overlap.KEEP else new != 0
    out = current.astype(np.int64)  # whatever value comes, it fits
    out[laid] = new[laid]
    return out


def revised(current: NDArray[Any], mask: BoolArray, value: int, overlap: Overlap) -> NDArray[np.int64]:
    """One slice of labels where `mask` takes the place of all pixels that are `value` now.

    Those that left the mask become background; other objects are kept or overwritten.

    Parameters
    ----------
    current : (rows, columns) int array
    mask : (rows, columns) bool array
    value : int
    overlap : Overlap

    Returns
    -------
    (rows, columns) int64 array
    """
    _require_same_shape(current, mask)
    others = np.where(current == value, 0, current)
    return merged(others, np.where(mask, value, 0), overlap)


def _require_same_shape(current: NDArray[Any], new: NDArray[Any]) -> None:
    if current.shape != new.shape:
        raise LabelsError(f"The mask has {new.shape} pixels, but the slice of labels has {current.shape}.")
