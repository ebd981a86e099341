"""The question whose weights a file holds, where neither its content nor its name tells."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_medsam.models.row import Row


class WhoseWeights(QDialog):
    """A button for each model that a file fits; none is the default, since the wrong one gives poor masks.

    Parameters
    ----------
    path : str
        The file.
    rows : sequence of Row
        The models that it fits.
    parent : QWidget, optional
    """

    answered = Signal(str, str)
    """The file, and the short name of the model that the user chose."""

    def __init__(self, path: str, rows: Sequence[Row], parent: QWidget | None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Whose weights are these?")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._path = path
        layout = QVBoxLayout(self)
        layout.addWidget(_words(path, rows))
        self.buttons: dict[str, QPushButton] = {}
        for row in rows:
            layout.addWidget(self._button(row))
        cancel = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        cancel.rejected.connect(self.reject)
        layout.addWidget(cancel)

    def _button(self, row: Row) -> QPushButton:
        made = self.buttons[row.name] = QPushButton(row.title)
        made.setToolTip(row.about)
        made.setAutoDefault(False)
        made.clicked.connect(partial(self._answer, row.name))
        return made

    def _answer(self, name: str, checked: bool = False) -> None:
        self.answered.emit(self._path, name)
        self.accept()


def _words(path: str, rows: Sequence[Row]) -> QLabel:
    titles = [row.title for row in rows]
    named = " and ".join([", ".join(titles[:-1]), titles[-1]]) if len(titles) > 1 else titles[0]
    label = QLabel(
        f"{Path(path).name} fits {named} alike. They see images differently, so the wrong one gives poor masks.\n"
        "Which is it? The answer is remembered for this file."
    )
    label.setWordWrap(True)
    label.setMinimumWidth(420)
    return label
