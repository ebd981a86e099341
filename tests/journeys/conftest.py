"""A real viewer with the dock open on the phantom, read from a real file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import pytest
from qtpy.QtWidgets import QApplication
from tests import gui

from napari_medsam.geometry import Plane
from napari_medsam.phantom import ct_phantom
from napari_medsam.prompts import Box


class Bench(NamedTuple):
    """A viewer at work."""

    viewer: Any
    dock: Any
    image: Any

    @property
    def controller(self) -> Any:
        return self.dock.controller

    def settle(self) -> None:
        gui.settle(self.controller)

    def draw(self, plane: Plane, box: Box) -> None:
        gui.drag_box(self.viewer, self.image, plane, box)

    def preview(self, plane: Plane) -> np.ndarray:
        layer = self.controller.proposals.preview.layer
        return np.asarray(layer.data[plane.key]) > 0

    @property
    def labels(self) -> Any:
        return self.controller.work.target.layer


@pytest.fixture(autouse=True)
def _no_abort(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Exceptions in Qt slots fail the test instead of aborting the process."""
    raised: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, value, trace: raised.append(value))
    yield
    assert not raised, raised


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plugin's page in Preferences as it comes, and the user's own left alone."""
    with gui.own_settings(tmp_path, monkeypatch):
        yield


@pytest.fixture
def open_dock(make_napari_viewer: Callable[..., Any]) -> Callable[..., tuple[Any, Any]]:
    def make() -> tuple[Any, Any]:
        from napari.settings import get_plugin_settings

        get_plugin_settings("napari-medsam").models.prefetch = "off"  # tests/qt/test_ahead.py is about it
        viewer = make_napari_viewer(show=True, show_welcome_screen=False)
        viewer.window._qt_window.resize(1280, 800)
        _, dock = viewer.window.add_plugin_dock_widget("napari-medsam", "Prompt segmentation")
        QApplication.processEvents()
        return viewer, dock

    return make


@pytest.fixture(scope="session")
def phantom() -> tuple[Any, np.ndarray, dict[int, str]]:
    return ct_phantom()


@pytest.fixture(scope="session")
def phantom_file(phantom: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom as a NIfTI file stored in another order than it is shown in."""
    image = phantom[0]
    spacing, origin = image.grid.spacing[::-1], image.grid.affine[:3, 3][::-1]
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = -origin[0], -origin[1], origin[2]
    stored = nibabel.as_closest_canonical(nibabel.Nifti1Image(np.asarray(image.data).T, affine))
    path = tmp_path_factory.mktemp("phantom") / "ct.nii.gz"
    stored.header["descrip"] = b"phantom"
    stored.set_qform(stored.affine, 1)
    stored.set_sform(stored.affine, 1)
    nibabel.save(stored, path)
    return path


@pytest.fixture
def bench(open_dock: Callable[..., tuple[Any, Any]], phantom_file: Path) -> Bench:
    viewer, dock = open_dock()
    (image,) = viewer.open(str(phantom_file), plugin="napari-medsam")
    made = Bench(viewer, dock, image)
    made.settle()
    return made
