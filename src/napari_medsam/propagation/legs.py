"""Which slice is reached from which key, and in which direction: pure planning, the same for every way."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from napari_medsam.models.base import Direction
from napari_medsam.propagation.subject import Subject


@dataclass(frozen=True)
class Leg:
    """One direction from one key.

    Parameters
    ----------
    number : int
        Of the object.
    source : int
        The slice of the key.
    direction : Direction
    positions : range
        The slices to reach, in order; empty where the key lies at the end.
    towards : tuple of int
        The slice of the key that it goes towards; empty for a leg outward from the last key.
    halted : bool
        Whether a "stop here" slice is its end.
    """

    number: int
    source: int
    direction: Direction
    positions: range
    towards: tuple[int, ...] = ()
    halted: bool = False


def legs_of(subject: Subject) -> tuple[Leg, ...]:
    """The legs of an object, from the first key upwards: each slice of its range that is no key is in at most one.

    - Outward of the first and the last key a leg goes to the end of the range, or to the first "stop here" slice, which
      is included. A "stop here" on the key itself lets nothing out of it.
    - The slices between two keys are split in the middle. Where their number is odd, the one in the middle belongs to
      the lower key. A "stop here" between them ends the half that it lies in, itself included; one on a key does
      nothing here, for on both sides the object is known.
    """
    at = [key.position for key in subject.keys]
    legs = [_outward(subject, at[0], Direction.DOWN)]
    for low, high in itertools.pairwise(at):
        legs += _between(subject, low, high)
    return (*legs, _outward(subject, at[-1], Direction.UP))


def _outward(subject: Subject, source: int, direction: Direction) -> Leg:
    end = subject.span.last if direction is Direction.UP else subject.span.first
    halts = [s for s in subject.stops if 0 <= (s - source) * direction <= (end - source) * direction]
    if halts:
        end = min(halts, key=lambda s: abs(s - source))
    return Leg(subject.number, source, direction, _walked(source, end, direction), halted=bool(halts))


def _between(subject: Subject, low: int, high: int) -> list[Leg]:
    middle = low + (high - low) // 2  # the last slice of the lower key's half
    legs = []
    for source, other, end, direction in (
        (low, high, middle, Direction.UP),
        (high, low, middle + 1, Direction.DOWN),
    ):
        positions = _walked(source, end, direction)
        halts = [i for i, position in enumerate(positions) if position in subject.stops]
        if halts:
            positions = positions[: halts[0] + 1]
        legs.append(Leg(subject.number, source, direction, positions, (other,), bool(halts)))
    return legs


def _walked(source: int, end: int, direction: Direction) -> range:
    return range(source + direction, end + direction, direction)
