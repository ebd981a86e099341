"""The parts of the 3D section. Each shows what it is given and says what the user chose; none keeps state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QFormLayout, QGridLayout, QLabel, QWidget

from napari_medsam.propagation.plan import Way
from napari_medsam.propagation.prompting import Feed, Prompting
from napari_medsam.propagation.stopping import StopRules
from napari_medsam.shapes import CleanUp, Operation
from napari_medsam.widgets.panels import button, side_by_side
from napari_medsam.widgets.reach import Reach
from napari_medsam.widgets.slice_box import BLANK, SliceBox
from napari_medsam.widgets.tidying import UNITS

ON = StopRules()
OFF = StopRules.none()
RULES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "nothing found": (("empty",), "Stop before a slice on which nothing is found"),
    "area jumps": (("growth", "shrinkage"), "Stop where the area grows or shrinks too fast for the distance"),
    "moves away": (("overlap",), "Stop where the mask overlaps too little with the ones before it"),
    "score drops": (("score",), "Stop where the score falls far below those before it"),
    "stands out less": (("contrast", "look"), "Stop where the object no longer stands out from what surrounds it"),
}
"""What each box of the rules is called, which of `StopRules` it switches, and what it does."""
WAY_TIPS = {
    Way.MEMORY: "The model remembers the object and follows it by itself",
    Way.SLICES: "Each slice is prompted by the mask of the one before, from the keys outwards",
    Way.SHAPES: "Between two or more slices the shape of one turns into that of the next; the image is not looked at",
    Way.BOX: (
        "The drawn box is used on every slice of the range: draw a box and set From and To, or click a point on the\n"
        "object's first and last slice, at opposite corners of its bounds"
    ),
}
AMOUNTS = {Operation.SMOOTH: 2.0, Operation.REMOVE_SMALL: 100.0, Operation.FILL_HOLES: 0.0}
"""To begin with; 0 mm³ stands for holes of any size."""


class RangePanel(QWidget):
    """From and To of a run, typed or taken from the shown slice.

    Parameters
    ----------
    keys : mapping of str to str
        Of "from", "to".
    """

    chosen = Signal(object, object)
    """First and last slice, None for the stack's own end."""
    from_here = Signal()
    to_here = Signal()

    def __init__(self, keys: Mapping[str, str]) -> None:
        super().__init__()
        self.first, self.last = SliceBox("start"), SliceBox("end")
        tip = "The first and the last slice that a run may reach, in any order; blank (start, end): all slices"
        for box in (self.first, self.last):
            box.setToolTip(tip)
            box.valueChanged.connect(self._choose)
        self.from_button = button("From", "The shown slice begins the range", keys["from"], self.from_here.emit)
        self.to_button = button("To", "The shown slice ends the range", keys["to"], self.to_here.emit)
        self.everything = button("All", "No range: from the first slice to the last", "", self._clear)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for column, (widget, stretch) in enumerate((
            (self.from_button, 5), (self.first, 4), (self.to_button, 4), (self.last, 4), (self.everything, 3),
        )):  # fmt: skip
            layout.addWidget(widget, 0, column)
            layout.setColumnStretch(column, stretch)

    def setValue(self, reach: Reach) -> None:
        """Show a choice; a box in which the user is typing shows it afterwards."""
        for box, end in ((self.first, reach.first), (self.last, reach.last)):
            box.setShown(BLANK if end is None else end)

    def value(self) -> tuple[int | None, int | None]:
        """First and last slice, None for the stack's own end."""
        first, last = (None if box.value() == BLANK else box.value() for box in (self.first, self.last))
        return first, last

    def _choose(self) -> None:
        self.chosen.emit(*self.value())

    def _clear(self) -> None:
        self.chosen.emit(None, None)


class WayPanel(QComboBox):
    """How an object is followed: what the model cannot do is grey and says why."""

    chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        for way in Way:
            self.addItem(way.value, way)
        self.activated.connect(lambda i: self.chosen.emit(self.itemData(i)))

    def setValue(self, way: Way, offered: tuple[Way, ...], title: str) -> None:
        """Show a way, and which ones a model, called `title`, offers; the first is its best."""
        self.setCurrentIndex(self.findData(way))
        for i, each in enumerate(Way):
            better = " (the better one for this model)" if each is offered[0] else ""
            tip = f"{WAY_TIPS[each]}{better}" if each in offered else _refused(each, title)
            self.setItemData(i, tip, Qt.ItemDataRole.ToolTipRole)
            _enable(self, i, on=each in offered)
        self.setToolTip(WAY_TIPS[way])

    def value(self) -> Way:
        """The way that is shown."""
        return Way(self.currentData())


class RulesPanel(QWidget):
    """How the next slice is prompted, and what ends a run."""

    prompted = Signal(object)
    """A Prompting."""
    ruled = Signal(object)
    """StopRules."""

    def __init__(self) -> None:
        super().__init__()
        self.feed = QComboBox()
        self.feed.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        for feed in Feed:
            self.feed.addItem(feed.value, feed)
        self.margin = QDoubleSpinBox()
        self.margin.setRange(0, 100)
        self.margin.setDecimals(1)
        self.margin.setSuffix(" mm")
        self.margin.setMinimumWidth(20)
        self.margin.setKeyboardTracking(False)
        self.margin.setToolTip("Between the last mask and the box on the next slice, on each side")
        self.boxes = {name: QCheckBox(name) for name in RULES}
        self._shown = Prompting(), ON
        self.feed.activated.connect(self._prompt)
        self.margin.valueChanged.connect(self._prompt)
        for name, box in self.boxes.items():
            box.setToolTip(f"{RULES[name][1]}.\nOnly outward of the outermost keys; a range and stops always count")
            box.toggled.connect(self._rule)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Next slice", self.feed)
        form.addRow("Margin", self.margin)
        form.addRow(self._grid())

    def setValue(self, prompting: Prompting, rules: StopRules, refused: Mapping[Feed, str]) -> None:
        """Show how it goes; `refused` says which prompts the model does not take, and why."""
        self._shown = prompting, rules
        widgets = (self.feed, self.margin, *self.boxes.values())
        for widget in widgets:
            widget.blockSignals(True)
        self.feed.setCurrentIndex(self.feed.findData(prompting.feed))
        for i, feed in enumerate(Feed):
            self.feed.setItemData(i, refused.get(feed, feed.value), Qt.ItemDataRole.ToolTipRole)
            _enable(self.feed, i, on=feed not in refused)
        self.feed.setToolTip(prompting.feed.value)
        self.margin.setValue(prompting.margin)
        self.margin.setEnabled(prompting.feed is not Feed.REFERENCE)
        for name, (fields, _) in RULES.items():
            self.boxes[name].setChecked(_is_on(rules, fields))
        for widget in widgets:
            widget.blockSignals(False)

    def value(self) -> tuple[Prompting, StopRules]:
        """What is shown."""
        prompting, rules = self._shown
        changes: dict[str, Any] = {}
        for name, (fields, _) in RULES.items():
            on = self.boxes[name].isChecked()
            if on != _is_on(rules, fields):
                changes |= {field: getattr(ON if on else OFF, field) for field in fields}
        how = replace(prompting, feed=Feed(self.feed.currentData()), margin=self.margin.value())
        return how, replace(rules, **changes)

    def _grid(self) -> QWidget:
        made = QWidget()
        layout = QGridLayout(made)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(QLabel("Stop when"), 0, 0)
        for i, box in enumerate(self.boxes.values(), start=1):
            layout.addWidget(box, i // 2, i % 2)
        return made

    def _prompt(self) -> None:
        self.prompted.emit(self.value()[0])

    def _rule(self) -> None:
        self.ruled.emit(self.value()[1])


class CleanUpPanel(QWidget):
    """One operation on the object, shown before it is written."""

    shown = Signal(object)
    """A CleanUp to look at."""
    applied = Signal()
    cancelled = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.operation = QComboBox()
        self.operation.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        for operation in Operation:
            self.operation.addItem(operation.value, operation)
        self.amount = QDoubleSpinBox()
        self.amount.setRange(0, 1e6)
        self.amount.setDecimals(1)
        self.amount.setMinimumWidth(20)
        self.flat = QCheckBox("by slice")
        self.flat.setToolTip("Slice by slice in the shown view, instead of in 3D")
        tip = "Show what would be added (cyan) and taken away (magenta); nothing is written"
        self.look = button("Show", tip, "", lambda: self.shown.emit(self.value()))
        self.apply = button("Apply", "Write it, as one step to undo", "", self.applied.emit)
        self.cancel = button("Cancel", "Leave the object as it is", "", self.cancelled.emit)
        self.operation.activated.connect(self._begin)
        self.flat.toggled.connect(self._unit)
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addRow(self.operation)
        layout.addRow(side_by_side(self.amount, self.flat))
        layout.addRow(side_by_side(self.look, self.apply, self.cancel))
        self._begin()

    def setValue(self, *, ready: bool, looking: bool, showing: bool) -> None:
        """Offer to look, and what is `showing` to be applied; while it is `looking`, or not `ready`, neither."""
        self.look.setEnabled(ready and not looking)
        self.apply.setEnabled(showing)
        self.cancel.setEnabled(looking or showing)

    def value(self) -> CleanUp:
        """The operation; its axis, if it goes slice by slice, is 0, that of the stack."""
        operation = Operation(self.operation.currentData())
        amount = self.amount.value()
        endless = operation is Operation.LARGEST or (operation is Operation.FILL_HOLES and amount == 0)
        return CleanUp(operation, np.inf if endless else amount, 0 if self.flat.isChecked() else None)

    def _begin(self) -> None:
        operation = Operation(self.operation.currentData())
        self.amount.setEnabled(operation in AMOUNTS)
        self.amount.setSpecialValueText({Operation.FILL_HOLES: "any size", Operation.LARGEST: "–"}.get(operation, ""))
        self.amount.setValue(AMOUNTS.get(operation, 0.0))
        self._unit()

    def _unit(self) -> None:
        self.amount.setSuffix(UNITS[self.value().unit])


def _refused(way: Way, title: str) -> str:
    """Why a model does not offer a way."""
    if way is Way.MEMORY:
        return f"{title} has no memory. The models of the SAM 2 family (MedSAM2, SAM 2) do."
    return f"{title} takes no prompts, and this way needs them."


def _is_on(rules: StopRules, fields: tuple[str, ...]) -> bool:
    """Whether one of these rules is not switched off."""
    return any(getattr(rules, field) != getattr(OFF, field) for field in fields)


def _enable(combo: QComboBox, i: int, *, on: bool) -> None:
    """Make an entry of a combo grey, or not."""
    model: Any = combo.model()
    model.item(i).setEnabled(on)
