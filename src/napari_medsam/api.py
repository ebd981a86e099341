"""The short Python API: masks from arrays, files to labels, no window and no Qt.

>>> from napari_medsam import api
>>> prediction = api.segment_plane(ct_slice, box=(95, 120, 180, 230), window=(-160, 240))
>>> prediction.mask, prediction.score

For whole volumes use `segment_image`, or the `Session` that all of this, the command line and the plugin share.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_medsam.embeddings import EmbeddingStore
from napari_medsam.errors import ImageError, IntensityError, PromptError
from napari_medsam.geometry import Grid, Plane
from napari_medsam.image import Image
from napari_medsam.intensity import Window
from napari_medsam.io import read_image, write_labels
from napari_medsam.labels import ArrayLabels
from napari_medsam.masks import Overlap
from napari_medsam.models.base import Prediction, Segmenter
from napari_medsam.models.registry import DEFAULT, load
from napari_medsam.prompts import Box, Point, Prompts
from napari_medsam.session import Accepted, Session, run

__all__ = ["Task", "read_image", "segment_image", "segment_plane", "write_labels"]


@dataclass(frozen=True)
class Task:
    """One object to segment on one slice of an image.

    Parameters
    ----------
    plane : Plane
    prompts : Prompts
    value : int, optional
        Label to write; the next free one when left out. Tasks of the same value make one object.
    name : str
        Name of the object; "object N" when empty.
    """

    plane: Plane
    prompts: Prompts
    value: int | None = None
    name: str = field(default="")


def make_prompts(box: Sequence[float] | None = None, points: Iterable[Sequence[float]] = ()) -> Prompts:
    """Prompts from plain numbers.

    Parameters
    ----------
    box : (row0, column0, row1, column1), optional
        Half open, in whole pixels: rows `row0` to `row1 - 1`.
    points : iterable of (row, column, sign)
        In pixels, the centre of a pixel at the integer; sign +1 on the object, -1 off it.

    Raises
    ------
    PromptError
        A box without four whole numbers, one below 2 x 2 pixels, or a point whose sign is not +1 or -1.
    """
    try:
        each = tuple(points)
    except TypeError:
        raise PromptError(f"Points are a list of (row, column, sign), not {points!r}.") from None
    return Prompts(None if box is None else _box(box), tuple(_point(p) for p in each))


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
    window: tuple[float, float] | None = None,
    model: str = DEFAULT,
) -> Prediction:
    """Segment one object on one 2D image.

    Parameters
    ----------
    image : (rows, columns) or (rows, columns, 3 | 4) array
        Any real type, in its own units (HU, for example).
    box : (row0, column0, row1, column1), optional
        Half open, in pixels.
    points : iterable of (row, column, +1 | -1)
    window : (low, high), optional
        Intensities that the model sees as black and white; suggested from the image when left out.
    model : str
        Short name of a model.

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
    session = Session(Image(array, grid, rgb=rgb), window=make_window(window), model=model)
    request = session.ask(Plane((0, 1)), make_prompts(box, points))
    response = run(request, load(model), EmbeddingStore())
    if response.prediction is None:
        raise response.error or PromptError("Give a box or a positive point.")
    return response.prediction


def segment_image(
    image: Image,
    tasks: Iterable[Task],
    *,
    window: Window | None = None,
    model: str = DEFAULT,
    overlap: Overlap = Overlap.KEEP,
) -> tuple[NDArray[Any], dict[int, str], list[tuple[Accepted, Prediction]]]:
    """Segment objects on slices of an image, one after the other.

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
    session = Session(image, window=window, model=model, labels=labels)
    session.overlap = overlap
    segmenter, store = load(model), EmbeddingStore()
    results = [_do(session, task, segmenter, store) for task in tasks]
    return labels.data, session.names, results


def _do(session: Session, task: Task, segmenter: Segmenter, store: EmbeddingStore) -> tuple[Accepted, Prediction]:
    response = run(session.ask(task.plane, task.prompts), segmenter, store)
    session.receive(response)
    session.target, session.new_name = task.value, task.name
    accepted = session.accept()
    if accepted is None or response.prediction is None:
        raise PromptError("There is no prompt for this object. Give it a box or a positive point.")
    return accepted, response.prediction


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
    except (TypeError, ValueError):
        return None
