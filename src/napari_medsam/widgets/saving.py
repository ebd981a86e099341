"""Saving labels from the viewer: what the writer needs, taken from a layer, written off the GUI thread."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medsam.image import KEY
from napari_medsam.io import write_labels
from napari_medsam.widgets.coordinates import grid_of
from napari_medsam.widgets.layer_labels import names_of

if TYPE_CHECKING:
    from napari_medsam.widgets.controller import Controller


def save(layer: Any, path: str | Path) -> Path:
    """Save a Labels layer as NIfTI with the source's geometry, and its names beside; returns the path written.

    Raises
    ------
    WriteError, LabelsError, GeometryError
        Nothing was changed on disk; the message says what to do.
    """
    return write_labels(
        path, np.asarray(layer.data), grid=grid_of(layer), source=layer.metadata.get(KEY), names=names_of(layer)
    )


def save_in_background(controller: Controller, layer: Any, path: str | Path) -> Any:
    """Save a copy of the labels in a worker thread; the controller tells how it went."""
    from napari.qt.threading import create_worker

    data, grid = np.array(layer.data), grid_of(layer)
    source, names = layer.metadata.get(KEY), names_of(layer)
    controller.say(f"Saving {Path(path).name} ...", "busy")
    worker = create_worker(lambda: write_labels(path, data, grid=grid, source=source, names=names), _ignore_errors=True)
    worker.returned.connect(lambda written: controller.say(f"Saved {written.name}."))
    worker.errored.connect(controller.complain)
    worker.start()
    return worker
