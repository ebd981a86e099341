"""Clean-up of an object through the volume: worked out beside the window, shown, then written as one undo step."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_medsam.errors import LabelsError, MedsamError
from napari_medsam.geometry import Plane
from napari_medsam.masks import BoolArray
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.tidying import Tidied
from napari_medsam.session import Session
from napari_medsam.shapes import CleanUp, Operation
from napari_medsam.widgets.longrun import slices
from napari_medsam.widgets.preview import ADDED, REMOVED
from napari_medsam.widgets.proposals import Proposals
from napari_medsam.widgets.workspace import Workspace

UNITS = {"": "", "mm": " mm", "mm2": " mm²", "mm3": " mm³"}
"""Units of an operation's amount as they are written."""
Look = tuple[Tidied, list[tuple[Plane, int, BoolArray]]]
"""What an object would be, and on which slices what would come (ADDED) and go (REMOVED)."""


class Tidying(QObject):
    """What would change in an object, until it is applied or let go.

    Parameters
    ----------
    proposals : Proposals
        Has the workspace in use and the preview.
    """

    changed = Signal()
    said = Signal(str, str)
    noticed = Signal(str)
    """Why it could not be worked out."""

    def __init__(self, proposals: Proposals) -> None:
        super().__init__()
        self._proposals = proposals
        self._shown: tuple[Workspace, Tidied] | None = None
        self._worker: Any = None

    @property
    def looking(self) -> bool:
        """Whether it is being worked out what would change."""
        return self._worker is not None

    @property
    def showing(self) -> bool:
        """Whether a change is shown."""
        return self._shown is not None

    def changes(self, stack: Stack) -> Collection[int]:
        """The slices of a stack on which the change that is shown would change something."""
        if self._shown is None or self._shown[1].stack != stack:
            return ()
        return self._shown[1].masks.keys()

    def show(self, work: Workspace, value: int, at: tuple[Stack, int], cleanup: CleanUp) -> None:
        """Work out what an operation would add to an object and take from it, and show it; nothing is written.

        Parameters
        ----------
        work : Workspace
        value : int
            The object.
        at : (Stack, int)
            Its slices, and the shown one.
        cleanup : CleanUp

        Raises
        ------
        LabelsError
            The labels have been moved or replaced.
        """
        from napari.qt.threading import create_worker

        self.cancel()
        work.target.check()
        stack, position = at
        name = work.session.names.get(value, f"object {value}")
        worker = self._worker = create_worker(_looked, work.session, value, stack, cleanup, _ignore_errors=True)
        none = f"{name} {why_none(cleanup)}, so nothing would change."
        worker.returned.connect(lambda look: self._take(worker, work, look, none, position))
        worker.errored.connect(lambda error: self._fail(worker, error))
        self.said.emit(f"Looking what to change in {name} ...", "busy")
        self.changed.emit()
        worker.start()

    def apply(self) -> None:
        """Write what is shown.

        Raises
        ------
        LabelsError
            Nothing is shown, or the object has changed since.
        """
        shown = self._shown
        if shown is None:
            raise LabelsError("Nothing is shown that could be applied. Choose Show first.")
        self.cancel()
        work, tidied = shown
        work.require_place(self._proposals.viewer.layers)
        work.session.write_clean_up(tidied)
        self.said.emit(f"Changed {tidied.added + tidied.removed:,} voxels on {slices(len(tidied))}.", "ready")
        self.changed.emit()

    def cancel(self) -> None:
        """Let go of what is shown or being worked out; nothing is written."""
        if self._shown is None and self._worker is None:
            return
        self._shown = self._worker = None
        self._proposals.preview.clear_grown()
        self.said.emit("Nothing was changed.", "ready")
        self.changed.emit()

    # -- inside ------------------------------------------------------------------------------------------------

    def _take(self, worker: Any, work: Workspace, look: Look, none: str, position: int) -> None:
        """Show what was worked out, unless it is not wanted any more; `none` is said where nothing would change."""
        if worker is not self._worker:
            return
        self._worker = None
        tidied, changes = look
        if len(tidied):
            self._shown = work, tidied
            self._proposals.preview.change(changes)
        self.said.emit(_told(tidied, position) if len(tidied) else none, "ready")
        self.changed.emit()

    def _fail(self, worker: Any, error: Exception) -> None:
        if worker is not self._worker:
            return
        self._worker = None
        if isinstance(error, MemoryError):
            told = "There is not enough memory for this. Close other data, or work on a crop."
        elif isinstance(error, MedsamError):
            told = str(error)
        else:
            told = f"The clean-up failed ({error!r}), and nothing was changed. Choose another operation."
        self.noticed.emit(told)
        self.changed.emit()


def _looked(session: Session, value: int, stack: Stack, cleanup: CleanUp) -> Look:
    """What an operation would make of an object, and what would come and go; reads only, so it may go on anywhere."""
    tidied = session.clean_up(value, stack, cleanup)
    changes = []
    for plane, mask in tidied.planes.items():
        now = session.labels.read(plane) == value
        changes += [(plane, ADDED, mask & ~now), (plane, REMOVED, now & ~mask)]
    return tidied, changes


def why_none(cleanup: CleanUp) -> str:
    """Why an operation changes nothing in an object, in words."""
    amount = f"{cleanup.amount:g}{UNITS[cleanup.unit]}"
    everywhere = "" if cleanup.axis is None else " on every slice"
    return {
        Operation.LARGEST: f"is in one piece{everywhere} already",
        Operation.REMOVE_SMALL: f"has no separate part below {amount}",
        Operation.FILL_HOLES: f"has no hole below {amount}" if cleanup.amount < float("inf") else "has no holes",
        Operation.SMOOTH: f"is as smooth as {amount} would make it already",
    }[cleanup.operation]


def _told(tidied: Tidied, position: int) -> str:
    """What would change, in words, to somebody who sees the slice at a position."""
    first, last = min(tidied.masks), max(tidied.masks)
    where = f"slice {first}" if first == last else f"{slices(len(tidied))} from {first} to {last}"
    seen = "" if position in tidied.masks else ", none on this one"
    return (
        f"{tidied.added:,} voxels would come (cyan) and {tidied.removed:,} go (magenta), on {where}, "
        f"marked on the strip{seen} (Shift+N: the next). Apply or cancel."
    )
