"""Ways to say where an object is, beside a prompt on one slice: a 3D box, labels that are there, the frame before."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_medsam.errors import GeometryError, PromptError
from napari_medsam.geometry import Plane
from napari_medsam.prompts import EDGE, Box, MaskPrompt, Prompts
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.subject import Key, Span, Subject


def boxed(number: int, box: Box, span: Span, stops: frozenset[int] = frozenset()) -> Subject:
    """An object in a 3D box: its key is the middle slice of the range, the lower of two, as in LiteMedSAM's reference.

    Parameters
    ----------
    number : int
        Of the object.
    box : Box
        On the slices.
    span : Span
        Its first and its last slice.
    stops : frozenset of int
        See `Subject`.
    """
    return Subject(number, (Key((span.first + span.last) // 2, Prompts(box)),), span, stops)


def cornered(number: int, corners: ArrayLike, stack: Stack, shape: tuple[int, ...]) -> Subject:
    """An object in the 3D box between two opposite corners.

    Parameters
    ----------
    number : int
        Of the object.
    corners : (2, n) array
        Index positions in any order; the box holds all voxels that lie between them. What is outside is cut off.
    stack : Stack
    shape : tuple of int
        Voxels of the image along its n axes.

    Raises
    ------
    PromptError
        These are no two corners, the box lies outside the image, or it is smaller than 2 x 2 pixels on its slices.
    """
    at = np.asarray(corners, dtype=np.float64)
    if at.shape != (2, len(shape)) or not np.isfinite(at).all():
        raise PromptError(f"A 3D box has two corners of {len(shape)} numbers each, not {np.shape(corners)}.")
    depth = at[:, stack.axis]
    first = int(np.floor(depth.min() + 0.5 + EDGE))
    last = max(int(np.ceil(depth.max() + 0.5 - EDGE)) - 1, first)
    if last < 0 or first >= stack.size:
        raise PromptError(
            f"The 3D box reaches from slice {first} to {last}, outside the image, whose slices are 0 to "
            f"{stack.size - 1}. Draw it on the image."
        )
    box = Box.around(at[:, list(stack.axes)]).clipped(stack.plane(0).shape_in(shape))
    return boxed(number, box, Span(max(first, 0), min(last, stack.size - 1)))


def labelled_keys(
    stack: Stack, read: Callable[[Plane], NDArray[Any]], value: int, span: Span | None = None
) -> tuple[Key, ...]:
    """A certain key for each slice on which an object has pixels: a label that is there, also a partly filled one.

    Parameters
    ----------
    stack : Stack
    read : callable
        Gives the labels of a slice, (rows, columns); called once for each slice of the range, in order.
    value : int
        The object's label.
    span : Span, optional
        The slices to look at; all when left out.

    Raises
    ------
    PromptError
        The object has no pixel there.
    """
    reach = Span(0, stack.size - 1) if span is None else span
    keys = []
    for position in range(reach.first, reach.last + 1):
        mask = read(stack.plane(position)) == value
        if mask.any():
            keys.append(Key(position, Prompts(mask=MaskPrompt(mask))))
    if not keys:
        raise PromptError(
            f"Object {value} has no pixel on the slices {reach.first} to {reach.last}. Accept a mask or paint on one "
            "of them, or draw a box."
        )
    return tuple(keys)


def copied(
    drawn: Iterable[tuple[Plane, Prompts]], axis: int, shape: tuple[int, ...], by: int = 1
) -> list[tuple[Plane, Prompts]]:
    """Prompts of a frame laid onto the next one.

    Parameters
    ----------
    drawn : iterable of (Plane, Prompts)
    axis : int
        The axis of time (or depth) of the image.
    shape : tuple of int
        Voxels of the image along each axis.
    by : int
        How many frames on; negative: back.

    Raises
    ------
    GeometryError
        There is no such frame, or the slices show the axis.
    """
    moved = []
    for plane, prompts in drawn:
        at = dict(plane.index)
        if axis not in at:
            raise GeometryError(f"The slice shows axis {axis}, so no frame is next along it; choose another axis.")
        target = at[axis] + by
        if not 0 <= target < shape[axis]:
            raise GeometryError(f"There is no frame {target}: the frames are 0 to {shape[axis] - 1}.")
        moved.append((Plane(plane.axes, tuple({**at, axis: target}.items())), prompts))
    return moved
