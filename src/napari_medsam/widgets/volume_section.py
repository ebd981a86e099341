"""The folding 3D section of the dock, over the viewer's `Volume`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QPushButton, QVBoxLayout, QWidget

from napari_medsam.models.row import Row
from napari_medsam.propagation.prompting import Feed, Prompting
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.ways import ways_of
from napari_medsam.widgets.actions import key_of
from napari_medsam.widgets.controller import Controller
from napari_medsam.widgets.panels import button, folding, short_key, side_by_side
from napari_medsam.widgets.strip import SliceStrip
from napari_medsam.widgets.volume import why_not
from napari_medsam.widgets.volume_panels import CleanUpPanel, RangePanel, RulesPanel, WayPanel

DEPTH, TIME = "through depth", "through time"


class VolumeSection(QWidget):
    """Strip, range, runs, review, rules and clean-up.

    Parameters
    ----------
    controller : Controller
    """

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._c = controller
        self._v = controller.volume
        self._make_parts()
        self._lay_out()
        self._connect()

    def refresh(self) -> None:
        """Show the state of the volume."""
        volume, row = self._v, self._c.models.row
        found, options = volume.shown, volume.options  # asked once: it takes as long as all the rest
        running, reach, has_time = volume.growing.running, volume.reach_at(found), volume.has_time_at(found)
        self.range.setValue(reach)
        self.way.setValue(options.way_for(row), ways_of(row), row.title)
        self.along.setVisible(has_time)
        self.along.setCurrentText(TIME if options.in_time else DEPTH)
        self.copy.setVisible(has_time)
        self.collect.setChecked(options.collect)
        self.rules.setValue(options.prompting_for(row), options.rules, _refused(row))
        idle = found is not None and not running
        _enable(self.propagate, self.again, on=idle)
        _enable(self.stop, on=running)
        _enable(self.stop_here, self.next, self.range, self.strip, on=found is not None)
        self.stop_here.setChecked(found is not None and found[1] in reach.stops)
        known = found is not None and volume.value is not None
        self.clean_up.setValue(ready=known and idle, looking=volume.tidying.looking, showing=volume.tidying.showing)
        self._show_strip(found)

    def show_strip(self) -> None:
        """Bring the strip up to date with what is shown, known and being found."""
        self._show_strip(self._v.shown)

    def _show_strip(self, found: tuple[Stack, int] | None) -> None:
        volume, reach = self._v, self._v.reach_at(found)
        volume.follow(found)
        self.strip.setSize(0 if found is None else found[0].size)
        if found is None:
            return
        stack, position = found
        growth, span = volume.growing.growth, reach.span(stack.size)
        scores, keys = volume.review.scores, volume.review.certain
        if growth is not None and growth.plan.stack == stack:
            scores |= {at: min(growth.scores(at).values()) for at in growth.positions}
            keys |= {key.position for subject in growth.plan.subjects for key in subject.keys}
        self.strip.setScores(scores)
        self.strip.setKeys(keys)
        self.strip.setStops(reach.stops)
        self.strip.setChanged(volume.tidying.changes(stack))
        self.strip.setSpan(span.first, span.last)
        self.strip.setPosition(position)
        self.strip.setReady(self._c.proposals.ahead.ready(stack))

    def show_ready(self) -> None:
        """Bring up to date which slices are encoded."""
        found = self._v.shown
        if found is not None:
            self.strip.setReady(self._c.proposals.ahead.ready(found[0]))

    # -- inside ------------------------------------------------------------------------------------------------

    def _make_parts(self) -> None:
        c, volume = self._c, self._v
        self.strip = SliceStrip()
        self.range = RangePanel({"from": key_of("range_from"), "to": key_of("range_to")})
        tip = (
            "Follow the open proposals through the slices of this view, and the object chosen under Object from all\n"
            "slices that it has; else the object accepted last. It is one step to undo"
        )
        self.propagate = _doer(c, "Propagate", tip, "propagate", volume.propagate)
        self.stop = button("Stop", "Stop, and keep what is found", "", volume.growing.stop)
        tip = "Follow the object again from this slice, after a correction, up to the next slices that you corrected"
        self.again = _doer(c, "Re-run", tip, "rerun", volume.again)
        tip = (
            "Go to the next slice that a run has found, the most doubtful first;\n"
            "while a clean-up is shown, to the next that it would change"
        )
        self.next = _doer(c, "Doubtful", tip, "next_doubtful", volume.next_doubtful)
        tip = "Runs stop at this slice, itself included"
        self.stop_here = _doer(c, "Stop here", tip, "stop_here", volume.toggle_stop)
        self.stop_here.setCheckable(True)
        self.collect = QCheckBox("Collect")
        self.collect.setToolTip(
            "Keep proposals open when the next one is drawn: several on one slice are several objects of one run,\n"
            "one on each of several slices are key slices of one object"
        )
        self.way = WayPanel()
        self.along = QComboBox()
        self.along.addItems([DEPTH, TIME])
        self.along.setToolTip("What a run goes along")
        tip = "Accept what is proposed here, and draw the same prompts on the next frame for the same objects"
        self.copy = _doer(c, "Copy to next frame", tip, "copy_on", volume.copy_to_next_frame)
        self.rules, self.clean_up = RulesPanel(), CleanUpPanel()

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(5)
        for widget in (
            self.strip,
            self.range,
            side_by_side(self.propagate, self.stop),
            side_by_side(self.again, self.next),
            side_by_side(self.stop_here, self.collect),
            self._ways(),
            folding("Rules", self.rules),
            folding("Clean up", self.clean_up),
        ):
            layout.addWidget(widget)

    def _ways(self) -> QWidget:
        made = QWidget()
        form = QFormLayout(made)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Way", self.way)
        form.addRow(self.along)
        form.addRow(self.copy)
        return made

    def _connect(self) -> None:
        c, volume = self._c, self._v
        c.proposals.ahead.changed.connect(self.show_ready)
        self.strip.chosen.connect(lambda at: c.attempt(lambda: volume.go(at)))
        self.range.chosen.connect(lambda first, last: c.attempt(lambda: volume.set_range(first, last)))
        self.range.from_here.connect(lambda: c.attempt(volume.range_from_here))
        self.range.to_here.connect(lambda: c.attempt(volume.range_to_here))
        self.way.chosen.connect(lambda way: volume.choose(replace(volume.options, way=way)))
        self.along.activated.connect(lambda i: volume.choose(replace(volume.options, in_time=bool(i))))
        self.collect.clicked.connect(lambda on: volume.choose(replace(volume.options, collect=on)))
        self.rules.prompted.connect(lambda how: volume.choose(replace(volume.options, prompting=how)))
        self.rules.ruled.connect(lambda rules: volume.choose(replace(volume.options, rules=rules)))
        self.clean_up.shown.connect(lambda what: c.attempt(lambda: volume.look_at(what)))
        self.clean_up.applied.connect(lambda: c.attempt(volume.tidying.apply))
        self.clean_up.cancelled.connect(volume.tidying.cancel)
        volume.growing.grew.connect(self.show_strip)
        volume.review.changed.connect(self.show_strip)
        dims = c.viewer.dims.events
        for emitter in (dims.point, dims.order, dims.ndisplay):
            emitter.connect(self._on_dims)

    def _on_dims(self, event: Any = None) -> None:
        if event is not None and event.type == "point":
            self.show_strip()
            found = self._v.shown
            self.stop_here.setChecked(found is not None and found[1] in self._v.reach.stops)
        else:
            self.refresh()


def _refused(row: Row) -> dict[Feed, str]:
    """Why a model cannot be prompted in some ways."""
    reasons = {feed: why_not(row, Prompting(feed)) for feed in Feed}
    return {feed: reason for feed, reason in reasons.items() if reason}


def _doer(controller: Controller, text: str, tip: str, name: str, act: Callable[[], Any]) -> QPushButton:
    """A button for an action that may fail, with the key of the action `name`."""
    made = button(text, tip, key_of(name), lambda: controller.attempt(act))
    made.setText(short_key(made.text()))
    return made


def _enable(*widgets: QWidget, on: bool) -> None:
    for widget in widgets:
        widget.setEnabled(on)
