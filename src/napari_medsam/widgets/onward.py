"""Prompts carried on to other slices: to the next frame, and from two corners to the box between them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import PromptError
from napari_medsam.geometry import Plane
from napari_medsam.prompts import Prompts
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.starts import copied, cornered, time_axis
from napari_medsam.widgets.collect import UNSET, Drawn
from napari_medsam.widgets.proposals import Proposals
from napari_medsam.widgets.workspace import Workspace


def copied_on(proposals: Proposals, work: Workspace, plane: Plane) -> NDArray[np.float64]:
    """Accept what is proposed on a slice, and draw the same prompts on it in the next frame, for the same objects.

    Returns
    -------
    (n,) array
        A voxel of the slice in the next frame.

    Raises
    ------
    GeometryError
        There is no time axis to go along, or this is the last frame.
    PromptError
        Nothing is proposed here, or its mask is still on its way.
    """
    shape = work.session.image.grid.shape
    axis = time_axis(plane, shape)
    mine = [drawn for drawn in work.drawn.values() if drawn.plane == plane and drawn.own != UNSET]
    if not mine:
        raise PromptError("There are no prompts on this slice to copy. Draw a box (G) or click a point (H) first.")
    if any(work.session.drafts[drawn.key].pending for drawn in mine):
        raise PromptError("The mask of this slice is still on its way. Press again when it is there.")
    onward = copied([(plane, drawn.prompts) for drawn in mine], axis, shape)
    for drawn, (there, prompts) in zip(mine, onward, strict=True):
        accepted = work.target.accept(drawn.key)
        proposals.consume(work, drawn.key)
        if accepted is not None:
            number = proposals.layers.new_number()
            work.destined[number] = accepted.value
            proposals.layers.add(there, prompts, number)
    return np.asarray(onward[0][0].to_index([(0, 0)])[0])


def corners_to_box(proposals: Proposals, work: Workspace, stack: Stack) -> None:
    """Two points on two slices are the corners of a 3D box: draw it on the middle slice, and limit the range to it.

    Anything else stays as it is drawn.
    """
    corners = [drawn for drawn in work.drawn.values() if stack.position(drawn.plane) is not None]
    at = [stack.position(drawn.plane) for drawn in corners]
    if len(corners) != 2 or at[0] == at[1] or not all(_is_corner(drawn) for drawn in corners):
        return
    points = [(drawn.plane, drawn.prompts.points[0]) for drawn in corners]
    at_voxels = [plane.to_index([(point.row, point.column)])[0] for plane, point in points]
    solid = cornered(at_voxels, stack, work.session.image.grid.shape)
    work.reaches[stack] = replace(work.reaches[stack], first=solid.span.first, last=solid.span.last)
    proposals.layers.remove({drawn.own for drawn in corners})
    proposals.layers.add(solid.plane, Prompts(box=solid.box), proposals.layers.new_number())
    proposals.read()


def _is_corner(drawn: Drawn) -> bool:
    """Whether a single positive point of the plugin's own was clicked, and nothing else."""
    return (
        drawn.own != UNSET
        and drawn.prompts == Prompts(points=drawn.prompts.points[:1])
        and any(point.positive for point in drawn.prompts.points)
    )
