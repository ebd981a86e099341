"""The lane: what runs first, what is dropped, and that nothing stops it but `close`. Events, no sleeps."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_medsam.embeddings import EmbeddingStore
from napari_medsam.engine import Engine, Errand, Outcome, Priority
from napari_medsam.errors import ImageError, MemoryShortError, ModelError
from napari_medsam.inference import Request, Response
from napari_medsam.models import threads
from napari_medsam.models.base import Embedding, Segmenter
from napari_medsam.prompts import Box, Prompts

from ..contract.fakes import BoxFake, SlowFake
from .fakes import SECONDS, BrokenArray, Gate, LazyArray, RaisingFake, axial, session, voxels

BOX, OTHER = Prompts(Box(1, 2, 5, 6)), Prompts(Box(0, 3, 3, 8))

MakeEngine = Callable[..., tuple[Engine, list[Response]]]


@pytest.fixture
def lane() -> Iterator[MakeEngine]:
    """Makes an engine with one model, and the list its answers go to; closes all engines at the end."""
    made: list[Engine] = []

    def make(model: Segmenter, deliver: Callable[[Response], None] | None = None) -> tuple[Engine, list[Response]]:
        answers: list[Response] = []
        engine = Engine(lambda name: model, answers.append if deliver is None else deliver)
        made.append(engine)
        return engine, answers

    yield make
    for engine in made:
        engine.close(SECONDS)


@pytest.fixture
def held(lane: MakeEngine) -> Iterator[tuple[Engine, list[Response], Gate]]:
    """An engine whose first request runs until the gate is opened."""
    gate = Gate()
    engine, answers = lane(SlowFake(sleep=gate))
    engine.submit(session().ask(axial(0), BOX, "held"))
    assert gate.entered.wait(SECONDS)
    yield engine, answers, gate
    gate.release.set()


def drafts(answers: list[Response]) -> list[str]:
    return [a.request.draft for a in answers]


class Witness(BoxFake):
    """Notes the thread of every call."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        self.threads.add(threading.get_ident())
        return super().encode(plane)

    def decode(self, embedding: Embedding, prompts: Prompts):
        self.threads.add(threading.get_ident())
        return super().decode(embedding, prompts)


# -- order -----------------------------------------------------------------------------------------------------


def test_an_answer_is_delivered(lane: MakeEngine) -> None:
    engine, answers = lane(BoxFake())
    request = session().ask(axial(1), BOX)
    engine.submit(request)
    assert engine.wait(SECONDS)
    assert [a.request for a in answers] == [request]
    assert answers[0].prediction.mask.sum() == 16
    assert not engine.busy


def test_submitting_does_not_wait_for_the_model(held) -> None:
    engine, answers, _ = held
    document = session()
    started = time.perf_counter()
    for z in range(4):
        engine.submit(document.ask(axial(z), BOX, str(z)))
    assert time.perf_counter() - started < 1
    assert engine.busy
    assert answers == []


def test_the_newest_request_of_a_draft_replaces_those_that_wait(held) -> None:
    engine, answers, gate = held
    document = session()
    requests = [document.ask(axial(z), BOX, "a") for z in (1, 2, 3)]
    other = document.ask(axial(1), OTHER, "b")
    for request in (*requests, other):
        engine.submit(request)
    gate.release.set()
    assert engine.wait(SECONDS)
    assert [a.request for a in answers[1:]] == [other, requests[-1]]


def test_a_prompt_goes_before_the_shown_slice_and_that_before_its_neighbours_and_idle_work(held) -> None:
    engine, answers, gate = held
    document = session()
    order = [Priority.IDLE, Priority.NEAR, Priority.SHOWN, Priority.PROMPT, Priority.SHOWN, Priority.PROMPT]
    for i, priority in enumerate(order):
        engine.submit(document.ask(axial(1), BOX, f"{priority.name} {i}"), priority)
    gate.release.set()
    assert engine.wait(SECONDS)
    assert drafts(answers) == ["held", "PROMPT 5", "PROMPT 3", "SHOWN 4", "SHOWN 2", "NEAR 1", "IDLE 0"]


@pytest.mark.parametrize("submitted", ["abc", "cba", "bca"])
def test_of_the_same_urgency_the_one_asked_last_goes_first(held, submitted: str) -> None:
    """Five boxes, each drawn in place of the one before: the last, which is looked at, waits for none of the dead."""
    engine, answers, gate = held
    document = session()
    requests = {key: document.ask(axial(1), BOX, key) for key in "abc"}
    for key in submitted:
        engine.submit(requests[key])
    gate.release.set()
    assert engine.wait(SECONDS)
    assert drafts(answers) == ["held", "c", "b", "a"]


def test_a_prompt_on_a_warmed_slice_is_decoded_only(lane: MakeEngine) -> None:
    model = BoxFake()
    engine, answers = lane(model)
    document = session()
    engine.submit(document.warm(axial(1)), Priority.SHOWN)
    assert engine.wait(SECONDS)
    engine.submit(document.ask(axial(1), BOX))
    assert engine.wait(SECONDS)
    assert model.encoded == 1
    assert [a.prediction is None for a in answers] == [True, False]


def test_late_answers_are_dropped_by_the_session(lane: MakeEngine) -> None:
    """The lane delivers what was running already; the ticket tells that it is late."""
    gate, document = Gate(), session()
    engine, answers = lane(SlowFake(sleep=gate))
    engine.submit(document.ask(axial(1), BOX))
    assert gate.entered.wait(SECONDS)
    engine.submit(document.ask(axial(1), OTHER))
    gate.release.set()
    assert engine.wait(SECONDS)
    assert [document.receive(a) for a in answers] == [False, True]
    assert document.drafts["0"].mask.sum() == 15


def test_one_waits_for_an_answer_that_is_handed_over_then(lane: MakeEngine) -> None:
    gate = Gate()
    engine, answers = lane(SlowFake(sleep=gate))
    request = session().ask(axial(1), BOX)
    engine.submit(request)
    assert not engine.answered(request.ticket, 0.01), "it is under way"
    gate.release.set()
    assert engine.answered(request.ticket, SECONDS)
    assert [a.request for a in answers] == [request]
    assert engine.answered(request.ticket, 0), "and stays answered"


def test_nobody_waits_while_something_else_runs(held) -> None:
    engine, answers, _ = held
    request = session().ask(axial(1), BOX, "next")
    engine.submit(request)
    assert not engine.answered(request.ticket, SECONDS)
    assert answers == []


def test_a_request_that_is_dropped_is_waited_for_no_more(lane: MakeEngine) -> None:
    gate = Gate()
    engine, _ = lane(SlowFake(sleep=gate))
    document = session()
    running, dropped = document.ask(axial(1), BOX, "a"), document.ask(axial(2), BOX, "b")
    engine.submit(running)
    assert gate.entered.wait(SECONDS)
    engine.submit(dropped)
    engine.cancel("b")
    gate.release.set()
    assert engine.wait(SECONDS)
    assert engine.answered(dropped.ticket, 0)


def test_the_model_knows_whether_the_window_waits(lane: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (threads.VARIABLE, "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "window_is_open", lambda: True)
    monkeypatch.setattr(threads, "cores", lambda: 4)
    monkeypatch.setattr(threads, "load", lambda: 0.0)
    chosen: list[int] = []

    class Counting(BoxFake):
        def decode(self, embedding: Embedding, prompts: Prompts):
            chosen.append(threads.THREADS.number())
            return super().decode(embedding, prompts)

    engine, _ = lane(Counting())
    request = session().ask(axial(1), BOX)
    for awaited in (False, True, False):
        engine.submit(replace(request, awaited=awaited))
        assert engine.wait(SECONDS)
    assert chosen == [3, 4, 3]


def test_an_answer_tells_the_processor_s_time_and_not_what_its_thread_waited(lane: MakeEngine) -> None:
    gate = Gate()
    engine, answers = lane(SlowFake(sleep=gate))
    engine.submit(session().ask(axial(1), BOX))
    assert gate.entered.wait(SECONDS)
    time.sleep(0.3)
    gate.release.set()
    assert engine.wait(SECONDS)
    assert answers[0].worked < 0.3


# -- cancel, wait, close ---------------------------------------------------------------------------------------


def test_cancelling_a_draft_drops_its_waiting_request_only(held) -> None:
    engine, answers, gate = held
    document = session()
    for key in "abc":
        engine.submit(document.ask(axial(1), BOX, key))
    engine.cancel("b")
    engine.cancel("nobody")
    engine.cancel("held")
    gate.release.set()
    assert engine.wait(SECONDS)
    assert drafts(answers) == ["held", "c", "a"]


def test_cancelling_all_leaves_a_lane_that_works_on(held) -> None:
    engine, answers, gate = held
    document = session()
    for key in "abc":
        engine.submit(document.ask(axial(1), BOX, key))
    engine.cancel()
    gate.release.set()
    assert engine.wait(SECONDS)
    assert drafts(answers) == ["held"]
    engine.submit(document.ask(axial(1), BOX, "d"))
    assert engine.wait(SECONDS)
    assert drafts(answers) == ["held", "d"]


def test_waiting_gives_up_after_its_timeout(held) -> None:
    engine, _, gate = held
    assert not engine.wait(0.01)
    assert engine.busy
    gate.release.set()
    assert engine.wait(SECONDS)
    assert not engine.busy


def test_waiting_for_an_idle_lane_returns_at_once(lane: MakeEngine) -> None:
    engine, _ = lane(BoxFake())
    assert engine.wait(0)


def test_when_waiting_returns_every_answer_was_delivered(lane: MakeEngine) -> None:
    engine, answers = lane(BoxFake())
    document = session()
    for i in range(50):
        engine.submit(document.ask(axial(i % 4), BOX, str(i)))
        if i % 10 == 9:
            assert engine.wait(SECONDS)
            assert len(answers) == i + 1


def test_closing_while_busy_returns_at_once_and_delivers_nothing_more(held) -> None:
    engine, answers, gate = held
    engine.submit(session().ask(axial(1), BOX, "waits"))
    started = time.perf_counter()
    engine.close()
    assert time.perf_counter() - started < 1
    gate.release.set()
    assert engine.wait(SECONDS)
    engine.close(SECONDS)
    assert answers == []
    assert not engine.busy


def test_closing_with_a_timeout_ends_the_thread(lane: MakeEngine) -> None:
    before = set(threading.enumerate())
    engine, _ = lane(BoxFake())
    (thread,) = set(threading.enumerate()) - before
    engine.submit(session().ask(axial(1), BOX))
    engine.close(SECONDS)
    assert not thread.is_alive()


def test_after_closing_requests_are_ignored_and_closing_again_is_fine(lane: MakeEngine) -> None:
    engine, answers = lane(BoxFake())
    engine.close(SECONDS)
    engine.submit(session().ask(axial(1), BOX))
    assert not engine.busy
    assert engine.wait(SECONDS)
    engine.close(SECONDS)
    engine.close()
    assert answers == []


def test_an_answers_receiver_may_close_the_lane(lane: MakeEngine) -> None:
    closed = threading.Event()

    def close(response: Response) -> None:
        engine.close(SECONDS)
        closed.set()

    engine, _ = lane(BoxFake(), close)
    engine.submit(session().ask(axial(1), BOX))
    assert closed.wait(SECONDS)


def test_an_answers_receiver_may_ask_the_next_question(lane: MakeEngine) -> None:
    document, seen = session(), []

    def again(response: Response) -> None:
        seen.append(response.request.draft)
        if len(seen) < 3:
            engine.submit(document.ask(axial(1), BOX, str(len(seen))))

    engine, _ = lane(BoxFake(), again)
    engine.submit(document.ask(axial(1), BOX, "0"))
    assert engine.wait(SECONDS)
    assert seen == ["0", "1", "2"]


def test_the_interpreter_ends_though_a_lane_is_open_and_busy() -> None:
    code = (
        "from tests.unit.fakes import *; from tests.contract.fakes import SlowFake\n"
        "from napari_medsam.engine import Engine; from napari_medsam.prompts import *\n"
        "engine = Engine(lambda name: SlowFake(0.05), lambda response: None)\n"
        "engine.submit(session().ask(axial(1), Prompts(Box(1, 2, 5, 6))))\n"
        "print('end of the script')"
    )
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "end of the script", "")


# -- faults ----------------------------------------------------------------------------------------------------


def test_a_failed_request_is_answered_and_the_next_one_works(lane: MakeEngine) -> None:
    """Slicer-SAM2: a failed request leaves the caller waiting for ever."""
    crash = RuntimeError("CUDA error: an illegal memory access")
    engine, answers = lane(RaisingFake(crash, times=1))
    document = session()
    for key in "ab":
        engine.submit(document.ask(axial(1), BOX, key))
    assert engine.wait(SECONDS)
    assert sorted(drafts(answers)) == ["a", "b"]
    assert isinstance(answers[0].error, ModelError)
    assert answers[0].error.__cause__ is crash
    assert "illegal memory access" in str(answers[0].error)
    assert answers[1].prediction is not None


def test_no_memory_is_an_answer_too(lane: MakeEngine) -> None:
    engine, answers = lane(RaisingFake(MemoryError(), times=1))
    engine.submit(session().ask(axial(1), BOX))
    assert engine.wait(SECONDS)
    assert "memory" in str(answers[0].error)


def test_a_slice_that_cannot_be_read_is_an_answer_too(lane: MakeEngine) -> None:
    engine, answers = lane(BoxFake())
    engine.submit(session(BrokenArray(voxels(), OSError("gone"))).ask(axial(1), BOX))
    assert engine.wait(SECONDS)
    assert isinstance(answers[0].error, ImageError)


@pytest.mark.parametrize("error", [ModelError("no weights"), OSError("libcudart.so.12"), ImportError("torch")])
def test_a_model_that_cannot_be_loaded_is_an_answer_and_loading_is_tried_again(error: Exception) -> None:
    answers: list[Response] = []
    faults = [error]

    def load(name: str) -> Segmenter:
        if faults:
            raise faults.pop()
        return BoxFake()

    engine = Engine(load, answers.append)
    try:
        for key in "ab":
            engine.submit(session().ask(axial(1), BOX, key))
        assert engine.wait(SECONDS)
    finally:
        engine.close(SECONDS)
    assert isinstance(answers[0].error, ModelError)
    assert str(error) in str(answers[0].error)
    assert answers[0].error is error or answers[0].error.__cause__ is error, "the cause is not lost"
    assert answers[1].prediction is not None


def test_a_receiver_that_raises_does_not_stop_the_lane(lane: MakeEngine) -> None:
    seen: list[str] = []

    def deliver(response: Response) -> None:
        seen.append(response.request.draft)
        raise RuntimeError("wrapped C/C++ object has been deleted")

    engine, _ = lane(BoxFake(), deliver)
    for key in "ab":
        engine.submit(session().ask(axial(1), BOX, key))
    assert engine.wait(SECONDS)
    assert sorted(seen) == ["a", "b"]


def test_a_model_that_wants_to_end_the_program_does_not_leave_the_caller_waiting(lane: MakeEngine) -> None:
    """Libraries call sys.exit; in a thread that would end the lane in silence."""
    engine, answers = lane(RaisingFake(SystemExit(1), times=1))
    for key in "ab":
        engine.submit(session().ask(axial(1), BOX, key))
    assert engine.wait(0.5)
    assert sorted(drafts(answers)) == ["a", "b"]


# -- one thread ------------------------------------------------------------------------------------------------


def test_one_persistent_thread_does_everything(lane: MakeEngine) -> None:
    """A fresh thread per prediction benchmarks cuDNN anew: 1.2 s against 0.11 s."""
    model, lazy, delivered = Witness(), LazyArray(voxels()), set()
    engine, _ = lane(model, lambda response: delivered.add(threading.get_ident()))
    document = session(lazy)
    for i in range(12):
        bad = Prompts(Box(50, 50, 60, 60)) if i % 5 == 0 else BOX
        engine.submit(document.ask(axial(i % 4), bad, str(i)))
        assert engine.wait(SECONDS)
    readers = {thread for thread, _ in lazy.reads}
    assert len(model.threads | delivered | readers) == 1
    assert threading.get_ident() not in readers


def test_a_model_is_loaded_once_on_the_lane_and_only_when_it_is_needed() -> None:
    loaded: list[tuple[str, int]] = []

    def load(name: str) -> Segmenter:
        loaded.append((name, threading.get_ident()))
        return BoxFake()

    engine = Engine(load, lambda response: None)
    try:
        assert loaded == []
        document = session()
        for key in "abc":
            engine.submit(document.ask(axial(1), BOX, key))
        assert engine.wait(SECONDS)
        document.model = "another"
        engine.submit(document.ask(axial(1), BOX, "d"))
        assert engine.wait(SECONDS)
    finally:
        engine.close(SECONDS)
    assert [name for name, _ in loaded] == ["contour", "another"]
    assert threading.get_ident() not in {thread for _, thread in loaded}


def test_a_store_is_shared_and_an_empty_one_is_not_replaced() -> None:
    store, model = EmbeddingStore(), BoxFake()
    for _ in range(2):
        engine = Engine(lambda name: model, lambda response: None, store)
        assert engine.store is store
        engine.submit(session().ask(axial(1), BOX))
        assert engine.wait(SECONDS)
        engine.close(SECONDS)
    assert model.encoded == 1
    assert len(store) == 1


# -- errands and switching -------------------------------------------------------------------------------------


class Shop:
    """Makes models, one new one at each load, and keeps account without keeping them."""

    def __init__(self, *errors: tuple[str, Exception]) -> None:
        self.loads: list[str] = []
        self.alive: list[weakref.ref[BoxFake]] = []
        self.beside: list[int] = []
        """How many other models were alive when each load began."""
        self._errors = list(errors)

    def load(self, reference: str) -> Segmenter:
        self.loads.append(reference)
        self.beside.append(self.count)
        error = next((entry for entry in self._errors if entry[0] == reference), None)
        if error is not None:
            self._errors.remove(error)
            raise error[1]
        model = BoxFake()
        self.alive.append(weakref.ref(model))
        return model

    @property
    def count(self) -> int:
        gc.collect()
        return sum(ref() is not None for ref in self.alive)


MakeShop = Callable[..., tuple[Engine, list[Response | Outcome], Shop]]


@pytest.fixture
def shop() -> Iterator[MakeShop]:
    """Makes an engine that loads from a shop."""
    made: list[Engine] = []

    def make(*errors: tuple[str, Exception]) -> tuple[Engine, list[Response | Outcome], Shop]:
        answers: list[Response | Outcome] = []
        stocked = Shop(*errors)
        made.append(Engine(stocked.load, answers.append))
        return made[-1], answers, stocked

    yield make
    for engine in made:
        engine.close(SECONDS)


def errand(reference: str, key: str = "model", **more: Any) -> Errand:
    return Errand(key, reference, lambda model: model.spec.title, **more)


def asked(model: str, key: str = "a") -> Request:
    return session(model=model).ask(axial(1), BOX, key)


def test_an_errand_gets_the_model_and_its_outcome_is_delivered(shop: MakeShop) -> None:
    engine, answers, stock = shop()
    mine = errand("one")
    engine.submit(mine)
    assert engine.wait(SECONDS)
    assert answers == [Outcome(mine, BoxFake.spec.title)]
    engine.submit(asked("one"))
    assert engine.wait(SECONDS)
    assert stock.loads == ["one"], "the model is held for what comes next"


def test_an_error_of_an_errand_is_its_outcome(shop: MakeShop) -> None:
    error = ModelError("no weights")
    engine, answers, _ = shop(("one", error))
    engine.submit(errand("one"))
    assert engine.wait(SECONDS)
    assert answers[0].error is error
    engine.submit(Errand("label", "one", lambda model: model.nothing))
    assert engine.wait(SECONDS)
    assert isinstance(answers[1].error, ModelError)
    assert isinstance(answers[1].error.__cause__, AttributeError)


def test_a_later_errand_of_the_same_key_replaces_one_that_waits(held) -> None:
    engine, answers, gate = held
    for name in ("one", "two", "three"):
        engine.submit(errand(name))
    gate.release.set()
    assert engine.wait(SECONDS)
    assert [a.request.model for a in answers[1:]] == ["three"]


def test_cancelling_all_requests_leaves_errands(held) -> None:
    """The user turns to another image while a model is about to be loaded."""
    engine, answers, gate = held
    engine.submit(asked("one"))
    engine.submit(errand("two"))
    engine.cancel()
    gate.release.set()
    assert engine.wait(SECONDS)
    assert [a.request.draft for a in answers] == ["held", "model"]


def test_one_model_is_held_and_the_last_one_is_freed_when_the_next_is_there(shop: MakeShop) -> None:
    engine, answers, stock = shop()
    for name in ("one", "two", "one"):
        engine.submit(errand(name))
        assert engine.wait(SECONDS)
        assert stock.count == 1, "nothing else keeps a model: no closure, no frame"
    assert stock.beside == [0, 1, 1], "the next is loaded beside the one in use"
    assert len(answers) == 3


def test_a_model_that_fails_to_load_leaves_the_one_in_use(shop: MakeShop) -> None:
    engine, answers, stock = shop(("two", ModelError("no weights")))
    for request in (errand("one"), errand("two"), asked("one")):
        engine.submit(request)
        assert engine.wait(SECONDS)
    assert stock.loads == ["one", "two"]
    assert [a.error is None for a in answers] == [True, False, True]


def test_where_there_is_no_room_beside_the_last_model_it_goes_first(shop: MakeShop) -> None:
    engine, answers, stock = shop(("two", MemoryShortError("too little memory")))
    for name in ("one", "two"):
        engine.submit(errand(name))
        assert engine.wait(SECONDS)
    assert stock.loads == ["one", "two", "two"]
    assert stock.beside == [0, 1, 0]
    assert answers[1].error is None


def test_too_little_memory_for_one_model_alone_is_said_at_once(shop: MakeShop) -> None:
    engine, answers, stock = shop(("one", MemoryShortError("too little memory")))
    engine.submit(errand("one"))
    assert engine.wait(SECONDS)
    assert stock.loads == ["one"]
    assert isinstance(answers[0].error, MemoryShortError)


def test_a_model_is_loaded_anew_when_asked_and_the_old_one_stays_if_that_fails(shop: MakeShop) -> None:
    engine, answers, stock = shop()
    for request in (errand("one"), errand("one", anew=True)):
        engine.submit(request)
        assert engine.wait(SECONDS)
    assert stock.loads == ["one", "one"]
    assert stock.count == 1
    stock._errors.append(("one", ModelError("There is no device 'cuda:7' here.")))
    engine.submit(errand("one", anew=True))
    engine.submit(asked("one"))
    assert engine.wait(SECONDS)
    assert sorted(a.error is None for a in answers) == [False, True, True, True]
    assert stock.loads == ["one"] * 3, "the one before answered"


@pytest.mark.parametrize("fails", [False, True])
def test_questions_that_wait_do_not_bring_the_replaced_model_back(shop: MakeShop, fails: bool) -> None:
    """They are asked again by who asked; where the new model cannot be loaded, the old one answers."""
    engine, answers, stock = shop(*[("two", ModelError("no weights"))] * fails)
    gate = Gate()
    engine.submit(Errand("label", "one", lambda model: gate(0)))
    assert gate.entered.wait(SECONDS)
    engine.submit(asked("one", "drawn before"))
    engine.submit(errand("two", instead="one"))
    gate.release.set()
    assert engine.wait(SECONDS)
    assert stock.loads == ["one", "two"]
    assert [a.request.draft for a in answers] == ["label", "model", *["drawn before"] * fails]


@pytest.mark.parametrize("breaks", ["encode", "decode", "load"])
def test_an_error_that_is_kept_keeps_no_model(breaks: str) -> None:
    """A draft holds its error for as long as the user likes; the frames of its traceback hold gigabytes."""
    freed: list[weakref.ref[BoxFake]] = []

    def load(name: str) -> Segmenter:
        model = BoxFake()
        freed.append(weakref.ref(model))
        if breaks == "load":
            raise OSError(f"libcudart.so.12 for {model.encoded}")
        setattr(model, breaks, partial(fail, model))
        return model

    def fail(model: BoxFake, *args: Any) -> None:
        raise RuntimeError(f"CUDA error in {model.spec.title}")

    answers: list[Response | Outcome] = []
    engine = Engine(load, answers.append)
    try:
        engine.submit(asked("one"))
        assert engine.wait(SECONDS)
        breaks = "nothing"
        engine.submit(errand("two"))
        assert engine.wait(SECONDS)
        gc.collect()
        error: Any = answers[0].error
        assert [ref() is None for ref in freed] == [True, False]
        assert "line" in "".join(traceback.format_exception(error)), "the lines of the traceback are still there"
        assert error.__cause__ is not None
    finally:
        engine.close(SECONDS)


def test_an_idle_lane_keeps_no_pixels(lane: MakeEngine) -> None:
    engine, answers = lane(BoxFake())
    engine.submit(session().ask(axial(1), BOX))
    assert engine.wait(SECONDS)
    pixels = weakref.ref(answers.pop().request.pixels)
    gc.collect()
    assert pixels() is None
