"""Masks from prompts, slice by slice; from arrays or images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_medsam.api.tasks import Task
from napari_medsam.embeddings import EmbeddingStore
from napari_medsam.errors import ImageError, IntensityError, PromptError, UnsupportedError
from napari_medsam.geometry import Grid, Plane
from napari_medsam.image import Image
from napari_medsam.inference import run
from napari_medsam.intensity import Window
from napari_medsam.labels import ArrayLabels
from napari_medsam.masks import Overlap
from napari_medsam.models import registry
from napari_medsam.models.base import Model, Prediction, Segmenter
from napari_medsam.models.checkpoints.places import Places
from napari_medsam.models.compute import AUTO, Compute, require_names
from napari_medsam.models.loading import Loader
from napari_medsam.models.registry import DEFAULT
from napari_medsam.prompts import Box, MaskPrompt, Point, Prompts, Stroke
from napari_medsam.session import Accepted, Session

FARTHEST = 1_000_000
"""Pixels from the corner of an image to a point of a stroke, which is walked pixel by pixel."""


def load_model(
    name: str = DEFAULT,
    *,
    checkpoint: str | Path | None = None,
    device: str = AUTO,
    precision: str = AUTO,
    weights: str | Path | None = None,
) -> Model:
    """Load a model once, to give it to `segment_plane` and `segment_image` as often as needed.

    Parameters
    ----------
    name : str
        Short name of a model; `napari-medsam models` lists them. Empty with a `checkpoint`: it is recognised.
    checkpoint : path, optional
        A file of weights of your own, used in place; the published ones when left out.
    device : str
        auto, cpu, mps, cuda or cuda:N. Built-in models run on the CPU, whichever of these it is.
    precision : str
        auto, float32, bfloat16 or float16; of no consequence for built-in models.
    weights : path, optional
        Folder to look for weights in, before the ones of the environment.

    Raises
    ------
    ModelError
        There is no such model, device or precision, or its weights are not here or wrong; nothing is ever fetched.
    """
    places = Places.from_environment(option=None if weights is None else Path(weights))
    compute = Compute(device, precision)
    require_names(compute)
    loader = Loader(places, compute)
    if not checkpoint:
        return loader(name)
    return loader(registry.reference(name, checkpoint) if name else loader.recognise(Path(checkpoint)))


def make_prompts(
    box: Sequence[float] | None = None,
    points: Iterable[Sequence[float]] = (),
    strokes: Iterable[Sequence[Sequence[float]]] = (),
    mask: ArrayLike | MaskPrompt | None = None,
) -> Prompts:
    """Prompts from plain numbers.

    Parameters
    ----------
    box : (row0, column0, row1, column1), optional
        Half open, in whole pixels: rows `row0` to `row1 - 1`.
    points : iterable of (row, column, sign)
        In pixels, the centre of a pixel at the integer; sign +1 on the object, -1 off it.
    strokes : iterable of sequences of (row, column)
        Lines drawn along the object, in pixels.
    mask : (rows, columns) bool array or MaskPrompt, optional
        What the object is so far; the `prompt` of a prediction for another round of the same object.

    Raises
    ------
    PromptError
        A box without four whole numbers, one below 2 x 2 pixels, or a point whose sign is not +1 or -1.
    """
    return Prompts(
        None if box is None else _box(box),
        tuple(_point(p) for p in _each(points, "Points are a list of (row, column, sign)")),
        tuple(_stroke(s) for s in _each(strokes, "Strokes are a list of lines of (row, column)")),
        mask if mask is None or isinstance(mask, MaskPrompt) else MaskPrompt(mask),
    )


def make_window(window: Sequence[float] | None) -> Window | None:
    """A window from (low, high); None stays None. IntensityError when these are no two numbers in order."""
    if window is None:
        return None
    values = _numbers(window)
    if values is None or values.shape != (2,):
        raise IntensityError(f"A window is two numbers, low and high, not {window!r}.")
    return Window(float(values[0]), float(values[1]))


def segment_plane(
    image: ArrayLike,
    *,
    box: Sequence[float] | None = None,
    points: Iterable[Sequence[float]] = (),
    strokes: Iterable[Sequence[Sequence[float]]] = (),
    mask: ArrayLike | MaskPrompt | None = None,
    window: tuple[float, float] | None = None,
    model: str | Model = DEFAULT,
) -> Prediction:
    """Segment one object on one 2D image.

    Parameters
    ----------
    image : (rows, columns) or (rows, columns, 3 | 4) array
        Any real type, in its own units (HU, for example).
    box : (row0, column0, row1, column1), optional
        Half open, in pixels.
    points : iterable of (row, column, +1 | -1)
    strokes : iterable of sequences of (row, column)
        Lines drawn along the object.
    mask : (rows, columns) bool array or MaskPrompt, optional
        What the object is so far, for models that start from a mask; the `prompt` of the prediction before it.
    window : (low, high), optional
        Intensities that the model sees as black and white; suggested from the image when left out.
    model : str or model
        Short name of a model (loaded anew each time), or one from `load_model`.

    Returns
    -------
    Prediction
        `.mask` is (rows, columns) bool, `.score` the model's own estimate of quality, 0 to 1.

    Raises
    ------
    ImageError, PromptError, IntensityError, UnsupportedError, ModelError
        What was passed in cannot be used; the message says why and what to do.
    """
    array = np.asarray(image)
    rgb = array.ndim == 3 and array.shape[-1] in (3, 4)
    if array.ndim != 2 and not rgb:
        raise ImageError(f"One plane has (rows, columns) or (rows, columns, 3) values, not {array.shape}.")
    grid = Grid.from_spacing(array.shape[:2], (1.0, 1.0))
    session = Session(Image(array, grid, rgb=rgb), window=make_window(window), model=model_name(model))
    request = session.ask(Plane((0, 1)), make_prompts(box, points, strokes, mask))
    response = run(request, segmenter_of(model), EmbeddingStore())
    if response.prediction is None:
        raise response.error or PromptError("Give a box or a positive point.")
    return response.prediction


def segment_image(
    image: Image,
    tasks: Iterable[Task],
    *,
    window: Window | None = None,
    model: str | Model = DEFAULT,
    overlap: Overlap = Overlap.KEEP,
    store: EmbeddingStore | None = None,
) -> tuple[NDArray[Any], dict[int, str], list[tuple[Accepted, Prediction]]]:
    """Segment objects on slices of an image, one after the other.

    Slices that are in `store` are not encoded; `user_store()` holds those of volumes that were prepared.

    Returns
    -------
    labels : int array of the image's grid shape
    names : dict of int to str
        Name of each value.
    results : list of (Accepted, Prediction)
        What was written for each task, and the prediction behind it.

    Raises
    ------
    MedsamError
        The first task that cannot be done, its message naming what to change.
    """
    labels = ArrayLabels.empty(image.grid.shape)
    session = Session(image, window=window, model=model_name(model), labels=labels)
    session.overlap = overlap
    segmenter, known = segmenter_of(model), store or EmbeddingStore()
    results = [_do(session, task, segmenter, known) for task in tasks]
    return labels.data, session.names, results


def _do(session: Session, task: Task, segmenter: Segmenter, store: EmbeddingStore) -> tuple[Accepted, Prediction]:
    response = run(session.ask(task.plane, task.prompts), segmenter, store)
    session.receive(response)
    session.target, session.new_name = task.value, task.name
    accepted = session.accept()
    if accepted is None or response.prediction is None:
        raise PromptError("There is no prompt for this object. Give it a box or a positive point.")
    return accepted, response.prediction


def model_name(model: str | Model) -> str:
    """The short name of a model, loaded or not."""
    return model if isinstance(model, str) else model.spec.name


def loaded_model(model: str | Model) -> Model:
    """A model, loaded now if it is named only."""
    return load_model(model) if isinstance(model, str) else model


def segmenter_of(model: str | Model) -> Segmenter:
    """A model that takes prompts, loaded if need be; UnsupportedError when it takes none."""
    found = loaded_model(model)
    if isinstance(found, Segmenter):
        return found
    raise UnsupportedError(f"{found.spec.title} labels by itself and takes no prompts; use label_image.")


def _each(given: Iterable[Any], what: str) -> tuple[Any, ...]:
    try:
        return tuple(given)
    except TypeError:
        raise PromptError(f"{what}, not {given!r}.") from None


def _stroke(points: Sequence[Sequence[float]]) -> Stroke:
    values = _numbers(points)
    if values is None or values.ndim != 2 or values.shape[1] != 2:
        raise PromptError(f"A stroke is a list of (row, column), not {points!r}.")
    if (np.abs(values) > FARTHEST).any():
        raise PromptError(f"A stroke has a point more than {FARTHEST} pixels away. Give rows and columns of the image.")
    return Stroke(tuple((float(r), float(c)) for r, c in values))


def _box(numbers: Sequence[float]) -> Box:
    values = _numbers(numbers)
    if values is None or values.shape != (4,) or not np.isfinite(values).all() or (values % 1).any():
        raise PromptError(f"A box is four whole numbers, row0, column0, row1, column1, not {numbers!r}.")
    return Box(*(int(v) for v in values))


def _point(numbers: Sequence[float]) -> Point:
    values = _numbers(numbers)
    if values is None or values.shape != (3,) or values[2] not in (1, -1):
        raise PromptError(f"A point is row, column and a sign (+1 on the object, -1 off it), not {numbers!r}.")
    return Point(float(values[0]), float(values[1]), bool(values[2] > 0))


def _numbers(given: Any) -> NDArray[np.float64] | None:
    """`given` as an array, None when it holds anything but numbers."""
    try:
        return np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):  # the last: a whole number that no float can be
        return None
