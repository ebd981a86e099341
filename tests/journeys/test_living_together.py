"""Several images, layers and docks in one viewer over time: nothing is hidden, stale, orphaned or overwritten."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from qtpy.QtWidgets import QApplication
from tests import gui
from tests.contract.fakes import BoxFake, SlowFake
from tests.journeys.conftest import Bench

from napari_medsam.geometry import Plane
from napari_medsam.prompts import Box
from napari_medsam.widgets.controllers import controller_of
from napari_medsam.widgets.dock import SegmentDock
from napari_medsam.widgets.model_choice import ModelChoice

SHAPE = (8, 30, 40)
PLANE = Plane.across(0, 3)
BOX = Box(4, 6, 14, 20)


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> BoxFake:
    model = BoxFake()
    monkeypatch.setattr(ModelChoice, "load", lambda self, reference: model)
    return model


def pixels(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 1000, shape).astype(np.int16)


@pytest.fixture
def bench(open_dock: Callable[..., Any]) -> Bench:
    viewer, dock = open_dock()
    image = viewer.add_image(pixels(), name="first")
    gui.show_voxel(viewer, image, (3, 15, 20))
    made = Bench(viewer, dock, image)
    made.settle()
    return made


def add_box(bench: Bench, box: Box = BOX, plane: Plane = PLANE) -> None:
    bench.controller.draw("box")
    bench.controller.proposals.layers.boxes.add_rectangles(plane.to_index(box.outline))
    bench.settle()


def test_prompts_and_preview_lie_above_the_second_image(bench: Bench) -> None:
    add_box(bench)
    bench.controller.accept()
    second = bench.viewer.add_image(pixels(1), name="second")
    bench.controller.choose_image(second)
    add_box(bench)
    order = list(bench.viewer.layers)
    p = bench.controller.proposals
    floor = order.index(second)
    assert all(order.index(layer) > floor for layer in (p.layers.boxes, p.layers.points, p.preview.layer))


def test_a_features_table_of_the_user_is_kept(bench: Bench) -> None:
    mine = bench.viewer.add_labels(np.zeros(SHAPE, np.uint16), name="mine")
    mine.data[0, :2, :2] = 4
    mine.features = pd.DataFrame({"index": [0, 4], "name": ["air", "liver"], "area": [1.5, 2.5]})
    bench.controller.choose_labels(mine)
    add_box(bench)
    bench.controller.accept()
    table = mine.features.set_index("index")
    assert table["name"].to_dict() == {0: "air", 4: "liver", 5: "object 5"}
    assert table.loc[4, "area"] == 2.5
    bench.controller.undo()
    assert mine.features["index"].tolist() == [0, 4]
    assert mine.features["area"].tolist() == [1.5, 2.5]


def test_objects_without_a_name_can_be_continued(bench: Bench) -> None:
    data = np.zeros(SHAPE, np.uint16)
    data[0, 0, :3] = (1, 3, 3)
    mine = bench.viewer.add_labels(data, name="mine")
    bench.controller.choose_labels(mine)
    assert set(bench.controller.session.names) == {1, 3}
    bench.controller.choose_object(3)
    add_box(bench)
    bench.controller.accept()
    assert (mine.data[3] == 3).sum() == 10 * 14
    mine.selected_label = 7
    mine.paint((3, 25, 30), 7)
    gui.until(lambda: 7 in bench.controller.session.names)
    bench.controller.choose_object(7)
    assert "object 7" in bench.dock.objects.combo.currentText()


def test_the_model_view_and_percentiles_follow_the_image(bench: Bench) -> None:
    bench.controller.choose_window("Percentiles")
    bench.controller.show_seen(visible=True)
    before = bench.controller.session.window
    bench.image.data = (pixels(2) // 2 + 400).astype(np.int16)
    bench.image.translate = (5, 6, 7)
    bench.settle()
    bench.controller.choose_window("Percentiles")
    assert bench.controller.session.window.low > 300 > before.low
    seen = bench.controller.seen.layer
    assert np.array_equal(np.asarray(seen.data[3]), bench.controller.session.seen[3])
    assert np.asarray(seen.data[3]).std() > 20
    assert tuple(seen.translate) == (5, 6, 7)
    bench.viewer.layers.remove(seen)
    assert not bench.dock.window_panel.eye.isChecked()


def close_docks(viewer: Any) -> None:
    """As the cross in the title bar does."""
    for dock in list(viewer.window.dock_widgets):
        viewer.window._wrapped_dock_widgets[dock].destroyOnClose()
    for _ in range(5):
        QApplication.processEvents()
        gc.collect()


def test_closing_the_dock_ends_the_lane_and_reopening_finds_no_orphans(open_dock: Callable[..., Any]) -> None:
    viewer, dock = open_dock()
    image = viewer.add_image(pixels(), name="first")
    gui.show_voxel(viewer, image, (3, 15, 20))
    bench = Bench(viewer, dock, image)
    add_box(bench)
    bench.controller.accept()
    add_box(bench, Box(16, 20, 26, 36))
    bench.controller.show_seen(visible=True)
    thread = bench.controller.proposals.engine._thread
    del bench, dock
    close_docks(viewer)
    gui.until(lambda: not thread.is_alive())
    assert controller_of(viewer) is None
    assert [layer.name for layer in viewer.layers] == ["first", "first labels", "MedSAM boxes", "MedSAM points"]
    _, again = viewer.window.add_plugin_dock_widget("napari-medsam", "Prompt segmentation")
    gui.settle(again.controller)
    assert again.controller.image is image
    assert again.shapes.count() == 1, "the plugin's own layers are not offered as the user's"
    assert len(again.controller.session.drafts) == 1, "what was drawn is proposed again"
    again.controller.draw("box")
    assert [layer.name for layer in viewer.layers].count("MedSAM boxes") == 1


def test_a_dropped_proposal_does_not_hold_up_the_next(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    slow = SlowFake(sleep=lambda _: gate.wait(20))
    bench.controller.proposals.engine._load = lambda name: slow
    bench.controller.choose_model("contour")
    bench.controller.proposals.engine._held = None
    bench.controller.draw("box")
    boxes = bench.controller.proposals.layers.boxes
    for z in range(5):
        bench.controller.clear()
        boxes.add_rectangles(Plane.across(0, z).to_index(BOX.outline))
        QApplication.processEvents()
        time.sleep(0.02)
    gate.set()
    bench.settle()
    assert slow.encoded <= 3, "what was cleared before it began is never encoded"
    assert len(bench.controller.session.drafts) == 1


def test_an_image_that_cannot_be_used_is_refused_once(open_dock: Callable[..., Any]) -> None:
    viewer, dock = open_dock()
    said: list[str] = []
    dock.controller.said.connect(lambda text, kind: said.append(text) if kind == "error" else None)
    viewer.add_image(np.full((4, 20, 30), np.nan, np.float32), contrast_limits=(0, 1))
    viewer.add_labels(np.zeros((4, 20, 30), np.uint8))
    viewer.add_points(ndim=3)
    assert len([text for text in said if "no finite value" in text]) == 1
    good = viewer.add_image(pixels())
    assert dock.controller.image is good


def test_choosing_no_image_lasts(bench: Bench) -> None:
    bench.dock.image.setCurrentIndex(0)
    bench.dock.image.activated.emit(0)
    bench.viewer.add_points(ndim=3)
    assert bench.controller.image is None


def test_a_layer_of_the_user_that_moves_is_followed(bench: Bench) -> None:
    mine = bench.viewer.add_shapes([PLANE.to_index(BOX.outline)], name="mine")
    bench.controller.choose_prompts(mine)
    bench.settle()
    mine.translate = (0, 2, 3)
    bench.settle()
    (draft,) = bench.controller.session.drafts.values()
    assert draft.prompts.box == Box(BOX.row0 + 2, BOX.column0 + 3, BOX.row1 + 2, BOX.column1 + 3)


def test_a_refused_accept_leaves_no_empty_labels(bench: Bench) -> None:
    add_box(bench, Box(-9, -9, -3, -3))
    bench.controller.accept()
    assert bench.labels is None
    assert bench.controller.status[1] == "error"


def test_anterior_stays_up_when_napari_rolls_the_axes(bench: Bench) -> None:
    bench.controller.turn("coronal")
    assert str(bench.viewer.scene.camera.orientation2d[0]) == "up"
    bench.viewer.dims.order = (0, 1, 2)
    assert str(bench.viewer.scene.camera.orientation2d[0]) == "down"


def test_an_image_too_large_for_masks_is_refused_with_advice(open_dock: Callable[..., Any]) -> None:
    viewer, dock = open_dock()
    viewer.add_image(np.broadcast_to(np.uint8(0), (10**5, 10**5, 300, 300)), contrast_limits=(0, 255))
    dock.controller.draw("box")
    text, kind = dock.controller.status
    assert kind == "error"
    assert "crop" in text


def test_two_grids_in_one_viewer_lose_no_box(open_dock: Callable[..., Any]) -> None:
    """The sliders then stand between the slices of the coarser image; napari shows the nearest, and truncates."""
    viewer, dock = open_dock()
    image = viewer.add_image(pixels(), name="coarse", scale=(6.5, 0.78, 0.78))
    viewer.add_image(pixels(1, (60, 24, 32)), name="fine", scale=(1, 1, 1))
    dock.controller.choose_image(image)
    bench = Bench(viewer, dock, image)
    viewer.reset_view()
    asked: set[int] = set()
    for step in range(8, 44, 5):
        viewer.dims.set_current_step(0, step)
        QApplication.processEvents()
        bench.controller.draw("box")
        from napari_medsam.widgets.coordinates import View

        plane = View(viewer, image).plane()
        bench.draw(plane, BOX)
        bench.settle()
        assert [d.plane for d in bench.controller.session.drafts.values()] == [plane], f"step {step}"
        asked.add(plane.index[0][1])
        bench.controller.clear()
    assert len(asked) >= 4


def test_docks_are_counted(open_dock: Callable[..., Any]) -> None:
    viewer, dock = open_dock()
    second = SegmentDock(viewer)
    controller = dock.controller
    del second
    gc.collect()
    assert not controller._closed
