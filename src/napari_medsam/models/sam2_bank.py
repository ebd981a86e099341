"""What SAM 2 keeps of one object while it follows it: a few slices, however many it has seen. No torch here.

Which slices are looked back to is the original's rule (sam2/modeling/sam2_base.py): the slices that were prompted, the
nearest first, and the six before the one that is looked at; of up to sixteen slices a single token each, the pointer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from napari_medsam.models.base import Direction

SLOTS = 7
"""Kinds of slice that the memory tells apart: prompted, and one to six slices back (num_maskmem)."""

POINTERS = 16
"""Slices of which a pointer is looked at (max_obj_ptrs_in_encoder)."""

PROMPTED = 4
"""Prompted slices looked at, at most. The original has no bound by default, and so no bound of time and memory."""

Seen = TypeVar("Seen")
"""What is remembered of a slice, and of its object: opaque here."""


@dataclass(frozen=True)
class Recalled(Generic[Seen]):
    """What is looked back to.

    Parameters
    ----------
    slices : tuple of (slot, memory)
        0 for a prompted slice, else how many slices back it lies.
    pointers : tuple of (distance, memory)
        The same for those whose pointer is looked at.
    """

    slices: tuple[tuple[int, Seen], ...]
    pointers: tuple[tuple[int, Seen], ...]


@dataclass
class Bank(Generic[Seen]):
    """The memories of one object.

    Parameters
    ----------
    given : dict of int to memory
        Prompted slices by position; all are kept, as each may become the nearest.
    found : dict of int to memory
        Slices where it was followed, by position: none but those within reach of the last one.
    """

    given: dict[int, Seen] = field(default_factory=dict)
    found: dict[int, Seen] = field(default_factory=dict)

    def give(self, position: int, seen: Seen) -> None:
        """Remember a prompted slice."""
        self.found.pop(position, None)
        self.given[position] = seen

    def find(self, position: int, seen: Seen) -> None:
        """Remember a slice where it was followed, and forget those out of reach; what was given there stays."""
        self.found = {at: one for at, one in self.found.items() if abs(at - position) < POINTERS}
        if position not in self.given:
            self.found[position] = seen

    def recalled(self, position: int, direction: Direction, planes: int) -> Recalled[Seen]:
        """What is looked back to from a position, on the way through a stack of so many planes."""
        near = nearest(self.given, position)
        behind = {back: position - back * direction for back in range(1, POINTERS)}
        other = {at: one for at, one in self.given.items() if at not in near} | self.found
        slices = [(0, one) for one in near.values()]
        slices += [(back, other[behind[back]]) for back in range(SLOTS - 1, 0, -1) if behind[back] in other]
        past = [((position - at) * direction, one) for at, one in near.items()]
        pointers = [(back, one) for back, one in past if back >= 0]
        steps = range(1, min(planes, POINTERS))
        pointers += [(back, self.found[behind[back]]) for back in steps if behind[back] in self.found]
        return Recalled(tuple(slices), tuple(pointers))


def nearest(given: Mapping[int, Seen], position: int) -> dict[int, Seen]:
    """The prompted slices that are looked at: the next on each side, then the nearest of the others."""
    before = [at for at in given if at < position]
    after = [at for at in given if at >= position]
    chosen = [max(before)] if before else []
    chosen += [min(after)] if after else []
    others = sorted((at for at in given if at not in chosen), key=lambda at: abs(at - position))
    return {at: given[at] for at in (chosen + others)[:PROMPTED]}
