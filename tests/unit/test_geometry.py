"""Grids and planes: every conversion against a formula of its own, and there and back again."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_medsam import demo
from napari_medsam.cli import segment
from napari_medsam.errors import GeometryError, MedsamError
from napari_medsam.geometry import VIEWS, Grid, Plane

from .fakes import ORIGIN, SHAPE, SPACING, grid

PEER_SPACINGS = (0.7, 1.1, 3.3, 0.29, 2.9999, 1.2000000477)


@st.composite
def affines(draw: st.DrawFn, ndim: int) -> NDArray[np.float64]:
    """Rotated, sheared, flipped and anisotropic, spacings 0.05 to 50, up to 1 m off origin."""
    unit = st.floats(-1, 1, allow_nan=False)
    linear = np.array(draw(st.lists(unit, min_size=ndim**2, max_size=ndim**2))).reshape(ndim, ndim)
    linear += np.diag(np.sign(np.diag(linear)) + (np.diag(linear) == 0))
    lengths = np.linalg.norm(linear, axis=0)
    assume(abs(np.linalg.det(linear / lengths)) > 0.05)
    spacing = np.array(draw(st.lists(st.floats(0.05, 50), min_size=ndim, max_size=ndim)))
    affine = np.eye(ndim + 1)
    affine[:ndim, :ndim] = linear / lengths * spacing
    affine[:ndim, ndim] = draw(st.lists(st.floats(-1000, 1000), min_size=ndim, max_size=ndim))
    return affine


@st.composite
def grids(draw: st.DrawFn, ndim: int | None = None) -> Grid:
    n = draw(st.integers(2, 4)) if ndim is None else ndim
    shape = tuple(draw(st.lists(st.integers(1, 40), min_size=n, max_size=n)))
    return Grid(shape, draw(affines(n)))


@st.composite
def planes(draw: st.DrawFn, shape: tuple[int, ...]) -> Plane:
    rows, columns = sorted(draw(st.lists(st.integers(0, len(shape) - 1), min_size=2, max_size=2, unique=True)))
    hidden = [axis for axis in range(len(shape)) if axis not in (rows, columns)]
    return Plane((rows, columns), tuple((a, draw(st.integers(0, shape[a] - 1))) for a in hidden))


# -- grids -----------------------------------------------------------------------------------------------------


@given(st.data())
def test_world_and_back_is_the_same_index_on_any_grid(data: st.DataObject) -> None:
    g = data.draw(grids())
    index = np.array(data.draw(st.lists(st.tuples(*[st.floats(-50, 500)] * g.ndim), min_size=1, max_size=5)))
    np.testing.assert_allclose(g.to_index(g.to_world(index)), index, atol=1e-6)


@given(st.data())
def test_world_is_the_origin_plus_steps_along_the_columns(data: st.DataObject) -> None:
    g = data.draw(grids())
    index = data.draw(st.tuples(*[st.integers(-5, 50)] * g.ndim))
    expected = [float(g.affine[row, g.ndim]) for row in range(g.ndim)]
    for axis, steps in enumerate(index):
        for row in range(g.ndim):
            expected[row] += steps * float(g.affine[row, axis])
    np.testing.assert_allclose(g.to_world([index])[0], expected, rtol=1e-12, atol=1e-9)


@given(st.data())
def test_spacing_is_the_distance_between_neighbours(data: st.DataObject) -> None:
    g = data.draw(grids())
    here = g.to_world(np.zeros(g.ndim))[0]
    for axis in range(g.ndim):
        there = g.to_world(np.eye(g.ndim)[axis])[0]
        assert g.spacing[axis] == pytest.approx(np.sqrt(((there - here) ** 2).sum()), rel=1e-9)


def test_anisotropic_grid_off_origin_in_numbers() -> None:
    assert grid().to_world([[0, 0, 0], [1, 0, 0], [2, 3, 5]]).tolist() == [
        [-20.5, 7.25, 100.0],
        [-17.5, 7.25, 100.0],
        [-14.5, 10.25, 110.0],
    ]
    assert grid().spacing == SPACING


def test_slice_40_at_translate_minus_150_and_scale_2_5_is_slice_40() -> None:
    """micro-sam puts it at -20: it divides the world position by the scale and forgets the translation."""
    g = Grid.from_spacing((120, 6, 8), (2.5, 1, 1), (-150, 0, 0))
    world = g.to_world([40, 3, 3])
    assert world[0, 0] == -50
    assert g.to_index(world).tolist() == [[40, 3, 3]]
    assert Plane.across(0, 40).contains(g.to_index(world)).all()
    assert not Plane.across(0, -20).contains(g.to_index(world)).any()


@pytest.mark.parametrize("spacing", PEER_SPACINGS)
@pytest.mark.parametrize("origin", [0.0, -150.0, 1234.5])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_z_is_not_truncated_at_any_of_300_slices(spacing: float, origin: float, kind: type) -> None:
    """micro-sam truncates z: of 300 slices at spacing 0.7 it has 67 off by one. Layers may hold float32."""
    g = Grid.from_spacing((300, 6, 8), (spacing, 1, 2), (origin, 0, 0))
    slices = np.arange(300)
    world = (origin + slices * spacing).astype(kind)
    index = g.to_index(np.stack([world, np.full(300, 2.0), np.full(300, 4.0)], axis=1))
    assert np.rint(index[:, 0]).astype(int).tolist() == slices.tolist()
    held = np.stack([Plane.across(0, int(k)).contains(index) for k in slices])
    assert np.array_equal(held, np.eye(300, dtype=bool)), "each position lies in its own slice and in no other"


def test_truncating_z_would_fail_the_test_above() -> None:
    wrong = [int(float(np.float32(k * 0.7)) / 0.7) != k for k in range(300)]
    assert any(wrong)


@given(st.data())
def test_a_position_belongs_to_the_nearest_slice_of_a_turned_grid(data: st.DataObject) -> None:
    g = data.draw(grids(3))
    axis = data.draw(st.integers(0, 2))
    index = np.array(data.draw(st.tuples(*[st.integers(0, s - 1) for s in g.shape])), dtype=float)
    shift = np.array(data.draw(st.tuples(*[st.floats(-0.49, 0.49)] * 3)))
    near = g.to_index(g.to_world(index + shift))
    at = [k for k in range(g.shape[axis]) if Plane.across(axis, k).contains(near)[0]]
    assert at == [int(index[axis])]


@pytest.mark.parametrize(
    ("shape", "affine", "words"),
    [
        ((), np.eye(1), "two axes"),
        ((5,), np.eye(2), "two axes"),
        ((5, 0), np.eye(3), "one voxel"),
        ((4, 6, 8), np.eye(3), "4 x 4"),
        ((4, 6), np.diag([0.0, 1, 1]), "singular"),
        ((4, 6), np.array([[1.0, 2, 0], [2, 4, 0], [0, 0, 1]]), "singular"),
        ((4, 6), np.diag([np.nan, 1, 1]), "NaN"),
        ((4, 6), np.array([[1.0, 0, np.inf], [0, 1, 0], [0, 0, 1]]), "infinity"),
    ],
)
def test_unusable_grids_are_refused_with_the_reason(shape: tuple[int, ...], affine: object, words: str) -> None:
    with pytest.raises(GeometryError, match=words):
        Grid(shape, affine)  # type: ignore[arg-type]


@pytest.mark.parametrize("spacing", [(3, 1), (3, 1, 2, 1), 3.0, (0, 1, 2), (np.nan, 1, 2)])
def test_unusable_spacings_are_refused_without_a_foreign_exception(spacing: object) -> None:
    with pytest.raises(GeometryError):
        Grid.from_spacing(SHAPE, spacing)  # type: ignore[arg-type]


def test_thin_but_regular_voxels_are_not_called_singular() -> None:
    assert Grid.from_spacing((4, 6, 8), (1e-6, 1e3, 1e-6)).spacing == pytest.approx((1e-6, 1e3, 1e-6))


def test_a_grid_cannot_be_changed_from_outside() -> None:
    affine = np.eye(4)
    g = Grid(SHAPE, affine)
    affine[0, 3] = 77
    assert g.affine[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        g.affine[0, 3] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        g.shape = (1, 1, 1)  # type: ignore[misc]


def test_grids_are_equal_by_value_and_hash_alike() -> None:
    assert grid() == grid()
    assert hash(grid()) == hash(grid())
    assert grid() != Grid.from_spacing(SHAPE, SPACING, (0, 0, 0))
    assert grid() != Grid.from_spacing((4, 6, 9), SPACING, ORIGIN)
    assert grid() != "a grid"


def test_equal_grids_hash_alike_where_one_has_a_negative_zero() -> None:
    """Flipping an axis makes -0.0, which equals 0.0; a dict must find the grid all the same."""
    plain, flipped = np.eye(4), np.eye(4)
    flipped[0, 1] = -0.0
    assert Grid(SHAPE, plain) == Grid(SHAPE, flipped)
    assert hash(Grid(SHAPE, plain)) == hash(Grid(SHAPE, flipped))


def test_the_same_grid_after_float32_and_not_after_a_shift_or_a_flip() -> None:
    g = grid()
    assert g.same_as(g)
    assert g.same_as(Grid(SHAPE, g.affine.astype(np.float32)))
    moved = np.array(g.affine)
    moved[2, 3] += 0.01 * g.spacing[2]
    assert not g.same_as(Grid(SHAPE, moved))
    flipped = np.array(g.affine)
    flipped[0, 0], flipped[0, 3] = -3, -20.5 + 3 * 3
    assert not g.same_as(Grid(SHAPE, flipped))
    assert not g.same_as(grid((6, 8)))


def test_a_wrong_far_corner_shows_though_the_origin_agrees() -> None:
    stretched = Grid.from_spacing((300, 6, 8), (1.0001, 1, 1))
    assert not stretched.same_as(Grid.from_spacing((300, 6, 8), (1, 1, 1)))
    assert stretched.same_as(Grid.from_spacing((300, 6, 8), (1.000100001, 1, 1)))


# -- planes ----------------------------------------------------------------------------------------------------


@given(st.data())
def test_plane_to_index_and_back(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=2, max_size=5)))
    plane = data.draw(planes(shape))
    points = np.array(data.draw(st.lists(st.tuples(*[st.floats(-20, 20)] * 2), min_size=1, max_size=5)))
    assert np.array_equal(plane.from_index(plane.to_index(points)), points)
    assert plane.contains(plane.to_index(points)).all()


@given(st.data())
def test_a_pixel_of_the_slice_is_the_voxel_at_its_index(data: st.DataObject) -> None:
    """Indexing the slice, and indexing the volume at `to_index`, give the same voxel."""
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=2, max_size=4)))
    volume = np.arange(np.prod(shape)).reshape(shape)
    plane = data.draw(planes(shape))
    cut = volume[plane.key]
    assert cut.shape == plane.shape_in(shape)
    for pixel in itertools.product(*map(range, cut.shape)):
        index = tuple(int(i) for i in plane.to_index(pixel)[0])
        assert cut[pixel] == volume[index]


@pytest.mark.parametrize(("axis", "shape"), [(0, (6, 8)), (1, (4, 8)), (2, (4, 6))])
def test_axial_coronal_and_sagittal_keep_the_axes_in_ascending_order(axis: int, shape: tuple[int, int]) -> None:
    """napari-sam and micro-sam slice along axis 0 only."""
    plane = Plane.across(axis, 2)
    assert plane.shape_in(SHAPE) == shape
    assert dict(plane.index) == {axis: 2}
    assert plane.axes == tuple(a for a in range(3) if a != axis)


def test_a_plane_of_a_2d_image_is_the_image() -> None:
    plane = Plane((0, 1))
    plane.check((6, 8))
    assert np.zeros((6, 8))[plane.key].shape == (6, 8)
    assert plane.to_index([[1, 2]]).tolist() == [[1, 2]]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("outside", [-1, 8, 99])
def test_slices_outside_the_image_are_refused_with_the_range(axis: int, outside: int) -> None:
    with pytest.raises(GeometryError, match=rf"Slice {outside} .* 0 to {SHAPE[axis] - 1}"):
        Plane.across(axis, outside).check(SHAPE)


def test_the_first_and_the_last_slice_are_slices() -> None:
    """MedSAMSlicer never segments slice 0."""
    for axis, count in enumerate(SHAPE):
        Plane.across(axis, 0).check(SHAPE)
        Plane.across(axis, count - 1).check(SHAPE)


def test_a_plane_of_another_number_of_axes_is_refused() -> None:
    with pytest.raises(GeometryError, match="3 axes does not cut an image of 4"):
        Plane.across(0, 0).check((2, 4, 6, 8))


@pytest.mark.parametrize(
    ("axes", "index"),
    [((2, 1), ((0, 1),)), ((1, 1), ((0, 1),)), ((1, 2), ()), ((0, 1), ((1, 2),)), ((0, 1), ((3, 2),)), ((-2, -1), ())],
)
def test_planes_that_name_an_axis_twice_or_never_are_refused(
    axes: tuple[int, int], index: tuple[tuple[int, int], ...]
) -> None:
    with pytest.raises(GeometryError):
        Plane(axes, index)


def test_two_spellings_of_one_slice_are_one_plane() -> None:
    """Planes are keys; the document says that the index is ascending by axis."""
    try:
        turned = Plane((2, 3), ((1, 5), (0, 4)))
    except GeometryError:
        return
    assert turned == Plane((2, 3), ((0, 4), (1, 5)))


@pytest.mark.parametrize("axis", [-1, 3])
def test_there_is_no_fourth_view(axis: int) -> None:
    with pytest.raises(GeometryError, match="0, 1 and 2"):
        Plane.across(axis, 0)


def test_geometry_errors_are_value_errors_and_ours() -> None:
    assert issubclass(GeometryError, ValueError)
    assert issubclass(GeometryError, MedsamError)


def test_views_are_defined_once_and_name_the_axes_of_across() -> None:
    assert VIEWS == {"axial": 0, "coronal": 1, "sagittal": 2}
    assert segment.VIEWS is demo.VIEWS is VIEWS
    for view, axis in VIEWS.items():
        assert Plane.across(axis, 2) == segment.plane_of((2,), 3, view)
