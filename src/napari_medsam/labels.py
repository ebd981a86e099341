"""Label voxels with one undo history: the seam that a napari Labels layer and a bare array both fill."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import LabelsError
from napari_medsam.geometry import Plane
from napari_medsam.masks import BoolArray
from napari_medsam.shapes import bounds_of

FIRST_DTYPE = np.uint16
"""New label arrays have this type; they grow when a value needs more."""

GROWTH = (np.uint16, np.uint32)
SIGNED_GROWTH = (np.int32, np.int64)
"""What labels grow to; signed ones stay signed, since -1 may mark voxels to ignore."""


MOST_COUNTED = 1 << 20
"""Values up to this are looked for with a table of all of them."""


class Standing(Enum):
    """Whether what was written is in the labels, by their undo history."""

    DONE = auto()
    UNDONE = auto()
    UNKNOWN = auto()


class Step(Protocol):
    """A step of an undo history, to be asked again whenever it matters."""

    @property
    def standing(self) -> Standing:
        """Whether it is done or undone at the moment; UNKNOWN where the history does not tell."""
        ...


@dataclass(frozen=True)
class Settled:
    """A step whose standing never changes."""

    standing: Standing


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

    def put(self, slices: Iterable[tuple[Plane, NDArray[Any]]]) -> None:
        """Give whole slices new values, (rows, columns) int arrays, as one undo step together.

        They are taken one by one, each after the one before was written. Where one fails, those before it stay, and
        are one step.

        Raises
        ------
        LabelsError
            A value fits no type that the store can take.
        """
        ...

    def latest(self) -> Step:
        """The last step that is done: the one that `undo` would take back. DONE for ever where there is none."""
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


def dtype_for(dtype: np.dtype[Any], values: NDArray[Any]) -> np.dtype[Any]:
    """What `dtype` must grow to for all of `values`, (k,) with k > 0; see `grown_dtype`."""
    grown_dtype(dtype, int(values.min()))
    return grown_dtype(dtype, int(values.max()))


def values_of(labels: NDArray[Any]) -> list[int]:
    """The values above 0 in some labels, ascending: as np.unique, in less than half the time where they are small."""
    high = int(labels.max(initial=0))
    if labels.dtype.kind not in "iu" or high > MOST_COUNTED:
        return [int(v) for v in np.unique(labels) if v > 0]
    there = np.zeros(high + 1, dtype=bool)
    there[np.maximum(labels, 0) if labels.dtype.kind == "i" else labels] = True
    return [int(v) for v in np.flatnonzero(there) if v > 0]


def indices_of(plane: Plane, where: BoolArray) -> tuple[NDArray[np.intp], ...]:
    """Index arrays, one per axis of the volume, of the pixels `where` of one slice."""
    rows, columns = np.nonzero(where)
    at: list[NDArray[np.intp]] = [np.empty(0, dtype=np.intp)] * plane.ndim
    for axis, i in plane.index:
        at[axis] = np.full(len(rows), i, dtype=np.intp)
    at[plane.axes[0]], at[plane.axes[1]] = rows, columns
    return tuple(at)


class Packed:
    """A mask in little memory: an eighth of a byte for each pixel of the box around it.

    Parameters
    ----------
    mask : (rows, columns) bool array
    """

    def __init__(self, mask: BoolArray) -> None:
        self.region = bounds_of(mask)
        """The box around it, as slices of rows and columns."""
        inner = mask[self.region]
        self._shapes = mask.shape, inner.shape
        self._bits = np.packbits(inner)

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self._bits.nbytes

    def inner(self) -> BoolArray:
        """The mask within its region, a new array."""
        shape = self._shapes[1]
        return np.unpackbits(self._bits, count=math.prod(shape)).reshape(shape).astype(bool)

    def mask(self) -> BoolArray:
        """The mask, a new (rows, columns) array."""
        out = np.zeros(self._shapes[0], dtype=bool)
        out[self.region] = self.inner()
        return out


class _Change:
    """Pixels of one slice that were given other values; many slices of them are held for undo.

    Parameters
    ----------
    plane : Plane
    where : (rows, columns) bool array
        The pixels.
    before, after : (k,) int arrays
        Their values; a single one stands for all, where they are alike.
    """

    def __init__(self, plane: Plane, where: BoolArray, before: NDArray[Any], after: NDArray[Any]) -> None:
        self._plane = plane
        self._where = Packed(where)
        self._before = _brief(before)
        self._after = _brief(after)

    def take_back(self, data: NDArray[Any]) -> None:
        """Put into the labels of the volume what was there before."""
        self._set(data, self._before)

    def do(self, data: NDArray[Any]) -> None:
        """Put the new values into the labels of the volume."""
        self._set(data, self._after)

    def _set(self, data: NDArray[Any], values: NDArray[Any]) -> None:
        data[self._plane.key][self._where.region][self._where.inner()] = values


def _brief(values: NDArray[Any]) -> NDArray[Any]:
    """(k,) values with k > 0, or a single one where all are alike."""
    return values[:1].copy() if (values == values[0]).all() else values


class _Step:
    """Changes that are done and undone together."""

    def __init__(self, changes: list[_Change]) -> None:
        self.changes = changes
        self.standing = Standing.DONE


START = Settled(Standing.DONE)
"""What was there before the first step of a history."""


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
        self._data: NDArray[Any] | None = data
        self._shape: tuple[int, ...] = data.shape
        self._undone: list[_Step] = []
        self._done: list[_Step] = []

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> ArrayLabels:
        """No labels yet, FIRST_DTYPE. They take no memory until something is written, or `data` is asked for."""
        labels = cls(np.zeros((0,) * len(shape), dtype=FIRST_DTYPE))
        labels._data, labels._shape = None, tuple(shape)
        return labels

    @property
    def data(self) -> NDArray[Any]:
        """The array in use.

        Raises
        ------
        LabelsError
            There is not enough memory for it.
        """
        return self._as(self._dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis."""
        return self._shape

    def read(self, plane: Plane) -> NDArray[Any]:
        """A copy of the labels of one slice."""
        plane.check(self._shape)
        if self._data is None:
            return np.zeros(plane.shape_in(self._shape), dtype=FIRST_DTYPE)
        return np.array(self._data[plane.key])

    def write(self, plane: Plane, where: BoolArray, value: int) -> None:
        """Set the pixels `where` of one slice to `value`, as one undo step.

        Raises
        ------
        LabelsError
            The value fits no type, or there is not enough memory for an array of that type.
        """
        dtype = grown_dtype(self._dtype, value)
        where = where & (self.read(plane) != value)
        if where.any():
            self._keep([self._change(plane, where, np.array([value]), dtype)])

    def put(self, slices: Iterable[tuple[Plane, NDArray[Any]]]) -> None:
        """Give whole slices new values, as one undo step together; see `LabelStore.put`.

        Raises
        ------
        LabelsError
            A value fits no type, or there is not enough memory for an array of that type.
        """
        changes: list[_Change] = []
        try:
            for plane, values in slices:
                differs = values != self.read(plane)
                if differs.any():
                    new = values[differs]
                    changes.append(self._change(plane, differs, new, dtype_for(self._dtype, new)))
        finally:
            self._keep(changes)

    def latest(self) -> Step:
        """The last step that is done: the one that `undo` would take back. DONE for ever where there is none."""
        return self._done[-1] if self._done else START

    def highest(self) -> int:
        """The highest label value in use, 0 when there is none."""
        return 0 if self._data is None else int(self._data.max(initial=0))

    def undo(self) -> None:
        """Take back the last step; nothing when there is none."""
        if self._done:
            step = self._done.pop()
            for change in reversed(step.changes):
                change.take_back(self.data)
            step.standing = Standing.UNDONE
            self._undone.append(step)

    def redo(self) -> None:
        """Do the last undone step again; nothing when there is none."""
        if self._undone:
            step = self._undone.pop()
            for change in step.changes:
                change.do(self.data)
            step.standing = Standing.DONE
            self._done.append(step)

    def _change(self, plane: Plane, where: BoolArray, values: NDArray[Any], dtype: np.dtype[Any]) -> _Change:
        """Give the pixels `where` of a slice `values`, (k,) or (1,), in an array that is of `dtype` from now on."""
        pixels = self._as(dtype)[plane.key]
        before, after = pixels[where], values.astype(dtype)
        pixels[where] = after
        return _Change(plane, where, before, after)

    def _keep(self, changes: list[_Change]) -> None:
        """What can be undone next; nothing when nothing was changed."""
        if changes:
            self._done.append(_Step(changes))
            self._undone.clear()

    @property
    def _dtype(self) -> np.dtype[Any]:
        return np.dtype(FIRST_DTYPE) if self._data is None else self._data.dtype

    def _as(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """The array, from now on of type `dtype`; LabelsError when it does not fit into memory."""
        try:
            data = self._data
            self._data = np.zeros(self._shape, dtype) if data is None else data.astype(dtype, copy=False)
        except (MemoryError, ValueError) as error:  # numpy says ValueError when it cannot even count the bytes
            need = f"{math.prod(self._shape) * dtype.itemsize / 1e9:,.1f} GB"
            raise LabelsError(
                f"Labels of {self._shape} voxels need {need} of memory, more than there is. Segment a crop of the "
                "image, or choose labels on disk (zarr)."
            ) from error
        return self._data
