"""How the plugin's own prompt layers look, what their features mean, and how they are laid onto an image."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from napari_medsam.widgets.collect import OBJECT, PLANE, POSITIVE, UNSET
from napari_medsam.widgets.coordinates import lay, layer_shape, spatial_kwargs, unit_factors

BOXES = "MedSAM boxes"
POINTS = "MedSAM points"
ROLE = "napari-medsam role"
"""The key in a layer's metadata that tells a prompt layer of the plugin's own."""
UNTIED = {POSITIVE: "1", OBJECT: UNSET, PLANE: ""}
"""Features of a point that a script adds: positive, and tied to an object by where it lies."""
UNTIED_SHAPE = {OBJECT: UNSET, POSITIVE: "1"}
"""Features of a shape before it has a number."""
SHAPE_COLORS = {"0": "#ff3b30", "1": "#ffd400"}
POINT_COLORS = {"0": "#ff3b30", "1": "#34c759"}


def add_boxes(viewer: Any, image: Any) -> Any:
    """A new, empty Shapes layer for boxes and strokes on an image."""
    return viewer.add_shapes(
        name=BOXES,
        metadata={ROLE: BOXES},
        edge_color=SHAPE_COLORS["1"],
        face_color="transparent",
        edge_width=_mark_size(image) / 4,
        features={OBJECT: np.empty(0, int), POSITIVE: np.empty(0, str)},
        feature_defaults=UNTIED_SHAPE,
        ndim=image.ndim,
        **spatial_kwargs(image),
    )


def add_points(viewer: Any, image: Any) -> Any:
    """A new, empty Points layer for clicks on an image."""
    return viewer.add_points(
        name=POINTS,
        metadata={ROLE: POINTS},
        size=_mark_size(image),
        border_color="white",
        border_width=0.1,
        face_color=POSITIVE,
        face_color_cycle=POINT_COLORS,
        features={POSITIVE: np.empty(0, str), OBJECT: np.empty(0, int), PLANE: np.empty(0, str)},
        feature_defaults=UNTIED,
        ndim=image.ndim,
        **spatial_kwargs(image),
    )


def lay_out(viewer: Any, image: Any, layers: Collection[Any]) -> None:
    """Lay prompt layers exactly onto an image, in the viewer's unit.

    napari's drawing tools do not convert units: in a layer in mm, in a viewer that counts in micrometres because of
    some other layer, every click would land a thousand times too far.
    """
    for layer in layers:
        lay(layer, spatial_kwargs(image))
    # only now is the viewer's unit not of our making
    factors = 1 / unit_factors(viewer, image)
    if np.allclose(factors, 1, rtol=1e-12):
        return
    place, scaling = spatial_kwargs(image), np.diag([*factors, 1.0])
    place["scale"], place["translate"] = place["scale"] * factors, place["translate"] * factors
    place["affine"] = scaling @ place["affine"] @ np.linalg.inv(scaling)
    place["units"] = tuple(viewer.layers.units[-image.ndim :])
    for layer in layers:
        lay(layer, place)


def _mark_size(image: Any) -> float:
    """Diameter of a point in pixels: a sixtieth of the image, but 1 to 8."""
    return float(np.clip(min(layer_shape(image)[-2:]) / 60, 1, 8))
