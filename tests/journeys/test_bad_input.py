"""Bad input in the viewer: a clear sentence, and nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import zarr
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication
from tests import gui
from tests.contract.fakes import BoxFake
from tests.journeys.conftest import Bench

from napari_medsam.geometry import Plane
from napari_medsam.prompts import Box
from napari_medsam.widgets.model_choice import ModelChoice

PLANE = Plane.across(0, 3)
BOX = Box(4, 6, 14, 20)


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> BoxFake:
    model = BoxFake()
    monkeypatch.setattr(ModelChoice, "load", lambda self, reference: model)
    return model


def image_data(shape: tuple[int, ...] = (8, 30, 40)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 1000, shape).astype(np.int16)


@pytest.fixture
def small(open_dock: Callable[..., Any]) -> Bench:
    viewer, dock = open_dock()
    image = viewer.add_image(image_data(), scale=(3, 1, 2), translate=(-150, 10, 5))
    gui.show_voxel(viewer, image, (3, 15, 20))
    made = Bench(viewer, dock, image)
    made.settle()
    return made


def add_box(bench: Bench, box: Box = BOX, plane: Plane = PLANE) -> None:
    bench.controller.draw("box")
    bench.controller.proposals.layers.boxes.add_rectangles(plane.to_index(box.outline))
    bench.settle()


def error(bench: Bench) -> str:
    text, kind = bench.controller.status
    assert kind == "error", text
    return text


def test_no_image(open_dock: Callable[..., Any]) -> None:
    viewer, dock = open_dock()
    dock.controller.draw("box")
    assert "no image" in dock.controller.status[0]
    for act in ("accept", "undo", "redo", "clear", "next_candidate", "recompute"):
        getattr(dock.controller, act)()
    dock.save_as()
    assert "no labels to save" in dock.controller.status[0]
    assert not len(viewer.layers)


def test_a_click_in_box_mode_is_explained_and_starts_no_object(small: Bench) -> None:
    small.controller.draw("box")
    gui.click(small.viewer, small.image, (3, 10, 10))
    small.settle()
    assert "click" in error(small)
    assert not small.controller.session.drafts
    assert not len(small.controller.proposals.layers.boxes.data)
    add_box(small)
    assert small.preview(PLANE).sum() == 10 * 14, "the next box works"


@pytest.mark.parametrize("size", [160, 512])
def test_a_click_in_box_mode_is_none_at_any_zoom(open_dock: Callable[..., Any], size: int) -> None:
    """napari gives it a rectangle of a fixed size on the screen: of several voxels where the image is shown small."""
    viewer, dock = open_dock()
    bench = Bench(viewer, dock, viewer.add_image(image_data((3, size, size))))
    bench.settle()
    gui.show_voxel(viewer, bench.image, (1, 0, 0))
    bench.controller.draw("box")
    gui.click(bench.viewer, bench.image, (1, size * 0.7, size * 0.7))
    bench.settle()
    assert "click" in error(bench)
    gui.drag(bench.viewer, bench.image, (1, size / 4, size / 4), (1, size / 2, size / 2))
    bench.settle()
    gui.press(bench.viewer, Qt.Key.Key_J)
    bench.settle()
    assert np.unique(bench.labels.data).tolist() == [0, 1], "the box alone has become an object"


def test_a_single_slice_offers_no_other_views(open_dock: Callable[..., Any]) -> None:
    viewer, dock = open_dock()
    for shape, views in (((30, 40), False), ((8, 30, 40), True)):
        image = viewer.add_image(image_data(shape))
        dock.controller.choose_image(image)
        gui.settle(dock.controller)
        assert [one.isEnabled() for one in dock.view_buttons] == [views] * 3


def test_a_box_outside_and_partly_outside(small: Bench) -> None:
    add_box(small, Box(-8, -9, -2, -3))
    assert "outside" in error(small)
    add_box(small, Box(-4, -5, 6, 7))
    assert small.preview(PLANE).sum() == 6 * 7, "the part on the image counts"


def test_a_point_outside_keeps_the_rest(small: Bench) -> None:
    add_box(small)
    small.controller.draw("point")
    gui.click(small.viewer, small.image, (3, -4, 10))
    small.settle()
    assert "outside" in error(small)
    points = small.controller.proposals.layers.points
    points.selected_data = {0}
    points.remove_selected()
    small.settle()
    assert small.preview(PLANE).sum() == 10 * 14


def test_points_in_the_3d_view_are_refused_and_taken_off(small: Bench) -> None:
    add_box(small)
    small.controller.draw("point")
    small.viewer.dims.ndisplay = 3
    QApplication.processEvents()
    assert small.controller.proposals.layers.points.mode == "pan_zoom"
    small.controller.draw("point")
    assert "2D view" in error(small)
    points = small.controller.proposals.layers.points
    small.viewer.layers.selection.active = points
    points.mode = "add"
    gui.canvas(small.viewer)
    click_canvas(small)
    small.settle()
    assert not len(points.data)
    assert "2D view" in error(small)
    small.viewer.dims.ndisplay = 2
    assert small.preview(PLANE).any(), "the proposal is still there"


def click_canvas(bench: Bench) -> None:
    from qtpy.QtTest import QTest

    widget = gui.canvas(bench.viewer)
    QTest.mouseClick(widget, gui.LEFT, gui.NO_KEY, widget.rect().center())
    QApplication.processEvents()


@pytest.mark.parametrize(
    "values",
    [np.zeros((8, 30, 40)), np.full((8, 30, 40), 7.5), np.where(np.indices((8, 30, 40))[2] < 9, np.nan, 1.0)],
    ids=["zero", "constant", "nan"],
)
def test_constant_and_nan_slices_give_an_answer(open_dock: Any, monkeypatch: Any, values: np.ndarray) -> None:
    monkeypatch.undo()  # the real model
    viewer, dock = open_dock()
    image = viewer.add_image(values.astype(np.float32), contrast_limits=(0, 1))
    gui.show_voxel(viewer, image, (3, 15, 20))
    bench = Bench(viewer, dock, image)
    add_box(bench)
    assert bench.controller.session.drafts
    assert bench.controller.status[1] == "ready", bench.controller.status
    assert bench.preview(PLANE).any()


def test_an_image_of_nothing_but_nan_is_refused(open_dock: Any) -> None:
    viewer, dock = open_dock()
    viewer.add_image(np.full((4, 20, 30), np.nan, np.float32), contrast_limits=(0, 1))
    assert dock.controller.image is None
    assert "no finite value" in dock.controller.status[0]


def test_an_oblique_layer_is_refused_with_the_way_out(open_dock: Any) -> None:
    viewer, dock = open_dock()
    angle = np.deg2rad(5)
    tilt = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    viewer.add_image(image_data(), rotate=tilt)
    dock.controller.draw("box")
    assert "rotated out of the viewing plane" in dock.controller.status[0]
    assert len(viewer.layers) == 1, "no prompt layer to draw on in vain"


def test_labels_of_another_grid_are_refused(small: Bench) -> None:
    other = small.viewer.add_labels(np.zeros((8, 30, 41), np.uint8), name="other shape")
    small.controller.choose_labels(other)
    assert "(8, 30, 41)" in error(small)
    elsewhere = small.viewer.add_labels(np.zeros((8, 30, 40), np.uint8), name="elsewhere", scale=(3, 1, 1))
    small.controller.choose_labels(elsewhere)
    assert "lies elsewhere" in error(small)
    add_box(small)
    small.controller.accept()
    assert small.labels is not other
    assert small.labels is not elsewhere


def test_labels_that_were_moved_after_they_were_chosen_are_not_written(small: Bench) -> None:
    add_box(small)
    small.controller.accept()
    small.labels.translate = (0, 0, 0)
    before = small.labels.data.copy()
    add_box(small, Box(16, 22, 26, 36))
    small.controller.accept()
    assert "lies elsewhere" in error(small)
    assert np.array_equal(small.labels.data, before)
    assert small.preview(PLANE).any(), "the proposal is kept"


def test_existing_labels_are_continued_and_kept(small: Bench) -> None:
    data = np.zeros((8, 30, 40), np.uint8)
    data[3, 4:9, 6:20] = 5
    mine = small.viewer.add_labels(data, name="mine", scale=(3, 1, 2), translate=(-150, 10, 5))
    small.controller.choose_labels(mine)
    add_box(small)
    small.controller.accept()
    assert (mine.data[3] == 5).sum() == 5 * 14, "other labels are kept by default"
    assert (mine.data[3] == 6).sum() == 5 * 14
    assert small.labels is mine


def test_the_256th_object_widens_the_labels_and_undo_still_works(small: Bench) -> None:
    """nnInteractive: the 256th instance overflows uint8. Crick: 300 becomes 44."""
    data = np.zeros((8, 30, 40), np.uint8)
    data[0, 0, 0] = 255
    before = data.copy()
    mine = small.viewer.add_labels(data, name="full", scale=(3, 1, 2), translate=(-150, 10, 5))
    small.controller.choose_labels(mine)
    mine.selected_label = 3
    mine.paint((5, 20, 20), 3)
    painted = mine.data.copy()
    add_box(small)
    small.controller.accept()
    assert mine.data.dtype == np.uint16
    assert mine.data.max() == 256
    small.controller.undo()
    assert np.array_equal(mine.data, painted)
    small.controller.undo()
    assert np.array_equal(mine.data, before), "the stroke from before the widening is undone too"
    small.controller.redo()
    small.controller.redo()
    assert (mine.data == 256).sum() == 10 * 14


def test_a_mask_wholly_under_another_object_is_refused_and_kept(small: Bench) -> None:
    add_box(small)
    small.controller.accept()
    add_box(small, Box(5, 7, 9, 12))
    small.controller.accept()
    assert "belongs to other objects (object 1)" in error(small)
    assert small.controller.session.drafts
    from napari_medsam.masks import Overlap

    small.controller.choose_overlap(Overlap.OVERWRITE)
    small.controller.accept()
    assert (small.labels.data == 2).sum() == 4 * 5


def test_labels_backed_by_dask_are_refused_and_by_zarr_are_written(small: Bench, tmp_path: Path) -> None:
    place = {"scale": (3, 1, 2), "translate": (-150, 10, 5)}
    lazy = small.viewer.add_labels(dask.array.zeros((8, 30, 40), dtype=np.uint8), name="dask", **place)
    small.controller.choose_labels(lazy)
    assert "cannot be written" in error(small)
    stored = zarr.create_array(tmp_path / "l.zarr", shape=(8, 30, 40), chunks=(1, 30, 40), dtype="uint8")
    layer = small.viewer.add_labels(stored, name="zarr", **place)
    small.controller.choose_labels(layer)
    add_box(small)
    small.controller.accept()
    assert (np.asarray(stored[3]) == 1).sum() == 10 * 14
    small.controller.undo()
    assert not np.asarray(stored[3]).any()


def test_a_window_that_is_none_is_refused_and_the_old_one_stays(small: Bench) -> None:
    before = small.controller.session.window
    small.controller.choose_window("Typed", 5.0, 5.0)
    assert "lower bound below" in error(small)
    assert small.controller.session.window == before


def test_unwritable_target_is_explained_and_nothing_changes(small: Bench, tmp_path: Path) -> None:
    from napari_medsam.widgets.saving import save_in_background

    add_box(small)
    small.controller.accept()
    before = small.labels.data.copy()
    blocked = tmp_path / "a file"
    blocked.write_text("here")
    save_in_background(small.controller, small.labels, blocked / "x.nii.gz")
    gui.until(lambda: small.controller.status[1] == "error")
    assert "x.nii.gz" in error(small)
    assert blocked.read_text() == "here"
    assert np.array_equal(small.labels.data, before)


def test_saving_in_the_background_says_where(small: Bench, tmp_path: Path) -> None:
    from napari_medsam.widgets.saving import save_in_background

    add_box(small)
    small.controller.name_object("Läsion")
    small.controller.accept()
    save_in_background(small.controller, small.labels, tmp_path / "größe")
    gui.until(lambda: small.controller.status[0].startswith("Saved"))
    assert (tmp_path / "größe.nii.gz").is_file()
    assert "Läsion" in (tmp_path / "größe.tsv").read_text(encoding="utf-8")
