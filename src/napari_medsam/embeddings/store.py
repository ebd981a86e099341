"""The store: embeddings in memory, within a budget, and behind them the disk."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import replace

from napari_medsam.embeddings.budgets import default_host_bytes
from napari_medsam.embeddings.disk import DiskTier
from napari_medsam.embeddings.levels import Level, Usage, Worth
from napari_medsam.embeddings.writer import Writer
from napari_medsam.models.base import Embedding

QUEUE_SHARE, QUEUE_MOST = 4, 256 << 20
"""What waits to be written may be this part of the budget, and so many bytes; it counts as held."""


class EmbeddingStore:
    """Embeddings in memory and, where there is one, on disk. Safe to use from several threads.

    Parameters
    ----------
    max_bytes : int, optional
        Budget of the memory; a part of what is free at first use when left out. A larger embedding is not kept.
    disk : DiskTier, optional
        Where to keep them beyond the memory and the day; nowhere when left out.
    disk_from : Worth
        What the disk takes: what the user has prepared (patients' data leaves the memory on the user's word only), or
        all that was used.
    """

    def __init__(
        self, max_bytes: int | None = None, disk: DiskTier | None = None, disk_from: Worth = Worth.PREPARED
    ) -> None:
        self._max_bytes = max_bytes
        self.disk = disk
        self.disk_from = disk_from
        self._bytes = 0
        self._entries: OrderedDict[str, Embedding] = OrderedDict()
        self._writing: dict[str, int] = {}
        """Bytes of each that waits to be written: it stays in memory until it is."""
        self._leaving: dict[str, int] = {}
        """Bytes of what was dropped while it was being written: they are held until that is done."""
        self._lock = threading.Lock()
        self._writer = Writer(self._lock, self._written)

    @property
    def max_bytes(self) -> int:
        """Budget of the memory in bytes. Setting it drops what is too much at once."""
        if self._max_bytes is None:
            self._max_bytes = default_host_bytes()
        return self._max_bytes

    @max_bytes.setter
    def max_bytes(self, value: int) -> None:
        with self._lock:
            self._max_bytes = value
            for key in list(self._entries):
                if self._bytes <= value:
                    break
                self._forget(key)

    @property
    def nbytes(self) -> int:
        """Memory held, what waits to be written included. Never above the budget."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._entries)

    def __bool__(self) -> bool:
        return True  # an empty store is a store

    def usage(self) -> Usage:
        """How full the tiers are. Looks at every file on disk."""
        disk = self.disk
        host = Level(self._bytes, self.max_bytes, len(self._entries))
        return Usage(host, None, "") if disk is None else Usage(host, disk.usage(), disk.trouble)

    def holds(self, key: str) -> bool:
        """Whether the embedding of `key` is there without an encode."""
        return key in self._entries or (self.disk is not None and self.disk.holds(key))

    def lasting(self, key: str) -> bool:
        """Whether the embedding of `key` is on disk, or about to be."""
        return key in self._writing or (self.disk is not None and self.disk.holds(key))

    def writes(self, worth: Worth) -> bool:
        """Whether the disk takes embeddings of such worth, and can."""
        return self.disk is not None and not self.disk.trouble and worth >= max(self.disk_from, Worth.USED)

    def get(self, key: str) -> Embedding | None:
        """The embedding of `key`, now the most recently used; None when it is not here. May read a file."""
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
        disk = self.disk
        if found is None and disk is not None:
            found = disk.read(key)
            if found is not None:
                self.put(key, found, Worth.QUICK)
        return found

    def put(
        self, key: str, embedding: Embedding, worth: Worth = Worth.USED, spare: Collection[str] = frozenset()
    ) -> bool:
        """Keep `embedding`, dropping the least recently used ones until the budget holds.

        None of `spare` is dropped for it unless it is on disk, the last of them first.

        Returns
        -------
        bool
            Whether it is kept, in memory at least until it is on disk.
        """
        if embedding.plane is not None:
            embedding = replace(embedding, plane=None)
        disk = self.disk
        with self._lock:
            write = self.writes(Worth.PREPARED if key in self._writing else worth)
            self._forget(key)
            if not self._make_room(embedding.nbytes, spare):
                return False
            self._entries[key] = embedding
            self._bytes += embedding.nbytes
            turn = write and disk is not None and self._has_turn(embedding.nbytes)
            if turn and disk is not None and self._writer.submit(key, embedding, disk.write):
                self._writing[key] = embedding.nbytes
        return True

    def clear(self) -> None:
        """Drop everything in memory; what waits to be written is not written any more. The disk stays."""
        with self._lock:
            for key in list(self._entries):
                self._forget(key)

    def clear_disk(self) -> int:
        """Remove everything from the disk; how many bytes that gave back."""
        with self._lock:
            for key in [key for key in self._writing if self._writer.drop(key)]:
                del self._writing[key]
        return 0 if self.disk is None else self.disk.clear()

    def flush(self, timeout: float | None = None) -> bool:
        """Block until all that waits is on disk; False when `timeout` seconds passed before."""
        return self._writer.flush(timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Write out what waits, and drop what is in memory; False when `timeout` seconds passed before."""
        written = self.flush(timeout)
        self.clear()
        return written

    def _has_turn(self, size: int) -> bool:
        """Whether there is room for one more that waits to be written. Hold the lock."""
        waiting = sum(self._writing.values())
        return not waiting or waiting + size <= min(self.max_bytes // QUEUE_SHARE, QUEUE_MOST)

    def _written(self, key: str) -> None:
        """Let go of what was written. Hold the lock."""
        self._writing.pop(key, None)
        self._bytes -= self._leaving.pop(key, 0)

    def _make_room(self, size: int, spare: Collection[str]) -> bool:
        """Drop embeddings until `size` more bytes fit; False, and none dropped, when they cannot. Hold the lock."""
        leaving, excess = [], self._bytes + size - self.max_bytes
        for key in self._in_order(spare) if size <= self.max_bytes else ():
            if excess <= 0:
                break
            leaving.append(key)
            excess -= self._entries[key].nbytes
        if excess > 0:
            return False
        for key in leaving:
            self._forget(key)
        return True

    def _in_order(self, spare: Collection[str]) -> Iterator[str]:
        """What may be dropped: least recently used first, then those of `spare` that are on disk, the last first."""
        yield from (key for key in self._entries if key not in self._writing and key not in spare)
        if spare and self.disk is not None:
            kept = (key for key in reversed(self._entries) if key in spare and key not in self._writing)
            yield from (key for key in kept if self.disk.holds(key))

    def _forget(self, key: str) -> None:
        """Drop an embedding; one that waits to be written is not written any more. Hold the lock."""
        old = self._entries.pop(key, None)
        if old is None:
            return
        if key in self._writing and not self._writer.drop(key):
            self._leaving[key] = self._leaving.get(key, 0) + old.nbytes
            return
        self._writing.pop(key, None)
        self._bytes -= old.nbytes
