"""What scripts ask for: an object on a slice, and the same on other frames of a series."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from napari_medsam.errors import LabelsError
from napari_medsam.geometry import Plane
from napari_medsam.image import Image
from napari_medsam.prompts import Prompts
from napari_medsam.propagation.starts import copied, time_axis
from napari_medsam.propagation.subject import Span


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
    span : Span, optional
        The slices that the object may reach when it is followed from here, within the range of the run; all of that
        when left out.

    Raises
    ------
    LabelsError
        The value is no whole number from 1.
    """

    plane: Plane
    prompts: Prompts
    value: int | None = None
    name: str = field(default="")
    span: Span | None = None

    def __post_init__(self) -> None:
        if self.value is not None:
            object.__setattr__(self, "value", _label(self.value))


def next_frame(tasks: Iterable[Task], image: Image, by: int = 1) -> list[Task]:
    """The prompts of a frame drawn again on another one, for the same objects if those have values or names.

    Masks among the prompts are left out: they are of the earlier frame.

    Parameters
    ----------
    tasks : iterable of Task
    image : Image
        With a time axis.
    by : int
        How many frames on; negative: back.

    Raises
    ------
    GeometryError
        There is no time axis, or no such frame.
    PromptError
        A mask is all that one of them has.
    """
    shape = image.grid.shape
    moved = []
    for task in tasks:
        ((plane, prompts),) = copied([(task.plane, task.prompts)], time_axis(task.plane, shape), shape, by)
        moved.append(replace(task, plane=plane, prompts=prompts))
    return moved


def _label(value: Any) -> int:
    try:
        whole = 0 if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        whole = 0
    if whole < 1:
        raise LabelsError(
            f"The label of an object is a whole number from 1, not {value!r}. Leave it out for a new one."
        )
    return whole
