"""Encodes ahead of being asked: the shown slice, those next to it in the way of scrolling, the rest if wanted.

A slice is encoded as an errand of its own, so a prompt waits for one at most. What is known to be ready is kept with
the workspace; the strip shows it.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_medsam.engine import Outcome, Priority
from napari_medsam.geometry import Plane
from napari_medsam.inference import Response
from napari_medsam.models import registry
from napari_medsam.preparation import Aim, Preparation
from napari_medsam.propagation.planning import pixels_along
from napari_medsam.propagation.stack import Stack
from napari_medsam.widgets.compat import setting
from napari_medsam.widgets.coordinates import View
from napari_medsam.widgets.workspace import Workspace

if TYPE_CHECKING:
    from napari_medsam.widgets.proposals import Proposals

KEY = "ahead"


class Ahead(Enum):
    """How much is encoded ahead; the values are those of the setting."""

    NEIGHBOURS = "neighbours"
    VOLUME = "volume"
    OFF = "off"


class Prefetch(QObject):
    """The work ahead on the image in use.

    Parameters
    ----------
    proposals : Proposals
    """

    changed = Signal()
    """It is known of more slices whether they are ready."""

    def __init__(self, proposals: Proposals) -> None:
        super().__init__()
        self._p = proposals
        self._ahead: Preparation | None = None
        self._survey: Preparation | None = None
        self._sight: tuple[Any, ...] = ()
        self._surveying = False
        self._ticket = 0
        self._counted: tuple[Stack, NDArray[np.bool_]] | None = None
        self.changed.connect(self._forget_count)

    @property
    def busy(self) -> bool:
        """Whether an answer of the lane is awaited."""
        return self._ticket != 0

    def hold(self) -> None:
        """The view has moved on: what waits is not begun any more."""
        self._ticket = 0
        self._p.engine.cancel(KEY)

    def rest(self) -> None:
        """The view rests: the shown slice first, then what lies around it."""
        work = self._p.work
        plane = None if work is None else View(self._p.viewer, work.layer).shown()
        if work is None or plane is None:
            return
        self._turn(work)
        row = registry.parse(work.session.model)[0]
        if row.automatic:
            return
        if row.quick or not plane.index or mode() is Ahead.OFF:
            self._p.engine.submit(work.session.warm(plane), Priority.SHOWN)
        if not row.quick and plane.index:
            self._plan(work, plane)
            self._send()

    def put_aside(self) -> None:
        """Another image is taken up."""
        self.hold()
        self._ahead = self._survey = None
        self._sight = ()

    def take(self, response: Response) -> bool:
        """Learn from an answer that its slice is encoded; whether that was news."""
        work = self._p.work
        if work is None:
            return False
        self._turn(work)
        news = work.readiness.take(response)
        if news:
            self.changed.emit()
        return news

    def learn(self, stack: Stack, block: Any, ticket: int) -> None:
        """Learn from a block of work along a stack of the image in use."""
        work = self._p.work
        if work is not None:
            self._turn(work)
            if work.readiness.take_block(stack, block.keys, ticket):
                self.changed.emit()

    def is_ready(self, plane: Plane) -> bool:
        """Whether a slice is encoded, as far as that is known."""
        work = self._p.work
        return work is not None and bool(work.readiness.ready([plane], self._p.engine.store)[0])

    def needs_no_encode(self, model: str, plane: Plane) -> bool:
        """Whether the model by this reference answers at once on a slice: it is encoded, or that takes no time."""
        return registry.parse(model)[0].quick or self.is_ready(plane)

    def ready(self, stack: Stack) -> NDArray[np.bool_]:
        """Which slices of a stack are encoded, (n,), as far as that is known."""
        work = self._p.work
        if work is None:
            return np.zeros(stack.size, dtype=bool)
        self._turn(work)
        if self._counted is None or self._counted[0] != stack:
            self._counted = stack, work.readiness.ready(stack, self._p.engine.store)
        return self._counted[1]

    def recount(self) -> None:
        """The store may have let go of slices."""
        self._forget_count()
        self.changed.emit()

    def receive(self, outcome: Outcome) -> None:
        """Take what came of a slice, and go on with the next."""
        value, errand = outcome.value, outcome.request
        if not self._ticket or errand.ticket != self._ticket:
            return
        self._ticket = 0
        before = self._survey if self._surveying else self._ahead
        if before is None or outcome.error is not None:  # what failed will be said when it is asked for
            self._ahead = self._survey = None
            return
        after = before.after(value)
        if self._surveying:
            self._survey = after
        else:
            self._ahead = after
        self.learn(before.stack, value, errand.ticket)
        self._send()

    # -- inside ------------------------------------------------------------------------------------------------

    def _forget_count(self) -> None:
        self._counted = None

    def _turn(self, work: Workspace) -> None:
        session = work.session
        sight = id(session.image), session.window, session.model
        work.readiness.turn_to(sight)
        if sight != self._sight:
            self._sight, self._ahead, self._survey, self._counted = sight, None, None, None

    def _plan(self, work: Workspace, plane: Plane) -> None:
        """What to do around the shown slice: what is done already counts."""
        image, store = work.session.image, self._p.engine.store
        stack, nearby = Stack.through(plane, image.grid.shape), mode() is Ahead.NEIGHBOURS
        at = dict(plane.index)[stack.axis]
        before = self._ahead
        if before is None or before.stack != stack or before.nearby != nearby:
            before = Preparation(stack, at, nearby=nearby)
        self._ahead = None if mode() is Ahead.OFF else before.checked(store).towards(at)
        if self._survey is None or self._survey.stack != stack:
            # to look at them is to read them all, which only arrays in memory and a disk tier are worth
            worth = not image.lazy and store.disk is not None
            self._survey = Preparation(stack, at, aim=Aim.SURVEY) if worth else None

    def _send(self) -> None:
        """Give the lane the next slice, if there is one."""
        work, store = self._p.work, self._p.engine.store
        ahead = self._ahead
        self._surveying = ahead is None or ahead.finished or (ahead.priority is Priority.IDLE and not self._has_room())
        following = self._survey if self._surveying else ahead
        if work is None or following is None or following.finished:
            return
        pixels = pixels_along(work.session.image, following.stack, work.session.window)
        errand = following.errand(work.session.model, pixels, store, KEY)
        self._ticket = errand.ticket
        self._p.engine.submit(errand, Priority.IDLE if self._surveying else following.priority)

    def _has_room(self) -> bool:
        """Whether one more embedding fits into memory; far slices must not drive out near ones."""
        store = self._p.engine.store
        return not len(store) or store.nbytes * (1 + 1 / len(store)) <= store.max_bytes


def mode() -> Ahead:
    """How much is encoded ahead, by the settings of now."""
    try:
        return Ahead(str(setting("models.prefetch", Ahead.NEIGHBOURS.value)))
    except ValueError:
        return Ahead.NEIGHBOURS
