"""The keys act again once the user is done with a field of the dock; all keys go to the widget that Qt has in focus."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QEvent, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QDockWidget, QStyle, QStyleOptionSpinBox
from superqt import QCollapsible
from tests import gui
from tests.journeys.conftest import Bench
from tests.journeys.test_main_job import plane_and_box, view

from napari_medsam.widgets.compat import store_setting
from napari_medsam.widgets.reach import Reach
from napari_medsam.widgets.status_line import StatusLine


class Hands:
    """A mouse, and a keyboard that reaches what a real one would reach."""

    def __init__(self, bench: Bench, truth: np.ndarray) -> None:
        self.bench = bench
        self.plane, self.box = plane_and_box(truth, 3, 0)
        bench.viewer.window._qt_window.activateWindow()
        view(bench, 0, self.plane)

    def propose(self) -> None:
        gui.press(self.bench.viewer, Qt.Key.Key_G)
        self.bench.draw(self.plane, self.box)
        self.bench.settle()

    def press(self, key: Any) -> None:
        """To the widget in focus; real keys go to the window where there is none."""
        QTest.keyClick(QApplication.focusWidget() or QApplication.activeWindow(), key)
        QApplication.processEvents()

    def accept(self) -> dict[int, str]:
        self.press(Qt.Key.Key_J)
        self.bench.settle()
        return dict(self.bench.controller.session.names)

    def type(self, field: Any, text: str) -> None:
        """Click into a field, and type in the place of what is there."""
        QTest.mouseClick(field.lineEdit() if hasattr(field, "lineEdit") else field, gui.LEFT)
        assert QApplication.focusWidget() is field
        field.selectAll()
        for key in text:
            QTest.keyClicks(QApplication.focusWidget(), key)
        QApplication.processEvents()

    def open(self, combo: Any) -> Any:
        QTest.mouseClick(combo, gui.LEFT)
        gui.until(lambda: combo.view().isVisible())
        time.sleep(QApplication.doubleClickInterval() / 1000 + 0.1)  # a list takes no click so soon after it was opened
        QApplication.processEvents()
        return combo.view()

    def pick(self, combo: Any, entry: int) -> None:
        listed = self.open(combo)
        at = listed.visualRect(listed.model().index(entry, 0)).center()
        QTest.mouseMove(listed.viewport(), at)
        QTest.mouseClick(listed.viewport(), gui.LEFT, gui.NO_KEY, at)
        gui.until(lambda: not listed.isVisible())


@pytest.fixture
def hands(bench: Bench, phantom: Any) -> Hands:
    return Hands(bench, phantom[1])


def unfold(bench: Bench) -> None:
    for fold in bench.dock.findChildren(QCollapsible):
        fold.expand(animate=False)
    QApplication.processEvents()


def test_next_mask_after_an_object_was_picked_extends_that_object(hands: Hands) -> None:
    bench = hands.bench
    hands.propose()
    assert list(hands.accept()) == [1]
    bench.viewer.dims.set_current_step(0, bench.viewer.dims.current_step[0] + 1)
    hands.propose()
    hands.pick(bench.dock.objects.combo, 1)
    assert bench.controller.session.target == 1
    hands.press(Qt.Key.Key_N)
    bench.settle()
    assert (bench.controller.session.target, bench.dock.objects.combo.currentIndex()) == (1, 1)
    assert "mask 2 of" in bench.dock.proposal.text.text(), "and the key does what it is for"
    assert list(hands.accept()) == [1], "no second object"


def test_the_point_key_after_an_image_was_picked_leaves_the_image_in_use(hands: Hands) -> None:
    bench = hands.bench
    bench.viewer.add_image(np.array(bench.image.data), name="head", scale=bench.image.scale)
    combo = bench.dock.image
    hands.pick(combo, combo.findText("head"))
    hands.pick(combo, combo.findText(bench.image.name))
    hands.press(Qt.Key.Key_H)
    bench.settle()
    assert bench.controller.image is bench.image
    assert bench.viewer.layers.selection.active is bench.controller.proposals.layers.points


def test_a_combo_in_focus_passes_letters_on_and_is_stepped_through(hands: Hands) -> None:
    bench = hands.bench
    hands.propose()
    combo = bench.dock.window_panel.preset
    hands.open(combo)
    hands.press(Qt.Key.Key_Escape)
    assert QApplication.focusWidget() is combo, "nothing was chosen"
    before = combo.currentIndex()
    for key in (Qt.Key.Key_Down, Qt.Key.Key_Down, Qt.Key.Key_Down, Qt.Key.Key_Up):
        hands.press(key)
    assert combo.currentIndex() == before + 2
    bench.settle()
    hands.press(Qt.Key.Key_M)  # "MR ..."
    assert combo.currentIndex() == before + 2
    assert hands.accept() == {1: "object 1"}
    hands.press(Qt.Key.Key_Escape)
    assert QApplication.focusWidget() is gui.canvas(bench.viewer)


def test_a_name_is_typed_until_enter_and_then_accepted_under(hands: Hands) -> None:
    hands.propose()
    hands.type(hands.bench.dock.objects.name, "jejunum n")
    assert hands.bench.dock.objects.name.text() == "jejunum n", "letters that are keys elsewhere"
    assert not hands.bench.controller.session.names
    hands.press(Qt.Key.Key_Return)
    assert QApplication.focusWidget() is gui.canvas(hands.bench.viewer)
    assert hands.accept() == {1: "jejunum n"}


@pytest.mark.parametrize("name", ["from", "to", "width", "level", "margin"])
def test_accept_after_a_number_and_enter(hands: Hands, name: str) -> None:
    unfold(hands.bench)
    dock = hands.bench.dock
    window, volume = dock.window_panel, dock.volume
    field = {
        "from": volume.range.first,
        "to": volume.range.last,
        "width": window.width_box,
        "level": window.level_box,
        "margin": volume.rules.margin,
    }[name]
    hands.propose()
    hands.type(field, "12")
    hands.press(Qt.Key.Key_Return)
    assert field.value() == 12
    assert QApplication.focusWidget() is gui.canvas(hands.bench.viewer)
    hands.bench.settle()
    assert list(hands.accept()) == [1]


def test_escape_takes_back_what_was_typed(hands: Hands) -> None:
    unfold(hands.bench)
    dock, controller = hands.bench.dock, hands.bench.controller
    hands.propose()
    hands.type(dock.objects.name, "liver")
    hands.press(Qt.Key.Key_Escape)
    assert dock.objects.name.text() == ""
    for field, shown in ((dock.volume.range.first, "start"), (dock.window_panel.level_box, None)):
        before = field.text()
        hands.type(field, "12")
        hands.press(Qt.Key.Key_Escape)
        assert field.text() == (shown or before)
        assert QApplication.focusWidget() is gui.canvas(hands.bench.viewer)
    assert controller.volume.reach == Reach()
    assert len(controller.proposals.layers.boxes.data) == 1, "Escape is for the field alone"
    assert hands.accept() == {1: "object 1"}


def test_accept_after_a_number_was_stepped_with_the_mouse(hands: Hands) -> None:
    hands.propose()
    box = hands.bench.dock.window_panel.level_box
    before, option = box.value(), QStyleOptionSpinBox()
    box.initStyleOption(option)
    part = QStyle.SubControl.SC_SpinBoxUp
    at = box.style().subControlRect(QStyle.ComplexControl.CC_SpinBox, option, part, box).center()
    QTest.mouseClick(box, gui.LEFT, gui.NO_KEY, at)
    assert box.value() > before
    hands.bench.settle()
    assert QApplication.focusWidget() is box
    assert list(hands.accept()) == [1], "a number has no letters"


def test_the_keys_act_after_the_fields_of_a_dock_that_floats(hands: Hands) -> None:
    hands.propose()
    around = hands.bench.dock.parentWidget()
    while not isinstance(around, QDockWidget):
        around = around.parentWidget()
    around.setFloating(True)
    QApplication.processEvents()
    around.activateWindow()
    gui.until(lambda: QApplication.activeWindow() is around)
    hands.type(hands.bench.dock.objects.name, "liver")
    hands.press(Qt.Key.Key_Return)
    assert hands.accept() == {1: "liver"}


def test_fields_of_a_dock_that_is_gone_are_followed_no_more(hands: Hands) -> None:
    bench = hands.bench
    hands.type(bench.dock.objects.name, "liver")
    gone: list[bool] = []
    bench.dock.destroyed.connect(lambda: gone.append(True))
    bench.viewer.window.remove_dock_widget(bench.dock)
    bench.dock.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    assert gone
    gui.press(bench.viewer, Qt.Key.Key_G)  # an error in a slot fails the test
    bench.viewer.window._qt_window.setFocus()
    QApplication.processEvents()


def test_missing_weights_name_the_button_that_fetches_them(hands: Hands, tmp_path: Path) -> None:
    bench = hands.bench
    store_setting("models.weights", str(tmp_path / "weights"))
    bench.controller.models.choose("medsam")
    status: StatusLine = bench.dock.status
    gui.until(lambda: "not on this machine" in status.text())
    assert "then Fetch;" in status.text()
    assert "napari-medsam fetch medsam" in status.text()
    QApplication.processEvents()
    assert "".join(status.lines()) == status.text(), "all of it is seen"


def test_without_an_image_the_sample_is_named_as_napari_lists_it(open_dock: Any) -> None:
    viewer, dock = open_dock()
    gui.press(viewer, Qt.Key.Key_G)
    said = dock.status.text().partition("Open Sample > ")[2].rstrip(".")
    menu = next(action.menu() for action in viewer.window.file_menu.actions() if "Sample" in action.text())
    menu.aboutToShow.emit()
    assert said in [action.text() for action in menu.actions()]
