"""What is shown of encoded slices: the row that prepares a volume, and the window of how much the store may take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_medsam.embeddings import Level
from napari_medsam.models.checkpoints.parts import amount
from napari_medsam.widgets.longrun import slices
from napari_medsam.widgets.panels import NARROW, button
from napari_medsam.widgets.prefetch import Ahead
from napari_medsam.widgets.status_line import StatusLine
from napari_medsam.widgets.storage import KEPT, NOTHING, Choice, Filled

AHEAD = {
    Ahead.NEIGHBOURS: "the slices next to the shown one",
    Ahead.VOLUME: "all slices, in idle time",
    Ahead.OFF: "nothing but the shown slice",
}
MOST_MB, MOST_GB = 1 << 20, 1 << 14
NO_DEVICE = "not used: no model is on a GPU"


class PreparePanel(QWidget):
    """Prepare volume, with its progress, or stop it; and the way to the store's window."""

    started = Signal()
    stopped = Signal()
    opened = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._running = False
        tip = "Encode all slices of this view, so that prompts on them are answered at once: now, and on other days"
        self.prepare = button("Prepare volume", tip, "", self._act)
        self.bar = QProgressBar()
        self.bar.setFormat("%v of %m")
        self.bar.setSizePolicy(NARROW, QSizePolicy.Policy.Preferred)
        self.bar.setVisible(False)
        tip = "How much memory and disk encoded slices take; to clear them; what is encoded ahead"
        self.more = button("Encoded slices ...", tip, "", self.opened.emit)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.prepare, 1)
        layout.addWidget(self.bar, 1)
        layout.addWidget(self.more, 1)

    def setValue(self, *, ready: bool, running: bool, done: int, total: int) -> None:
        """Offer to prepare when there is an image, or to stop what is `done` so far of `total` slices."""
        self._running = running
        self.prepare.setText("Stop" if running else "Prepare volume")
        self.prepare.setEnabled(ready or running)
        self.bar.setVisible(running)
        self.more.setVisible(not running)
        self.bar.setRange(0, max(total, 1))
        self.bar.setValue(done)

    def _act(self) -> None:
        (self.stopped if self._running else self.started).emit()


class StoreDialog(QDialog):
    """The window of the store: budgets, what is held, and to clear it. It keeps no state but what it shows.

    Parameters
    ----------
    parent : QWidget
    """

    chosen = Signal(object)
    """A `Choice`."""
    ahead = Signal(str)
    live = Signal(bool)
    cleared_memory = Signal()
    cleared_device = Signal()
    cleared_disk = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Encoded slices")
        self._choice = Choice()
        self._make_parts()
        self._lay_out()
        self._connect()

    def setValue(self, choice: Choice, ahead: str, *, live: bool) -> None:
        """Show what is set."""
        self._choice = choice
        widgets: tuple[QWidget, ...] = (
            self.memory, self.device, self.disk, self.disk_size, self.prefetch, self.follow
        )  # fmt: skip
        for widget in widgets:
            widget.blockSignals(True)
        self.memory.setValue(choice.memory_mb)
        self.device.setValue(choice.device_mb)
        self.disk.setCurrentText(choice.disk)
        self.disk_size.setValue(choice.disk_gb)
        self.prefetch.setCurrentIndex(max(self.prefetch.findData(ahead), 0))
        self.follow.setChecked(live)
        for widget in widgets:
            widget.blockSignals(False)
        for each in (self.disk_size, self.clear_disk, self.browse):
            each.setEnabled(choice.disk != NOTHING)

    def value(self) -> Choice:
        """What is set."""
        return replace(
            self._choice,
            memory_mb=self.memory.value(),
            device_mb=self.device.value(),
            disk=self.disk.currentText(),
            disk_gb=self.disk_size.value(),
        )

    def show_filled(self, filled: Filled) -> None:
        """Show how full the store is."""
        usage = filled.usage
        self.held.setText(_said(usage.host))
        self.held_on_disk.setText("not used" if usage.disk is None else _said(usage.disk))
        self.folder.setText(filled.folder)
        self.folder.setToolTip(filled.folder)
        self.trouble.show_line(usage.trouble, "error")
        self.trouble.setVisible(bool(usage.trouble))
        self.held_on_device.setText(NO_DEVICE if filled.device is None else _said(filled.device))
        self.clear_device.setEnabled(filled.device is not None)

    # -- inside ------------------------------------------------------------------------------------------------

    def _make_parts(self) -> None:
        self.memory, self.device = _budget(MOST_MB, " MB"), _budget(MOST_MB, " MB")
        self.device.setToolTip("Of each GPU: what is kept there need not be brought again for the next prompt")
        self.disk_size = _budget(MOST_GB, " GB")
        self.disk = QComboBox()
        self.disk.addItems(KEPT)
        self.disk.setToolTip(
            "What is kept on disk. Encoded slices hold no name, but a picture could be guessed from them:\n"
            "so only what you have prepared is, unless you say otherwise"
        )
        self.held, self.held_on_device, self.held_on_disk = QLabel(), QLabel(), QLabel()
        self.folder = QElidingLabel()
        self.folder.setElideMode(Qt.TextElideMode.ElideMiddle)
        self.folder.setSizePolicy(NARROW, QSizePolicy.Policy.Preferred)
        self.clear_memory, self.clear_disk = QPushButton("Clear memory"), QPushButton("Clear disk")
        self.clear_device = QPushButton("Clear GPU")
        self.browse = QPushButton("Folder ...")
        self.prefetch = QComboBox()
        for ahead, text in AHEAD.items():
            self.prefetch.addItem(text, ahead.value)
        self.prefetch.setToolTip("What is encoded before you ask for it, while nothing else is to be done")
        self.follow = QCheckBox("Show the mask while a box is dragged")
        self.follow.setToolTip("With models that answer in less than a sixth of a second")
        self.trouble = StatusLine()
        self.trouble.setFixedHeight(2 * self.trouble.fontMetrics().lineSpacing())
        self.trouble.setVisible(False)

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setHorizontalSpacing(12)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Memory, at most", self.memory)
        form.addRow("in use", _beside(self.held, self.clear_memory))
        form.addRow(_gap())
        form.addRow("GPU memory, at most", self.device)
        form.addRow("in use", _beside(self.held_on_device, self.clear_device))
        form.addRow(_gap())
        form.addRow("Keep on disk", self.disk)
        form.addRow("at most", self.disk_size)
        form.addRow("in use", _beside(self.held_on_disk, self.clear_disk))
        form.addRow("in", _beside(self.folder, self.browse))
        form.addRow(self.trouble)
        form.addRow(_gap())
        form.addRow("Encode ahead", self.prefetch)
        form.addRow(self.follow)
        for row in range(form.rowCount()):
            item = form.itemAt(row, QFormLayout.ItemRole.LabelRole)
            label = None if item is None else item.widget()
            if label is not None:
                label.setMinimumWidth(label.sizeHint().width() + 8)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.close)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addStretch(1)
        layout.addWidget(buttons)
        self.setMinimumWidth(520)

    def _connect(self) -> None:
        for budget in (self.memory, self.device, self.disk_size):
            budget.valueChanged.connect(self._choose)
        self.disk.activated.connect(self._choose)
        self.browse.clicked.connect(self._browse)
        self.clear_memory.clicked.connect(lambda: self.cleared_memory.emit())
        self.clear_device.clicked.connect(lambda: self.cleared_device.emit())
        self.clear_disk.clicked.connect(lambda: self.cleared_disk.emit())
        self.prefetch.activated.connect(lambda i: self.ahead.emit(self.prefetch.itemData(i)))
        self.follow.clicked.connect(lambda on: self.live.emit(on))

    def _choose(self, _: Any = None) -> None:
        self.chosen.emit(self.value())

    def _browse(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Folder for encoded slices", self.folder.text())
        if path:
            self.chosen.emit(replace(self.value(), folder=path))


def _said(level: Level) -> str:
    """How full a tier is, in words."""
    count = f", {slices(level.entries)}" if level.entries else ""
    return f"{amount(level.used)} of {amount(level.budget)}{count}"


def _budget(most: int, unit: str) -> QSpinBox:
    box = QSpinBox()
    box.setRange(0, most)
    box.setSuffix(unit)
    box.setSpecialValueText("a part of what is free")
    box.setKeyboardTracking(False)
    return box


def _gap() -> QWidget:
    """A little room between what is of one tier and what is of the next."""
    made = QWidget()
    made.setFixedHeight(2)
    return made


def _beside(text: QLabel, made: QPushButton) -> QWidget:
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(text, 1)
    layout.addWidget(made)
    return row
