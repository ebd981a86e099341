"""The mask of a box while it is being drawn: a proposal of its own that is never accepted and leaves nothing behind.

One question is under way at most; when it is answered, the box of then is asked. So masks are left out rather than
late. Nothing of it shows in the dock: text that grows there would shrink the canvas under the mouse.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.drafts import Draft
from napari_medsam.engine import Priority
from napari_medsam.errors import MedsamError
from napari_medsam.geometry import Plane
from napari_medsam.inference import Response
from napari_medsam.models import registry
from napari_medsam.prompts import Box, PromptKind, Prompts
from napari_medsam.widgets.compat import setting
from napari_medsam.widgets.coordinates import View, to_data
from napari_medsam.widgets.prompt_layers import TOOLS

if TYPE_CHECKING:
    from napari_medsam.widgets.proposals import Proposals

KEY = "live"
"""Of its requests; no draft has it."""
PACE = 0.15
"""Seconds that an answer may take: a model that never was so fast is not asked while a box is drawn."""
LEFT = 1


class Live:
    """Follows boxes that are drawn with the plugin's tool.

    Parameters
    ----------
    proposals : Proposals
        Whose lane is asked, and whose preview shows the mask.
    """

    def __init__(self, proposals: Proposals) -> None:
        self._p = proposals
        self.draft: Draft | None = None
        """What is shown of the box so far, and until its real answer comes."""
        self._plane: Plane | None = None
        self._box: Box | None = None
        self._asked: Box | None = None
        self._ticket = 0
        self._since = 0.0
        self._paces: dict[str, float] = {}
        proposals.viewer.mouse_drag_callbacks.append(self._on_drag)

    def close(self) -> None:
        """Let go of the viewer."""
        callbacks = self._p.viewer.mouse_drag_callbacks
        if self._on_drag in callbacks:
            callbacks.remove(self._on_drag)

    def drop(self) -> None:
        """Nothing is drawn, or the real answer is there."""
        self.draft = self._plane = None
        self._ticket = 0

    def note(self, model: str, seconds: float) -> None:
        """Learn how long a model took on a slice that is encoded; some of it may have been another's work."""
        self._paces[model] = min(seconds, self._paces.get(model, seconds))

    def receive(self, response: Response) -> None:
        """Take an answer, show it, and ask for the box of now."""
        request = response.request
        if request.ticket != self._ticket:
            return
        self._ticket = 0
        self.note(request.model, time.perf_counter() - self._since)
        if self._plane is None:
            return
        prediction = response.prediction
        if prediction is not None:
            ticket, chosen = request.ticket, prediction.chosen
            self.draft = Draft(KEY, request.plane, request.prompts, 0, ticket, ticket, prediction, chosen)
            self._p.paint()
        if prediction is None or self._paces[request.model] > PACE:
            self._plane = None
        else:
            self._ask()

    # -- inside ------------------------------------------------------------------------------------------------

    def _on_drag(self, viewer: Any, event: Any) -> Iterator[None]:
        """Runs on through a drag: at the press, at every move, and at the release."""
        if not self._is_drawing(viewer, event):
            return
        self.drop()
        start = np.asarray(event.position, dtype=np.float64)
        yield
        self._plane = self._ready_plane()
        self._p.ahead.hold()  # a slice that is being encoded would hold up the answers
        while event.type == "mouse_move":
            if self._plane is not None:
                self._aim(np.stack([start, event.position]))
            yield
        self._p.warm_soon()
        self._plane = None  # what is shown stays until the real answer, so that nothing flickers

    def _is_drawing(self, viewer: Any, event: Any) -> bool:
        boxes = self._p.layers.boxes
        ours = boxes is not None and viewer.layers.selection.active is boxes and boxes.mode == TOOLS["box"]
        return bool(ours and self._p.work is not None and event.button == LEFT and setting("proposals.live", True))

    def _ready_plane(self) -> Plane | None:
        """The shown slice, if the model can answer at once on it."""
        work = self._p.work
        plane = None if work is None else View(self._p.viewer, work.layer).shown()
        if work is None or plane is None:
            return None
        model = work.session.model
        row = registry.parse(model)[0]
        fast = PromptKind.BOX in row.takes and self._paces.get(model, 0.0) <= PACE
        return plane if fast and (row.quick or self._p.ahead.is_ready(plane)) else None

    def _aim(self, world: NDArray[np.float64]) -> None:
        """The box now spans two positions, (2, d) in viewer world."""
        work, plane = self._p.work, self._plane
        if work is None or plane is None:
            return
        try:
            self._box = Box.around(plane.from_index(to_data(self._p.viewer, work.layer, world)))
        except MedsamError:  # too small yet, or beyond the edge
            return
        if not self._ticket:
            self._ask()

    def _ask(self) -> None:
        """Ask for the box of now, unless that was done."""
        work, plane, box = self._p.work, self._plane, self._box
        if work is None or plane is None or box is None or box == self._asked:
            return
        self._asked = box
        request = work.session.sketch(plane, Prompts(box), KEY)
        self._ticket, self._since = request.ticket, time.perf_counter()
        self._p.engine.submit(request, Priority.PROMPT)
