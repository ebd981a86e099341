"""What is known of an object along the shown stack, kept up to date a little at a time, so that nothing ever stalls."""

from __future__ import annotations

import time
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_medsam.propagation.provenance import Kind, Reviewed
from napari_medsam.propagation.stack import Stack
from napari_medsam.widgets.proposals import Proposals
from napari_medsam.widgets.wiring import wire
from napari_medsam.widgets.workspace import Workspace

SOON_MS = 150
"""How long after a change of the labels they are looked at again."""
SHARE = 0.01
"""Seconds of reading in one go; then the event loop has its turn."""


class Review(QObject):
    """Reads the labels of one object, slice by slice, between the events of the user.

    Parameters
    ----------
    proposals : Proposals
        Has the workspace in use.
    """

    changed = Signal()

    def __init__(self, proposals: Proposals) -> None:
        super().__init__()
        self._proposals = proposals
        self._about: tuple[Workspace | None, Stack | None, int | None] = (None, None, None)
        self._labels: Any = None
        self._point: tuple[float, ...] = ()
        self._left: list[int] = []
        self.found: dict[int, Reviewed] = {}
        """What is known of each slice that has, or had, something of the object, by position."""
        self._soon, self._next = QTimer(self), QTimer(self)
        for timer, wait, slot in ((self._soon, SOON_MS, self.restart), (self._next, 0, self._read)):
            timer.setSingleShot(True)
            timer.setInterval(wait)
            timer.timeout.connect(slot)

    @property
    def scores(self) -> dict[int, float]:
        """The score of each slice that a run has made."""
        return {at: each.score for at, each in self.found.items() if each.kind is Kind.GROWN}

    @property
    def certain(self) -> set[int]:
        """The slices that the user has given or corrected."""
        return {at for at, each in self.found.items() if each.kind is not Kind.GROWN}

    def about(self, work: Workspace | None, stack: Stack | None, value: int | None) -> None:
        """Say whom it is about: a stack, and an object of the labels; None for none."""
        layer = None if work is None else work.target.layer
        if (work, stack, value) == self._about and layer is self._labels:
            return
        self._follow(layer)
        self._about = work, stack, value
        self.found = {}
        self.changed.emit()
        self.restart()

    def restart(self) -> None:
        """Look at all slices, those first that are known."""
        _, stack, value = self._about
        if stack is None or value is None or self._labels is None:
            self._left = []
            return
        self._left = [*(at for at in range(stack.size - 1, -1, -1) if at not in self.found), *self.found]
        self._next.start()

    def close(self) -> None:
        """Let go of the labels."""
        self._soon.stop()
        self._next.stop()
        self._follow(None)
        self._about = (None, None, None)

    # -- inside ------------------------------------------------------------------------------------------------

    def _follow(self, layer: Any) -> None:
        for labels, connect in ((self._labels, False), (layer, True)):
            if labels is not None:
                events = labels.events
                wire([(events.set_data, self._on_voxels), (events.paint, self._on_paint)], connect=connect)
        self._labels = layer

    def _on_voxels(self, event: Any = None) -> None:
        """Voxels may have changed; but napari says the same when another slice is shown."""
        point = tuple(self._proposals.viewer.dims.point)
        if point == self._point:
            self._soon.start()
        self._point = point

    def _on_paint(self, event: Any = None) -> None:
        """A stroke of the brush has ended."""
        self._soon.start()

    def _read(self) -> None:
        """Look at some slices, and come back for the rest."""
        work, stack, value = self._about
        if work is None or stack is None or value is None:
            return
        until = time.monotonic() + SHARE
        before = dict(self.found)
        while self._left and time.monotonic() < until:
            at = self._left.pop()
            known = work.session.reviewed(value, stack, at)
            if known is None:
                self.found.pop(at, None)
            else:
                self.found[at] = known
        if self.found != before:
            self.changed.emit()
        if self._left:
            self._next.start()
