"""An object of the labels taken up again: clicked, accepted in place of what it was, cleared, undone, put aside."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from tests import gui
from tests.contract.fakes import MaskFake
from tests.journeys.conftest import Bench

from napari_medsam.geometry import Plane
from napari_medsam.prompts import Box, MaskPrompt

PLANE, NEXT = Plane.across(0, 20), Plane.across(0, 21)
FIRST, SECOND = Box(40, 50, 60, 80), Box(70, 60, 90, 100)
TAKES_MASKS = "starter"


@pytest.fixture
def refined(bench: Bench) -> Bench:
    """Two objects on a slice, and the first on the next slice too; then the first is chosen."""
    gui.use_model(bench.controller, TAKES_MASKS, MaskFake())
    for plane, boxes in ((PLANE, (FIRST, SECOND)), (NEXT, (FIRST,))):
        gui.show_voxel(bench.viewer, bench.image, plane.to_index([(0, 0)])[0])
        if plane is NEXT:
            bench.controller.choose_object(1)
        gui.press(bench.viewer, Qt.Key.Key_G)
        for box in boxes:
            bench.draw(plane, box)
            bench.settle()
        gui.press(bench.viewer, Qt.Key.Key_J)
        bench.settle()
    gui.show_voxel(bench.viewer, bench.image, PLANE.to_index([(0, 0)])[0])
    bench.settle()
    return bench


def box_mask(bench: Bench, box: Box) -> np.ndarray:
    mask = np.zeros(bench.image.data.shape[1:], dtype=bool)
    mask[box.slices] = True
    return mask


def test_what_the_object_has_is_changed_by_clicks_and_replaced_on_its_slice(refined: Bench) -> None:
    bench, viewer, controller = refined, refined.viewer, refined.controller
    labels = bench.labels
    before = labels.data.copy()
    assert np.array_equal(before[20], box_mask(bench, FIRST) * 1 + box_mask(bench, SECOND) * 2)

    gui.press(viewer, Qt.Key.Key_Q)
    bench.settle()
    assert np.array_equal(bench.preview(PLANE), box_mask(bench, FIRST))
    assert np.array_equal(labels.data, before)
    assert "in the place of object 1" in controller.status[0]
    corner, outside = PLANE.to_index([(41, 51), (66, 66)])
    gui.click(viewer, bench.image, corner, gui.RIGHT)
    gui.click(viewer, bench.image, outside)
    bench.settle()
    (draft,) = controller.session.drafts.values()
    assert draft.prompts.mask == MaskPrompt(box_mask(bench, FIRST))
    assert [p.positive for p in draft.prompts.points] == [False, True]
    proposed = bench.preview(PLANE)
    assert not proposed[41, 51]
    assert proposed[66, 66]

    other = viewer.add_image(np.zeros((4, 30, 20), np.float32), name="other")
    controller.choose_image(other)
    bench.settle()
    assert not controller.session.drafts
    controller.choose_image(bench.image)
    gui.show_voxel(viewer, bench.image, PLANE.to_index([(0, 0)])[0])
    bench.settle()
    assert np.array_equal(bench.preview(PLANE), proposed), "it is there again"
    assert [len(d.prompts.points) for d in controller.session.drafts.values()] == [2]

    gui.press(viewer, Qt.Key.Key_J)
    bench.settle()
    mine = proposed & (before[20] != 2)
    assert np.array_equal(labels.data[20], np.where(mine, 1, before[20] * (before[20] != 1)))
    assert np.array_equal(labels.data[[19, 21]], before[[19, 21]])
    assert not controller.session.drafts
    assert not controller.work.starts
    gui.press(viewer, Qt.Key.Key_Z, gui.CONTROL)
    assert np.array_equal(labels.data, before), "one step"


def test_it_dies_with_clear_and_with_its_object_and_needs_a_model_that_takes_masks(refined: Bench) -> None:
    bench, viewer, controller, dock = refined, refined.viewer, refined.controller, refined.dock
    before = bench.labels.data.copy()
    assert dock.objects.refine.isEnabled()

    dock.objects.refine.click()
    bench.settle()
    gui.press(viewer, Qt.Key.Key_K)
    bench.settle()
    assert not controller.session.drafts
    assert not bench.preview(PLANE).any()
    assert np.array_equal(bench.labels.data, before)

    mine, place = bench.labels, {name: getattr(bench.image, name) for name in ("scale", "translate", "units")}
    controller.refine()
    bench.settle()
    controller.choose_labels(viewer.add_labels(before.copy(), **place))
    gui.until(lambda: not controller.session.drafts)  # the same number may be another object there
    controller.choose_labels(mine)

    mine.selected_label = 1
    controller.choose_object(None)  # the one accepted last, on the slice that is shown
    gui.show_voxel(viewer, bench.image, NEXT.to_index([(0, 0)])[0])
    gui.press(viewer, Qt.Key.Key_Q)
    bench.settle()
    assert [d.revises for d in controller.session.drafts.values()] == [1]
    bench.labels.undo()  # napari's own
    gui.until(lambda: not controller.session.drafts)
    assert not bench.preview(NEXT).any()
    gui.press(viewer, Qt.Key.Key_Q)
    assert "has nothing on this slice" in controller.status[0]
    assert not controller.work.starts

    gui.use_model(controller, "medsam", None)
    assert not dock.objects.refine.isEnabled()
    assert "does not take a mask" in dock.objects.refine.toolTip()
    gui.press(viewer, Qt.Key.Key_Q)
    assert "does not take a mask" in controller.status[0]
    assert not controller.session.drafts
