"""The mask between two others, and tidying up in mm, against independent formulas."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_medsam.errors import GeometryError, LabelsError
from napari_medsam.shapes import (
    CleanUp,
    Operation,
    Touch,
    apply,
    apply_near,
    between,
    bounds_of,
    fill_holes,
    largest_component,
    remove_small,
    smoothed,
)

SHAPE, SPACING = (4, 6, 8), (3.0, 1.0, 2.0)
VOXEL = 6.0
MASKS = hnp.arrays(np.bool_, SHAPE)
PLANES = hnp.arrays(np.bool_, (6, 8))
FRACTIONS = st.floats(0.05, 0.95)
EVERY = [
    CleanUp(Operation.LARGEST),
    CleanUp(Operation.REMOVE_SMALL, 2 * VOXEL),
    CleanUp(Operation.FILL_HOLES),
    CleanUp(Operation.FILL_HOLES, 3.0, axis=1),
    CleanUp(Operation.SMOOTH, 2.5),
    CleanUp(Operation.SMOOTH, 1.5, axis=2),
]


def ellipsoid(
    shape: tuple[int, ...], centre: tuple[float, ...], radius: float, spacing: tuple[float, ...]
) -> np.ndarray:
    at = np.moveaxis(np.indices(shape), 0, -1)
    return (((at - centre) * spacing) ** 2).sum(axis=-1) <= radius**2


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.8])
def test_between_two_discs_lies_the_disc_of_the_radius_between(fraction: float) -> None:
    spacing = (1.0, 0.5)
    small, large = (ellipsoid((60, 120), (30, 60), r, spacing) for r in (8.0, 20.0))
    expected = ellipsoid((60, 120), (30, 60), 8.0 + 12.0 * fraction, spacing)
    assert dice(between(small, large, fraction, spacing), expected) > 0.97


@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.8])
def test_a_disc_that_moves_without_overlap_is_half_way_half_way(fraction: float) -> None:
    spacing = (1.0, 0.5)
    first, second = (ellipsoid((60, 120), c, 6.0, spacing) for c in [(12, 20), (40, 90)])
    expected = ellipsoid((60, 120), (12 + 28 * fraction, 20 + 70 * fraction), 6.0, spacing)
    assert dice(between(first, second, fraction, spacing), expected) > 0.93


def test_a_disc_that_moves_with_some_overlap_keeps_its_size() -> None:
    first, second = (ellipsoid((40, 60), (20, c), 8.0, (1.0, 1.0)) for c in (20, 33))
    assert dice(between(first, second, 0.5, (1.0, 1.0)), ellipsoid((40, 60), (20, 26.5), 8.0, (1.0, 1.0))) > 0.95


def test_a_part_that_appears_beside_another_does_not_move_it() -> None:
    alone = ellipsoid((40, 80), (20, 20), 8.0, (1.0, 1.0))
    both = alone | ellipsoid((40, 80), (20, 60), 8.0, (1.0, 1.0))
    found = between(alone, both, 0.3, (1.0, 1.0))
    assert (found & alone).sum() == alone.sum()


def test_a_disc_cut_by_the_edge_of_the_image_stays_cut_there() -> None:
    small, large = (ellipsoid((40, 40), (0, 20), r, (1.0, 1.0)) for r in (6.0, 12.0))
    found = between(small, large, 0.5, (1.0, 1.0))
    assert dice(found, ellipsoid((40, 40), (0, 20), 9.0, (1.0, 1.0))) > 0.95


@given(PLANES, PLANES, FRACTIONS)
def test_what_is_in_both_is_between_them_or_they_were_moved(a: np.ndarray, b: np.ndarray, fraction: float) -> None:
    found = between(a, b, fraction, (1.0, 2.0))
    assert found.shape == a.shape
    assert found.any() == (a.any() and b.any())


@given(PLANES, PLANES, FRACTIONS)
def test_between_is_the_same_transposed(a: np.ndarray, b: np.ndarray, fraction: float) -> None:
    across = between(a.T.copy(), b.T.copy(), fraction, (2.0, 1.0)).T
    assert np.array_equal(across, between(a, b, fraction, (1.0, 2.0)))


def test_at_the_ends_between_is_the_mask_itself() -> None:
    a, b = ellipsoid((9, 9), (3, 3), 2.0, (1, 1)), ellipsoid((9, 9), (5, 5), 3.0, (1, 1))
    assert np.array_equal(between(a, b, 0, (1, 1)), a)
    assert np.array_equal(between(a, b, 1, (1, 1)), b)


def test_a_ring_and_the_disc_in_its_hole_leave_something_between() -> None:
    ring = ellipsoid((40, 40), (20, 20), 12.0, (1, 1)) & ~ellipsoid((40, 40), (20, 20), 11.0, (1, 1))
    found = between(ring, ellipsoid((40, 40), (20, 20), 1.0, (1, 1)), 0.5, (1, 1))
    assert found.any()


def test_from_a_whole_slice_to_a_disc_it_shrinks() -> None:
    disc = ellipsoid((30, 40), (15, 20), 4.0, (1, 1))
    areas = [int(between(np.ones_like(disc), disc, f, (1, 1)).sum()) for f in (0.1, 0.5, 0.9)]
    assert disc.size > areas[0] > areas[1] > areas[2] > disc.sum()


def test_masks_that_do_not_fit_are_refused() -> None:
    mask = np.ones((3, 4), dtype=bool)
    with pytest.raises(LabelsError, match="different slices"):
        between(mask, np.ones((4, 3), dtype=bool), 0.5, (1, 1))
    with pytest.raises(LabelsError, match="fraction"):
        between(mask, mask, 1.5, (1, 1))
    with pytest.raises(GeometryError, match="voxel sizes"):
        between(mask, mask, 0.5, (1, 0))
    with pytest.raises(LabelsError, match="uint8"):
        smoothed(mask.astype(np.uint8), 1.0, (1, 1))  # type: ignore[arg-type]
    with pytest.raises(LabelsError, match="radius or size"):
        smoothed(mask, -1.0, (1, 1))


# -- parts and holes ---------------------------------------------------------------------------------------------------


def l_shape() -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[0:3, 1, 2] = mask[2, 1:4, 2] = True
    return mask


def test_the_largest_part_is_what_stays() -> None:
    mask = l_shape()
    mask[0, 5, 7] = True
    assert np.array_equal(largest_component(mask), l_shape())


def test_voxels_that_touch_at_a_corner_are_one_part_unless_faces_are_asked_for() -> None:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[1, 1, 2] = True
    assert largest_component(mask).sum() == 3
    assert largest_component(mask, Touch.FACES).sum() == 2


@pytest.mark.parametrize(("least", "left"), [(0.0, 6), (VOXEL, 6), (VOXEL + 0.1, 5), (1e6, 5)])
def test_small_parts_go_by_their_size_in_mm3_and_the_largest_never(least: float, left: int) -> None:
    mask = l_shape()
    mask[0, 5, 7] = True
    assert remove_small(mask, least, SPACING).sum() == left


def test_a_hole_is_filled_up_to_its_size_in_mm3() -> None:
    mask = np.ones(SHAPE, dtype=bool)
    mask[1:3, 2, 3] = False
    assert fill_holes(mask, SPACING, 2 * VOXEL).all()
    assert np.array_equal(fill_holes(mask, SPACING, 2 * VOXEL - 0.1), mask)


def test_a_tube_has_no_hole_in_3d_but_one_in_each_slice() -> None:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[:, 1:4, 2:5] = True
    mask[:, 2, 3] = False
    assert np.array_equal(fill_holes(mask, SPACING), mask)
    filled = apply(CleanUp(Operation.FILL_HOLES, 2.0, axis=0), mask, SPACING)
    assert filled.sum() == mask.sum() + SHAPE[0]
    assert np.array_equal(apply(CleanUp(Operation.FILL_HOLES, 1.9, axis=0), mask, SPACING), mask)


def test_a_notch_at_the_edge_of_the_image_is_no_hole() -> None:
    mask = np.ones(SHAPE, dtype=bool)
    mask[0, 2, 3] = False
    assert np.array_equal(fill_holes(mask, SPACING), mask)


@given(MASKS)
def test_filled_holes_agree_with_a_flood_from_outside(mask: np.ndarray) -> None:
    outside = np.zeros(np.add(SHAPE, 2), dtype=bool)
    free = np.pad(~mask, 1, constant_values=True)
    front = [(0, 0, 0)]
    while front:
        at = front.pop()
        if min(at) < 0 or any(a >= s for a, s in zip(at, outside.shape, strict=True)) or outside[at] or not free[at]:
            continue
        outside[at] = True
        for axis, step in itertools.product(range(3), (-1, 1)):
            front.append(tuple(a + step * (i == axis) for i, a in enumerate(at)))  # type: ignore[arg-type]
    assert np.array_equal(fill_holes(mask, SPACING), ~outside[1:-1, 1:-1, 1:-1])


# -- smooth ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (7.5, 0.5, 0.5), (3.0, 1.0, 2.0)])
@pytest.mark.parametrize("radius", [1.0, 3.0])
def test_a_ball_keeps_its_volume_and_its_place(spacing: tuple[float, ...], radius: float) -> None:
    shape = tuple(int(40 / s) + 3 for s in spacing)
    ball = ellipsoid(shape, tuple(s // 2 for s in shape), 15.0, spacing)
    found = smoothed(ball, radius, spacing)
    assert abs(found.sum() / ball.sum() - 1) < 0.02
    assert dice(found, ball) > 0.96


def test_a_rough_ball_comes_nearer_to_the_ball() -> None:
    ball = ellipsoid((41, 41, 41), (20, 20, 20), 15.0, (1, 1, 1))
    shell = ellipsoid((41, 41, 41), (20, 20, 20), 16.5, (1, 1, 1)) & ~ellipsoid((41,) * 3, (20,) * 3, 13.5, (1, 1, 1))
    rough = np.where(shell, np.random.default_rng(0).random(ball.shape) < 0.5, ball)
    found = largest_component(smoothed(rough, 3.0, (1, 1, 1)))
    assert dice(found, ball) > dice(rough, ball) + 0.04


def test_a_thin_vessel_and_a_lone_voxel_stay() -> None:
    mask = np.zeros((10, 30, 30), dtype=bool)
    mask[:, 5, 5], mask[4, 20, 20] = True, True
    found = smoothed(mask, 5.0, (1, 1, 1))
    assert found[:, 3:8, 3:8].any(axis=(1, 2)).sum() >= 8
    assert found[4, 20, 20]


def test_thick_slices_are_smoothed_within_but_not_across() -> None:
    mask = np.zeros((3, 40, 40), dtype=bool)
    mask[1, 10:30, 10:30] = True
    found = smoothed(mask, 2.0, (7.5, 0.5, 0.5))
    assert not found[0].any()
    assert not found[2].any()
    assert found[1, 20, 20]
    assert not found[1, 10, 10]


def test_an_object_at_the_edge_of_the_image_is_not_rounded_off_there() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[:, 10:20] = True
    assert np.array_equal(smoothed(mask, 3.0, (1, 1)), mask)


@given(MASKS, st.floats(0, 6))
def test_smoothing_never_empties_a_mask(mask: np.ndarray, radius: float) -> None:
    assert smoothed(mask, radius, SPACING).any() == mask.any()


def test_a_radius_beyond_the_object_makes_no_more_of_it_than_its_own_size() -> None:
    mask = np.pad(l_shape(), 8)
    longest = max(size * step for size, step in zip(l_shape()[bounds_of(l_shape())].shape, SPACING, strict=True))
    assert np.array_equal(smoothed(mask, 30.0, SPACING), smoothed(mask, longest, SPACING))


@pytest.mark.parametrize("axis", [None, 0])
def test_a_radius_beyond_the_image_is_refused(axis: int | None) -> None:
    mask = np.zeros((12, 40, 50), dtype=bool)
    mask[3:9, 4:30, 5:45] = True
    with pytest.raises(LabelsError, match="1e\\+06 mm is larger than the image, which is 100 mm long"):
        apply(CleanUp(Operation.SMOOTH, 1e6, axis), mask, SPACING)
    assert apply(CleanUp(Operation.SMOOTH, 100.0, axis), mask, SPACING).any()


# -- as values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cleanup", EVERY, ids=str)
def test_nothing_comes_of_nothing(cleanup: CleanUp) -> None:
    assert not apply(cleanup, np.zeros(SHAPE, dtype=bool), SPACING).any()


@settings(max_examples=25)
@given(MASKS, st.sampled_from(EVERY), st.integers(0, 5))
def test_a_wider_volume_changes_nothing(mask: np.ndarray, cleanup: CleanUp, room: int) -> None:
    """The work is done near the object only. Room all around it: at an edge, an object is taken to go on."""
    apart = np.pad(mask, 6)
    wide = np.pad(apart, room)
    found = apply(cleanup, wide, SPACING)
    inner = tuple(slice(room, s - room) for s in wide.shape)
    assert np.array_equal(found[inner], apply(cleanup, apart, SPACING))
    assert found.sum() == found[inner].sum()


@pytest.mark.parametrize("cleanup", EVERY, ids=str)
def test_applied_along_turned_axes_it_is_turned(cleanup: CleanUp) -> None:
    mask = np.pad(l_shape(), 4)
    mask[4:9, 6:9, 7:12] = True
    mask[6, 7, 9] = False
    turn = (2, 0, 1)
    axis = None if cleanup.axis is None else turn.index(cleanup.axis)
    turned = apply(CleanUp(cleanup.operation, cleanup.amount, axis), mask.transpose(turn), [SPACING[a] for a in turn])
    assert np.array_equal(turned, apply(cleanup, mask, SPACING).transpose(turn))


def test_what_is_near_says_where_it_is() -> None:
    mask = np.zeros((30, 40, 50), dtype=bool)
    mask[10:14, 20:26, 30:38] = True
    region, near = apply_near(CleanUp(Operation.SMOOTH, 1.0), mask, SPACING)
    assert near.size < mask.size / 10
    assert np.array_equal(apply(CleanUp(Operation.SMOOTH, 1.0), mask, SPACING)[region], near)


def test_the_bounds_hold_the_mask_and_no_more() -> None:
    assert bounds_of(l_shape()) == (slice(0, 3), slice(1, 4), slice(2, 3))
    assert l_shape()[bounds_of(np.zeros(SHAPE, dtype=bool))].size == 0


@pytest.mark.parametrize(
    ("operation", "amount"),
    [
        (Operation.SMOOTH, -1.0),
        (Operation.SMOOTH, np.nan),
        (Operation.SMOOTH, np.inf),
        (Operation.REMOVE_SMALL, np.inf),
    ],
)
def test_an_amount_that_is_none_is_refused(operation: Operation, amount: float) -> None:
    with pytest.raises(LabelsError):
        CleanUp(operation, amount)


def test_an_axis_that_is_not_there_is_refused() -> None:
    with pytest.raises(GeometryError, match="axis 3"):
        apply(CleanUp(Operation.LARGEST, axis=3), l_shape(), SPACING)


def test_amounts_have_units() -> None:
    assert [CleanUp(Operation.FILL_HOLES, axis=a).unit for a in (None, 0)] == ["mm3", "mm2"]
    assert CleanUp(Operation.SMOOTH, 1.0).unit == "mm"
    assert CleanUp(Operation.LARGEST).unit == ""
