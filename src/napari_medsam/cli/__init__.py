"""napari-medsam without a window: the same session from a terminal."""

from napari_medsam.cli.program import main

__all__ = ["main"]
