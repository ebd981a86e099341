"""An Image layer of the viewer as the session's Image."""

from __future__ import annotations

from typing import Any

from napari_medsam.errors import ImageError
from napari_medsam.image import KEY, Image
from napari_medsam.widgets.coordinates import grid_of


def image_of(layer: Any) -> Image:
    """The session's view of an Image layer: full resolution, not copied, never written to.

    Raises
    ------
    ImageError, GeometryError
        The layer holds no plane, no real numbers, or lies nowhere in space.
    """
    if layer.ndim < 2:
        raise ImageError(f"{layer.name!r} has {layer.ndim} axis; segmentation needs an image of two or more.")
    data = layer.data[0] if layer.multiscale else layer.data
    return Image(
        data,
        grid_of(layer),
        rgb=bool(layer.rgb),
        name=layer.name,
        source=dict(layer.metadata.get(KEY, {})),
        axis_labels=tuple(layer.axis_labels),
        units=tuple(str(unit) for unit in layer.units),
    )
