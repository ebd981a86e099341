"""What an embedding of each family takes in memory. Small networks: the embedding has the size of the large ones'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from napari_medsam.embeddings import EmbeddingStore, content_key
from napari_medsam.inference import embedded
from napari_medsam.models import fallback, litemedsam, medsam, medsam2, mobile_sam, registry, resident, sam2
from napari_medsam.models.compute import Compute, tensor_of
from napari_medsam.models.frame_lite import LITE
from napari_medsam.models.frame_medsam import MEDSAM
from napari_medsam.models.frame_sam import SAM
from napari_medsam.models.frame_sam2 import MEDSAM2, SAM2
from napari_medsam.models.sam_segmenter import SamSegmenter
from napari_medsam.models.stand_in import StandIn
from napari_medsam.models.tiny_vit import AT_256, AT_1024
from napari_medsam.prompts import Box, Prompts

from .families import narrow, narrow_hiera, narrow_tiny_vit

BOX = Prompts(Box(8, 14, 30, 50))
MIB = 1 << 20
AUTO = Compute("cpu")

MADE: list[tuple[str, Any, Callable[[], Any], float]] = [
    ("medsam", MEDSAM, lambda: medsam.network(narrow(1024), AUTO), 2),
    ("mobile-sam", SAM, lambda: mobile_sam.network(narrow_tiny_vit(AT_1024), AUTO), 2),
    ("litemedsam", LITE, lambda: litemedsam.network(narrow_tiny_vit(AT_256), AUTO), 2),
    ("medsam2", MEDSAM2, lambda: medsam2.network(narrow_hiera(medsam2.CONFIG), AUTO), 2),
    ("sam2.1-tiny", SAM2, lambda: sam2.network(narrow_hiera(sam2.TINY), AUTO), 8),
]


@pytest.mark.parametrize(("row", "frame", "network", "mebibytes"), MADE, ids=[row for row, *_ in MADE])
def test_an_embedding_takes_this_much_whatever_the_plane(
    row: str, frame: Any, network: Callable[[], Any], mebibytes: float
) -> None:
    model = StandIn(SamSegmenter(registry.row(row).spec("x"), frame, network()))
    plane = np.arange(512 * 512).reshape(512, 512).astype(np.uint8)
    store = EmbeddingStore(1 << 30)
    found = embedded(plane, model, store)
    assert found.plane is plane, "lent, for what looks at the plane itself"
    assert store.nbytes == found.nbytes == mebibytes * MIB
    kept = store.get(content_key(plane, model.spec.digest))
    assert kept is not None
    assert kept.plane is None


@pytest.mark.parametrize(("row", "frame", "network"), [m[:3] for m in MADE], ids=[row for row, *_ in MADE])
def test_a_device_gets_features_once(
    row: str, frame: Any, network: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU stands in for a device: what is made there stays there, and what comes from the store is brought once."""
    made = network()
    made._resident._keeps = True
    model = SamSegmenter(registry.row(row).spec("x"), frame, made)
    brought: list[int] = []
    monkeypatch.setattr(resident, "tensor_of", lambda array: brought.append(array.nbytes) or tensor_of(array))
    embedding = model.encode(np.arange(64 * 64).reshape(64, 64).astype(np.uint8))
    assert made._resident.nbytes == embedding.nbytes
    first = model.decode(embedding, BOX)
    assert not brought
    fallback.free()
    again = [model.decode(embedding, BOX) for _ in range(3)]
    assert sum(brought) == embedding.nbytes == made._resident.nbytes
    assert all((first.masks == answer.masks).all() for answer in again)
