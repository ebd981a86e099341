"""One run of a model that labels by itself: slice after slice on the lane, written at its end as one step to undo.

A run has no thread of its own. One errand is with the lane at a time, behind everything that the user waits for; to
stop is not to send the next one. Nothing is written before the end, so what the user paints, accepts or takes back
meanwhile is as ever, and nothing of a run is left half undone.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_medsam.engine import Errand, Outcome, Priority
from napari_medsam.errors import GeometryError, LabelsError, MedsamError
from napari_medsam.geometry import Plane
from napari_medsam.image import Image
from napari_medsam.labelling import (
    Findings,
    Labelled,
    axial_planes,
    doubt,
    label_plane,
    names_of,
    require_automatic,
    require_labeller,
)
from napari_medsam.models.base import Model
from napari_medsam.widgets.coordinates import layer_shape, to_data
from napari_medsam.widgets.model_choice import ModelChoice
from napari_medsam.widgets.proposals import Proposals
from napari_medsam.widgets.workspace import Workspace

KEY = "label"
"""Key of the errands that label a slice."""
DOUBTFUL = "The image does not look like CT."
"""Of the doubt that was said before, what stays in the status."""
NAMED = 4
"""So many objects are named in the status; of more only the number is said."""


@dataclass(frozen=True)
class Found:
    """What the lane has found on one slice: (rows, columns) classes, and the names of all classes."""

    plane: Plane
    classes: NDArray[np.uint8]
    names: dict[int, str]


@dataclass
class Run:
    """The state of a run."""

    work: Workspace
    model: str
    planes: list[Plane]
    note: str
    ticket: int = 0
    began: float = field(default_factory=time.monotonic)
    findings: Findings = field(default_factory=lambda: Findings({}))

    @property
    def done(self) -> str:
        """How many slices are done, in words."""
        return f"{len(self.findings)} of {_slices(len(self.planes))}"

    @property
    def progress(self) -> str:
        """How far it is, for the status."""
        done, total = len(self.findings), len(self.planes)
        text = f"Labelling slice {done + 1} of {total}"
        if done:
            text += f", about {_duration((time.monotonic() - self.began) / done * (total - done))} left"
        return f"{text}. {self.note}".strip()


class Labelling(QObject):
    """The run of one viewer: none, or one at a time.

    Parameters
    ----------
    proposals : Proposals
        Has the workspace in use and the lane.
    models : ModelChoice
    """

    changed = Signal()
    said = Signal(str, str)
    noticed = Signal(str)
    """Something to read even when the status moves on."""

    def __init__(self, proposals: Proposals, models: ModelChoice) -> None:
        super().__init__()
        self._proposals = proposals
        self._models = models
        self._run: Run | None = None

    @property
    def running(self) -> bool:
        """Whether slices are being labelled."""
        return self._run is not None

    def start(self, scope: str) -> None:
        """Label the axial slice at the sliders ("slice"), or all of the volume that they are in ("volume").

        Raises
        ------
        UnsupportedError
            The model in use needs prompts.
        ImageError, GeometryError, LabelsError
            The image or the labels in use are not for that.
        """
        work = self._proposals.work
        if work is None or self._run is not None:
            return
        require_automatic(self._models.reference)
        planes = planes_at(work, self._proposals.viewer, scope)
        work.target.check()
        note = doubt(work.session.image)
        if note:
            self.noticed.emit(note)
        self._run = Run(work, self._models.reference, planes, DOUBTFUL if note else "")
        self._next(self._run)
        self.changed.emit()

    def receive(self, outcome: Outcome) -> None:
        """Take the outcome of an errand, if it is of this run, and go on."""
        run = self._run
        if run is None or outcome.request.ticket != run.ticket:
            return
        if outcome.error is not None:
            self.stop(str(outcome.error))
            return
        found: Found = outcome.value
        run.findings.classes.update(found.names)
        run.findings.add(found.plane, found.classes)
        if len(run.findings) < len(run.planes):
            self._next(run)
        else:
            self._end(run, f"Labelled {_slices(len(run.planes))}", "ready")

    def stop(self, why: str = "") -> None:
        """Stop after the slices that are done, which are written. `why` is said where the user did not ask for it."""
        run = self._run
        if run is not None:
            said = self._end(run, f"{why} Stopped after {run.done}".strip(), "error" if why else "ready")
            if why:
                self.noticed.emit(said)

    def drop(self, why: str) -> None:
        """Stop, and write nothing."""
        if self._run is not None:
            self._forget()
            self.said.emit(why, "error")
            self.noticed.emit(why)
            self.changed.emit()

    def follow_model(self) -> None:
        """Stop when another model was chosen: the lane holds one at a time."""
        run, models = self._run, self._models
        if run is not None and (models.loading or models.reference) != run.model:
            self.stop("Another model was chosen.")

    def close(self) -> None:
        """Stop and write what is done, as far as there is still something to write it to. Nothing is said."""
        run = self._run
        self._forget()
        if run is not None and len(run.findings):
            with contextlib.suppress(Exception):  # the viewer may be closing as well
                run.work.target.write(run.findings)

    # -- inside ------------------------------------------------------------------------------------------------

    def _next(self, run: Run) -> None:
        """Send the next slice to the lane."""
        act = partial(_label, run.work.session.image, run.planes[len(run.findings)])
        errand = Errand(KEY, run.model, act)
        run.ticket = errand.ticket
        self.said.emit(run.progress, "busy")
        self._proposals.do(errand, Priority.IDLE)

    def _forget(self) -> None:
        self._run = None
        self._proposals.engine.cancel(KEY)

    def _end(self, run: Run, how: str, kind: str) -> str:
        """Write what is done; what was said of it."""
        self._forget()
        said = f"{how}."
        try:
            if len(run.findings):
                said = f"{how}: {_list(self._write(run), run.work.session.names)}."
        except (MedsamError, MemoryError) as error:
            said, kind = f"{how}, which could not be written. {error}", "error"
        finally:
            self.changed.emit()
        self.said.emit(f"{said} {run.note}".strip(), kind)
        return said

    def _write(self, run: Run) -> Labelled:
        """Write into the labels, unless the image is gone, and no labels are there to write to."""
        work, layers = run.work, self._proposals.viewer.layers
        if layer_shape(work.layer) != work.session.image.grid.shape:
            raise LabelsError("The image has another shape now.")
        if work.layer not in layers and work.target.layer not in layers:
            raise LabelsError("The image was removed, and it had no labels.")
        return work.target.write(run.findings)


def planes_at(work: Workspace, viewer: Any, scope: str) -> list[Plane]:
    """The axial slice at the sliders ("slice"), or those of the volume that they are in ("volume"), whatever is shown.

    Raises
    ------
    ImageError
        The image is in colour.
    GeometryError
        The sliders stand outside the image.
    """
    every = axial_planes(work.session.image)
    shape = work.session.image.grid.shape
    here = np.round(to_data(viewer, work.layer, viewer.dims.point)[0][: len(shape) - 2]).astype(int)
    fixed = here if scope == "slice" else here[:-1]
    if any(not 0 <= i < n for i, n in zip(fixed, shape, strict=False)):
        raise GeometryError(f"The sliders stand outside {work.session.image.name!r}. Move them back onto the image.")
    return [plane for plane in every if tuple(i for _, i in plane.index[: len(fixed)]) == tuple(fixed)]


def _label(image: Image, plane: Plane, model: Model) -> Found:
    """Label one slice; called on the lane."""
    labeller = require_labeller(model)
    return Found(plane, label_plane(labeller, image, plane), names_of(labeller))


def _slices(count: int) -> str:
    return "1 slice" if count == 1 else f"{count} slices"


def _list(labelled: Labelled, names: dict[int, str]) -> str:
    """The objects that were written, in words."""
    if not labelled.pixels:
        return "nothing new was found"
    if len(labelled.pixels) > NAMED:
        return f"{len(labelled.pixels)} objects"
    return ", ".join(names[value] for value in sorted(labelled.pixels))


def _duration(seconds: float) -> str:
    """A time in words, e.g. "40 s" or "5 min"."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
