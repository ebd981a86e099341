"""The layer that shows exactly what the model sees: the same array view that requests are cut from."""

from __future__ import annotations

from typing import Any

from napari_medsam.session import Session
from napari_medsam.widgets.coordinates import insert_above, spatial_kwargs

NAME = "What the model sees"


class SeenLayer:
    """A toggle for one Image layer over the image; computed slice by slice as napari asks for it."""

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self.layer: Any = None

    def show(self, image: Any, session: Session) -> None:
        """Show it above `image`."""
        from napari.layers import Image

        self.remove()
        self.layer = Image(
            session.seen,
            name=NAME,
            rgb=image.rgb,
            contrast_limits=(0, 255),
            multiscale=False,
            colormap="gray",
            **spatial_kwargs(image),
        )
        insert_above(self._viewer, image, self.layer)

    def refresh(self) -> None:
        """Draw it again after the window has changed."""
        if self.layer is not None:
            self.layer.refresh()

    def remove(self) -> None:
        """Take it out of the viewer."""
        layer, self.layer = self.layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)
