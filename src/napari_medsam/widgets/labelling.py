"""One run of a model that labels by itself: slice after slice on the lane, written at its end as one step to undo.

Nothing is written before the end, so what the user paints, accepts or takes back meanwhile is as ever, and nothing of
a run is left half undone.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_medsam.errors import GeometryError, MedsamError
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
from napari_medsam.widgets.coordinates import to_data
from napari_medsam.widgets.longrun import LongRun, slices
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
    planes: list[Plane]
    note: str
    findings: Findings = field(default_factory=lambda: Findings({}))

    @property
    def done(self) -> str:
        """How many slices are done, in words."""
        return f"{len(self.findings)} of {slices(len(self.planes))}"


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
        self.lane = LongRun(KEY, proposals, models)
        self.lane.came.connect(self._take)
        self.lane.broke.connect(self.stop)

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
        self._run = Run(work, planes, DOUBTFUL if note else "")
        self.lane.begin()
        self._next(self._run)
        self.changed.emit()

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

    def close(self) -> None:
        """Stop and write what is done, as far as there is still something to write it to. Nothing is said."""
        run = self._run
        self._forget()
        if run is not None and len(run.findings) and run.work.target.lasts:
            with contextlib.suppress(Exception):  # the viewer may be closing as well
                run.work.target.write(run.findings)

    # -- inside ------------------------------------------------------------------------------------------------

    def _next(self, run: Run) -> None:
        """Send the next slice to the lane."""
        done, total = len(run.findings), len(run.planes)
        left = self.lane.time_left(done, total)
        self.said.emit(f"Labelling slice {done + 1} of {total}{left}. {run.note}".strip(), "busy")
        self.lane.send(partial(_label, run.work.session.image, run.planes[done]))

    def _take(self, found: Found) -> None:
        """Keep what was found on a slice, and go on."""
        run = self._run
        if run is None:
            return
        run.findings.classes.update(found.names)
        run.findings.add(found.plane, found.classes)
        if len(run.findings) < len(run.planes):
            self._next(run)
        else:
            self._end(run, f"Labelled {slices(len(run.planes))}", "ready")

    def _forget(self) -> None:
        self._run = None
        self.lane.end()

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
        run.work.require_place(self._proposals.viewer.layers)
        return run.work.target.write(run.findings)


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


def _list(labelled: Labelled, names: dict[int, str]) -> str:
    """The objects that were written, in words."""
    if not labelled.pixels:
        return "nothing new was found"
    if len(labelled.pixels) > NAMED:
        return f"{len(labelled.pixels)} objects"
    return ", ".join(names[value] for value in sorted(labelled.pixels))
