"""The main job in a real viewer with a real mouse: file -> box -> mask -> accept -> undo -> save -> reopen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from qtpy.QtCore import Qt
from tests import gui
from tests.journeys.conftest import Bench

from napari_medsam.geometry import Plane
from napari_medsam.prompts import Box

ORDERS = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / max(float(a.sum() + b.sum()), 1)


def plane_and_box(truth: np.ndarray, value: int, axis: int, loose: int = 1) -> tuple[Plane, Box]:
    """The slice across `axis` where an organ is largest, and a loose box around it there."""
    others = tuple(a for a in range(3) if a != axis)
    plane = Plane.across(axis, int((truth == value).sum(axis=others).argmax()))
    at = np.argwhere(truth[plane.key] == value)
    (r0, c0), (r1, c1) = at.min(axis=0) - loose, at.max(axis=0) + 1 + loose
    return plane, Box(int(r0), int(c0), int(r1), int(c1))


def view(bench: Bench, axis: int, plane: Plane) -> None:
    bench.viewer.dims.order = list(ORDERS.values())[axis]
    gui.show_voxel(bench.viewer, bench.image, plane.to_index([(0, 0)])[0])


def test_from_file_to_saved_mask_and_back(bench: Bench, phantom: Any, phantom_file: Path, tmp_path: Path) -> None:
    _, truth, _ = phantom
    viewer, controller = bench.viewer, bench.controller
    before = bench.image.data.copy()
    place = [np.array(getattr(bench.image, name)) for name in ("scale", "translate", "rotate", "contrast_limits")]
    plane, box = plane_and_box(truth, 3, 0)
    view(bench, 0, plane)

    gui.press(viewer, Qt.Key.Key_G)
    bench.draw(plane, box)
    bench.settle()
    wanted = truth[plane.key] == 3
    assert dice(bench.preview(plane), wanted) > 0.9
    assert bench.labels is None, "a proposal is not in the labels"
    proposed = bench.preview(plane)

    gui.press(viewer, Qt.Key.Key_J)
    bench.settle()
    labels = bench.labels
    assert labels.data.dtype == np.uint16
    assert np.array_equal(labels.data[plane.key] == 1, proposed)
    assert not np.delete(labels.data, plane.index[0][1], axis=0).any(), "one slice only"
    assert not bench.preview(plane).any()

    assert viewer.layers.selection.active is controller.proposals.layers.boxes
    gui.press(viewer, Qt.Key.Key_Z, gui.CONTROL)
    assert not labels.data.any(), "undo works while a prompt layer is active"
    gui.press(viewer, Qt.Key.Key_Z, gui.CONTROL | gui.SHIFT)
    assert np.array_equal(labels.data[plane.key] == 1, proposed)

    (written,) = labels.save(str(tmp_path / "out.nii.gz"), plugin="napari-medsam")
    _same_geometry(Path(written), phantom_file)
    (reopened,) = viewer.open(written, plugin="napari-medsam")
    assert np.array_equal(reopened.data, labels.data)
    assert np.array_equal(bench.image.data, before), "the image is never changed"
    for name, was in zip(("scale", "translate", "rotate", "contrast_limits"), place, strict=True):
        assert np.array_equal(getattr(bench.image, name), was), f"{name} of the layer is never changed"


def test_only_the_slice_in_use_is_encoded(bench: Bench, phantom: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """SAMM: all slices of all three views are embedded before the first click, 1324 for a CT."""
    plane, box = plane_and_box(phantom[1], 3, 0)
    view(bench, 0, plane)
    bench.settle()
    store = bench.controller.proposals.engine.store
    before = len(store)
    bench.controller.draw("box")
    bench.draw(plane, box)
    bench.settle()
    assert before <= 2
    assert len(store) == before, "the shown slice was encoded ahead, and is not encoded again"


def _same_geometry(written: Path, source: Path) -> None:
    a, b = nibabel.load(written), nibabel.load(source)
    assert np.array_equal(a.affine, b.affine)
    for field in ("qform_code", "sform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "qoffset_x", "descrip"):
        assert np.array_equal(a.header[field], b.header[field]), field
    a, b = SimpleITK.ReadImage(str(written)), SimpleITK.ReadImage(str(source))
    assert (a.GetSize(), a.GetOrigin(), a.GetSpacing(), a.GetDirection()) == (
        b.GetSize(), b.GetOrigin(), b.GetSpacing(), b.GetDirection(),
    )  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1, 2], ids=list(ORDERS))
def test_boxes_in_every_view_give_the_organ_on_that_slice_only(bench: Bench, phantom: Any, axis: int) -> None:
    truth = phantom[1]
    plane, box = plane_and_box(truth, 1, axis)
    view(bench, axis, plane)
    bench.controller.draw("box")
    bench.draw(plane, box)
    bench.settle()
    bench.controller.accept()
    written = np.argwhere(bench.labels.data)
    assert set(written[:, axis]) == {plane.index[0][1]}
    assert dice(bench.labels.data[plane.key] > 0, truth[plane.key] == 1) > 0.9


def test_drawing_the_next_box_accepts_the_last(bench: Bench, phantom: Any) -> None:
    truth = phantom[1]
    bench.controller.draw("box")
    for value in (4, 5, 3):
        plane, box = plane_and_box(truth, value, 0)
        view(bench, 0, plane)
        bench.draw(plane, box)
        bench.settle()
    assert sorted(np.unique(bench.labels.data)) == [0, 1, 2]
    assert len(bench.controller.proposals.layers.boxes.data) == 1
    bench.controller.accept()
    assert bench.controller.session.names == {1: "object 1", 2: "object 2", 3: "object 3"}
    for number, value in enumerate((4, 5, 3), start=1):
        plane, _ = plane_and_box(truth, value, 0)
        assert dice(bench.labels.data[plane.key] == number, truth[plane.key] == value) > 0.85
    for left in ([0, 1, 2], [0, 1], [0]):
        bench.controller.undo()
        assert np.unique(bench.labels.data).tolist() == left, "one undo step a mask"
    assert bench.controller.session.names == {}


def test_left_click_adds_right_and_shift_click_take_away(bench: Bench, phantom: Any) -> None:
    truth = phantom[1]
    plane, box = plane_and_box(truth, 5, 0, loose=3)
    view(bench, 0, plane)
    bench.controller.draw("box")
    bench.draw(plane, box)
    bench.settle()
    inside = [tuple(p) for p in np.argwhere(bench.preview(plane))]
    first, last = inside[len(inside) // 4], inside[3 * len(inside) // 4]
    outside = (box.row0, box.column0)
    gui.press(bench.viewer, Qt.Key.Key_H)
    for at, button, keys, wanted in (
        (first, gui.RIGHT, gui.NO_KEY, False),
        (last, gui.LEFT, gui.SHIFT, False),
        (outside, gui.LEFT, gui.NO_KEY, True),
    ):
        gui.click(bench.viewer, bench.image, plane.to_index([at])[0], button, keys)
        bench.settle()
        assert bench.preview(plane)[at] == wanted
    points = bench.controller.proposals.layers.points
    assert list(points.features["positive"]) == ["0", "0", "1"]
    assert len(bench.controller.session.drafts) == 1, "points refine the box, they start no object"
    assert bench.labels is None


def test_moving_and_deleting_prompts_is_followed(bench: Bench, phantom: Any) -> None:
    truth = phantom[1]
    plane, box = plane_and_box(truth, 3, 0)
    view(bench, 0, plane)
    bench.controller.draw("box")
    bench.draw(plane, box)
    bench.settle()
    boxes = bench.controller.proposals.layers.boxes
    other_plane, other = plane_and_box(truth, 4, 0)
    boxes.data = [other_plane.to_index(other.outline)]
    bench.settle()
    assert not bench.preview(plane).any() or plane == other_plane
    assert dice(bench.preview(other_plane), truth[other_plane.key] == 4) > 0.85
    boxes.selected_data = {0}
    boxes.remove_selected()
    bench.settle()
    assert not bench.preview(other_plane).any()
    assert not bench.controller.session.drafts


def test_clicks_without_a_box_make_an_object(bench: Bench, phantom: Any) -> None:
    truth = phantom[1]
    plane, _ = plane_and_box(truth, 3, 0)
    view(bench, 0, plane)
    gui.press(bench.viewer, Qt.Key.Key_H)
    middle = np.argwhere(truth[plane.key] == 3).mean(axis=0).round()
    gui.click(bench.viewer, bench.image, plane.to_index([middle])[0])
    bench.settle()
    assert bench.preview(plane)[tuple(middle.astype(int))]
    bench.controller.accept()
    assert (bench.labels.data[plane.key] == 1).any()
    assert not len(bench.controller.proposals.layers.points.data)


def test_painted_strokes_survive_accepts_and_undo(bench: Bench, phantom: Any) -> None:
    """napari-sam: undo loses pixels, and the first click erases what was there."""
    truth = phantom[1]
    plane, box = plane_and_box(truth, 3, 0)
    view(bench, 0, plane)
    bench.controller.draw("box")
    bench.draw(plane, box)
    bench.settle()
    bench.controller.accept()
    labels = bench.labels
    accepted = labels.data.copy()
    labels.selected_label = 7
    labels.paint(plane.to_index([(5, 6)])[0], 7)
    painted = labels.data.copy()
    assert (painted != accepted).any()
    other_plane, other = plane_and_box(truth, 4, 0)
    view(bench, 0, other_plane)
    bench.draw(other_plane, other)
    bench.settle()
    bench.controller.accept()
    assert (labels.data[other_plane.key] == 8).any(), "a painted value is not reused"
    bench.controller.undo()
    assert np.array_equal(labels.data, painted)
    bench.controller.undo()
    assert np.array_equal(labels.data, accepted)
    bench.controller.redo()
    assert np.array_equal(labels.data, painted)


def test_an_object_is_continued_over_slices(bench: Bench, phantom: Any) -> None:
    truth = phantom[1]
    plane, box = plane_and_box(truth, 1, 0)
    bench.controller.name_object("liver")
    bench.controller.draw("box")
    for step in (0, 1):
        at = Plane.across(0, plane.index[0][1] + step)
        view(bench, 0, at)
        bench.draw(at, box)
        bench.settle()
        bench.controller.accept()
        bench.controller.choose_object(1)
    assert bench.controller.session.names == {1: "liver"}
    assert np.unique(bench.labels.data).tolist() == [0, 1]
    assert len(np.unique(np.argwhere(bench.labels.data)[:, 0])) == 2
    assert dict(zip(bench.labels.features["index"], bench.labels.features["name"], strict=True)) == {1: "liver"}


def test_naparis_own_undo_keeps_the_names_in_step(bench: Bench, phantom: Any) -> None:
    plane, box = plane_and_box(phantom[1], 3, 0)
    view(bench, 0, plane)
    bench.controller.draw("box")
    bench.draw(plane, box)
    bench.settle()
    bench.controller.accept()
    bench.viewer.layers.selection.active = bench.labels
    gui.press(bench.viewer, Qt.Key.Key_Z, gui.CONTROL)
    assert not bench.labels.data.any()
    gui.until(lambda: bench.controller.session.names == {})
    gui.press(bench.viewer, Qt.Key.Key_Z, gui.CONTROL | gui.SHIFT)
    gui.until(lambda: bench.controller.session.names == {1: "object 1"})
    bench.viewer.layers.selection.active = bench.controller.proposals.preview.layer
    gui.press(bench.viewer, Qt.Key.Key_Z, gui.CONTROL)
    assert not bench.labels.data.any(), "undo works while the preview is active"
