"""A block of work ahead: at most one batch of encodes, so that a prompt waits for the lane no longer than that."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from napari_medsam.embeddings import EmbeddingStore, Worth, content_key
from napari_medsam.errors import UnsupportedError
from napari_medsam.models.base import Model, Segmenter
from napari_medsam.models.batches import batch_of, encode_all

Pixels = Callable[[int], NDArray[np.uint8]]
"""Gives the slice at a position as the model sees it, (rows, columns) or (rows, columns, 3), read when called."""

LOOKED = 16
"""Slices that are read and hashed in a block at most, each in 2 to 3 ms at 512 x 512."""

WRITER_SECONDS = 0.05
"""How long a block waits for the disk before it leaves a slice for later."""


class Aim(Enum):
    """What slices are prepared for."""

    SURVEY = "to know which are ready; none is encoded"
    AHEAD = "to have them in memory before they are shown"
    LASTING = "to have them on disk as well, on other days too"


@dataclass(frozen=True)
class Block:
    """What came of a block of work.

    Parameters
    ----------
    keys : mapping of int to str
        Positions that are ready now, and what the store knows them by.
    looked : frozenset of int
        Positions that need not be asked for again.
    encoded : int
        Slices that were encoded.
    full : bool
        Whether there was no room for an embedding beside those of the same preparation.
    size : int
        Bytes of the largest embedding that was made; 0 when none was.
    """

    keys: Mapping[int, str]
    looked: frozenset[int]
    encoded: int
    full: bool = False
    size: int = 0


@dataclass
class _Work:
    """A block while it is worked on."""

    model: Segmenter
    store: EmbeddingStore
    aim: Aim
    spare: set[str]
    keys: dict[int, str] = field(default_factory=dict)
    looked: set[int] = field(default_factory=set)
    full: bool = False

    @property
    def worth(self) -> Worth:
        if self.model.spec.quick:
            return Worth.QUICK
        return Worth.PREPARED if self.aim is Aim.LASTING else Worth.USED

    def missing(self, position: int, key: str) -> bool:
        """Whether the slice has to be encoded; one that is in memory only is sent to the disk where it belongs."""
        if not self.store.holds(key):
            self.looked |= {position} if self.aim is Aim.SURVEY else set()
            return self.aim is not Aim.SURVEY
        if self.aim is Aim.LASTING and self.store.writes(self.worth) and not self.store.lasting(key):
            found = self.store.get(key)
            if found is None:
                return True
            self.store.put(key, found, self.worth, self.spare)
        self.note(position, key)
        return False

    def note(self, position: int, key: str) -> None:
        """The slice is ready; unless the disk is too slow for it, it is done with."""
        self.keys[position] = key
        self.spare.add(key)
        if self.aim is not Aim.LASTING or not self.store.writes(self.worth) or self.store.lasting(key):
            self.looked.add(position)


def work_off(
    positions: Iterable[int],
    pixels: Pixels,
    model: Model,
    store: EmbeddingStore,
    aim: Aim,
    spare: Collection[str] = frozenset(),
) -> Block:
    """Do the first block of work on slices, in their order.

    Parameters
    ----------
    positions : iterable of int
    pixels : callable
    model : Model
    store : EmbeddingStore
    aim : Aim
    spare : collection of str
        Keys in the store that must not be dropped for the sake of these slices.

    Raises
    ------
    UnsupportedError
        The model labels by itself, and has no embeddings.
    MedsamError
        A slice cannot be read or encoded.
    """
    if not isinstance(model, Segmenter):
        raise UnsupportedError(
            f"{model.spec.title} labels by itself: there is nothing to prepare. Choose another model."
        )
    work = _Work(model, store, aim, set(spare))
    waiting: list[tuple[int, str, NDArray[np.uint8]]] = []
    batch = batch_of(model)
    for _, position in zip(range(LOOKED), positions, strict=False):
        plane = pixels(position)
        key = content_key(plane, model.spec.digest)
        if work.missing(position, key):
            waiting.append((position, key, plane))
        if len(waiting) == batch:
            break
    size = _encode(work, waiting)
    return Block(work.keys, frozenset(work.looked), len(waiting), work.full, size)


def _encode(work: _Work, waiting: list[tuple[int, str, NDArray[np.uint8]]]) -> int:
    """Encode slices and hand them to the store; the bytes of the largest."""
    found = encode_all(work.model, [plane for _, _, plane in waiting])
    for (position, key, _), embedding in zip(waiting, found, strict=True):
        spare = work.spare if work.aim is Aim.LASTING else frozenset()
        kept = work.store.put(key, embedding, work.worth, spare)
        if work.store.writes(work.worth) and not work.store.lasting(key):  # it found no place among those that wait
            work.store.flush(WRITER_SECONDS)
            kept = work.store.put(key, embedding, work.worth, spare)
        if kept:
            work.note(position, key)
        elif not work.store.writes(work.worth) or embedding.nbytes > work.store.max_bytes:
            work.full = True
    return max((embedding.nbytes for embedding in found), default=0)
