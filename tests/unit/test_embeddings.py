"""The store: keyed by content, never over its budget, the least recently used out first; the disk behind it."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medsam.embeddings import DiskTier, EmbeddingStore, Worth, content_key
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


def test_the_default_budget_is_a_quarter_of_the_free_memory_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Memory:
        available = 6 << 30

    monkeypatch.setattr("psutil.virtual_memory", lambda: asked.append(1) or Memory())
    made = EmbeddingStore()
    assert not asked, "at first use"
    assert made.max_bytes == made.max_bytes == (6 << 30) // 4
    assert len(asked) == 1
    Memory.available = 1 << 40
    assert EmbeddingStore().max_bytes == 4 << 30


def test_a_smaller_budget_holds_at_once() -> None:
    made = EmbeddingStore(100)
    for key in "abcd":
        made.put(key, embedding(25))
    made.max_bytes = 60
    assert [key for key in "abcd" if made.holds(key)] == ["c", "d"]
    assert made.nbytes == 50


def test_the_plane_that_is_lent_with_an_embedding_is_not_kept() -> None:
    plane = np.zeros((512, 512), np.uint8)
    made = EmbeddingStore(100)
    made.put("a", Embedding("m", (512, 512), {"a": np.zeros(100, np.uint8)}, plane))
    found = made.get("a")
    assert found is not None
    assert found.plane is None
    assert made.nbytes == 100


def test_three_hundred_slices_of_sam_shaped_features_are_two_mebibytes_each() -> None:
    made = EmbeddingStore(600 << 20)
    block = np.zeros((300, 256, 64, 64), np.float16)  # never touched, so the system lends no memory for it
    for number, features in enumerate(block):
        made.put(str(number), Embedding("medsam", (512, 512), {"image": features[None]}))
    assert (len(made), made.nbytes) == (300, 300 * (2 << 20))


# -- slices that belong together -------------------------------------------------------------------------------------


def test_what_is_spared_is_not_dropped_and_the_newcomer_is_refused() -> None:
    made = EmbeddingStore(100)
    for key in "abcd":
        made.put(key, embedding(25))
    assert made.put("e", embedding(25), spare={"b", "c", "d"})
    assert not made.put("f", embedding(50), spare={"b", "c", "d", "e"})
    assert [key for key in "abcdef" if made.holds(key)] == ["b", "c", "d", "e"]


# -- the disk --------------------------------------------------------------------------------------------------------

ROOM = 10 << 20


@pytest.fixture
def tier(tmp_path: Path) -> DiskTier:
    return DiskTier(tmp_path / "embeddings", ROOM)


def test_only_what_was_prepared_reaches_the_disk_unless_all_is_wanted(tier: DiskTier) -> None:
    """Patients' data leaves the memory on the user's word only."""
    made = EmbeddingStore(1000, tier)
    for key, worth in (("quick", Worth.QUICK), ("used", Worth.USED), ("prepared", Worth.PREPARED)):
        made.put(key, embedding(10), worth)
    assert made.flush(SECONDS)
    assert [key for key in ("quick", "used", "prepared") if tier.holds(key)] == ["prepared"]
    made.disk_from = Worth.USED
    made.put("used", embedding(10))
    made.put("quick", embedding(10), Worth.QUICK)
    assert made.flush(SECONDS)
    assert tier.holds("used")
    assert not tier.holds("quick")


def test_another_store_finds_it_on_disk_and_then_has_it_in_memory(tier: DiskTier) -> None:
    first = EmbeddingStore(1000, tier)
    first.put("a", embedding(10, 7), Worth.PREPARED)
    assert first.close(SECONDS)
    second = EmbeddingStore(1000, DiskTier(tier.folder, ROOM))
    assert second.holds("a")
    assert second.lasting("a")
    found = second.get("a")
    assert found is not None
    assert (found.arrays["a"] == 7).all()
    tier.clear()
    assert second.get("a") is not None
    assert not second.lasting("a")


class SlowDisk(DiskTier):
    """Waits at each write until it is released."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ROOM)
        self.entered, self.release, self.writes = threading.Event(), threading.Event(), 0

    def write(self, key: str, made: Embedding) -> bool:
        self.writes += 1
        self.entered.set()
        assert self.release.wait(SECONDS)
        return super().write(key, made)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[SlowDisk]:
    disk = SlowDisk(tmp_path / "slow")
    yield disk
    disk.release.set()


def test_putting_does_not_wait_for_the_disk_and_what_waits_counts_and_stays(slow: SlowDisk) -> None:
    made = EmbeddingStore(100, slow)
    made.put("a", embedding(20), Worth.PREPARED)
    assert slow.entered.wait(SECONDS)
    for key in "bcdefg":
        made.put(key, embedding(20))
    assert made.holds("a"), "the oldest, but it is being written"
    assert made.lasting("a")
    assert made.nbytes == 100
    assert not made.flush(0.01)
    slow.release.set()
    assert made.flush(SECONDS)
    made.put("h", embedding(20))
    assert not [key for key in made._entries if key == "a"], "now it may go"
    assert made.get("a") is not None


def test_what_is_dropped_while_it_is_written_counts_until_it_is(slow: SlowDisk) -> None:
    made = EmbeddingStore(100, slow)
    made.put("a", embedding(60), Worth.PREPARED)
    assert slow.entered.wait(SECONDS)
    made.clear()
    assert (len(made), made.nbytes) == (0, 60)
    assert not made.put("b", embedding(50))
    slow.release.set()
    assert made.flush(SECONDS)
    assert made.nbytes == 0
    assert made.put("b", embedding(50))


def test_the_queue_is_bounded_and_what_found_no_place_is_not_said_to_be_lasting(slow: SlowDisk) -> None:
    made = EmbeddingStore(100, slow)
    for key in "abcd":
        assert made.put(key, embedding(10), Worth.PREPARED)
    assert [key for key in "abcd" if made.lasting(key)] == ["a", "b"], "a quarter of the budget waits at most"
    slow.release.set()
    assert made.flush(SECONDS)
    assert slow.writes == 2


def test_the_same_embedding_is_not_written_twice(slow: SlowDisk) -> None:
    made = EmbeddingStore(100, slow)
    for _ in range(3):
        made.put("a", embedding(10), Worth.PREPARED)
        assert slow.entered.wait(SECONDS)
    slow.release.set()
    assert made.flush(SECONDS)
    assert (slow.writes, made.nbytes, made._writing, made._leaving) == (1, 10, {}, {})


def test_clearing_the_disk_forgets_what_waits_for_it(slow: SlowDisk) -> None:
    made = EmbeddingStore(100, slow)
    made.put("a", embedding(10), Worth.PREPARED)
    assert slow.entered.wait(SECONDS)
    made.put("b", embedding(10), Worth.PREPARED)
    slow.release.set()
    made.clear_disk()
    assert made.flush(SECONDS)
    assert not made.lasting("b")
    assert made.holds("b")


def test_a_prepared_volume_larger_than_the_memory_goes_to_disk_and_its_first_slices_stay_in_memory(
    tier: DiskTier,
) -> None:
    made = EmbeddingStore(100, tier)
    made.put("of another image", embedding(30))
    known: set[str] = set()
    for number in range(12):
        assert made.put(str(number), embedding(20), Worth.PREPARED, spare=known)
        assert made.flush(SECONDS)
        known.add(str(number))
        assert made.nbytes <= 100
    assert all(made.lasting(str(number)) for number in range(12))
    assert set(made._entries) == {"0", "1", "2", "3", "11"}


def test_without_a_disk_a_volume_larger_than_the_memory_ends_when_that_is_full() -> None:
    made = EmbeddingStore(100)
    known: set[str] = set()
    for number in range(8):
        if made.put(str(number), embedding(20), Worth.PREPARED, spare=known):
            known.add(str(number))
    assert known == set(made._entries) == set("01234")


@pytest.mark.usefixtures("hasty")
def test_several_threads_and_a_disk_at_once_keep_the_budget(tier: DiskTier) -> None:
    budget, faults = 3000, []
    made = EmbeddingStore(budget, tier)
    start = threading.Barrier(4)
    steps: list[Callable[[str, Any], Any]] = [
        lambda key, size: made.get(key),
        lambda key, size: made.put(key, embedding(size, int(key)), Worth.PREPARED),
        lambda key, size: made.put(key, embedding(size, int(key)), Worth.PREPARED, spare={"1", "2"}),
        lambda key, size: made.clear_disk() if size > 380 else made.put(key, embedding(size, int(key))),
        lambda key, size: made.clear() if size > 380 else None,
    ]

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        start.wait(SECONDS)
        for _ in range(200):
            key = str(random.integers(12))
            steps[random.integers(len(steps))](key, int(random.integers(1, 400)))
            found = made.get(key)
            if found is not None and (found.arrays["a"] != int(key)).any():
                faults.append(f"{key} held something else")
            if not 0 <= made.nbytes <= budget:
                faults.append(f"{made.nbytes} bytes")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert made.flush(SECONDS)
    assert not faults
    assert made.nbytes == sum(one.nbytes for one in made._entries.values()) <= budget
    assert (made._writing, made._leaving) == ({}, {})
