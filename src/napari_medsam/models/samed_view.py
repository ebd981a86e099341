"""How SAMed sees a slice of CT, and how its classes come back onto the slice. No torch here.

The steps are those of SAMed's own `preprocess/preprocess_data.py` and `utils.py` (`test_single_volume`), with
scipy's spline zoom as there: to the size of the training slices first, then to the network's. The splines overshoot at
edges; the original does not clip that, so neither is it here.

Which way up
------------
Known: the original cuts slices from NIfTI volumes as (z, y, x) in the file's own voxel order, and half of its training
slices were rotated by a random quarter turn and then mirrored, so the network has seen all eight orientations.
Inferred: in the pictures that its authors show, the spine is below and the liver on the right side of the picture, so
rows go toward posterior and columns toward the patient's right. Our planes have columns toward the left, so they are
mirrored on the way in, and the labels on the way out.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Value = TypeVar("Value", bound=np.generic)

SIZE = 512
"""Side in pixels of what the network sees."""

TRAINED = 224
"""Side in pixels of the slices that it was trained on; every slice is brought to it first."""

LOW, HIGH = -125.0, 275.0
"""The Hounsfield units that become 0 and 1."""


def mirrored(plane: NDArray[Value]) -> NDArray[Value]:
    """A plane of ours, (rows, columns), the way SAMed knows it, and back."""
    return plane[:, ::-1]


def network_input(values: NDArray[np.generic]) -> NDArray[np.float32]:
    """The network's input, (3, SIZE, SIZE), of a slice in Hounsfield units, (rows, columns), the way SAMed knows it.

    NaN counts as air.
    """
    shown = np.clip(np.nan_to_num(values.astype(np.float32), nan=LOW), LOW, HIGH)
    shown = (shown - np.float32(LOW)) / np.float32(HIGH - LOW)
    for side in (TRAINED, SIZE):
        shown = zoomed(shown, (side, side), order=3)
    return np.repeat(shown[None], 3, axis=0)


def on_slice(classes: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Classes on a slice of `shape`, of those on the network's grid, (SIZE, SIZE)."""
    return zoomed(classes, shape, order=0)


def zoomed(plane: NDArray[Value], shape: tuple[int, int], *, order: int) -> NDArray[Value]:
    """`plane` at another shape, by splines of `order`; itself when it has that shape."""
    if plane.shape == shape:
        return plane
    factors = (shape[0] / plane.shape[0], shape[1] / plane.shape[1])
    return np.asarray(ndimage.zoom(plane, factors, order=order))
