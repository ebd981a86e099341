"""What happens when the user does not wait: late answers, layers deleted, windows closed, two viewers."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from tests import gui
from tests.contract.fakes import BoxFake, SlowFake
from tests.journeys.conftest import Bench

from napari_medsam.geometry import Plane
from napari_medsam.prompts import Box
from napari_medsam.widgets.controllers import controller_of
from napari_medsam.widgets.model_choice import ModelChoice

PLANE = Plane.across(0, 20)
FIRST, SECOND = Box(40, 50, 60, 80), Box(80, 90, 110, 130)


class Gate:
    """A model whose encodes wait until they are let through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.model = SlowFake(sleep=lambda _: self.open.wait(30))
        monkeypatch.setattr(ModelChoice, "load", lambda _, reference: self.model)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate(monkeypatch)
    yield made
    made.open.set()


def add_image(viewer: Any, shape: tuple[int, ...] = (40, 120, 160), **kwargs: Any) -> Any:
    rng = np.random.default_rng(1)
    return viewer.add_image(rng.normal(size=shape).astype(np.float32), **kwargs)


def add_box(controller: Any, plane: Plane, box: Box) -> None:
    controller.draw("box")
    controller.proposals.layers.boxes.add_rectangles(plane.to_index(box.outline))
    QApplication.processEvents()


@pytest.fixture
def busy(open_dock: Callable[..., Any], gate: Gate) -> Bench:
    """A viewer whose model is at work on a box."""
    viewer, dock = open_dock()
    image = add_image(viewer)
    gui.show_voxel(viewer, image, (20, 60, 80))
    add_box(dock.controller, PLANE, FIRST)
    gui.until(lambda: dock.controller.proposals.engine.busy)
    return Bench(viewer, dock, image)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> BoxFake:
    model = BoxFake()
    monkeypatch.setattr(ModelChoice, "load", lambda self, reference: model)
    return model


def test_only_the_newest_answer_is_shown(busy: Bench, gate: Gate) -> None:
    boxes = busy.controller.proposals.layers.boxes
    boxes.data = [PLANE.to_index(SECOND.outline)]
    QApplication.processEvents()
    gate.open.set()
    busy.settle()
    shown = np.argwhere(busy.preview(PLANE))
    assert shown.min(axis=0).tolist() == [SECOND.row0, SECOND.column0]
    assert shown.max(axis=0).tolist() == [SECOND.row1 - 1, SECOND.column1 - 1]


def test_accepting_before_the_answer_accepts_when_it_comes(busy: Bench, gate: Gate) -> None:
    busy.controller.accept()
    assert busy.labels is None
    gate.open.set()
    busy.settle()
    assert int((busy.labels.data == 1).sum()) == 20 * 30
    assert not len(busy.controller.proposals.layers.boxes.data)


def test_the_next_box_before_the_answer_loses_neither(busy: Bench, gate: Gate) -> None:
    add_box(busy.controller, PLANE, SECOND)
    busy.controller.proposals.read()
    gate.open.set()
    busy.settle()
    busy.controller.accept()
    busy.settle()
    values, counts = np.unique(busy.labels.data, return_counts=True)
    assert dict(zip(values.tolist()[1:], counts.tolist()[1:], strict=True)) == {1: 20 * 30, 2: 30 * 40}


def test_deleting_the_image_while_busy(busy: Bench, gate: Gate) -> None:
    busy.viewer.layers.remove(busy.image)
    gate.open.set()
    gui.until(lambda: not busy.controller.proposals.engine.busy)
    QApplication.processEvents()
    assert busy.controller.image is None
    assert "removed" in busy.controller.status[0]
    add_image(busy.viewer, name="next")
    QApplication.processEvents()
    assert busy.controller.image.name == "next", "the next image is taken up"


def test_renaming_the_image_while_busy(busy: Bench, gate: Gate) -> None:
    busy.image.name = "another name"
    gate.open.set()
    busy.settle()
    assert busy.preview(PLANE).sum() == 20 * 30


def test_replacing_the_pixels_while_busy_answers_for_the_new_ones(busy: Bench, gate: Gate) -> None:
    busy.image.data = np.zeros_like(busy.image.data)
    gate.open.set()
    busy.settle()
    assert busy.preview(PLANE).sum() == 20 * 30
    assert gate.model.encoded >= 2, "the new pixels are encoded, no stale entry is met"


def test_replacing_the_image_by_one_of_another_shape(busy: Bench, gate: Gate) -> None:
    busy.image.data = np.zeros((10, 30, 20), np.float32)
    gate.open.set()
    busy.settle()
    assert busy.controller.session.image.grid.shape == (10, 30, 20)
    assert not busy.controller.session.drafts
    assert busy.controller.status[1] == "error"


def test_deleting_the_preview_and_the_prompts_while_busy(busy: Bench, gate: Gate) -> None:
    gate.open.set()
    busy.settle()
    busy.viewer.layers.remove(busy.controller.proposals.preview.layer)
    busy.viewer.layers.remove(busy.controller.proposals.layers.points)
    busy.controller.proposals.read()
    busy.settle()
    busy.controller.proposals.show()
    assert busy.preview(PLANE).sum() == 20 * 30
    busy.controller.draw("point")
    assert busy.controller.proposals.layers.points in busy.viewer.layers


def test_deleting_the_labels_starts_new_ones(busy: Bench, gate: Gate) -> None:
    gate.open.set()
    busy.settle()
    busy.controller.accept()
    busy.viewer.layers.remove(busy.labels)
    add_box(busy.controller, PLANE, SECOND)
    busy.settle()
    busy.controller.accept()
    assert np.unique(busy.labels.data).tolist() == [0, 1]


def test_switching_the_image_and_back_keeps_the_proposal(busy: Bench, gate: Gate) -> None:
    other = add_image(busy.viewer, (12, 30, 40), name="other")
    busy.controller.choose_image(other)
    assert not len(busy.controller.proposals.layers.boxes.data)
    gate.open.set()
    gui.until(lambda: not busy.controller.proposals.engine.busy)
    QApplication.processEvents()
    assert not busy.controller.session.drafts, "the late answer does not land on the other image"
    busy.controller.choose_image(busy.image)
    busy.settle()
    assert len(busy.controller.proposals.layers.boxes.data) == 1
    assert busy.preview(PLANE).sum() == 20 * 30


def test_closing_the_dock_while_busy_ends_the_lane(busy: Bench, gate: Gate) -> None:
    engine = busy.controller.proposals.engine
    busy.controller.close()
    gate.open.set()
    gui.until(lambda: not engine._thread.is_alive())
    assert controller_of(busy.viewer) is not None
    assert busy.image in busy.viewer.layers


def test_closing_the_viewer_while_busy(open_dock: Callable[..., Any], gate: Gate) -> None:
    viewer, dock = open_dock()
    image = add_image(viewer)
    gui.show_voxel(viewer, image, (20, 60, 80))
    add_box(dock.controller, PLANE, FIRST)
    engine = dock.controller.proposals.engine
    viewer.close()
    del dock, image
    gate.open.set()
    for _ in range(10):
        QApplication.processEvents()
        gc.collect()
    gui.until(lambda: not engine._thread.is_alive())


def test_two_viewers_do_not_meet(open_dock: Callable[..., Any], fake: BoxFake) -> None:
    (one, first), (two, second) = open_dock(), open_dock()
    assert first.controller is not second.controller
    a, b = add_image(one), add_image(two, (10, 30, 40))
    gui.show_voxel(one, a, (20, 60, 80))
    add_box(first.controller, PLANE, FIRST)
    gui.settle(first.controller)
    assert first.controller.session.drafts
    assert second.controller.image is b
    assert not second.controller.session.drafts


def test_the_dock_opened_twice_is_one_and_the_same(open_dock: Callable[..., Any], fake: BoxFake) -> None:
    viewer, dock = open_dock()
    _, again = viewer.window.add_plugin_dock_widget("napari-medsam", "Prompt segmentation")
    from napari_medsam.widgets.dock import SegmentDock

    third = SegmentDock(viewer)
    assert third.controller is dock.controller
    assert again.controller is dock.controller
    image = add_image(viewer)
    gui.show_voxel(viewer, image, (20, 60, 80))
    add_box(dock.controller, PLANE, FIRST)
    gui.settle(dock.controller)
    assert third.proposal.text.text() == dock.proposal.text.text() == "score 0.90, mask 1 of 2"
    third.deleteLater()


def test_a_slow_model_leaves_the_event_loop_free(open_dock: Callable[..., Any], monkeypatch: Any) -> None:
    """The model works until the loop has ticked twenty times: it never would if it waited for the model."""
    enough = threading.Event()
    monkeypatch.setattr(ModelChoice, "load", lambda self, reference: SlowFake(30.0, enough.wait))
    viewer, dock = open_dock()
    image = add_image(viewer)
    ticks: list[None] = []
    timer = QTimer()
    timer.setInterval(5)
    timer.timeout.connect(lambda: ticks.append(None))
    gui.show_voxel(viewer, image, (21, 60, 80))
    timer.start()
    add_box(dock.controller, Plane.across(0, 21), FIRST)
    gui.until(lambda: len(ticks) >= 20)
    assert dock.controller.proposals.engine.busy
    timer.stop()
    enough.set()
    gui.settle(dock.controller)
    assert dock.controller.work.draft.prediction is not None


def test_a_model_without_a_window_also_works_on_a_bare_viewer_model(fake: BoxFake, qapp: Any) -> None:
    from napari_medsam.widgets.dock import SegmentDock

    viewer = ViewerModel()
    dock = SegmentDock(viewer)
    image = viewer.add_image(np.zeros((5, 20, 30), np.int16))
    assert dock.controller.image is image
    dock.controller.close()
