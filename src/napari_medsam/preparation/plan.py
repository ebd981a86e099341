"""What is to be prepared and what is done already, as a frozen value; and the loop without a window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from napari_medsam.embeddings import EmbeddingStore
from napari_medsam.engine import Errand, Priority
from napari_medsam.models.base import Direction, Model
from napari_medsam.preparation.blocks import LOOKED, Aim, Block, Pixels, work_off
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.subject import Span

NEAR_AHEAD, NEAR_BEHIND = 8, 2
"""Slices next to the shown one, in the direction of scrolling and against it, that come before all others."""

KEY = "prepare"
"""Key of the errand: one that waits is replaced by the next, so a turn of the wheel re-orders at once."""


@dataclass(frozen=True)
class Preparation:
    """Slices to prepare, and how far that has come.

    Parameters
    ----------
    stack : Stack
    shown : int
        Position of the slice that is looked at.
    direction : Direction
        The way in which the user goes through the stack.
    aim : Aim
    nearby : bool
        Only the shown slice and those next to it; else all.
    span : Span, optional
        Only slices in this range.
    keys : mapping of int to str
        Positions known to be ready, and what the store knows them by.
    looked : frozenset of int
        Positions that need not be asked for.
    encoded : int
        Slices encoded so far.
    full : bool
        Whether the memory is full of these slices and there is no disk for the rest: nothing more is asked for.
    size : int
        Bytes of an embedding; 0 before the first.
    """

    stack: Stack
    shown: int
    direction: Direction = Direction.UP
    aim: Aim = Aim.AHEAD
    nearby: bool = False
    span: Span | None = None
    keys: Mapping[int, str] = field(default_factory=dict)
    looked: frozenset[int] = frozenset()
    encoded: int = 0
    full: bool = False
    size: int = 0

    @property
    def total(self) -> int:
        """How many slices it is about."""
        return len(self._range())

    @property
    def done(self) -> int:
        """How many of them are done."""
        return sum(position in self.looked for position in self._range())

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to ask for."""
        return self.full or self.done == self.total

    @property
    def priority(self) -> Priority:
        """How urgent the next block is."""
        following = self.next()
        if not following:
            return Priority.IDLE
        return (Priority.SHOWN, Priority.NEAR, Priority.NEAR, Priority.IDLE)[self._rank(following[0])[0]]

    def next(self) -> tuple[int, ...]:
        """Positions that are left: the shown one, the next in the way of scrolling, those behind, the rest outward."""
        return () if self.full else tuple(sorted(set(self._range()) - self.looked, key=self._rank))

    def towards(self, shown: int, direction: Direction | None = None) -> Preparation:
        """The same work seen from another slice; the way is that in which it lies where none is given."""
        if direction is None:
            direction = (
                self.direction if shown == self.shown else Direction.UP if shown > self.shown else Direction.DOWN
            )
        return replace(self, shown=shown, direction=direction)

    def after(self, block: Block) -> Preparation:
        """With what came of a block."""
        return replace(
            self,
            keys={**self.keys, **block.keys},
            looked=self.looked | block.looked,
            encoded=self.encoded + block.encoded,
            full=self.full or block.full,
            size=max(self.size, block.size),
        )

    def checked(self, store: EmbeddingStore) -> Preparation:
        """Without what the store has dropped since: to be asked for again, or what a budget was too small for."""
        gone = {position for position, key in self.keys.items() if not store.holds(key)}
        keys = {position: key for position, key in self.keys.items() if position not in gone}
        return replace(self, keys=keys, looked=self.looked - gone) if gone else self

    def block(self, pixels: Pixels, model: Model, store: EmbeddingStore) -> Block:
        """Do the next block of work; see `work_off`."""
        return work_off(self.next(), pixels, model, store, self.aim, set(self.keys.values()))

    def errand(self, model: str, pixels: Pixels, store: EmbeddingStore, key: str = KEY) -> Errand:
        """The next block as an errand for the lane; its outcome's value is a Block, to be given to `after`."""
        work = partial(_block, self.next()[:LOOKED], pixels, store, self.aim, frozenset(self.keys.values()))
        return Errand(key, model, work, ahead=True)

    def _range(self) -> range:
        span = self.span or Span(0, self.stack.size - 1)
        if not self.nearby:
            return range(span.first, span.last + 1)
        ahead, behind = (NEAR_AHEAD, NEAR_BEHIND) if self.direction is Direction.UP else (NEAR_BEHIND, NEAR_AHEAD)
        return range(max(span.first, self.shown - behind), min(span.last, self.shown + ahead) + 1)

    def _rank(self, position: int) -> tuple[int, int, int]:
        ahead = (position - self.shown) * int(self.direction)
        near = 0 if ahead == 0 else 1 if 0 < ahead <= NEAR_AHEAD else 2 if -NEAR_BEHIND <= ahead < 0 else 3
        return near, abs(ahead), -ahead


def _block(
    positions: tuple[int, ...], pixels: Pixels, store: EmbeddingStore, aim: Aim, spare: frozenset[str], model: Model
) -> Block:
    return work_off(positions, pixels, model, store, aim, spare)


def prepare(preparation: Preparation, pixels: Pixels, model: Model, store: EmbeddingStore) -> Iterator[Preparation]:
    """Work off a preparation on this thread, block by block. To cancel is to stop asking; what is done stays.

    Raises
    ------
    MedsamError
        A slice cannot be read or encoded, or the model has no embeddings.
    """
    while not preparation.finished:
        preparation = preparation.after(preparation.block(pixels, model, store))
        yield preparation


def left(before: Preparation, now: Preparation, seconds: float) -> float | None:
    """Seconds that the rest will take if its slices are like those encoded since `before`; None before the first."""
    encoded = now.encoded - before.encoded
    return seconds / encoded * (now.total - now.done) if encoded else None
