"""What the Shapes and Points layers say: for each object its plane and prompts. Reads layers, changes nothing.

Rectangles, ellipses and polygons count as the box of their bounds, lines and paths as strokes. The plugin's own layers
carry an `object` feature that ties points to their box; in the user's layers a point belongs to the smallest box of
its slice that holds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import GeometryError, MedsamError, PromptError
from napari_medsam.geometry import Plane
from napari_medsam.prompts import Box, Point, Prompts, Stroke
from napari_medsam.widgets.coordinates import View, displayed_axes, is_axis_aligned, layer_shape

OBJECT = "object"
POSITIVE = "positive"
PLANE = "plane"
UNSET = -1
FLAT = 0.5
"""A shape lies in a slice when its vertices differ by at most this part of a voxel across it."""

FloatArray = NDArray[np.float64]


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


def collect(view: View, shapes: Sequence[Any], points: Sequence[Any], selected: str = "") -> Collected:
    """The objects drawn in these layers on the image of `view`.

    Parameters
    ----------
    view : View
    shapes, points : sequences of napari Shapes and Points layers
    selected : str
        Key of the object that takes points which belong to no box.
    """
    problems: list[str] = []
    objects: dict[str, Drawn] = {}
    strokes: list[tuple[Plane, Stroke, int]] = []
    for layer in shapes:
        for i in range(len(layer.data)):
            try:
                _take_shape(view, layer, i, objects, strokes)
            except MedsamError as error:
                problems.append(f"Shape {i + 1} of {layer.name!r}: {error}")
    for plane, stroke, own in strokes:
        _give(objects, plane, Prompts(strokes=(stroke,)), _owner(objects, plane, stroke.points[0], own, selected), own)
    for layer in points:
        for click in clicks(view, layer):
            try:
                _take_point(view, click, objects, selected)
            except MedsamError as error:
                problems.append(f"A point of {layer.name!r}: {error}")
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
    across = hidden if len(hidden) == len(extent) - 2 and set(hidden) <= set(flat) else flat
    if len(across) != len(extent) - 2:
        raise PromptError("it does not lie in one slice; draw it in a 2D view along the image's axes.")
    rows, columns = (axis for axis in range(len(extent)) if axis not in across)
    plane = Plane((rows, columns), tuple((axis, int(np.round(index[:, axis].mean()))) for axis in across))
    try:
        plane.check(layer_shape(view.layer))
    except GeometryError as error:
        raise PromptError(f"it lies outside the image. {error}") from error
    return plane


def clicks(view: View, layer: Any) -> Iterator[Click]:
    """The points of a Points layer, at image index positions."""
    if not len(layer.data):
        return
    index = view.to_index(layer, layer.data)
    features = layer.features
    signs = features[POSITIVE] if POSITIVE in features else features.get("label", [1] * len(index))
    owners = features.get(OBJECT, [UNSET] * len(index))
    planes = features.get(PLANE, [""] * len(index))
    for at, sign, own, where in zip(index, signs, owners, planes, strict=True):
        yield Click(at, bool(int(sign) > 0), int(own), _named_plane(str(where), at))


def plane_name(plane: Plane) -> str:
    """The axes of a plane as text for a feature column, e.g. "1,2"."""
    return f"{plane.axes[0]},{plane.axes[1]}"


def _named_plane(name: str, at: FloatArray) -> Plane | None:
    if not name:
        return None
    rows, columns = (int(axis) for axis in name.split(","))
    others = (axis for axis in range(len(at)) if axis not in (rows, columns))
    return Plane((rows, columns), tuple((axis, int(np.round(at[axis]))) for axis in others))


def _take_shape(
    view: View, layer: Any, i: int, objects: dict[str, Drawn], strokes: list[tuple[Plane, Stroke, int]]
) -> None:
    if not is_axis_aligned(view.viewer, view.layer):
        view.plane()  # raises, with the way out
    index = view.to_index(layer, layer.data[i])
    plane = plane_of(view, index)
    own = int(layer.features[OBJECT].iloc[i]) if OBJECT in layer.features else UNSET
    at = plane.from_index(index)
    if layer.shape_type[i] in ("path", "line"):
        strokes.append((plane, Stroke(tuple((float(r), float(c)) for r, c in at)), own))
        return
    key = own_key(own) if own != UNSET else f"{layer.name} {i}"
    objects[key] = Drawn(key, plane, Prompts(box=Box.around(at)), own)


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
    row, column = (float(v) for v in plane.from_index(click.index)[0])
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
