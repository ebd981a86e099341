"""What the speed rests on, counted and not timed: encodes, bytes held, the largest thing made on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.contract.fakes import BoxFake

from napari_medsam.embeddings import EmbeddingStore
from napari_medsam.geometry import Plane
from napari_medsam.inference import Request, next_ticket, run
from napari_medsam.prompts import Box, Point, Prompts

PLANES = np.random.default_rng(0).integers(0, 255, (6, 40, 50), dtype=np.uint8)


def asked(number: int, prompts: Prompts, pixels: NDArray[np.uint8] | None = None) -> Request:
    plane = PLANES[number] if pixels is None else pixels
    return Request(next_ticket(), "draft", Plane.across(0, number), prompts, "fake", lambda: plane)


def test_a_slice_is_encoded_once_whatever_is_asked_of_it() -> None:
    model, store = BoxFake(), EmbeddingStore(1 << 24)
    for row in range(20):
        box = Box(row, 5, 35, 30)
        run(asked(1, Prompts(box)), model, store)
        run(asked(1, Prompts(box, (Point(20.0, float(row)),))), model, store)
    run(asked(3, Prompts(Box(0, 0, 20, 20)), PLANES[1].copy()), model, store)  # the same pixels elsewhere
    run(asked(1, Prompts()), model, store)  # ahead of a prompt
    assert model.encoded == 1
    assert len(store) == 1


def test_going_there_and_back_costs_one_encode_a_slice() -> None:
    model, store = BoxFake(), EmbeddingStore(1 << 24)
    for number in (0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0):
        run(asked(number, Prompts(Box(0, 0, 20, 20))), model, store)
    assert model.encoded == len(PLANES)


def test_the_bytes_held_never_exceed_the_budget() -> None:
    model, store = BoxFake(), EmbeddingStore(1 << 24)
    run(asked(0, Prompts()), model, store)
    store.max_bytes = 3 * store.nbytes
    for number in range(len(PLANES)):
        run(asked(number, Prompts()), model, store)
        assert store.nbytes <= store.max_bytes
    assert len(store) == 3


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_nothing_of_the_size_of_all_pairs_of_tokens_is_made(kind: str) -> None:
    """800 MB a copy for SAM ViT-B, in the package's own attention."""
    torch = pytest.importorskip("torch")
    from segment_anything.modeling.image_encoder import Attention
    from torch.utils._python_dispatch import TorchDispatchMode

    from napari_medsam.models.precision import lower, products_in
    from napari_medsam.models.sam_encoder import BIAS_ELEMENTS, LeanAttention

    heads, side = 4, 48
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            found = func(*args, **(kwargs or {}))
            for one in found if isinstance(found, tuple | list) else (found,):
                if isinstance(one, torch.Tensor):
                    largest = max(largest, one.numel())
            return found

    attention = LeanAttention(Attention(4 * heads, heads, use_rel_pos=True, input_size=(side, side)))
    dtype = getattr(torch, kind)
    lower(attention, dtype)
    with torch.inference_mode(), products_in(dtype, torch.device("cpu")), Watch():
        attention(torch.randn(1, side, side, 4 * heads))
    assert 0 < largest <= min(BIAS_ELEMENTS, heads * side**4 - 1)
