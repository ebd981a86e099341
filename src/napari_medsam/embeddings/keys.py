"""What an embedding is known by: the pixels that it was made of, and the model that made it."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def content_key(pixels: NDArray[Any], model_digest: str) -> str:
    """Digest of the plane's type, shape and pixels, and of the model."""
    h = hashlib.blake2b(digest_size=20)
    h.update(f"{model_digest}|{pixels.dtype.str}|{pixels.shape}|".encode())
    h.update(np.ascontiguousarray(pixels).data)
    return h.hexdigest()
