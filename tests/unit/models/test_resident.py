"""The device tier, on torch's "meta" device: one that is not the CPU, and needs no hardware."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from napari_medsam.errors import InputError  # noqa: E402
from napari_medsam.models import batch_room, resident  # noqa: E402
from napari_medsam.models.resident import Resident  # noqa: E402

META, CPU = torch.device("meta"), torch.device("cpu")


@pytest.fixture(autouse=True)
def _as_it_comes() -> Iterator[None]:
    """No budget was set, and no network of another test is left."""
    gc.collect()
    yield
    resident.set_budget(None)


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


def test_usage_counts_all_devices_and_there_is_none_on_a_cpu() -> None:
    on_cpu = Resident.on(CPU)
    assert on_cpu.nbytes == 0
    assert resident.usage() is None
    held, one = Resident(META, 100), array(40)
    held.of(one)
    assert resident.usage() == resident.Held(40, 100)


def test_networks_on_one_device_share_a_budget_and_the_least_recently_used_of_either_goes_first() -> None:
    resident.set_budget(100)
    one, other = Resident.on(META), Resident.on(torch.device("meta"))
    first, second, third = (array(40) for _ in range(3))
    copy = one.of(first)
    other.of(second)
    one.of(first)
    other.of(third)
    assert resident.usage() == resident.Held(80, 100)
    assert other.of(first) is copy


def test_a_budget_counts_at_once_and_for_networks_that_are_loaded_later() -> None:
    held, arrays = Resident.on(META), [array(40) for _ in range(3)]
    for one in arrays:
        held.of(one)
    resident.set_budget(90)
    assert (held.nbytes, held.max_bytes) == (80, 90)
    resident.set_budget(0)
    assert (held.nbytes, held.max_bytes) == (0, 0)
    del held
    gc.collect()
    assert resident.usage() is None
    assert Resident.on(META).max_bytes == 0
    resident.set_budget(None)
    assert Resident.on(META).max_bytes == resident.WHERE_UNKNOWN


def test_a_budget_below_nothing_is_refused() -> None:
    held = Resident(META, 100)
    with pytest.raises(InputError, match="0 bytes or more, not -1"):
        resident.set_budget(-1)
    assert held.max_bytes == 100


def test_a_budget_that_is_lowered_while_a_copy_comes_counts_for_that_copy() -> None:
    held, one = Resident(META, 100), array(40)
    lock = held._lock

    class Late:
        """The budget is lowered just before a thread gets the lock."""

        def __enter__(self) -> None:
            held._lock = lock
            resident.set_budget(30)
            lock.acquire()

        def __exit__(self, *error: object) -> None:
            lock.release()

    held._lock = Late()  # type: ignore[assignment]
    held.keep(one, torch.empty(40, dtype=torch.uint8, device=META))
    assert (held.nbytes, held.max_bytes) == (0, 30)


def test_it_is_never_over_budget_while_that_is_lowered_and_other_threads_use_it() -> None:
    most, least, stop, failed = 100, 30, threading.Event(), list[BaseException]()
    held = Resident.on(META)

    def use() -> None:
        arrays = [array(size) for size in (10, 20, 35, 40, 90)]
        try:
            while not stop.is_set():
                for one in arrays:
                    held.of(one)
        except BaseException as error:
            failed.append(error)

    users = [threading.Thread(target=use) for _ in range(3)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for user in users:
            user.start()
        for _ in range(1000):
            resident.set_budget(most)
            resident.set_budget(least)
            assert max(held.nbytes for _ in range(20)) <= least
    finally:
        sys.setswitchinterval(before)
        stop.set()
        for user in users:
            user.join()
    assert not failed
    copies = [copy.nbytes for _, copy in held._copies.values()]
    assert held.nbytes == sum(copies), "counted right"


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
