"""The names of the objects in the labels, kept in step with undo and redo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from numpy.typing import NDArray

from napari_medsam.errors import LabelsError
from napari_medsam.geometry import Plane
from napari_medsam.labels import values_of


class ObjectNames:
    """Names by label value. A name whose object was made here goes with its voxels, and comes back with them.

    Parameters
    ----------
    names : mapping of int to str
        Of objects that exist already; undo never hides these.
    """

    def __init__(self, names: Mapping[int, str] | None = None) -> None:
        self.names: dict[int, str] = dict(names or {})
        self._hidden: dict[int, str] = {}
        self._slices: dict[int, set[Plane]] = {}

    def make(self, value: int, name: str, plane: Plane) -> None:
        """A new object was written on a slice."""
        self._hidden.pop(value, None)
        self._slices[value] = {plane}
        self.names[value] = name or f"object {value}"

    def extend(self, value: int, name: str, plane: Plane) -> None:
        """An object was written on one more slice; `name` is used when it has none yet, nor had one."""
        if value in self._slices:
            self._slices[value].add(plane)
        hidden = self._hidden.pop(value, "")
        if value not in self.names:
            self.names[value] = name or hidden or f"object {value}"

    def add(self, value: int, name: str, plane: Plane) -> None:
        """An object was written on a slice: one that is here is extended, else it is a new one of this name."""
        (self.extend if value in self.names else self.make)(value, name, plane)

    def rename(self, value: int, name: str) -> None:
        """Give an object a name."""
        if value < 1:
            raise LabelsError(f"Objects have values from 1; {value} is background.")
        self.names[value] = name

    def refresh(self, read: Callable[[Plane], NDArray[Any]]) -> set[int]:
        """Hide the names of objects made here that have no voxels left on their slices, show those that are back.

        Returns
        -------
        set of int
            The values whose names were hidden now.
        """

        @cache  # all organs of a volume share their slices
        def values_on(plane: Plane) -> frozenset[int]:
            return frozenset(values_of(read(plane)))

        gone = set()
        for value, planes in self._slices.items():
            here = any(value in values_on(plane) for plane in planes)
            if here and value in self._hidden:
                self.names[value] = self._hidden.pop(value)
            elif not here and value in self.names:
                self._hidden[value] = self.names.pop(value)
                gone.add(value)
        return gone
