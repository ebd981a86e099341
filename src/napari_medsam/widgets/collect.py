"""What the Shapes and Points layers say: for each object its plane and prompts. Reads layers, changes nothing.

Rectangles, ellipses and polygons count as the box of their bounds, lines and paths as strokes; lines in the plugin's
own layer as the axes of a lesion. That layer carries an `object` feature that ties points to their box; in the user's
layers a point belongs to the smallest box of its slice that holds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_medsam.errors import GeometryError, MedsamError, PromptError
from napari_medsam.geometry import Plane
from napari_medsam.prompts import Box, Point, PromptKind, Prompts, Stroke
from napari_medsam.widgets.coordinates import (
    View,
    data_by,
    displayed_axes,
    grid_of,
    inverse_of,
    is_axis_aligned,
    layer_shape,
    viewer_matrix,
    world_by,
)
from napari_medsam.widgets.lines import line_of

OBJECT = "object"
POSITIVE = "positive"
PLANE = "plane"
UNSET = -1
FLAT = 0.5
"""A shape lies in a slice when its vertices differ by at most this part of a voxel across it."""

BOX_AND_POINT = frozenset({PromptKind.BOX, PromptKind.POINT})

FloatArray = NDArray[np.float64]
Lines = dict[int, tuple[Plane, list[FloatArray]]]
"""Plane and ends of the lines of each object of the plugin's own."""


@dataclass(frozen=True)
class Drawn:
    """One object as drawn. `own` is its number in the plugin's own layers, UNSET for the user's layers."""

    key: str
    plane: Plane
    prompts: Prompts
    own: int = UNSET


@dataclass(frozen=True)
class Collected:
    """All objects that are drawn, and what could not be used and why."""

    drawn: tuple[Drawn, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading(View):
    """A view while nothing moves: what its prompts have in common is computed once, for layers are read in a drag."""

    _matrices: dict[int, FloatArray] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def hidden(self) -> list[int]:
        """Axes of the image that are not shown."""
        return displayed_axes(self.viewer, self.layer)[1]

    @cached_property
    def aligned(self) -> bool:
        """Whether the shown plane is one of voxels."""
        return is_axis_aligned(self.viewer, self.layer)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Of the image."""
        return layer_shape(self.layer)

    def shown(self) -> Plane | None:
        """As of any view."""
        return self._shown

    def to_index(self, prompt_layer: Any, points: ArrayLike) -> FloatArray:
        """As of any view, to the last bit: a prompt that stays where it is is not to be asked for again."""
        matrix = self._matrices.get(id(prompt_layer))
        if matrix is None:
            matrix = self._matrices[id(prompt_layer)] = viewer_matrix(self.viewer, prompt_layer)
        return data_by(self._inverse, world_by(matrix, self._sliders, points))

    @cached_property
    def _shown(self) -> Plane | None:
        return super().shown()

    @cached_property
    def _sliders(self) -> FloatArray:
        return np.asarray(self.viewer.dims.point, dtype=np.float64)

    @cached_property
    def _inverse(self) -> FloatArray:
        return inverse_of(viewer_matrix(self.viewer, self.layer))


@dataclass(frozen=True)
class Shape:
    """A shape of a layer: its kind and vertices in that layer's data, and what the layer says about it."""

    kind: str
    vertices: FloatArray
    positive: bool
    own: int


@dataclass(frozen=True)
class Click:
    """A point of a layer: where it is, and what the layer says about it."""

    index: FloatArray
    positive: bool
    own: int
    plane: Plane | None


def own_key(number: int) -> str:
    """The draft key of an object of the plugin's own layers."""
    return f"own {number}"


def collect(
    view: View,
    shapes: Sequence[Any],
    points: Sequence[Any],
    selected: str = "",
    own: Sequence[Any] = (),
    takes: frozenset[PromptKind] = BOX_AND_POINT,
) -> Collected:
    """The objects drawn in these layers on the image of `view`.

    Parameters
    ----------
    view : View
    shapes, points : sequences of napari Shapes and Points layers
    selected : str
        Key of the object that takes points which belong to no box.
    own : sequence of layers
        Which of these layers are the plugin's own; only their `object`, `plane` and `positive` features count.
    takes : frozenset of PromptKind
        The prompts that the model was made for: what a drawn lesion becomes.
    """
    view = Reading(view.viewer, view.layer)
    problems: list[str] = []
    objects: dict[str, Drawn] = {}
    strokes: list[tuple[Plane, Stroke, int]] = []
    lines: Lines = {}
    for layer in shapes:
        for i, shape in enumerate(_shapes_of(layer, own)):
            try:
                if shape.own != UNSET and shape.kind == "line":
                    _take_line(view, layer, shape, lines)
                else:
                    _take_shape(view, layer, shape, f"{layer.name} {i}", objects, strokes)
            except MedsamError as error:
                problems.append(f"Shape {i + 1} of {layer.name!r}: {error}")
    problems += _lesions(view, lines, objects, takes)
    for plane, stroke, number in strokes:
        key = _owner(objects, plane, stroke.points[0], number, selected)
        _give(objects, plane, Prompts(strokes=(stroke,)), key, number)
    problems += _clicked(view, points, objects, selected, own)
    return Collected(tuple(objects.values()), tuple(problems))


def plane_of(view: View, index: FloatArray) -> Plane:
    """The slice in which (k, n) index positions lie: a slice like the shown one if they do, else any flat one.

    Raises
    ------
    PromptError
        They lie in no slice, or in one outside the image.
    """
    reading = view if isinstance(view, Reading) else Reading(view.viewer, view.layer)
    extent = index.max(axis=0) - index.min(axis=0)
    flat = [axis for axis in range(len(extent)) if extent[axis] <= FLAT]
    hidden = reading.hidden
    # a straight line is flat along more axes than it needs to be
    across = hidden if len(hidden) == len(extent) - 2 and set(hidden) <= set(flat) else flat[: len(extent) - 2]
    if len(across) != len(extent) - 2:
        raise PromptError("it does not lie in one slice; draw it in a 2D view along the image's axes.")
    rows, columns = (axis for axis in range(len(extent)) if axis not in across)
    plane = Plane((rows, columns), tuple((axis, int(np.round(index[:, axis].mean()))) for axis in across))
    try:
        plane.check(reading.shape)
    except GeometryError as error:
        raise PromptError(f"it lies outside the image. {error}") from error
    return plane


def plane_name(plane: Plane) -> str:
    """The axes of a plane as text for a feature column, e.g. "1,2"."""
    return f"{plane.axes[0]},{plane.axes[1]}"


def _shapes_of(layer: Any, own: Sequence[Any]) -> Iterator[Shape]:
    """The shapes of a layer; of the plugin's own with their object's number and whether they are on it."""
    ours, features = _is_one_of(layer, own), layer.features
    numbers = features[OBJECT].tolist() if ours else None
    marks = features[POSITIVE].tolist() if ours and POSITIVE in features else None
    # napari makes each of these lists anew whenever it is asked for it
    for i, (kind, vertices) in enumerate(zip(layer.shape_type, layer.data, strict=True)):
        positive = marks is None or _sign(marks[i])
        yield Shape(kind, vertices, positive, UNSET if numbers is None else int(numbers[i]))


def _click(view: View, layer: Any, i: int, own: Sequence[Any]) -> Click:
    """Point `i` of a Points layer, at its image index position."""
    (at,) = view.to_index(layer, layer.data[i])
    if not np.isfinite(at).all():
        raise PromptError("it lies at NaN or infinity; delete it and click again.")
    features = layer.features
    if not _is_one_of(layer, own):
        return Click(at, _sign(features["label"].iloc[i] if "label" in features else 1), UNSET, None)
    name, number = str(features[PLANE].iloc[i]), int(features[OBJECT].iloc[i])
    return Click(at, _sign(features[POSITIVE].iloc[i]), number, _plane_at(name, at) if name else None)


def _is_one_of(layer: Any, layers: Sequence[Any]) -> bool:
    return any(layer is one for one in layers)


def _sign(value: Any) -> bool:
    """Whether a feature says positive: a number above 0; what is no number says nothing, so it is positive."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return True
    return not np.isfinite(number) or number > 0


def _rounded(plane_points: FloatArray) -> FloatArray:
    """To a millionth of a pixel, so that a prompt stays equal when only the world's unit changes."""
    return np.round(plane_points, 6) + 0.0


def _plane_at(name: str, at: FloatArray) -> Plane:
    rows, columns = (int(axis) for axis in name.split(","))
    others = (axis for axis in range(len(at)) if axis not in (rows, columns))
    return Plane((rows, columns), tuple((axis, int(np.round(at[axis]))) for axis in others))


def _take_shape(
    view: Reading,
    layer: Any,
    shape: Shape,
    key: str,
    objects: dict[str, Drawn],
    strokes: list[tuple[Plane, Stroke, int]],
) -> None:
    """Take a shape of a layer; `key` is its draft key where it is none of the plugin's own."""
    plane, at = _placed(view, layer, shape)
    if shape.kind in ("path", "line"):
        strokes.append((plane, Stroke(tuple((float(r), float(c)) for r, c in at), shape.positive), shape.own))
        return
    if shape.own != UNSET:
        key = own_key(shape.own)
    objects[key] = Drawn(key, plane, Prompts(box=Box.around(at)), shape.own)


def _take_line(view: Reading, layer: Any, shape: Shape, lines: Lines) -> None:
    """Take a shape of the plugin's layer as an axis of its lesion."""
    plane, at = _placed(view, layer, shape)
    lines.setdefault(shape.own, (plane, []))[1].append(at)


def _placed(view: Reading, layer: Any, shape: Shape) -> tuple[Plane, FloatArray]:
    """The slice that a shape lies in, and its vertices there."""
    if not view.aligned:
        view.plane()  # raises, with the way out
    index = view.to_index(layer, shape.vertices)
    plane = plane_of(view, index)
    return plane, _rounded(plane.from_index(index))


def _lesions(view: View, lines: Lines, objects: dict[str, Drawn], takes: frozenset[PromptKind]) -> list[str]:
    """Make objects of the lines; what was wrong with some."""
    problems = []
    spacing = grid_of(view.layer).spacing if lines else ()
    for own, (plane, drawn) in lines.items():
        pixel = spacing[plane.axes[0]], spacing[plane.axes[1]]
        try:
            prompts = line_of(drawn, pixel).prompts(pixel, takes)
            objects[own_key(own)] = Drawn(own_key(own), plane, prompts, own)
        except MedsamError as error:
            problems.append(f"A line: {error}")
    return problems


def _clicked(
    view: Reading, points: Sequence[Any], objects: dict[str, Drawn], selected: str, own: Sequence[Any]
) -> list[str]:
    """Give the points of layers to their objects; what was wrong with some."""
    problems = []
    for layer in points:
        for i in range(len(layer.data)):
            try:
                _take_point(view, _click(view, layer, i, own), objects, selected)
            except MedsamError as error:
                problems.append(f"A point of {layer.name!r}: {error}")
    return problems


def _take_point(view: Reading, click: Click, objects: dict[str, Drawn], selected: str) -> None:
    key = own_key(click.own)
    plane = click.plane
    if key in objects:
        plane = objects[key].plane
    elif plane is None:
        plane = _plane_of_point(view, click, objects, selected)
    if not plane.contains(click.index)[0]:
        raise PromptError("it does not lie on the slice of its object; delete it or move it back.")
    plane.check(view.shape)
    row, column = (float(v) for v in _rounded(plane.from_index(click.index))[0])
    prompts = Prompts(points=(Point(row, column, click.positive),))
    _give(objects, plane, prompts, _owner(objects, plane, (row, column), click.own, selected), click.own)


def _plane_of_point(view: Reading, click: Click, objects: dict[str, Drawn], selected: str) -> Plane:
    """The slice that an untied point belongs to: the shown one, else that of a box which holds it."""
    shown = view.shown()
    if shown is not None and shown.contains(click.index)[0]:
        return shown
    for drawn in objects.values():
        if drawn.plane.contains(click.index)[0]:
            return drawn.plane
    if shown is None:
        return view.plane()
    return replace(shown, index=tuple((axis, int(np.round(click.index[axis]))) for axis, _ in shown.index))


def _owner(objects: dict[str, Drawn], plane: Plane, at: tuple[float, float], own: int, selected: str) -> str:
    if own != UNSET:
        return own_key(own)
    here = [d for d in objects.values() if d.plane == plane and d.prompts.box is not None]
    holding = [d for d in here if d.prompts.box is not None and _holds(d.prompts.box, at)]
    if holding:
        return min(holding, key=lambda d: _area(d.prompts.box)).key
    keys = [d.key for d in here]
    if selected in keys:
        return selected
    return keys[-1] if keys else f"points {plane.axes} {plane.index}"


def _give(objects: dict[str, Drawn], plane: Plane, more: Prompts, key: str, own: int) -> None:
    before = objects.get(key, Drawn(key, plane, Prompts(), own))
    together = Prompts(before.prompts.box, before.prompts.points + more.points, before.prompts.strokes + more.strokes)
    objects[key] = replace(before, prompts=together)


def _holds(box: Box, at: tuple[float, float]) -> bool:
    row, column = Point(*at).pixel
    return box.row0 <= row < box.row1 and box.column0 <= column < box.column1


def _area(box: Box | None) -> int:
    return 0 if box is None else (box.row1 - box.row0) * (box.column1 - box.column0)
