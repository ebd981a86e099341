"""Axial, coronal and sagittal views of an image whose last three axes are z, y, x."""

from __future__ import annotations

from typing import Any

from napari_medsam.errors import GeometryError

VIEWS = {"axial": 0, "coronal": 1, "sagittal": 2}
"""Which of the last three axes each view looks along."""


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
    # arrays run toward inferior-to-superior, which napari would show head down
    viewer.scene.camera.orientation2d = ("down" if view == "axial" else "up", "right")
    viewer.reset_view()
