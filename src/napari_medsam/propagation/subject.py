"""What is known of an object before it is followed: key slices, and the slices that it may reach."""

from __future__ import annotations

from dataclasses import dataclass

from napari_medsam.errors import GeometryError, PromptError
from napari_medsam.prompts import Prompts


@dataclass(frozen=True)
class Span:
    """Slices `first` to `last`, both included: the one rule of ranges, for every way through a volume."""

    first: int
    last: int

    @classmethod
    def of(cls, one: int | None, other: int | None, size: int) -> Span:
        """The range between two slices of a stack of `size`, in any order; None is the stack's own end.

        Raises
        ------
        GeometryError
            One of them lies outside the stack.
        """
        a, b = 0 if one is None else one, size - 1 if other is None else other
        for end in (a, b):
            if not 0 <= end < size:
                raise GeometryError(f"Slice {end} is outside the image, whose slices are 0 to {size - 1}.")
        return cls(min(a, b), max(a, b))

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last:
            raise GeometryError(f"A range goes from a slice to one not before it, not {self.first} to {self.last}.")

    def common(self, other: Span) -> Span:
        """The slices in both; GeometryError where there are none."""
        if self.last < other.first or other.last < self.first:
            raise GeometryError(
                f"The ranges {self.first} to {self.last} and {other.first} to {other.last} have no slice in common. "
                "Widen one of them."
            )
        return Span(max(self.first, other.first), min(self.last, other.last))

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __contains__(self, position: object) -> bool:
        return isinstance(position, int) and self.first <= position <= self.last


@dataclass(frozen=True)
class Key:
    """What is known of an object on one slice.

    Parameters
    ----------
    position : int
        The slice, along the stack.
    prompts : Prompts
        What was drawn there; its mask is asked of the model and is part of the result. Or `prompts.mask` alone: an
        accepted, painted or corrected mask, which is certain: it is taken as it is, and never written again.
    """

    position: int
    prompts: Prompts

    def __post_init__(self) -> None:
        if not self.prompts:
            raise PromptError(f"Nothing is drawn on slice {self.position}. Draw a box, click a point, or leave it out.")

    @property
    def certain(self) -> bool:
        """Whether the mask of the slice is known already."""
        p = self.prompts
        return p.mask is not None and p.box is None and not p.points and not p.strokes


@dataclass(frozen=True)
class Subject:
    """One object to follow.

    Parameters
    ----------
    number : int
        What it is called in this run; results carry it.
    keys : tuple of Key
        Ascending, one a slice, at least one.
    span : Span
        The hard range: nothing is found outside it.
    stops : frozenset of int
        "Stop here": a direction ends with such a slice, the slice itself included.

    Raises
    ------
    PromptError
        No key, two keys on one slice, or a key outside the range.
    """

    number: int
    keys: tuple[Key, ...]
    span: Span
    stops: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        keys = tuple(sorted(self.keys, key=lambda key: key.position))
        object.__setattr__(self, "keys", keys)
        at = [key.position for key in keys]
        if not at:
            raise PromptError("No slice says where the object is. Draw a box or a point, or accept a mask on a slice.")
        if len(set(at)) < len(at):
            raise PromptError("Two keys of one object are on the same slice; put their prompts together.")
        outside = [p for p in at if p not in self.span]
        if outside:
            raise PromptError(
                f"Slice {outside[0]} has prompts but is outside the range {self.span.first} to {self.span.last}. "
                "Widen the range, or clear those prompts."
            )
