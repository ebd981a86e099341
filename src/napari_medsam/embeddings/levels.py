"""What is said of the store's tiers: how full they are, and what belongs where."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Worth(IntEnum):
    """How much an embedding is worth keeping; the disk takes those from `EmbeddingStore.disk_from` upward."""

    QUICK = 0
    """Encoded about as fast as it is read: never written."""
    USED = 1
    """Encoded for a prompt, or ahead of one."""
    PREPARED = 2
    """The user asked for it to be there, now and on other days."""


@dataclass(frozen=True)
class Level:
    """How full one tier is: bytes held, bytes allowed, and embeddings held."""

    used: int
    budget: int
    entries: int


@dataclass(frozen=True)
class Usage:
    """How full the store is.

    Parameters
    ----------
    host : Level
    disk : Level, optional
        None while the disk is not used.
    trouble : str
        Why nothing is written to the disk any more, and what to do; empty while it is.
    """

    host: Level
    disk: Level | None
    trouble: str = ""
