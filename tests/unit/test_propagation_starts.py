"""3D boxes, labels that are there, and the frame before, on the asymmetric phantom of the core."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medsam.errors import GeometryError, PromptError
from napari_medsam.geometry import Plane
from napari_medsam.prompts import Box, Point, Prompts
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.starts import boxed, copied, cornered, labelled_keys
from napari_medsam.propagation.subject import Key, Span, Subject

from .fakes import SHAPE, axial


def along(axis: int) -> Stack:
    return Stack.through(Plane.across(axis, 0), SHAPE)


@pytest.mark.parametrize(("first", "last", "middle"), [(0, 3, 1), (0, 2, 1), (2, 2, 2), (1, 2, 1), (3, 9, 6)])
def test_the_key_of_a_3d_box_is_its_middle_slice_the_lower_of_two(first: int, last: int, middle: int) -> None:
    box = Box(1, 2, 4, 7)
    assert boxed(5, box, Span(first, last)) == Subject(5, (Key(middle, Prompts(box)),), Span(first, last))


@pytest.mark.parametrize(
    ("axis", "span", "box"),
    [(0, Span(1, 3), Box(2, 3, 5, 8)), (1, Span(2, 4), Box(1, 3, 4, 8)), (2, Span(3, 7), Box(1, 2, 4, 5))],
)
def test_two_corners_in_any_order_make_a_box_and_a_range_along_every_axis(axis: int, span: Span, box: Box) -> None:
    corners = np.array([(1, 4, 3), (3, 2, 7)], dtype=float)
    for given in (corners, corners[::-1], [(3, 4, 3), (1, 2, 7)]):
        assert cornered(1, given, along(axis), SHAPE) == boxed(1, box, span)


def test_corners_on_the_borders_of_voxels_hold_the_voxels_between() -> None:
    subject = cornered(1, [(0.5, 1.5, 2.5), (2.5, 4.5, 6.5)], along(0), SHAPE)
    assert subject == boxed(1, Box(2, 3, 5, 7), Span(1, 2))


def test_a_3d_box_is_cut_off_at_the_image() -> None:
    subject = cornered(1, [(-4.0, -3.0, 5.0), (1.0, 2.0, 60.0)], along(0), SHAPE)
    assert subject == boxed(1, Box(0, 5, 3, 8), Span(0, 1))


@pytest.mark.parametrize(
    "corners",
    [[(4.6, 0, 0), (9, 4, 4)], [(0, 7, 0), (2, 9, 4)], [(0, 1, 1), (2, 1, 4)], [(0, 0), (1, 1)], [(0, 0, np.nan)] * 2],
)
def test_a_3d_box_that_holds_nothing_is_refused(corners: list[tuple[float, ...]]) -> None:
    with pytest.raises(PromptError):
        cornered(1, corners, along(0), SHAPE)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_slice_that_holds_a_label_is_a_certain_key(axis: int) -> None:
    labels = np.zeros(SHAPE, dtype=np.uint16)
    labels[1, 1:5, 2] = labels[3, 4, 3:6] = 300
    labels[2, 2, 2] = 44  # what 300 is in eight bits
    stack = along(axis)
    keys = labelled_keys(stack, lambda plane: labels[plane.key], 300)
    held = [at for at in range(SHAPE[axis]) if (labels.take(at, axis) == 300).any()]
    assert [key.position for key in keys] == held
    for key in keys:
        assert key.certain
        assert key.prompts.mask is not None
        np.testing.assert_array_equal(key.prompts.mask.pixels, labels.take(key.position, axis) == 300)


def test_only_the_slices_of_the_range_are_read_for_a_label() -> None:
    labels = np.ones(SHAPE, dtype=np.uint8)
    read: list[Plane] = []

    def slice_of(plane: Plane) -> np.ndarray:
        read.append(plane)
        return labels[plane.key]

    assert len(labelled_keys(along(0), slice_of, 1, Span(1, 2))) == 2
    assert read == [axial(1), axial(2)]


def test_an_object_without_a_pixel_is_refused() -> None:
    with pytest.raises(PromptError, match="Object 3 has no pixel on the slices 0 to 3"):
        labelled_keys(along(0), lambda plane: np.zeros((6, 8), np.uint8), 3)


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
