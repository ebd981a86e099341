"""What a run has found, until it is written into labels as one step; and how it is laid over them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_medsam.geometry import Plane
from napari_medsam.labels import LabelStore, Packed
from napari_medsam.masks import BoolArray, Overlap, merged
from napari_medsam.propagation.gathering import Followed
from napari_medsam.propagation.plan import Ended, Grown, Passed, Plan, steps_of
from napari_medsam.propagation.provenance import CERTAIN_SCORE, EMPTY, Entry, Kind, digest


class Found(NamedTuple):
    """What is known of an object on a slice, after the run or before."""

    packed: Packed
    score: float
    source: int
    note: str


@dataclass(frozen=True)
class Laid:
    """A slice of labels as a run leaves it.

    Parameters
    ----------
    position : int
    plane : Plane
    before, after : (rows, columns) int arrays
    entries : mapping of int to Entry
        What is to be noted of each object, by label.
    kept : int
        How many objects were left alone, because the user has changed them here since the run began.
    """

    position: int
    plane: Plane
    before: NDArray[Any]
    after: NDArray[Any]
    entries: Mapping[int, Entry]
    kept: int


@dataclass(frozen=True)
class Written:
    """What of a run was written into the labels.

    Parameters
    ----------
    slices : int
        How many were changed.
    pixels : mapping of int to int
        How many pixels changed on behalf of each object, by label; only objects with any.
    values : mapping of int to int
        The label that each number of the run has now.
    kept : int
        How often an object was left alone on a slice, because the user had changed it there meanwhile.
    drafts : tuple of str
        Keys of the proposals that were accepted with it.
    """

    slices: int = 0
    pixels: Mapping[int, int] = field(default_factory=dict)
    values: Mapping[int, int] = field(default_factory=dict)
    kept: int = 0
    drafts: tuple[str, ...] = ()


class Growth:
    """Collects what `walk` gives. Made by `Session.plan_propagation`; thrown away, it leaves no trace.

    Parameters
    ----------
    plan : Plan
        What to walk.
    objects : sequence of Followed
        Whom the numbers of the plan stand for.
    labels : LabelStore
        The labels that it was planned with.
    """

    def __init__(self, plan: Plan, objects: Sequence[Followed], labels: LabelStore) -> None:
        self.plan = plan
        self.objects = tuple(objects)
        self.labels = labels
        self.names = _names(objects)
        """What to call each number of the run."""
        self.complete = False
        self._found: dict[int, dict[int, Found]] = {}
        self._ended: list[Ended] = []

    def __len__(self) -> int:
        return len(self._found)

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, result: Grown | Ended | Passed) -> None:
        """Take a result of the walk, in place of an earlier one of the same object and slice."""
        if isinstance(result, Ended):
            self._ended.append(result)
        elif isinstance(result, Grown):
            here = self._found.setdefault(result.position, {})
            here[result.number] = Found(Packed(result.mask), result.score, result.source, result.note)

    @property
    def origins(self) -> frozenset[tuple[int, int]]:
        """What the run goes out from: (number of the run, position) of every key."""
        return frozenset((s.number, key.position) for each in self.objects for s in each.subjects for key in s.keys)

    @property
    def lost(self) -> frozenset[tuple[int, int]]:
        """Those of `origins` that were in the labels at the plan, and of which nothing is there now.

        Raises
        ------
        LabelsError
            The labels cannot be read.
        """
        gone = set()
        for each in self.objects:
            for subject in each.subjects:
                at = {key.position for key in subject.keys if key.certain and key.position not in each.given}
                for position in (p for p in at if each.known(p) != EMPTY):
                    if not (self.labels.read(self.plan.stack.plane(position)) == each.value).any():
                        gone.add((subject.number, position))
        return frozenset(gone)

    def without(self, lost: Collection[tuple[int, int]]) -> Growth:
        """The same but for what came from some of its `origins`; nothing that was found before is cleared then."""
        if not lost:
            return self
        kept = Growth(self.plan, self.objects, self.labels)
        kept._ended = self._ended
        for position, here in self._found.items():
            holds = {number: found for number, found in here.items() if (number, found.source) not in lost}
            if holds:
                kept._found[position] = holds
        return kept

    def anew(self, labels: LabelStore) -> Growth:
        """The same as new objects of other labels, in which nothing is, with the slices that they had."""
        made = Growth(self.plan, [each.anew() for each in self.objects], labels)
        made.complete, made._found, made._ended = self.complete, self._found, self._ended
        return made

    @property
    def steps(self) -> int:
        """How much is done, of `steps_of(plan)`."""
        return sum(map(len, self._found.values())) + sum(ended.left for ended in self._ended)

    def finish(self) -> None:
        """The walk came to its end by itself: what it has not found again in its range is not there."""
        self.complete = True

    @property
    def idle(self) -> bool:
        """Whether there is nothing to walk, only what an earlier run has grown to be cleared: finish and write it."""
        return not steps_of(self.plan) and any(each.grown for each in self.objects)

    @property
    def writes(self) -> bool:
        """Whether there is anything to write by now: what was found, or what is to be cleared."""
        return bool(self._found) or (self.complete and any(each.grown for each in self.objects))

    @property
    def positions(self) -> tuple[int, ...]:
        """Slices with a result, ascending."""
        return tuple(sorted(self._found))

    @property
    def ended(self) -> tuple[Ended, ...]:
        """How each direction ended, in the order in which they did."""
        return tuple(self._ended)

    @property
    def nbytes(self) -> int:
        """Memory that the masks take."""
        return sum(found.packed.nbytes for here in self._found.values() for found in here.values())

    def found(self, position: int) -> Mapping[int, Found]:
        """All that was found on a slice, by number of the run."""
        return self._found.get(position, {})

    def masks(self, position: int) -> dict[int, BoolArray]:
        """Masks found on a slice, (rows, columns), by number of the run."""
        return {number: found.packed.mask() for number, found in self._found.get(position, {}).items()}

    def scores(self, position: int) -> dict[int, float]:
        """Scores of what was found on a slice, by number of the run."""
        return {number: found.score for number, found in self._found.get(position, {}).items()}

    def notes(self) -> tuple[str, ...]:
        """What the user should know about the answers, each once."""
        notes = {found.note: None for here in self._found.values() for found in here.values() if found.note}
        return tuple(notes)

    def laid_over(
        self, read: Callable[[Plane], NDArray[Any]], values: Sequence[int], overlap: Overlap
    ) -> Iterator[Laid]:
        """Each slice of labels as it is to be. Slices where an object has changed since the plan keep that object.

        Parameters
        ----------
        read : callable
            Gives the labels of a slice as they are, (rows, columns).
        values : sequence of int
            The label of each of `objects`.
        overlap : Overlap
            What becomes of other objects' pixels; among objects of the run too, in their order.
        """
        for position in self._written:
            plane = self.plan.stack.plane(position)
            yield self._laid(position, plane, read(plane), values, overlap)

    @property
    def _written(self) -> list[int]:
        """The slices to write, ascending."""
        at = set(self._found)
        for each in self.objects:
            at |= each.given.keys()
            at |= each.grown if self.complete else set()
        return sorted(at)

    def _laid(self, position: int, plane: Plane, before: NDArray[Any], values: Sequence[int], overlap: Overlap) -> Laid:
        after = before.astype(np.result_type(before.dtype, np.min_scalar_type(max(values))))
        takes: list[tuple[int, Followed, Found]] = []
        kept = 0
        for value, each in zip(values, self.objects, strict=True):
            found = self._of(each, position)
            if found is None:
                continue
            if digest(before == value) != each.known(position):
                kept += 1
                continue
            if position in each.grown or position in each.revised:
                after[before == value] = 0  # of all objects first, so that their order does not matter where none is
            takes.append((value, each, found))
        for value, _, found in takes:
            near = after[found.packed.region]
            near[...] = merged(near, np.where(found.packed.inner(), value, 0), overlap)
        entries = {value: _entry(position, each, found, after == value) for value, each, found in takes}
        return Laid(position, plane, before, after, entries, kept)

    def _of(self, each: Followed, position: int) -> Found | None:
        """What is to be written of an object on a slice; None: nothing, leave it as it is."""
        here = self._found.get(position, {})
        for subject in each.subjects:
            if subject.number in here:
                return here[subject.number]
        if position in each.given:
            return Found(Packed(each.given[position]), CERTAIN_SCORE, position, "")
        if self.complete and position in each.grown:
            return Found(Packed(np.zeros(self.plan.shape, dtype=bool)), 0.0, position, "")
        return None


def _entry(position: int, each: Followed, found: Found, now: BoolArray) -> Entry:
    """What is to be noted of an object on a slice where its pixels are `now`, (rows, columns)."""
    prompted = any(key.position == position for subject in each.subjects for key in subject.keys)
    if prompted:
        return Entry(Kind.KEY, each.known(position), digest(now), source=position, note=found.note)
    return Entry(Kind.GROWN, each.known(position), digest(now), found.score, found.source, found.note)


def _names(objects: Sequence[Followed]) -> dict[int, str]:
    new = [each for each in objects if not each.name]
    fresh = {id(each): "new object" if len(new) == 1 else f"new object {i}" for i, each in enumerate(new, start=1)}
    return {subject.number: each.name or fresh[id(each)] for each in objects for subject in each.subjects}
