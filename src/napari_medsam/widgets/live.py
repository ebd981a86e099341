"""The mask of a prompt while it is dragged: a proposal of its own that is never accepted and leaves nothing behind.

A box that is drawn, moved or resized, in the plugin's layers or in those of the user: an object is asked for with all
its prompts as they are now, and what comes of it is shown in the place of its mask. One question is under way at most;
when it is answered, the prompts of then are read and asked. So masks are left out rather than late. Nothing of it shows
in the dock: text that grows there would shrink the canvas under the mouse.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from napari_medsam.drafts import Draft
from napari_medsam.engine import Outcome, Priority
from napari_medsam.errors import MedsamError
from napari_medsam.geometry import Plane
from napari_medsam.inference import Response
from napari_medsam.models import registry
from napari_medsam.prompts import PromptKind
from napari_medsam.widgets.collect import Drawn
from napari_medsam.widgets.compat import setting
from napari_medsam.widgets.coordinates import View
from napari_medsam.widgets.workspace import Workspace

if TYPE_CHECKING:
    from napari_medsam.widgets.proposals import Proposals

KEY = "live"
"""Of its requests; no draft has it."""
PACE = 0.15
"""Seconds that an answer may take: a model that never was so fast is not asked while a prompt is dragged."""
MODES = ("add_rectangle", "add_ellipse", "select", "direct")
"""napari's modes in which a drag makes a box, or moves or changes prompts of any kind."""
LEFT = 1


class Live:
    """Follows prompts that are dragged with the mouse.

    Parameters
    ----------
    proposals : Proposals
        Whose lane is asked, and whose preview shows the masks.
    """

    def __init__(self, proposals: Proposals) -> None:
        self._p = proposals
        self.drafts: dict[str, Draft] = {}
        """What is shown of objects that are dragged, by draft key, and until their real answers come."""
        self._plane: Plane | None = None
        """The slice whose objects are followed; None: nothing is."""
        self._key = ""
        """Of the object that is asked for."""
        self._ticket = 0
        """Of the question that is under way; 0: none is."""
        self._model = ""
        """That is asked, or was last."""
        self._since = 0.0
        self._paces: dict[str, float] = {}
        proposals.viewer.mouse_drag_callbacks.append(self._on_drag)
        proposals.outcome.connect(self._on_outcome)

    @property
    def dragging(self) -> bool:
        """Whether something is dragged just now, and its mask as it is now is shown."""
        return self._plane is not None and bool(self.drafts)

    def close(self) -> None:
        """Let go of the viewer."""
        callbacks = self._p.viewer.mouse_drag_callbacks
        if self._on_drag in callbacks:
            callbacks.remove(self._on_drag)

    def drop(self) -> None:
        """The real answers are there, or another image is taken up; what is dragged just now is followed on."""
        if self._p.work is None:
            self._plane, self._ticket = None, 0
        if self._plane is None:
            self.drafts = {}

    def note(self, model: str, seconds: float) -> None:
        """Learn how long a model took on a slice that is encoded; some of it may have been another's work."""
        self._paces[model] = min(seconds, self._paces.get(model, seconds))

    def receive(self, response: Response) -> None:
        """Take an answer, show it, and ask for the prompts of now."""
        request = response.request
        if request.ticket != self._ticket:
            return
        self._ticket = 0
        self.note(request.model, time.perf_counter() - self._since)
        if self._plane is None:
            return
        prediction = response.prediction
        if prediction is not None:
            key, ticket, chosen = self._key, request.ticket, prediction.chosen
            self.drafts[key] = Draft(key, request.plane, request.prompts, 0, ticket, ticket, prediction, chosen)
            self._p.paint()
        if prediction is None or self._paces[request.model] > PACE:
            self._plane = None
        else:
            self._ask()

    # -- inside ------------------------------------------------------------------------------------------------

    def _on_drag(self, viewer: Any, event: Any) -> Iterator[None]:
        """Runs on through a drag: at the press, at every move, and at the release; each time before napari's own."""
        layer = viewer.layers.selection.active
        if not self._is_followed(layer, event):
            return
        self._ticket = 0
        yield
        self._plane = self._ready_plane()
        self._p.ahead.hold()  # a slice that is being encoded would hold up the answers
        layer.events.set_data.connect(self._on_change)  # napari sends it with every move; `data` at the end alone
        try:
            while event.type == "mouse_move":
                yield
        finally:
            layer.events.set_data.disconnect(self._on_change)
            self._plane = None  # what is shown stays until the real answer, so that nothing flickers
        self._p.read_soon()  # also where napari tells of no change: Escape ended the drag, or the layer is gone
        self._p.warm_soon()

    def _is_followed(self, layer: Any, event: Any) -> bool:
        ours = any(layer is one for one in (*self._p.shapes(), *self._p.points())) and layer.mode in MODES
        return bool(ours and self._p.work is not None and event.button == LEFT and setting("proposals.live", True))

    def _ready_plane(self) -> Plane | None:
        """The shown slice, if the model can answer at once on it."""
        work = self._p.work
        plane = None if work is None else View(self._p.viewer, work.layer).shown()
        if work is None or plane is None:
            return None
        model = work.session.model
        self._model = model
        fast = PromptKind.BOX in registry.parse(model)[0].takes and self._paces.get(model, 0.0) <= PACE
        return plane if fast and self._p.ahead.needs_no_encode(model, plane) else None

    def _on_change(self, event: Any) -> None:
        if not self._ticket:
            self._ask()

    def _on_outcome(self, outcome: Outcome) -> None:
        """Forget the question that the lane has dropped, since another model has taken the place of the one asked."""
        errand = outcome.request
        if errand.instead == self._model and outcome.error is None:
            self._ticket = 0

    def _ask(self) -> None:
        """Ask, if there is something to ask; napari's own part of the drag comes after this, so nothing is raised."""
        work = self._p.work
        if work is None or self._plane is None:
            return
        try:
            if work.session.model != self._model:
                self._plane = self._ready_plane()
            if self._plane is not None:
                self._ask_for_one(work, self._plane)
        except (MedsamError, MemoryError):  # the question after the drag will tell
            self._plane = None

    def _ask_for_one(self, work: Workspace, plane: Plane) -> None:
        """Ask for an object that is not as it was last asked for: the one that has waited longest."""
        asked = work.session.drafts
        drawn, _ = self._p.drawn(work)  # as they will be read when the drag ends
        moved = {d.key: d for d in drawn.values() if d.plane == plane and not _is_of(asked.get(d.key), d)}
        if not self.drafts.keys() <= moved.keys():  # put back, or deleted
            self.drafts = {key: draft for key, draft in self.drafts.items() if key in moved}
            self._p.paint()
        waiting = [d for d in moved.values() if not _is_of(self.drafts.get(d.key), d)]
        if waiting:
            one = min(waiting, key=lambda d: self.drafts[d.key].ticket if d.key in self.drafts else 0)
            request = work.session.sketch(plane, one.prompts, KEY)
            self._key, self._ticket, self._since = one.key, request.ticket, time.perf_counter()
            self._p.engine.submit(request, Priority.PROMPT)


def _is_of(draft: Draft | None, drawn: Drawn) -> bool:
    """Whether a draft was asked for an object as it is drawn."""
    return draft is not None and (draft.plane, draft.prompts) == (drawn.plane, drawn.prompts)
