"""How a slice is prompted by the mask of the one before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_medsam.errors import InputError, UnsupportedError
from napari_medsam.masks import BoolArray
from napari_medsam.models.area_resize import area_resize
from napari_medsam.models.base import ModelSpec
from napari_medsam.prompts import Box, Logits, MaskPrompt, Point, PromptKind, Prompts

FRAME = 256
"""Longest side in pixels of the frame in which LiteMedSAM's reference rule counts."""

SHIFT = 3
"""Pixels of that frame by which the reference rule widens a box on each side."""


class Feed(Enum):
    """What the next slice is asked with."""

    BOX = "a box around the last mask"
    BOX_AND_POINTS = "a box around the last mask, and points inside it"
    MASK = "a box around the last mask, and the mask itself"
    REFERENCE = "the rule of LiteMedSAM's reference"


@dataclass(frozen=True)
class Prompting:
    """How the next slice is prompted.

    A model that takes no box is given what it takes in its place: points deep inside the last mask, or the mask.

    Parameters
    ----------
    feed : Feed
        REFERENCE is the rule with which LiteMedSAM's authors segment volumes: the box is the bounds of the last mask in
        a frame of 256 pixels, 3 pixels wider on each side, or the drawn box again where that mask is empty. An empty
        mask then ends nothing.
    margin : float
        Between the last mask and its box on each side, in mm; at least one pixel.
    points : int
        How many, where there are any.
    motion : bool
        Whether the box is drawn where the object is expected by the image (`motion.expected`), rather than where it
        was; never for REFERENCE. With MASK, a mask that is carried along so is given as a mask; one that stays where it
        was is given with the logits that it was made of, to models that start from their own.

    Raises
    ------
    InputError
        A negative margin, or no point.
    """

    feed: Feed = Feed.BOX
    margin: float = 1.0
    points: int = 1
    motion: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.margin < np.inf:
            raise InputError(f"The margin around a mask is 0 mm or more, not {self.margin}.")
        if self.points < 1:
            raise InputError(f"The next slice is prompted with 1 point or more, not {self.points}.")

    @property
    def moves(self) -> bool:
        """Whether the next prompt is put where the image says that the object is."""
        return self.motion and self.feed is not Feed.REFERENCE

    @property
    def hands_on(self) -> bool:
        """Whether the next slice is asked with the very mask of the one before it, so that its logits are of use."""
        return self.feed is Feed.MASK and not self.motion

    @property
    def falls_back(self) -> bool:
        """Whether an empty mask is followed by the prompt of the key."""
        return self.feed is Feed.REFERENCE


def require_promptable(spec: ModelSpec, prompting: Prompting) -> None:
    """Raise UnsupportedError unless a model can be prompted so."""
    needed = {
        Feed.BOX: frozenset[PromptKind](),
        Feed.BOX_AND_POINTS: frozenset({PromptKind.BOX, PromptKind.POINT}),
        Feed.MASK: frozenset({PromptKind.MASK}),
        Feed.REFERENCE: frozenset({PromptKind.BOX}),
    }[prompting.feed]
    missing = sorted(kind.value for kind in needed - spec.prompts)
    if missing:
        raise UnsupportedError(
            f"{spec.title} was not made for a {' and a '.join(missing)}, which '{prompting.feed.value}' needs. Choose "
            f"'{Feed.BOX.value}', or another model."
        )
    if not spec.prompts & {PromptKind.BOX, PromptKind.POINT, PromptKind.MASK}:
        raise UnsupportedError(
            f"{spec.title} takes neither box, point nor mask, so it cannot follow an object slice by slice. Choose "
            "another model, or interpolate shapes."
        )


def prompted(
    mask: BoolArray,
    prompting: Prompting,
    spec: ModelSpec,
    pixel: tuple[float, float],
    logits: Logits | None = None,
) -> Prompts:
    """What the next slice is asked with.

    Parameters
    ----------
    mask : (rows, columns) bool array
        The object on the slice before, not empty.
    prompting : Prompting
    spec : ModelSpec
        What it was made for decides, not what it takes by stand-ins.
    pixel : (float, float)
        Size of a pixel along rows and columns, in mm.
    logits : Logits, optional
        Those that the mask was made of, where they are known.
    """
    takes = spec.prompts
    if prompting.feed is Feed.REFERENCE:
        return Prompts(reference_box(mask))
    if PromptKind.BOX not in takes:
        if PromptKind.POINT in takes:
            return Prompts(points=inner_points(mask, pixel, prompting.points))
        return Prompts(mask=MaskPrompt(mask, logits))
    asked = Prompts(box_around(mask, prompting.margin, pixel))
    if prompting.feed is Feed.BOX_AND_POINTS:
        return replace(asked, points=inner_points(mask, pixel, prompting.points))
    if prompting.feed is Feed.MASK:
        return replace(asked, mask=MaskPrompt(mask, logits))
    return asked


def box_around(mask: BoolArray, margin: float, pixel: tuple[float, float], *, least: int = 1) -> Box:
    """The box around a mask that is not empty, within its plane.

    Parameters
    ----------
    mask : (rows, columns) bool array
    margin : float
        On each side, in mm.
    pixel : (float, float)
        Size of a pixel along rows and columns, in mm.
    least : int
        The least margin in pixels.

    Raises
    ------
    PromptError
        The plane itself is smaller than a box may be, 2 x 2 pixels.
    """
    hits = [np.flatnonzero(mask.any(axis=1 - axis)) for axis in (0, 1)]
    bounds = (*(int(hit[0]) for hit in hits), *(int(hit[-1]) + 1 for hit in hits))
    return box_within(bounds, margin, pixel, (mask.shape[0], mask.shape[1]), least=least)


def box_within(
    bounds: Sequence[float], margin: float, pixel: tuple[float, float], shape: tuple[int, int], *, least: int = 1
) -> Box:
    """The box around bounds (first row and column, and those after the last), in a plane of `shape`.

    Margins and errors are those of `box_around`.
    """
    sides = []
    for axis, size in enumerate(pixel):
        by = max(least, round(margin / size))
        sides.append(_within(round(bounds[axis] - by), round(bounds[axis + 2] + by), shape[axis]))
    (row0, row1), (column0, column1) = sides
    return Box(row0, column0, row1, column1)


def _within(start: int, stop: int, size: int) -> tuple[int, int]:
    """A range cut to 0 ... size, and at least two wide where there is room."""
    start, stop = max(start, 0), min(stop, size)
    if stop - start < 2:
        start, stop = (start, stop + 1) if stop < size else (max(start - 1, 0), stop)
    return start, stop


def inner_points(mask: BoolArray, pixel: tuple[float, float], count: int) -> tuple[Point, ...]:
    """Positive points deep inside a mask that is not empty: each far from the border and from those before it.

    Of several that are equally deep the one nearest to the centroid comes first. There are fewer points than `count`
    where the mask has fewer pixels.
    """
    padded = np.pad(mask, 1)  # the edge of the plane is a border too
    depth = ndimage.distance_transform_edt(padded, sampling=pixel)[1:-1, 1:-1]
    at = np.argwhere(mask)
    place = at * np.asarray(pixel)
    room, away = depth[mask], np.linalg.norm(place - place.mean(axis=0), axis=1)
    found: list[Point] = []
    while len(found) < count and room.max() > 0:
        best = np.flatnonzero(room > room.max() * (1 - 1e-9))
        chosen = int(best[away[best].argmin()])
        found.append(Point(float(at[chosen, 0]), float(at[chosen, 1])))
        room = np.minimum(room, np.linalg.norm(place - place[chosen], axis=1))
    return tuple(found)


def reference_box(mask: BoolArray) -> Box:
    """The box of LiteMedSAM's reference: bounds in a frame of FRAME pixels, SHIFT wider, on the plane's own pixels.

    The reference resizes the mask to the frame by area, and takes first and last pixel. Of the box given here
    LiteMedSAM sees exactly those numbers, wherever the plane is larger than the frame and holds the box.
    """
    shape = mask.shape[0], mask.shape[1]
    scale = FRAME / max(shape)
    small = _framed(mask, shape)
    bounds = []
    for axis in (0, 1):
        hit = np.flatnonzero(small.any(axis=1 - axis))
        low, high = max(int(hit[0]) - SHIFT, 0), min(int(hit[-1]) + SHIFT, FRAME)
        # a box is half open: of its last pixel the frame sees the number
        bounds.append(_within(_unframed(low, scale), _unframed(high, scale) + 1, shape[axis]))
    (row0, row1), (column0, column1) = bounds
    return Box(row0, column0, row1, column1)


def _unframed(edge: int, scale: float) -> int:
    """The pixel that lies at a number of the frame; the first of several, the nearest where there is none."""
    if scale > 1:
        return round(edge / scale)
    at = int(np.ceil(edge / scale))
    return at if int(at * scale) >= edge else at + 1


def _framed(mask: BoolArray, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A mask in the frame; where nothing of it is left there, each pixel that holds one of its own."""
    scale = FRAME / max(shape)
    rows, columns = (max(1, int(side * scale + 0.5)) for side in shape)
    small = area_resize(mask.astype(np.uint8), (rows, columns))
    if not small.any():
        row, column = np.nonzero(mask)
        small[row * rows // shape[0], column * columns // shape[1]] = 1
    return small
