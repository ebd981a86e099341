"""Runs through a volume with layers but without a window: ranges, keys, corners, lines, time, several objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import zarr
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from tests import gui
from tests.contract.fakes import BoxFake, BrightFake

from napari_medsam.geometry import Plane
from napari_medsam.intensity import TYPED
from napari_medsam.prompts import Box, Prompts
from napari_medsam.propagation.plan import Way
from napari_medsam.propagation.prompting import Feed, Prompting
from napari_medsam.propagation.stopping import StopRules
from napari_medsam.propagation.ways import ways_of
from napari_medsam.shapes import CleanUp, Operation
from napari_medsam.widgets import growing
from napari_medsam.widgets.controller import Controller
from napari_medsam.widgets.reach import Reach
from napari_medsam.widgets.volume import Options
from napari_medsam.widgets.volume_panels import CleanUpPanel, RangePanel, RulesPanel, WayPanel

SHAPE = (9, 20, 24)
GRID = {"scale": (3, 1, 2), "translate": (-20, 7, 100), "units": "mm"}


def blob() -> np.ndarray:
    """(9, 20, 24) bool: an object that is no prism and not its own mirror image, on slices 2 to 7."""
    made = np.zeros(SHAPE, dtype=bool)
    for z in range(2, 8):
        made[z, 5 : 9 + z // 2, 6:14] = True
    made[4:8, 10:12, 12:16] = True
    return made


def other() -> np.ndarray:
    """A second object, on slices 0 to 5."""
    made = np.zeros(SHAPE, dtype=bool)
    made[0:6, 17:20, 20:24] = True
    return made


def around(mask: np.ndarray, loose: int = 1) -> Box:
    at = np.argwhere(mask)
    (r0, c0), (r1, c1) = at.min(axis=0) - loose, at.max(axis=0) + 1 + loose
    return Box(int(r0), int(c0), int(r1), int(c1))


class Made:
    """A controller at work on a volume, without a window."""

    def __init__(self, data: np.ndarray, **place: Any) -> None:
        self.viewer = ViewerModel()
        self.image = self.viewer.add_image(data, name="ct", **(place or GRID))
        self.controller = Controller(self.viewer)
        self.said = ""
        self.controller.said.connect(self._hear)
        self.controller.choose_image(self.image)
        self.controller.choose_window(TYPED, 0, 255)
        gui.use_model(self.controller, "contour", BrightFake())
        self.volume = self.controller.volume
        self.volume.options = Options(rules=StopRules.none())

    def _hear(self, said: str, kind: str) -> None:
        self.said += said + "\n"

    def show(self, *voxel: int) -> Plane:
        gui.show_voxel(self.viewer, self.image, voxel)
        return self.controller.volume.shown[0].plane(self.controller.volume.shown[1])

    def draw(self, plane: Plane, prompts: Prompts) -> None:
        layers = self.controller.proposals.layers
        layers.add(plane, prompts, layers.new_number())
        gui.settle(self.controller)

    def box(self, plane: Plane, mask: np.ndarray) -> None:
        self.draw(plane, Prompts(box=around(mask[plane.key])))

    def run(self, act: Any) -> None:
        self.controller.attempt(act)
        gui.until(lambda: not self.volume.growing.running)
        gui.settle(self.controller)

    def propagate(self) -> None:
        self.run(self.volume.propagate)

    @property
    def labels(self) -> np.ndarray:
        return np.array(self.controller.work.target.layer.data)

    @property
    def status(self) -> str:
        return str(self.controller.status[0])


@pytest.fixture
def make(qapp: QApplication, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    made: list[Made] = []

    def one(data: np.ndarray, **place: Any) -> Made:
        made.append(Made(data, **place))
        return made[-1]

    monkeypatch.setattr("napari.utils.notifications.show_warning", lambda text: None)
    with gui.own_settings(tmp_path, monkeypatch):
        yield one
        for each in made:
            each.controller.close()


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)], ids=["axial", "coronal", "sagittal transposed"])
def test_an_object_is_followed_in_any_view_and_is_one_step_to_undo(make: Any, order: tuple[int, ...]) -> None:
    made = make(blob() * 200 + other() * 180)
    made.viewer.dims.order = order
    plane = made.show(5, 6, 8)
    made.box(plane, blob())
    made.propagate()
    assert np.array_equal(made.labels == 1, blob())
    assert not made.controller.session.drafts, "the proposal went into the run"
    assert not len(made.controller.proposals.layers.boxes.data)
    made.controller.undo()
    assert not made.labels.any()
    made.controller.redo()
    assert np.array_equal(made.labels == 1, blob())


def test_range_and_stops_are_set_in_any_order_and_each_view_has_its_own(make: Any) -> None:
    made = make(blob() * 200)
    volume = made.volume
    for z, act in ((6, volume.range_from_here), (3, volume.range_to_here), (5, volume.toggle_stop)):
        made.show(z, 0, 0)
        act()
    assert volume.reach == Reach(6, 3, frozenset({5}))
    assert made.status == "Runs go from slice 3 to 6 of 9 slices, and stop at 5."
    plane = made.show(4, 0, 0)
    made.box(plane, blob())
    made.propagate()
    assert np.flatnonzero(made.labels.any(axis=(1, 2))).tolist() == [3, 4, 5]
    assert "stop here" in made.status
    made.viewer.dims.order = (1, 0, 2)
    assert volume.reach == Reach()
    made.viewer.dims.order = (0, 1, 2)
    volume.set_range(None, None)
    made.show(5, 0, 0)
    volume.toggle_stop()
    assert volume.reach == Reach()
    volume.go(8)
    assert volume.shown[1] == 8
    volume.set_range(0, 2)
    made.show(4, 0, 0)
    made.controller.choose_object(1)
    made.draw(Plane.across(0, 4), Prompts(box=around(blob()[4])))
    made.propagate()
    assert "outside the range" in made.status


def test_collected_boxes_are_several_objects_on_one_slice_and_keys_of_one_on_several(make: Any) -> None:
    made = make(blob() * 200 + other() * 180)
    made.volume.choose(Options(rules=StopRules.none(), collect=True))
    plane = made.show(4, 0, 0)
    made.box(plane, blob())
    made.box(plane, other())
    assert len(made.controller.session.drafts) == 2
    made.propagate()
    assert np.array_equal(made.labels == 1, blob())
    assert np.array_equal(made.labels == 2, other())
    made.controller.undo()
    assert not made.labels.any(), "one step for both"

    for z in (2, 7):
        made.box(made.show(z, 0, 0), blob())
    made.volume.choose(Options(way=Way.SHAPES, collect=True))
    made.propagate()
    assert sorted(np.unique(made.labels)) == [0, 1]
    assert np.flatnonzero(made.labels.any(axis=(1, 2))).tolist() == [2, 3, 4, 5, 6, 7]


def test_two_corners_make_a_3d_box(make: Any) -> None:
    made = make(np.full(SHAPE, 200))
    made.volume.choose(Options(way=Way.BOX))
    made.controller.draw("point")
    points = made.controller.proposals.layers.points
    for z, row, column in ((2, 4, 5), (6, 10, 17)):
        made.show(z, 0, 0)
        points.feature_defaults = {
            "positive": "1",
            "object": made.controller.proposals.layers.new_number(),
            "plane": "1,2",
        }
        points.add([(z, row, column)])
        gui.settle(made.controller)
    assert len(made.controller.session.drafts) == 2, "the first corner stays open"
    made.propagate()
    wanted = np.zeros(SHAPE, dtype=bool)
    wanted[2:7, 4:11, 5:18] = True
    assert np.array_equal(made.labels == 1, wanted)


def test_a_lesion_is_drawn_by_its_axes_and_the_second_line_joins_the_one_that_it_crosses(make: Any) -> None:
    made = make(np.full(SHAPE, 200), scale=(3, 1, 1), units="mm")
    gui.use_model(made.controller, "contour", BoxFake())
    made.show(4, 0, 0)
    made.controller.draw("line")
    boxes = made.controller.proposals.layers.boxes
    assert boxes.mode == "add_line"

    def line(*ends: tuple[int, int]) -> None:
        boxes.selected_data = set()
        boxes.feature_defaults = {"object": -1, "positive": "1"}
        boxes.add(np.array([(4, *end) for end in ends]), shape_type="line")
        gui.settle(made.controller)

    line((10, 4), (10, 20))
    (draft,) = made.controller.session.drafts.values()
    one = draft.prompts.box
    assert (one.row0 + one.row1) / 2 == 10.5
    assert one.row1 - one.row0 == pytest.approx(16 * 0.75 * 1.1, abs=2), "three quarters, and a margin"
    line((7, 12), (13, 12))
    (draft,) = made.controller.session.drafts.values()
    assert draft.prompts.box.row1 - draft.prompts.box.row0 == pytest.approx(6 * 1.1, abs=2)
    assert draft.prompts.box.column1 - draft.prompts.box.column0 == pytest.approx(16 * 1.1, abs=2)
    line((8, 10), (12, 10))  # a third one is a lesion of its own
    assert len(made.controller.session.drafts) == 1
    assert (made.labels == 1).any(), "the next lesion accepts the last"


def test_prompts_are_copied_to_the_next_frame_and_objects_followed_through_time(make: Any) -> None:
    moving = np.zeros((4, 3, 20, 24), np.uint8)
    for t in range(4):
        moving[t, 1, 5:12, 6 + t : 14 + t] = 200
    made = make(moving, scale=(1, 3, 1, 2), units=("s", "mm", "mm", "mm"))
    plane = made.show(0, 1, 5, 5)
    assert made.volume.has_time_at(made.volume.shown)
    made.draw(plane, Prompts(box=Box(4, 5, 13, 20)))
    made.controller.attempt(made.volume.copy_to_next_frame)
    gui.settle(made.controller)
    (draft,) = made.controller.session.drafts.values()
    assert dict(draft.plane.index) == {0: 1, 1: 1}
    assert dict(made.volume.shown[0].fixed) == {0: 1}, "and it is shown"
    made.controller.accept()
    assert [np.array_equal(made.labels[t] == 1, moving[t] > 0) for t in range(4)] == [True, True, False, False]

    made.volume.choose(Options(rules=StopRules.none(), in_time=True))
    assert made.volume.shown[0].axis == 0
    made.controller.choose_object(1)
    made.propagate()
    assert np.array_equal(made.labels == 1, moving > 0)
    made.show(3, 1, 5, 5)
    made.draw(made.volume.shown[0].plane(3), Prompts(box=Box(4, 5, 13, 20)))
    made.controller.attempt(made.volume.copy_to_next_frame)
    assert made.status == "There is no frame 4: the frames are 0 to 3."


def test_a_correction_is_kept_and_followed_to_the_next_one(make: Any) -> None:
    made = make(blob() * 200)
    made.box(made.show(4, 0, 0), blob())
    made.propagate()
    grown = made.labels
    layer = made.controller.work.target.layer
    cut = np.argwhere(grown[6] == 1)[:8]
    layer.data_setitem((np.full(len(cut), 6), *cut.T), 0)
    layer.refresh()
    corrected = made.labels[6].copy()
    made.volume.follow(made.volume.shown)
    gui.until(lambda: 6 in made.volume.review.certain and 7 in made.volume.review.found)
    assert made.volume.review.certain == {4, 6}
    assert set(made.volume.review.scores) == {2, 3, 5, 7}
    made.show(6, 0, 0)
    made.run(made.volume.again)
    assert np.array_equal(made.labels[6], corrected)
    made.run(made.volume.propagate)
    assert np.array_equal(made.labels[6], corrected)
    made.controller.choose_object(1)
    made.box(made.show(3, 0, 0), blob())
    (draft,) = made.controller.session.drafts.values()
    assert draft.revises == 1, "a box on a slice that a run has found takes its place"
    made.controller.attempt(made.volume.next_doubtful)
    assert made.volume.shown[1] in (2, 3, 5, 7)


def test_clean_up_is_shown_before_it_is_written(make: Any) -> None:
    made = make(blob() * 200)
    made.box(made.show(4, 0, 0), blob())
    made.propagate()
    layer, tidying = made.controller.work.target.layer, made.volume.tidying
    layer.data_setitem((np.array([0, 0]), np.array([0, 0]), np.array([0, 1])), 1)
    before = made.labels
    preview = made.controller.proposals.preview
    faint = preview.layer.opacity

    def look(cleanup: CleanUp = CleanUp(Operation.LARGEST)) -> None:  # noqa: B008
        made.controller.attempt(lambda: made.volume.look_at(cleanup))
        gui.until(lambda: not tidying.looking)

    look()
    assert np.argwhere(preview.layer.data).tolist() == [[0, 0, 0], [0, 0, 1]]
    assert preview.layer.opacity > faint, "over the label that it is about"
    assert set(tidying.changes(made.volume.shown[0])) == {0}
    assert made.status == (
        "0 voxels would come (cyan) and 2 go (magenta), on slice 0, marked on the strip, none on this one "
        "(Shift+N: the next). Apply or cancel."
    )
    made.controller.attempt(made.volume.next_doubtful)
    assert made.volume.shown[1] == 0, "where it would change something"
    assert np.array_equal(made.labels, before)
    tidying.cancel()
    tidying.cancel()
    assert not preview.layer.data.any()
    assert preview.layer.opacity == faint
    made.controller.attempt(lambda: made.volume.look_at(CleanUp(Operation.LARGEST)))
    tidying.cancel()  # before it is worked out
    gui.settle(made.controller)
    assert not tidying.showing
    look()
    made.controller.attempt(tidying.apply)
    assert np.array_equal(made.labels == 1, blob())
    look()
    assert made.status == "object 1 is in one piece already, so nothing would change."
    made.controller.undo()
    assert np.array_equal(made.labels, before)
    made.controller.attempt(tidying.apply)
    assert "Nothing is shown" in made.status
    made.controller.choose_object(1)
    layer.data_setitem(tuple(np.argwhere(made.labels == 1).T), 0)
    look()
    assert "nothing of this object" in made.status


def test_what_cannot_be_followed_is_said_with_the_way_out(make: Any) -> None:
    made = make(blob() * 200)
    made.show(4, 0, 0)
    made.propagate()
    assert "Draw a box" in made.status
    made.volume.set_range(4, 4)
    made.box(made.show(4, 0, 0), blob())
    made.propagate()
    assert np.flatnonzero(made.labels.any(axis=(1, 2))).tolist() == [4]
    flat = make(np.full((20, 24), 200, np.uint8), scale=(1, 2), units="mm")
    flat.draw(Plane((0, 1), ()), Prompts(box=Box(4, 4, 12, 12)))
    flat.propagate()
    assert "single slice" in flat.status
    assert flat.volume.shown is None


def test_panels_show_and_say_the_same(qapp: QApplication) -> None:
    reach = RangePanel({"from": ",", "to": "."})
    said: list[Any] = []
    reach.chosen.connect(lambda *ends: said.append(ends))
    for ends in ((None, None), (3, None), (None, 0), (8, 2)):
        reach.setValue(Reach(*ends))
        assert reach.value() == ends
    assert not said
    reach.first.setValue(5)
    reach.everything.click()
    assert said == [(5, 2), (None, None)]

    rules = RulesPanel()
    for value in (StopRules(), StopRules.none()):
        for feed in Feed:
            rules.setValue(Prompting(feed, 4.5), value, {Feed.MASK: "no masks"})
            assert rules.value() == (Prompting(feed, 4.5), value)
    rules.setValue(Prompting(points=3), StopRules(growth=9.0), {})
    rules.boxes["score drops"].setChecked(False)
    rules.margin.setValue(7.5)
    assert rules.value() == (Prompting(points=3, margin=7.5), StopRules(growth=9.0, score=0.0))

    ways = WayPanel()
    ways.setValue(Way.SHAPES, (Way.SLICES, Way.BOX, Way.SHAPES), "Contour")
    assert ways.value() is Way.SHAPES
    assert not ways.model().item(list(Way).index(Way.MEMORY)).isEnabled()

    tidy = CleanUpPanel()
    for i, operation in enumerate(Operation):
        tidy.operation.setCurrentIndex(i)
        tidy.operation.activated.emit(i)
        assert tidy.value().operation is operation
    tidy.flat.setChecked(True)
    assert tidy.value().axis == 0


def test_the_way_is_the_better_one_of_the_model_until_another_is_chosen(make: Any) -> None:
    made = make(blob() * 200)
    row = made.controller.models.row
    assert Options().way_for(row) is ways_of(row)[0] is Way.SLICES
    assert Options(way=Way.MEMORY).way_for(row) is Way.SLICES, "which this model has not"
    model = BrightFake()
    gui.use_model(made.controller, "medsam2", model)
    assert Options().way_for(made.controller.models.row) is Way.MEMORY
    made.box(made.show(4, 0, 0), blob())
    made.propagate()
    assert np.array_equal(made.labels == 1, blob())
    assert model.trackers, "by the model's memory"


def test_what_a_run_came_to_is_said_by_slices_found_unchanged_and_cleared(make: Any) -> None:
    made = make(blob() * 200)
    made.box(made.show(4, 0, 0), blob())
    made.propagate()
    assert made.status == "Followed: object 1 on 6 slices, 2 to 7 (end of the range)."
    made.propagate()
    assert made.status.startswith(
        "Followed: object 1 on 5 slices, 2 to 3, 5 to 7 (end of the range). Nothing has changed"
    )
    layer = made.controller.work.target.layer
    layer.data_setitem((np.array([6, 6]), np.array([8, 8]), np.array([8, 9])), 0)  # a correction
    dark = made.image.data.copy()
    dark[7] = 0
    made.image.data = dark
    made.controller.recompute()
    gui.settle(made.controller)
    made.propagate()
    assert "object 1 on 3 slices, 2 to 3, 5 (" in made.status
    assert "Cleared on 1 slice, 7, where it was not found again." in made.status


def test_a_run_into_pixels_of_other_objects_says_so_and_what_to_do(make: Any) -> None:
    made = make(blob() * 200)
    made.box(made.show(4, 0, 0), blob())
    made.propagate()
    made.controller.choose_object(1)
    made.controller.name_object("bladder")
    made.controller.choose_object(None)
    made.box(made.show(5, 0, 0), blob())
    made.propagate()
    said, kind = made.controller.status
    assert kind == "error"
    assert "Nothing was written" in said
    assert "belongs to other objects (bladder)" in said
    assert "overwrite" in said
    layer = made.controller.work.target.layer
    layer.data_setitem(tuple(np.argwhere(blob() & (np.arange(9)[:, None, None] > 5)).T), 0)
    made.propagate()
    said, kind = made.controller.status
    assert kind == "ready"
    assert "on 2 slices, 6 to 7" in said
    assert "On 4 slices, 2 to 5, every pixel of it belongs to other objects (bladder)" in said


def test_a_typed_range_is_taken_as_typed_and_is_not_lost_while_it_is_typed(make: Any, qtbot: Any) -> None:
    made = make(blob() * 200)
    volume, panel = made.volume, RangePanel({"from": ",", "to": "."})
    qtbot.addWidget(panel)
    panel.chosen.connect(lambda first, last: made.controller.attempt(lambda: volume.set_range(first, last)))
    volume.changed.connect(lambda: panel.setValue(volume.reach))
    made.show(4, 0, 0)
    volume.set_range(2, 6)

    def typed(text: str, box: Any) -> None:
        box.selectAll()
        QTest.keyClick(box, Qt.Key.Key_Delete)
        QTest.keyClicks(box, text)

    typed("99", panel.last)
    panel.setValue(volume.reach)
    assert panel.last.text() == "99", "a refresh does not touch it"
    QTest.keyClick(panel.last, Qt.Key.Key_Return)
    assert volume.reach == Reach(2, 8)
    assert made.status == "There is no slice 99: the last one is 8. Runs go from slice 2 to 8 of 9 slices."
    assert panel.last.text() == "8"
    typed("", panel.first)
    QTest.keyClick(panel.first, Qt.Key.Key_Return)
    assert volume.reach == Reach(None, 8)
    assert panel.first.text() == "start"
    typed("3", panel.first)
    QTest.keyClick(panel.first, Qt.Key.Key_Return)
    assert volume.reach == Reach(3, 8)


def of(made: Made, value: int, z: int) -> np.ndarray:
    """The pixels of an object on a slice."""
    return np.asarray(made.labels[z] == value)


def test_a_box_and_a_rerun_correct_a_slice_without_choosing_the_object_and_new_object_stays(make: Any) -> None:
    made = make(blob() * 200 + other() * 180)
    made.box(made.show(4, 0, 0), blob())
    made.propagate()
    made.draw(made.show(5, 0, 0), Prompts(box=Box(5, 6, 8, 10)))
    made.run(made.volume.again)
    wanted = np.zeros(SHAPE[1:], dtype=bool)
    wanted[5:8, 6:10] = True
    assert np.array_equal(of(made, 1, 5), wanted), "it has taken the place of what was found"
    assert made.controller.session.names == {1: "object 1"}
    made.box(made.show(3, 0, 0), other())
    made.run(made.volume.again)
    assert "does not touch object 1" in made.status
    made.controller.accept()
    assert np.array_equal(made.labels[3] == 2, other()[3]), "the next box is a new object, as Object says"
    assert np.array_equal(of(made, 1, 3), blob()[3])


def test_where_the_object_is_not_a_box_and_a_rerun_go_on_with_it_and_what_is_certain_is_not_replaced(make: Any) -> None:
    made = make(blob() * 200)
    made.volume.set_range(3, 5)
    made.box(made.show(4, 0, 0), blob())
    made.propagate()
    made.volume.set_range(None, None)
    made.box(made.show(6, 0, 0), blob())
    made.run(made.volume.again)
    assert np.array_equal(made.labels == 1, blob() & (np.arange(9)[:, None, None] > 2))
    made.draw(made.show(4, 0, 0), Prompts(box=Box(5, 6, 8, 10)))
    made.run(made.volume.again)
    assert "Refine" in made.status
    assert np.array_equal(of(made, 1, 4), blob()[4])


def test_a_box_replaces_what_it_overlaps_of_the_object_chosen_now_and_is_added_elsewhere(make: Any) -> None:
    made = make(blob() * 200 + other() * 180)
    made.box(made.show(4, 0, 0), blob())
    made.propagate()
    controller = made.controller

    def revised() -> list[int]:
        return [draft.revises for draft in controller.session.drafts.values()]

    made.draw(made.show(5, 0, 0), Prompts(box=Box(5, 6, 8, 10)))
    seen = [revised()]
    for value in (1, None, 1):
        controller.choose_object(value)
        seen.append(revised())
    assert seen == [[0], [1], [0], [1]]
    assert not controller.session.drafts["own 2"].pending, "for which no model is asked again"
    controller.clear()

    made.box(made.show(5, 0, 0), other())
    assert revised() == [0]
    assert "Accept adds it to object 1" in made.status
    controller.choose_object(None)
    controller.accept()
    assert np.array_equal(of(made, 1, 5), blob()[5])
    assert np.array_equal(of(made, 2, 5), other()[5])

    controller.attempt(made.volume.next_doubtful)
    z = made.volume.shown[1]
    made.draw(made.show(z, 0, 0), Prompts(box=Box(0, 0, 3, 3)))
    made.box(made.show(4, 0, 0), other())
    made.image.data = made.image.data + 0
    assert (of(made, 1, z) & blob()[z]).sum() == blob()[z].sum(), "the next box accepts it, and destroys nothing"


class Full:
    """An array of a kind of its own that takes so many writes and no more."""

    def __init__(self, data: np.ndarray, writes: int) -> None:
        self.data, self.writes = data, writes
        self.shape, self.dtype, self.ndim = data.shape, data.dtype, data.ndim

    def __getitem__(self, at: Any) -> Any:
        return self.data[at]

    def __setitem__(self, at: Any, values: Any) -> None:
        self.writes -= 1
        if self.writes < 0:
            raise OSError("No space left on device")
        self.data[at] = values

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return np.asarray(self.data)


@pytest.mark.parametrize("kind", ["read-only", "zarr for reading", "full of labels"])
def test_labels_that_cannot_take_what_a_run_finds_are_refused_before_it(make: Any, tmp_path: Any, kind: str) -> None:
    made = make(blob() * 200)
    data: Any = np.zeros(SHAPE, np.uint8)
    data[0, 0, 0] = 255
    if kind == "read-only":
        data.flags.writeable = False
    else:
        zarr.array(data, store=str(tmp_path / "labels.zarr"), chunks=(1, 20, 24))
        data = zarr.open(str(tmp_path / "labels.zarr"), mode="r" if kind == "zarr for reading" else "r+")
    labels = made.viewer.add_labels(data, scale=(3, 1, 2), translate=(-20, 7, 100), units="mm")
    made.controller.choose_labels(labels)
    made.box(made.show(4, 0, 0), blob())
    made.controller.attempt(made.volume.propagate)
    assert not made.volume.growing.running
    assert made.controller.status[1] == "error"
    assert "hoose new labels" in made.status
    made.controller.accept()
    assert made.controller.status[1] == "error"
    assert made.controller.session.drafts, "nothing is lost"
    made.controller.choose_labels(None)
    made.propagate()
    assert np.array_equal(made.labels == 1, blob())


@pytest.mark.parametrize("existing", [False, True])
def test_what_labels_do_not_take_at_the_end_of_a_run_goes_into_new_ones(make: Any, existing: bool) -> None:
    made = make(blob() * 200)
    disk = Full(np.zeros(SHAPE, np.uint16), 99)
    labels = made.viewer.add_labels(disk, scale=(3, 1, 2), translate=(-20, 7, 100), units="mm", name="disk")
    made.controller.choose_labels(labels)
    made.box(made.show(4, 0, 0), blob())
    if existing:
        made.controller.name_object("bladder")
        made.controller.accept()
        made.controller.choose_object(1)
    disk.writes = 3
    made.propagate()
    said, kind = made.controller.status
    assert kind == "error"
    assert "No space left on device" in said
    assert "new labels 'ct labels'" in said
    assert np.array_equal(made.labels == 1, blob()), "in the labels that are in use now"
    assert made.controller.session.names == {1: "bladder" if existing else "object 1"}
    assert not made.controller.session.drafts
    made.controller.undo()
    assert not made.labels.any()


def test_an_undo_that_cannot_be_written_is_said(make: Any) -> None:
    made = make(blob() * 200)
    disk = Full(np.zeros(SHAPE, np.uint16), 99)
    labels = made.viewer.add_labels(disk, scale=(3, 1, 2), translate=(-20, 7, 100), units="mm", name="disk")
    made.controller.choose_labels(labels)
    made.box(made.show(4, 0, 0), blob())
    made.controller.accept()
    disk.writes = 0
    for act in (made.controller.undo, made.controller.redo):
        act()
        assert made.controller.status[1] == "error"
        assert "No space left on device" in made.status


def begin(made: Made, done: int) -> None:
    """A run from what is drawn and chosen, of which `done` slices are found and no more until the event loop runs."""
    made.controller.attempt(made.volume.propagate)
    gui.until(lambda: made.volume.growing.growth is not None and len(made.volume.growing.growth) == done)


def slices_of(made: Made) -> list[int]:
    return [int(z) for z in np.flatnonzero(made.labels.any(axis=(1, 2)))]


def ended(made: Made) -> None:
    gui.until(lambda: not made.volume.growing.running)
    gui.settle(made.controller)


def test_what_a_run_went_out_from_may_be_taken_back_and_then_nothing_of_it_is_written(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "BUDGET", 0.0)  # a slice an errand
    made = make(blob() * 200)
    controller = made.controller
    made.box(made.show(3, 0, 0), blob())
    controller.accept()
    controller.choose_object(1)
    begin(made, 2)
    controller.undo()
    assert not made.volume.growing.running
    assert "taken back" in made.status
    gui.settle(controller)
    assert not made.labels.any()
    controller.redo()

    controller.choose_object(1)
    made.box(made.show(7, 0, 0), blob())
    controller.accept()
    begin(made, 3)
    made.controller.work.target.layer.undo()  # by napari's own key
    ended(made)
    assert "taken back" in made.status
    assert slices_of(made) == [2, 3, 4, 5], "what came from the other slice is there"


def test_clearing_leaves_the_proposals_of_a_run_and_says_that_it_goes_on(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "BUDGET", 0.0)
    made = make(blob() * 200 + other() * 180)
    made.box(made.show(4, 0, 0), blob())
    begin(made, 2)
    made.controller.proposals.collecting = True
    made.controller.proposals.layers.add(Plane.across(0, 4), Prompts(box=around(other()[4])), 9)
    made.controller.proposals.read()
    made.controller.clear()
    assert len(made.controller.session.drafts) == 1
    assert "The run goes on" in made.status
    ended(made)
    assert np.array_equal(made.labels > 0, blob())
    assert not made.controller.session.drafts


def test_a_run_stops_when_pixels_change_and_goes_on_when_the_image_is_moved(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "BUDGET", 0.0)
    made = make(blob() * 200)
    made.box(made.show(4, 0, 0), blob())
    begin(made, 2)
    made.image.data = made.image.data + 1
    assert not made.volume.growing.running
    assert len(slices_of(made)) == 2
    assert "The pixels of the image have changed. Stopped: object 1 on 2 slices" in made.said
    gui.settle(made.controller)
    made.controller.undo()
    made.box(made.show(4, 0, 0), blob())
    begin(made, 2)
    made.image.translate = (0, 0, 0)
    ended(made)
    assert np.array_equal(made.labels == 1, blob()), "in labels where the image is now"
    assert "new labels" in made.said


def test_other_labels_chosen_in_the_middle_of_a_run_end_that_of_an_object(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "BUDGET", 0.0)
    made = make(blob() * 200)
    made.box(made.show(4, 0, 0), blob())
    made.controller.accept()
    made.controller.choose_object(1)
    layer = made.controller.work.target.layer
    begin(made, 2)
    made.controller.choose_labels(None)
    assert np.count_nonzero(np.asarray(layer.data).any(axis=(1, 2))) == 3
    assert "Other labels were chosen. Stopped: object 1 on 2 slices" in made.said
