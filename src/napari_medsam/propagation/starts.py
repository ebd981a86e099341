"""Ways to say where an object is, beside a prompt on one slice: a 3D box, and the frame before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from napari_medsam.errors import GeometryError, PromptError
from napari_medsam.geometry import Plane
from napari_medsam.prompts import EDGE, Box, Prompts
from napari_medsam.propagation.plan import SPATIAL
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.subject import Span


class Solid(NamedTuple):
    """A 3D box: what is drawn on which slice, and the range."""

    plane: Plane
    box: Box
    span: Span


def boxed(box: Box, span: Span, stack: Stack) -> Solid:
    """The 3D box of a box on slices and their range.

    It is drawn on the middle slice of the range, the lower of two, as in LiteMedSAM's reference.
    """
    return Solid(stack.plane((span.first + span.last) // 2), box, span)


def cornered(corners: ArrayLike, stack: Stack, shape: tuple[int, ...]) -> Solid:
    """The 3D box between two opposite corners.

    Parameters
    ----------
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
    return boxed(box, Span(max(first, 0), min(last, stack.size - 1)), stack)


def time_axis(plane: Plane, shape: tuple[int, ...]) -> int:
    """The first axis of time that a slice of an image of `shape` does not show; GeometryError where there is none."""
    times = [axis for axis, _ in plane.index if axis < len(shape) - SPATIAL]
    if not times:
        raise GeometryError("There is no next frame: this image has no time axis, or the view shows it.")
    return times[0]


def copied(
    drawn: Iterable[tuple[Plane, Prompts]], axis: int, shape: tuple[int, ...], by: int = 1
) -> list[tuple[Plane, Prompts]]:
    """Prompts of a frame laid onto the next one, but for masks, which are of the earlier frame.

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
    PromptError
        A mask is all that there is.
    """
    moved = []
    for plane, prompts in drawn:
        at = dict(plane.index)
        if axis not in at:
            raise GeometryError(f"The slice shows axis {axis}, so no frame is next along it; choose another axis.")
        target = at[axis] + by
        if not 0 <= target < shape[axis]:
            raise GeometryError(f"There is no frame {target}: the frames are 0 to {shape[axis] - 1}.")
        lasting = replace(prompts, mask=None)
        if not lasting:
            raise PromptError("A mask is of its own frame alone. Draw a box or click a point, which can be copied.")
        moved.append((Plane(plane.axes, tuple({**at, axis: target}.items())), lasting))
    return moved
