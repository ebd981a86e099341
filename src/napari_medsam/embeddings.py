"""The store of embeddings: keyed by content, bounded by bytes, least recently used first out.

A key is made of the pixels as the model sees them and of the model's digest. It holds no layer name, no id and no
version counter: the same slice is the same slice in another layer or on another day, and an edited image can never
meet a stale entry.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.models.base import Embedding

DEFAULT_BYTES = 512 << 20


def content_key(pixels: NDArray[Any], model_digest: str) -> str:
    """Digest of the plane's type, shape and pixels, and of the model."""
    h = hashlib.blake2b(digest_size=20)
    h.update(f"{model_digest}|{pixels.dtype.str}|{pixels.shape}|".encode())
    h.update(np.ascontiguousarray(pixels).data)
    return h.hexdigest()


class EmbeddingStore:
    """Embeddings in host memory. Safe to use from several threads.

    Parameters
    ----------
    max_bytes : int
        Budget. An embedding larger than the whole budget is not kept.
    """

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        self.max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[str, Embedding] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Memory held, never above the budget."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._entries)

    def __bool__(self) -> bool:
        return True  # an empty store is a store

    def get(self, key: str) -> Embedding | None:
        """The embedding of `key`, now the most recently used; None when it is not here."""
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
            return found

    def put(self, key: str, embedding: Embedding) -> None:
        """Keep `embedding`, dropping the least recently used ones until the budget holds."""
        with self._lock:
            self._drop(key)
            if embedding.nbytes > self.max_bytes:
                return
            while self._bytes + embedding.nbytes > self.max_bytes:
                self._drop(next(iter(self._entries)))
            self._entries[key] = embedding
            self._bytes += embedding.nbytes

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    def _drop(self, key: str) -> None:
        old = self._entries.pop(key, None)
        if old is not None:
            self._bytes -= old.nbytes
