"""What runs have written and another write changes, which is no correction of the user's: noted anew after it.

Another object takes pixels of a grown slice, a run comes through another axis, a model labels the slice, the object is
tidied up. A slice that was as its run had left it before is so afterwards.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from napari_medsam.geometry import Plane
from napari_medsam.labels import values_of
from napari_medsam.propagation.planning import Scene
from napari_medsam.propagation.provenance import Entry, digest
from napari_medsam.propagation.stack import Stack
from napari_medsam.shapes import bounds_of


class Bystanders:
    """The slices of followed objects that a write changes.

    Parameters
    ----------
    scene : Scene
        Of before the write.
    spare : collection of (int, Stack)
        Objects, with their stacks, that are left out: the write is the user's correction of them, or notes them itself.
    """

    def __init__(self, scene: Scene, spare: Collection[tuple[int, Stack]] = ()) -> None:
        self._scene = scene
        self._trails = {pair: scene.trail(*pair) for pair in scene.provenance.followed - set(spare)}
        self._looked: set[tuple[int, Stack, int]] = set()
        self._intact: dict[tuple[int, Stack], dict[int, Entry]] = {}

    def watch(self, slices: Iterable[tuple[Plane, NDArray[Any]]]) -> Iterator[tuple[Plane, NDArray[Any]]]:
        """What `LabelStore.put` takes, looked at on the way."""
        for plane, after in slices:
            self.look(plane, after)
            yield plane, after

    def look(self, plane: Plane, after: NDArray[Any]) -> None:
        """A slice is about to be given new values, (rows, columns)."""
        if not self._trails:
            return
        before = self._scene.labels.read(plane)
        differs = after != before
        if not differs.any():
            return
        changed = {*values_of(before[differs]), *values_of(after[differs])}
        region = bounds_of(differs)
        for value, stack in self._trails:
            if value in changed:
                for position in touched(stack, plane, region):
                    self._see(value, stack, position)

    def note(self) -> None:
        """The write is done, or as much of it as could be."""
        step = self._scene.labels.latest()
        for (value, stack), intact in self._intact.items():
            look = self._scene.look(value, stack)
            now = {at: digest(look(at)) for at in intact}
            changed = {
                at: replace(entry, before=entry.after, after=now[at])
                for at, entry in intact.items()
                if now[at] != entry.after
            }
            self._scene.provenance.note(value, stack, changed, look, step)

    def _see(self, value: int, stack: Stack, position: int) -> None:
        if (value, stack, position) in self._looked:
            return
        self._looked.add((value, stack, position))
        entry = self._trails[value, stack].entry(position)
        if entry is not None and digest(self._scene.look(value, stack)(position)) == entry.after:
            self._intact.setdefault((value, stack), {})[position] = entry


def touched(stack: Stack, plane: Plane, region: Sequence[slice]) -> range:
    """The positions of a stack whose slices meet a region of a slice, whatever the axis of either."""
    at = {axis: range(i, i + 1) for axis, i in plane.index}
    at |= {axis: range(part.start, part.stop) for axis, part in zip(plane.axes, region, strict=True)}
    return at[stack.axis] if all(i in at[axis] for axis, i in stack.fixed) else range(0)
