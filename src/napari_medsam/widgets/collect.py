"""What the Shapes and Points layers say: for each object its plane and prompts. Reads layers, changes nothing.

Rectangles, ellipses and polygons count as the box of their bounds, lines and paths as strokes; lines in the plugin's
own layer as the axes of a lesion. That layer carries an `object` feature that ties points to their box; in the user's
layers a point belongs to the smallest box of its slice that holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import GeometryError, MedsamError, PromptError
from napari_medsam.geometry import Plane
from napari_medsam.prompts import Box, Point, PromptKind, Prompts, Stroke
from napari_medsam.widgets.coordinates import View, displayed_axes, grid_of, is_axis_aligned, layer_shape
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
    problems: list[str] = []
    objects: dict[str, Drawn] = {}
    strokes: list[tuple[Plane, Stroke, int]] = []
    lines: Lines = {}
    for layer in shapes:
        for i in range(len(layer.data)):
            try:
                said = _number_of(layer, i, own), _is_positive(layer, i, own)
                if said[0] != UNSET and layer.shape_type[i] == "line":
                    _take_line(view, layer, i, lines, said[0])
                else:
                    _take_shape(view, layer, i, objects, strokes, said)
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
    extent = index.max(axis=0) - index.min(axis=0)
    flat = [axis for axis in range(len(extent)) if extent[axis] <= FLAT]
    _, hidden = displayed_axes(view.viewer, view.layer)
    # a straight line is flat along more axes than it needs to be
    across = hidden if len(hidden) == len(extent) - 2 and set(hidden) <= set(flat) else flat[: len(extent) - 2]
    if len(across) != len(extent) - 2:
        raise PromptError("it does not lie in one slice; draw it in a 2D view along the image's axes.")
    rows, columns = (axis for axis in range(len(extent)) if axis not in across)
    plane = Plane((rows, columns), tuple((axis, int(np.round(index[:, axis].mean()))) for axis in across))
    try:
        plane.check(layer_shape(view.layer))
    except GeometryError as error:
        raise PromptError(f"it lies outside the image. {error}") from error
    return plane


def plane_name(plane: Plane) -> str:
    """The axes of a plane as text for a feature column, e.g. "1,2"."""
    return f"{plane.axes[0]},{plane.axes[1]}"


def _click(view: View, layer: Any, i: int, own: Sequence[Any]) -> Click:
    """Point `i` of a Points layer, at its image index position."""
    (at,) = view.to_index(layer, layer.data[i])
    if not np.isfinite(at).all():
        raise PromptError("it lies at NaN or infinity; delete it and click again.")
    features = layer.features
    if not _is_one_of(layer, own):
        return Click(at, _sign(features["label"].iloc[i] if "label" in features else 1), UNSET, None)
    name = str(features[PLANE].iloc[i])
    return Click(
        at, _sign(features[POSITIVE].iloc[i]), _number_of(layer, i, own), _plane_at(name, at) if name else None
    )


def _number_of(layer: Any, i: int, own: Sequence[Any]) -> int:
    return int(layer.features[OBJECT].iloc[i]) if _is_one_of(layer, own) else UNSET


def _is_positive(layer: Any, i: int, own: Sequence[Any]) -> bool:
    """Whether shape `i` is on its object; in the user's layers all are."""
    marked = _is_one_of(layer, own) and POSITIVE in layer.features
    return not marked or _sign(layer.features[POSITIVE].iloc[i])


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
    view: View,
    layer: Any,
    i: int,
    objects: dict[str, Drawn],
    strokes: list[tuple[Plane, Stroke, int]],
    said: tuple[int, bool],
) -> None:
    """Take shape `i` of a layer, of which the layer has `said` its object's number and whether it is positive."""
    own, positive = said
    if not is_axis_aligned(view.viewer, view.layer):
        view.plane()  # raises, with the way out
    index = view.to_index(layer, layer.data[i])
    plane = plane_of(view, index)
    at = _rounded(plane.from_index(index))
    if layer.shape_type[i] in ("path", "line"):
        strokes.append((plane, Stroke(tuple((float(r), float(c)) for r, c in at), positive), own))
        return
    key = own_key(own) if own != UNSET else f"{layer.name} {i}"
    objects[key] = Drawn(key, plane, Prompts(box=Box.around(at)), own)


def _take_line(view: View, layer: Any, i: int, lines: Lines, own: int) -> None:
    """Take shape `i` of the plugin's layer as an axis of the lesion `own`."""
    if not is_axis_aligned(view.viewer, view.layer):
        view.plane()  # raises, with the way out
    index = view.to_index(layer, layer.data[i])
    plane = plane_of(view, index)
    lines.setdefault(own, (plane, []))[1].append(_rounded(plane.from_index(index)))


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
    view: View, points: Sequence[Any], objects: dict[str, Drawn], selected: str, own: Sequence[Any]
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


def _take_point(view: View, click: Click, objects: dict[str, Drawn], selected: str) -> None:
    key = own_key(click.own)
    plane = click.plane
    if key in objects:
        plane = objects[key].plane
    elif plane is None:
        plane = _plane_of_point(view, click, objects, selected)
    if not plane.contains(click.index)[0]:
        raise PromptError("it does not lie on the slice of its object; delete it or move it back.")
    plane.check(layer_shape(view.layer))
    row, column = (float(v) for v in _rounded(plane.from_index(click.index))[0])
    prompts = Prompts(points=(Point(row, column, click.positive),))
    _give(objects, plane, prompts, _owner(objects, plane, (row, column), click.own, selected), click.own)


def _plane_of_point(view: View, click: Click, objects: dict[str, Drawn], selected: str) -> Plane:
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
