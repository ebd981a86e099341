"""What the speed rests on, counted and not timed: encodes, bytes held, the largest thing made on the way.

What the window's thread does is counted in tests/journeys/test_work_on_the_window.py.
"""

from __future__ import annotations

import hashlib
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.contract.fakes import BoxFake

from napari_medsam import drafts
from napari_medsam.embeddings import EmbeddingStore, keys
from napari_medsam.geometry import Grid, Plane
from napari_medsam.image import Image
from napari_medsam.inference import Request, next_ticket, run
from napari_medsam.intensity import Window
from napari_medsam.labels import ArrayLabels
from napari_medsam.models.base import Embedding, Prediction
from napari_medsam.prompts import Box, Point, Prompts
from napari_medsam.session import Session

from .fakes import answer
from .following import STACK, document, follow, propose

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


class Counting(BoxFake):
    """Counts its decodes too."""

    def __init__(self) -> None:
        super().__init__()
        self.decoded = 0

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        self.decoded += 1
        return super().decode(embedding, prompts)


@contextmanager
def allocated() -> Iterator[list[int]]:
    """Bytes beyond those of the beginning: the most that were held at a time, and what is held in the end."""
    found: list[int] = []
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield found
        now, most = tracemalloc.get_traced_memory()
        found.extend((most - before, now - before))
    finally:
        tracemalloc.stop()


def large() -> Session:
    """A session on (100, 200, 150) voxels, with labels that are there."""
    shape = (100, 200, 150)
    voxels = np.random.default_rng(0).integers(0, 255, shape, dtype=np.int16)
    labels = ArrayLabels(np.zeros(shape, np.uint16))
    return Session(
        Image(voxels, Grid.from_spacing(shape, (3, 1, 2), (-20, 7, 100))), window=Window(0, 255), labels=labels
    )


def test_a_question_is_one_key_and_one_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[int] = []

    class Hashes:
        @staticmethod
        def blake2b(**options: Any) -> Any:
            hashed.append(1)
            return hashlib.blake2b(**options)

    monkeypatch.setattr(keys, "hashlib", Hashes)
    model, store = Counting(), EmbeddingStore(1 << 24)
    for count in (1, 2, 3):
        run(asked(1, Prompts(Box(count, 5, 35, 30))), model, store)
        assert (model.decoded, len(hashed)) == (count, count)


def test_to_ask_copies_one_slice_and_the_window_is_applied_by_who_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    session, applied, to_uint8 = large(), list[int](), drafts.to_uint8

    def applying(values: NDArray[Any], window: Window) -> NDArray[np.uint8]:
        applied.append(values.size)
        return to_uint8(values, window)

    monkeypatch.setattr(drafts, "to_uint8", applying)
    slice_bytes = session.image.data[0].nbytes
    with allocated() as found:
        request = session.ask(Plane.across(0, 50), Prompts(Box(10, 20, 30, 60)))
    assert slice_bytes <= found[0] < 1.5 * slice_bytes
    assert not applied
    answer(session, request)
    assert applied == [200 * 150]


def test_an_accept_keeps_for_undo_what_was_changed_and_makes_nothing_of_the_size_of_a_volume() -> None:
    session = large()
    for row in (10, 60, 110):
        answer(session, session.ask(Plane.across(0, 50), Prompts(Box(row, 20, row + 40, 120))))
        with allocated() as found:
            session.accept()
        assert found[0] < session.labels.data.nbytes / 4
        assert found[1] < session.labels.data[0].nbytes / 4, "an eighth of a byte for each pixel of the box around it"


class ReadCounted(ArrayLabels):
    """Counts how often each slice is read and written."""

    def __init__(self, data: NDArray[Any]) -> None:
        super().__init__(data)
        self.reads: Counter[Plane] = Counter()

    def read(self, plane: Plane) -> NDArray[Any]:
        self.reads[plane] += 1
        return super().read(plane)


def test_a_review_reads_each_slice_once() -> None:
    labels = ReadCounted(np.zeros(document().image.grid.shape, np.uint16))
    session = document(labels=labels)
    propose(session, 4)
    session.write_growth(follow(session))
    labels.reads.clear()
    assert len(session.review(1, STACK)) > 3
    assert labels.reads == dict.fromkeys((STACK.plane(z) for z in range(STACK.size)), 1)


def test_a_run_that_is_written_reads_the_slices_that_it_has_found_and_no_others() -> None:
    labels = ReadCounted(np.zeros(document().image.grid.shape, np.uint16))
    session = document(labels=labels)
    propose(session, 4)
    growth = follow(session)
    labels.reads.clear()
    session.write_growth(growth)
    assert labels.reads == dict.fromkeys((STACK.plane(z) for z in growth.positions), 2), "to note, and to write"


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
