"""Encoding ahead: what comes first, what is skipped, what is kept, and that nobody waits for it. Work is counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_medsam.embeddings import DiskTier, EmbeddingStore, content_key
from napari_medsam.engine import Engine, Errand, Outcome, Priority
from napari_medsam.errors import ImageError, UnsupportedError
from napari_medsam.geometry import Plane
from napari_medsam.inference import Response, run
from napari_medsam.models.base import Direction, Embedding, Segmenter
from napari_medsam.preparation import Aim, Block, Preparation, Readiness, left, prepare
from napari_medsam.prompts import Box, Prompts
from napari_medsam.propagation.planning import pixels_along
from napari_medsam.propagation.stack import Stack

from ..contract.fakes import BoxFake, LabelFake, SlowFake
from .fakes import SECONDS, WINDOW, BrokenArray, Gate, RaisingFake, axial, image, session, voxels

STACK = Stack.through(Plane.across(0, 0), (20, 6, 8))
UP, DOWN = Direction.UP, Direction.DOWN


def slices(position: int) -> NDArray[np.uint8]:
    """Each slice differs from all others, rows from columns."""
    return (np.arange(48).reshape(6, 8) * 3 + position).astype(np.uint8)


class Encoder(BoxFake):
    """Keeps 100 bytes a plane, and notes which planes it encoded, one list a call."""

    def __init__(self, batch: int = 1) -> None:
        super().__init__()
        self.batch = batch
        self.calls: list[list[int]] = []

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        return self.encode_batch([plane])[0]

    def encode_batch(self, planes: Sequence[NDArray[np.uint8]]) -> list[Embedding]:
        self.calls.append([int(plane[0, 0]) for plane in planes])
        self.encoded += len(planes)
        return [Embedding(self.spec.digest, (6, 8), {"a": np.full(100, plane[0, 0], np.uint8)}) for plane in planes]


class Quick(Encoder):
    spec = type(Encoder.spec)(**{**vars(Encoder.spec), "quick": True})


def done(preparation: Preparation, model: Segmenter, store: EmbeddingStore) -> Preparation:
    """The end of a preparation that is worked off."""
    for now in prepare(preparation, slices, model, store):
        preparation = now
    return preparation


# -- order -----------------------------------------------------------------------------------------------------------


def test_the_shown_slice_then_those_ahead_then_those_behind_then_the_rest_outward() -> None:
    assert Preparation(STACK, 10).next() == (10, *range(11, 19), 9, 8, 7, 6, 5, 4, 3, 2, 19, 1, 0)
    going_down = Preparation(STACK, 10, DOWN)
    assert going_down.next() == (10, *range(9, 1, -1), 11, 12, 13, 14, 15, 16, 17, 18, 1, 19, 0)


def test_scrolling_re_orders_at_once_and_what_is_done_stays_done() -> None:
    block = Block({10: "a", 11: "b"}, frozenset({10, 11}), 2)
    turned = Preparation(STACK, 10).after(block).towards(9)
    assert turned.direction is DOWN
    assert turned.next()[:5] == (9, 8, 7, 6, 5)
    assert turned.towards(11).next()[:3] == (12, 13, 14)
    assert turned.towards(9).direction is DOWN, "the same slice again is no change of direction"
    assert (turned.done, turned.total, turned.encoded) == (2, 20, 2)


def test_nearby_is_a_few_slices_in_the_way_of_scrolling() -> None:
    assert Preparation(STACK, 10, nearby=True).next() == (10, *range(11, 19), 9, 8)
    assert Preparation(STACK, 19, nearby=True).next() == (19, 18, 17)
    assert Preparation(STACK, 10, DOWN, nearby=True).next() == (10, *range(9, 1, -1), 11, 12)


@given(st.integers(0, 19), st.sampled_from(Direction), st.sets(st.integers(0, 19)))
def test_every_slice_that_is_left_comes_once(shown: int, direction: Direction, looked: set[int]) -> None:
    following = Preparation(STACK, shown, direction, looked=frozenset(looked)).next()
    assert sorted(following) == sorted(set(range(20)) - looked)


def test_how_urgent_a_block_is() -> None:
    preparation = Preparation(STACK, 10)
    assert preparation.priority is Priority.SHOWN
    near = preparation.after(Block({}, frozenset({10}), 0))
    assert near.priority is Priority.NEAR
    far = preparation.after(Block({}, frozenset(range(8, 19)), 0))
    assert far.priority is Priority.IDLE


# -- what is encoded, and what is not --------------------------------------------------------------------------------


def test_every_slice_is_encoded_once_in_order() -> None:
    model, store = Encoder(), EmbeddingStore(10_000)
    end = done(Preparation(STACK, 10), model, store)
    assert [call[0] for call in model.calls] == list(Preparation(STACK, 10).next())
    assert end.finished
    assert (end.done, end.encoded) == (20, 20)
    assert {end.keys[p] == content_key(slices(p), model.spec.digest) for p in range(20)} == {True}
    assert all(store.holds(key) for key in end.keys.values())


def test_one_that_was_cut_goes_on_where_it_stopped() -> None:
    store = EmbeddingStore(10_000)
    model = Encoder()
    for now in prepare(Preparation(STACK, 10), slices, model, store):
        if now.encoded == 7:
            break
    again = Encoder()
    end = done(Preparation(STACK, 0), again, store)
    assert (model.encoded, again.encoded, end.done) == (7, 13, 20)


def test_slices_that_are_alike_are_encoded_once() -> None:
    model, store = Encoder(), EmbeddingStore(10_000)
    for _ in prepare(Preparation(STACK, 0), lambda position: slices(0), model, store):
        pass
    assert model.encoded == 1


def test_a_device_that_gains_from_batches_gets_them() -> None:
    model = Encoder(batch=4)
    end = done(Preparation(STACK, 0), model, EmbeddingStore(10_000))
    assert [len(call) for call in model.calls] == [4] * 5
    assert end.encoded == 20


def test_a_survey_encodes_nothing_and_finds_what_is_there() -> None:
    store, model = EmbeddingStore(10_000), Encoder()
    for position in (3, 4, 17):
        store.put(content_key(slices(position), model.spec.digest), model.encode(slices(position)))
    end = done(Preparation(STACK, 0, aim=Aim.SURVEY), model, store)
    assert sorted(end.keys) == [3, 4, 17]
    assert model.encoded == 3
    assert end.finished


def test_what_the_store_dropped_is_asked_for_again() -> None:
    store, model = EmbeddingStore(10_000), Encoder()
    end = done(Preparation(STACK, 10, nearby=True), model, store)
    store.clear()
    store.put(end.keys[12], model.encode(slices(12)))
    assert end.checked(store).done == 1
    assert end.checked(store).towards(13).next()[0] == 13


def test_ahead_of_the_user_the_memory_holds_what_was_used_last() -> None:
    store = EmbeddingStore(300)
    end = done(Preparation(STACK, 0), Encoder(), store)
    assert not end.full
    assert store.nbytes == 300


def test_a_model_that_labels_by_itself_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="nothing to prepare"):
        done(Preparation(STACK, 0), LabelFake(), EmbeddingStore(100))  # type: ignore[arg-type]


def test_a_slice_that_cannot_be_read_ends_it_with_its_error() -> None:
    broken = image(BrokenArray(voxels(), OSError("the disk is gone")))
    stack = Stack.through(axial(0), (4, 6, 8))
    with pytest.raises(ImageError, match="the disk is gone"):
        next(prepare(Preparation(stack, 0), pixels_along(broken, stack, WINDOW), BoxFake(), EmbeddingStore(1000)))


# -- to last ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def tier(tmp_path: Path) -> DiskTier:
    return DiskTier(tmp_path / "embeddings", 10 << 20)


LASTING = Preparation(STACK, 10, aim=Aim.LASTING)


def test_a_prepared_volume_gives_masks_on_another_day_without_an_encode(tier: DiskTier) -> None:
    store = EmbeddingStore(10_000, tier)
    done(LASTING, Encoder(), store)
    assert store.close(SECONDS)
    document, model, reopened = session(), BoxFake(), EmbeddingStore(10_000, DiskTier(tier.folder))
    stack = Stack.through(axial(0), (4, 6, 8))
    pixels = pixels_along(document.image, stack, document.window)
    for _ in prepare(Preparation(stack, 0, aim=Aim.LASTING), pixels, model, reopened):
        pass
    assert reopened.close(SECONDS)
    again = BoxFake()
    answer = run(document.ask(axial(2), Prompts(Box(1, 2, 5, 6))), again, EmbeddingStore(10_000, DiskTier(tier.folder)))
    assert answer.prediction is not None
    assert (model.encoded, again.encoded) == (4, 0)


def test_a_volume_larger_than_the_memory_is_all_on_disk_and_the_memory_keeps_its_budget(tier: DiskTier) -> None:
    store = EmbeddingStore(700, tier)
    most, preparation = 0, LASTING
    for now in prepare(LASTING, slices, Encoder(), store):
        most, preparation = max(most, store.nbytes), now
    assert preparation.finished
    assert not preparation.full
    assert most <= 700
    assert store.flush(SECONDS)
    assert tier.usage().entries == 20
    assert {10, 11, 12} <= {p for p in range(20) if preparation.keys[p] in store._entries}, "the first stay"
    assert preparation.size == 100


def test_what_is_in_memory_already_is_written_without_an_encode(tier: DiskTier) -> None:
    store, model = EmbeddingStore(10_000, tier), Encoder()
    done(Preparation(STACK, 10), model, store)
    assert tier.usage().entries == 0
    end = done(LASTING, model, store)
    assert store.flush(SECONDS)
    assert (tier.usage().entries, model.encoded, end.encoded) == (20, 20, 0)


def test_what_encodes_as_fast_as_a_disk_reads_is_not_written(tier: DiskTier) -> None:
    store = EmbeddingStore(10_000, tier)
    end = done(LASTING, Quick(), store)
    assert store.flush(SECONDS)
    assert end.finished
    assert tier.usage().entries == 0
    assert len(store) == 20


def test_without_a_disk_it_ends_when_the_memory_is_full_and_drops_nothing_of_its_own() -> None:
    store, model = EmbeddingStore(500), Encoder()
    end = done(LASTING, model, store)
    assert end.full
    assert end.finished
    assert (end.done, model.encoded, len(store)) == (5, 6, 5)
    assert end.next() == ()


def test_an_embedding_larger_than_the_disk_s_or_the_memory_s_budget_does_not_go_on_for_ever(tmp_path: Path) -> None:
    store = EmbeddingStore(10_000, DiskTier(tmp_path / "small", 50))
    end = done(LASTING, Encoder(), store)
    assert (end.done, end.full) == (20, False)
    assert store.flush(SECONDS)
    assert "larger than the budget" in store.usage().trouble
    end = done(LASTING, Encoder(), EmbeddingStore(50, DiskTier(tmp_path / "large")))
    assert (end.done, end.full) == (0, True)


def test_a_volume_larger_than_the_disk_s_budget_says_so_in_the_end(tmp_path: Path) -> None:
    tier = DiskTier(tmp_path / "small", 1500)
    store = EmbeddingStore(700, tier)
    end = done(LASTING, Encoder(), store)
    assert store.flush(SECONDS)
    assert end.finished
    assert 0 < end.checked(store).done < 20


class FullDisk(DiskTier):
    """Fails at each write."""

    def _write(self, key: str, embedding: Embedding) -> bool:
        raise OSError(28, "No space left on device")


def test_a_disk_that_fills_up_meanwhile_does_not_end_it(tmp_path: Path) -> None:
    store = EmbeddingStore(10_000, FullDisk(tmp_path / "full", 10 << 20))
    end = done(LASTING, Encoder(), store)
    assert store.flush(SECONDS)
    assert (end.done, end.full, len(store)) == (20, False, 20)
    assert "No space left" in store.usage().trouble


def test_how_long_the_rest_will_take() -> None:
    before = Preparation(STACK, 0, looked=frozenset(range(5)), encoded=2)
    now = Preparation(STACK, 0, looked=frozenset(range(10)), encoded=6)
    assert left(before, now, seconds=8.0) == pytest.approx(8 / 4 * 10)
    assert left(before, before, seconds=8.0) is None


# -- on the lane -----------------------------------------------------------------------------------------------------


def lane(model: Segmenter, deliver: Callable[[Response | Outcome], None]) -> Engine:
    return Engine(lambda reference: model, deliver, EmbeddingStore(10_000))


def test_a_loop_of_errands_prepares_all_and_a_turn_meanwhile_changes_what_is_next() -> None:
    model, states = Encoder(batch=2), [Preparation(STACK, 0)]

    def go_on(outcome: Response | Outcome) -> None:
        assert isinstance(outcome, Outcome)
        assert outcome.error is None, outcome.error
        now = states[-1].after(outcome.value)
        states.append(now.towards(12) if now.encoded == 4 else now)
        if not now.finished:
            engine.submit(states[-1].errand("m", slices, engine.store), states[-1].priority)

    engine = lane(model, go_on)
    try:
        engine.submit(states[0].errand("m", slices, engine.store), Priority.NEAR)
        assert engine.wait(SECONDS)
    finally:
        engine.close(SECONDS)
    assert model.calls[:4] == [[0, 1], [2, 3], [12, 13], [14, 15]]
    assert states[-1].finished
    assert model.encoded == 20


def test_a_prompt_waits_for_no_more_than_one_block() -> None:
    gate, answers = Gate(), []
    model = SlowFake(sleep=gate)
    document = session()
    stack = Stack.through(axial(0), (4, 6, 8))
    pixels = pixels_along(document.image, stack, document.window)
    engine = lane(model, answers.append)
    try:
        engine.submit(Preparation(stack, 0).errand("m", pixels, engine.store), Priority.IDLE)
        assert gate.entered.wait(SECONDS)
        engine.submit(Preparation(stack, 1).errand("m", pixels, engine.store, "another"), Priority.NEAR)
        engine.submit(document.ask(axial(0), Prompts(Box(1, 2, 5, 6))))
        gate.release.set()
        assert engine.wait(SECONDS)
    finally:
        engine.close(SECONDS)
    assert [type(answer) for answer in answers] == [Outcome, Response, Outcome]
    assert model.encoded == 2, "the first block was one slice, which answered the prompt"


def test_work_ahead_never_brings_a_model_back() -> None:
    """The user turns to another model while slices are prepared for the one before."""
    loads: list[str] = []
    gate = Gate()
    outcomes: list[Response | Outcome] = []

    def load(reference: str) -> Segmenter:
        loads.append(reference)
        return Encoder()

    engine = Engine(load, outcomes.append, EmbeddingStore(10_000))
    try:
        engine.submit(Errand("label", "old", lambda model: gate(0)))
        assert gate.entered.wait(SECONDS)
        engine.submit(Preparation(STACK, 0).errand("old", slices, engine.store), Priority.NEAR)
        engine.submit(Errand("model", "new", lambda model: None, instead="old"))
        gate.release.set()
        assert engine.wait(SECONDS)
    finally:
        engine.close(SECONDS)
    assert loads == ["old", "new"]
    assert [outcome.request.draft for outcome in outcomes] == ["label", "model"]


def test_cancelling_all_drops_work_ahead() -> None:
    gate, outcomes = Gate(), []
    engine = lane(Encoder(), outcomes.append)
    try:
        engine.submit(Errand("label", "m", lambda model: gate(0)))
        assert gate.entered.wait(SECONDS)
        engine.submit(Preparation(STACK, 0).errand("m", slices, engine.store), Priority.NEAR)
        engine.cancel()
        gate.release.set()
        assert engine.wait(SECONDS)
    finally:
        engine.close(SECONDS)
    assert len(outcomes) == 1


def test_an_error_of_the_model_is_the_outcome_of_the_block() -> None:
    outcomes: list[Outcome] = []
    engine = lane(RaisingFake(RuntimeError("CUDA error")), outcomes.append)  # type: ignore[arg-type]
    try:
        engine.submit(Preparation(STACK, 0).errand("m", slices, engine.store), Priority.NEAR)
        assert engine.wait(SECONDS)
    finally:
        engine.close(SECONDS)
    assert "CUDA error" in str(outcomes[0].error)


# -- which slices are ready ------------------------------------------------------------------------------------------


def test_slices_are_ready_once_they_were_encoded_and_no_more_when_the_store_drops_them() -> None:
    document, store, model, readiness = session(), EmbeddingStore(10_000), BoxFake(), Readiness()
    stack = Stack.through(axial(0), (4, 6, 8))
    assert readiness.ready(stack, store).tolist() == [False] * 4
    answer = run(document.warm(axial(2)), model, store)
    assert readiness.take(answer)
    assert not readiness.take(answer), "no news"
    assert readiness.ready(stack, store).tolist() == [False, False, True, False]
    assert readiness.ready([axial(2), axial(0)], store).tolist() == [True, False]
    store.clear()
    assert not readiness.ready(stack, store).any()


def test_another_window_or_model_forgets_and_late_answers_are_not_taken() -> None:
    document, store, model, readiness = session(), EmbeddingStore(10_000), BoxFake(), Readiness()
    readiness.turn_to(("image", "window"))
    late = document.warm(axial(1))
    assert readiness.take(run(document.warm(axial(2)), model, store))
    readiness.turn_to(("image", "window"))
    assert readiness.ready([axial(2)], store).all()
    readiness.turn_to(("image", "another window"))
    assert not readiness.ready([axial(2)], store).any()
    assert not readiness.take(run(late, model, store))
    assert readiness.take(run(document.warm(axial(1)), model, store))


def test_a_block_tells_of_its_slices() -> None:
    store, readiness, model = EmbeddingStore(10_000), Readiness(), Encoder(batch=3)
    preparation = Preparation(STACK, 4)
    errand = preparation.errand("m", slices, store)
    block = errand.act(model)
    assert readiness.take_block(STACK, block.keys, errand.ticket)
    assert np.flatnonzero(readiness.ready(STACK, store)).tolist() == [4, 5, 6]


def test_an_answer_with_an_error_tells_of_no_slice() -> None:
    readiness = Readiness()
    failed = run(session().warm(axial(1)), RaisingFake(RuntimeError("x")), EmbeddingStore(100))
    assert failed.key == ""
    assert not readiness.take(failed)
