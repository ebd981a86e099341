"""Clean-up of an object through the volume: looked at in the preview first, then written as one undo step."""

from __future__ import annotations

from qtpy.QtCore import QObject, Signal

from napari_medsam.errors import LabelsError
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.tidying import Tidied
from napari_medsam.shapes import CleanUp
from napari_medsam.widgets.longrun import slices
from napari_medsam.widgets.preview import ADDED, REMOVED
from napari_medsam.widgets.proposals import Proposals
from napari_medsam.widgets.workspace import Workspace


class Tidying(QObject):
    """What would change in an object, until it is applied or let go.

    Parameters
    ----------
    proposals : Proposals
        Has the workspace in use and the preview.
    """

    changed = Signal()
    said = Signal(str, str)

    def __init__(self, proposals: Proposals) -> None:
        super().__init__()
        self._proposals = proposals
        self._shown: tuple[Workspace, Tidied] | None = None

    @property
    def showing(self) -> bool:
        """Whether a change is shown."""
        return self._shown is not None

    def show(self, work: Workspace, value: int, stack: Stack, cleanup: CleanUp) -> None:
        """Show what an operation would add to an object and take from it; nothing is written.

        Raises
        ------
        LabelsError
            The object has no voxel here, or the amount is missing.
        """
        self.cancel()
        work.target.check()
        tidied = work.session.clean_up(value, stack, cleanup)
        name = work.session.names.get(value, f"object {value}")
        if not len(tidied):
            self.said.emit(f"{name} stays as it is: there is nothing to {cleanup.operation.value}.", "ready")
            return
        self._shown = work, tidied
        found = []
        for plane, mask in tidied.planes.items():
            now = work.session.labels.read(plane) == value
            found += [(plane, ADDED, mask & ~now), (plane, REMOVED, now & ~mask)]
        self._proposals.preview.grow(found)
        more, less = tidied.added, tidied.removed
        self.said.emit(f"{name}: {more:,} voxels more (cyan), {less:,} less (red). Apply or cancel.", "ready")
        self.changed.emit()

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
        """Let go of what is shown; nothing is written."""
        if self._shown is not None:
            self._shown = None
            self._proposals.preview.clear_grown()
            self.said.emit("Nothing was changed.", "ready")
            self.changed.emit()
