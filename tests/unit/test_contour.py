"""What the built-in model answers, beyond the laws that all models obey (tests/contract)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_medsam.errors import ImageError, MedsamError, ModelError, PromptError
from napari_medsam.models.base import Embedding, Prediction
from napari_medsam.models.contour import FLAT_SCORE, Contour
from napari_medsam.models.workframe import frame_of, pyramid_of
from napari_medsam.prompts import Box, Point, PromptKind, Prompts, Stroke

CONTOUR = Contour()
SHAPE = (90, 120)


def decode(plane: NDArray[np.uint8], prompts: Prompts) -> Prediction:
    return CONTOUR.decode(CONTOUR.encode(plane), prompts)


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def disc(row: float, column: float, radius: float, shape: tuple[int, int] = SHAPE) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.asarray((rows - row) ** 2 + (columns - column) ** 2 <= radius**2)


def painted(*parts: tuple[NDArray[np.bool_], int], noise: float = 8.0, seed: int = 0) -> NDArray[np.uint8]:
    values = np.full(SHAPE, 80.0)
    for mask, value in parts:
        values[mask] = value
    values += np.random.default_rng(seed).normal(0, noise, SHAPE)
    return values.clip(0, 255).astype(np.uint8)


def box_around(mask: NDArray[np.bool_], loose: int = 2) -> Box:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return Box(rows[0] - loose, columns[0] - loose, rows[-1] + 1 + loose, columns[-1] + 1 + loose)


@pytest.mark.parametrize("value", [40, 140], ids=["dark", "bright"])
@pytest.mark.parametrize("radius", [4, 11, 30])
def test_a_noisy_disc_is_found_whatever_its_size(value: int, radius: int) -> None:
    truth = disc(44, 61, radius)
    prediction = decode(painted((truth, value)), Prompts(box_around(truth)))
    assert dice(prediction.mask, truth) > 0.93
    assert prediction.score > 0.7


@pytest.mark.parametrize("resolution", [1, 3])
def test_the_answer_does_not_hang_on_the_resolution(resolution: int) -> None:
    truth = disc(44, 61, 20) & ~disc(44, 78, 9)
    plane, finer = painted((truth, 130)), np.ones((resolution, resolution), dtype=np.uint8)
    box = box_around(truth)
    larger = Box(*(resolution * edge for edge in (box.row0, box.column0, box.row1, box.column1)))
    prediction = decode(np.kron(plane, finer), Prompts(larger))
    assert dice(prediction.mask, np.kron(truth, finer > 0)) > 0.9


def test_an_object_that_differs_in_colour_only_is_found() -> None:
    truth = disc(40, 50, 14)
    plane = np.stack([painted((truth, 120), seed=1), painted(seed=2), painted((truth, 40), seed=3)], axis=2)
    assert dice(decode(plane, Prompts(box_around(truth))).mask, truth) > 0.93


def test_a_grey_plane_given_as_rgb_gets_the_same_masks() -> None:
    truth = disc(40, 50, 14)
    plane = painted((truth, 120))
    grey = decode(plane, Prompts(box_around(truth)))
    colour = decode(np.stack([plane] * 3, axis=2), Prompts(box_around(truth)))
    np.testing.assert_array_equal(colour.masks, grey.masks)


def test_candidates_differ_and_the_best_score_is_chosen() -> None:
    truth = disc(40, 50, 14)
    prediction = decode(painted((truth, 120)), Prompts(box_around(truth)))
    assert len(prediction.masks) == 3
    assert prediction.score == prediction.scores.max()
    assert len({mask.tobytes() for mask in prediction.masks}) > 1


def test_the_score_is_higher_where_the_object_is_plain_to_see() -> None:
    truth = disc(40, 50, 14)
    box = Prompts(box_around(truth))
    assert decode(painted((truth, 150)), box).score > decode(painted(), box).score


def test_the_mask_stays_in_the_box() -> None:
    plane = painted((disc(45, 60, 35), 140))
    box = Box(30, 40, 60, 75)
    outside = np.ones(SHAPE, dtype=bool)
    outside[box.slices] = False
    assert not (decode(plane, Prompts(box)).masks & outside).any()


def test_a_positive_point_outside_the_box_widens_it() -> None:
    whole = disc(45, 60, 20)
    point = Point(45, 76)
    prediction = decode(painted((whole, 140)), Prompts(Box(24, 39, 67, 66), (point,)))
    assert dice(prediction.mask, whole) > 0.85


def test_a_negative_point_takes_away_the_part_that_it_marks() -> None:
    wanted, other = disc(45, 45, 12), disc(45, 72, 10)
    plane = painted((wanted, 140), (other, 140))
    box = Box(31, 31, 60, 84)
    before = decode(plane, Prompts(box)).mask
    after = decode(plane, Prompts(box, (Point(45, 45), Point(45, 72, positive=False)))).mask
    assert dice(after, wanted) > max(dice(before, wanted), 0.85)


def test_a_positive_point_adds_a_part_that_looks_like_the_background() -> None:
    bright, like_background = disc(45, 52, 12), disc(45, 74, 9)
    whole = bright | like_background
    plane, box = painted((bright, 150)), box_around(whole)
    before = decode(plane, Prompts(box)).mask
    after = decode(plane, Prompts(box, (Point(45, 74),))).mask
    assert not before[45, 74]
    assert np.count_nonzero(after & like_background) > 0.5 * np.count_nonzero(like_background)
    assert dice(after, whole) > dice(before, whole)


def test_a_point_alone_finds_its_object() -> None:
    truth = disc(30, 80, 12)
    prediction = decode(painted((truth, 150)), Prompts(points=(Point(31, 78),)))
    assert dice(prediction.mask, truth) > 0.85


def test_a_point_alone_leaves_what_a_negative_point_marks() -> None:
    wanted, other = disc(40, 40, 10), disc(40, 58, 9)
    points = (Point(40, 40), Point(40, 58, positive=False))
    mask = decode(painted((wanted, 150), (other, 150)), Prompts(points=points)).mask
    assert dice(mask, wanted) > 0.75


def test_two_points_on_two_objects_get_both() -> None:
    first, second = disc(30, 30, 9), disc(60, 85, 9)
    prediction = decode(painted((first, 150), (second, 150)), Prompts(points=(Point(30, 30), Point(60, 85))))
    for part in (first, second):
        assert np.count_nonzero(prediction.mask & part) > 0.5 * np.count_nonzero(part)
    assert max(dice(mask, first | second) for mask in prediction.masks) > 0.9


def test_every_pixel_of_a_stroke_is_obeyed() -> None:
    truth = disc(45, 60, 20)
    good = Stroke(((40, 50), (52, 66), (30.2, 71.9)))
    bad = Stroke(((62, 42), (64, 50)), positive=False)
    for box in (box_around(truth), None):
        prediction = decode(painted((truth, 140)), Prompts(box, strokes=(good, bad)))
        for mask in prediction.masks:
            assert mask[tuple(good.pixels(SHAPE).T)].all()
            assert not mask[tuple(bad.pixels(SHAPE).T)].any()


@pytest.mark.parametrize("box", [Box(0, 0, *SHAPE), Box(0, 0, 20, 30), Box(70, 90, *SHAPE)])
def test_boxes_at_the_border_and_over_the_whole_plane(box: Box) -> None:
    prediction = decode(painted((disc(45, 60, 25), 140)), Prompts(box))
    assert prediction.mask.any()
    assert np.isfinite(prediction.scores).all()


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_box_on_a_constant_plane_gets_about_its_ellipse_and_a_low_score(value: int) -> None:
    plane = np.full(SHAPE, value, dtype=np.uint8)
    prediction = decode(plane, Prompts(Box(20, 30, 60, 90)))
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    ellipse = ((rows - 39.5) / 20) ** 2 + ((columns - 59.5) / 30) ** 2 <= 1
    assert dice(prediction.mask, ellipse) > 0.9
    assert prediction.scores.max() <= FLAT_SCORE


def test_a_square_constant_plane_is_its_own_transpose_and_so_is_its_mask() -> None:
    plane = np.full((60, 60), 77, dtype=np.uint8)
    prediction = decode(plane, Prompts(Box(10, 10, 40, 40)))
    # the only problems that are not solved in one orientation alone; rounding may tip a cell
    assert dice(prediction.mask, prediction.mask.T) > 0.999


def test_a_pixel_marked_both_ways_is_refused_by_name() -> None:
    both = (Point(45.3, 60), Point(44.8, 59.6, positive=False))
    with pytest.raises(PromptError, match="row 45, column 60"):
        decode(painted(), Prompts(Box(20, 30, 60, 90), both))


def test_an_embedding_of_another_model_is_refused() -> None:
    foreign = Embedding("another-model", SHAPE, {})
    with pytest.raises(ModelError, match="encode the plane again"):
        CONTOUR.decode(foreign, Prompts(Box(2, 2, 9, 9)))


@pytest.mark.parametrize("shape", [(0, 5), (5, 5, 4), (5, 5, 0)])
def test_planes_without_pixels_or_with_other_channels_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError):
        CONTOUR.encode(np.zeros(shape, dtype=np.uint8))


def test_the_embedding_holds_float32_that_depend_on_the_plane_only() -> None:
    embedding = CONTOUR.encode(painted())
    assert {array.dtype for array in embedding.arrays.values()} == {np.dtype(np.float32)}
    assert CONTOUR.spec.prompts == frozenset(PromptKind) - {PromptKind.MASK}
    assert not CONTOUR.spec.needs_network


@st.composite
def questions(draw: st.DrawFn) -> tuple[NDArray[np.uint8], Prompts]:
    shape = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    channels = draw(st.sampled_from([(), (3,)]))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    plane = rng.integers(0, draw(st.sampled_from([1, 2, 256])), (*shape, *channels)).astype(np.uint8)
    row, column = st.integers(0, shape[0] - 1), st.integers(0, shape[1] - 1)
    points = draw(st.lists(st.builds(Point, row, column, st.booleans()), max_size=4))
    strokes = draw(st.lists(st.builds(lambda a, b, p: Stroke((a, b), p), *[st.tuples(row, column)] * 2, st.booleans())))
    box = None
    if draw(st.booleans()):
        row0, column0 = draw(row), draw(column)
        box = Box(row0, column0, row0 + draw(st.integers(2, 50)), column0 + draw(st.integers(2, 50)))
    return plane, Prompts(box, tuple(points), tuple(strokes[:2]))


@settings(max_examples=40)
@given(questions())
def test_any_question_gets_an_obedient_answer_or_an_error_of_ours(
    question: tuple[NDArray[np.uint8], Prompts],
) -> None:
    plane, prompts = question
    shape = plane.shape[0], plane.shape[1]
    try:
        prediction = decode(plane, prompts)
    except MedsamError as error:
        assert str(error)  # noqa: PT017
        return
    assert np.isfinite(prediction.scores).all()
    assert ((prediction.scores >= 0) & (prediction.scores <= 1)).all()
    across = decode(plane.swapaxes(0, 1), prompts.transposed())
    for mask, turned in zip(prediction.masks, across.masks, strict=True):
        for mark in (*prompts.points, *prompts.strokes):
            at = mark.pixel if isinstance(mark, Point) else tuple(mark.pixels(shape).T)
            assert np.all(mask[at] == mark.positive)
        assert np.count_nonzero(mask != turned.T) <= 0.001 * mask.size


def test_pyramid_levels_are_exact_means_in_either_orientation() -> None:
    plane = np.random.default_rng(0).integers(0, 256, (301, 257)).astype(np.uint8)
    levels, turned = pyramid_of(plane), pyramid_of(plane.T)
    np.testing.assert_array_equal(levels[1][:150, :128, 0], plane[:300, :256].reshape(150, 2, 128, 2).mean((1, 3)))
    for level, other in zip(levels, turned, strict=True):
        np.testing.assert_array_equal(level.swapaxes(0, 1), other)


@pytest.mark.parametrize("bounds", [(10, 20, 70, 110), (0, 0, 300, 500), (7, 400, 12, 404), (40, 3, 43, 480)])
def test_a_frame_samples_the_place_that_it_says(bounds: tuple[int, int, int, int]) -> None:
    ramp = np.add.outer(0.3 * np.arange(300), 0.2 * np.arange(500))
    frame = frame_of([ramp.astype(np.float32)[..., None]], bounds)
    inner_rows, inner_columns = (slice(1, -1),) * 2
    expected = np.add.outer(0.3 * frame.rows, 0.2 * frame.columns)
    np.testing.assert_allclose(
        frame.values[inner_rows, inner_columns, 0], expected[inner_rows, inner_columns], atol=0.01
    )
    back = frame.to_plane(frame.values[..., 0])
    truth = ramp[bounds[0] : bounds[2], bounds[1] : bounds[3]]
    np.testing.assert_allclose(back[5:-5, 5:-5], truth[5:-5, 5:-5], atol=0.05)
