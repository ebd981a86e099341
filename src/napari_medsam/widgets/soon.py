"""To do something once, when what runs now has returned to the event loop: soon, or after a while."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QObject, Qt, QTimer, Signal


class Soon(QObject):
    """Calls `act` once, however often it was started meanwhile.

    Unlike a timer of 0 ms it comes before what is to be painted: a model is asked before the canvas shows the prompt,
    which takes as long as some models' answer.

    Parameters
    ----------
    parent : QObject
    act : callable
    """

    _due = Signal()

    def __init__(self, parent: QObject, act: Callable[[], None]) -> None:
        super().__init__(parent)
        self._act = act
        self._waiting = False
        self._due.connect(self._run, Qt.ConnectionType.QueuedConnection)  # type: ignore[call-arg]

    def start(self) -> None:
        """Have it done soon."""
        if not self._waiting:
            self._waiting = True
            self._due.emit()

    def stop(self) -> None:
        """Do not do it."""
        self._waiting = False

    def isActive(self) -> bool:
        """Whether it is still to be done."""
        return self._waiting

    def _run(self) -> None:
        if self._waiting:
            self._waiting = False
            self._act()


def timer(parent: QObject, milliseconds: int, act: Callable[[], None]) -> QTimer:
    """Calls `act` once, so long after it was last started."""
    made = QTimer(parent)
    made.setSingleShot(True)
    made.setInterval(milliseconds)
    made.timeout.connect(act)
    return made
