"""Who says where an object is on a slice: the user, or a run. Found by comparing pixels with what was written.

A run notes for each slice a digest of the object's pixels before and after. No event is listened to: pixels that are
still as written were grown; others were corrected, by whatever means. Whether a run was undone the history of the
labels tells; where it does not, a run of which nothing is left was undone.

Each stack is for itself: what was written through one is, seen along another through which no run has gone, as given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np

from napari_medsam.labels import Settled, Standing, Step
from napari_medsam.masks import BoolArray
from napari_medsam.propagation.stack import Stack

EMPTY = b""
"""The digest of a mask without pixels."""

UNTOLD = Settled(Standing.UNKNOWN)
"""In place of a step where there is no history to ask."""

CERTAIN_SCORE = 1.0
NO_SOURCE = -1

Look = Callable[[int], BoolArray]
"""Gives the pixels of an object at a position of a stack, (rows, columns), as they are now."""


class Kind(Enum):
    """How a slice of an object came about. Only a grown one may be replaced by another run."""

    KEY = "given"
    GROWN = "grown"
    CORRECTED = "corrected"


@dataclass(frozen=True)
class Entry:
    """What a run has written for an object on one slice.

    Parameters
    ----------
    kind : Kind
        KEY where it was prompted on this slice itself, else GROWN.
    before, after : bytes
        Digests of the object's pixels on the slice; EMPTY where there were, or are, none.
    score : float
        0 to 1.
    source : int
        Position of the key that it came from.
    note : str
    """

    kind: Kind
    before: bytes
    after: bytes
    score: float = CERTAIN_SCORE
    source: int = NO_SOURCE
    note: str = ""


@dataclass(frozen=True)
class Reviewed:
    """A slice of an object, for review.

    Parameters
    ----------
    position : int
        Along the stack.
    kind : Kind
    score : float
        0 to 1, of what was grown; CERTAIN_SCORE else.
    empty : bool
        Whether the object was taken away here, where a run had found it: a "stop here".
    source : int
        Position of the key that a grown slice came from; NO_SOURCE else.
    note : str
    """

    position: int
    kind: Kind
    score: float = CERTAIN_SCORE
    empty: bool = False
    source: int = NO_SOURCE
    note: str = ""


class _Run(NamedTuple):
    """What was written for one object along one stack, with one step."""

    entries: Mapping[int, Entry]
    step: Step


class Provenance:
    """What runs have written, by object and stack; the labels themselves say how much of it still holds."""

    def __init__(self) -> None:
        self._runs: dict[tuple[int, Stack], list[_Run]] = {}

    @property
    def followed(self) -> frozenset[tuple[int, Stack]]:
        """The objects of which anything is known, with their stacks."""
        return frozenset(self._runs)

    def stacks_of(self, value: int) -> frozenset[tuple[int, Stack]]:
        """An object with each of its stacks."""
        return frozenset(pair for pair in self._runs if pair[0] == value)

    def note(self, value: int, stack: Stack, entries: Mapping[int, Entry], look: Look, step: Step = UNTOLD) -> None:
        """These slices of an object were written with a step; `look` gives what is there now.

        Runs that were undone before are forgotten: what is written new cannot be followed by their redo.
        """
        if entries:
            before = {at: entry.before for at, entry in entries.items()}
            runs = _standing(self._runs.get((value, stack), []), look, before)
            self._runs[value, stack] = [*runs, _Run(dict(entries), step)]

    def forget(self, value: int) -> None:
        """Whatever had this value is gone; the next object of this value is another one."""
        self._runs = {key: runs for key, runs in self._runs.items() if key[0] != value}

    def trail(self, value: int, stack: Stack, look: Look) -> Trail:
        """An object along a stack as it is now."""
        return Trail(_standing(self._runs.get((value, stack), []), look, {}), look)


class Trail:
    """An object along one stack at this moment: see `Provenance.trail`."""

    def __init__(self, runs: Sequence[_Run], look: Look) -> None:
        self._look = look
        self._entries: dict[int, Entry] = {}
        for run in runs:
            self._entries.update(run.entries)

    def entry(self, position: int) -> Entry | None:
        """What was written last on a slice; None: no run has written there."""
        return self._entries.get(position)

    def at(self, position: int) -> Reviewed | None:
        """One slice; None where the object is not, and was not taken away either."""
        return self.of(position, self._look(position))

    def along(self, positions: Iterable[int]) -> list[Reviewed]:
        """Those slices that have the object, or had it taken away."""
        return [found for at in positions if (found := self.at(at)) is not None]

    def of(self, position: int, mask: BoolArray) -> Reviewed | None:
        """The same, of a slice whose mask was read already."""
        entry = self._entries.get(position)
        now = digest(mask)
        if entry is None:
            return None if now == EMPTY else Reviewed(position, Kind.KEY)
        if now != entry.after:
            return Reviewed(position, Kind.CORRECTED, empty=now == EMPTY)
        if now == EMPTY:
            return None
        return Reviewed(position, entry.kind, entry.score, source=entry.source, note=entry.note)


def by_doubt(slices: Iterable[Reviewed]) -> list[Reviewed]:
    """Those that were grown, lowest score first."""
    return sorted((s for s in slices if s.kind is Kind.GROWN), key=lambda s: (s.score, s.position))


def following(order: Sequence[Reviewed], position: int) -> Reviewed | None:
    """The slice after `position` in an order, after the last the first again; the first where it is none of them.

    None: there are none.
    """
    at = [found.position for found in order]
    after = at.index(position) + 1 if position in at else 0
    return order[after % len(order)] if order else None


def digest(mask: BoolArray) -> bytes:
    """16 bytes that tell a mask from others of its shape; EMPTY when it has no pixels."""
    if not mask.any():
        return EMPTY
    return hashlib.blake2b(np.packbits(mask).data, digest_size=16).digest()


def _standing(runs: Sequence[_Run], look: Look, state: dict[int, bytes]) -> list[_Run]:
    """The runs that were not undone, oldest first; `state` has the digests of slices that are not to be looked at.

    Each run is judged by what was there before the later ones that stand.
    """
    standing = []
    for run in reversed(runs):
        known = run.step.standing
        if known is Standing.DONE or (known is Standing.UNKNOWN and _left_alone(run.entries, look, state)):
            standing.append(run)
            state.update({at: entry.before for at, entry in run.entries.items()})
    return standing[::-1]


def _left_alone(entries: Mapping[int, Entry], look: Look, state: dict[int, bytes]) -> bool:
    """Whether something that a run has changed is as it was left; nothing is when it was undone.

    What was prompted does not count: the user may have accepted the same mask by hand since.
    """
    for at, entry in entries.items():
        if entry.kind is Kind.GROWN and entry.after != entry.before:
            if at not in state:
                state[at] = digest(look(at))
            if state[at] == entry.after:
                return True
    return False
