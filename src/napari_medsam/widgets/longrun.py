"""A job of many steps that goes on while the user works: one errand at a time with the lane, behind all else.

It has no thread of its own: to stop is not to send the next step. A step that is running then ends unheard.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_medsam.engine import Errand, Outcome, Priority
from napari_medsam.widgets.model_choice import ModelChoice
from napari_medsam.widgets.proposals import Proposals


class LongRun(QObject):
    """The errands of one kind of job in one viewer: none, or one at a time.

    Parameters
    ----------
    key : str
        Of its errands.
    proposals : Proposals
        Has the lane.
    models : ModelChoice
    """

    came = Signal(object)
    """What a step has returned."""
    broke = Signal(str)
    """Why there will be no further step: one has failed, or another model was chosen."""

    def __init__(self, key: str, proposals: Proposals, models: ModelChoice) -> None:
        super().__init__()
        self._key = key
        self._proposals = proposals
        self._models = models
        self._model = ""
        self._ticket = 0
        self._began = 0.0

    @property
    def running(self) -> bool:
        """Whether it was begun and not ended."""
        return bool(self._model)

    def begin(self) -> None:
        """Start a job with the model in use; `send` its first step."""
        self._model = self._models.reference
        self._began = time.monotonic()

    def send(self, act: Callable[[Any], Any]) -> None:
        """Give the lane the next step: `act` gets the model, and `came` what it returns."""
        errand = Errand(self._key, self._model, act)
        self._ticket = errand.ticket
        self._proposals.do(errand, Priority.IDLE)

    def end(self) -> None:
        """No further step; what one that is running returns is not heard."""
        self._model, self._ticket = "", 0
        self._proposals.engine.cancel(self._key)

    def receive(self, outcome: Outcome) -> None:
        """Take the outcome of an errand, if it is the step that is awaited."""
        if not self.running or outcome.request.ticket != self._ticket:
            return
        if outcome.error is not None:
            self.broke.emit(str(outcome.error))
        else:
            self.came.emit(outcome.value)

    def follow_model(self) -> None:
        """Break off when another model was chosen: the lane holds one at a time."""
        models = self._models
        if self.running and (models.loading or models.reference) != self._model:
            self.broke.emit("Another model was chosen.")

    def time_left(self, done: int, total: int) -> str:
        """How long the rest takes at the pace so far, e.g. ", about 40 s left"; nothing before the first step."""
        if not 0 < done < total:
            return ""
        return f", about {duration((time.monotonic() - self._began) / done * (total - done))} left"


def slices(count: int) -> str:
    """A number of slices in words."""
    return "1 slice" if count == 1 else f"{count} slices"


def duration(seconds: float) -> str:
    """A time in words, e.g. "40 s" or "5 min"."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
