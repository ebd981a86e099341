"""Label voxels with one undo history: the seam that a napari Labels layer and a bare array both fill."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import LabelsError
from napari_medsam.geometry import Plane
from napari_medsam.masks import BoolArray

FIRST_DTYPE = np.uint16
"""New label arrays have this type; they grow when a value needs more."""

GROWTH = (np.uint16, np.uint32)
SIGNED_GROWTH = (np.int32, np.int64)
"""What labels grow to; signed ones stay signed, since -1 may mark voxels to ignore."""


class LabelStore(Protocol):
    """Labels that can be read by slice, written in undoable steps, and that grow rather than overflow."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis."""
        ...

    def read(self, plane: Plane) -> NDArray[Any]:
        """A copy of the labels of one slice."""
        ...

    def write(self, plane: Plane, where: BoolArray, value: int) -> None:
        """Set the pixels `where` of one slice to `value`, as one undo step.

        Raises
        ------
        LabelsError
            The value fits no type that the store can take.
        """
        ...

    def highest(self) -> int:
        """The highest label value in use, 0 when there is none."""
        ...

    def undo(self) -> None:
        """Take back the last step; nothing when there is none."""
        ...

    def redo(self) -> None:
        """Do the last undone step again; nothing when there is none."""
        ...


def grown_dtype(dtype: np.dtype[Any], value: int) -> np.dtype[Any]:
    """`dtype`, or the smallest larger type of its kind that holds `value`.

    Raises
    ------
    LabelsError
        The value is below 0 or beyond the largest type.
    """
    if value < 0:
        raise LabelsError(f"Label values start at 0; {value} cannot be stored.")
    if value <= np.iinfo(dtype).max:
        return dtype
    growth = SIGNED_GROWTH if dtype.kind == "i" else GROWTH
    for larger in growth:
        if value <= np.iinfo(larger).max:
            return np.dtype(larger)
    raise LabelsError(f"Label {value} is beyond {np.iinfo(growth[-1]).max}, the largest value that can be stored.")


def indices_of(plane: Plane, where: BoolArray) -> tuple[NDArray[np.intp], ...]:
    """Index arrays, one per axis of the volume, of the pixels `where` of one slice."""
    rows, columns = np.nonzero(where)
    at: list[NDArray[np.intp]] = [np.empty(0, dtype=np.intp)] * plane.ndim
    for axis, i in plane.index:
        at[axis] = np.full(len(rows), i, dtype=np.intp)
    at[plane.axes[0]], at[plane.axes[1]] = rows, columns
    return tuple(at)


class ArrayLabels:
    """A LabelStore over a numpy array, for use without a window.

    Parameters
    ----------
    data : int array
        Written in place while its type suffices; see `data` for the array in use.
    """

    def __init__(self, data: NDArray[Any]) -> None:
        if data.dtype.kind not in "iu":
            raise LabelsError(f"Labels are whole numbers; an array of {data.dtype} cannot hold them.")
        if not data.flags.writeable:
            raise LabelsError("The labels are read-only; make a copy of the array to write to.")
        self.data = data
        self._undone: list[_Step] = []
        self._done: list[_Step] = []

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> ArrayLabels:
        """No labels yet, FIRST_DTYPE."""
        return cls(np.zeros(shape, dtype=FIRST_DTYPE))

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis."""
        return self.data.shape

    def read(self, plane: Plane) -> NDArray[Any]:
        """A copy of the labels of one slice."""
        plane.check(self.shape)
        return np.array(self.data[plane.key])

    def write(self, plane: Plane, where: BoolArray, value: int) -> None:
        """Set the pixels `where` of one slice to `value`, as one undo step."""
        self.data = self.data.astype(grown_dtype(self.data.dtype, value), copy=False)
        at = indices_of(plane, where & (self.read(plane) != value))
        if not at[0].size:
            return
        self._done.append((at, self.data[at], value))
        self._undone.clear()
        self.data[at] = value

    def highest(self) -> int:
        """The highest label value in use, 0 when there is none."""
        return int(self.data.max(initial=0))

    def undo(self) -> None:
        """Take back the last step; nothing when there is none."""
        if self._done:
            step = self._done.pop()
            self.data[step[0]] = step[1]
            self._undone.append(step)

    def redo(self) -> None:
        """Do the last undone step again; nothing when there is none."""
        if self._undone:
            step = self._undone.pop()
            self.data[step[0]] = step[2]
            self._done.append(step)


_Step = tuple[tuple[NDArray[np.intp], ...], NDArray[Any], int]
