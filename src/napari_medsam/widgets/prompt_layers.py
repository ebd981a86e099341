"""The plugin's own Shapes and Points layers: made once per number of axes, locked, cleared rather than removed.

Removing a Shapes layer and adding another crashes some OpenGL drivers, so a layer is moved onto the next image by its
transform instead. Left click is a positive point, right or Shift click a negative one, without a mode switch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medsam.widgets.collect import OBJECT, PLANE, POSITIVE, UNSET, Drawn, plane_name
from napari_medsam.widgets.coordinates import View, spatial_kwargs, to_data, to_viewer_world, unit_factors

if TYPE_CHECKING:
    from collections.abc import Iterator

BOXES = "MedSAM boxes"
POINTS = "MedSAM points"
BOX_COLOR = "#ffd400"
DRAWING = ("add_rectangle", "add_ellipse", "add_polygon", "add_polygon_lasso", "add_path", "add_line", "add_polyline")
INSIDE = 1e-4
"""How far above the middle of its slice a slider is put, in voxels, so that rounding cannot leave it below."""
NOWHERE = "no slice"
"""Stands in the plane feature of a point that was clicked where the view shows no slice (3D, oblique)."""
UNTIED = {POSITIVE: "1", OBJECT: UNSET, PLANE: ""}
"""Features of a point that a script adds: positive, and tied to an object by where it lies."""
POINT_COLORS = {"0": "#ff3b30", "1": "#34c759"}


@dataclass(frozen=True)
class Drawing:
    """What is drawn in the plugin's own layers: vertices, types and features of shapes; points and features."""

    shapes: tuple[Any, ...] = ()
    shape_types: tuple[str, ...] = ()
    shape_features: Any = None
    points: tuple[Any, ...] = ()
    point_features: Any = None


class PromptLayers:
    """The plugin's own prompt layers in one viewer.

    Parameters
    ----------
    viewer : napari.Viewer
    changed : bound method
        Called without arguments when a prompt was added, changed or removed.
    aim : callable
        Gives the number of the object that a new click refines, UNSET for a new object.
    """

    def __init__(self, viewer: Any, changed: Callable[[], None], aim: Callable[[], int]) -> None:
        self._viewer = viewer
        self._changed = changed
        self._aim = aim
        self._kept: dict[int, tuple[Any, Any]] = {}
        self._next = 1
        self._image: Any = None
        self._quiet = False
        self.boxes: Any = None
        self.points: Any = None
        viewer.mouse_drag_callbacks.append(self._before_click)
        viewer.mouse_move_callbacks.append(self._before_press)

    def close(self) -> None:
        """Let go of the viewer; the layers stay."""
        for callbacks, mine in (
            (self._viewer.mouse_drag_callbacks, self._before_click),
            (self._viewer.mouse_move_callbacks, self._before_press),
        ):
            if mine in callbacks:
                callbacks.remove(mine)

    def owns(self, layer: Any) -> bool:
        """Whether the layer is one of the plugin's own prompt layers."""
        return any(layer is mine for pair in self._kept.values() for mine in pair)

    def both(self) -> list[Any]:
        """The prompt layers in use."""
        return [layer for layer in (self.boxes, self.points) if layer is not None]

    def keep_unit(self) -> None:
        """Lay the layers out again when the viewer's unit has changed, as when a layer in micrometres was added."""
        world = self._viewer.layers.units
        own = [tuple(layer.units) for layer in self.both()]
        settled = world is None or all(
            units == tuple(world[-len(units) :]) == tuple(self._image.units) for units in own
        )
        if not settled:
            lay_out(self._viewer, self._image, self.both())

    def place(self, image: Any) -> None:
        """Lay existing prompt layers onto an image; they are only made by `use`."""
        self._image = image
        self.boxes, self.points = self._alive(image.ndim)
        lay_out(self._viewer, image, self.both())

    def use(self, kind: str) -> None:
        """Make a prompt layer active and ready to draw in; made first if it is not there. `kind`: box or point."""
        self._make()
        self.center_slider()
        layer, mode = (self.boxes, "add_rectangle") if kind == "box" else (self.points, "add")
        layer.visible = True
        self._viewer.layers.selection.active = layer
        layer.mode = mode

    def rest(self) -> None:
        """Leave the drawing modes, as for the 3D view."""
        for layer in self.both():
            layer.mode = "pan_zoom"

    def number_new(self) -> None:
        """Give objects without a number, and copies of one, a number of their own."""
        if self.boxes is None or not len(self.boxes.data):
            return
        numbers = [int(n) for n in self.boxes.features[OBJECT]]
        seen: set[int] = set()
        for i, number in enumerate(numbers):
            if number == UNSET or number in seen:
                numbers[i] = self._next
                self._next += 1
            seen.add(numbers[i])
        if numbers != [int(n) for n in self.boxes.features[OBJECT]]:
            self.boxes.features = {OBJECT: numbers}

    def remove(self, numbers: Collection[int]) -> None:
        """Take the prompts of these objects off the layers."""
        self.remove_boxes(_rows_of(self.boxes, numbers))
        self._remove_points(_rows_of(self.points, numbers))

    def drop_nowhere(self) -> bool:
        """Take off points that were clicked where no slice is shown; whether there were any."""
        if self.points is None or not len(self.points.data):
            return False
        rows = [i for i, where in enumerate(self.points.features[PLANE]) if where == NOWHERE]
        self._remove_points(rows)
        return bool(rows)

    def remove_boxes(self, rows: Collection[int]) -> None:
        """Take shapes off the box layer by their row."""
        if rows:
            with self._silence():
                self.boxes.remove(sorted(rows))

    def state(self) -> Drawing:
        """Everything that is drawn, to give to `restore` later."""
        boxes, points = self.boxes, self.points
        shapes = () if boxes is None else tuple(np.array(s) for s in boxes.data)
        at = () if points is None else tuple(np.array(points.data))
        return Drawing(
            shapes,
            tuple(boxes.shape_type) if shapes else (),
            boxes.features.copy() if shapes else None,
            at,
            points.features.copy() if at else None,
        )

    def restore(self, drawing: Drawing) -> None:
        """Draw what `state` gave, in place of what is drawn."""
        with self._silence():
            if self.boxes is not None:
                self.boxes.data = []
            if self.points is not None:
                self.points.data = np.empty((0, self.points.ndim))
            if drawing.shapes or drawing.points:
                self._make()
            if drawing.shapes:
                self.boxes.add(list(drawing.shapes), shape_type=list(drawing.shape_types))
                self.boxes.features = drawing.shape_features
            if drawing.points:
                self.points.data = np.array(drawing.points)
                self.points.features = drawing.point_features
        self._changed()

    # -- inside ------------------------------------------------------------------------------------------------

    def _make(self) -> None:
        image = self._image
        boxes, points = self._alive(image.ndim)
        common = {"ndim": image.ndim, **spatial_kwargs(image)}
        size = (
            float(np.clip(min(s for s in image.data.shape[: image.ndim][-2:]) / 60, 1, 8))
            if not image.multiscale
            else 8
        )
        if boxes is None:
            boxes = self._viewer.add_shapes(
                name=BOXES,
                edge_color=BOX_COLOR,
                face_color="transparent",
                edge_width=size / 4,
                features={OBJECT: np.empty(0, int)},
                feature_defaults={OBJECT: UNSET},
                **common,
            )
        if points is None:
            points = self._viewer.add_points(
                name=POINTS,
                size=size,
                border_color="white",
                border_width=0.1,
                face_color=POSITIVE,
                face_color_cycle=POINT_COLORS,
                features={POSITIVE: np.empty(0, str), OBJECT: np.empty(0, int), PLANE: np.empty(0, str)},
                feature_defaults=UNTIED,
                **common,
            )
        for layer in (boxes, points):
            layer.locked = True
            layer.events.data.connect(self._on_data)
        self._kept[image.ndim] = boxes, points
        self.boxes, self.points = boxes, points
        lay_out(self._viewer, image, self.both())

    def _alive(self, ndim: int) -> tuple[Any, Any]:
        boxes, points = self._kept.get(ndim, (None, None))
        here = list(self._viewer.layers)
        return (boxes if boxes in here else None), (points if points in here else None)

    def _on_data(self, event: Any) -> None:
        if str(event.action) in ("added", "changed", "removed") and not self._quiet:
            if self.points is not None:
                self.points.feature_defaults = UNTIED
            self._changed()

    def _before_press(self, viewer: Any, event: Any) -> None:
        """Runs while the mouse moves over the canvas, so before it is pressed."""
        if self.boxes is not None and viewer.layers.selection.active is self.boxes and self.boxes.mode in DRAWING:
            self.center_slider()

    def center_slider(self) -> None:
        """Move sliders of hidden axes where napari would put a new rectangle onto another slice than the shown one.

        It shows the nearest slice but truncates the position of the rectangle, which then is lost, and raises while it
        is drawn: where another layer has finer slices, and where rounding leaves 5.999999 for 6.
        """
        plane = None if self._image is None else View(self._viewer, self._image).shown()
        if plane is None:
            return
        offset = self._viewer.dims.ndim - self._image.ndim
        (here,) = to_data(self._viewer, self._image, self._viewer.dims.point)
        target = plane.to_index([(0, 0)])[0]
        for axis, i in plane.index:
            if np.trunc(here[axis]) != i or here[axis] < i + INSIDE / 2:
                target[axis] = i + INSIDE
        (there,) = to_viewer_world(self._viewer, self._image, target)
        for axis, _ in plane.index:
            if target[axis] != np.trunc(target[axis]):
                self._viewer.dims.set_point(axis + offset, there[axis + offset])

    def _before_click(self, viewer: Any, event: Any) -> None:
        """Runs before napari stores the point: says its sign, its object and its slice."""
        if self.points is None or viewer.layers.selection.active is not self.points or self.points.mode != "add":
            return
        plane = View(viewer, self._image).shown()
        negative = event.button == 2 or "Shift" in event.modifiers
        number = self._aim()
        if number == UNSET:
            number, self._next = self._next, self._next + 1
        self.points.feature_defaults = {
            POSITIVE: "0" if negative else "1",
            OBJECT: number,
            PLANE: NOWHERE if plane is None else plane_name(plane),
        }

    def _remove_points(self, rows: Collection[int]) -> None:
        if not rows:
            return
        with self._silence():
            # napari's own removal keeps the features in step
            self.points.selected_data = set(rows)
            self.points.remove_selected()

    @contextmanager
    def _silence(self) -> Iterator[None]:
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before


def lay_out(viewer: Any, image: Any, layers: Collection[Any]) -> None:
    """Lay prompt layers exactly onto an image, in the viewer's unit.

    napari's drawing tools do not convert units: in a layer in mm, in a viewer that counts in micrometres because of
    some other layer, every click would land a thousand times too far.
    """
    for layer in layers:
        _move(layer, spatial_kwargs(image))
    # only now is the viewer's unit not of our making
    factors = 1 / unit_factors(viewer, image)
    if np.allclose(factors, 1, rtol=1e-12):
        return
    place, scaling = spatial_kwargs(image), np.diag([*factors, 1.0])
    place["scale"], place["translate"] = place["scale"] * factors, place["translate"] * factors
    place["affine"] = scaling @ place["affine"] @ np.linalg.inv(scaling)
    place["units"] = tuple(viewer.layers.units[-image.ndim :])
    for layer in layers:
        _move(layer, place)


def _move(layer: Any, place: dict[str, Any]) -> None:
    for name, value in place.items():
        setattr(layer, name, value)


def own_numbers(drawn: Collection[Drawn]) -> set[int]:
    """The numbers of objects in the plugin's own layers."""
    return {d.own for d in drawn if d.own != UNSET}


def _rows_of(layer: Any, numbers: Collection[int]) -> list[int]:
    if layer is None or not len(layer.data):
        return []
    return [i for i, number in enumerate(layer.features[OBJECT]) if int(number) in numbers]
