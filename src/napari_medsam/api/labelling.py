"""Labels of whole images without prompts, for scripts: one call, what was found stays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from numpy.typing import NDArray

from napari_medsam.api.callbacks import call_back
from napari_medsam.api.segmenting import loaded_model
from napari_medsam.errors import MedsamError
from napari_medsam.geometry import Plane
from napari_medsam.image import Image
from napari_medsam.labelling import axial_planes, doubt, label_plane, names_of, require_automatic, require_labeller
from napari_medsam.labels import ArrayLabels
from napari_medsam.models.base import Labeller, Model


@dataclass(frozen=True)
class LabelledImage:
    """What a model has found by itself, as far as it came.

    Parameters
    ----------
    labels : int array of the image's grid shape
    names : mapping of int to str
        Name of each value that the model writes, whether found or not.
    note : str
        What to know about the answer, for example that the image does not look like CT; often empty.
    done, total : int
        Slices that were labelled, and that were to be.
    error : MedsamError, optional
        What broke it off; None when nothing did.
    """

    labels: NDArray[Any] = field(repr=False)
    names: Mapping[int, str]
    note: str
    done: int
    total: int
    error: MedsamError | None = None


def label_image(
    image: Image,
    *,
    model: str | Model = "samed-b",
    slices: Iterable[int] | None = None,
    progress: Callable[[int, int], object] = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> LabelledImage:
    """Label all that a model knows on the axial slices of a CT, without prompts.

    A model or a callback that fails ends the run; what was found before is given back, with the error; also after a
    KeyboardInterrupt that `cancelled` knows of.

    Parameters
    ----------
    image : Image
        In Hounsfield units.
    model : str or model
        One that labels by itself.
    slices : iterable of int, optional
        Numbers of the slices to label; all when left out.
    progress : callable
        Gets the numbers of slices done and to do, after each.
    cancelled : callable
        Asked before each slice; the rest is left empty once it says True.

    Returns
    -------
    LabelledImage

    Raises
    ------
    ImageError, GeometryError, UnsupportedError, ModelError
        What was passed in cannot be used, or the first slice failed; the message says why and what to do.
    InputError
        `cancelled` failed before the first slice.
    """
    planes = axial_planes(image, slices)
    if isinstance(model, str):
        require_automatic(model)
    note = doubt(image)
    labeller = require_labeller(loaded_model(model))
    labels = ArrayLabels.empty(image.grid.shape).data
    done, error = _fill(labels, labeller, image, planes, progress, cancelled)
    # only a model that ran short of memory has something to say
    note = f"{note} {getattr(labeller, 'note', '')}".strip()
    return LabelledImage(labels, names_of(labeller), note, done, len(planes), error)


def _fill(
    labels: NDArray[Any],
    labeller: Labeller,
    image: Image,
    planes: Sequence[Plane],
    progress: Callable[[int, int], object],
    cancelled: Callable[[], bool],
) -> tuple[int, MedsamError | None]:
    """Label slice by slice; how many are done, and what broke it off. What goes wrong before the first is raised."""
    done = 0
    try:
        for plane in planes:
            if call_back("cancelled", cancelled):
                break
            labels[plane.key] = label_plane(labeller, image, plane)
            done += 1
            call_back("progress", partial(progress, done, len(planes)))
    except MedsamError as error:
        if not done:
            raise
        return done, error
    except KeyboardInterrupt:
        if not cancelled():
            raise
    return done, None
