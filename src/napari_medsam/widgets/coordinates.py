"""From what napari shows to voxels and back, with napari's public API only.

`viewer world` is the space of `event.position` and `dims.point`: the layers' own world in the viewer's common unit.
napari's `world_to_data` ignores units, fills axes that a layer lacks with 0, and is wrong where a layer is rotated
out of the shown plane; so nothing else in this package calls it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_medsam.errors import GeometryError
from napari_medsam.geometry import Grid, Plane

FloatArray = NDArray[np.float64]

ALIGNED = 1e-6
"""A layer counts as aligned with the shown plane up to this cosine."""

OBLIQUE = (
    "The layer {name!r} is rotated out of the viewing plane. Reset its rotation (or reopen the file with this plugin) "
    "to segment it, or turn to a view in which it lies flat."
)


def unit_factors(viewer: Any, layer: Any) -> FloatArray:
    """One viewer-world unit in the layer's unit, per layer axis; ones where napari converts nothing."""
    n = layer.ndim
    world = viewer.layers.units
    if world is None or len(world) < n:
        return np.ones(n)
    return np.array([_in_base_units(w) / _in_base_units(m) for w, m in zip(world[-n:], layer.units, strict=True)])


def layer_matrix(layer: Any) -> FloatArray:
    """(n + 1, n + 1) matrix from data to the layer's own world, in the layer's units."""
    n = layer.ndim
    origin = np.asarray(layer.data_to_world(np.zeros(n)), dtype=np.float64)
    matrix = np.eye(n + 1)
    matrix[:n, n] = origin
    for axis in range(n):
        matrix[:n, axis] = np.asarray(layer.data_to_world(np.eye(n)[axis]), dtype=np.float64) - origin
    return matrix


def viewer_matrix(viewer: Any, layer: Any) -> FloatArray:
    """(n + 1, n + 1) matrix from data to the last n axes of viewer world."""
    matrix = layer_matrix(layer)
    matrix[:-1] /= unit_factors(viewer, layer)[:, None]
    return matrix


def millimetre_matrix(layer: Any) -> FloatArray:
    """(n + 1, n + 1) matrix from data to millimetres; axes that are no length keep their own unit."""
    matrix = layer_matrix(layer)
    matrix[:-1] *= np.array([_in_millimetres(unit) for unit in layer.units])[:, None]
    return matrix


def grid_of(layer: Any) -> Grid:
    """The grid of an Image or Labels layer, in millimetres where the layer has units of length.

    Raises
    ------
    GeometryError
        The layer's transform is singular.
    """
    return Grid(layer_shape(layer), millimetre_matrix(layer))


def layer_shape(layer: Any) -> tuple[int, ...]:
    """Voxels along each axis at full resolution, without the colour axis."""
    shape = layer.level_shapes[0] if layer.multiscale else layer.data.shape
    return tuple(int(s) for s in shape)[: layer.ndim]


def to_viewer_world(viewer: Any, layer: Any, points: ArrayLike) -> FloatArray:
    """(k, dims.ndim) viewer world of (k, n) layer data; axes that the layer lacks are where the sliders stand."""
    return world_by(viewer_matrix(viewer, layer), np.asarray(viewer.dims.point, dtype=np.float64), points)


def to_data(viewer: Any, layer: Any, world: ArrayLike) -> FloatArray:
    """(k, n) layer data of (k, dims.ndim) viewer world."""
    return data_by(inverse_of(viewer_matrix(viewer, layer)), world)


def displayed_axes(viewer: Any, layer: Any) -> tuple[list[int], list[int]]:
    """(shown, hidden) axes of the layer, ascending, however the viewer transposes or rolls them."""
    offset = viewer.dims.ndim - layer.ndim
    shown = sorted(axis - offset for axis in viewer.dims.displayed if axis >= offset)
    return shown, [axis for axis in range(layer.ndim) if axis not in shown]


def is_axis_aligned(viewer: Any, layer: Any) -> bool:
    """False when the shown plane is no plane of voxels: napari then draws one thing and inverts another."""
    return _is_aligned(viewer_matrix(viewer, layer), *displayed_axes(viewer, layer))


@dataclass(frozen=True)
class View:
    """What a viewer shows of one Image layer."""

    viewer: Any
    layer: Any

    def plane(self) -> Plane:
        """The voxel plane that is shown, its index rounded as napari rounds (half to even).

        Raises
        ------
        GeometryError
            The view is 3D, the layer is oblique to it, or the sliders stand off the image.
        """
        if self.viewer.dims.ndisplay != 2:
            raise GeometryError("Prompts belong to one slice. Switch to the 2D view (the button with the square).")
        shown, hidden = displayed_axes(self.viewer, self.layer)
        if len(shown) != 2:
            raise GeometryError(f"The view shows no slice of {self.layer.name!r}. Show two of the image's own axes.")
        matrix = viewer_matrix(self.viewer, self.layer)
        if not _is_aligned(matrix, shown, hidden):
            raise GeometryError(OBLIQUE.format(name=self.layer.name))
        at = data_by(inverse_of(matrix), self.viewer.dims.point)[0]
        plane = Plane((shown[0], shown[1]), tuple((axis, int(np.round(at[axis]))) for axis in hidden))
        if any(not 0 <= i < layer_shape(self.layer)[axis] for axis, i in plane.index):
            raise GeometryError(f"The sliders stand outside {self.layer.name!r}. Move them back onto the image.")
        return plane

    def shown(self) -> Plane | None:
        """`plane()`, or None where it would raise."""
        try:
            return self.plane()
        except GeometryError:
            return None

    def to_index(self, prompt_layer: Any, points: ArrayLike) -> FloatArray:
        """Image index positions, (k, n), of positions in another layer's data, (k, m)."""
        return to_data(self.viewer, self.layer, to_viewer_world(self.viewer, prompt_layer, points))


def spatial_kwargs(layer: Any) -> dict[str, Any]:
    """Everything a companion layer must share with `layer` to lie exactly on it.

    Without the same transform napari drops rectangles while they are drawn; without the same units it stops
    converting any.
    """
    return {
        # first: set one by one on a layer, a change of the transform after it makes napari notice the units too
        "units": tuple(layer.units),
        "scale": np.array(layer.scale),
        "translate": np.array(layer.translate),
        "rotate": np.array(layer.rotate),
        "shear": np.array(layer.shear),
        "affine": np.array(layer.affine.affine_matrix),
        "axis_labels": tuple(layer.axis_labels),
    }


def lay(layer: Any, place: dict[str, Any]) -> None:
    """Give a companion layer the place that `spatial_kwargs` says."""
    for name, value in place.items():
        setattr(layer, name, value)


def insert_above(viewer: Any, image: Any, layer: Any) -> None:
    """Add a layer just above an image, below the prompts, without taking the focus from the active layer."""
    active = viewer.layers.selection.active
    viewer.layers.insert(viewer.layers.index(image) + 1, layer)
    viewer.layers.selection.active = active


def raise_above(viewer: Any, layer: Any, below: Any) -> None:
    """Move a layer just above another one when it lies under it."""
    at, floor = viewer.layers.index(layer), viewer.layers.index(below)
    if at < floor:
        viewer.layers.move(at, floor + 1)


def _in_base_units(unit: Any) -> float:
    import pint

    return float(pint.application_registry.get_base_units(unit)[0])


def _in_millimetres(unit: Any) -> float:
    import pint

    registry = pint.application_registry
    if registry.Unit(unit).is_compatible_with("mm"):
        return float(registry.Quantity(1, unit).to("mm").magnitude)
    return 1.0


def inverse_of(matrix: FloatArray) -> FloatArray:
    """The inverse of a layer's `viewer_matrix`."""
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def world_by(matrix: FloatArray, sliders: FloatArray, points: ArrayLike) -> FloatArray:
    """`to_viewer_world`, by a layer's `viewer_matrix` and where the sliders stand."""
    data = np.atleast_2d(np.asarray(points, dtype=np.float64))
    out = np.tile(sliders, (len(data), 1))
    n = min(len(matrix) - 1, out.shape[1])
    out[:, -n:] = (data @ matrix[:-1, :-1].T + matrix[:-1, -1])[:, -n:]
    return out


def data_by(inverse: FloatArray, world: ArrayLike) -> FloatArray:
    """`to_data`, by the inverse of a layer's `viewer_matrix`."""
    at = np.atleast_2d(np.asarray(world, dtype=np.float64))
    return np.asarray(at[:, 1 - len(inverse) :] @ inverse[:-1, :-1].T + inverse[:-1, -1])


def _is_aligned(matrix: FloatArray, shown: list[int], hidden: list[int]) -> bool:
    """Whether shown and hidden axes do not mix in a layer's `viewer_matrix`."""
    linear = matrix[:-1, :-1] / np.linalg.norm(matrix[:-1, :-1], axis=0)
    mixed = np.abs(linear[np.ix_(shown, hidden)]), np.abs(linear[np.ix_(hidden, shown)])
    return all(part.max(initial=0) < ALIGNED for part in mixed)
