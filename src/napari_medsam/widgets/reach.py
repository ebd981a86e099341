"""How far a run may go in one image: the range and the "stop here" slices of each stack, as the user sets them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.subject import Span


@dataclass(frozen=True)
class Reach:
    """The choice for one stack.

    Parameters
    ----------
    first, last : int, optional
        Slices that a run does not go beyond, in any order, both included; left out, the stack's own end.
    stops : frozenset of int
        "Stop here": a run ends with such a slice, itself included.
    """

    first: int | None = None
    last: int | None = None
    stops: frozenset[int] = frozenset()

    def span(self, size: int) -> Span:
        """The range in a stack of `size` slices."""
        first, last = (None if end is None else min(end, size - 1) for end in (self.first, self.last))
        return Span.of(first, last, size)

    def toggled(self, position: int) -> Reach:
        """With "stop here" on a slice, or without it where it was."""
        return replace(self, stops=self.stops ^ {position})


class Reaches:
    """The choices for all stacks of an image; those along the same axes share one, at whatever time they are."""

    def __init__(self) -> None:
        self._of: dict[tuple[tuple[int, int], int], Reach] = {}

    def __getitem__(self, stack: Stack) -> Reach:
        """What was chosen for a stack; everything, as long as nothing was."""
        return self._of.get((stack.axes, stack.axis), Reach())

    def __setitem__(self, stack: Stack, reach: Reach) -> None:
        """Choose for a stack."""
        self._of[stack.axes, stack.axis] = reach
