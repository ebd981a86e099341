"""The preview layer: proposals that are not in the labels yet. Written directly, so it leaves no undo history."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import ImageError
from napari_medsam.geometry import Plane
from napari_medsam.session import Draft
from napari_medsam.widgets.coordinates import insert_above, lay, layer_shape, raise_above, spatial_kwargs

NAME = "MedSAM preview"
SELECTED, OTHER = 1, 2
COLORS = {None: "transparent", 0: "transparent", SELECTED: "#00e5ff", OTHER: "#7aa7ff"}


class Preview:
    """The Labels layer that shows the masks of all drafts on the image's grid.

    Parameters
    ----------
    viewer : napari.Viewer
    keys : mapping of key to callable
        Keys to bind while this layer is active: napari's undo would look for a history that it does not have.
    """

    def __init__(self, viewer: Any, keys: Mapping[str, Callable[[], None]]) -> None:
        self._viewer = viewer
        self._keys = keys
        self._image: Any = None
        self._painted: set[Plane] = set()
        self.layer: Any = None

    def place(self, image: Any) -> None:
        """Lay the preview onto an image; an existing layer of another shape is replaced when next needed."""
        self._image = image
        if not self._fits():
            self.remove()
        if self.layer is not None:
            lay(self.layer, spatial_kwargs(image))

    def prepare(self) -> None:
        """Add the layer now, if it is not there: napari takes a third of a second, which the first mask should not."""
        if self._fits():
            raise_above(self._viewer, self.layer, self._image)
            return
        from napari.layers import Labels
        from napari.utils.colormaps import DirectLabelColormap

        self.remove()
        data = _nothing(layer_shape(self._image))
        colormap = DirectLabelColormap(color_dict=COLORS)
        self.layer = Labels(data, name=NAME, opacity=0.5, colormap=colormap, **spatial_kwargs(self._image))
        insert_above(self._viewer, self._image, self.layer)
        self.layer.editable = False
        self.layer.locked = True
        for key, act in self._keys.items():
            self.layer.bind_key(key, _ignoring_layer(act))

    def show(self, drafts: Iterable[Draft], selected: str) -> None:
        """Show the masks of these drafts, and nothing else."""
        masks = [d for d in drafts if d.mask is not None]
        if masks:
            self.prepare()
        elif not self._painted or not self._fits():
            self._painted = set()
            return
        for plane in self._painted | {d.plane for d in masks}:
            self.layer.data[plane.key] = 0
        for draft in sorted(masks, key=lambda d: d.key == selected):
            colour = SELECTED if draft.key == selected or len(masks) == 1 else OTHER
            self.layer.data[draft.plane.key][draft.mask] = colour
        self._painted = {d.plane for d in masks}
        self.layer.refresh()

    def remove(self) -> None:
        """Take the layer out of the viewer."""
        layer, self.layer = self.layer, None
        self._painted = set()
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def _fits(self) -> bool:
        here = self.layer is not None and self.layer in self._viewer.layers
        return here and self._image is not None and self.layer.data.shape == layer_shape(self._image)


def _nothing(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    try:
        return np.zeros(shape, dtype=np.uint8)
    except (MemoryError, ValueError) as error:
        size = np.prod(shape, dtype=float) / 2**30
        raise ImageError(f"Masks of this image take {size:.0f} GiB, which is not there. Work on a crop.") from error


def _ignoring_layer(act: Callable[[], None]) -> Callable[[Any], None]:
    def command(layer: Any) -> None:
        act()

    return command
