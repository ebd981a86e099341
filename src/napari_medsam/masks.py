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
    if current.shape != mask.shape:
        raise LabelsError(f"The mask has {mask.shape} pixels, but the slice of labels has {current.shape}.")
    free = current == 0 if overlap is Overlap.KEEP else current != value
    return np.asarray(mask & free, dtype=bool)
