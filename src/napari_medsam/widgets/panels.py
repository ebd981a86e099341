"""The small parts of the dock. Each shows what it is given and says what the user chose; none keeps state."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from qtpy.QtCore import QEvent, QPointF, Qt, QTimer, Signal
from qtpy.QtGui import (
    QColor,
    QIcon,
    QPainter,
    QPalette,
    QPixmap,
    QPolygonF,
)
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QWidget,
)
from superqt import QCollapsible

from napari_medsam.intensity import TYPED, Window
from napari_medsam.widgets.windows import CHOICES

NARROW = QSizePolicy.Policy.Ignored
"""A text that grows must not widen the dock: the canvas would shrink under the mouse and move a box being drawn."""
UNFOLD_MS, SETTLE_MS = 200, 50
"""How long a section takes to unfold, and the layout around it to follow."""
MOVED = "moved"
"""Property of a timer: the heights of a section when it last went off."""


class LayerCombo(QComboBox):
    """A choice among layers, by identity; follows inserts, removals and renames when `offer` is called.

    Parameters
    ----------
    nothing : str
        Text of the first entry, which stands for None.
    """

    chosen = Signal(object)

    def __init__(self, nothing: str) -> None:
        super().__init__()
        self._nothing = nothing
        self._layers: list[Any] = []
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        self.activated.connect(lambda i: self.chosen.emit(self.value()))

    def offer(self, layers: Iterable[Any], value: Any) -> None:
        """Offer these layers and show `value` as the one in use."""
        self._layers = list(layers)
        self.blockSignals(True)
        self.clear()
        self.addItem(self._nothing)
        for layer in self._layers:
            self.addItem(layer.name)
        at = next((i for i, layer in enumerate(self._layers) if layer is value), -1)
        self.setCurrentIndex(at + 1)
        self.setToolTip(self.currentText())
        self.blockSignals(False)

    def value(self) -> Any:
        """The chosen layer, None for none."""
        at = self.currentIndex() - 1
        return self._layers[at] if 0 <= at < len(self._layers) else None


class WindowPanel(QWidget):
    """The intensity window: a choice of presets, width and level, and the toggle for what the model sees."""

    chosen = Signal(str, float, float)
    seen = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self.preset = QComboBox()
        self.preset.addItems(CHOICES)
        self.preset.setToolTip("Which intensities the model sees as black to white. The image layer is not changed.")
        self.eye = QPushButton("Model view")
        self.eye.setCheckable(True)
        self.eye.setMinimumWidth(20)
        self.eye.setToolTip("Show exactly what the model sees, as a layer of its own")
        self.width_box, self.level_box = _spin("Width of the window"), _spin("Level: the middle of the window")
        self.width_box.setMinimum(1e-12)
        self._window = Window(0, 1)
        self.preset.activated.connect(self._choose_preset)
        self.eye.toggled.connect(self.seen)
        for box in (self.width_box, self.level_box):
            box.valueChanged.connect(self._choose_typed)

    def rows(self) -> list[tuple[str, QWidget]]:
        """The rows of the dock's form."""
        return [
            ("Window", side_by_side(self.preset, self.eye)),
            ("W / L", side_by_side(self.width_box, self.level_box)),
        ]

    def setValue(self, name: str, window: Window, *, seen: bool) -> None:
        """Show a choice and its bounds."""
        self._window = window
        for widget in (self.preset, self.width_box, self.level_box, self.eye):
            widget.blockSignals(True)
        self.preset.setCurrentText(name)
        for box, value in ((self.width_box, window.width), (self.level_box, window.level)):
            box.setDecimals(_decimals(window.width, value))
            box.setSingleStep(max(window.width / 50, 1e-4))
            box.setValue(value)
        self.eye.setChecked(seen)
        for widget in (self.preset, self.width_box, self.level_box, self.eye):
            widget.blockSignals(False)

    def value(self) -> tuple[str, Window]:
        """The choice and its bounds."""
        return self.preset.currentText(), self._window

    def _choose_preset(self) -> None:
        self.chosen.emit(self.preset.currentText(), self._window.low, self._window.high)

    def _choose_typed(self) -> None:
        half = self.width_box.value() / 2
        self.chosen.emit(TYPED, self.level_box.value() - half, self.level_box.value() + half)


class LabelPanel(QWidget):
    """The tools of a model that labels by itself.

    Parameters
    ----------
    start : callable
        Gets "slice" or "volume".
    stop : callable
    """

    def __init__(self, start: Callable[[str], Any], stop: Callable[[], Any]) -> None:
        super().__init__()
        tip = "Label the axial slice that the sliders stand at, whatever view is shown"
        self.slice = button("Label slice", tip, "", lambda: start("slice"))
        tip = "Label all axial slices, of the shown time point; prompts and scrolling go first. It is one step to undo"
        self.volume = button("Label volume", tip, "", lambda: start("volume"))
        self.stop = button("Stop", "Stop, and keep the slices that are done", "", stop)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for made, stretch in ((self.slice, 5), (self.volume, 6), (self.stop, 3)):
            layout.addWidget(made, stretch)

    def setValue(self, *, ready: bool, running: bool) -> None:
        """Offer to start, or to stop what is running; or nothing while it is not `ready`."""
        self.slice.setEnabled(ready and not running)
        self.volume.setEnabled(ready and not running)
        self.stop.setEnabled(running)


class ObjectPanel(QWidget):
    """Which object accepted masks go to, its name, and the way to refine what it has.

    Parameters
    ----------
    key : str
        Of refining.
    """

    chosen = Signal(object)
    named = Signal(str)
    refined = Signal()

    def __init__(self, key: str) -> None:
        super().__init__()
        tip = (
            "Take up what the object has on this slice: clicks and strokes change it, Accept puts it in its place.\n"
            'The object chosen here; where that is "New object", the one accepted last'
        )
        self.refine = button("Refine", tip, key, self.refined.emit)
        self.combo = QComboBox()
        self.combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.combo.setToolTip("Each accepted mask becomes a new object, or is added to the object chosen here")
        self.name = QLineEdit()
        self._values: list[int | None] = [None]
        self.combo.activated.connect(lambda i: self.chosen.emit(self._values[i]))
        self.name.editingFinished.connect(lambda: self.named.emit(self.name.text().strip()))

    def rows(self) -> list[tuple[str, QWidget]]:
        """The rows of the dock's form."""
        row = QWidget()
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.combo, 1)
        layout.addWidget(self.refine)
        return [("Object", row), ("Name", self.name)]

    def setValue(self, names: dict[int, str], target: int | None, new_name: str) -> None:
        """Show the objects and the one in use."""
        self._values = [None, *sorted(names)]
        self.combo.blockSignals(True)
        self.combo.clear()
        self.combo.addItems(["New object", *(f"{v}  {names[v]}" for v in self._values if v is not None)])
        self.combo.setCurrentIndex(self._values.index(target) if target in self._values else 0)
        self.combo.blockSignals(False)
        if not self.name.hasFocus():
            self.name.setText(new_name if target is None else names.get(target, ""))
        self.name.setPlaceholderText("name of the next object" if target is None else "name of this object")

    def value(self) -> int | None:
        """The object in use, None for a new one each time."""
        return self._values[self.combo.currentIndex()]


class ProposalPanel(QWidget):
    """The score of the selected proposal, and its alternative masks."""

    turned = Signal()

    def __init__(self, key: str) -> None:
        super().__init__()
        self.text = QLabel()
        self.text.setSizePolicy(NARROW, QSizePolicy.Policy.Fixed)
        self.next = button("Next mask", "Turn to the model's next alternative mask", key, self.turned.emit)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text, 1)
        layout.addWidget(self.next)

    def setValue(self, score: float | None, candidate: int, count: int) -> None:
        """Show a score and which of how many candidates is in use; None for no proposal."""
        self.next.setEnabled(count > 1)
        self.text.setText("no proposal" if score is None else f"score {score:.2f}, mask {candidate + 1} of {count}")


class Fold(QCollapsible):
    """A section that folds; its triangle points right when it is folded, and has the colour of the text."""

    def __init__(self, title: str) -> None:
        super().__init__(title)
        self._draw()

    def changeEvent(self, event: Any) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.StyleChange, QEvent.Type.PaletteChange):
            self._draw()

    def _draw(self) -> None:
        colour = self.palette().color(QPalette.ColorRole.WindowText)
        self.setCollapsedIcon(_triangle(colour, ((0.3, 0.1), (0.8, 0.5), (0.3, 0.9))))
        self.setExpandedIcon(_triangle(colour, ((0.1, 0.3), (0.9, 0.3), (0.5, 0.8))))


def button(text: str, tip: str, key: str, act: Callable[[], Any]) -> QPushButton:
    """A button that shows its key."""
    made = QPushButton(f"{text}  {key}" if key else text)
    made.setToolTip(f"{tip} (key {key})" if key else tip)
    made.setMinimumWidth(20)
    made.clicked.connect(lambda: act())
    return made


def short_key(text: str) -> str:
    """A button's text with the sign of the Shift key for its name, where there is little room."""
    return text.replace("Shift-", "⇧")


def folding(title: str, content: QWidget) -> QCollapsible:
    """A section that folds, as wide as what is around it; unfolded, it is scrolled into view."""
    fold = Fold(title)
    fold.setDuration(UNFOLD_MS)
    fold.addWidget(content)
    for part, below in ((fold, 0), (fold.content(), 4)):
        layout = part.layout()
        if layout is not None:
            layout.setContentsMargins(0, 0, 0, below)
    unfolded = QTimer(fold)
    unfolded.setSingleShot(True)
    unfolded.timeout.connect(lambda: _follow_unfolding(fold, unfolded))
    fold.toggled.connect(lambda on: unfolded.start(UNFOLD_MS + SETTLE_MS) if on else unfolded.stop())
    return fold


def _follow_unfolding(fold: QCollapsible, again: QTimer) -> None:
    """Scroll a section into view, until nothing moves any more: on a busy machine it unfolds late."""
    around = fold.parentWidget()
    while around is not None and not isinstance(around, QScrollArea):
        around = around.parentWidget()
    if around is None:
        return
    # as much of it as possible, and its title in any case
    around.ensureWidgetVisible(fold.content(), 0, 0)
    around.ensureWidgetVisible(fold.toggleButton(), 0, 0)
    now = f"{fold.content().height()} {fold.height()}"
    if again.property(MOVED) != now:
        again.setProperty(MOVED, now)
        again.start(SETTLE_MS)


def side_by_side(*widgets: QWidget) -> QWidget:
    """Widgets in one row, of equal stretch."""
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(4)
    for widget in widgets:
        layout.addWidget(widget, 1)
    return row


def _triangle(colour: QColor, corners: Iterable[tuple[float, float]]) -> QIcon:
    """An icon, from corners between 0 and 1."""
    side = 64  # more than any screen needs
    picture = QPixmap(side, side)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(colour)
    painter.drawPolygon(QPolygonF([QPointF(x * side, y * side) for x, y in corners]))
    painter.end()
    return QIcon(picture)


def _decimals(width: float, value: float) -> int:
    """Enough digits to tell a hundredth of the window's width, none for whole numbers."""
    return 0 if float(value).is_integer() else max(0, min(12, 2 - math.floor(math.log10(width))))


def _spin(tip: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(-1e9, 1e9)
    box.setKeyboardTracking(False)
    box.setMinimumWidth(20)
    box.setToolTip(tip)
    return box
