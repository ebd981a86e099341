"""Axial, coronal and sagittal views of an image whose last three axes are z, y, x."""

from __future__ import annotations

from typing import Any

from napari_medsam.errors import GeometryError
from napari_medsam.geometry import VIEWS


def turn(viewer: Any, image: Any, view: str) -> None:
    """Show a view with superior (or anterior) up, the slider of the hidden axis where it stood.

    Raises
    ------
    GeometryError
        The image has no third axis, so there is one view only.
    """
    if image.ndim < 3:
        raise GeometryError(f"{image.name!r} has two axes, so there is only one view of it.")
    last = list(range(viewer.dims.ndim))[-3:]
    hidden = last.pop(VIEWS[view])
    viewer.dims.ndisplay = 2
    viewer.dims.order = (*range(viewer.dims.ndim - 3), hidden, *last)
    stand_up(viewer, image)
    viewer.reset_view()


def stand_up(viewer: Any, image: Any) -> None:
    """Superior up where z runs down the screen, anterior up in axial slices."""
    vertical = viewer.dims.displayed[-2]
    upright = image.ndim >= 3 and vertical == viewer.dims.ndim - 3
    viewer.scene.camera.orientation2d = ("up" if upright else "down", "right")
