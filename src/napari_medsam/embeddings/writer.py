"""The thread that writes embeddings to disk, so that no model waits for it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from napari_medsam.models.base import Embedding

Write = Callable[[str, Embedding], object]


class Writer:
    """Writes one embedding after the other. Its thread lives only while there is something to write.

    Parameters
    ----------
    lock : Lock
        That of the store: what waits here and what is held there change together.
    done : callable
        Gets the key of each embedding that was written, or could not be; called with the lock held.
    """

    def __init__(self, lock: threading.Lock, done: Callable[[str], None]) -> None:
        self._done = done
        self._waiting: OrderedDict[str, tuple[Embedding, Write]] = OrderedDict()
        self._running = ""
        self._changed = threading.Condition(lock)
        self._thread: threading.Thread | None = None

    def submit(self, key: str, embedding: Embedding, write: Write) -> bool:
        """Have `write` called with a key and its embedding, soon; not for one that is being written. Hold the lock.

        False when the interpreter is about to end, and starts no thread any more.
        """
        if key == self._running:
            return True
        if self._thread is None:
            # not a daemon: what the user had prepared is written before the interpreter ends
            thread = threading.Thread(target=self._work, name="napari-medsam writer", daemon=False)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
        self._waiting[key] = embedding, write
        return True

    def drop(self, key: str) -> bool:
        """Whether an embedding waited, and now will not be written. Hold the lock."""
        return self._waiting.pop(key, None) is not None

    def flush(self, timeout: float | None = None) -> bool:
        """Block until all is written; False when `timeout` seconds passed before."""
        with self._changed:
            return self._changed.wait_for(lambda: self._thread is None, timeout)

    def _work(self) -> None:
        while (found := self._next()) is not None:
            key, embedding, write = found
            try:
                write(key, embedding)
            finally:
                del found, embedding
                self._finish(key)

    def _next(self) -> tuple[str, Embedding, Write] | None:
        with self._changed:
            if not self._waiting:
                self._thread = None
                self._changed.notify_all()
                return None
            key, (embedding, write) = self._waiting.popitem(last=False)
            self._running = key
            return key, embedding, write

    def _finish(self, key: str) -> None:
        with self._changed:
            self._running = ""
            self._done(key)
            self._changed.notify_all()
