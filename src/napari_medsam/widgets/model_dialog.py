"""The window in which a model is chosen: what there is, what it needs, where it runs. A view: it keeps no state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from qtpy.QtCore import QEvent, Qt, Signal
from qtpy.QtGui import QBrush, QColor
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSplitter,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medsam.models.compute import PRECISIONS
from napari_medsam.widgets.model_entry import Entry
from napari_medsam.widgets.panels import NARROW

NAME = Qt.ItemDataRole.UserRole
COLUMNS = ("Model", "State", "Takes", "Time")
WIDTHS = (0, 190, 155, 50)
"""Of the columns, in pixels; the first takes what is left."""
WEIGHTS_FILTER = "Weights (*.pth *.pt *.safetensors *.bin *.ckpt);;All files (*)"


@dataclass(frozen=True)
class Colors:
    """Colours of texts, legible on the theme's background; Qt's own blue of links is not on the dark one."""

    good: str
    missing: str
    wrong: str
    link: str


ON_DARK = Colors("#4caf50", "#d9a400", "#ff6b5e", "#5b9bf5")
ON_LIGHT = Colors("#1f7a33", "#8a6100", "#c02a1c", "#1f5fbf")


class ModelDialog(QDialog):
    """All models with their state, licence and needs; files of weights may be dropped onto it.

    Signals carry the model's short name; `file` carries a path.
    """

    used = Signal(str)
    fetched = Signal(str)
    stopped = Signal()
    opened = Signal(str)
    file = Signal(str)
    folder = Signal(str)
    device = Signal(str)
    precision = Signal(str)
    returned = Signal()
    """The user has come back to this window, and may have brought a file."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Models")
        self.setAcceptDrops(True)
        self.resize(1080, 640)
        self._entries: dict[str, Entry] = {}
        self._shown: list[Entry] = []
        self._make_parts()
        self._lay_out()
        self._connect()

    def setValue(self, entries: Iterable[Entry], used: str) -> None:
        """Show these models, and which one is in use."""
        fresh = list(entries)
        chosen = self.value() or used
        self._entries = {entry.row.name: entry for entry in fresh}
        if [entry.row for entry in fresh] != [entry.row for entry in self._shown]:
            self._fill(fresh, chosen)
        self._shown = fresh
        for item in self._lines():
            _show(item, self._entries[_name_of(item)], self._colors, in_use=_name_of(item) == used)
        self.search()
        self._show_details()

    def value(self) -> str:
        """The short name of the selected model, "" for none."""
        item = self.tree.currentItem()
        return "" if item is None else _name_of(item)

    def set_places(self, folder: str, devices: Sequence[str], device: str, precision: str) -> None:
        """Show where weights are, and where models run."""
        self.folder_label.setText(folder)
        self.folder_label.setToolTip(folder)
        for combo, offered, value in ((self.devices, devices, device), (self.precisions, PRECISIONS, precision)):
            combo.blockSignals(True)
            combo.clear()
            combo.addItems(list(offered) if value in offered else [*offered, value])
            combo.setCurrentText(value)
            combo.blockSignals(False)

    def set_progress(self, text: str, done: int = 0, total: int = 0) -> None:
        """Show how far a download is; "" for none."""
        self.going.setVisible(bool(text))
        # in thousands, since Qt counts in 32 bits
        self.progress.setRange(0, total // 1000)
        self.progress.setValue(done // 1000)
        self.progress_label.setText(text)
        self._show_details()

    def say(self, text: str, *, wrong: bool = False) -> None:
        """Show a line about the last action."""
        self.message.setText(text)
        self.message.setStyleSheet(f"color: {self._colors.wrong};" if wrong else "")

    def search(self) -> None:
        """Hide what does not hold the words in the search line."""
        words = self.words.text().lower().split()
        for item in self._lines():
            entry = self._entries[_name_of(item)]
            item.setHidden(not all(word in entry.searched for word in words))
        for family in self._families():
            family.setHidden(all(family.child(j).isHidden() for j in range(family.childCount())))

    def dragEnterEvent(self, event: Any) -> None:
        """Take files."""
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: Any) -> None:
        """A file that is dropped is recognised by its content."""
        paths = [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
        event.acceptProposedAction()
        self.file.emit(paths[0])

    def changeEvent(self, event: Any) -> None:
        """Notice that the user comes back."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ActivationChange and self.isActiveWindow():
            self.returned.emit()

    # -- inside ------------------------------------------------------------------------------------------------

    @property
    def _colors(self) -> Colors:
        return ON_LIGHT if self.tree.palette().base().color().lightness() > 127 else ON_DARK

    def _make_parts(self) -> None:
        self.words = QLineEdit()
        self.words.setPlaceholderText("Search: name, organ, licence, ...")
        self.words.setClearButtonEnabled(True)
        self.tree = _tree()
        self.details = QLabel()
        self.details.setWordWrap(True)
        self.details.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self.details.setOpenExternalLinks(True)
        self.details.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.use_button = _button("Use", "Load it, and use it for the next masks")
        self.fetch_button = _button("Fetch", "Fetch the weights into the weights folder, then use them")
        self.page_button = _button("Open its page", "Get the file by hand, then choose it or drop it here")
        tip = "Use weights on this machine, where they are; the file tells whose they are. It can also be dropped here"
        self.file_button = _button("Choose file ...", tip)
        self.stop_button = _button("Stop", "What is there is kept; the next try goes on from it")
        self.progress, self.progress_label = QProgressBar(), QLabel()
        self.progress.setTextVisible(False)
        self.folder_label = QLabel()
        self.folder_label.setSizePolicy(NARROW, self.folder_label.sizePolicy().verticalPolicy())
        self.folder_button = _button("Change ...", "Where weights are looked for first, and what is fetched is kept")
        self.devices, self.precisions = QComboBox(), QComboBox()
        self.devices.setToolTip("Where models run. auto: the first GPU, else the CPU")
        self.precisions.setToolTip("Of the encoder. auto: bfloat16 where the hardware has it, else what it has")
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)

    def _lay_out(self) -> None:
        side = QWidget()
        column = QVBoxLayout(side)
        column.setContentsMargins(8, 0, 0, 0)
        column.addWidget(_scrolled(self.details), 1)
        for pair in ((self.use_button, self.fetch_button), (self.page_button, self.file_button)):
            row = QHBoxLayout()
            for button in pair:
                row.addWidget(button, 1)
            column.addLayout(row)
        split = QSplitter()
        split.addWidget(self.tree)
        split.addWidget(side)
        split.setChildrenCollapsible(False)
        split.setSizes([700, 360])
        self.going = QWidget()
        going = QHBoxLayout(self.going)
        going.setContentsMargins(0, 0, 0, 0)
        going.addWidget(self.progress_label)
        going.addWidget(self.progress, 1)
        going.addWidget(self.stop_button)
        layout = QVBoxLayout(self)
        layout.addWidget(self.words)
        layout.addWidget(split, 1)
        layout.addWidget(self.going)
        layout.addWidget(self.message)
        layout.addLayout(self._places())
        self.set_progress("")

    def _places(self) -> QFormLayout:
        where = QHBoxLayout()
        where.addWidget(self.folder_label, 1)
        where.addWidget(self.folder_button)
        runs = QHBoxLayout()
        runs.addWidget(self.devices, 1)
        runs.addWidget(QLabel("Precision"))
        runs.addWidget(self.precisions, 1)
        form = QFormLayout()
        form.addRow("Weights folder", where)
        form.addRow("Device", runs)
        return form

    def _connect(self) -> None:
        self.words.textChanged.connect(lambda _: self.search())
        self.tree.currentItemChanged.connect(lambda *_: self._show_details())
        self.tree.itemDoubleClicked.connect(lambda *_: self._act(self.used, self.use_button))
        self.use_button.clicked.connect(lambda: self._act(self.used, self.use_button))
        self.fetch_button.clicked.connect(lambda: self._act(self.fetched, self.fetch_button))
        self.page_button.clicked.connect(lambda: self._act(self.opened, self.page_button))
        self.file_button.clicked.connect(self._choose_file)
        self.stop_button.clicked.connect(self.stopped)
        self.folder_button.clicked.connect(self._choose_folder)
        self.devices.textActivated.connect(self.device)
        self.precisions.textActivated.connect(self.precision)

    def _act(self, signal: Any, button: QPushButton) -> None:
        if self.value() and button.isEnabled():
            signal.emit(self.value())

    def _fill(self, entries: Iterable[Entry], chosen: str) -> None:
        self.tree.clear()
        families: dict[str, QTreeWidgetItem] = {}
        for entry in entries:
            family = entry.row.family
            if family not in families:
                families[family] = _heading(self.tree, family)
            item = QTreeWidgetItem(families[family])
            item.setData(0, NAME, entry.row.name)
            if entry.row.name == chosen:
                self.tree.setCurrentItem(item)
        self.tree.expandAll()

    def _families(self) -> list[Any]:
        return [self.tree.topLevelItem(i) for i in range(self.tree.topLevelItemCount())]

    def _lines(self) -> list[QTreeWidgetItem]:
        return [family.child(j) for family in self._families() for j in range(family.childCount())]

    def _show_details(self) -> None:
        entry = self._entries.get(self.value())
        self.details.setText("" if entry is None else _details(entry, self._colors.link))
        self.use_button.setEnabled(entry is not None and entry.ready)
        self.fetch_button.setText((entry.fetch if entry else "") or "Fetch")
        self.fetch_button.setEnabled(entry is not None and bool(entry.fetch) and self.going.isHidden())
        self.page_button.setEnabled(entry is not None and bool(entry.page))

    def _choose_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Choose weights", "", WEIGHTS_FILTER)
        if path:
            self.file.emit(path)

    def _choose_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Folder of weights", self.folder_label.text())
        if path:
            self.folder.emit(str(Path(path)))


def _tree() -> QTreeWidget:
    tree = QTreeWidget()
    tree.setColumnCount(len(COLUMNS))
    tree.setHeaderLabels(list(COLUMNS))
    tree.setRootIsDecorated(False)
    tree.setIndentation(12)
    tree.setUniformRowHeights(True)
    tree.setStyleSheet("QTreeWidget::item { height: 19px; }")
    header: Any = tree.header()
    header.setStretchLastSection(False)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    for column, width in enumerate(WIDTHS[1:], start=1):
        tree.setColumnWidth(column, width)
    titles: Any = tree.headerItem()
    titles.setToolTip(3, "Time to encode a slice on a CPU, as a part of SAM ViT-B's")
    return tree


def _heading(tree: QTreeWidget, family: str) -> QTreeWidgetItem:
    item = QTreeWidgetItem(tree, [family])
    item.setFlags(Qt.ItemFlag.ItemIsEnabled)
    item.setFirstColumnSpanned(True)
    font = item.font(0)
    font.setBold(True)
    item.setFont(0, font)
    return item


def _name_of(item: QTreeWidgetItem) -> str:
    return str(item.data(0, NAME) or "")


def _show(item: QTreeWidgetItem, entry: Entry, colors: Colors, *, in_use: bool) -> None:
    row = entry.row
    time = f"{row.speed:.2g}" if row.speed else ""
    font = item.font(0)
    font.setBold(in_use)
    title = row.title.removeprefix(f"{row.family}: ")  # which is said above it
    for column, text in enumerate((title, entry.short, row.prompts_in_words, time)):
        item.setText(column, text)
        item.setFont(column, font)
    item.setToolTip(0, row.title)
    item.setToolTip(1, entry.state)
    color = colors.wrong if entry.wrong else colors.good if entry.ready else colors.missing
    item.setForeground(1, QBrush(QColor(color)))


def _details(entry: Entry, color: str) -> str:
    row = entry.row
    facts = [("State", entry.state), ("Licence", row.licence), ("Takes", row.prompts_in_words)]
    facts += [(f"A {kind.value}", text) for kind, text in row.stand_ins.items()]
    facts += [("Labels", ", ".join(row.classes))] if row.classes else []
    facts += [("Sees", f"{row.input_size} x {row.input_size} pixels")] if row.input_size else []
    facts += [("Memory", f"{row.memory_mb} MB for a slice, on a CPU")] if row.memory_mb else []
    facts += [("Needs beside", row.base)] if row.base else []
    facts += [("File", file.name) for file in row.files]
    lines = "".join(f"<tr><td><b>{name}</b>&nbsp;&nbsp;</td><td>{escape(text)}</td></tr>" for name, text in facts)
    link = f'<p><a style="color: {color}" href="{row.source}">{row.source}</a></p>' if row.source else ""
    return f"<h3>{escape(row.title)}</h3><p>{escape(row.about)}</p><table>{lines}</table>{link}"


def _button(text: str, tip: str) -> QPushButton:
    made = QPushButton(text)
    made.setToolTip(tip)
    made.setAutoDefault(False)  # Enter in the search line must not fetch anything
    return made


def _scrolled(widget: QWidget) -> QScrollArea:
    area = QScrollArea()
    area.setWidget(widget)
    area.setWidgetResizable(True)
    area.setFrameShape(QScrollArea.Shape.NoFrame)
    return area
