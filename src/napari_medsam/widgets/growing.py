"""One run through the volume: small steps on the lane, shown as they come, written at its end as one undo step.

Nothing is written before the end, so the user may scroll, draw, accept and paint meanwhile; the proposals that a run
began with are kept open until it ends.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_medsam.embeddings import EmbeddingStore
from napari_medsam.errors import LabelsError, MedsamError, ModelError
from napari_medsam.propagation.gathering import NEW
from napari_medsam.propagation.growth import Growth
from napari_medsam.propagation.plan import Ended, Grown, Passed, Plan, steps_of
from napari_medsam.propagation.walk import walk
from napari_medsam.widgets.account import Account, listed, reasons
from napari_medsam.widgets.layer_labels import ELSEWHERE
from napari_medsam.widgets.longrun import LongRun
from napari_medsam.widgets.model_choice import ModelChoice
from napari_medsam.widgets.proposals import Proposals
from napari_medsam.widgets.workspace import Workspace

KEY = "propagate"
"""Key of the errands that go on with a run."""
BUDGET = 0.05
"""Seconds after which an errand hands over what it has: a prompt waits for no more than this and one slice."""
PICTURE_MS = 100
"""Between two pictures of a run: to draw one takes longer than to find a slice."""
LEFT_OUT = "What came from slices that were taken back meanwhile was left out."


@dataclass(frozen=True)
class Batch:
    """What the lane has found in one errand.

    Parameters
    ----------
    results : tuple of Grown and Ended
    more : bool
        Whether the walk goes on.
    error : MedsamError, optional
        What ended it early.
    """

    results: tuple[Grown | Ended, ...]
    more: bool = False
    error: MedsamError | None = None


class Walk:
    """A walk that is made and gone on with on the lane only, by calling it with the model."""

    def __init__(self, plan: Plan, store: EmbeddingStore) -> None:
        self._plan = plan
        self._store = store
        self._model: Any = None
        self._steps: Iterator[Grown | Ended | Passed] = iter(())

    def __call__(self, model: Any) -> Batch:
        """Go on for BUDGET seconds, and at least a step. What was found before an error is handed over with it."""
        if self._model is None:
            self._model, self._steps = model, walk(self._plan, model, self._store)
        elif model is not self._model:
            raise ModelError("The model was loaded anew.")
        until = time.monotonic() + BUDGET
        results: list[Grown | Ended] = []
        try:
            for result in self._steps:
                if not isinstance(result, Passed):
                    results.append(result)
                if time.monotonic() >= until:
                    return Batch(tuple(results), more=True)
        except MedsamError as error:
            return Batch(tuple(results), error=error.with_traceback(None))
        return Batch(tuple(results))


@dataclass
class Run:
    """The state of a run."""

    work: Workspace
    growth: Growth
    steps: Walk
    unseen: list[Grown] = field(default_factory=list)
    """What was found and is not shown yet."""

    @property
    def total(self) -> int:
        """How many masks there can be."""
        return steps_of(self.growth.plan)

    @property
    def subject(self) -> str:
        """What is followed, in words."""
        names = tuple(each.name for each in self.growth.objects)
        return listed(names) if all(names) or len(names) > 1 else "a new object"

    @property
    def progress(self) -> str:
        """How far it is, in words."""
        what = "masks" if len(self.growth.objects) > 1 else "slices"
        return f"Following {self.subject}: {self.growth.steps} of at most {self.total} {what}"

    @property
    def new(self) -> bool:
        """Whether all of its objects are new, so that it can be written into any labels."""
        return all(each.value == NEW for each in self.growth.objects)

    @property
    def colours(self) -> dict[int, int]:
        """The number of the object, from 1, that each number of the run stands for."""
        return {s.number: i for i, each in enumerate(self.growth.objects, start=1) for s in each.subjects}


class Growing(QObject):
    """The run of one viewer: none, or one at a time.

    Parameters
    ----------
    proposals : Proposals
        Has the workspace in use, the lane and the preview.
    models : ModelChoice
    """

    changed = Signal()
    """A run has begun, or has ended."""
    grew = Signal()
    """More was found."""
    said = Signal(str, str)
    noticed = Signal(str)
    """Something to read even when the status moves on."""

    def __init__(self, proposals: Proposals, models: ModelChoice) -> None:
        super().__init__()
        self._proposals = proposals
        self._run: Run | None = None
        self.lane = LongRun(KEY, proposals, models)
        self.lane.came.connect(self._take)
        self.lane.broke.connect(self.stop)
        self._show_soon = QTimer(self)
        self._show_soon.setSingleShot(True)
        self._show_soon.setInterval(PICTURE_MS)
        self._show_soon.timeout.connect(self._show)

    @property
    def running(self) -> bool:
        """Whether something is being followed."""
        return self._run is not None

    @property
    def growth(self) -> Growth | None:
        """What the run that is under way has found so far; None for no run."""
        return None if self._run is None else self._run.growth

    def start(self, work: Workspace, growth: Growth) -> None:
        """Begin a run."""
        run = self._run = Run(work, growth, Walk(growth.plan, self._proposals.engine.store))
        if growth.idle:
            growth.finish()
            self._end(run, "Followed", "ready")
            return
        self._proposals.held = frozenset(draft.key for each in growth.objects for draft in each.drafts)
        self.lane.begin()
        self.lane.send(run.steps)
        self.said.emit(f"Following {run.subject} ...", "busy")
        self.changed.emit()

    def stop(self, why: str = "") -> None:
        """Stop, and write what is done. `why` is said where the user did not ask for it."""
        run = self._run
        if run is not None:
            self._end(run, f"{why} Stopped".strip(), "error" if why else "ready", notice=bool(why))

    def leave_labels(self, why: str) -> None:
        """Others are to be used: what goes on in the labels is written there, while they are in use."""
        if self._run is not None and not self._run.new:
            self.stop(why)

    def check_origins(self) -> None:
        """The labels were taken back, or done again: stop when all that the run went out from is gone."""
        run = self._run
        if run is not None and run.growth.lost >= run.growth.origins:
            self._drop("What the run went out from was taken back, so it has stopped and nothing was written.")

    def lose_labels(self) -> None:
        """The labels are gone: what is new can still be written, into others; what was to go on in them cannot."""
        if self._run is not None and not self._run.new:
            self._drop("The labels were removed, so the run has stopped and nothing was written.")

    def close(self) -> None:
        """Stop and write what is done, as far as there is still something to write it to. Nothing is said."""
        run = self._run
        with contextlib.suppress(Exception):  # the viewer may be closing as well
            self._forget()
            if run is not None and run.work.target.lasts:
                growth = run.growth.without(run.growth.lost)
                if growth.writes:
                    run.work.target.write_growth(growth)

    # -- inside ------------------------------------------------------------------------------------------------

    def _take(self, batch: Batch) -> None:
        """Keep what was found, and go on."""
        run = self._run
        if run is None:
            return
        if batch.more:
            self.lane.send(run.steps)  # first, so that the lane does not wait for the picture
        for result in batch.results:
            run.growth.add(result)
        run.unseen += [result for result in batch.results if isinstance(result, Grown)]
        if batch.error is not None:
            self.stop(str(batch.error))
        elif not batch.more:
            run.growth.finish()
            self._end(run, "Followed", "ready")
        elif not self._show_soon.isActive():
            self._show_soon.start()

    def _show(self) -> None:
        """Show what was found since the last time, and how far it is."""
        run = self._run
        if run is None:
            return
        stack, colours = run.growth.plan.stack, run.colours
        found, run.unseen = run.unseen, []
        if found:
            self._proposals.preview.grow((stack.plane(r.position), colours[r.number], r.mask) for r in found)
        left = self.lane.time_left(run.growth.steps, run.total)
        self.said.emit(f"{run.progress}{left}.", "busy")
        self.grew.emit()

    def _forget(self) -> None:
        self._run = None
        self._show_soon.stop()
        self._proposals.held = frozenset()
        self.lane.end()
        self._proposals.preview.clear_grown()

    def _drop(self, why: str) -> None:
        """Stop, and write nothing."""
        self._forget()
        self.said.emit(why, "error")
        self.noticed.emit(why)
        self.changed.emit()

    def _end(self, run: Run, how: str, kind: str, *, notice: bool = False) -> None:
        """Write what is done, and say what came of it; with a notice where the user has not asked for that."""
        self._forget()
        said = f"{how}: nothing was found{reasons(run.growth)}."
        try:
            if run.growth.writes:
                account, trouble = self._write(run)
                said = f"{how}: {account.said()}"
                if account.nothing_written:
                    said, kind = f"{how}. Nothing was written. {account.said()}", "error"
                if trouble:
                    said, kind, notice = f"{said} {trouble}", "error", True
        except (MedsamError, MemoryError) as error:
            said, kind, notice = f"{how}, but nothing could be written. {error}", "error", True
        finally:
            self._proposals.show()
            self.changed.emit()
        self.said.emit(said, kind)
        if notice:
            self.noticed.emit(said)

    def _write(self, run: Run) -> tuple[Account, str]:
        """Write into the labels, or into new ones if these do not take it; what came of it, and what was in the way."""
        work, growth = run.work, run.growth
        work.require_place(self._proposals.viewer.layers)
        trouble = ""
        try:
            growth, trouble = _kept(growth)
            written = work.target.write_growth(growth)
        except (LabelsError, MemoryError) as error:
            if work.target.layer is None:
                raise
            work.target.anew()
            growth = growth.anew(work.session.labels)
            written = work.target.write_growth(growth)
            why = str(error).removesuffix(ELSEWHERE).strip()
            trouble = f"It is in new labels {work.target.layer.name!r}, which are in use now. {why}"
        for key in written.drafts:
            self._proposals.consume(work, key)
        return Account(work.session, growth, written), trouble


def _kept(growth: Growth) -> tuple[Growth, str]:
    """What of a run still holds; what was left out, in words."""
    lost = growth.lost
    return growth.without(lost), LEFT_OUT if lost else ""
