"""The document: drafts, answers and what is late, accepting, undo, names; and images of every kind."""

from __future__ import annotations

import dataclasses
import hashlib
import threading

import numpy as np
import pytest

from napari_medsam.embeddings import EmbeddingStore
from napari_medsam.errors import (
    GeometryError,
    ImageError,
    IntensityError,
    LabelsError,
    MedsamError,
    ModelError,
    PromptError,
    UnsupportedError,
)
from napari_medsam.geometry import Grid, Plane
from napari_medsam.image import Image
from napari_medsam.inference import Request, Response, run
from napari_medsam.intensity import LAZY_SLICES, Window, to_uint8
from napari_medsam.labels import ArrayLabels
from napari_medsam.masks import Overlap
from napari_medsam.models.base import Embedding, Prediction
from napari_medsam.models.contour import Contour
from napari_medsam.prompts import Box, Point, Prompts, Stroke
from napari_medsam.session import Session

from ..contract.fakes import BoxFake
from .fakes import (
    SECONDS,
    SHAPE,
    WINDOW,
    BrokenArray,
    LazyArray,
    RaisingFake,
    answer,
    axial,
    grid,
    image,
    session,
    voxels,
)

BOX = Prompts(Box(1, 2, 5, 6))
OTHER = Prompts(Box(0, 3, 3, 8))


def labelled(*boxes: tuple[tuple, int]) -> np.ndarray:
    """Labels made without the session: (key, value) painted one after the other."""
    out = np.zeros(SHAPE, dtype=int)
    for key, value in boxes:
        out[key] = value
    return out


def accepted(document: Session, plane: Plane, prompts: Prompts, key: str = "0"):
    answer(document, document.ask(plane, prompts, key))
    return document.accept(key)


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def voxels_of(document: Session) -> np.ndarray:
    assert isinstance(document.labels, ArrayLabels)
    return document.labels.data


class EmptyFake(BoxFake):
    """Finds nothing."""

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        return Prediction(np.zeros((1, *embedding.shape), dtype=bool), np.array([0.1]))


# -- asking ----------------------------------------------------------------------------------------------------


def test_a_request_is_frozen_and_complete() -> None:
    document = session()
    request = document.ask(axial(1), BOX, "a")
    assert (request.draft, request.plane, request.prompts, request.model) == ("a", axial(1), BOX, "contour")
    assert np.array_equal(request.pixels(), to_uint8(voxels()[1], WINDOW))
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.ticket = 0  # type: ignore[misc]


def test_tickets_rise_over_all_sessions() -> None:
    one, two = session(), session()
    tickets = [document.ask(axial(z), BOX).ticket for z in range(4) for document in (one, two)]
    assert tickets == sorted(set(tickets))


def test_the_answer_becomes_the_drafts_mask_and_score() -> None:
    document = session()
    answer(document, document.ask(axial(1), BOX))
    draft = document.drafts["0"]
    assert np.array_equal(draft.mask, labelled((np.s_[1, 1:5, 2:6], 1))[1].astype(bool))
    assert draft.score == 0.9
    assert draft.error is None


def test_a_draft_without_an_answer_has_no_mask() -> None:
    document = session()
    document.ask(axial(1), BOX)
    draft = document.drafts["0"]
    assert (draft.mask, draft.score, draft.error) == (None, None, None)


def test_what_is_asked_sees_the_pixels_and_the_window_of_that_moment() -> None:
    data = voxels()
    document = session(data)
    request = document.ask(axial(1), BOX)
    document.window = Window(0, 1)
    data[...] = 0
    assert np.array_equal(request.pixels(), to_uint8(voxels()[1], WINDOW))


def test_the_view_of_what_the_model_sees_is_what_the_model_sees() -> None:
    document = session()
    for axis in range(3):
        for i in range(SHAPE[axis]):
            plane = Plane.across(axis, i)
            assert np.array_equal(document.seen[plane.key], document.ask(plane, BOX).pixels())
    document.window = Window(-100, 0)
    assert np.array_equal(document.seen[1], document.ask(axial(1), BOX).pixels())


def test_the_view_follows_an_image_that_was_read_again() -> None:
    document = session()
    seen = document.seen
    document.image = image(voxels()[:, ::-1].astype(np.float32))
    document.window = Window(-100, 0)
    assert np.array_equal(seen[1], to_uint8(voxels()[1, ::-1], Window(-100, 0)))
    assert np.array_equal(seen[1], document.ask(axial(1), BOX).pixels())


def test_asking_copies_the_slice_and_leaves_its_grey_values_to_the_thread_that_runs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Windowing 8000 x 8000 on the GUI thread took 1.5 s."""
    threads = []

    def noted(values: np.ndarray, window: Window) -> np.ndarray:
        threads.append(threading.get_ident())
        return to_uint8(values, window)

    monkeypatch.setattr("napari_medsam.drafts.to_uint8", noted)
    document = session()
    request, warm = document.ask(axial(1), BOX), document.warm(axial(2))
    assert threads == []
    for each in (request, warm):
        worker = threading.Thread(target=run, args=(each, BoxFake(), EmbeddingStore()))
        worker.start()
        worker.join(SECONDS)
        assert threads.pop() != threading.get_ident()


@pytest.mark.parametrize("plane", [axial(4), axial(-1), Plane.across(2, 8), Plane((0, 1))])
def test_planes_outside_the_image_are_refused_and_leave_no_draft(plane: Plane) -> None:
    document = session()
    for ask in (lambda: document.ask(plane, BOX), lambda: document.warm(plane)):
        with pytest.raises(GeometryError):
            ask()
    assert not document.drafts


def test_one_click_encodes_one_slice_and_a_second_click_none() -> None:
    """SAMM encodes all slices of all three views before the first click."""
    document, model, store = session(), BoxFake(), EmbeddingStore()
    answer(document, document.ask(axial(1), BOX), model, store)
    assert model.encoded == 1
    answer(document, document.ask(axial(1), Prompts(BOX.box, (Point(2, 7),))), model, store)
    answer(document, document.ask(axial(1), OTHER, "another object"), model, store)
    assert model.encoded == 1


def test_warming_encodes_without_a_draft() -> None:
    document, model, store = session(), BoxFake(), EmbeddingStore()
    response = answer(document, document.warm(axial(2)), model, store)
    assert (response.prediction, response.error) == (None, None)
    assert not document.drafts
    answer(document, document.ask(axial(2), BOX), model, store)
    assert model.encoded == 1


# -- embeddings are keyed by content ---------------------------------------------------------------------------


def test_another_image_of_the_same_name_does_not_get_the_old_pixels() -> None:
    """SAMV2 and Crick key embeddings by layer name; SAMM does not check at all."""
    model, store = BoxFake(), EmbeddingStore()
    for data in (voxels(), voxels()[:, ::-1]):
        document = Session(image(data, name="ct"), window=WINDOW)
        answer(document, document.ask(axial(1), BOX), model, store)
    assert model.encoded == 2


def test_an_edited_image_is_encoded_again_and_the_same_slice_elsewhere_is_not() -> None:
    model, store, data = BoxFake(), EmbeddingStore(), voxels()
    document = session(data)
    answer(document, document.ask(axial(1), BOX), model, store)
    data[1, 0, 0] = 900
    answer(document, document.ask(axial(1), BOX), model, store)
    assert model.encoded == 2
    copy = Session(image(voxels(), name="another layer"), window=WINDOW)
    answer(copy, copy.ask(axial(1), BOX), model, store)
    assert model.encoded == 2


def test_another_window_is_encoded_again() -> None:
    document, model, store = session(), BoxFake(), EmbeddingStore()
    answer(document, document.ask(axial(1), BOX), model, store)
    document.window = Window(-200, 300)
    for request in document.ask_again():
        answer(document, request, model, store)
    assert model.encoded == 2


# -- late answers ----------------------------------------------------------------------------------------------


def test_an_answer_is_late_when_its_draft_has_asked_again() -> None:
    document = session()
    first, second = document.ask(axial(1), BOX), document.ask(axial(1), OTHER)
    late, fresh = (run(r, BoxFake(), EmbeddingStore()) for r in (first, second))
    assert document.receive(fresh)
    assert not document.receive(late)
    assert np.array_equal(document.drafts["0"].mask, labelled((np.s_[1, 0:3, 3:8], 1))[1].astype(bool))


def test_an_answer_is_late_when_its_draft_is_gone_or_accepted() -> None:
    document = session()
    request = document.ask(axial(1), BOX)
    response = answer(document, request)
    document.accept()
    assert not document.receive(response)
    gone = document.ask(axial(2), BOX, "gone")
    document.update([])
    assert not document.receive(run(gone, BoxFake(), EmbeddingStore()))
    assert not document.drafts


def test_a_late_answer_does_not_leak_into_the_next_object() -> None:
    """royerlab: what the model kept of the previous object leaks into the next."""
    document, model, store = session(), BoxFake(), EmbeddingStore()
    request = document.ask(axial(1), BOX)
    answer(document, request, model, store)
    document.accept()
    document.ask(axial(1), OTHER)
    assert not document.receive(run(request, model, store))
    assert document.drafts["0"].mask is None
    assert np.array_equal(
        answer(document, document.ask(axial(1), OTHER), model, store).prediction.masks,
        answer(session(), session().ask(axial(1), OTHER)).prediction.masks,
    )


def test_answers_of_another_session_are_not_taken() -> None:
    one, two = session(), session()
    two.ask(axial(1), BOX)
    assert not two.receive(run(one.ask(axial(1), BOX), BoxFake(), EmbeddingStore()))


def test_moving_a_draft_to_another_slice_drops_its_old_mask_at_once() -> None:
    document = session()
    answer(document, document.ask(axial(1), BOX))
    document.ask(axial(2), BOX)
    assert document.drafts["0"].mask is None


# -- errors ----------------------------------------------------------------------------------------------------


def test_an_error_reply_does_not_show_the_previous_result_as_the_new_one() -> None:
    """A server plugin for Slicer shows the previous mask when the reply is an error."""
    document = session()
    answer(document, document.ask(axial(1), BOX))
    answer(document, document.ask(axial(1), OTHER), RaisingFake(RuntimeError("cuda")))
    draft = document.drafts["0"]
    assert draft.mask is None
    assert isinstance(draft.error, ModelError)
    with pytest.raises(ModelError):
        document.accept()
    assert not voxels_of(document).any()


def test_a_new_question_clears_the_error_of_the_old() -> None:
    document = session()
    answer(document, document.ask(axial(1), BOX), RaisingFake(RuntimeError("cuda")))
    document.ask(axial(1), OTHER)
    assert document.drafts["0"].error is None


def test_a_crash_of_the_model_is_a_model_error_with_the_cause() -> None:
    crash = ZeroDivisionError("division by zero")
    response = run(session().ask(axial(1), BOX), RaisingFake(crash), EmbeddingStore())
    assert isinstance(response.error, ModelError)
    assert response.error.__cause__ is crash
    assert "ZeroDivisionError: division by zero" in str(response.error)
    assert response.prediction is None


def test_no_memory_is_said_in_plain_words() -> None:
    response = run(session().ask(axial(1), BOX), RaisingFake(MemoryError()), EmbeddingStore())
    assert isinstance(response.error, ModelError)
    assert "memory" in str(response.error)


def test_a_slice_that_cannot_be_read_is_explained_with_its_number() -> None:
    crash = OSError("stale file handle")
    request = session(BrokenArray(voxels(), crash)).ask(axial(3), BOX)
    response = run(request, BoxFake(), EmbeddingStore())
    assert isinstance(response.error, MedsamError)
    assert "3" in str(response.error)
    assert "stale file handle" in str(response.error)
    assert response.error.__cause__ is crash


def test_no_memory_to_read_a_slice_is_said_too() -> None:
    request = session(BrokenArray(voxels(), MemoryError())).ask(axial(3), BOX)
    assert "memory" in str(run(request, BoxFake(), EmbeddingStore()).error)


@pytest.mark.parametrize(
    ("prompts", "kind"),
    [
        (Prompts(points=(Point(1, 1, False),)), PromptError),
        (Prompts(Box(10, 10, 14, 14)), PromptError),
        (Prompts(points=(Point(9, 9),)), PromptError),
        (Prompts(strokes=(Stroke(((1, 1), (3, 3))),)), UnsupportedError),
    ],
)
def test_prompts_that_cannot_be_used_come_back_as_errors_before_the_slow_part(
    prompts: Prompts, kind: type[Exception]
) -> None:
    document, model = session(), BoxFake()
    response = answer(document, document.ask(axial(1), prompts), model)
    assert type(response.error) is kind
    assert model.encoded == 0
    with pytest.raises(kind):
        document.accept()
    assert "0" in document.drafts


# -- many drafts -----------------------------------------------------------------------------------------------


def test_only_what_changed_is_asked() -> None:
    document = session()
    drawn = [("a", axial(1), BOX), ("b", axial(2), OTHER)]
    assert [r.draft for r in document.update(drawn)] == ["a", "b"]
    assert document.update(drawn) == []
    drawn[1] = ("b", axial(3), OTHER)
    assert [(r.draft, r.plane) for r in document.update(drawn)] == [("b", axial(3))]
    drawn[0] = ("a", axial(1), OTHER)
    assert [r.draft for r in document.update(drawn)] == ["a"]
    assert document.update(drawn[1:]) == []
    assert list(document.drafts) == ["b"]


def test_a_draft_whose_answer_came_does_not_stay_though_nobody_could_accept_it() -> None:
    document = session()
    (request,) = document.update([("a", axial(1), BOX)])
    document.accept("a")
    answer(document, request)
    document.update([])
    assert not document.drafts


def test_drafts_are_asked_again_when_the_model_changes() -> None:
    document = session()
    document.update([("a", axial(1), BOX), ("b", axial(2), OTHER)])
    document.model = "another"
    again = document.ask_again()
    assert [(r.draft, r.plane, r.prompts, r.model) for r in again] == [
        ("a", axial(1), BOX, "another"),
        ("b", axial(2), OTHER, "another"),
    ]


def test_every_draft_whose_question_was_dropped_is_asked_again() -> None:
    """Also one that still shows the mask of its question before."""
    document = session()
    answer(document, document.ask(axial(1), BOX, "answered"))
    answer(document, document.ask(axial(1), BOX, "moved"))
    answer(document, document.ask(axial(1), BOX, "failed"), RaisingFake(RuntimeError("cuda")))
    dropped = [document.ask(axial(1), OTHER, "moved"), document.ask(axial(2), BOX, "new")]
    again = document.ask_unanswered()
    assert [(r.draft, r.plane, r.prompts) for r in again] == [(r.draft, r.plane, r.prompts) for r in dropped]


def test_a_draft_accepted_before_its_answer_survives_until_it_comes() -> None:
    document = session()
    (request,) = document.update([("a", axial(1), BOX)])
    assert document.accept("a") is None
    document.update([("b", axial(1), OTHER)])
    assert set(document.drafts) == {"a", "b"}
    answer(document, request)
    assert document.drafts["a"].wanted
    assert document.accept("a").value == 1


def test_a_draft_accepted_before_an_error_came_does_not_stay_for_ever() -> None:
    """Slicer-SAM2: a failed request leaves the caller waiting."""
    document = session()
    (request,) = document.update([("a", axial(1), BOX)])
    document.accept("a")
    answer(document, request, RaisingFake(RuntimeError("cuda")))
    with pytest.raises(ModelError):
        document.accept("a")
    document.update([])
    assert not document.drafts


def test_a_draft_on_a_slice_that_is_not_there_does_not_swallow_the_requests_of_others() -> None:
    """What `update` does not return is never sent, so its draft would wait for ever."""
    document = session()
    good, bad = ("good", axial(1), BOX), ("bad", axial(99), BOX)
    with pytest.raises(GeometryError):
        document.update([good, bad])
    assert [r.draft for r in document.update([good])] == ["good"]


# -- candidates ------------------------------------------------------------------------------------------------


def test_candidates_go_round_and_the_one_in_use_is_accepted() -> None:
    document = session()
    answer(document, document.ask(axial(1), BOX))
    scores = [document.next_candidate("0").score for _ in range(3)]
    assert scores == [0.8, 0.9, 0.8]
    document.accept()
    assert np.array_equal(voxels_of(document), labelled((np.s_[1, 2:4, 3:5], 1)))


def test_a_new_answer_returns_to_the_models_choice() -> None:
    document = session()
    answer(document, document.ask(axial(1), BOX))
    document.next_candidate("0")
    answer(document, document.ask(axial(1), OTHER))
    assert document.drafts["0"].candidate == 0


def test_turning_to_the_next_candidate_without_an_answer_does_nothing() -> None:
    document = session()
    document.ask(axial(1), BOX)
    assert document.next_candidate("0").mask is None


# -- accepting -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", ["first", "middle", "last"])
def test_accepting_writes_the_mask_on_its_own_slice_only(axis: int, end: str) -> None:
    """MedSAMSlicer never segments slice 0; Slicer-SAM2 puts the middle mask on the wrong frame of an even count."""
    i = {"first": 0, "middle": SHAPE[axis] // 2, "last": SHAPE[axis] - 1}[end]
    plane, document = Plane.across(axis, i), session()
    what = accepted(document, plane, Prompts(Box(1, 2, 3, 5)))
    expected = np.zeros(SHAPE, dtype=int)
    key = [slice(1, 3), slice(2, 5)]
    key.insert(axis, i)
    expected[tuple(key)] = 1
    assert np.array_equal(voxels_of(document), expected)
    assert (what.key, what.value, what.plane, what.pixels) == ("0", 1, plane, 6)
    assert not document.drafts


def test_each_accept_makes_a_new_object_unless_there_is_a_target() -> None:
    document = session()
    values = [accepted(document, axial(z), BOX).value for z in (0, 1)]
    document.target = 1
    values.append(accepted(document, axial(2), BOX).value)
    document.target = None
    values.append(accepted(document, axial(3), BOX).value)
    assert values == [1, 2, 1, 3]
    expected = labelled(*((np.s_[z, 1:5, 2:6], v) for z, v in enumerate(values)))
    assert np.array_equal(voxels_of(document), expected)
    assert document.names == {1: "object 1", 2: "object 2", 3: "object 3"}


def test_other_objects_are_kept_by_default() -> None:
    document = session()
    accepted(document, axial(1), BOX)
    assert accepted(document, axial(1), OTHER).pixels == 15 - 6
    assert np.array_equal(voxels_of(document), labelled((np.s_[1, 0:3, 3:8], 2), (np.s_[1, 1:5, 2:6], 1)))


def test_other_objects_are_overwritten_by_choice_and_come_back_by_undo() -> None:
    document = session()
    accepted(document, axial(1), BOX)
    before = voxels_of(document).copy()
    document.overlap = Overlap.OVERWRITE
    assert accepted(document, axial(1), OTHER).pixels == 15
    assert np.array_equal(voxels_of(document), labelled((np.s_[1, 1:5, 2:6], 1), (np.s_[1, 0:3, 3:8], 2)))
    document.undo()
    assert np.array_equal(voxels_of(document), before)


def test_the_first_accept_erases_nothing_that_was_painted() -> None:
    """napari-sam: the first click erases what was there, and undo loses pixels."""
    painted = labelled((np.s_[1, 1:3, 1:4], 7), (np.s_[3, :, 0], 9)).astype(np.uint16)
    document = session(labels=ArrayLabels(painted.copy()))
    accepted(document, axial(1), BOX)
    assert (voxels_of(document)[painted > 0] == painted[painted > 0]).all()
    document.undo()
    assert np.array_equal(voxels_of(document), painted)


def test_a_mask_wholly_under_other_objects_is_refused_and_the_draft_kept() -> None:
    document = session(names={7: "liver"}, labels=ArrayLabels(np.full(SHAPE, 7, dtype=np.uint8)))
    answer(document, document.ask(axial(1), BOX))
    with pytest.raises(LabelsError, match=r"liver.*overwrite"):
        document.accept()
    assert document.drafts["0"].mask is not None
    assert (voxels_of(document) == 7).all()
    assert document.names == {7: "liver"}
    document.overlap = Overlap.OVERWRITE
    assert document.accept().value == 8


def test_accepting_the_same_mask_for_the_same_object_again_is_no_error() -> None:
    document = session()
    accepted(document, axial(1), BOX)
    document.target = 1
    assert accepted(document, axial(1), BOX).pixels == 0
    document.undo()
    assert not voxels_of(document).any(), "writing nothing is no step"


def test_accepting_before_the_answer_waits_for_it() -> None:
    document = session()
    request = document.ask(axial(1), BOX)
    assert document.accept() is None
    assert document.drafts["0"].wanted
    assert not voxels_of(document).any()
    answer(document, request)
    assert document.drafts["0"].wanted
    assert document.accept().pixels == 16


@pytest.mark.parametrize("change", ["prompts", "window"])
def test_accepting_before_the_answer_to_a_change_does_not_write_the_old_mask(change: str) -> None:
    """A box is moved and accepted at once: what is written must be the mask of the box as it is now."""
    document = session()
    answer(document, document.ask(axial(1), BOX))
    if change == "prompts":
        request = document.ask(axial(1), OTHER)
    else:
        document.window = Window(0, 100)
        (request,) = document.ask_again()
    assert document.accept() is None
    assert not voxels_of(document).any()
    answer(document, request)
    document.accept()
    rows_columns = np.s_[1, 0:3, 3:8] if change == "prompts" else np.s_[1, 1:5, 2:6]
    assert np.array_equal(voxels_of(document), labelled((rows_columns, 1)))


def test_an_empty_mask_leaves_no_named_object_without_voxels() -> None:
    document = session()
    answer(document, document.ask(axial(1), BOX), EmptyFake())
    try:
        document.accept()
    except MedsamError:
        assert "0" in document.drafts, "what is refused is kept"
    assert document.names == {}
    assert document.next_value() == 1


def test_accepting_a_draft_that_is_not_there_is_explained() -> None:
    with pytest.raises(MedsamError):
        session().accept("nowhere")


@pytest.mark.parametrize("target", [0, -1])
def test_background_is_no_object_to_accept_into(target: int) -> None:
    document = session()
    answer(document, document.ask(axial(1), BOX))
    document.target = target
    with pytest.raises(LabelsError):
        document.accept()
    assert "0" in document.drafts
    assert target not in document.names


# -- checking before a layer is made for it --------------------------------------------------------------------


def refused(act) -> tuple[type[Exception], str] | None:
    try:
        act()
    except MedsamError as error:
        return type(error), str(error)
    return None


@pytest.mark.parametrize("fault", ["missing", "error", "empty", "target 0", "target -1"])
def test_what_accepting_would_refuse_is_refused_beforehand_with_the_same_words(fault: str) -> None:
    """Or a Labels layer is made for a mask that does not come."""
    model = {"error": RaisingFake(RuntimeError("cuda")), "empty": EmptyFake()}.get(fault, BoxFake())
    document = session()
    if fault.startswith("target"):
        document.target = int(fault.split()[1])
    if fault != "missing":
        answer(document, document.ask(axial(1), BOX), model)
    before = dict(document.drafts)
    first = refused(lambda: document.check_accept("0"))
    assert first is not None
    assert first == refused(lambda: document.accept("0"))
    assert document.drafts == before


def test_what_can_be_accepted_passes_the_check_and_nothing_is_written() -> None:
    document = session()
    answer(document, document.ask(axial(1), BOX))
    for target in (None, 1, 300):
        document.target = target
        document.check_accept("0")
    assert not voxels_of(document).any()
    assert document.names == {}
    assert document.accept().value == 300


def test_a_proposal_whose_answer_is_on_its_way_passes_the_check_and_keeps_its_mark() -> None:
    document = session()
    answer(document, document.ask(axial(1), BOX), EmptyFake())
    document.target = -1
    document.ask(axial(1), OTHER)
    document.check_accept("0")
    assert not document.drafts["0"].wanted
    assert document.accept() is None
    document.check_accept("0")
    assert document.drafts["0"].wanted


@pytest.mark.parametrize("model", [EmptyFake(), RaisingFake(RuntimeError("cuda"))])
def test_a_wanted_proposal_that_the_check_refuses_is_not_wanted_any_more(model: BoxFake) -> None:
    document = session()
    request = document.ask(axial(1), BOX)
    document.accept()
    answer(document, request, model)
    with pytest.raises(MedsamError):
        document.check_accept("0")
    assert not document.drafts["0"].wanted


def test_the_check_reads_no_voxels() -> None:
    class NoLabels:
        shape = SHAPE

    document = session(labels=NoLabels())
    answer(document, document.ask(axial(1), BOX))
    document.check_accept("0")


# -- values ----------------------------------------------------------------------------------------------------


def test_the_next_value_is_above_all_voxels_and_all_names() -> None:
    assert session().next_value() == 1
    assert session(names={4: "spleen", 2: "liver"}).next_value() == 5
    painted = ArrayLabels(labelled((np.s_[3, 5, 7], 9)).astype(np.uint8))
    assert session(labels=painted, names={4: "spleen"}).next_value() == 10


def test_the_256th_object_in_uint8_labels_is_256() -> None:
    """nnInteractive: the 256th instance overflows uint8."""
    painted = labelled((np.s_[3, 5, 7], 255)).astype(np.uint8)
    document = session(labels=ArrayLabels(painted))
    assert accepted(document, axial(1), BOX).value == 256
    assert np.array_equal(voxels_of(document), labelled((np.s_[3, 5, 7], 255), (np.s_[1, 1:5, 2:6], 256)))


def test_target_300_does_not_become_44() -> None:
    """Crick: 300 becomes 44."""
    document = session(labels=ArrayLabels(np.zeros(SHAPE, dtype=np.uint8)))
    document.target = 300
    assert accepted(document, axial(1), BOX).value == 300
    assert np.unique(voxels_of(document)).tolist() == [0, 300]


def test_a_value_beyond_the_type_is_refused_and_the_draft_kept() -> None:
    document = session(names={2**32 - 1: "the last"})
    answer(document, document.ask(axial(1), BOX))
    with pytest.raises(LabelsError, match="4294967296"):
        document.accept()
    assert document.drafts["0"].mask is not None
    assert not voxels_of(document).any()
    document.target = 5
    assert document.accept().value == 5


def test_labels_of_another_shape_are_refused_and_the_old_ones_kept() -> None:
    other = ArrayLabels.empty((4, 6, 9))
    with pytest.raises(LabelsError, match="same image"):
        session(labels=other)
    document = session()
    accepted(document, axial(1), BOX)
    kept = document.labels
    with pytest.raises(LabelsError, match=r"\(4, 6, 9\)"):
        document.labels = other
    assert document.labels is kept


# -- undo and names --------------------------------------------------------------------------------------------


def test_undo_and_redo_follow_every_accept() -> None:
    document, states, names = session(), [np.zeros(SHAPE, dtype=int)], [{}]
    for z, name in enumerate(("liver", "spleen", "")):
        document.new_name = name
        accepted(document, axial(z), BOX)
        states.append(voxels_of(document).copy())
        names.append(dict(document.names))
    assert names[-1] == {1: "liver", 2: "spleen", 3: "object 3"}
    for step in (2, 1, 0, 0):
        document.undo()
        assert np.array_equal(voxels_of(document), states[step])
        assert document.names == names[step]
    for step in (1, 2, 3, 3):
        document.redo()
        assert np.array_equal(voxels_of(document), states[step])
        assert document.names == names[step]


def test_an_object_keeps_its_name_until_its_last_slice_is_undone() -> None:
    document = session()
    document.new_name = "liver"
    accepted(document, axial(0), BOX)
    document.target = 1
    accepted(document, axial(1), BOX)
    document.undo()
    assert document.names == {1: "liver"}
    assert document.target == 1
    document.undo()
    assert document.names == {}
    assert document.target is None, "an object that is gone is not continued"
    assert document.next_value() == 1


@pytest.mark.parametrize("value", [7, 40])
def test_a_target_that_never_had_a_name_stays(value: int) -> None:
    """Painted with the brush, or in labels of a file without names."""
    document = session(labels=ArrayLabels(labelled((np.s_[0, 1:5, 2:6], 7)).astype(np.uint16)))
    document.target = value
    document.refresh_names()
    document.undo()
    assert document.target == value
    assert accepted(document, axial(1), BOX).value == value
    assert document.names == {value: f"object {value}"}
    document.undo()
    assert document.target == value


def test_undoing_another_object_leaves_the_target() -> None:
    document = session()
    accepted(document, axial(0), BOX)
    accepted(document, axial(1), BOX)
    document.target = 1
    document.undo()
    assert document.names == {1: "object 1"}
    assert document.target == 1


def test_continuing_an_object_that_was_undone_gives_its_name_back() -> None:
    """By an earlier number, as a script may hold it."""
    document = session()
    document.new_name = "liver"
    accepted(document, axial(0), BOX)
    document.undo()
    document.target = 1
    document.refresh_names()
    assert document.target == 1
    accepted(document, axial(1), BOX)
    assert document.names == {1: "liver"}
    document.refresh_names()
    assert document.names == {1: "liver"}


def test_a_renamed_object_comes_back_with_its_new_name() -> None:
    document = session()
    accepted(document, axial(0), BOX)
    document.rename(1, "left kidney")
    document.undo()
    document.redo()
    assert document.names == {1: "left kidney"}


def test_a_name_that_was_undone_does_not_come_back_to_another_object() -> None:
    document = session()
    document.new_name = "liver"
    accepted(document, axial(0), BOX)
    document.undo()
    document.new_name = "spleen"
    assert accepted(document, axial(1), BOX).value == 1
    accepted(document, axial(2), BOX)
    document.undo()
    assert document.names == {1: "spleen"}


def test_an_object_of_existing_labels_keeps_its_name_when_its_continuation_is_undone() -> None:
    """It still has the voxels that it came with."""
    painted = labelled((np.s_[0, 1:5, 2:6], 3)).astype(np.uint16)
    document = session(labels=ArrayLabels(painted), names={3: "left kidney"})
    document.target = 3
    accepted(document, axial(1), BOX)
    document.undo()
    assert document.names == {3: "left kidney"}
    assert document.target == 3


def test_a_name_given_for_the_next_object_is_used_once() -> None:
    document = session()
    document.new_name = "liver"
    accepted(document, axial(0), BOX)
    accepted(document, axial(1), BOX)
    assert document.names == {1: "liver", 2: "object 2"}


@pytest.mark.parametrize("value", [0, -1])
def test_background_has_no_name(value: int) -> None:
    with pytest.raises(LabelsError, match="background"):
        session().rename(value, "air")


def test_names_that_were_passed_in_are_not_changed() -> None:
    given = {1: "liver"}
    document = session(names=given)
    document.rename(1, "spleen")
    accepted(document, axial(0), BOX)
    assert given == {1: "liver"}


# -- images of every kind --------------------------------------------------------------------------------------


def test_the_image_is_never_written_to() -> None:
    """MedSAMSlicer overwrites the loaded volume with values from 0 to 255."""
    data = voxels()
    before = digest(data)
    data.flags.writeable = False
    document = session(data, window=None)
    for axis in range(3):
        accepted(document, Plane.across(axis, 1), Prompts(Box(1, 2, 3, 4)))
        document.seen[1][...] = 0
        document.ask(axial(1), BOX).pixels()[...] = 0
    document.undo()
    document.window = Window(0, 1)
    assert digest(data) == before


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", ">i2", "uint16", "int32", "float16", "float64"])
def test_images_of_every_real_type_are_segmented(dtype: str) -> None:
    """SAM4IS: int16 raises TypeError."""
    document = Session(image((voxels() // 16).astype(dtype)))
    assert accepted(document, axial(1), BOX).pixels == 16


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_slice_with_nan_or_infinity_is_segmented(bad: float) -> None:
    data = voxels().astype(np.float32)
    data[1, 2:4] = bad
    document = Session(image(data))
    assert np.isfinite([document.window.low, document.window.high]).all()
    assert accepted(document, axial(1), BOX).pixels == 16


@pytest.mark.parametrize("value", [0, 40, -1000, 65535])
def test_a_constant_image_is_segmented(value: int) -> None:
    document = Session(image(np.full(SHAPE, value)))
    assert accepted(document, axial(1), BOX).pixels == 16


def test_an_image_of_nan_is_refused_with_the_reason_and_a_typed_window_still_works() -> None:
    data = np.full(SHAPE, np.nan)
    with pytest.raises(IntensityError, match="no finite value"):
        Session(image(data))
    assert accepted(session(data), axial(1), BOX).pixels == 16


def test_a_lazy_slice_is_read_by_the_thread_that_runs_the_request() -> None:
    lazy, answers = LazyArray(voxels()), []
    document = session(lazy)
    request = document.ask(Plane.across(1, 3), Prompts(Box(1, 2, 3, 5)))
    document.warm(axial(0))
    assert lazy.reads == [], "nothing is read by the thread that asks"
    worker = threading.Thread(target=lambda: answers.append(run(request, BoxFake(), EmbeddingStore())))
    worker.start()
    worker.join(SECONDS)
    assert lazy.reads == [(worker.ident, (4, 8))], "one slice, by the worker"
    assert document.receive(answers[0])
    assert document.accept().pixels == 6


def test_a_lazy_image_is_never_read_whole() -> None:
    lazy = LazyArray(np.broadcast_to(voxels()[:1], (60, 6, 8)))
    document = Session(Image(lazy, Grid.from_spacing((60, 6, 8), (3, 1, 2))))
    assert len(lazy.reads) <= LAZY_SLICES
    for axis, i in ((0, 59), (1, 5), (2, 7)):
        accepted(document, Plane.across(axis, i), Prompts(Box(1, 2, 3, 5)))
    assert {size for _, size in lazy.reads} == {(6, 8), (60, 8), (60, 6)}


def test_a_lazy_image_that_cannot_be_read_when_it_is_opened_is_explained() -> None:
    with pytest.raises(MedsamError, match="stale file handle"):
        Session(image(BrokenArray(voxels(), OSError("stale file handle"))))


def test_an_image_larger_than_the_memory_is_opened_and_accepting_says_what_to_do() -> None:
    shape = (2**46, 6, 8)
    vast = LazyArray(np.broadcast_to(voxels()[1], shape))
    document = Session(Image(vast, Grid.from_spacing(shape, (3, 1, 2))), window=WINDOW)
    answer(document, document.ask(axial(2**45), BOX))
    assert document.next_value() == 1
    document.undo()
    with pytest.raises(LabelsError, match=r"GB.*crop.*disk"):
        document.accept()
    assert document.drafts["0"].mask is not None
    assert document.names == {}


def test_dask_and_zarr_give_the_same_labels_as_numpy(tmp_path) -> None:
    da, zarr = pytest.importorskip("dask.array"), pytest.importorskip("zarr")
    stored = zarr.create_array(store=str(tmp_path / "a.zarr"), shape=SHAPE, chunks=(1, 6, 8), dtype=np.int16)
    stored[...] = voxels()
    for array in (da.from_array(voxels(), chunks=(2, 3, 8)), stored):
        document, plain = Session(image(array)), Session(image())
        assert document.window == plain.window
        plane = Plane.across(2, 5)
        assert np.array_equal(document.ask(plane, BOX).pixels(), plain.ask(plane, BOX).pixels())
        accepted(document, axial(1), BOX)
        assert np.array_equal(voxels_of(document), labelled((np.s_[1, 1:5, 2:6], 1)))


@pytest.mark.parametrize("channels", [3, 4])
def test_a_colour_volume_gives_masks_of_its_grid(channels: int) -> None:
    data = np.random.default_rng(0).integers(0, 256, (*SHAPE, channels)).astype(np.uint8)
    document = Session(image(data, rgb=True))
    request = document.ask(Plane.across(1, 2), Prompts(Box(1, 2, 3, 5)))
    assert np.array_equal(request.pixels(), data[:, 2, :, :3])
    answer(document, request)
    assert document.accept().pixels == 6
    assert voxels_of(document).shape == SHAPE


def test_a_plane_of_two_axes_is_segmented() -> None:
    document = Session(Image(voxels()[1], grid((6, 8))))
    accepted(document, Plane((0, 1)), BOX)
    assert np.array_equal(voxels_of(document), labelled((np.s_[1, 1:5, 2:6], 1))[1])


def test_a_series_of_four_axes_is_segmented_in_its_own_frame_only() -> None:
    series = np.stack([voxels(), -voxels()])
    document = Session(Image(series, Grid.from_spacing((2, *SHAPE), (1.5, 3, 1, 2))), window=WINDOW)
    plane = Plane((1, 3), ((0, 1), (2, 4)))
    request = document.ask(plane, Prompts(Box(1, 2, 3, 5)))
    assert np.array_equal(request.pixels(), to_uint8(series[1, :, 4, :], WINDOW))
    answer(document, request)
    document.accept()
    expected = np.zeros(series.shape, dtype=int)
    expected[1, 1:3, 4, 2:5] = 1
    assert np.array_equal(voxels_of(document), expected)


def test_images_that_are_no_images_are_refused() -> None:
    for data in (np.zeros(SHAPE, dtype=complex), np.zeros((4, 6))):
        with pytest.raises(ImageError):
            session(data)


def test_a_response_with_neither_mask_nor_error_makes_no_object() -> None:
    document = session()
    request: Request = document.ask(axial(1), Prompts())
    assert document.receive(Response(request))
    assert document.accept() is None
    assert document.names == {}


@pytest.mark.parametrize("values", [np.full((3, 20, 30), 7.0), np.full((3, 20, 30), np.nan)], ids=["constant", "NaN"])
def test_a_mask_where_nothing_can_be_seen_says_so(values: np.ndarray) -> None:
    values = np.concatenate([values, np.linspace(0, 99, 600).reshape(1, 20, 30)])
    session = Session(Image(values, Grid.from_spacing(values.shape, (1.0, 1.0, 1.0))))
    notes = []
    for z in (1, 3):
        response = run(session.ask(Plane.across(0, z), Prompts(Box(4, 5, 14, 20))), Contour(), EmbeddingStore())
        assert response.prediction is not None
        notes.append(response.prediction.note)
    assert "looks alike" in notes[0]
    assert not notes[1]
