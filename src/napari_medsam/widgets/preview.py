"""The preview layer: what is not in the labels yet. Written directly, so it leaves no undo history.

A pixel holds two numbers: in its low bits the proposal, above them what a run through the volume has found. So each is
drawn and taken away without the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import ImageError
from napari_medsam.geometry import Plane
from napari_medsam.masks import BoolArray
from napari_medsam.session import Draft
from napari_medsam.widgets.coordinates import View, insert_above, lay, layer_shape, raise_above, spatial_kwargs

NAME = "MedSAM preview"
SELECTED, OTHER = 1, 2
DRAFT_COLORS = {SELECTED: "#00e5ff", OTHER: "#7aa7ff"}
BITS = 2
"""How many low bits hold the proposal."""
DRAFT, GROWN = (1 << BITS) - 1, 0xFF ^ ((1 << BITS) - 1)
GROWN_COLORS = ("#3ddc97", "#ffb000", "#dc67f0", "#fe7a36", "#a0d911", "#8f9bff")
"""Of the objects of a run, again from the first when they are more."""
ADDED, REMOVED = (0xFF >> BITS) - 1, 0xFF >> BITS
"""What a clean-up would add to an object, and take from it; the numbers below are for the objects of a run."""
CHANGE_COLORS = {ADDED: "#00e5ff", REMOVED: "#ff2bd6"}
"""Cyan and magenta, which are told apart with any colour vision and are none of napari's first label colours."""
OPACITY, CHANGE_OPACITY = 0.5, 0.9
"""Proposals and runs let the image through; a change, often of a few voxels, covers the label that it is about."""


class _Painted:
    """A draft as it is painted; equal to another when the same pixels get the same colour."""

    def __init__(self, draft: Draft, colour: int) -> None:
        self.draft = draft
        self.colour = colour

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Painted):
            return NotImplemented
        mine, its = self.draft, other.draft
        same = mine.prediction is its.prediction and mine.candidate == its.candidate
        return same and mine.plane == its.plane and self.colour == other.colour

    __hash__ = None  # type: ignore[assignment]


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
        self._painted: tuple[_Painted, ...] = ()
        self._grown: set[Plane] = set()
        self._opacity: tuple[float, ...] = ()
        """What the layer's was before a change was shown; empty while none is."""
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
        colormap = DirectLabelColormap(color_dict=_colors())
        self.layer = Labels(data, name=NAME, opacity=OPACITY, colormap=colormap, **spatial_kwargs(self._image))
        insert_above(self._viewer, self._image, self.layer)
        self.layer.editable = False
        self.layer.locked = True
        for key, act in self._keys.items():
            self.layer.bind_key(key, _ignoring_layer(act))

    def show(self, drafts: Iterable[Draft], selected: str) -> None:
        """Show the masks of these drafts, and nothing else. What is shown already costs nothing."""
        masks = sorted((d for d in drafts if d.mask is not None), key=lambda d: d.key == selected)
        paint = tuple(_Painted(d, SELECTED if d.key == selected or len(masks) == 1 else OTHER) for d in masks)
        if masks:
            self.prepare()
        elif not self._fits():
            self._painted = ()
        if paint == self._painted:
            return
        for plane in {one.draft.plane for one in (*self._painted, *paint)}:
            self.layer.data[plane.key] &= GROWN
        for one in paint:
            pixels, mask = self.layer.data[one.draft.plane.key], one.draft.mask
            pixels[mask] = (pixels[mask] & GROWN) | one.colour
        self._painted = paint
        self._redraw()

    def grow(self, found: Iterable[tuple[Plane, int, BoolArray]]) -> None:
        """Show more of what a run finds: on which slice, the number of the object from 1, its mask."""
        self.prepare()
        shown = View(self._viewer, self._image).shown()
        seen = False
        for plane, number, mask in found:
            value = number if number in CHANGE_COLORS else (number - 1) % (ADDED - 1) + 1
            pixels = self.layer.data[plane.key]
            pixels[mask] = (pixels[mask] & DRAFT) | (value << BITS)
            self._grown.add(plane)
            seen |= shown is None or plane == shown or plane.axes != shown.axes
        if seen:  # to draw a slice anew may cost more than to find one
            self._redraw()

    def change(self, found: Iterable[tuple[Plane, int, BoolArray]]) -> None:
        """Show what a clean-up would add and take, ADDED and REMOVED by slice, over the labels."""
        self.grow(found)
        self._opacity = self._opacity or (self.layer.opacity,)
        self.layer.opacity = CHANGE_OPACITY

    def clear_grown(self) -> None:
        """Take away what a run has found, or a clean-up would change; proposals stay."""
        grown, self._grown = self._grown, set()
        for opacity in self._opacity if self._fits() else ():
            self.layer.opacity = opacity
        self._opacity = ()
        if grown and self._fits():
            for plane in grown:
                self.layer.data[plane.key] &= DRAFT
            self._redraw()

    def remove(self) -> None:
        """Take the layer out of the viewer."""
        layer, self.layer = self.layer, None
        self._painted, self._grown, self._opacity = (), set(), ()
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def _redraw(self) -> None:
        """Draw the shown slice anew; a new thumbnail would have napari draw its whole list of layers as well."""
        self.layer.refresh(thumbnail=False, highlight=False, extent=False)

    def _fits(self) -> bool:
        here = self.layer is not None and self.layer in self._viewer.layers
        return here and self._image is not None and self.layer.data.shape == layer_shape(self._image)


def _colors() -> dict[int | None, str]:
    """The colour of each value of a pixel: that of its proposal, else of what a run has found."""
    colors: dict[int | None, str] = {None: "transparent", 0: "transparent"}
    for value in range(1, 256):
        number = value >> BITS
        grown = CHANGE_COLORS.get(number, GROWN_COLORS[(number - 1) % len(GROWN_COLORS)])
        colors[value] = DRAFT_COLORS.get(value & DRAFT, grown)
    return colors


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
