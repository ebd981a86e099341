"""From drawn prompts to masks and back: prompts are read, asked, answered on the GUI thread, shown and accepted.

event -> `collect` -> `Session.update` -> Request -> engine -> Response -> queued to the GUI thread -> `Session.receive`
-> preview. No voxels and no prompts are held here: layers and session do.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from qtpy.QtCore import QObject, Signal, Slot

from napari_medsam.embeddings import EmbeddingStore
from napari_medsam.engine import Engine, Errand, Outcome, Priority
from napari_medsam.errors import MedsamError, PromptError
from napari_medsam.inference import Request, Response
from napari_medsam.models.base import Model
from napari_medsam.widgets.collect import BOX_AND_POINT, OBJECT, UNSET, Drawn, collect
from napari_medsam.widgets.coordinates import View
from napari_medsam.widgets.live import KEY as LIVE
from napari_medsam.widgets.live import Live
from napari_medsam.widgets.patience import Patience
from napari_medsam.widgets.prefetch import Prefetch
from napari_medsam.widgets.preview import Preview
from napari_medsam.widgets.prompt_layers import Drawing, PromptLayers, own_numbers
from napari_medsam.widgets.soon import Soon, timer
from napari_medsam.widgets.wiring import TRANSFORM_EVENTS, wire
from napari_medsam.widgets.workspace import Workspace

CLICKED = "That was a click: press the mouse button, drag, and let go, to draw a box."
Keys = Mapping[str, Callable[[], None]]

NAMES_MS = 300
"""How long after a change of the labels the names are brought in step; the event also comes at every scroll."""
WARM_MS = 80
"""Scrolling fires once per step; the shown plane is encoded when it rests for this long."""


class Proposals(QObject):
    """The proposals of the workspace in use.

    Parameters
    ----------
    viewer : napari.Viewer
    load : callable
        Makes a model from its reference; called off the GUI thread.
    store : EmbeddingStore
    keys : mapping of key to callable
        Bound while the preview layer is active.
    """

    changed = Signal()
    said = Signal(str, str)
    failed = Signal(object)
    outcome = Signal(object)
    """What came of an errand to the lane."""
    _arrived = Signal(object)

    def __init__(self, viewer: Any, load: Callable[[str], Model], store: EmbeddingStore, keys: Keys) -> None:
        super().__init__()
        self.viewer = viewer
        self.work: Workspace | None = None
        self.user_shapes: Any = None
        self.user_points: Any = None
        self.layers = PromptLayers(viewer, self.read_soon, self._aim)
        self.preview = Preview(viewer, keys)
        self.engine = Engine(load, self._arrived.emit, store)
        self.ahead = Prefetch(self)
        self.live = Live(self)
        self.patience = Patience(self)
        self.held: frozenset[str] = frozenset()
        """Drafts that a run has begun with: they stay open until it ends."""
        self.collecting = False
        """Whether the next box leaves the last one open, so that several go into one run."""
        self.takes = BOX_AND_POINT
        """The prompts that the model in use was made for."""
        self._asked: dict[str, float] = {}
        self._read_soon = Soon(self, self.read)
        self._unit_soon = timer(self, 0, self._keep_unit)
        self._warm_soon = timer(self, WARM_MS, self.ahead.rest)
        self._names_soon = timer(self, NAMES_MS, self._refresh_names)
        self._arrived.connect(self._receive)  # sent by the lane's thread, so Qt queues it to this one

    def open(self, work: Workspace) -> None:
        """Take up a workspace."""
        self.work = work
        work.target.on_voxels = self._names_soon.start
        self.place()
        if work.prompts.shapes or work.prompts.points:
            self.layers.restore(work.prompts)
        else:
            self.read_soon()  # prompts that an earlier dock has left
        self.submit(work.session.ask_unanswered())
        self.warm_soon()

    def put_aside(self) -> None:
        """Let go of the workspace; what is drawn is kept in it."""
        work, self.work = self.work, None
        self.engine.cancel()
        self.ahead.put_aside()
        self.live.drop()
        self._asked.clear()
        self.preview.show((), "")
        if work is not None:
            work.target.on_voxels = None
            work.prompts = self.layers.state()
        self.layers.restore(Drawing())

    def place(self) -> None:
        """Lay the plugin's layers onto the image, as after it was moved."""
        if self.work is not None:
            self.layers.place(self.work.layer)
            self.preview.place(self.work.layer)

    def keep_unit_soon(self) -> None:
        """Follow the viewer's unit when napari has finished with a layer that was added or removed."""
        if self.work is not None:
            self._unit_soon.start()

    def close(self) -> None:
        """Stop the lane and let go of the viewer; layers stay as they are."""
        if self.work is not None:
            self.work.target.on_voxels = None
        self.work = None
        self.engine.close()
        # collected together with its viewer, this object may outlive its Qt half
        with contextlib.suppress(RuntimeError):
            for timer in (self._read_soon, self._warm_soon, self._names_soon, self._unit_soon):
                timer.stop()
        self.follow_user_layers()
        self.live.close()
        self.layers.close()

    def follow_user_layers(self, shapes: Any = None, points: Any = None) -> None:
        """Also take prompts from these Shapes and Points layers of the user (None for none)."""
        self._wire_user_layers(connect=False)
        self.user_shapes, self.user_points = shapes, points
        self._wire_user_layers(connect=True)
        if self.work is not None:
            self.work.done.clear()
            self.read_soon()

    def use(self, kind: str) -> None:
        """Make a drawing tool ready; `kind` is "box", "point" or "stroke"."""
        self.preview.prepare()
        self.layers.use(kind)

    def read_soon(self) -> None:
        """Read the prompt layers when napari has finished with its event."""
        if self.work is not None:
            self._read_soon.start()

    def catch_up(self) -> None:
        """Read what was drawn just now, so that what is acted on is what is shown.

        Raises
        ------
        PromptError
            A prompt is being dragged: its mask of now is shown, and no proposal yet.
        """
        if self.live.dragging:
            raise PromptError("Let go of the mouse button first: the box is still being dragged.")
        if self._read_soon.isActive():
            self._read_soon.stop()
            self.read()

    def warm_soon(self) -> None:
        """Encode the shown plane, and what lies around it, when it has rested a moment."""
        if self.work is not None:
            self.ahead.hold()
            self._warm_soon.start()

    def read(self) -> None:
        """Read the prompt layers, ask for what changed, and accept what the next object displaces."""
        work = self.work
        if work is None:
            return
        view = View(self.viewer, work.layer)
        nowhere, clicked = self.layers.drop_nowhere(), self.layers.drop_clicked()
        self.layers.number_new()
        work.drop_lost_starts()
        drawn, problems = self.drawn(work)
        fresh = [key for key in drawn if key not in work.drawn and drawn[key].own != UNSET]
        earlier = [key for key in work.drawn if work.drawn[key].own != UNSET and key in drawn]
        work.drawn = drawn
        before = set(work.session.drafts)
        asked = work.session.update(((d.key, d.plane, d.prompts) for d in drawn.values()), work.revised)
        requests = self.patience.expecting(asked)
        for key in before - set(work.session.drafts):
            self.engine.cancel(key)
        self._select(work, fresh, requests)
        self.submit(requests)
        if not requests:
            self.live.drop()
        for key in earlier if fresh and not self.collecting else ():
            if key not in self.held and work.session.drafts[key].error is None:
                self.accept(key)
        if not self.patience.rewarded(requests):  # else the answer shows it all, before anything is drawn
            self.show()
        if nowhere:
            self._attempt(view.plane)
        elif clicked:
            self.said.emit(CLICKED, "error")
        elif problems:
            self.said.emit(problems[0], "error")

    def drawn(self, work: Workspace) -> tuple[dict[str, Drawn], tuple[str, ...]]:
        """The objects that the layers of prompts hold by now, by draft key, and what is wrong with some shapes."""
        view = View(self.viewer, work.layer)
        found = collect(view, self.shapes(), self.points(), work.selected, self.layers.both(), self.takes)
        return work.with_starts(
            {d.key: d for d in found.drawn if (d.plane, d.prompts) not in work.done}
        ), found.problems

    def shapes(self) -> list[Any]:
        """The Shapes layers that prompts are read from."""
        return [layer for layer in (self.layers.boxes, self.user_shapes) if layer is not None]

    def points(self) -> list[Any]:
        """The Points layers that prompts are read from."""
        return [layer for layer in (self.layers.points, self.user_points) if layer is not None]

    def submit(self, requests: list[Request]) -> None:
        """Ask the engine; the answers arrive by themselves."""
        for request in requests:
            self._asked[request.draft] = time.perf_counter()
            self.engine.submit(request, Priority.PROMPT)
        if requests:
            self.said.emit("Segmenting ...", "busy")

    def do(self, errand: Errand, priority: Priority = Priority.PROMPT) -> None:
        """Give the lane something else to do; `outcome` is sent when it is done."""
        self.engine.submit(errand, priority)

    def accept(self, key: str) -> None:
        """Write one proposal into the labels; one that has no mask yet is accepted when it has."""
        work = self.work
        if work is None or key not in work.session.drafts:
            return
        work.revise()
        self._attempt(lambda: self.write(work, key))

    def write(self, work: Workspace, key: str) -> None:
        """The same, as the proposal says by now what it replaces.

        Raises
        ------
        MedsamError
            It cannot be written; see `Target.accept`.
        """
        accepted = work.target.accept(key)
        if accepted is not None:
            self.consume(work, key)
            self.show()
            name = work.session.names[accepted.value]
            self.said.emit(f"Accepted: {name} ({accepted.pixels} pixels).", "ready")
        elif work.session.drafts[key].wanted:
            self.said.emit("It is accepted as soon as its mask is there.", "busy")

    def clear(self) -> None:
        """Take proposals and the plugin's own prompts away; the user's layers are passed over, those of a run stay."""
        work = self.work
        if work is not None:
            going = [d for d in work.drawn.values() if d.key not in self.held]
            work.done |= {(d.plane, d.prompts) for d in going if d.own == UNSET}
            self.layers.remove(own_numbers(going))
            for number in own_numbers(going):
                work.starts.pop(number, None)
            self.read()

    def consume(self, work: Workspace, key: str) -> None:
        """Take the prompts of a proposal off that was written into the labels."""
        drawn: Drawn | None = work.drawn.pop(key, None)
        if drawn is None:
            return
        if drawn.own == UNSET:
            work.done.add((drawn.plane, drawn.prompts))
        else:
            self.layers.remove({drawn.own})
            work.starts.pop(drawn.own, None)

    def show(self) -> None:
        """Bring the preview up to date, and all else that shows proposals."""
        self.paint()
        self.changed.emit()

    def paint(self) -> None:
        """Bring the preview up to date; what is being dragged is in the place of what was proposed for it."""
        work, live = self.work, self.live.drafts
        if work is not None and work.layer in self.viewer.layers:
            drafts = {**work.session.drafts, **live}
            self.preview.show(drafts.values(), next(reversed(live), work.selected))

    # -- inside ------------------------------------------------------------------------------------------------

    def _select(self, work: Workspace, fresh: list[str], requests: list[Request]) -> None:
        if requests:
            work.selected = fresh[-1] if fresh else requests[-1].draft
        elif work.selected not in work.drawn:
            work.selected = next(reversed(work.drawn), "")

    def _keep_unit(self) -> None:
        if self.work is not None:
            self.layers.keep_unit()

    def _refresh_names(self) -> None:
        """Bring object names in step with voxels that napari's own undo or brush has changed."""
        work = self.work
        if work is not None:
            before = dict(work.session.names)
            work.session.refresh_names()
            if work.drop_lost_starts():
                self.read()
            shown = View(self.viewer, work.layer).shown()
            noticed = shown is not None and work.target.notice(shown)
            if noticed or work.session.names != before:
                work.target.show_names()
                self.changed.emit()

    @Slot(object)
    def _receive(self, response: Response | Outcome) -> None:
        if isinstance(response, Outcome):
            self.ahead.receive(response)
            self.outcome.emit(response)
            return
        known = not self.ahead.take(response)
        self.patience.note(response)
        if response.request.draft == LIVE:
            self.live.receive(response)
        work = self.work
        if work is None or not work.session.receive(response):
            return
        self.live.drop()
        work.revise()
        self.show()
        asked = self._asked.pop(response.request.draft, None)
        if known and asked is not None:
            self.live.note(response.request.model, time.perf_counter() - asked)
        draft = work.session.drafts[response.request.draft]
        if response.error is not None:
            self.failed.emit(response.error)
        elif draft.wanted:
            self.accept(draft.key)
        elif asked is not None:
            self.said.emit(work.told(draft, time.perf_counter() - asked), "ready")

    def _aim(self) -> int:
        """The number of the object that a new click refines: the selected one, if it is on the shown slice."""
        work = self.work
        if work is None:
            return UNSET
        self._select_shape(work)
        drawn = work.drawn.get(work.selected)
        shown = View(self.viewer, work.layer).shown()
        return drawn.own if drawn is not None and drawn.plane == shown else UNSET

    def _select_shape(self, work: Workspace) -> None:
        boxes = self.layers.boxes
        if boxes is None or len(boxes.selected_data) != 1:
            return
        row = next(iter(boxes.selected_data))
        if row < len(boxes.data):
            number = int(boxes.features[OBJECT].iloc[row])
            work.selected = next((d.key for d in work.drawn.values() if d.own == number), work.selected)

    def _wire_user_layers(self, *, connect: bool) -> None:
        for layer in (self.user_shapes, self.user_points):
            if layer is not None:
                names = ("features", *TRANSFORM_EVENTS)
                wire([(layer.events.data, self._on_user_prompts)], connect=connect)
                wire(((getattr(layer.events, name), self._on_user_layer) for name in names), connect=connect)

    def _on_user_layer(self, event: Any = None) -> None:
        self.read_soon()

    def _on_user_prompts(self, event: Any) -> None:
        if str(event.action) in ("added", "changed", "removed"):
            self.read_soon()

    def _attempt(self, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except MedsamError as error:
            self.failed.emit(error)
            return None
