"""The plugin's own Shapes and Points layers: made once per number of axes, locked, cleared rather than removed.

Removing a Shapes layer and adding another crashes some OpenGL drivers, so a layer is moved onto the next image by its
transform instead. Left click is a positive point, right or Shift click a negative one, without a mode switch.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medsam.geometry import Plane
from napari_medsam.prompts import Prompts
from napari_medsam.widgets.collect import FLAT, OBJECT, PLANE, POSITIVE, UNSET, Drawn, plane_name
from napari_medsam.widgets.companions import (
    BOXES,
    POINTS,
    ROLE,
    SHAPE_COLORS,
    UNTIED,
    UNTIED_SHAPE,
    add_boxes,
    add_points,
    lay_out,
)
from napari_medsam.widgets.coordinates import View, displayed_axes, to_viewer_world
from napari_medsam.widgets.lines import PAIR, crosses

if TYPE_CHECKING:
    from collections.abc import Iterator

STROKING = "add_path"
DRAWING = ("add_rectangle", "add_ellipse", "add_polygon", "add_polygon_lasso", "add_path", "add_line", "add_polyline")
DRAGGED = ("add_rectangle", "add_ellipse", "add_line")
"""Of these modes, those in which a shape is drawn by one drag. For a click napari draws a small one all the same."""
A_CLICK = 3.0
"""A drag that goes no further than this is a click, in pixels of the canvas."""
TOOLS = {"box": "add_rectangle", "point": "add", "stroke": STROKING, "line": "add_line"}
"""napari's mode for each of the plugin's tools."""
INSIDE = 1e-4
"""How far above the middle of its slice a slider is put, in voxels, so that rounding cannot leave it below."""
NOWHERE = "no slice"
"""Stands in the plane feature of a point that was clicked where the view shows no slice (3D, oblique)."""


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
        self._followed: weakref.WeakSet[Any] = weakref.WeakSet()
        self._next = 1
        self._image: Any = None
        self._quiet = False
        self._clicked: int | None = None
        """Row of the shape that a click has left, until it is taken off."""
        self.boxes: Any = None
        self.points: Any = None
        viewer.mouse_drag_callbacks += [self._before_click, self._tell_clicks]
        viewer.mouse_move_callbacks.append(self._before_press)

    def close(self) -> None:
        """Let go of the viewer; the layers stay."""
        for callbacks, mine in (
            (self._viewer.mouse_drag_callbacks, self._before_click),
            (self._viewer.mouse_drag_callbacks, self._tell_clicks),
            (self._viewer.mouse_move_callbacks, self._before_press),
        ):
            if mine in callbacks:
                callbacks.remove(mine)

    def owns(self, layer: Any) -> bool:
        """Whether the layer is one of the plugin's own prompt layers."""
        return ROLE in layer.metadata

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
        """Make a prompt layer active and ready to draw in; made first if it is not there. `kind`: a key of TOOLS."""
        self._make()
        self.center_slider()
        mode = TOOLS[kind]
        layer = self.points if kind == "point" else self.boxes
        for mine in self.both():  # above every image, or the user draws blind
            layers = self._viewer.layers
            layers.move(layers.index(mine), len(layers))
        layer.visible = True
        self._viewer.layers.selection.active = layer
        layer.mode = mode

    def rest(self) -> None:
        """Leave the drawing modes, as for the 3D view."""
        for layer in self.both():
            layer.mode = "pan_zoom"

    def new_number(self) -> int:
        """A number for an object that is not drawn yet."""
        self._next += 1
        return self._next - 1

    def number_new(self) -> None:
        """Give objects without a number, and copies of a box, a number of their own. Strokes may share a box's.

        A line that crosses another one on its slice has the number of that one: it is its short axis.
        """
        if self.boxes is None or not len(self.boxes.data):
            return
        numbers = [int(n) for n in self.boxes.features[OBJECT]]
        seen: set[int] = set()
        for i, (number, kind) in enumerate(zip(numbers, self.boxes.shape_type, strict=True)):
            if number == UNSET and kind == "line":
                numbers[i] = self._crossed(i, numbers)
            if numbers[i] == UNSET or (number in seen and kind not in ("path", "line")):
                numbers[i] = self.new_number()
            if kind not in ("path", "line"):
                seen.add(numbers[i])
        if numbers != [int(n) for n in self.boxes.features[OBJECT]]:
            self.boxes.features = self.boxes.features.assign(**{OBJECT: numbers})

    def add(self, plane: Plane, prompts: Prompts, number: int) -> None:
        """Draw box, strokes and points of an object on a slice, as the user would."""
        self._make()
        shapes = [] if prompts.box is None else [(prompts.box.outline, "rectangle", True)]
        shapes += [(np.array(stroke.points), "path", stroke.positive) for stroke in prompts.strokes]
        with self._silence():
            self.boxes.selected_data = set()  # or the defaults would be theirs
            self.points.selected_data = set()
            for at, kind, positive in shapes:
                sign = "1" if positive else "0"
                self.boxes.feature_defaults = {OBJECT: number, POSITIVE: sign}
                self.boxes.current_edge_color = SHAPE_COLORS[sign]
                self.boxes.add(plane.to_index(at), shape_type=kind)
            for point in prompts.points:
                sign = "1" if point.positive else "0"
                self.points.feature_defaults = {POSITIVE: sign, OBJECT: number, PLANE: plane_name(plane)}
                self.points.add(plane.to_index([(point.row, point.column)]))
            self.points.feature_defaults = UNTIED
        self._changed()

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

    def drop_clicked(self) -> bool:
        """Take off the shape of a click that was no drag; whether there was one."""
        row, self._clicked = self._clicked, None
        if row is None or row >= len(self.boxes.data):
            return False
        self.remove_boxes([row])
        return True

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
        """Make the prompt layers that are missing on the image."""
        image = self._image
        boxes, points = self._alive(image.ndim)
        if boxes is None:
            boxes = add_boxes(self._viewer, image)
            self._follow(boxes)
        if points is None:
            points = add_points(self._viewer, image)
            self._follow(points)
        self.boxes, self.points = boxes, points
        lay_out(self._viewer, image, self.both())

    def _alive(self, ndim: int) -> tuple[Any, Any]:
        mine = [layer for layer in self._viewer.layers if self.owns(layer) and layer.ndim == ndim]
        boxes, points = (next((one for one in mine if one.metadata[ROLE] == role), None) for role in (BOXES, POINTS))
        for layer in (boxes, points):
            if layer is not None and layer not in self._followed:
                self._follow(layer)
        return boxes, points

    def _follow(self, layer: Any) -> None:
        """Take up a prompt layer: one just made, or one that an earlier dock has left in the viewer."""
        self._followed.add(layer)
        layer.locked = True
        layer.events.data.connect(self._on_data)
        self._next = max([self._next, *(int(n) + 1 for n in layer.features[OBJECT])])

    def _on_data(self, event: Any) -> None:
        if str(event.action) == "added":
            self._drop_left_features()
        if str(event.action) in ("added", "changed", "removed") and not self._quiet:
            if self.points is not None:
                self.points.feature_defaults = UNTIED
            self._changed()

    def _drop_left_features(self) -> None:
        """Take off features without a shape: napari keeps those of a path that is too short, and the next gets them."""
        if self.boxes is not None and len(self.boxes.features) > len(self.boxes.data):
            self.boxes.features = self.boxes.features.iloc[: len(self.boxes.data)]

    def _tell_clicks(self, viewer: Any, event: Any) -> Iterator[None]:
        """Runs from a press to its release, and notes whether it was a click where a drag is meant."""
        if self.boxes is None or viewer.layers.selection.active is not self.boxes or self.boxes.mode not in DRAGGED:
            return
        start, way = np.asarray(event.pos, dtype=np.float64), 0.0
        yield
        while event.type == "mouse_move":
            way = max(way, float(np.abs(np.asarray(event.pos) - start).max()))
            yield
        if way <= A_CLICK and len(self.boxes.data):
            self._clicked = len(self.boxes.data) - 1

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
        if plane is None or self.boxes is None:
            return
        # as napari's own tool computes it, to the last bit
        here = np.asarray(self.boxes.world_to_data(self._viewer.dims.point))
        astray = [axis for axis, i in plane.index if np.trunc(here[axis]) != i]
        target = plane.to_index([(0, 0)])[0]
        target[astray] += INSIDE
        (there,) = to_viewer_world(self._viewer, self._image, target)
        offset = self._viewer.dims.ndim - self._image.ndim
        for axis in astray:
            self._viewer.dims.set_point(axis + offset, there[axis + offset])

    def _before_click(self, viewer: Any, event: Any) -> None:
        """Runs before napari stores a prompt: says its sign, its object and its slice."""
        active = viewer.layers.selection.active
        negative = event.button == 2 or "Shift" in event.modifiers
        sign = {POSITIVE: "0" if negative else "1"}
        if self.points is not None and active is self.points and self.points.mode == TOOLS["point"]:
            plane = View(viewer, self._image).shown()
            where = NOWHERE if plane is None else plane_name(plane)
            self.points.feature_defaults = {**sign, OBJECT: self._aimed(), PLANE: where}
        elif self.boxes is not None and active is self.boxes and self.boxes.mode in DRAWING:
            stroke = self.boxes.mode == STROKING
            features: dict[str, Any] = {**sign, OBJECT: self._aimed()} if stroke else UNTIED_SHAPE
            self.boxes.selected_data = set()  # or the colour would be theirs
            self.boxes.feature_defaults = features
            self.boxes.current_edge_color = SHAPE_COLORS[features[POSITIVE]]

    def _aimed(self) -> int:
        """The number of the object that a click or a stroke is for: the one aimed at, or a new one."""
        number = self._aim()
        return self.new_number() if number == UNSET else number

    def _crossed(self, i: int, numbers: list[int]) -> int:
        """The number of the one line that line `i` crosses on its slice; UNSET when there is none such."""
        shown, hidden = displayed_axes(self._viewer, self._image)
        data, kinds = [np.asarray(one, dtype=np.float64) for one in self.boxes.data], self.boxes.shape_type
        lines = [k for k in range(len(data)) if kinds[k] == "line" and k != i and numbers[k] != UNSET]
        for k in lines:
            alone = sum(numbers[other] == numbers[k] for other in lines) < PAIR
            beside = np.abs(data[k][:, hidden] - data[i][:, hidden]).max(initial=0) <= FLAT
            if alone and beside and crosses(data[k][:, shown], data[i][:, shown]):
                return numbers[k]
        return UNSET

    def _remove_points(self, rows: Collection[int]) -> None:
        if not rows:
            return
        with self._silence():
            self.points.remove(sorted(rows))

    @contextmanager
    def _silence(self) -> Iterator[None]:
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before


def own_numbers(drawn: Collection[Drawn]) -> set[int]:
    """The numbers of objects in the plugin's own layers."""
    return {d.own for d in drawn if d.own != UNSET}


def _rows_of(layer: Any, numbers: Collection[int]) -> list[int]:
    if layer is None or not len(layer.data):
        return []
    return [i for i, number in enumerate(layer.features[OBJECT]) if int(number) in numbers]
