"""The mask follows a box while it is drawn, moved or resized: a real mouse on a real canvas."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from napari.settings import get_plugin_settings
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from tests import gui
from tests.contract.fakes import BoxFake

from napari_medsam import drafts
from napari_medsam.engine import Errand
from napari_medsam.errors import ImageError
from napari_medsam.geometry import Plane
from napari_medsam.models.base import Embedding, Prediction
from napari_medsam.prompts import Box, Point, Prompts
from napari_medsam.widgets import live
from napari_medsam.widgets.coordinates import to_viewer_world

PLANE = Plane.across(0, 30)
BOX = Box(40, 60, 120, 150)
SHAPE = (160, 200)
"""Of the slice."""


class Noting(BoxFake):
    """Notes what it is asked for; waits while the gate is closed, for `seconds` at most."""

    def __init__(self, seconds: float = 10.0) -> None:
        super().__init__()
        self.seconds = seconds
        self.asked: list[Box] = []
        self.prompts: list[Prompts] = []
        self.gate = threading.Event()
        self.gate.set()

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        self.prompts.append(prompts)
        if prompts.box is not None:
            self.asked.append(prompts.box)
        self.gate.wait(self.seconds)
        return super().decode(embedding, prompts)


@pytest.fixture(autouse=True)
def _any_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is slow since the machine is busy is followed as well."""
    monkeypatch.setattr(live, "PACE", 60.0)


@pytest.fixture
def slow(model: Noting, monkeypatch: pytest.MonkeyPatch) -> Noting:
    """The model, now too slow."""
    monkeypatch.setattr(live, "PACE", 0.1)
    model.seconds = 0.2
    model.gate.clear()
    return model


@pytest.fixture
def model(bench: Any) -> Noting:
    made = Noting()
    gui.use_model(bench.controller, "contour", made)
    gui.show_voxel(bench.viewer, bench.image, (30, 0, 0))
    bench.controller.draw("box")
    bench.settle()
    return made


def mask_of(*boxes: Box) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    for box in boxes:
        mask[box.slices] = True
    return mask


def draw(bench: Any, steps: int, each: Any) -> None:
    start, end = PLANE.to_index([(BOX.row0, BOX.column0), (BOX.row1 - 1, BOX.column1 - 1)])
    gui.drag(bench.viewer, bench.image, start, end, steps=steps, each=each)


def test_the_mask_of_the_box_so_far_is_shown_and_only_the_whole_box_is_kept(bench: Any, model: Noting) -> None:
    shown: list[int] = []
    before = bench.controller.status, bench.dock.size()

    def look() -> None:
        bench.settle()
        shown.append(int(bench.preview(PLANE).sum()))
        assert not bench.controller.session.drafts
        assert (bench.controller.status, bench.dock.size()) == before, "nothing in the dock moves under the mouse"

    draw(bench, 6, look)
    bench.settle()
    assert shown == sorted(shown)
    assert 0 < shown[0] < shown[-1]
    (draft,) = bench.controller.session.drafts.values()
    assert draft.prompts == Prompts(BOX)
    assert np.array_equal(bench.preview(PLANE), mask_of(BOX))
    assert not bench.controller.proposals.live.drafts
    bench.controller.clear()
    assert not bench.preview(PLANE).any()
    assert bench.labels is None


def test_one_question_at_most_is_under_way_and_then_the_box_of_now_is_asked(bench: Any, model: Noting) -> None:
    model.gate.clear()
    steps = iter(range(100))

    def look() -> None:
        if next(steps) < 10:
            gui.until(lambda: len(model.asked) == 1)
        else:
            model.gate.set()
            bench.settle()

    draw(bench, 13, look)
    bench.settle()
    assert len(model.asked) <= 5, "ten boxes were passed over while the first was answered"
    assert model.asked[-1] == BOX


def test_a_model_that_answers_too_late_is_not_asked_again_while_a_box_is_drawn(bench: Any, slow: Noting) -> None:
    for once in (1, 0):
        slow.asked.clear()
        draw(bench, 6, lambda: gui.until(lambda: not bench.controller.proposals.engine.busy))
        bench.settle()
        assert len(slow.asked) == once + 1
        assert slow.asked[-1] == BOX
        bench.controller.clear()


def test_it_can_be_switched_off(bench: Any, model: Noting) -> None:
    get_plugin_settings("napari-medsam").proposals.live = False
    draw(bench, 6, bench.settle)
    bench.settle()
    assert model.asked == [BOX]


def test_a_slice_that_is_not_encoded_yet_is_not_asked_for(bench: Any) -> None:
    get_plugin_settings("napari-medsam").models.prefetch = "off"
    held = Noting()
    gui.use_model(bench.controller, "medsam", held)
    gui.show_voxel(bench.viewer, bench.image, (30, 0, 0))
    bench.controller.draw("box")
    bench.settle()
    bench.controller.proposals.work.readiness.forget()
    draw(bench, 6, bench.settle)
    bench.settle()
    assert held.asked == [BOX]


MIDDLE, CORNER = (79.0, 104.0), (119.0, 149.0)
"""Of the box as it is drawn, in (row, column)."""


@pytest.fixture
def drawn(bench: Any, model: Noting) -> Any:
    """The plugin's boxes with one box drawn and selected, to be moved or resized."""
    bench.draw(PLANE, BOX)
    bench.settle()
    model.asked.clear()
    return take_up(bench, bench.controller.proposals.layers.boxes)


def take_up(bench: Any, layer: Any, row: int = 0) -> Any:
    bench.viewer.layers.selection.active = layer
    layer.mode = "select"
    layer.selected_data = {row}
    bench.settle()
    return layer


def box_of(layer: Any, row: int = 0) -> Box:
    return Box.around(PLANE.from_index(np.asarray(layer.data[row])))


def pull(bench: Any, path: Sequence[Sequence[float]], each: Callable[[], object]) -> None:
    """Drag from one (row, column) of the slice over the others; `each` is called at every one but the first."""
    viewer, widget = bench.viewer, gui.canvas(bench.viewer)
    first, *rest = (
        gui.world_to_canvas(viewer, at) for at in to_viewer_world(viewer, bench.image, PLANE.to_index(path))
    )
    QTest.mouseMove(widget, first)
    QApplication.processEvents()
    QTest.mousePress(widget, gui.LEFT, gui.NO_KEY, first)
    for at in rest:
        gui.until(lambda at=at: is_moved_to(viewer, at))
        each()
    QTest.mouseRelease(widget, gui.LEFT, gui.NO_KEY, rest[-1])
    QApplication.processEvents()


def is_moved_to(viewer: Any, at: QPoint) -> bool:
    """Move the pressed mouse; whether napari has taken it there: it leaves out some moves that follow soon."""
    widget, no = gui.canvas(viewer), Qt.MouseButton.NoButton
    there = QPointF(widget.mapToGlobal(QPointF(at)))
    move = QMouseEvent(QEvent.Type.MouseMove, QPointF(at), there, no, gui.LEFT, gui.NO_KEY)
    QApplication.sendEvent(widget, move)
    QApplication.processEvents()
    return np.allclose(viewer.cursor.position, gui.canvas_to_world(viewer, at.x(), at.y()), rtol=0, atol=1e-3)


def shows(bench: Any, *boxes: Box) -> None:
    """Wait for the preview of these boxes, and nothing else: answers may follow one another."""
    preview = bench.controller.proposals.preview
    gui.until(lambda: preview.layer is not None and np.array_equal(bench.preview(PLANE), mask_of(*boxes)))
    bench.settle()
    assert np.array_equal(bench.preview(PLANE), mask_of(*boxes))


def by(start: tuple[float, float], rows: float, columns: float, steps: int = 5) -> Sequence[Sequence[float]]:
    """A straight path."""
    return np.linspace(start, np.add(start, (rows, columns)), steps + 1).tolist()


def state(bench: Any) -> Any:
    """All that is to stay as it is while the mouse is down."""
    controller = bench.controller
    return controller.status, bench.dock.size(), dict(controller.session.drafts), controller.work.selected, bench.labels


@pytest.mark.parametrize(
    ("mode", "path"),
    [("select", by(MIDDLE, 30, 20)), ("select", by(CORNER, 30, 40)), ("direct", by(CORNER, 30, 40))],
    ids=["moved", "resized", "a vertex moved"],
)
def test_the_mask_follows_a_box_that_is_changed(bench: Any, model: Noting, drawn: Any, mode: str, path: Any) -> None:
    drawn.mode = mode
    before, seen = state(bench), []

    def look() -> None:
        seen.append(box_of(drawn))
        shows(bench, seen[-1])
        assert state(bench) == before
        if len(seen) == 5:
            model.gate.clear()

    pull(bench, path, look)
    gui.until(lambda: bench.controller.work.draft.pending)
    assert np.array_equal(bench.preview(PLANE), mask_of(seen[-1])), "what is shown stays until the answer is there"
    model.gate.set()
    bench.settle()
    assert len({BOX, *seen}) == 6
    assert bench.controller.work.draft.prompts == Prompts(box_of(drawn))
    assert np.array_equal(bench.preview(PLANE), mask_of(box_of(drawn)))
    assert not bench.controller.proposals.live.drafts
    assert bench.labels is None, "nothing of it was accepted"


def test_one_question_at_most_is_under_way_while_a_box_is_moved(
    bench: Any, model: Noting, drawn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted, engine, steps = [], bench.controller.proposals.engine, iter(range(100))
    submit = engine.submit
    monkeypatch.setattr(engine, "submit", lambda *args: (submitted.append(args), submit(*args)))
    model.gate.clear()

    def look() -> None:
        if next(steps) < 10:
            gui.until(lambda: len(model.asked) == 1)
            assert len(submitted) == 1
        else:
            model.gate.set()
            bench.settle()

    pull(bench, by(MIDDLE, 26, 26, 13), look)
    bench.settle()
    assert len(model.asked) <= 5, "ten places were passed over while the first was answered"
    assert model.asked[-1] == box_of(drawn)


def test_the_answer_to_the_drag_before_does_not_end_this_one(bench: Any, model: Noting, drawn: Any) -> None:
    pull(bench, by(MIDDLE, 10, 10, 2), lambda: model.gate.clear())
    seen = []

    def look() -> None:
        if not model.gate.is_set():
            assert bench.controller.work.draft.pending
            model.gate.set()
        seen.append(box_of(drawn))
        shows(bench, seen[-1])

    pull(bench, by((89, 114), 10, 10), look)
    bench.settle()
    assert len(set(seen)) == 5
    assert bench.controller.work.draft.prompts == Prompts(box_of(drawn))
    assert not bench.controller.proposals.live.drafts


def test_a_box_that_is_put_back_has_its_mask_again(bench: Any, model: Noting, drawn: Any) -> None:
    seen = []

    def look() -> None:
        seen.append(box_of(drawn))
        shows(bench, seen[-1])

    pull(bench, [MIDDLE, (99, 124), (99, 104), MIDDLE], look)
    bench.settle()
    assert len(set(seen)) == 3
    assert seen[-1] == BOX
    assert BOX not in model.asked, "its mask is known"
    assert not bench.controller.proposals.live.drafts


def test_an_object_of_a_box_and_points_is_asked_for_with_all_of_them(bench: Any, model: Noting) -> None:
    bench.draw(PLANE, BOX)
    bench.settle()
    bench.controller.draw("point")
    gui.click(bench.viewer, bench.image, PLANE.to_index([(60, 80)])[0])
    gui.click(bench.viewer, bench.image, PLANE.to_index([(100, 130)])[0], keys=gui.SHIFT)
    bench.settle()
    drawn = take_up(bench, bench.controller.proposals.layers.boxes)
    model.prompts.clear()

    def look() -> None:
        now = box_of(drawn)
        expected = mask_of(now)
        expected[60, 80], expected[100, 130] = True, False
        away = [(now.row1 - 1, now.column1 - 1), (60, 80), (100, 130)]
        gui.until(lambda: all(bench.preview(PLANE)[at] == expected[at] for at in away))

    pull(bench, by(MIDDLE, 40, 40), look)
    bench.settle()
    points = Point(60, 80), Point(100, 130, positive=False)
    assert len(model.prompts) >= 5
    for prompts in model.prompts:
        assert [(p.pixel, p.positive) for p in prompts.points] == [(p.pixel, p.positive) for p in points]


def test_a_point_that_is_moved_is_followed_too(bench: Any, model: Noting) -> None:
    bench.controller.draw("point")
    gui.click(bench.viewer, bench.image, PLANE.to_index([(60, 80)])[0])
    bench.settle()
    points = take_up(bench, bench.controller.proposals.layers.points)
    alone, seen = bench.preview(PLANE), []

    def look() -> None:
        seen.append(np.round(points.data[0, 1:]).astype(int) - (60, 80))
        gui.until(lambda: np.array_equal(bench.preview(PLANE), np.roll(alone, seen[-1], (0, 1))))

    pull(bench, by((60, 80), 20, 30), look)
    bench.settle()
    assert alone.any()
    assert len({tuple(at) for at in seen}) == 5
    assert not bench.controller.proposals.live.drafts


def test_boxes_that_are_moved_together_are_followed_together(bench: Any, model: Noting, drawn: Any) -> None:
    other = Box(125, 20, 138, 50)
    bench.controller.proposals.collecting = True
    bench.controller.draw("box")
    bench.draw(PLANE, other)
    bench.settle()
    take_up(bench, drawn).selected_data = {0, 1}
    before = state(bench)
    model.asked.clear()
    model.gate.clear()

    def look() -> None:
        gui.until(lambda: len(model.asked) > 0)
        if box_of(drawn) == model.asked[0]:
            return
        model.gate.set()
        shows(bench, box_of(drawn, 0), box_of(drawn, 1))
        assert state(bench) == before

    pull(bench, by(MIDDLE, 20, 10), look)
    bench.settle()
    assert {d.prompts.box for d in bench.controller.session.drafts.values()} == {box_of(drawn, 0), box_of(drawn, 1)}
    assert other not in (box_of(drawn, 0), box_of(drawn, 1))
    heights = [box.row1 - box.row0 for box in model.asked[:2]]
    assert len(set(heights)) == 2, "the one that was not asked for yet comes first"


def test_a_slow_model_is_not_asked_while_a_box_is_moved(bench: Any, slow: Noting, drawn: Any) -> None:
    def look() -> None:
        bench.settle()
        assert np.array_equal(bench.preview(PLANE), mask_of(BOX))

    pull(bench, by(MIDDLE, 30, 20), look)
    bench.settle()
    assert slow.asked == [box_of(drawn)]
    assert np.array_equal(bench.preview(PLANE), mask_of(box_of(drawn)))


def test_a_box_on_a_slice_that_is_not_encoded_is_not_asked_for(bench: Any) -> None:
    held = Noting()
    gui.use_model(bench.controller, "medsam", held)
    gui.show_voxel(bench.viewer, bench.image, (30, 0, 0))
    bench.controller.draw("box")
    bench.draw(PLANE, BOX)
    bench.settle()
    drawn = take_up(bench, bench.controller.proposals.layers.boxes)
    for encoded in (True, False):
        held.asked.clear()
        if not encoded:
            bench.controller.proposals.work.readiness.forget()
        pull(bench, by(MIDDLE, 10, 10), bench.settle)
        bench.settle()
        assert (len(held.asked) > 1) == encoded
        assert held.asked[-1] == box_of(drawn)


def delete(bench: Any, drawn: Any) -> None:
    gui.press(bench.viewer, Qt.Key.Key_Delete)


def remove(bench: Any, drawn: Any) -> None:
    drawn.locked = False
    bench.viewer.layers.remove(drawn)


def escape(bench: Any, drawn: Any) -> None:
    gui.press(bench.viewer, Qt.Key.Key_Escape)


def accept(bench: Any, drawn: Any) -> None:
    gui.press(bench.viewer, Qt.Key.Key_J)


def put_aside(bench: Any, drawn: Any) -> None:
    bench.controller.choose_image(bench.viewer.add_image(np.zeros((30, 20), np.float32), name="other"))


@pytest.mark.parametrize(
    ("end", "step"),
    [(delete, 2), (remove, 2), (escape, 2), (escape, 4), (accept, 2), (put_aside, 2), (put_aside, 4)],
)
def test_a_drag_that_is_cut_short_leaves_nothing_behind(
    bench: Any, model: Noting, drawn: Any, end: Callable[..., None], step: int
) -> None:
    steps = iter(range(100))

    def look() -> None:
        if next(steps) == step:
            gui.until(lambda: bool(bench.controller.proposals.live.drafts))
            end(bench, drawn)
        bench.settle()

    pull(bench, by(MIDDLE, 30, 20), look)
    bench.settle()
    assert not bench.controller.proposals.live.drafts
    drafts = bench.controller.session.drafts.values()
    assert [d.prompts for d in drafts] == ([Prompts(box_of(drawn))] if end in (escape, accept) else [])
    preview = bench.controller.proposals.preview.layer
    if preview is not None and preview.data.shape[1:] == SHAPE:
        assert np.array_equal(bench.preview(PLANE), mask_of(*(d.prompts.box for d in drafts)))


@pytest.mark.parametrize("error", [ImageError("The disk is gone."), MemoryError()], ids=["image", "memory"])
def test_an_error_while_a_box_is_dragged_does_not_break_the_drag(
    bench: Any, model: Noting, drawn: Any, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """napari's own part of the drag follows after ours; the real question says what is wrong."""
    steps, read, failing = iter(range(100)), drafts.read_plane, []

    def fail(*args: Any) -> Any:
        if failing:
            raise error
        return read(*args)

    monkeypatch.setattr(drafts, "read_plane", fail)
    told: list[Any] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, value, trace: told.append(value))

    def look() -> None:
        bench.settle()
        if next(steps) == 1:
            failing.append(True)

    pull(bench, by(MIDDLE, 30, 20), look)
    gui.until(lambda: bool(told))
    assert (box_of(drawn).row0, box_of(drawn).column0) == (BOX.row0 + 30, BOX.column0 + 20)
    assert not drawn._is_moving
    assert bench.controller.proposals.live._plane is None
    assert told == [error], "by the question after the drag alone"


def test_a_question_that_another_model_has_dropped_is_not_waited_for(bench: Any, model: Noting, drawn: Any) -> None:
    """The lane drops what waits for the model that goes."""
    proposals, gate, steps, seen = bench.controller.proposals, threading.Event(), iter(range(100)), []
    proposals.do(Errand("elsewhere", "contour", lambda held: gate.wait(10)))

    def look() -> None:
        step = next(steps)
        if step == 0:
            assert proposals.live._ticket
            proposals.do(Errand("another", "contour", lambda held: None, instead="contour"))
            gate.set()
            bench.settle()
        else:
            seen.append(box_of(drawn))
            shows(bench, seen[-1])

    try:
        pull(bench, by(MIDDLE, 30, 20), look)
    finally:
        gate.set()
    bench.settle()
    assert len(set(seen)) == 4


@pytest.mark.parametrize("mode", ["select", "add_rectangle", "add_ellipse"])
def test_boxes_in_a_layer_of_the_user_are_followed(bench: Any, mode: str) -> None:
    gui.use_model(bench.controller, "contour", Noting())
    gui.show_voxel(bench.viewer, bench.image, (30, 0, 0))
    place = {name: getattr(bench.image, name) for name in ("scale", "translate", "units")}
    there = [] if mode != "select" else [PLANE.to_index(BOX.outline)]
    mine = bench.viewer.add_shapes(there, ndim=3, name="mine", **place)
    bench.controller.choose_prompts(mine)
    bench.settle()
    take_up(bench, mine, 0) if there else bench.viewer.layers.selection.select_only(mine)
    mine.mode = mode
    seen = []

    def look() -> None:
        assert len(mine.data) == 1
        seen.append(box_of(mine))
        shows(bench, seen[-1])

    pull(bench, by(MIDDLE, 30, 20), look)
    bench.settle()
    assert len(set(seen)) == 5
    (draft,) = bench.controller.session.drafts.values()
    assert draft.prompts == Prompts(box_of(mine))
    assert np.array_equal(bench.preview(PLANE), mask_of(box_of(mine)))
