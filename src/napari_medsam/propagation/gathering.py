"""From a session's proposals and labels to the objects of a run: what is known of each, and where it may be looked for.

An object's own certain slices are its keys, those that were grown before are replaced, and a slice that the user has
emptied cuts the range in two: each part becomes a `Subject` of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.drafts import Draft
from napari_medsam.errors import GeometryError, PromptError
from napari_medsam.geometry import Plane
from napari_medsam.masks import BoolArray
from napari_medsam.prompts import MaskPrompt, Prompts
from napari_medsam.propagation.provenance import EMPTY, Kind, Trail, digest
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.subject import Key, Span, Subject

NEW = 0
"""In place of a label: an object that is not in the labels yet."""


@dataclass(frozen=True)
class Followed:
    """One object of a run, as it was when the run was planned.

    Parameters
    ----------
    value : int
        Its label; NEW when it has none yet.
    name : str
        Empty when it is new and was given none.
    subjects : tuple of Subject
        One for each part of the range.
    drafts : tuple of Draft
        The proposals that are among its keys.
    given : mapping of int to (rows, columns) bool array
        Masks of proposals that the user has chosen, by position; no model is asked for them.
    revised : frozenset of int
        Positions where a proposal takes the place of what the object has: it revises that, or an earlier run found it.
    grown : frozenset of int
        Positions where an earlier run has found it: what this one finds takes its place.
    before : mapping of int to bytes
        Digests of its pixels by position, where it has any.
    """

    value: int
    name: str
    subjects: tuple[Subject, ...]
    drafts: tuple[Draft, ...] = ()
    given: Mapping[int, BoolArray] = field(default_factory=dict)
    revised: frozenset[int] = frozenset()
    grown: frozenset[int] = frozenset()
    before: Mapping[int, bytes] = field(default_factory=dict)

    def known(self, position: int) -> bytes:
        """Digest of the object's pixels at a position when the run was planned."""
        return self.before.get(position, EMPTY)

    def anew(self) -> Followed:
        """The same as a new object: what it has on certain slices is given, so that it comes with what is found."""
        keys = [key for subject in self.subjects for key in subject.keys if key.certain]
        masks = {key.position: key.prompts.mask.pixels for key in keys if key.prompts.mask is not None}
        return Followed(NEW, self.name, self.subjects, self.drafts, {**masks, **self.given})


class Marked:
    """What proposals say about one object.

    Parameters
    ----------
    drafts : sequence of Draft
    stack : Stack
        They lie on slices of it.
    shape : (int, int)
        Rows and columns of a slice.

    Raises
    ------
    PromptError
        A prompt is outside the image, or two proposals share a slice and have no masks yet.
    """

    def __init__(self, drafts: Sequence[Draft], stack: Stack, shape: tuple[int, int]) -> None:
        self.drafts = tuple(drafts)
        self.prompts: dict[int, Prompts] = {}
        self.given: dict[int, BoolArray] = {}
        for position, here in _by_slice(drafts, stack).items():
            mask = _chosen_mask(here, position)
            prompts = here[0].prompts if mask is None else Prompts(mask=MaskPrompt(mask))
            self.prompts[position] = prompts.fitted(shape)
            if mask is not None:
                self.given[position] = mask
        self.revised = frozenset(p for p in (stack.position(d.plane) for d in drafts if d.revises) if p is not None)


class Known:
    """What the labels say about one object, slice by slice, as far as they were looked at."""

    def __init__(self, trail: Trail) -> None:
        self.certain: dict[int, BoolArray] = {}
        self.grown: set[int] = set()
        self.cuts: set[int] = set()
        self.before: dict[int, bytes] = {}
        self._trail = trail

    def take(self, position: int, mask: BoolArray) -> None:
        """Look at a slice of the object, (rows, columns)."""
        found = self._trail.of(position, mask)
        if found is None:
            return
        if found.empty:
            self.cuts.add(position)
            return
        self.before[position] = digest(mask)
        if found.kind is Kind.GROWN:
            self.grown.add(position)
        else:
            self.certain[position] = mask

    def fixed(self, position: int) -> bool:
        """Whether nothing may be changed there."""
        return position in self.certain or position in self.cuts


class Numbers:
    """Makes the objects of a run, and gives each part of each a number of its own.

    Parameters
    ----------
    stops : collection of int
        "Stop here" slices.
    outward : bool
        Whether the run goes outward from the outer keys too, not only from key to key.
    """

    def __init__(self, stops: Collection[int], *, outward: bool) -> None:
        self._stops = frozenset(stops)
        self._outward = outward
        self._next = 1

    def new(self, name: str, marked: Marked, span: Span) -> Followed:
        """An object that proposals alone tell of."""
        subjects = self._subjects(marked.prompts, [span])
        return Followed(NEW, name, subjects, marked.drafts, marked.given, marked.revised)

    def existing(self, value: int, name: str, known: Known, marked: Marked, span: Span) -> Followed:
        """An object of the labels, with the proposals for it.

        Raises
        ------
        PromptError
            Nothing of it is certain in the range.
        """
        inside = {at: Prompts(mask=MaskPrompt(mask)) for at, mask in known.certain.items() if at in span}
        keys = inside | marked.prompts
        parts = list(_parts(span, known.cuts - set(marked.prompts)))
        subjects = self._subjects(keys, parts)
        if not subjects:
            where = f"slices {span.first} to {span.last}"
            raise PromptError(
                f"Nothing on {where} says where {name!r} is. Draw a box or a point for it there, or widen the range."
            )
        reach = parts if self._outward else [Span(s.keys[0].position, s.keys[-1].position) for s in subjects]
        grown = frozenset(at for at in known.grown if at not in keys and any(at in part for part in reach))
        revised = marked.revised | (marked.prompts.keys() & known.grown)
        return Followed(value, name, subjects, marked.drafts, marked.given, revised, grown, known.before)

    def _subjects(self, keys: Mapping[int, Prompts], parts: Iterable[Span]) -> tuple[Subject, ...]:
        found = []
        for part in parts:
            inside = tuple(Key(at, prompts) for at, prompts in sorted(keys.items()) if at in part)
            if inside:
                stops = frozenset(s for s in self._stops if s in part)
                found.append(Subject(self._next, inside, part, stops))
                self._next += 1
        return tuple(found)


def checked_range(stack: Stack, span: Span | None, stops: Collection[int]) -> Span:
    """The range of a run in a stack; all of it when left out.

    Raises
    ------
    GeometryError
        The stack is a single slice, or the range or a stop lies outside it.
    """
    if stack.size < 2:
        raise GeometryError("There is one slice only along this axis: nothing to go through. Choose another view.")
    for stop in stops:
        Span.of(stop, stop, stack.size)
    return Span.of(None, None, stack.size) if span is None else Span.of(span.first, span.last, stack.size)


def require_inside(draft: Draft, stack: Stack, span: Span) -> None:
    """Raise PromptError when a proposal lies outside the range."""
    position = stack.position(draft.plane)
    if position is not None and position not in span:
        raise PromptError(
            f"Slice {position} has prompts but is outside the range {span.first} to {span.last}. "
            "Widen the range, or clear those prompts."
        )


def new_groups(drafts: Sequence[Draft], stack: Stack) -> list[list[Draft]]:
    """Which proposals without an object are the same new one: all of them, unless a slice has several."""
    if not drafts:
        return []
    several = any(len(here) > 1 for here in _by_slice(drafts, stack).values())
    return [[draft] for draft in drafts] if several else [list(drafts)]


def look_at(
    known: Mapping[int, Known], stack: Stack, spans: Mapping[int, Span], read: Callable[[Plane], NDArray[Any]]
) -> None:
    """Read the labels of the objects' ranges, each slice once; objects and ranges go by label."""
    for position in range(stack.size):
        here = [value for value in known if position in spans[value]]
        current = read(stack.plane(position)) if here else None
        for value in here:
            known[value].take(position, np.asarray(current == value))


def look_outward(
    known: Known, position: int, span: Span, look: Callable[[int], BoolArray], stops: Collection[int]
) -> Span:
    """Look at a slice and from there outward, up to the next on each side that is certain; what was looked at.

    `stops` are slices that proposals make certain.
    """
    known.take(position, look(position))
    ends = []
    for step, last in ((-1, span.first), (1, span.last)):
        at = position
        while at != last and not (at != position and (known.fixed(at) or at in stops)):
            at += step
            known.take(at, look(at))
        ends.append(at)
    return Span(*ends)


def as_key(known: Known, position: int, look: Callable[[int], BoolArray]) -> None:
    """Take a slice for certain where it was grown, since the user goes on from it."""
    if position in known.grown:
        known.grown.remove(position)
        known.certain[position] = look(position)


def _by_slice(drafts: Iterable[Draft], stack: Stack) -> dict[int, list[Draft]]:
    found: dict[int, list[Draft]] = {}
    for draft in drafts:
        position = stack.position(draft.plane)
        if position is not None:
            found.setdefault(position, []).append(draft)
    return found


def _chosen_mask(drafts: Sequence[Draft], position: int) -> BoolArray | None:
    """The mask of the proposals of one object on a slice, where the user has settled it; None: ask the model."""
    one = drafts[0]
    if len(drafts) > 1:
        masks = [draft.mask for draft in drafts if draft.mask is not None and not draft.pending]
        if len(masks) < len(drafts):
            raise PromptError(
                f"Slice {position} has several proposals of one object. Wait for their masks, accept one of them, or "
                "make it a new object."
            )
        return np.asarray(np.logical_or.reduce(masks))
    if one.prediction is not None and not one.pending and one.candidate != one.prediction.chosen:
        return one.mask
    lone = one.prompts == replace(Prompts(), mask=one.prompts.mask)
    return one.prompts.mask.pixels if lone and one.prompts.mask is not None else None


def _parts(span: Span, cuts: Collection[int]) -> Iterator[Span]:
    """What is left of a range without some of its slices."""
    first = span.first
    for cut in sorted(c for c in cuts if c in span):
        if first < cut:
            yield Span(first, cut - 1)
        first = cut + 1
    if first <= span.last:
        yield Span(first, span.last)
