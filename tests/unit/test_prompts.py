"""Boxes, points and strokes: which pixels they mean, and which of them are refused."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from napari_medsam.errors import PromptError
from napari_medsam.geometry import Grid, Plane
from napari_medsam.prompts import EDGE, Box, MaskPrompt, Point, PromptKind, Prompts, Stroke

SHAPE = (6, 8)


@st.composite
def boxes(draw: st.DrawFn, largest: int = 500) -> Box:
    row0, column0 = draw(st.integers(-20, largest)), draw(st.integers(-20, largest))
    return Box(row0, column0, row0 + draw(st.integers(2, largest)), column0 + draw(st.integers(2, largest)))


# -- boxes -----------------------------------------------------------------------------------------------------


@given(boxes(4000))
def test_the_box_around_its_own_outline_is_the_box(box: Box) -> None:
    assert Box.around(box.outline) == box
    assert Box.around(box.outline.astype(np.float32)) == box


@given(
    box=boxes(),
    axis=st.integers(0, 2),
    spacing=st.tuples(*[st.floats(0.3, 5)] * 3),
    flips=st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3),
    degrees=st.floats(0, 360),
    shear=st.floats(-0.3, 0.3),
    origin=st.tuples(*[st.floats(-300, 300)] * 3),
)
def test_a_box_survives_any_transform_and_float32(
    box: Box,
    axis: int,
    spacing: tuple[float, float, float],
    flips: tuple[float, float, float],
    degrees: float,
    shear: float,
    origin: tuple[float, float, float],
) -> None:
    """Shapes layers store float32, so corners come back a little inside or outside the edge of their pixel."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ np.array([[1, 0, 0], [0, 1, shear], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(np.array(spacing) * flips)
    affine[:3, 3] = origin
    grid, plane = Grid((600, 600, 600), affine), Plane.across(axis, 17)
    world = grid.to_world(plane.to_index(box.outline)).astype(np.float32)
    assert Box.around(plane.from_index(grid.to_index(world))) == box


@given(st.tuples(st.floats(-30, 30), st.floats(2.5, 40)), st.tuples(st.floats(-30, 30), st.floats(2.5, 40)))
def test_a_box_holds_all_pixels_that_its_bounds_touch(rows: tuple[float, float], columns: tuple[float, float]) -> None:
    """Pixel r covers r - 0.5 to r + 0.5; it is touched when more than EDGE of it lies within the bounds."""
    ranges = []
    for low, size in (rows, columns):
        high = low + size
        overlap = {r: min(high, r + 0.5) - max(low, r - 0.5) for r in range(-40, 80)}
        assume(all(abs(o - EDGE) > 1e-9 for o in overlap.values()))
        touched = [r for r, o in overlap.items() if o > EDGE]
        ranges += [touched[0], touched[-1] + 1]
    corners = [[rows[0], columns[0]], [rows[0] + rows[1], columns[0] + columns[1]]]
    assert Box.around(corners) == Box(ranges[0], ranges[2], ranges[1], ranges[3])


def test_a_hundredth_of_a_pixel_is_touched_and_float32_noise_is_not() -> None:
    assert Box.around([[0.49, 1.49], [4.51, 6.51]]) == Box(0, 1, 6, 8)
    assert Box.around([[0.4999, 1.4999], [4.5001, 6.5001]]) == Box(1, 2, 5, 7)


def test_the_order_and_the_number_of_corners_do_not_matter() -> None:
    box = Box(1, 2, 5, 8)
    for corners in itertools.permutations(box.outline):
        assert Box.around(np.array(corners)) == box
    assert Box.around(np.array([[2.0, 5.0], [0.6, 4.0], [4.4, 1.6], [3.0, 7.4]])) == box


def test_an_outline_lies_on_the_outer_edges_of_the_pixels() -> None:
    assert Box(1, 2, 3, 5).outline.tolist() == [[0.5, 1.5], [0.5, 4.5], [2.5, 4.5], [2.5, 1.5]]


def test_a_box_is_half_open() -> None:
    plane = np.zeros(SHAPE, dtype=bool)
    plane[Box(1, 2, 3, 5).slices] = True
    assert np.argwhere(plane).tolist() == [[r, c] for r in (1, 2) for c in (2, 3, 4)]


@pytest.mark.parametrize(
    ("numbers", "size"),
    [((1, 2, 1, 2), "0 x 0"), ((1, 2, 2, 9), "1 x 7"), ((1, 2, 9, 3), "8 x 1"), ((5, 5, 2, 2), "0 x 0")],
)
def test_empty_one_pixel_and_inverted_boxes_are_refused_with_their_size(numbers: tuple[int, ...], size: str) -> None:
    with pytest.raises(PromptError, match=f"covers {size} pixels"):
        Box(*numbers)


@pytest.mark.parametrize("corners", [[[3, 4], [3, 4]], [[2.5, 1], [2.5, 6]], [[3.2, 4.2], [3.3, 9]]])
def test_a_click_or_a_line_drawn_as_a_box_is_refused(corners: list[list[float]]) -> None:
    with pytest.raises(PromptError, match="at least 2 x 2"):
        Box.around(corners)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_corners_at_nan_or_infinity_are_refused(bad: float) -> None:
    with pytest.raises(PromptError, match="NaN or infinity"):
        Box.around([[1, 2], [bad, 9]])


def test_a_box_without_corners_is_refused() -> None:
    with pytest.raises(PromptError):
        Box.around(np.empty((0, 2)))


@pytest.mark.parametrize("box", [Box(-5, 1, 0, 5), Box(6, 1, 9, 5), Box(1, -9, 4, 0), Box(1, 8, 4, 20)])
def test_a_box_outside_the_image_is_refused_with_the_size_of_the_image(box: Box) -> None:
    with pytest.raises(PromptError, match="outside the image of 6 x 8"):
        box.clipped(SHAPE)


def test_a_box_partly_outside_is_cut_at_the_edge() -> None:
    assert Box(-3, -1, 4, 99).clipped(SHAPE) == Box(0, 0, 4, 8)
    assert Box(1, 2, 3, 5).clipped(SHAPE) == Box(1, 2, 3, 5)


def test_a_box_of_which_one_row_is_inside_is_refused() -> None:
    with pytest.raises(PromptError, match="1 x 4"):
        Box(-3, 1, 1, 5).clipped(SHAPE)


@given(boxes(12))
def test_clipping_keeps_exactly_the_pixels_inside(box: Box) -> None:
    inside = {(r, c) for r in range(6) for c in range(8) if box.row0 <= r < box.row1 and box.column0 <= c < box.column1}
    try:
        clipped = box.clipped(SHAPE)
    except PromptError:
        assert not inside or min(len({r for r, _ in inside}), len({c for _, c in inside})) < 2
        return
    rows, columns = clipped.slices
    assert inside == set(itertools.product(range(rows.start, rows.stop), range(columns.start, columns.stop)))


# -- points and strokes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("position", "pixel"),
    [((2, 3), (2, 3)), ((2.49, 3.49), (2, 3)), ((1.5, 2.5), (2, 3)), ((-0.5, 0), (0, 0)), ((-0.51, 0), (-1, 0))],
)
def test_a_point_lies_in_the_pixel_around_it(position: tuple[float, float], pixel: tuple[int, int]) -> None:
    """Not truncated toward zero, and not rounded to even: 1.5 and 2.5 both go up."""
    assert Point(*position).pixel == pixel


@given(st.lists(st.tuples(st.floats(-3, 9), st.floats(-3, 11)), min_size=1, max_size=4))
def test_a_stroke_is_an_unbroken_line_of_pixels_near_its_points(points: list[tuple[float, float]]) -> None:
    wide = (40, 40)
    pixels = Stroke(tuple((r + 10, c + 10) for r, c in points)).pixels(wide)
    reached, rest = {tuple(pixels[0])}, {tuple(p) for p in pixels[1:]}
    while more := {p for p in rest if any(max(abs(p[0] - q[0]), abs(p[1] - q[1])) <= 1 for q in reached)}:
        reached |= more
        rest -= more
    assert not rest, "8-connected"
    corners = np.array(points) + 10
    for corner in corners:
        assert Point(*corner).pixel in reached
    assert (pixels >= np.floor(corners.min(axis=0) + 0.5)).all()
    assert (pixels <= np.floor(corners.max(axis=0) + 0.5)).all()


def test_a_straight_stroke_in_pixels() -> None:
    assert Stroke(((1, 2), (1, 5))).pixels(SHAPE).tolist() == [[1, 2], [1, 3], [1, 4], [1, 5]]
    assert Stroke(((1, 1), (4, 4))).pixels(SHAPE).tolist() == [[1, 1], [2, 2], [3, 3], [4, 4]]
    assert Stroke(((4, 6),)).pixels(SHAPE).tolist() == [[4, 6]]


def test_the_part_of_a_stroke_outside_the_image_is_left_out() -> None:
    assert Stroke(((5, 6), (5, 12))).pixels(SHAPE).tolist() == [[5, 6], [5, 7]]
    assert Stroke(((-3, 2), (1, 2))).pixels(SHAPE).tolist() == [[0, 2], [1, 2]]


# -- prompts ---------------------------------------------------------------------------------------------------


@given(
    box=st.none() | boxes(8),
    points=st.lists(st.tuples(st.floats(0, 5), st.floats(0, 7), st.booleans()), max_size=3),
)
def test_transposing_twice_changes_nothing(box: Box | None, points: list[tuple[float, float, bool]]) -> None:
    strokes = (Stroke(((1, 2), (3, 7)), positive=False),)
    prompts = Prompts(box, tuple(Point(*p) for p in points), strokes)
    assert prompts.transposed().transposed() == prompts


def test_transposing_exchanges_rows_and_columns_and_nothing_else() -> None:
    prompts = Prompts(Box(1, 2, 4, 8), (Point(1, 5, False),), (Stroke(((0, 1), (2, 7))),))
    swapped = Prompts(Box(2, 1, 8, 4), (Point(5, 1, False),), (Stroke(((1, 0), (7, 2))),))
    assert prompts.transposed() == swapped


def test_prompts_are_values() -> None:
    prompts = Prompts(Box(1, 2, 4, 8), (Point(1, 5),))
    assert prompts == Prompts(Box(1, 2, 4, 8), (Point(1, 5),))
    assert hash(prompts) == hash(Prompts(Box(1, 2, 4, 8), (Point(1, 5),)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        prompts.box = None  # type: ignore[misc]


def test_which_kinds_are_there() -> None:
    assert not Prompts()
    assert Prompts().kinds == frozenset()
    assert Prompts(points=(Point(1, 1, False),)).kinds == {PromptKind.POINT}
    every = Prompts(Box(0, 0, 2, 2), (Point(1, 1),), (Stroke(((1, 1),)),), MaskPrompt([[True]]))
    assert every
    assert every.kinds == frozenset(PromptKind)


def test_fitting_clips_the_box_and_keeps_the_rest() -> None:
    prompts = Prompts(Box(-2, 1, 4, 20), (Point(5.4, 7.4, False),), (Stroke(((5, 6), (5, 12))),))
    assert prompts.fitted(SHAPE) == Prompts(Box(0, 1, 4, 8), prompts.points, prompts.strokes)


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        (Prompts(), "no prompt"),
        (Prompts(points=(Point(1, 1, False),)), "Only negative"),
        (Prompts(strokes=(Stroke(((1, 1),), False),)), "Only negative"),
        (Prompts(Box(10, 10, 14, 14)), "outside the image"),
        (Prompts(points=(Point(1, 8),)), "row 1.0, column 8.0 lies outside the image of 6 x 8"),
        (Prompts(points=(Point(-0.6, 2),)), "outside"),
        (Prompts(Box(0, 0, 3, 3), points=(Point(1, 1), Point(6, 2, False))), "outside"),
        (Prompts(points=(Point(np.nan, 2),)), "NaN"),
        (Prompts(points=(Point(2, np.inf),)), "NaN or infinity"),
        (Prompts(strokes=(Stroke(((20, 20), (30, 30))),)), "stroke lies outside"),
    ],
)
def test_prompts_that_cannot_be_used_are_refused_with_the_reason(prompts: Prompts, words: str) -> None:
    with pytest.raises(PromptError, match=words):
        prompts.fitted(SHAPE)


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
@pytest.mark.parametrize("points", [((1, 1), (np.nan, 2)), ((np.inf, 2), (1, 1)), ((np.nan, 2),), ()])
def test_strokes_at_nan_or_without_points_are_refused_without_a_foreign_exception(
    points: tuple[tuple[float, float], ...],
) -> None:
    with pytest.raises(PromptError):
        Prompts(strokes=(Stroke(points),)).fitted(SHAPE)


def test_a_negative_point_beside_a_box_is_enough() -> None:
    prompts = Prompts(Box(0, 0, 3, 3), (Point(1, 1, False),))
    assert prompts.fitted(SHAPE) == prompts
