"""Objects through a stack, in the document: what is followed, written, kept, undone, reviewed and run again."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from napari_medsam.embeddings import EmbeddingStore
from napari_medsam.errors import GeometryError, LabelsError, PromptError, UnsupportedError
from napari_medsam.geometry import Grid, Plane
from napari_medsam.image import Image
from napari_medsam.inference import run
from napari_medsam.labelling import Findings
from napari_medsam.labels import ArrayLabels
from napari_medsam.masks import Overlap
from napari_medsam.prompts import Box, Point, Prompts
from napari_medsam.propagation.plan import Way
from napari_medsam.propagation.prompting import Prompting
from napari_medsam.propagation.provenance import Kind
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.subject import Span
from napari_medsam.propagation.walk import walk
from napari_medsam.session import Session
from napari_medsam.shapes import CleanUp, Operation

from .fakes import LazyArray
from .following import (
    HOW,
    SHAPE,
    SPACING,
    STACK,
    WIDE,
    WINDOW,
    BrightFake,
    box_of,
    document,
    follow,
    grown,
    propose,
    truth,
    volume,
    walked,
)


def voxels(session: Session) -> np.ndarray:
    assert isinstance(session.labels, ArrayLabels)
    return session.labels.data


def slices(session: Session, value: int) -> list[int]:
    return [z for z in range(SHAPE[0]) if (voxels(session)[z] == value).any()]


def kinds(session: Session, value: int = 1) -> str:
    """A letter a slice: key, grown, corrected, erased, or a dot where nothing is."""
    letters = ["."] * SHAPE[0]
    for found in session.review(value, STACK):
        letters[found.position] = "e" if found.empty else found.kind.name[0].lower()
    return "".join(letters)


def paint(session: Session, position: int, value: int, where: tuple) -> None:
    """As with a brush."""
    plane = STACK.plane(position)
    mask = np.zeros(plane.shape_in(SHAPE), dtype=bool)
    mask[where] = True
    session.labels.write(plane, mask, value)


def erase(session: Session, position: int, value: int = 1) -> None:
    plane = STACK.plane(position)
    session.labels.write(plane, session.labels.read(plane) == value, 0)


def replan(session: Session, position: int, **more):
    return session.write_growth(walked(session.replan(1, STACK, position, **(HOW | {"prompting": WIDE} | more))))


# -- from proposals to labels ----------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [1, 4, 7])
def test_one_box_becomes_the_whole_object_and_nothing_else(position: int) -> None:
    session = document()
    propose(session, position)
    written = grown(session)
    assert np.array_equal(voxels(session), truth() == 1)
    assert written.values == {1: 1}
    assert written.pixels == {1: int((truth() == 1).sum())}
    assert (written.slices, written.kept, written.drafts) == (7, 0, ("0",))
    assert session.drafts == {}
    assert session.names == {1: "object 1"}


def test_a_run_is_one_undo_step_and_takes_the_name_along() -> None:
    session = document()
    session.new_name = "bone"
    propose(session, 4)
    grown(session)
    assert session.names == {1: "bone"}
    session.undo()
    assert not voxels(session).any()
    assert session.names == {}
    session.redo()
    assert np.array_equal(voxels(session), truth() == 1)
    assert session.names == {1: "bone"}


@pytest.mark.parametrize("axis", [1, 2])
def test_other_views_are_followed_too(axis: int) -> None:
    session = document()
    stack = Stack.through(Plane.across(axis, 3), SHAPE)
    propose(session, 3, stack=stack)
    session.write_growth(walked(session.plan_propagation(stack, **HOW, prompting=Prompting(margin=6.0))))
    assert np.array_equal(voxels(session) == 1, truth() == 1)


def test_two_boxes_on_one_slice_are_two_new_objects_of_one_run() -> None:
    session, model = document(), BrightFake()
    propose(session, 4, 1, "a")
    propose(session, 4, 2, "b")
    growth = walked(session.plan_propagation(STACK, **HOW, prompting=WIDE), model)
    assert growth.names == {1: "new object 1", 2: "new object 2"}
    assert model.encoded == SHAPE[0] - 1, "a slice is encoded once for both, and two that are equal once"
    session.write_growth(growth)
    assert np.array_equal(voxels(session), truth())


def test_boxes_on_several_slices_are_keys_of_one_new_object() -> None:
    session = document()
    propose(session, 2, key="a")
    propose(session, 6, key="b")
    growth = follow(session)
    assert [key.position for key in growth.plan.subjects[0].keys] == [2, 6]
    session.write_growth(growth)
    assert np.array_equal(voxels(session), truth() == 1)


def test_with_a_target_all_boxes_are_of_it() -> None:
    session = document()
    paint(session, 2, 4, np.s_[2:8, 3])
    session.target = 4
    propose(session, 4, key="a")
    propose(session, 6, key="b")
    growth = follow(session)
    assert [[key.position for key in subject.keys] for subject in growth.plan.subjects] == [[2, 4, 6]]
    written = session.write_growth(growth)
    assert (dict(written.values), set(written.drafts)) == ({1: 4}, {"a", "b"})
    assert slices(session, 4) == [1, 2, 3, 4, 5, 6, 7]


def test_owners_say_which_object_a_proposal_is_of() -> None:
    session = document()
    propose(session, 2, 1, "a")
    propose(session, 4, 2, "b")
    propose(session, 6, 1, "c")
    growth = follow(session, owners={"a": 7, "b": 9, "c": 7})
    session.write_growth(growth)
    assert np.array_equal(voxels(session), np.array([0, 7, 9])[truth()])


def test_the_candidate_that_the_user_has_chosen_is_the_key() -> None:
    session = document()
    request = session.ask(STACK.plane(4), box_of(1, STACK.plane(4)))
    session.receive(run(request, BrightFake(), EmbeddingStore()))
    session.next_candidate("0")
    chosen = session.drafts["0"].mask
    growth = session.plan_propagation(STACK, **HOW, prompting=WIDE)
    assert growth.plan.subjects[0].keys[0].certain
    session.write_growth(walked(growth))
    assert np.array_equal(voxels(session)[4] == 1, chosen)
    assert kinds(session)[4] == "k"


def test_several_proposals_of_one_object_on_a_slice_are_joined_or_refused() -> None:
    session = document()
    session.target = 3
    for key, box in (("a", Box(1, 2, 6, 5)), ("b", Box(5, 2, 9, 8))):
        session.ask(STACK.plane(4), Prompts(box), key)
    with pytest.raises(PromptError, match="Slice 4 has several"):
        follow(session)
    for request in session.ask_again():
        session.receive(run(request, BrightFake(), EmbeddingStore()))
    grown(session)
    assert np.array_equal(voxels(session), 3 * (truth() == 1))


# -- from labels -----------------------------------------------------------------------------------------------


def test_a_partly_filled_label_is_carried_on_and_its_slices_stay_as_they_are() -> None:
    labels = np.where(truth() == 1, 5, 0).astype(np.uint16)
    labels[5:] = 0
    labels[:3] = 0
    labels[4, 0, 0] = 5  # a mark of the user's, wrong as it is
    kept = labels[3:5].copy()
    session = document(labels=ArrayLabels(labels), names={5: "bone"})
    grown(session, values=[5])
    assert slices(session, 5) == [1, 2, 3, 4, 5, 6, 7]
    assert np.array_equal(voxels(session)[3:5], kept)
    assert kinds(session, 5) == ".ggkkggg."


@pytest.mark.parametrize("overlap", list(Overlap))
def test_other_objects_are_kept_or_overwritten_as_in_2d(overlap: Overlap) -> None:
    labels = np.zeros(SHAPE, dtype=np.uint16)
    labels[5, 7, 3:9] = 9
    session = document(labels=ArrayLabels(labels), names={9: "old"})
    session.overlap = overlap
    propose(session, 4)
    grown(session)
    mine, old = truth()[5] == 1, np.zeros(SHAPE[1:], dtype=bool)
    old[7, 3:9] = True
    expected = np.where(old, 9, np.where(mine, 10, 0)) if overlap is Overlap.KEEP else np.where(mine, 10, old * 9)
    assert np.array_equal(voxels(session)[5], expected)


def test_a_new_run_replaces_what_was_grown_also_where_it_finds_nothing() -> None:
    session = document()
    propose(session, 4)
    grown(session)
    session.target = 1
    grown(session, stops=[6])
    assert slices(session, 1) == [1, 2, 3, 4, 5, 6]
    assert kinds(session) == ".gggkgg.."
    session.undo()
    assert slices(session, 1) == [1, 2, 3, 4, 5, 6, 7]
    assert kinds(session) == ".gggkggg."


def test_a_run_that_is_stopped_replaces_only_what_it_has_done() -> None:
    session = document()
    propose(session, 4)
    grown(session)
    session.target = 1
    grown(session, stops=[6], most=1)
    assert slices(session, 1) == [1, 2, 3, 4, 5, 6, 7]


# -- corrections -----------------------------------------------------------------------------------------------


def test_kinds_follow_corrections_undo_and_redo_without_being_told() -> None:
    session = document()
    propose(session, 4)
    grown(session)
    assert kinds(session) == ".gggkggg."
    paint(session, 6, 1, np.s_[0, 0])
    erase(session, 1)
    assert kinds(session) == ".eggkgcg."
    session.undo()
    session.undo()
    assert kinds(session) == ".gggkggg."
    session.undo()
    assert kinds(session) == "........."
    session.redo()
    assert kinds(session) == ".gggkggg."


def test_after_undo_the_same_box_accepted_by_hand_is_only_a_key() -> None:
    session = document()
    propose(session, 4)
    grown(session)
    session.undo()
    request = session.ask(STACK.plane(4), box_of(1, STACK.plane(4)))
    session.receive(run(request, BrightFake(), EmbeddingStore()))
    session.accept()
    assert kinds(session) == "....k...."


def test_running_again_from_a_corrected_slice_keeps_it_and_goes_to_the_next_certain_one() -> None:
    session = document()
    propose(session, 2, key="a")
    propose(session, 6, key="b")
    grown(session)
    before = voxels(session).copy()
    paint(session, 4, 1, np.s_[0, 5])
    model = BrightFake()
    growth = walked(session.replan(1, STACK, 4, **HOW, prompting=WIDE), model)
    assert growth.plan.subjects[0].span == Span(2, 6)
    assert growth.positions == (3, 5)
    assert model.encoded == 2
    session.write_growth(growth)
    after = voxels(session)
    assert np.array_equal(np.delete(after, 4, 0), np.delete(before, 4, 0))
    assert after[4, 0, 5] == 1
    assert kinds(session) == ".gkgcgkg."


def test_what_was_grown_wrongly_is_replaced_not_added_to() -> None:
    session = document()
    propose(session, 4)
    session.write_growth(walked(session.plan_propagation(STACK, **HOW, prompting=WIDE), _Leaky()))
    leaked = voxels(session).copy()
    assert (leaked[6] == 1).sum() > (truth()[6] == 1).sum()
    session.labels.put([(STACK.plane(5), (truth()[5] == 1).astype(int))])
    replan(session, 5)
    assert np.array_equal(voxels(session)[6:], truth()[6:] == 1)
    assert np.array_equal(voxels(session)[:5], leaked[:5])
    assert kinds(session) == "ggggkcgg."
    session.undo()
    assert np.array_equal(voxels(session)[6:], leaked[6:])
    assert kinds(session) == "ggggkcggg"


class _Leaky(BrightFake):
    """Finds all of its box."""

    def decode(self, embedding, prompts):
        found = super().decode(embedding, prompts)
        return type(found)(found.masks[1:], found.scores[:1])


def test_a_slice_that_the_user_has_emptied_is_not_passed_and_what_lay_behind_goes() -> None:
    session = document()
    propose(session, 3)
    grown(session)
    erase(session, 5)
    replan(session, 5)
    assert slices(session, 1) == [1, 2, 3, 4]
    assert kinds(session) == ".ggkge..."


def test_beside_a_key_there_is_nothing_to_walk_and_what_lay_behind_goes_all_the_same() -> None:
    session = document()
    propose(session, 3)
    grown(session)
    erase(session, 4)
    growth = session.replan(1, STACK, 4, **HOW)
    assert growth.idle
    assert not growth.writes
    growth.finish()
    assert growth.writes
    session.write_growth(growth)
    assert slices(session, 1) == [1, 2, 3]


@pytest.mark.parametrize(
    ("spans", "painted", "emptied", "left"),
    [
        ([Span(3, 5)], [5], 3, "...ekcgg."),
        ([Span(1, 6), Span(0, 8)], [], 7, ".gggkgge."),
        ([Span(4, 5)], [], 5, ".gggke..."),
    ],
    ids=["the rest of its run is corrected", "the last run found nothing else", "the run found nothing else"],
)
def test_a_slice_that_the_user_has_emptied_is_not_filled_again(
    spans: list[Span], painted: list[int], emptied: int, left: str
) -> None:
    session = document()
    propose(session, 4)
    for span in spans:
        grown(session, span=span)
        session.target = 1
    for position in painted:
        paint(session, position, 1, np.s_[0, 0])
    erase(session, emptied)
    assert kinds(session)[emptied] == "e"
    grown(session)
    assert kinds(session) == left
    assert emptied not in slices(session, 1)


def test_what_the_user_has_emptied_is_no_stop_any_more_when_the_run_is_undone() -> None:
    session = document()
    propose(session, 4)
    grown(session, span=Span(4, 5))
    erase(session, 5)
    session.undo()
    assert kinds(session) == "....kg..."
    session.undo()
    assert kinds(session) == "........."
    paint(session, 5, 1, np.s_[2:8, 3])
    assert kinds(session) == ".....k..."


@pytest.mark.parametrize("again", ["run", "rerun"])
def test_interpolated_shapes_replace_only_what_lies_between_certain_slices(again: str) -> None:
    session = document()
    propose(session, 4)
    grown(session)
    before = voxels(session).copy()
    paint(session, 6, 1, np.s_[2:8, 3:9])
    assert kinds(session) == ".gggkgcg."
    if again == "run":
        grown(session, values=[1], way=Way.SHAPES)
    else:
        replan(session, 6, way=Way.SHAPES)
    assert kinds(session) == ".gggkgcg."
    assert np.array_equal(np.delete(voxels(session), [5, 6], 0), np.delete(before, [5, 6], 0))
    assert not np.array_equal(voxels(session)[5], before[5])


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_two_objects_run_again_get_the_same_pixels_in_either_order(order: tuple[int, int]) -> None:
    session = document()
    session.ask(STACK.plane(4), Prompts(Box(0, 0, 12, 14)))
    grown(session, span=Span(2, 6))
    session.labels.put([(STACK.plane(4), np.array([0, 2, 1])[truth()[4]])])  # all of it was found as 1
    grown(session, values=order, span=Span(2, 6))
    assert np.array_equal(voxels(session)[3:6], np.array([0, 2, 1])[truth()[3:6]])


@pytest.mark.parametrize("again", ["run", "rerun"])
def test_a_box_for_the_target_on_a_grown_slice_replaces_what_was_grown_there(again: str) -> None:
    session = document()
    session.ask(STACK.plane(4), Prompts(Box(0, 0, 12, 14)))
    grown(session, span=Span(3, 6))
    assert kinds(session) == "...gkgg.."
    session.target = 1
    propose(session, 5)
    grown(session, span=Span(3, 6)) if again == "run" else replan(session, 5, span=Span(3, 6))
    assert np.array_equal(voxels(session)[5:7] == 1, truth()[5:7] == 1)
    assert kinds(session) == "...gkkg.."


def test_a_run_from_a_grown_slice_takes_it_for_certain() -> None:
    session = document()
    propose(session, 3)
    grown(session)
    growth = session.replan(1, STACK, 5, **HOW, prompting=WIDE)
    assert [key.position for key in growth.plan.subjects[0].keys] == [3, 5]
    assert growth.plan.subjects[0].span == Span(3, 8)


def test_corrections_made_while_the_run_is_under_way_are_kept() -> None:
    session = document()
    propose(session, 4)
    grown(session)
    session.target = 1
    growth = follow(session, stops=[6])
    paint(session, 6, 1, np.s_[0, 0])
    erase(session, 2)
    before = voxels(session).copy()
    written = session.write_growth(growth)
    assert written.kept == 2
    assert np.array_equal(voxels(session)[:7], before[:7])
    assert slices(session, 1) == [1, 3, 4, 5, 6]


def test_a_proposal_accepted_while_the_run_is_under_way_is_the_object_that_it_extends() -> None:
    session = document()
    propose(session, 4)
    growth = follow(session)
    for request in session.ask_again():
        session.receive(run(request, BrightFake(), EmbeddingStore()))
    session.accept()
    session.write_growth(growth)
    assert np.array_equal(voxels(session), truth() == 1)
    assert session.names == {1: "object 1"}


def test_a_proposal_changed_while_the_run_is_under_way_stays_open() -> None:
    session = document()
    propose(session, 4)
    growth = follow(session)
    session.ask(STACK.plane(4), Prompts(Box(0, 0, 12, 14), (Point(3, 3),)))
    assert session.write_growth(growth).drafts == ()
    assert list(session.drafts) == ["0"]


def test_labels_exchanged_during_the_run_are_not_written_to_for_an_object_of_the_old_ones() -> None:
    session = document(labels=ArrayLabels(np.where(truth() == 1, 1, 0).astype(np.uint16)))
    voxels(session)[5:] = 0
    growth = follow(session, values=[1])
    session.labels = ArrayLabels.empty(SHAPE)
    with pytest.raises(LabelsError, match="Other labels"):
        session.write_growth(growth)
    assert not voxels(session).any()


# -- review ----------------------------------------------------------------------------------------------------


def test_review_names_scores_and_doubt_goes_lowest_first_and_round() -> None:
    session = document()
    propose(session, 4)
    grown(session)
    found = {each.position: each for each in session.review(1, STACK)}
    assert found[4].kind is Kind.KEY
    assert found[4].score == 1.0
    assert found[6].score == pytest.approx((240 - 60) / 255)
    assert found[6].source == 4
    assert [each.position for each in session.doubtful(1, STACK)] == [7, 6, 5, 3, 2, 1]
    order = [8]
    for _ in range(7):
        following = session.next_doubtful(1, STACK, order[-1])
        assert following is not None
        order.append(following.position)
    assert order[1:] == [7, 6, 5, 3, 2, 1, 7]
    assert session.reviewed(1, STACK, 8) is None
    assert session.next_doubtful(4, STACK, 0) is None


# -- written by something else than the user's hand ------------------------------------------------------------


def rob(session: Session, how: str) -> None:
    """Let object 2 take the right end of object 1's foot, on slice 5 or on all; nothing of it by hand."""
    session.overlap, session.target = Overlap.OVERWRITE, None
    end = Prompts(Box(6, 4, 9, 9))
    if how == "run":
        session.ask(STACK.plane(4), end)
        grown(session, prompting=Prompting(margin=0.0))
    elif how == "accept":
        session.receive(run(session.ask(STACK.plane(5), end), BrightFake(), EmbeddingStore()))
        session.accept()
    elif how == "accept anew":
        paint(session, 5, 2, np.s_[0, 0])
        session.receive(run(session.ask(STACK.plane(5), end, revises=2), BrightFake(), EmbeddingStore()))
        session.accept()
    else:
        findings = Findings({1: "liver"})
        found = np.zeros(SHAPE[1:], dtype=np.uint8)
        found[7, 4:9] = 1
        findings.add(STACK.plane(5), found)
        session.write_labels(findings)
    assert (voxels(session) == 2).any()


@pytest.mark.parametrize("how", ["run", "accept", "accept anew", "labels"])
def test_what_another_object_takes_away_is_no_correction(how: str) -> None:
    session = document()
    propose(session, 4)
    grown(session)
    scores = [each.score for each in session.review(1, STACK)]
    rob(session, how)
    assert (voxels(session)[5] == 1).sum() < (truth()[5] == 1).sum()
    assert kinds(session) == ".gggkggg."
    assert [each.score for each in session.review(1, STACK)] == scores
    session.undo()
    assert kinds(session) == ".gggkggg."
    session.redo()
    assert kinds(session) == ".gggkggg."


def test_a_slice_that_another_object_takes_all_of_is_no_stop() -> None:
    session = document()
    propose(session, 4)
    grown(session)
    session.overlap = Overlap.OVERWRITE
    session.receive(run(session.ask(STACK.plane(5), box_of(1, STACK.plane(5))), BrightFake(), EmbeddingStore()))
    session.accept()
    assert kinds(session) == ".gggk.gg."


def test_what_the_user_draws_over_a_grown_slice_is_a_correction_of_it() -> None:
    session = document()
    propose(session, 4)
    grown(session)
    paint(session, 5, 2, np.s_[7, 3:5])
    assert kinds(session) == ".gggkcgg."


CORONAL = Stack.through(Plane.across(1, 3), SHAPE)


def test_a_clean_up_seen_from_another_side_leaves_grown_slices_grown() -> None:
    session = document()
    propose(session, 4)
    grown(session)
    session.write_clean_up(session.clean_up(1, CORONAL, CleanUp(Operation.SMOOTH, 3.0)))
    assert not np.array_equal(voxels(session), truth() == 1)
    assert kinds(session)[4] == "k"
    assert set(kinds(session).replace("k", "", 1)) == {".", "g"}
    assert grown(session, values=[1]).slices > 0
    session.undo()
    session.undo()
    assert kinds(session) == ".gggkggg."


def test_a_run_through_another_axis_leaves_grown_slices_grown() -> None:
    session = document()
    session.ask(STACK.plane(4), Prompts(Box(1, 2, 6, 5)))  # not the foot
    grown(session, prompting=Prompting(margin=0.0))
    assert kinds(session) == ".gggkggg."
    before = voxels(session).copy()
    propose(session, 7, stack=CORONAL)
    across = session.plan_propagation(CORONAL, **HOW, prompting=WIDE, owners={"0": 1})
    session.write_growth(walked(across))
    assert (voxels(session) != before).any(axis=(1, 2)).sum() > 3
    assert kinds(session) == ".gggkggg."
    session.undo()
    assert kinds(session) == ".gggkggg."


# -- tidying up ------------------------------------------------------------------------------------------------


def test_a_clean_up_is_shown_then_written_as_one_step_and_grown_slices_stay_so() -> None:
    session = document()
    propose(session, 4)
    grown(session)
    paint(session, 2, 1, np.s_[10, 12])
    before = voxels(session).copy()
    shown = session.clean_up(1, STACK, CleanUp(Operation.LARGEST))
    assert np.array_equal(voxels(session), before), "nothing is written yet"
    assert list(shown.planes) == [STACK.plane(2)]
    assert (shown.added, shown.removed) == (0, 1)
    session.write_clean_up(shown)
    assert np.array_equal(voxels(session), truth() == 1)
    session.undo()
    assert np.array_equal(voxels(session), before)


def test_smoothing_leaves_grown_slices_grown_and_other_objects_alone() -> None:
    session = document()
    propose(session, 4)
    grown(session)
    voxels(session)[5, 6, 4:6] = 2
    shown = session.clean_up(1, STACK, CleanUp(Operation.SMOOTH, 3.0))
    assert len(shown)
    session.write_clean_up(shown)
    assert (voxels(session)[5, 6, 4:6] == 2).all()
    assert set(kinds(session)) <= {".", "g", "k", "c"}
    changed = {plane: mask for plane, mask in shown.planes.items() if STACK.position(plane) != 4}
    assert all(kinds(session)[STACK.position(plane)] in "g." for plane in changed)
    session.undo()
    assert kinds(session) == ".gggkggg."


def test_a_clean_up_of_labels_that_changed_since_is_refused() -> None:
    session = document()
    propose(session, 4)
    grown(session)
    paint(session, 2, 1, np.s_[10, 12])
    shown = session.clean_up(1, STACK, CleanUp(Operation.LARGEST))
    paint(session, 2, 1, np.s_[11, 12])
    with pytest.raises(LabelsError, match="changed since"):
        session.write_clean_up(shown)
    with pytest.raises(LabelsError, match="nothing of this object"):
        session.clean_up(6, STACK, CleanUp(Operation.LARGEST))


# -- ranges, and what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "last"), [(4, 4), (3, 4), (3, 5), (0, 4), (4, 8), (0, 8)])
def test_a_range_is_inclusive_at_both_ends_in_any_order(first: int, last: int) -> None:
    for span in (Span.of(first, last, 9), Span.of(last, first, 9)):
        session = document()
        propose(session, 4)
        grown(session, span=span)
        assert slices(session, 1) == list(range(max(first, 1), min(last, 7) + 1))


def test_what_cannot_be_followed_is_explained() -> None:
    session = document()
    with pytest.raises(PromptError, match="Nothing says what to follow"):
        follow(session)
    session.rename(3, "liver")
    with pytest.raises(PromptError, match="'liver'"):
        follow(session, values=[3])
    propose(session, 4)
    with pytest.raises(PromptError, match="Slice 4 has prompts but is outside the range 5 to 8"):
        follow(session, span=Span(5, 8))
    with pytest.raises(GeometryError, match="Slice 20 is outside"):
        follow(session, span=Span(0, 20))
    with pytest.raises(GeometryError, match="Slice 9 is outside"):
        follow(session, stops=[9])
    with pytest.raises(UnsupportedError, match="has no memory"):
        follow(session, way=Way.MEMORY)
    with pytest.raises(LabelsError, match="background"):
        follow(session, values=[0])
    with pytest.raises(PromptError, match="not on slice 7"):
        session.replan(3, STACK, 7, **HOW)
    session.ask(STACK.plane(4), Prompts(None, (Point(3, 3, False),)))
    with pytest.raises(PromptError, match="Only negative"):
        follow(session)
    assert not voxels(session).any()


def test_a_volume_of_one_slice_has_nothing_to_go_through() -> None:
    session = Session(Image(volume()[4:5], Grid.from_spacing((1, 12, 14), SPACING)), window=WINDOW)
    stack = Stack((1, 2), 0, 1)
    session.ask(stack.plane(0), Prompts(Box(1, 2, 9, 8)))
    with pytest.raises(GeometryError, match="one slice only"):
        session.plan_propagation(stack, **HOW)


def test_memory_that_runs_out_half_way_keeps_what_is_done() -> None:
    class Short(BrightFake):
        def encode(self, plane):
            if self.encoded == 3:
                raise MemoryError
            return super().encode(plane)

    session = document()
    propose(session, 4)
    growth = session.plan_propagation(STACK, **HOW, prompting=WIDE)
    with pytest.raises(Exception, match="memory"):
        walked(growth, Short())
    session.write_growth(growth)
    assert slices(session, 1) == [3, 4, 5]
    session.undo()
    assert not voxels(session).any()


def test_a_run_that_found_nothing_writes_nothing_and_leaves_the_proposal() -> None:
    session = document()
    session.ask(STACK.plane(4), Prompts(Box(9, 9, 11, 12)))
    written = grown(session)
    assert (written.slices, dict(written.pixels)) == (0, {})
    assert list(session.drafts) == ["0"]
    session.undo()
    assert session.names == {}


# -- lazy volumes, time ----------------------------------------------------------------------------------------


def test_a_lazy_volume_is_read_one_slice_at_a_time_when_its_turn_comes() -> None:
    lazy = LazyArray(volume())
    session = document(lazy)
    lazy.reads.clear()
    propose(session, 4)
    growth = session.plan_propagation(STACK, **HOW, prompting=WIDE)
    assert lazy.reads == [], "planning reads no voxel of the image"
    results = walk(growth.plan, BrightFake(), EmbeddingStore())
    next(results)
    assert len(lazy.reads) == 1
    for result in results:
        growth.add(result)
    assert [shape for _, shape in lazy.reads] == [SHAPE[1:]] * len(lazy.reads)
    assert len(lazy.reads) <= SHAPE[0] + 2, "each once, but for the prompted one"


@pytest.mark.parametrize(("axis", "here"), [(1, 1), (0, 4)])
def test_depth_and_time_are_followed_alike(axis: int, here: int) -> None:
    """(time, z, row, column): three frames of the volume, the object of the first."""
    data = np.stack([volume()] * 3)
    grid = Grid.from_spacing(data.shape, (1.0, *SPACING))
    session = Session(Image(data, grid), window=WINDOW)
    plane = Plane((2, 3), ((0, 1), (1, 4)))
    stack = Stack.through(plane, data.shape, axis)
    session.ask(plane, box_of(1, STACK.plane(4)))
    session.write_growth(walked(session.plan_propagation(stack, **HOW, prompting=WIDE)))
    expected = np.zeros(data.shape, dtype=bool)
    if axis == 0:
        expected[:, 4] = truth()[4] == 1
    else:
        expected[1] = truth() == 1
    assert np.array_equal(voxels(session), expected)


def test_a_colour_stack_is_followed_as_a_grey_one() -> None:
    data = np.repeat(volume()[..., None], 3, axis=-1)
    session = Session(Image(data, Grid.from_spacing(SHAPE, SPACING), rgb=True), window=WINDOW)
    propose(session, 4)
    grown(session)
    assert np.array_equal(voxels(session), truth() == 1)


# -- whatever the user does in between -------------------------------------------------------------------------

STEPS = st.one_of(
    st.tuples(st.sampled_from(["paint", "erase", "rerun"]), st.integers(0, SHAPE[0] - 1)),
    st.tuples(st.sampled_from(["run", "undo", "redo"]), st.just(0)),
)


class State(NamedTuple):
    """Object 1 as it is, as the last run has left it on each slice, and the slices with a key of a run."""

    now: np.ndarray
    left: np.ndarray
    keys: frozenset[int]

    def certain(self) -> list[int]:
        return [z for z in range(SHAPE[0]) if z in self.keys or not np.array_equal(self.now[z], self.left[z])]

    def letters(self) -> str:
        """As `kinds`, with a c where something is certain."""
        certain = self.certain()
        return "".join(("cg" if mask.any() else "e.")[z not in certain] for z, mask in enumerate(self.now))


class Memory:
    """What the user and the runs have done to object 1, remembered step by step without asking the session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        nothing = np.zeros(SHAPE, dtype=bool)
        self.done = [State(nothing, nothing, frozenset())]
        self.undone: list[State] = []

    @property
    def state(self) -> State:
        return self.done[-1]

    def drawn(self) -> None:
        self._step(self.state.left, self.state.keys)

    def ran(self, keys: frozenset[int] = frozenset()) -> None:
        left = voxels(self.session) == 1
        certain = self.state.certain()
        left[certain] = self.state.left[certain]
        self._step(left, self.state.keys | keys)

    def undo(self) -> None:
        if len(self.done) > 1:
            self.undone.append(self.done.pop())

    def redo(self) -> None:
        if self.undone:
            self.done.append(self.undone.pop())

    def _step(self, left: np.ndarray, keys: frozenset[int]) -> None:
        now = voxels(self.session) == 1
        if not np.array_equal(now, self.state.now):
            self.done.append(State(now, left, keys))
            self.undone.clear()


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=8), st.sampled_from([Span(0, 8), Span(3, 5), Span(4, 5)]))
@example([("paint", 5), ("erase", 3), ("run", 0)], Span(3, 5))
@example([("run", 0), ("erase", 7), ("run", 0)], Span(4, 5))
@example([("erase", 5), ("rerun", 4)], Span(4, 5))
def test_no_run_ever_touches_what_is_certain_and_each_is_one_step(steps: list[tuple[str, int]], first: Span) -> None:
    session = document()
    propose(session, 4)
    memory = Memory(session)
    grown(session, span=first)
    memory.ran(keys=frozenset({4}))
    session.target = 1
    for what, position in steps:
        if what == "paint":
            paint(session, position, 1, np.s_[position, position])
            memory.drawn()
        elif what == "erase":
            erase(session, position)
            memory.drawn()
        elif what in ("undo", "redo"):
            getattr(session, what)()
            getattr(memory, what)()
            session.target = 1
        else:
            _check_run(session, memory, what, position)
        assert np.array_equal(voxels(session) == 1, memory.state.now)
        assert kinds(session).replace("k", "c") == memory.state.letters()


def _check_run(session: Session, memory: Memory, what: str, position: int) -> None:
    before, was, certain = voxels(session).copy(), kinds(session), memory.state.certain()
    try:
        replan(session, position) if what == "rerun" else grown(session)
    except PromptError:
        assert np.array_equal(voxels(session), before)
        return
    after = voxels(session).copy()
    memory.ran()
    assert np.array_equal(after[certain], before[certain])
    if not np.array_equal(after, before):
        session.undo()
        assert np.array_equal(voxels(session), before)
        assert kinds(session) == was
        session.redo()
        assert np.array_equal(voxels(session), after)
        session.target = 1
