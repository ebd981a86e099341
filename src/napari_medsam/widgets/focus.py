"""The keyboard goes back to the canvas once the user is done with a field of the dock, so that the keys act again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QAbstractSpinBox, QApplication, QComboBox, QLineEdit, QWidget

FIELDS = (QComboBox, QLineEdit, QAbstractSpinBox)
STEPS = (Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_PageUp, Qt.Key.Key_PageDown, Qt.Key.Key_Home, Qt.Key.Key_End)
"""They choose another entry of a combo that is not open, and the next of them may be pressed at once."""
KNOWN = "gives_the_keys_back"
"""Property of a field that is followed already."""


class KeysBack(QObject):
    """Follows the fields of a dock: combos, lines and spin boxes, also those that are made later.

    The keyboard goes to the canvas when an entry was chosen, and after Enter and Escape. Escape takes back what was
    typed. Letters that a field has no use for go on to the window: a combo would search its entries for them, and so
    change the choice.

    Parameters
    ----------
    dock : QWidget
        It owns this.
    canvas : callable
        Gives the widget of the canvas, None where there is none.
    """

    def __init__(self, dock: QWidget, canvas: Callable[[], Any]) -> None:
        super().__init__(dock)
        self._dock = dock
        self._canvas = canvas
        self._stepping = False
        self._field: QWidget | None = None
        self._before = ""
        app: Any = QApplication.instance()
        app.focusChanged.connect(self._on_focus)

    def eventFilter(self, field: Any, event: Any) -> bool:
        """Look at the keys before the field does."""
        if event.type() == QEvent.Type.KeyPress:
            return self._on_key(field, event)
        if event.type() in (QEvent.Type.KeyRelease, QEvent.Type.MouseButtonPress, QEvent.Type.Wheel):
            self._stepping = False
        return False

    # -- inside ------------------------------------------------------------------------------------------------

    def _on_focus(self, _old: Any, now: Any) -> None:
        self._stepping = False
        # a menu, a list of entries, or another window: the user comes back to what was begun
        if now is None or now.window() is not self._dock.window() or now is self._field:
            return
        ours = isinstance(now, FIELDS) and self._dock.isAncestorOf(now)
        self._field = now if ours else None
        if ours:
            self._follow(now)
            self._before = now.text() if isinstance(now, QLineEdit) else ""

    def _follow(self, field: Any) -> None:
        if field.property(KNOWN):
            return
        field.setProperty(KNOWN, True)
        field.installEventFilter(self)
        (field.activated if isinstance(field, QComboBox) else field.editingFinished).connect(self._finish)

    def _finish(self) -> None:
        """An entry was chosen or Enter pressed, unless the field has lost the keyboard already."""
        if self._field is not None and self._field is QApplication.focusWidget() and not self._stepping:
            self._leave(self._field)

    def _leave(self, field: QWidget) -> None:
        canvas = self._canvas()
        if canvas is None or canvas.window() is not field.window():
            field.clearFocus()  # a dock that floats passes all keys on to the viewer, and so does napari's window
        if canvas is not None:
            canvas.setFocus()

    def _on_key(self, field: Any, event: Any) -> bool:
        """Whether a key is kept from a field; one that is not accepted goes on to what is around the field."""
        if event.key() == Qt.Key.Key_Escape:
            self._take_back(field)
            self._leave(field)
            event.accept()
            return True
        self._stepping = event.key() in STEPS and not event.modifiers() & Qt.KeyboardModifier.AltModifier
        if _is_of_use(field, event):
            return False
        event.ignore()
        return True

    def _take_back(self, field: Any) -> None:
        """Show what was there before the user typed."""
        if isinstance(field, QAbstractSpinBox):
            spin: Any = field
            spin.lineEdit().setText(spin.textFromValue(spin.value()))
        elif isinstance(field, QLineEdit):
            field.setText(self._before)


def _is_of_use(field: Any, event: Any) -> bool:
    """Whether a field takes what a key types; keys that type nothing are left to it."""
    text = event.text()
    if isinstance(field, QComboBox):
        return not text.isprintable() or not text.strip()  # the space bar opens it
    if isinstance(field, QAbstractSpinBox):
        spin: Any = field
        copies = event.modifiers() & (Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.MetaModifier)
        return bool(copies) or not text.isalpha() or text in spin.suffix()
    return True
