"""RECIST lines: the box is that of the ellipse, on pixels of any shape."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medsam.errors import PromptError
from napari_medsam.prompts import ASSUMED_RATIO, LINE_MARGIN, Box, Line, Point, PromptKind, Prompts, Stroke

BOX, POINT, STROKE = PromptKind.BOX, PromptKind.POINT, PromptKind.STROKE
PIXEL = (0.5, 2.0)
LONG = ((20.0, 30.0), (60.0, 45.0))


def ellipse_bounds(line: Line, pixel: tuple[float, float]) -> np.ndarray:
    """Bounds in mm, [[row, column], [row, column]], of 100,000 points on the ellipse of the two lengths."""
    ends = np.array(line.long) * pixel
    u = (ends[1] - ends[0]) / 2
    short = line.lengths(pixel)[1]
    v = np.array([-u[1], u[0]]) / np.hypot(*u) * short / 2
    t = np.linspace(0, 2 * np.pi, 100_001)[:, None]
    around = ends.mean(axis=0) + u * np.cos(t) + v * np.sin(t)
    return np.array([around.min(axis=0), around.max(axis=0)])


def expected_box(bounds: np.ndarray, pixel: tuple[float, float]) -> Box:
    by = (bounds[1] - bounds[0]) * LINE_MARGIN / 2
    low, high = (bounds[0] - by) / pixel, (bounds[1] + by) / pixel
    # the pixels that these bounds touch
    return Box(*np.floor(low + 0.5).astype(int).tolist(), *np.ceil(high + 0.5).astype(int).tolist())


def test_lengths_are_in_millimetres() -> None:
    line = Line(((10, 5), (10, 9)), ((7, 7), (13, 7)))
    assert line.lengths((1.0, 3.0)) == (12.0, 6.0)
    assert Line(((10, 5), (10, 9))).lengths((1.0, 3.0)) == (12.0, 12.0 * ASSUMED_RATIO)


@pytest.mark.parametrize("pixel", [(1.0, 1.0), PIXEL, (3.0, 0.7)])
def test_the_box_is_that_of_the_ellipse_enlarged(pixel: tuple[float, float]) -> None:
    for line in (Line(LONG), Line(((20.0, 30.0), (20.0, 52.0))), Line(((60.0, 30.0), (21.0, 47.0)))):
        assert line.box(pixel) == expected_box(ellipse_bounds(line, pixel), pixel)


def test_a_short_axis_out_of_the_middle_is_in_the_box_too() -> None:
    line = Line(((30.0, 10.0), (30.0, 50.0)), ((10.0, 45.0), (35.0, 45.0)))
    bounds = ellipse_bounds(line, (1.0, 1.0))
    assert bounds[0, 0] > 10.0
    bounds[0, 0] = 10.0
    assert line.box((1.0, 1.0)) == expected_box(bounds, (1.0, 1.0))


def test_either_end_may_be_drawn_first() -> None:
    assert Line((LONG[1], LONG[0])).box(PIXEL) == Line(LONG).box(PIXEL)


def test_transposing_the_line_transposes_the_box() -> None:
    line = Line(LONG, ((45.0, 33.0), (35.0, 42.0)))
    straight, across = line.box(PIXEL), line.transposed().box(PIXEL[::-1])
    assert (across.row0, across.column0, across.row1, across.column1) == (
        straight.column0,
        straight.row0,
        straight.column1,
        straight.row1,
    )


def test_a_model_is_asked_with_what_it_takes() -> None:
    line = Line(LONG, ((45.0, 33.0), (35.0, 42.0)))
    middle = Point(40.0, 37.5)
    strokes = tuple(Stroke(ends) for ends in (line.long, line.short) if ends)
    assert line.prompts(PIXEL, frozenset({BOX})) == Prompts(line.box(PIXEL))
    assert line.prompts(PIXEL, frozenset({BOX, POINT, STROKE})) == Prompts(line.box(PIXEL), (middle,))
    assert line.prompts(PIXEL, frozenset({POINT})) == Prompts(points=(middle,))
    assert line.prompts(PIXEL, frozenset({STROKE, PromptKind.MASK})) == Prompts(strokes=strokes)
    assert Line(LONG).prompts(PIXEL, frozenset({STROKE})) == Prompts(strokes=strokes[:1])


@pytest.mark.parametrize("ends", [((1.0, 2.0), (1.0, 2.0)), ((np.nan, 2.0), (3.0, 4.0)), ((1.0, np.inf), (3.0, 4.0))])
def test_a_line_without_length_or_place_is_refused(ends: tuple[tuple[float, float], tuple[float, float]]) -> None:
    for make in (lambda: Line(ends), lambda: Line(LONG, ends)):
        with pytest.raises(PromptError, match="delete it and draw it again"):
            make()


def test_a_lesion_below_two_pixels_makes_no_box() -> None:
    with pytest.raises(PromptError, match="at least 2 x 2"):
        Line(((5.0, 5.0), (5.1, 5.1))).box((1.0, 1.0))
