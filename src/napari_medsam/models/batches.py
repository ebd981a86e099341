"""Several planes in one call, whatever the model: together where it gains from that, else one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_medsam.models.base import BatchEncoder, Embedding, Segmenter


def batch_of(model: Segmenter) -> int:
    """How many planes to give a model at a time; 1 where it gains nothing."""
    return model.batch if isinstance(model, BatchEncoder) else 1


def encode_all(model: Segmenter, planes: Sequence[NDArray[np.uint8]]) -> list[Embedding]:
    """Embeddings of planes, in their order."""
    if isinstance(model, BatchEncoder) and len(planes) > 1:
        return model.encode_batch(planes)
    return [model.encode(plane) for plane in planes]
