"""The demo in a window: the phantom, the dock, and a first box drawn."""

from __future__ import annotations

import numpy as np

BOX = (30, 35, 28, 110, 105)
"""Slice and half-open box around the phantom's liver."""


def open_demo() -> None:
    """Open napari on the phantom with a box around the liver, and run it until the window is closed."""
    import napari

    from napari_medsam.prompts import Box
    from napari_medsam.widgets.coordinates import to_viewer_world

    viewer = napari.Viewer(show_welcome_screen=False)
    viewer.open_sample("napari-medsam", "ct_phantom")
    _, dock = viewer.window.add_plugin_dock_widget("napari-medsam", "Prompt segmentation")
    controller = dock.controller
    at, *corners = BOX
    viewer.dims.point = tuple(to_viewer_world(viewer, controller.image, (at, *corners[:2]))[0])
    controller.draw("box")
    outline = Box(*corners).outline
    controller.proposals.layers.boxes.add_rectangles(np.insert(outline, 0, at, axis=1))
    napari.run()
