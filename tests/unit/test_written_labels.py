"""What goes into the labels but by a mask that is added: slices labelled without prompts, and revised objects."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medsam.errors import LabelsError
from napari_medsam.geometry import Plane
from napari_medsam.labelling import Findings
from napari_medsam.labels import ArrayLabels
from napari_medsam.masks import Overlap
from napari_medsam.prompts import Box, MaskPrompt, Point, Prompts
from napari_medsam.session import Session

from ..contract.fakes import MaskFake
from .fakes import SHAPE, answer, axial, session

CLASSES = {1: "liver", 2: "spleen", 3: "aorta"}
LIVER, SPLEEN = np.s_[1:5, 2], np.s_[4, 3:6]
"""The two arms of an L, on one slice."""


def found(*parts: tuple[tuple, int]) -> np.ndarray:
    """One slice as a model labels it."""
    out = np.zeros(SHAPE[1:], dtype=np.uint8)
    for key, value in parts:
        out[key] = value
    return out


def findings(*slices: int) -> Findings:
    """The L on these axial slices: liver and spleen, no aorta."""
    made = Findings(CLASSES)
    for z in slices:
        made.add(axial(z), found((LIVER, 1), (SPLEEN, 2)))
    return made


def voxels_of(document: Session) -> np.ndarray:
    assert isinstance(document.labels, ArrayLabels)
    return document.labels.data


def labelled(*boxes: tuple[tuple, int], dtype: str = "int64") -> np.ndarray:
    out = np.zeros(SHAPE, dtype=dtype)
    for key, value in boxes:
        out[key] = value
    return out


def at(z: int, key: tuple) -> tuple:
    return (z, *key)


# -- what was found without prompts ----------------------------------------------------------------------------


def test_a_run_over_several_slices_is_one_step_to_undo_and_to_redo() -> None:
    document = session()
    written = document.write_labels(findings(0, 2))
    expected = labelled(*((at(z, key), value) for z in (0, 2) for key, value in ((LIVER, 1), (SPLEEN, 2))))
    assert np.array_equal(voxels_of(document), expected)
    assert document.names == {1: "liver", 2: "spleen"}, "what was not found is no object"
    assert (written.slices, dict(written.pixels)) == (2, {1: 8, 2: 6})
    document.undo()
    assert not voxels_of(document).any()
    assert document.names == {}
    document.redo()
    assert np.array_equal(voxels_of(document), expected)
    assert document.names == {1: "liver", 2: "spleen"}


def test_an_object_of_the_same_name_is_extended_and_the_rest_becomes_new_objects() -> None:
    painted = labelled((np.s_[3, 0, 0:2], 7), (np.s_[3, 5, 7], 9), dtype="uint8")
    document = session(names={7: " Spleen", 4: "pancreas"}, labels=ArrayLabels(painted.copy()))
    document.new_name, document.target = "my own", 7
    document.write_labels(findings(1))
    assert np.array_equal(voxels_of(document), painted + labelled((at(1, LIVER), 10), (at(1, SPLEEN), 7)))
    assert document.names == {7: " Spleen", 4: "pancreas", 10: "liver"}
    assert (document.new_name, document.target) == ("my own", 7), "the next accept is as it was"
    document.undo()
    assert np.array_equal(voxels_of(document), painted)
    assert document.names == {7: " Spleen", 4: "pancreas"}


@pytest.mark.parametrize("overlap", Overlap)
def test_other_objects_are_kept_or_overwritten_as_by_an_accept(overlap: Overlap) -> None:
    painted = labelled((np.s_[1, 2:6, 1:4], 5), (np.s_[2, 0, 0], 5), dtype="uint16")
    document = session(names={5: "mine"}, labels=ArrayLabels(painted.copy()))
    document.overlap = overlap
    document.write_labels(findings(1, 2))
    new = labelled(*((at(z, key), value) for z in (1, 2) for key, value in ((LIVER, 6), (SPLEEN, 7))))
    kept = (painted > 0) & ((new == 0) | (overlap is Overlap.KEEP))
    assert np.array_equal(voxels_of(document), np.where(kept, painted, new))


def test_what_lies_wholly_under_other_objects_is_not_named() -> None:
    document = session(names={7: "mine"}, labels=ArrayLabels(np.full(SHAPE, 7, dtype=np.uint8)))
    written = document.write_labels(findings(1))
    assert (dict(written.pixels), document.names) == ({}, {7: "mine"})
    document.undo()
    assert (voxels_of(document) == 7).all()


def test_types_grow_where_the_new_objects_need_it() -> None:
    painted = labelled((np.s_[3, 5, 7], 255), dtype="uint8")
    document = session(labels=ArrayLabels(painted))
    document.write_labels(findings(1))
    assert voxels_of(document).dtype == np.uint16
    assert np.unique(voxels_of(document)).tolist() == [0, 255, 256, 257]


def test_nothing_found_is_no_step_and_no_object() -> None:
    document = session()
    made = Findings(CLASSES)
    made.add(axial(1), found())
    assert (len(made), dict(document.write_labels(made).pixels)) == (1, {})
    document.undo()
    assert document.next_value() == 1


def test_an_error_half_way_leaves_what_was_written_as_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    document = session()
    read = document.labels.read

    def broken(plane: Plane) -> np.ndarray:
        if plane == axial(2):
            raise LabelsError("the disk is full")
        return read(plane)

    monkeypatch.setattr(document.labels, "read", broken)
    with pytest.raises(LabelsError, match="full"):
        document.write_labels(findings(0, 1, 2, 3))
    monkeypatch.undo()
    assert [voxels_of(document)[z].any() for z in range(4)] == [True, True, False, False]
    assert document.names == {1: "liver", 2: "spleen"}
    document.undo()
    assert not voxels_of(document).any()
    assert document.names == {}


def test_after_an_undo_the_same_objects_come_again() -> None:
    document = session()
    document.write_labels(findings(0))
    document.undo()
    document.write_labels(findings(1, 2))
    assert document.names == {1: "liver", 2: "spleen"}
    assert not voxels_of(document)[0].any()
    document.undo()
    assert document.names == {}


# -- an object revised -----------------------------------------------------------------------------------------


def revise(document: Session, plane: Plane, value: int, *points: Point) -> None:
    """Take an object up as it is on a slice, and answer."""
    start = MaskPrompt(document.labels.read(plane) == value)
    answer(document, document.ask(plane, Prompts(points=points, mask=start), revises=value), MaskFake())


def test_the_mask_takes_the_place_of_the_object_on_its_slice_as_one_step() -> None:
    painted = labelled((at(1, LIVER), 3), (at(2, LIVER), 3), (at(1, SPLEEN), 4), dtype="uint16")
    document = session(names={3: "liver", 4: "spleen"}, labels=ArrayLabels(painted.copy()))
    document.new_name = "the next"
    revise(document, axial(1), 3, Point(0, 7), Point(1, 2, False))
    mask = document.drafts["0"].mask
    assert mask is not None
    assert not mask[at(1, LIVER)[1:]].all(), "some of it has left the mask"
    done = document.accept()
    assert done is not None
    after = voxels_of(document)
    assert np.array_equal(after[1] == 3, mask & (painted[1] != 4))
    assert np.array_equal(after == 4, painted == 4), "the other object is kept"
    assert np.array_equal(after[2:], painted[2:])
    assert (done.value, done.pixels) == (3, int((after != painted).sum()))
    assert (document.target, document.new_name) == (None, "the next")
    document.undo()
    assert np.array_equal(voxels_of(document), painted)
    document.redo()
    assert np.array_equal(voxels_of(document), after)


def test_a_revised_mask_that_others_hide_is_refused_and_the_object_stays() -> None:
    painted = labelled((np.s_[1, 0, 0], 3), (np.s_[1, 1:6, 1:8], 4), dtype="uint16")
    document = session(names={3: "liver", 4: "spleen"}, labels=ArrayLabels(painted.copy()))
    answer(document, document.ask(axial(1), Prompts(Box(2, 2, 5, 5)), revises=3), MaskFake())
    with pytest.raises(LabelsError, match="spleen"):
        document.accept()
    assert np.array_equal(voxels_of(document), painted)
    document.overlap = Overlap.OVERWRITE
    document.accept()
    assert (voxels_of(document) == 3).sum() == 9


def test_a_revision_keeps_its_object_when_it_is_asked_again_and_when_it_waits() -> None:
    document = session(labels=ArrayLabels(labelled((at(1, LIVER), 3), dtype="uint16")))
    drawn = [("a", axial(1), Prompts(mask=MaskPrompt(document.labels.read(axial(1)) == 3)))]
    assert len(document.update(drawn, {"a": 3})) == 1
    assert document.update(drawn, {"a": 3}) == []
    for asked in (document.ask_again, document.ask_unanswered):
        assert [document.drafts[r.draft].revises for r in asked()] == [3]
    assert document.update(drawn) == [], "which no model need be asked for"
    assert document.drafts["a"].revises == 0, "it is added now"
