"""The store: keyed by content, never over its budget, the least recently used out first."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medsam.embeddings import EmbeddingStore, content_key
from napari_medsam.models.base import Embedding

from .fakes import SECONDS, voxels


def embedding(nbytes: int, mark: int = 0) -> Embedding:
    return Embedding("model-1", (6, 8), {"a": np.full(nbytes, mark % 256, dtype=np.uint8)})


# -- keys ------------------------------------------------------------------------------------------------------


def test_the_same_pixels_have_the_same_key_wherever_they_lie() -> None:
    """SAMV2 and Crick key by layer name; here the same slice of another layer is the same slice."""
    plane = voxels().astype(np.uint8)[1]
    elsewhere = np.zeros((9, 12, 16), dtype=np.uint8)
    elsewhere[4, ::2, ::2] = plane
    assert content_key(plane, "m") == content_key(plane.copy(), "m") == content_key(elsewhere[4, ::2, ::2], "m")


def test_one_changed_pixel_changes_the_key() -> None:
    plane = voxels().astype(np.uint8)[1]
    edited = plane.copy()
    edited[5, 7] ^= 1
    assert content_key(plane, "m") != content_key(edited, "m")


def test_shape_type_and_model_belong_to_the_key() -> None:
    plane = np.zeros((6, 8), dtype=np.uint8)
    keys = {
        content_key(plane, "m"),
        content_key(plane.T, "m"),
        content_key(plane.reshape(4, 12), "m"),
        content_key(plane.reshape(2, 8, 3), "m"),
        content_key(plane.view(np.int8), "m"),
        content_key(plane, "m2"),
    }
    assert len(keys) == 6


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_and_its_mirror_image_are_not_the_same(axis: int) -> None:
    plane = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    assert content_key(plane, "m") != content_key(np.flip(plane, axis), "m")


# -- the budget ------------------------------------------------------------------------------------------------


def test_what_was_put_in_comes_out() -> None:
    store = EmbeddingStore(100)
    kept = embedding(40)
    store.put("a", kept)
    assert store.get("a") is kept
    assert store.get("b") is None
    assert (len(store), store.nbytes) == (1, 40)


def test_the_least_recently_used_goes_first() -> None:
    store = EmbeddingStore(100)
    for key in "abc":
        store.put(key, embedding(30))
    store.get("a")
    store.put("d", embedding(30))
    assert {key for key in "abcd" if store.get(key)} == {"a", "c", "d"}


def test_as_many_go_as_are_needed_and_no_more() -> None:
    store = EmbeddingStore(100)
    for key in "abcde":
        store.put(key, embedding(20))
    store.put("f", embedding(50))
    assert [key for key in "abcdef" if store.get(key)] == ["d", "e", "f"]


def test_an_embedding_larger_than_the_budget_is_not_kept_and_drops_nothing() -> None:
    store = EmbeddingStore(100)
    store.put("a", embedding(60))
    store.put("b", embedding(101))
    assert store.get("b") is None
    assert store.get("a") is not None


def test_replacing_an_entry_counts_it_once() -> None:
    store = EmbeddingStore(100)
    store.put("a", embedding(60))
    store.put("a", embedding(90))
    assert (len(store), store.nbytes) == (1, 90)
    store.put("a", embedding(101))
    assert (len(store), store.nbytes) == (0, 0), "an entry that was replaced by one too large is not served any more"


def test_clearing_empties_the_store() -> None:
    store = EmbeddingStore(100)
    store.put("a", embedding(60))
    store.clear()
    assert (len(store), store.nbytes, store.get("a")) == (0, 0, None)
    store.put("b", embedding(100))
    assert store.nbytes == 100


def test_all_arrays_of_an_embedding_count() -> None:
    made = Embedding("m", (6, 8), {"a": np.zeros(10, np.float32), "b": np.zeros((2, 3), np.uint8)})
    assert made.nbytes == 46


@given(
    budget=st.integers(0, 60),
    steps=st.lists(st.tuples(st.booleans(), st.sampled_from("abcdef"), st.integers(0, 40)), max_size=40),
)
def test_any_use_keeps_the_budget_and_the_order_of_use(budget: int, steps: list[tuple[bool, str, int]]) -> None:
    store = EmbeddingStore(budget)
    model: OrderedDict[str, int] = OrderedDict()
    for put, key, size in steps:
        if put:
            store.put(key, embedding(size))
            model.pop(key, None)
            if size <= budget:
                model[key] = size
                while sum(model.values()) > budget:
                    model.popitem(last=False)
        else:
            assert (store.get(key) is not None) == (key in model)
            if key in model:
                model.move_to_end(key)
        assert store.nbytes == sum(model.values()) <= budget
        assert len(store) == len(model)


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty")
def test_several_threads_at_once_keep_the_budget_and_the_entries_whole() -> None:
    budget, faults = 1000, []
    store = EmbeddingStore(budget)
    start = threading.Barrier(4)

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        start.wait(SECONDS)
        for _ in range(1500):
            mark = int(random.integers(12))
            found = store.get(str(mark))
            if found is not None and (found.arrays["a"] != mark).any():
                faults.append(f"{mark} held something else")
            store.put(str(mark), embedding(int(random.integers(1, 400)), mark))
            if not 0 <= store.nbytes <= budget:
                faults.append(f"{store.nbytes} bytes")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert not faults
    left = [found for mark in range(12) if (found := store.get(str(mark)))]
    assert sum(e.nbytes for e in left) == store.nbytes <= budget
    assert len(left) == len(store) > 0
