"""Layers to voxels without a window: matrices against a formula of their own, planes against what napari shows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel

from napari_medsam.errors import GeometryError
from napari_medsam.geometry import Plane
from napari_medsam.prompts import Box
from napari_medsam.widgets import coordinates
from napari_medsam.widgets.collect import Collected, Reading, collect, plane_of
from napari_medsam.widgets.coordinates import (
    View,
    displayed_axes,
    grid_of,
    is_axis_aligned,
    layer_shape,
    spatial_kwargs,
    to_data,
    to_viewer_world,
    viewer_matrix,
)

pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")

SHAPE = (4, 6, 8)
BIG = (20, 60, 80)
PEER_SPACINGS = (0.7, 1.1, 3.3, 0.29, 2.9999, 1.2000000477)
IN_MILLIMETRES = {"um": 1e-3, "mm": 1.0, "m": 1e3, "pixel": 1.0}
ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (2, 1, 0), (2, 0, 1), (1, 2, 0))
SOME = settings(max_examples=30, phases=(Phase.explicit, Phase.reuse, Phase.generate))
"""Without shrinking: every example makes a viewer, and a failure would take minutes to report."""

Placement = dict[str, Any]


# -- layers anywhere -------------------------------------------------------------------------------------------


def turned(ndim: int, axes: tuple[int, int], degrees: float) -> np.ndarray:
    """A rotation that mixes two axes and leaves the others."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.eye(ndim)
    matrix[np.ix_(axes, axes)] = [[c, -s], [s, c]]
    return matrix


@st.composite
def placements(draw: st.DrawFn, ndim: int, axes: tuple[int, int] | None = None) -> Placement:
    """Scale (also negative), translate, rotation, shear and affine; these mix `axes` only, or any pair when None."""
    length, far = st.floats(0.3, 5), st.floats(-500, 500)
    signs = st.sampled_from((-1, 1))
    scale = [draw(length) * draw(signs) for _ in range(ndim)]
    place: Placement = {"scale": scale, "translate": [draw(far) for _ in range(ndim)]}
    pair = axes or draw(st.sampled_from(list(itertools.combinations(range(ndim), 2))))
    if draw(st.booleans()):
        place["rotate"] = turned(ndim, pair, draw(st.floats(-180, 180)))
    if draw(st.booleans()):
        place["shear"] = np.eye(ndim)
        place["shear"][pair] = draw(st.floats(-0.5, 0.5))
    if draw(st.booleans()):
        affine = np.eye(ndim + 1)
        affine[:ndim, :ndim] = turned(ndim, pair, draw(st.floats(-180, 180))) @ np.diag([draw(length)] * ndim)
        affine[:ndim, ndim] = [draw(far) for _ in range(ndim)]
        place["affine"] = affine
    return place


def formula(ndim: int, place: Placement, factors: Sequence[float]) -> np.ndarray:
    """affine (rotate shear scale data + translate), then from the layer's unit to another one."""
    inner = np.eye(ndim + 1)
    inner[:ndim, :ndim] = place.get("rotate", np.eye(ndim)) @ place.get("shear", np.eye(ndim))
    inner[:ndim, :ndim] *= np.asarray(place.get("scale", np.ones(ndim)))[None, :]
    inner[:ndim, ndim] = place.get("translate", np.zeros(ndim))
    return np.asarray(np.diag([*factors, 1.0]) @ place.get("affine", np.eye(ndim + 1)) @ inner)


def add_image(viewer: ViewerModel, ndim: int, kind: str = "plain", **place: Any) -> Any:
    """An asymmetric image whose voxels say where they are: values count up from 0."""
    shape = (3, *SHAPE)[-ndim:]
    data = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    if kind == "rgb":
        return viewer.add_image(np.repeat(data[..., None], 3, -1).astype(np.uint8), rgb=True, **place)
    if kind == "multiscale":
        return viewer.add_image([data, data[..., ::2, ::2]], multiscale=True, contrast_limits=(0, 1), **place)
    return viewer.add_image(data, **place)


def orders(ndim: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.permutations(range(ndim)).map(tuple)


def positions(ndim: int) -> st.SearchStrategy[list[tuple[float, ...]]]:
    return st.lists(st.tuples(*[st.floats(-20, 100)] * ndim), min_size=1, max_size=4)


@SOME
@given(st.data(), st.integers(2, 4), st.sampled_from(["plain", "rgb", "multiscale"]))
def test_data_to_viewer_world_and_back_is_the_same(data: st.DataObject, ndim: int, kind: str) -> None:
    viewer = ViewerModel()
    unit, other = data.draw(st.sampled_from(["mm", "um", "pixel"])), data.draw(st.sampled_from(["mm", "um", "pixel"]))
    image = add_image(viewer, ndim, kind, units=(unit,) * ndim, **data.draw(placements(ndim)))
    axes = data.draw(st.integers(2, 4))
    viewer.add_points(ndim=axes, units=(other,) * axes)
    viewer.dims.order = data.draw(orders(viewer.dims.ndim))
    at = data.draw(positions(ndim))
    world = to_viewer_world(viewer, image, at)
    assert world.shape == (len(at), viewer.dims.ndim)
    np.testing.assert_allclose(to_data(viewer, image, world), at, atol=1e-6)


@SOME
@given(st.data(), st.integers(2, 4), st.sampled_from(["mm", "um", "pixel"]), st.sampled_from(["mm", "um", "pixel"]))
def test_viewer_matrix_is_the_transform_in_the_smallest_unit_there_is(
    data: st.DataObject, ndim: int, unit: str, other: str
) -> None:
    viewer = ViewerModel()
    place = data.draw(placements(ndim))
    image = add_image(viewer, ndim, units=(unit,) * ndim, **place)
    viewer.add_points(ndim=ndim, units=(other,) * ndim)
    convertible = "pixel" not in (unit, other)
    shared = min((unit, other), key=IN_MILLIMETRES.__getitem__) if convertible else unit
    factor = IN_MILLIMETRES[unit] / IN_MILLIMETRES[shared]
    np.testing.assert_allclose(viewer_matrix(viewer, image), formula(ndim, place, [factor] * ndim), atol=1e-6)


@SOME
@given(st.data(), st.integers(2, 4), st.sampled_from(list(IN_MILLIMETRES)))
def test_grids_are_in_millimetres_where_the_layer_has_units_of_length(
    data: st.DataObject, ndim: int, unit: str
) -> None:
    viewer = ViewerModel()
    place = data.draw(placements(ndim))
    image = add_image(viewer, ndim, data.draw(st.sampled_from(["plain", "rgb", "multiscale"])), **place)
    image.units = (unit,) * ndim
    grid = grid_of(image)
    assert grid.shape == (3, *SHAPE)[-ndim:] == layer_shape(image)
    expected = formula(ndim, place, [IN_MILLIMETRES[unit]] * ndim)
    np.testing.assert_allclose(grid.affine, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def test_time_keeps_its_own_unit_in_the_grid() -> None:
    viewer = ViewerModel()
    image = add_image(viewer, 4, scale=(30, 2000, 500, 500), units=("s", "um", "um", "um"))
    assert grid_of(image).spacing == pytest.approx((30, 2, 0.5, 0.5))


@pytest.mark.parametrize("unit", ["um", "m"])
def test_a_neighbour_in_another_unit_moves_neither_plane_nor_grid(unit: str) -> None:
    viewer = ViewerModel()
    image = add_image(viewer, 3, scale=(2.5, 0.7, 0.9), translate=(-150, 30, 11), units=("mm",) * 3)
    alone = grid_of(image)
    viewer.add_points(ndim=3, units=(unit,) * 3)
    assert grid_of(image) == alone
    for z in range(SHAPE[0]):
        viewer.dims.point = tuple(to_viewer_world(viewer, image, (z, 2, 3))[0])
        assert View(viewer, image).plane() == Plane.across(0, z)
        assert napari_shows(image) == values(image, Plane.across(0, z))


# -- the shown plane -------------------------------------------------------------------------------------------


def napari_shows(image: Any) -> set[float]:
    """The voxels that napari cut for the screen; private in napari, and used in tests only."""
    return set(np.asarray(image._slice.image.raw).ravel().tolist())


def values(image: Any, plane: Plane) -> set[float]:
    return set(np.asarray(image.data)[plane.key].ravel().tolist())


@settings(SOME, max_examples=60)
@given(st.data(), st.integers(2, 4))
def test_the_plane_is_the_one_that_napari_shows(data: st.DataObject, ndim: int) -> None:
    viewer = ViewerModel()
    order = data.draw(orders(ndim))
    shown = tuple(sorted(order[-2:]))
    unit = data.draw(st.sampled_from(["mm", "pixel", "um"]))
    image = add_image(viewer, ndim, units=(unit,) * ndim, **data.draw(placements(ndim, shown)))
    if data.draw(st.booleans()):
        viewer.add_points(ndim=ndim, units=("um" if unit != "pixel" else "pixel",) * ndim)
    viewer.dims.order = order
    shape = layer_shape(image)
    # halves are the ties that napari rounds to even
    at = [data.draw(st.integers(0, 2 * (s - 1))) / 2 + data.draw(st.sampled_from([0, 0.1, -0.1])) for s in shape]
    viewer.dims.point = tuple(to_viewer_world(viewer, image, at)[0])
    plane = View(viewer, image).plane()
    assert plane.axes == shown
    ties = [axis for axis, _ in plane.index if abs(at[axis] % 1 - 0.5) < 1e-9]
    if not ties:
        assert napari_shows(image) == values(image, plane)
        assert dict(plane.index) == {a: int(np.clip(round(at[a]), 0, shape[a])) for a, _ in plane.index}


@pytest.mark.parametrize("spacing", [0.7, 1.0, 1.1, 3.3])
def test_between_two_slices_the_plane_is_still_the_one_that_napari_shows(spacing: float) -> None:
    """A finer layer lets the slider stand exactly half way, where rounding goes to the even slice."""
    viewer = ViewerModel()
    image = viewer.add_image(np.arange(40 * 4 * 5, dtype=np.float32).reshape(40, 4, 5), scale=(spacing, 1, 1))
    viewer.add_image(np.zeros((80, 4, 5), np.float32), scale=(spacing / 2, 1, 1))
    for step in range(79):
        viewer.dims.set_current_step(0, step)
        assert napari_shows(image) == values(image, View(viewer, image).plane()), step


@pytest.mark.parametrize("order", ORDERS)
def test_planes_name_their_axes_in_order_however_the_view_is_turned(order: tuple[int, ...]) -> None:
    viewer = ViewerModel()
    image = add_image(viewer, 3, scale=(3, 1, 2), translate=(-7, 5, 40))
    viewer.dims.order = order
    viewer.dims.point = tuple(to_viewer_world(viewer, image, (3, 4, 5))[0])
    assert View(viewer, image).plane() == Plane.across(order[0], (3, 4, 5)[order[0]])
    assert displayed_axes(viewer, image) == (sorted(order[1:]), [order[0]])
    viewer.dims.transpose()
    assert View(viewer, image).plane() == Plane.across(order[0], (3, 4, 5)[order[0]])


@pytest.mark.parametrize("translate", [0.0, -150.0])
@pytest.mark.parametrize("spacing", [*PEER_SPACINGS, 2.5])
def test_micro_sam_is_off_by_one_at_these_spacings_and_the_plane_is_not(spacing: float, translate: float) -> None:
    """micro-sam truncates z: 67 of 300 slices at 0.7, 59 at 3.3, 87 at 2.9999, 14 at 0.29, 8 at 1.2000000477."""
    viewer = ViewerModel()
    data = np.broadcast_to(np.arange(300, dtype=np.float32)[:, None, None], (300, 2, 3))
    image = viewer.add_image(data, scale=(spacing, 1, 1), translate=(translate, 0, 0), contrast_limits=(0, 1))
    view = View(viewer, image)
    for z in range(300):
        viewer.dims.set_current_step(0, z)
        assert view.plane() == Plane.across(0, z)
        assert napari_shows(image) == {float(z)}
        drawn = to_data(viewer, image, viewer.dims.point)[0].astype(np.float32)  # as a Shapes layer keeps it
        corners = np.array([[drawn[0], row, column] for row in (0, 1) for column in (0, 2)], np.float32)
        assert plane_of(view, view.to_index(image, corners)) == Plane.across(0, z)


def test_slice_40_at_translate_minus_150_and_scale_2_5_is_slice_40() -> None:
    """micro-sam puts it at -20."""
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((300, 4, 5), np.float32), scale=(2.5, 1, 1), translate=(-150, 0, 0))
    viewer.dims.point = (-50.0, 0, 0)
    assert View(viewer, image).plane() == Plane.across(0, 40)
    user = viewer.add_shapes([np.array([[-50, 0, 0], [-50, 0, 3], [-50, 3, 3], [-50, 3, 0]])])
    (drawn,) = collect(View(viewer, image), [user], []).drawn
    assert drawn.plane == Plane.across(0, 40)


@pytest.mark.parametrize("degrees", [0.01, 5, 15, 60])
@pytest.mark.parametrize("through", ["rotate", "affine", "shear"])
def test_an_oblique_layer_is_refused_with_the_way_out(degrees: float, through: str) -> None:
    viewer = ViewerModel()
    turn = turned(3, (0, 1), degrees)
    if through == "affine":
        turn = np.block([[turn, np.zeros((3, 1))], [np.zeros(3), 1]])
    elif through == "shear":
        turn = np.eye(3)
        turn[0, 1] = np.tan(np.deg2rad(degrees))
    image = viewer.add_image(np.zeros(BIG, np.float32), name="tilted", **{through: turn})
    for order in ((0, 1, 2), (1, 0, 2), (0, 2, 1)):
        viewer.dims.order = order
        with pytest.raises(GeometryError, match=r"'tilted' is rotated out of the viewing plane.*Reset its rotation"):
            View(viewer, image).plane()
    viewer.dims.order = (2, 0, 1)
    assert View(viewer, image).plane().axes == (0, 1), "where the layer lies flat it can be used"


def test_what_shows_no_slice_is_refused_and_says_what_to_do() -> None:
    viewer = ViewerModel()
    image = add_image(viewer, 3, scale=(2, 1, 1))
    view = View(viewer, image)
    viewer.dims.ndisplay = 3
    with pytest.raises(GeometryError, match="Switch to the 2D view"):
        view.plane()
    viewer.dims.ndisplay = 2
    far = viewer.add_points(ndim=3, translate=(500, 0, 0))
    far.add([0, 0, 0])
    viewer.dims.point = (500, 0, 0)
    with pytest.raises(GeometryError, match="sliders stand outside"):
        view.plane()
    viewer.dims.point = (0, 0, 0)
    add_image(viewer, 4)
    viewer.dims.order = (1, 2, 0, 3)
    with pytest.raises(GeometryError, match="Show two of the image's own axes"):
        view.plane()
    assert view.shown() is None


# -- layers of fewer axes --------------------------------------------------------------------------------------


def test_prompts_of_fewer_axes_take_the_position_of_the_sliders() -> None:
    viewer = ViewerModel()
    image = add_image(viewer, 4, scale=(1, 3, 0.5, 2), translate=(0, -20, 4, -6))
    flat, deep = viewer.add_points(ndim=2), viewer.add_points(ndim=3)
    for t, z in itertools.product(range(3), range(SHAPE[0])):
        viewer.dims.point = tuple(to_viewer_world(viewer, image, (t, z, 2, 3))[0])
        view = View(viewer, image)
        np.testing.assert_allclose(view.to_index(flat, [[4 + 0.5 * 5, -6 + 2 * 7]]), [[t, z, 5, 7]], atol=1e-9)
        np.testing.assert_allclose(view.to_index(deep, [[-20 + 3 * 1, 5, -2]]), [[t, 1, 2, 2]], atol=1e-9)


# -- collecting ------------------------------------------------------------------------------------------------


@pytest.fixture
def scene() -> tuple[ViewerModel, Any, View]:
    """An anisotropic image off the origin, at slice 8."""
    return big_scene()


def big_scene(**place: Any) -> tuple[ViewerModel, Any, View]:
    viewer = ViewerModel()
    kwargs = place or {"scale": (2.5, 0.7, 0.9), "translate": (-700.25, 30, -11)}
    image = viewer.add_image(np.zeros(BIG, np.float32), contrast_limits=(0, 1), **kwargs)
    viewer.dims.point = tuple(to_viewer_world(viewer, image, (8, 15, 60))[0])
    return viewer, image, View(viewer, image)


def own_shapes(viewer: ViewerModel, image: Any) -> Any:
    return viewer.add_shapes(ndim=image.ndim, **spatial_kwargs(image))


def own_points(viewer: ViewerModel, image: Any) -> Any:
    return viewer.add_points(ndim=image.ndim, **spatial_kwargs(image))


def one_box(found: Collected) -> tuple[Plane, Box | None]:
    assert not found.problems
    (drawn,) = found.drawn
    return drawn.plane, drawn.prompts.box


BOX = Box(3, 4, 9, 17)


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("order", ORDERS)
def test_a_box_in_any_plane_is_read_in_any_view(scene: Any, axis: int, order: tuple[int, ...]) -> None:
    viewer, image, view = scene
    plane = Plane.across(axis, 7)
    shapes = own_shapes(viewer, image)
    shapes.add_rectangles(plane.to_index(BOX.outline))
    viewer.dims.order = order
    assert one_box(collect(view, [shapes], [])) == (plane, BOX)


@pytest.mark.parametrize("axes", list(itertools.combinations(range(4), 2)))
def test_a_box_in_any_plane_of_four_axes_is_read(axes: tuple[int, int]) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((20, 21, 22, 23), np.float32), scale=(1, 3, 0.5, 2), contrast_limits=(0, 1))
    plane = Plane(axes, tuple((a, 5 + a) for a in range(4) if a not in axes))
    shapes = own_shapes(viewer, image)
    shapes.add_rectangles(plane.to_index(BOX.outline))
    assert one_box(collect(View(viewer, image), [shapes], [])) == (plane, BOX)


@SOME
@given(st.data(), st.sampled_from(ORDERS), st.sampled_from(["mm", "um"]), st.sampled_from(["mm", "um"]))
def test_a_box_drawn_in_a_layer_that_lies_elsewhere_is_the_same_voxels(
    data: st.DataObject, order: tuple[int, ...], unit: str, other: str
) -> None:
    shown = (min(order[1:]), max(order[1:]))
    place, theirs = data.draw(placements(3, shown)), data.draw(placements(3, shown))
    plane = Plane.across(order[0], data.draw(st.integers(0, BIG[order[0]] - 1)))
    row, column = data.draw(st.integers(0, 10)), data.draw(st.integers(0, 10))
    box = Box(row, column, row + data.draw(st.integers(2, 9)), column + data.draw(st.integers(2, 9)))
    viewer, image, view = big_scene(units=(unit,) * 3, **place)
    theirs["translate"] = formula(3, place, (IN_MILLIMETRES[unit] / IN_MILLIMETRES[other],) * 3)[:3, 3]
    theirs.pop("affine", None)
    ours = formula(3, place, (IN_MILLIMETRES[unit],) * 3)
    to_theirs = np.linalg.inv(formula(3, theirs, (IN_MILLIMETRES[other],) * 3)) @ ours
    user = viewer.add_shapes(ndim=3, units=(other,) * 3, **theirs)
    user.add_polygons((np.c_[plane.to_index(box.outline), np.ones(4)] @ to_theirs.T)[:, :3])
    viewer.dims.order = order
    viewer.dims.point = tuple(to_viewer_world(viewer, image, plane.to_index([[1, 1]]))[0])
    assert one_box(collect(view, [user], [])) == (plane, box)


@pytest.mark.parametrize("shape_type", ["rectangle", "ellipse", "polygon"])
def test_what_has_an_inside_counts_as_the_box_of_its_bounds(scene: Any, shape_type: str) -> None:
    viewer, image, view = scene
    plane = Plane.across(0, 8)
    outline = BOX.outline
    if shape_type == "polygon":
        outline = np.array([[2.5, 10], [5, 16.5], [8.5, 9], [6, 3.5]])
    shapes = own_shapes(viewer, image)
    shapes.add([plane.to_index(outline)], shape_type=shape_type)
    assert one_box(collect(view, [shapes], [])) == (plane, BOX)


@pytest.mark.parametrize("shape_type", ["path", "line"])
def test_paths_and_lines_are_strokes_of_the_box_they_begin_in(scene: Any, shape_type: str) -> None:
    viewer, image, view = scene
    plane = Plane.across(0, 8)
    shapes = own_shapes(viewer, image)
    ends = [(4.0, 5.0), (7.0, 30.0)]
    shapes.add([plane.to_index(ends)], shape_type=shape_type)
    (alone,) = collect(view, [shapes], []).drawn
    assert alone.plane == plane
    assert alone.prompts.box is None
    (stroke,) = alone.prompts.strokes
    np.testing.assert_allclose(stroke.points, ends, atol=1e-6)
    shapes.add_rectangles(plane.to_index(Box(20, 20, 30, 30).outline))
    shapes.add_rectangles(plane.to_index(BOX.outline))
    _, held = collect(view, [shapes], []).drawn
    assert held.prompts.box == BOX
    assert held.prompts.strokes == (stroke,)


def test_shapes_of_a_flat_layer_lie_on_the_slice_of_the_sliders(scene: Any) -> None:
    viewer, image, view = scene
    outline = BOX.outline * (0.7, 0.9) + (30, -11)
    user = viewer.add_shapes([outline], shape_type="rectangle")
    assert user.ndim == 2
    for z in (0, 8, 19):
        viewer.dims.point = tuple(to_viewer_world(viewer, image, (z, 15, 60))[0])
        assert one_box(collect(view, [user], [])) == (Plane.across(0, z), BOX)


@SOME
@given(st.data(), st.integers(2, 4), st.integers(2, 4), st.sampled_from(["mm", "um", "pixel"]))
def test_a_reading_computes_once_what_a_view_computes_for_each_prompt(
    data: st.DataObject, ndim: int, theirs: int, unit: str
) -> None:
    """To the last bit: a prompt that differs by less is asked for again."""
    viewer = ViewerModel()
    image = add_image(viewer, ndim, units=(unit,) * ndim, **data.draw(placements(ndim)))
    prompts = viewer.add_points(ndim=theirs, units=("um",) * theirs, **data.draw(placements(theirs)))
    viewer.dims.order = data.draw(orders(viewer.dims.ndim))
    viewer.dims.set_current_step(0, data.draw(st.integers(0, 2)))
    view, reading = View(viewer, image), Reading(viewer, image)
    for _ in range(2):
        at = data.draw(positions(theirs))
        assert np.array_equal(reading.to_index(prompts, at), view.to_index(prompts, at))
    assert reading.shown() == view.shown()
    assert reading.aligned == is_axis_aligned(viewer, image)


def test_many_shapes_and_points_are_read_as_each_alone(scene: Any) -> None:
    viewer, _, view = scene
    place = {"scale": (2.0, 0.5, 0.75), "translate": (-698.0, 31, -10)}
    numbers = np.random.default_rng(0)
    kinds = [("rectangle", "ellipse", "polygon", "path", "line")[i % 5] for i in range(40)]
    corners = [np.c_[[8 + i % 2] * 4, numbers.uniform(0, 40, (4, 2))] for i in range(40)]
    drawn = [at[:2] if kind == "line" else at for kind, at in zip(kinds, corners, strict=True)]
    together = viewer.add_shapes(drawn, shape_type=kinds, **place)
    boxes = [d for d in collect(view, [together], []).drawn if d.prompts.box is not None]
    assert len(boxes) == 24
    for one in boxes:
        i = int(one.key.split()[-1])
        index = view.to_index(together, together.data[i])
        plane = plane_of(view, index)
        assert (one.plane, one.prompts.box) == (plane, Box.around(np.round(plane.from_index(index), 6)))


@pytest.mark.parametrize("kind", ["shapes", "points"])
def test_how_a_layer_lies_is_computed_once_for_all_that_it_holds(
    scene: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers are read at every move of a drag."""
    viewer, image, view = scene
    counted: list[Any] = []
    compute = coordinates.layer_matrix
    monkeypatch.setattr(coordinates, "layer_matrix", lambda layer: (counted.append(layer), compute(layer))[1])
    shapes, points = own_shapes(viewer, image), own_points(viewer, image)
    often = []
    for _ in range(2):
        for at in range(5):
            if kind == "shapes":
                shapes.add_rectangles(Plane.across(0, 8).to_index(Box(at, at, at + 5, at + 5).outline))
            else:
                points.add([(8, at, 50)])
        counted.clear()
        assert collect(view, [shapes], [points]).drawn
        often.append(len(counted))
    assert often[0] == often[1] <= 5


def test_points_belong_to_the_smallest_box_that_holds_them(scene: Any) -> None:
    viewer, image, view = scene
    plane = Plane.across(0, 8)
    large, small, aside = Box(0, 0, 40, 50), Box(10, 10, 20, 20), Box(30, 60, 40, 70)
    shapes, points = own_shapes(viewer, image), own_points(viewer, image)
    for box in (large, small, aside):
        shapes.add_rectangles(plane.to_index(box.outline))
    points.add(plane.to_index([(15, 15), (9, 15), (35, 65)]))
    found = collect(view, [shapes], [points])
    held = {d.prompts.box: [p.pixel for p in d.prompts.points] for d in found.drawn}
    assert held == {large: [(9, 15)], small: [(15, 15)], aside: [(35, 65)]}


def test_a_point_in_no_box_refines_the_selected_object_else_the_last(scene: Any) -> None:
    viewer, image, view = scene
    plane = Plane.across(0, 8)
    shapes, points = own_shapes(viewer, image), own_points(viewer, image)
    for box in (BOX, Box(10, 10, 20, 20)):
        shapes.add_rectangles(plane.to_index(box.outline))
    shapes.add_rectangles(Plane.across(0, 9).to_index(BOX.outline))
    points.add(plane.to_index([(50, 70)]))
    first, second, third = (d.key for d in collect(view, [shapes], []).drawn)
    for selected, wanted in ((first, first), (second, second), (third, second), ("", second), ("gone", second)):
        found = collect(view, [shapes], [points], selected)
        assert [d.key for d in found.drawn if d.prompts.points] == [wanted], "never one on another slice"


def test_points_of_a_box_on_another_slice_are_given_to_that_box(scene: Any) -> None:
    viewer, image, view = scene
    shapes, points = own_shapes(viewer, image), own_points(viewer, image)
    shapes.add_rectangles(Plane.across(0, 12).to_index(BOX.outline))
    points.add([(12, 5, 6)])
    (drawn,) = collect(view, [shapes], [points]).drawn
    assert drawn.plane == Plane.across(0, 12)
    assert [p.pixel for p in drawn.prompts.points] == [(5, 6)]


@pytest.mark.parametrize("signs", [[1, 0], [True, False], [1.0, -1.0], ["1", "0"]], ids=str)
def test_a_label_column_of_the_user_says_positive_or_negative(scene: Any, signs: list[Any]) -> None:
    viewer, image, view = scene
    points = viewer.add_points([(8, 1, 2), (8, 3, 4)], features={"label": signs}, **spatial_kwargs(image))
    (drawn,) = collect(view, [], [points]).drawn
    assert [(p.pixel, p.positive) for p in drawn.prompts.points] == [((1, 2), True), ((3, 4), False)]


@pytest.mark.parametrize("words", [["liver", "kidney"], ["", "1"], [np.nan, 1.0], ["positive", "negative"]], ids=str)
@pytest.mark.parametrize("column", ["label", "positive", "object", "plane"])
def test_columns_of_the_user_that_mean_something_else_lose_no_prompt(scene: Any, column: str, words: list[Any]) -> None:
    viewer, image, view = scene
    corners = [Plane.across(0, 8).to_index(box.outline) for box in (BOX, Box(20, 20, 30, 30))]
    shapes = viewer.add_shapes(corners, features={column: words}, **spatial_kwargs(image))
    points = viewer.add_points([(8, 5, 6), (8, 25, 26)], features={column: words}, **spatial_kwargs(image))
    found = collect(view, [shapes], [points])
    assert [d.prompts.box for d in found.drawn] == [BOX, Box(20, 20, 30, 30)]
    assert [[p.pixel for p in d.prompts.points] for d in found.drawn] == [[(5, 6)], [(25, 26)]]


def test_an_object_column_of_the_user_is_not_mistaken_for_the_plugins_own(scene: Any) -> None:
    viewer, image, view = scene
    plane = Plane.across(0, 8)
    own = viewer.add_shapes(
        [plane.to_index(BOX.outline)], features={"object": [1]}, name="MedSAM boxes", **spatial_kwargs(image)
    )
    user = viewer.add_shapes(
        [plane.to_index(Box(20, 20, 30, 30).outline)], features={"object": [1]}, **spatial_kwargs(image)
    )
    found = collect(view, [own, user], [], own=[own])
    assert [d.prompts.box for d in found.drawn] == [BOX, Box(20, 20, 30, 30)]


def test_two_user_layers_of_one_name_keep_their_shapes_apart(scene: Any) -> None:
    viewer, image, view = scene
    layers = [own_shapes(viewer, image) for _ in range(2)]
    for layer, box in zip(layers, (BOX, Box(20, 20, 30, 30)), strict=True):
        layer.add_rectangles(Plane.across(0, 8).to_index(box.outline))
    assert [d.prompts.box for d in collect(view, layers, []).drawn] == [BOX, Box(20, 20, 30, 30)]


def test_what_is_drawn_stays_equal_when_the_world_changes_its_unit() -> None:
    """Accepted prompts of the user's layers are known again by being equal."""
    viewer, image, view = big_scene(scale=(2.5, 0.7, 0.9), translate=(-700.25, 30, -11), units=("mm",) * 3)
    shapes, points = own_shapes(viewer, image), own_points(viewer, image)
    shapes.add([Plane.across(0, 8).to_index([(4, 5), (7, 30)])], shape_type="path")
    points.add([(8, row, 2 * row + 1) for row in range(30)])
    before = collect(view, [shapes], [points])
    viewer.add_points(ndim=3, units=("um",) * 3)
    assert collect(view, [shapes], [points]) == before


# -- what cannot be used ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_shape_on_a_slice_outside_the_image_is_a_problem_and_the_others_stay(
    scene: Any, axis: int, side: str
) -> None:
    viewer, image, view = scene
    shapes = own_shapes(viewer, image)
    off = Plane.across(axis, -1 if side == "before" else BIG[axis])
    shapes.add([off.to_index(BOX.outline), Plane.across(0, 8).to_index(BOX.outline)])
    found = collect(view, [shapes], [])
    assert [d.prompts.box for d in found.drawn] == [BOX]
    (problem,) = found.problems
    assert problem.startswith("Shape 1 of 'Shapes': it lies outside the image.")


def test_a_point_on_a_slice_outside_the_image_is_a_problem_and_the_others_stay(scene: Any) -> None:
    viewer, image, view = scene
    points = own_points(viewer, image)
    points.add([(-1, 5, 6), (8, 5, 6), (20, 5, 6)])
    found = collect(view, [], [points])
    assert [[p.pixel for p in d.prompts.points] for d in found.drawn] == [[(5, 6)]]
    assert len(found.problems) == 2
    assert all("outside" in p and "'Points'" in p for p in found.problems)


def test_a_point_nowhere_is_a_problem_and_the_others_stay(scene: Any) -> None:
    viewer, image, view = scene
    points = own_points(viewer, image)
    points.add([(8, 5, 6)])
    points.data = np.array([(8, 5, 6), (np.nan, 5, 6)])
    found = collect(view, [], [points])
    assert [[p.pixel for p in d.prompts.points] for d in found.drawn] == [[(5, 6)]]
    assert len(found.problems) == 1


def test_a_shape_across_slices_is_a_problem(scene: Any) -> None:
    viewer, image, view = scene
    shapes = own_shapes(viewer, image)
    shapes.add([np.array([(3, 4, 5), (9, 4, 5), (9, 20, 30), (3, 20, 30)])], shape_type="polygon")
    found = collect(view, [shapes], [])
    assert not found.drawn
    assert "does not lie in one slice" in found.problems[0]


@pytest.mark.parametrize("size", [0.0, 0.3])
def test_a_click_in_rectangle_mode_is_a_problem_that_says_so(scene: Any, size: float) -> None:
    """napari adds a box of a third of a pixel when the mouse does not move."""
    viewer, image, view = scene
    shapes = own_shapes(viewer, image)
    corners = np.array([(0, 0), (0, 1), (1, 1), (1, 0)]) * size + (5, 6)
    shapes.add([Plane.across(0, 8).to_index(corners)], shape_type="polygon" if size == 0 else "rectangle")
    found = collect(view, [shapes], [])
    assert not found.drawn
    assert "at least 2 x 2" in found.problems[0]


def test_an_oblique_image_gives_problems_that_name_the_way_out() -> None:
    viewer, image, view = big_scene()
    shapes, points = own_shapes(viewer, image), own_points(viewer, image)
    shapes.add_rectangles(Plane.across(0, 8).to_index(BOX.outline))
    points.add([(8, 5, 6)])
    for layer in (image, shapes, points):
        layer.rotate = turned(3, (0, 1), 5)
    found = collect(view, [shapes], [points])
    assert not found.drawn
    assert len(found.problems) == 2
    assert all("Reset its rotation" in p for p in found.problems)


def test_in_the_3d_view_boxes_stay_and_points_without_a_box_are_refused(scene: Any) -> None:
    viewer, image, view = scene
    plane = Plane.across(1, 15)
    shapes, points = own_shapes(viewer, image), own_points(viewer, image)
    shapes.add_rectangles(plane.to_index(BOX.outline))
    points.add([plane.to_index([(5, 6)])[0], (8, 40, 41)])
    viewer.dims.ndisplay = 3
    found = collect(view, [shapes], [points])
    (drawn,) = found.drawn
    assert (drawn.plane, drawn.prompts.box) == (plane, BOX)
    assert [p.pixel for p in drawn.prompts.points] == [(5, 6)]
    assert ["2D view" in p for p in found.problems] == [True]
