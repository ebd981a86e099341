"""Threads follow the cores that are free, and the environment before that."""

from __future__ import annotations

import threading

import pytest

torch = pytest.importorskip("torch")

from napari_medsam.models import threads  # noqa: E402
from napari_medsam.models.threads import Threads, asked_for, choose  # noqa: E402


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (threads.VARIABLE, "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("cores", "others", "window", "wanted"),
    [
        (2, 0.0, True, 1),
        (2, 0.0, False, 2),
        (2, 0.9, False, 1),
        (2, 7.5, True, 1),
        (8, 0.3, True, 7),
        (8, 3.6, True, 3),
        (1, 0.0, True, 1),
    ],
)
def test_free_cores_less_one_for_a_window(cores: int, others: float, window: bool, wanted: int) -> None:
    assert choose(cores, others, window=window) == wanted


def test_the_environment_decides_our_variable_first(unset: pytest.MonkeyPatch) -> None:
    assert asked_for() is None
    unset.setenv("OMP_NUM_THREADS", "3,2")
    assert asked_for() == 3
    unset.setenv(threads.VARIABLE, "5")
    assert asked_for() == 5
    for word in ("auto", "0", "-1", "many"):
        unset.setenv(threads.VARIABLE, word)
        assert asked_for() == 3


def settled(chooser: Threads) -> tuple[int, int]:
    """What it says and what torch then takes, on a thread of its own, so that those of the tests stay as they are."""
    found: list[tuple[int, int]] = []
    worker = threading.Thread(target=lambda: found.append((chooser.settle(), torch.get_num_threads())))
    worker.start()
    worker.join()
    return found[0]


def test_torch_is_told_and_the_load_is_looked_at_again(unset: pytest.MonkeyPatch) -> None:
    unset.setattr(threads, "cores", lambda: 8)
    unset.setattr(threads, "load", lambda: 0.0)
    unset.setattr(threads, "window_is_open", lambda: False)
    chooser = Threads(every=3600)
    assert settled(chooser) == (8, 8)
    unset.setattr(threads, "load", lambda: 1000.0)
    assert settled(chooser) == (8, 8)  # not so soon
    chooser.every = 0
    assert settled(chooser) == (1, 1)
    chooser.set_to = 2
    assert settled(chooser) == (2, 2)


def test_our_own_work_is_not_taken_for_that_of_others(unset: pytest.MonkeyPatch) -> None:
    used, now = iter([600.0, 660.0]), iter([0.0, 20.0])  # three cores busy with us
    unset.setattr(threads.time, "process_time", lambda: next(used))
    unset.setattr(threads.time, "monotonic", lambda: next(now))
    unset.setattr(threads, "cores", lambda: 4)
    unset.setattr(threads, "load", lambda: 3.0)
    unset.setattr(threads, "window_is_open", lambda: False)
    chooser = Threads(every=10)
    assert [chooser.number(), chooser.number()] == [4, 4]


def test_what_the_window_waits_for_has_its_core_as_well(unset: pytest.MonkeyPatch) -> None:
    unset.setattr(threads, "cores", lambda: 2)
    unset.setattr(threads, "load", lambda: 0.0)
    unset.setattr(threads, "window_is_open", lambda: True)
    chooser = Threads(every=3600)
    assert chooser.number() == 1
    with chooser.undisturbed():
        assert chooser.number() == 2
        assert settled(chooser) == (1, 1), "another thread is not awaited"
        with chooser.undisturbed(awaited=False):
            assert chooser.number() == 1
        assert chooser.number() == 2
        unset.setattr(threads, "load", lambda: 1000.0)
        chooser.every = 0
        assert chooser.number() == 1, "other programs need theirs"
    assert chooser.number() == 1
