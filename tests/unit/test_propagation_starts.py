"""3D boxes and the frame before, on the asymmetric phantom of the core."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medsam.errors import GeometryError, PromptError
from napari_medsam.geometry import Plane
from napari_medsam.prompts import Box, MaskPrompt, Point, Prompts
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.starts import Solid, boxed, copied, cornered, time_axis
from napari_medsam.propagation.subject import Span

from .fakes import SHAPE, axial


def along(axis: int) -> Stack:
    return Stack.through(Plane.across(axis, 0), SHAPE)


@pytest.mark.parametrize(("first", "last", "middle"), [(0, 3, 1), (0, 2, 1), (2, 2, 2), (1, 2, 1), (3, 9, 6)])
def test_the_key_of_a_3d_box_is_its_middle_slice_the_lower_of_two(first: int, last: int, middle: int) -> None:
    box, stack = Box(1, 2, 4, 7), Stack((1, 2), 0, 12)
    assert boxed(box, Span(first, last), stack) == Solid(stack.plane(middle), box, Span(first, last))


@pytest.mark.parametrize(
    ("axis", "span", "box"),
    [(0, Span(1, 3), Box(2, 3, 5, 8)), (1, Span(2, 4), Box(1, 3, 4, 8)), (2, Span(3, 7), Box(1, 2, 4, 5))],
)
def test_two_corners_in_any_order_make_a_box_and_a_range_along_every_axis(axis: int, span: Span, box: Box) -> None:
    corners = np.array([(1, 4, 3), (3, 2, 7)], dtype=float)
    for given in (corners, corners[::-1], [(3, 4, 3), (1, 2, 7)]):
        assert cornered(given, along(axis), SHAPE) == boxed(box, span, along(axis))


def test_corners_on_the_borders_of_voxels_hold_the_voxels_between() -> None:
    solid = cornered([(0.5, 1.5, 2.5), (2.5, 4.5, 6.5)], along(0), SHAPE)
    assert solid == boxed(Box(2, 3, 5, 7), Span(1, 2), along(0))


def test_a_3d_box_is_cut_off_at_the_image() -> None:
    solid = cornered([(-4.0, -3.0, 5.0), (1.0, 2.0, 60.0)], along(0), SHAPE)
    assert solid == boxed(Box(0, 5, 3, 8), Span(0, 1), along(0))


@pytest.mark.parametrize(
    "corners",
    [[(4.6, 0, 0), (9, 4, 4)], [(0, 7, 0), (2, 9, 4)], [(0, 1, 1), (2, 1, 4)], [(0, 0), (1, 1)], [(0, 0, np.nan)] * 2],
)
def test_a_3d_box_that_holds_nothing_is_refused(corners: list[tuple[float, ...]]) -> None:
    with pytest.raises(PromptError):
        cornered(corners, along(0), SHAPE)


def test_prompts_are_copied_to_the_next_frame_and_nothing_else_changes() -> None:
    shape = (5, *SHAPE)
    prompts = Prompts(Box(1, 2, 4, 7), (Point(2, 3),))
    plane = Plane((2, 3), ((0, 1), (1, 2)))
    assert copied([(plane, prompts)], 0, shape) == [(Plane((2, 3), ((0, 2), (1, 2))), prompts)]
    assert copied([(plane, prompts)], 0, shape, by=-1) == [(Plane((2, 3), ((0, 0), (1, 2))), prompts)]
    assert copied([(plane, prompts)], 1, shape) == [(Plane((2, 3), ((0, 1), (1, 3))), prompts)]


def test_after_the_last_frame_there_is_none() -> None:
    plane = Plane((1, 2), ((0, 3),))
    with pytest.raises(GeometryError, match="There is no frame 4: the frames are 0 to 3"):
        copied([(plane, Prompts(Box(1, 2, 4, 7)))], 0, SHAPE)
    with pytest.raises(GeometryError, match="shows axis 1"):
        copied([(plane, Prompts(Box(1, 2, 4, 7)))], 1, SHAPE)


def test_masks_stay_on_their_own_frame() -> None:
    plane, mask = Plane((1, 2), ((0, 1),)), MaskPrompt(np.ones(SHAPE[1:], dtype=bool))
    moved = copied([(plane, Prompts(Box(1, 2, 4, 7), mask=mask))], 0, SHAPE)
    assert moved == [(axial(2), Prompts(Box(1, 2, 4, 7)))]
    with pytest.raises(PromptError, match="its own frame alone"):
        copied([(plane, Prompts(mask=mask))], 0, SHAPE)


def test_time_is_the_axis_before_the_three_of_space() -> None:
    assert time_axis(Plane((2, 3), ((0, 1), (1, 2))), (5, *SHAPE)) == 0
    with pytest.raises(GeometryError, match="no time axis"):
        time_axis(axial(1), SHAPE)
    with pytest.raises(GeometryError, match="or the view shows it"):
        time_axis(Plane((0, 2), ((1, 1), (3, 2))), (5, *SHAPE))
