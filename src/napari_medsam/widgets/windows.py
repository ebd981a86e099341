"""Which intensities the model sees of a layer: a preset, percentiles, the layer's contrast, or typed bounds."""

from __future__ import annotations

from typing import Any

from napari_medsam.errors import IntensityError
from napari_medsam.image import Image
from napari_medsam.intensity import (
    CONTRAST,
    CT_PRESETS,
    PERCENTILE,
    TYPED,
    Window,
    percentile_window,
    suggest_window,
)

CHOICES = (*CT_PRESETS, PERCENTILE, CONTRAST, TYPED)


class WindowChoice:
    """The choice for one Image layer; it begins with what the data suggest. The layer itself is never changed."""

    def __init__(self, layer: Any, image: Image) -> None:
        self._layer = layer
        self.image = image
        self.name, self.window = suggest_window(image.sample())
        self.suggested = self.name

    @property
    def follows_layer(self) -> bool:
        """Whether the window is the layer's contrast limits."""
        return self.name == CONTRAST

    def choose(self, name: str, low: float, high: float) -> Window:
        """Make the choice `name` (one of CHOICES); `low` and `high` count for TYPED only.

        Raises
        ------
        IntensityError
            The name is unknown or the bounds are no window; the choice in use stays.
        """
        window = self._window(name, low, high)
        self.name, self.window = name, window
        return window

    def _window(self, name: str, low: float, high: float) -> Window:
        if name in CT_PRESETS:
            return CT_PRESETS[name]
        if name == PERCENTILE:
            return percentile_window(self.image.sample())
        if name == CONTRAST:
            limits = self._layer.contrast_limits
            return Window(0, 255) if limits is None else Window(float(limits[0]), float(limits[1]))
        if name == TYPED:
            return Window(low, high)
        raise IntensityError(f"There is no window called {name!r}. Choose one of: {', '.join(CHOICES)}.")
