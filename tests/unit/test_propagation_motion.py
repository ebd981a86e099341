"""Where an object is expected on the next slice, by what both slices show."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_medsam.propagation.motion import expected

SHAPE = (70, 90)


def disc(centre: tuple[float, float], radius: float, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def slice_with(mask: np.ndarray, bright: float = 170.0) -> np.ndarray:
    """The object on a background with some texture that stands still."""
    texture = ndimage.gaussian_filter(np.random.default_rng(3).normal(0, 60, mask.shape), 2)
    return np.clip(ndimage.gaussian_filter(np.where(mask, bright, 90.0), 0.7) + texture, 0, 255).astype(np.uint8)


def bounds(mask: np.ndarray) -> tuple[int, ...]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize("step", [(0, 4), (3, -3), (-5, 0)])
def test_an_object_that_moves_is_expected_where_it_went(step: tuple[int, int]) -> None:
    was, now_is = disc((34, 40), 8), disc((34 + step[0], 40 + step[1]), 8)
    place = expected(was, slice_with(was), slice_with(now_is))
    assert dice(place.mask, now_is) > dice(was, now_is) + 0.1
    assert np.abs(np.subtract(place.bounds, bounds(now_is))).max() <= 1.5


def test_a_mask_that_was_too_small_gets_bounds_nearer_to_the_object() -> None:
    """Otherwise a box around it gives a smaller one again, slice after slice."""
    object_ = disc((34, 40), 12)
    plane = slice_with(object_)
    small = disc((34, 40), 10)
    place = expected(small, plane, plane)
    error, wrong = (np.abs(np.subtract(bounds(object_), b)) for b in (place.bounds, bounds(small)))
    assert (error <= wrong).all()
    assert error.sum() < wrong.sum()


def test_where_both_slices_are_blank_it_is_expected_where_it_was() -> None:
    was, blank = disc((34, 40), 8), np.full(SHAPE, 100, dtype=np.uint8)
    place = expected(was, blank, blank)
    assert np.array_equal(place.mask, was)
    assert np.abs(np.subtract(place.bounds, bounds(was))).max() <= 0.5


def test_turned_slices_give_what_is_expected_turned() -> None:
    was, now_is = disc((34, 40), 8), disc((37, 38), 9)
    place = expected(was, slice_with(was), slice_with(now_is))
    turned = expected(was.T.copy(), slice_with(was).T.copy(), slice_with(now_is).T.copy())
    row0, column0, row1, column1 = place.bounds
    assert dice(turned.mask.T, place.mask) > 0.97
    assert np.abs(np.subtract(turned.bounds, (column0, row0, column1, row1))).max() <= 0.5


def test_a_large_object_on_a_large_slice_is_followed_in_coarser_cells() -> None:
    shape = (400, 500)
    was, now_is = disc((200, 220), 90, shape), disc((206, 232), 90, shape)
    place = expected(was, slice_with(was), slice_with(now_is))
    assert dice(place.mask, now_is) > dice(was, now_is)
    assert np.abs(np.subtract(place.bounds, bounds(now_is))).max() <= 5


def test_colour_counts_as_its_mean() -> None:
    was, now_is = disc((34, 40), 8), disc((34, 43), 8)
    grey = expected(was, slice_with(was), slice_with(now_is))
    colour = expected(was, *(np.repeat(slice_with(m)[..., None], 3, axis=2) for m in (was, now_is)))
    assert np.array_equal(colour.mask, grey.mask)
    assert colour.bounds == grey.bounds


@pytest.mark.parametrize("shape", [(6, 8), (3, 40), (2, 2), (30, 30)])
def test_slices_and_masks_of_any_size_are_taken(shape: tuple[int, int]) -> None:
    plane = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    corner = np.zeros(shape, dtype=bool)
    corner[0, -1] = True
    for mask in (corner, np.ones(shape, dtype=bool)):
        place = expected(mask, plane, plane)
        assert place.mask.any()
        row0, column0, row1, column1 = place.bounds
        assert 0 <= row0 < row1 <= shape[0]
        assert 0 <= column0 < column1 <= shape[1]
