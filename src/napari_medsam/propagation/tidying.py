"""Tidying up an object along a stack: what would change, to look at before it is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import LabelsError
from napari_medsam.geometry import Grid, Plane
from napari_medsam.labels import LabelStore
from napari_medsam.masks import BoolArray
from napari_medsam.propagation.provenance import Look, digest
from napari_medsam.propagation.stack import Stack
from napari_medsam.shapes import CleanUp, apply_near


@dataclass(frozen=True)
class Tidied:
    """What an object would be after an operation; nothing is written.

    Parameters
    ----------
    value : int
        Its label.
    stack : Stack
    masks : mapping of int to (rows, columns) bool array
        The slices that would change, by position.
    before : mapping of int to bytes
        Digests of what is on those slices now.
    added, removed : int
        Voxels.
    """

    value: int
    stack: Stack
    masks: Mapping[int, BoolArray] = field(repr=False)
    before: Mapping[int, bytes] = field(repr=False)
    added: int
    removed: int

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def planes(self) -> dict[Plane, BoolArray]:
        """The slices that would change, by their place in the image."""
        return {self.stack.plane(at): mask for at, mask in self.masks.items()}

    def require_unchanged(self, look: Look) -> None:
        """Raise LabelsError when the object is not any more what it was on the slices to change."""
        if any(digest(look(at)) != before for at, before in self.before.items()):
            raise LabelsError("The object was changed since this was shown. Look at it again, then write it.")


def tidied(value: int, stack: Stack, cleanup: CleanUp, grid: Grid, look: Look) -> Tidied:
    """An object after an operation, on all slices of a stack together.

    Parameters
    ----------
    value : int
    stack : Stack
    cleanup : CleanUp
        Its axis, if it has one, counts in (position, row, column).
    grid : Grid
        Of the image.
    look : callable
        Gives the pixels of the object at a position.

    Raises
    ------
    LabelsError
        The object has no pixel in the stack.
    """
    shape = (stack.size, *stack.plane(0).shape_in(grid.shape))
    block = np.zeros(shape, dtype=bool)  # slices that stay empty take no memory
    for at in range(stack.size):
        mask = look(at)
        if mask.any():
            block[at] = mask
    region, near = apply_near(cleanup, block, (stack.pitch(grid), *stack.pixel(grid)))
    if not near.size:
        raise LabelsError("There is nothing of this object here to tidy up. Choose another one.")
    old = block[region]
    differs = np.flatnonzero((near != old).any(axis=(1, 2)))
    masks, before = {}, {}
    for i in differs.tolist():
        at = region[0].start + i
        before[at] = digest(block[at])
        masks[at] = np.zeros(shape[1:], dtype=bool)
        masks[at][region[1:]] = near[i]
    return Tidied(value, stack, masks, before, int(np.count_nonzero(near & ~old)), int(np.count_nonzero(old & ~near)))


def steps(shown: Tidied, labels: LabelStore) -> Iterator[tuple[Plane, NDArray[np.int64]]]:
    """What `LabelStore.put` takes to write the operation: pixels of other objects stay theirs."""
    for plane, mask in shown.planes.items():
        after = labels.read(plane).astype(np.int64)
        after[(after == shown.value) & ~mask] = 0
        after[(after == 0) & mask] = shown.value
        yield plane, after
