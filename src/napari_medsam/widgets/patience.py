"""The window waits a moment for answers that come so soon that the prompt and its mask can be drawn in one frame.

Python runs one thread at a time, and Qt composes a window without letting it go: a window that draws the prompt first
keeps a decoder of 25 ms waiting for as long again, and then has to be drawn once more (docs/speed.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import QCoreApplication

from napari_medsam.inference import Request, Response

if TYPE_CHECKING:
    from napari_medsam.widgets.proposals import Proposals

MOMENT = 0.05
"""Seconds; with what napari does for a click the window is still for less than a tenth of a second."""
MOST_PASSED = 31
"""Prompts passed over, at most, after waits in vain, as where slices are read slowly or the machine is busy."""


class Patience:
    """Knows which answers are worth waiting for: of models that were as fast, on slices that are encoded.

    Parameters
    ----------
    proposals : Proposals
        Whose lane is asked.
    """

    def __init__(self, proposals: Proposals) -> None:
        self._p = proposals
        self._worked: dict[str, float] = {}
        self._ticket = 0
        """Of the last request on an encoded slice."""
        self._vain = self._passed = 0
        """How many prompts are passed over after a wait in vain, and how many of them are still to come."""

    def note(self, response: Response) -> None:
        """Learn how long the model worked."""
        if response.request.ticket == self._ticket and response.prediction is not None:
            self._worked[response.request.model] = response.worked

    def expecting(self, requests: list[Request]) -> list[Request]:
        """The requests; the only one as `awaited`, if its answer is to come in a moment."""
        if len(requests) != 1 or not self._p.ahead.needs_no_encode(requests[0].model, requests[0].plane):
            return requests
        (request,) = requests
        self._ticket = request.ticket
        if self._worked.get(request.model, MOMENT) >= MOMENT or self._p.engine.busy:
            return requests
        if self._passed:
            self._passed -= 1
            return requests
        return [replace(request, awaited=True)]

    def rewarded(self, requests: Sequence[Request]) -> bool:
        """Wait for the one that is awaited; whether its answer came and is shown."""
        work = self._p.work
        awaited = next((request for request in requests if request.awaited), None)
        if work is None or awaited is None:
            return False
        came = self._p.engine.answered(awaited.ticket, MOMENT)
        self._passed = self._vain = 0 if came else min(2 * self._vain + 1, MOST_PASSED)
        if not came:
            return False
        QCoreApplication.sendPostedEvents(self._p)  # Qt would deliver the answer after what is to be painted by now
        draft = work.session.drafts.get(awaited.draft)
        return draft is not None and not draft.pending
