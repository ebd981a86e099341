"""What is to be followed through which stack and how, and what comes of it: frozen values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import GeometryError, PromptError
from napari_medsam.geometry import Grid
from napari_medsam.masks import BoolArray
from napari_medsam.models.base import Direction
from napari_medsam.propagation.legs import Leg, legs_of
from napari_medsam.propagation.prompting import Prompting
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.stopping import StopRules
from napari_medsam.propagation.subject import Subject
from napari_medsam.propagation.why import Why

SPATIAL = 3
"""The last axes of an image that lie in space; what comes before them is time."""


class Way(Enum):
    """How an object is followed."""

    MEMORY = "the model's memory"
    SLICES = "slice by slice"
    SHAPES = "interpolate shapes"
    BOX = "3D box"


@dataclass(frozen=True)
class Plan:
    """A run, complete in itself.

    Parameters
    ----------
    stack : Stack
    subjects : tuple of Subject
        The objects, followed together: a slice is encoded once for all of them.
    way : Way
    grid : Grid
        Of the image: what makes the rules' millimetres.
    pixels : callable
        Gives the slice at a position as the model sees it, uint8, (rows, columns) or (rows, columns, 3). It is called
        on the thread that walks, when the slice's turn has come.
    rules : StopRules
        When an object is thought to have ended.
    prompting : Prompting
        How the next slice is prompted where objects are followed slice by slice.

    Raises
    ------
    PromptError
        No object, or two of one number.
    GeometryError
        The stack does not lie in the grid, or an object reaches beyond the stack.
    """

    stack: Stack
    subjects: tuple[Subject, ...]
    way: Way
    grid: Grid
    pixels: Callable[[int], NDArray[np.uint8]] = field(repr=False)
    rules: StopRules = field(default_factory=StopRules)
    prompting: Prompting = field(default_factory=Prompting)

    def __post_init__(self) -> None:
        self.stack.plane(0).check(self.grid.shape)
        if self.stack.size != self.grid.shape[self.stack.axis]:
            raise GeometryError(
                f"The stack has {self.stack.size} slices, but axis {self.stack.axis} of the image has "
                f"{self.grid.shape[self.stack.axis]}. Make it anew for this image."
            )
        numbers = [subject.number for subject in self.subjects]
        if not numbers:
            raise PromptError("There is no object to follow. Draw a box or a point on a slice.")
        if len(set(numbers)) < len(numbers):
            raise PromptError("Two objects of the run have the same number; put their keys together.")
        for subject in self.subjects:
            self._check_reach(subject)

    def _check_reach(self, subject: Subject) -> None:
        if subject.span.last >= self.stack.size:
            raise GeometryError(
                f"Slice {subject.span.last} is outside the image, whose slices are 0 to {self.stack.size - 1}."
            )
        for key in subject.keys:
            mask = key.prompts.mask
            if mask is not None and mask.pixels.shape != self.shape:
                raise PromptError(f"The mask on slice {key.position} has {mask.pixels.shape} pixels, not {self.shape}.")

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of every slice."""
        return self.stack.plane(0).shape_in(self.grid.shape)

    @property
    def pixel(self) -> tuple[float, float]:
        """(row, column) size of a pixel, in mm."""
        return self.stack.pixel(self.grid)

    @property
    def pitch(self) -> float:
        """Distance between neighbouring slices in mm; through time, one frame counts as one millimetre."""
        in_time = self.stack.axis < self.grid.ndim - SPATIAL
        return 1.0 if in_time else self.stack.pitch(self.grid)

    @property
    def legs(self) -> tuple[Leg, ...]:
        """Every leg of every object; outward ones are empty where shapes are interpolated, which needs two keys."""
        legs = (leg for subject in self.subjects for leg in legs_of(subject))
        if self.way is not Way.SHAPES:
            return tuple(legs)
        return tuple(leg if leg.towards else replace(leg, positions=leg.positions[:0]) for leg in legs)


@dataclass(frozen=True)
class Grown:
    """The mask of an object on a slice, found by the run.

    Parameters
    ----------
    number : int
        Of the object, as in its `Subject`.
    position : int
        The slice, along the stack.
    mask : (rows, columns) bool array
        Never empty.
    score : float
        How sure it is, 0 to 1: the model's own score; for interpolated shapes how alike the masks are between which it
        lies.
    source : int
        The slice of the key that it came from; its own on a key slice.
    direction : Direction
        The way that it came; of no meaning on a key slice.
    note : str
        What the user should know about this answer.
    """

    number: int
    position: int
    mask: BoolArray = field(repr=False)
    score: float
    source: int
    direction: Direction
    note: str = ""


@dataclass(frozen=True)
class Ended:
    """One direction from one key is done.

    Parameters
    ----------
    number : int
    position : int
        The last slice with the object, in this direction; the key's own when there is none.
    direction : Direction
    source : int
        The slice of the key that it came from.
    why : Why
        A `str` in words for the user.
    left : int
        Slices of this direction without a result; upwards the key slice too, if nothing was found there. `steps_of` is
        the sum of all results and of all that is left.
    """

    number: int
    position: int
    direction: Direction
    source: int
    why: Why
    left: int


@dataclass(frozen=True)
class Passed:
    """A slice was worked on and gave no mask: a certain key was learned, or the object was not found there.

    It carries no result; it lets a caller cancel, and show that the run is alive.
    """

    position: int


def steps_of(plan: Plan) -> int:
    """How many masks a run gives at most: those of the keys that are asked for, and of all slices to reach."""
    asked = sum(not key.certain for subject in plan.subjects for key in subject.keys)
    return asked + sum(len(leg.positions) for leg in plan.legs)
