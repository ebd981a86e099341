"""The device tier, on torch's "meta" device: one that is not the CPU, and needs no hardware."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from napari_medsam.models import batch_room, resident  # noqa: E402
from napari_medsam.models.resident import Resident  # noqa: E402

META, CPU = torch.device("meta"), torch.device("cpu")


def array(nbytes: int) -> np.ndarray:
    return np.zeros(nbytes, np.uint8)


def test_an_array_is_brought_to_the_device_once() -> None:
    held, one = Resident(META, 100), array(40)
    first = held.of(one)
    assert first.device == META
    assert held.of(one) is first
    assert held.of(array(40)) is not first, "another array of the same content"
    assert held.nbytes <= 80


def test_the_budget_holds_and_the_least_recently_used_goes_first() -> None:
    held, arrays = Resident(META, 100), [array(40) for _ in range(3)]
    copies = [held.of(one) for one in arrays[:2]]
    assert held.of(arrays[0]) is copies[0]
    held.of(arrays[2])
    assert held.nbytes == 80
    assert held.of(arrays[0]) is copies[0]
    assert held.of(arrays[1]) is not copies[1]
    held.max_bytes = 50
    assert held.nbytes == 40


def test_one_larger_than_the_budget_is_used_and_not_kept() -> None:
    held, small, large = Resident(META, 100), array(40), array(101)
    held.of(small)
    assert held.of(large).nbytes == 101
    assert held.nbytes == 40


def test_what_the_store_drops_leaves_the_device() -> None:
    held, one, other = Resident(META, 100), array(40), array(30)
    held.of(one)
    held.of(other)
    del one
    gc.collect()
    assert held.nbytes == 30


def test_an_array_where_a_dead_one_lay_is_not_mistaken_for_it() -> None:
    """CPython gives the same address again at once."""
    held = Resident(META, 10_000)
    seen = []
    for size in range(1, 40):
        one = array(size)
        assert held.of(one).shape == (size,)
        seen.append(id(one))
        del one
    assert len(set(seen)) < len(seen), "no address came twice, so nothing was tested"
    assert held.nbytes == 0


def test_on_a_cpu_nothing_is_kept_and_nothing_copied() -> None:
    held, one = Resident(CPU), array(40)
    there = held.of(one)
    one[3] = 7
    assert int(there[3]) == 7
    assert held.nbytes == 0


def test_what_was_made_on_the_device_stays_there_and_each_of_a_batch_has_its_own_memory() -> None:
    batch = torch.arange(12, dtype=torch.float16).reshape(3, 4)
    held = Resident(CPU)
    arrays = [held.brought(part) for part in batch.split(1)]
    batch += 100
    np.testing.assert_array_equal(np.concatenate(arrays), np.arange(12).reshape(3, 4))


def test_arrays_that_die_on_other_threads_are_let_go() -> None:
    held = Resident(META, 1000)
    arrays = [array(10) for _ in range(100)]
    drop = threading.Thread(target=arrays.clear)

    for one in list(arrays):
        held.of(one)
    del one
    drop.start()
    for _ in range(200):
        held.of(array(5))
    drop.join()
    held.of(array(1))
    assert held.nbytes <= 1


def test_usage_counts_all_networks_and_a_budget_is_for_each() -> None:
    before, one = resident.usage(), array(40)
    held = Resident(META, 100)
    held.of(one)
    now = resident.usage()
    assert (now.used - before.used, now.budget - before.budget) == (40, 100)
    resident.set_budget(30)
    assert held.nbytes == 0
    assert held.max_bytes == 30


@pytest.mark.parametrize(
    ("free", "taken", "most"), [(1000, 100, 5), (1000, 600, 1), (0, 100, 1), (10**12, 1, batch_room.MOST)]
)
def test_as_many_inputs_at_once_as_half_the_free_memory_takes(free: int, taken: int, most: int) -> None:
    assert batch_room.most_of(free, taken) == most


def test_a_cpu_gains_nothing_from_several_inputs_at_once() -> None:
    room = batch_room.BatchRoom(CPU)
    with room.measured():
        pass
    assert room.size == 1
