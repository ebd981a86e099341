"""To prepare a volume: all slices of the shown stack are encoded and kept, on disk too, so that they answer at once.

A block of slices is an errand of the lane, behind prompts and the shown slice. To cancel is to send no further one; the
store knows what is done, so to begin again is to go on.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_medsam.engine import Outcome
from napari_medsam.errors import ImageError, UnsupportedError
from napari_medsam.models import registry
from napari_medsam.preparation import Aim, Preparation, left
from napari_medsam.propagation.planning import pixels_along
from napari_medsam.propagation.stack import Stack
from napari_medsam.widgets.coordinates import View
from napari_medsam.widgets.longrun import duration, slices
from napari_medsam.widgets.model_choice import ModelChoice

if TYPE_CHECKING:
    from napari_medsam.widgets.proposals import Proposals

KEY = "prepare volume"


class Prepare(QObject):
    """The preparation of one viewer: none, or one at a time.

    Parameters
    ----------
    proposals : Proposals
        Has the lane and the image in use.
    models : ModelChoice
    """

    changed = Signal()
    said = Signal(str, str)
    noticed = Signal(str)

    def __init__(self, proposals: Proposals, models: ModelChoice) -> None:
        super().__init__()
        self._p = proposals
        self._models = models
        self._begun: Preparation | None = None
        self._now: Preparation | None = None
        self._model = ""
        self._since = 0.0
        self._ticket = 0

    @property
    def running(self) -> bool:
        """Whether slices are being prepared."""
        return self._now is not None

    @property
    def progress(self) -> tuple[int, int]:
        """Slices that are done, and how many there are; (0, 0) while nothing runs."""
        return (0, 0) if self._now is None else (self._now.done, self._now.total)

    def start(self) -> None:
        """Prepare all slices of the shown view, the shown one first. What is prepared already is only looked at.

        Raises
        ------
        ImageError
            There is no image, or it is a single slice.
        GeometryError
            No slice is shown.
        UnsupportedError
            The model has nothing to prepare.
        """
        work = self._p.work
        if work is None:
            raise ImageError(
                "There is no image to prepare. Open one, or take File > Open Sample > CT phantom with known organs "
                "(MedSAM)."
            )
        if self.running:
            return
        row = registry.parse(work.session.model)[0]
        if row.automatic or row.quick:
            why = "labels without prompts" if row.automatic else "encodes a slice in no time"
            raise UnsupportedError(f"{row.title} {why}: there is nothing to prepare. It is for other models.")
        plane = View(self._p.viewer, work.layer).plane()
        if not plane.index:
            raise ImageError("This image is a single slice, which is encoded when it is shown. Open a volume.")
        stack = Stack.through(plane, work.session.image.grid.shape)
        self._begun = self._now = Preparation(stack, dict(plane.index)[stack.axis], aim=Aim.LASTING)
        self._model, self._since = self._models.reference, time.monotonic()
        self._send()
        self._tell()

    def stop(self, why: str = "") -> None:
        """Send no further slice; what is done is kept, and is not done again."""
        if self._now is None:
            return
        done, total = self._now.done, self._now.total
        self._end()
        self.said.emit(f"{why} {done} of {slices(total)} are prepared; Prepare volume goes on there.".strip(), "ready")

    def receive(self, outcome: Outcome) -> None:
        """Take what came of a block of slices, and go on with the next."""
        now = self._now
        if now is None or outcome.request.ticket != self._ticket:
            return
        if outcome.error is not None:
            self._end()
            self.noticed.emit(str(outcome.error))
            return
        self._now = now.after(outcome.value)
        self._p.ahead.learn(now.stack, outcome.value, self._ticket)
        if self._now.finished:
            self._finish(self._now)
        else:
            self._send()
            self._tell()

    def follow_model(self) -> None:
        """Break off when another model was chosen: the lane holds one at a time."""
        if self.running and (self._models.loading or self._models.reference) != self._model:
            self.stop("Another model was chosen.")

    # -- inside ------------------------------------------------------------------------------------------------

    def _send(self) -> None:
        """Give the lane the next slices, seen from where the user is now."""
        work, now = self._p.work, self._now
        if work is None or now is None:
            return
        plane = View(self._p.viewer, work.layer).shown()
        at = None if plane is None else now.stack.position(plane)
        if at is not None:
            self._now = now = now.towards(at)
        pixels = pixels_along(work.session.image, now.stack, work.session.window)
        errand = now.errand(self._model, pixels, self._p.engine.store, KEY)
        self._ticket = errand.ticket
        self._p.engine.submit(errand, now.priority)

    def _tell(self) -> None:
        if self._begun is None or self._now is None:
            return
        seconds = left(self._begun, self._now, time.monotonic() - self._since)
        rest = "" if seconds is None else f", about {duration(seconds)} left"
        self.said.emit(f"Prepared {self._now.done} of {slices(self._now.total)}{rest}.", "busy")
        self.changed.emit()

    def _finish(self, now: Preparation) -> None:
        seconds = time.monotonic() - self._since
        self._end()
        if now.full:
            self.noticed.emit(
                f"The memory for encoded slices is full: {now.done} of {slices(now.total)} are prepared. Give it more, "
                'or let them be kept on disk: More > "Encoded slices ...".'
            )
        else:
            took = f" in {duration(seconds)}" if now.encoded else ""
            self.said.emit(f"All {slices(now.total)} of this view are prepared{took}.", "ready")

    def _end(self) -> None:
        self._begun = self._now = None
        self._ticket = 0
        self._p.engine.cancel(KEY)
        self.changed.emit()
