"""A field for the number of a slice, which may be left blank."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QValidator
from qtpy.QtWidgets import QLineEdit, QSpinBox

BLANK = -1
"""Its value where it is blank."""
MOST = 999_999
"""More than any stack has, so that what is typed is never cut short to another number."""


class SliceBox(QSpinBox):
    """Takes a number when it is done with, and a blank; what is being typed is never replaced.

    Parameters
    ----------
    blank : str
        What is shown where it is blank.
    """

    def __init__(self, blank: str) -> None:
        super().__init__()
        self.setRange(BLANK, MOST)
        self.setSpecialValueText(blank)
        self.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)  # there is little room
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setKeyboardTracking(False)
        self.setMinimumWidth(20)
        self._shown = BLANK
        self._all = QTimer(self)
        self._all.setSingleShot(True)
        self._all.timeout.connect(self.selectAll)
        self.editingFinished.connect(self._finish)

    @property
    def editing(self) -> bool:
        """Whether something is typed and not yet taken."""
        return self._line.isModified()

    def setShown(self, value: int) -> None:
        """Show a slice, or BLANK, without saying so; later, where the user is just typing."""
        self._shown = value
        if not self.editing:
            self.blockSignals(True)
            self.setValue(value)
            self.blockSignals(False)

    # -- Qt ----------------------------------------------------------------------------------------------------

    def validate(self, text: Any, at: int) -> Any:
        """Nothing at all is a blank."""
        if not text.strip():
            return QValidator.State.Acceptable, text, at
        return super().validate(text, at)

    def valueFromText(self, text: Any) -> int:
        """The number that is typed."""
        return int(super().valueFromText(text)) if text.strip() else BLANK

    def focusInEvent(self, event: Any) -> None:
        """What is typed takes the place of what is there, "start" as well as a number."""
        super().focusInEvent(event)
        self._all.start(0)  # after the click that has brought the focus

    # -- inside ------------------------------------------------------------------------------------------------

    @property
    def _line(self) -> QLineEdit:
        line = self.lineEdit()
        assert line is not None  # a spin box always has one
        return line

    def _finish(self) -> None:
        """What was typed has been said; show what came of it."""
        self._line.setModified(False)
        self.setShown(self._shown)
