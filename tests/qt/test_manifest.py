"""The manifest: what it names exists, and what napari shows of it works."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from npe2 import PluginManifest
from qtpy.QtWidgets import QApplication

from napari_medsam.masks import Overlap
from napari_medsam.models import registry
from napari_medsam.widgets.actions import ACTIONS, perform
from napari_medsam.widgets.controllers import controller_of
from napari_medsam.widgets.files import get_reader

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_distribution("napari-medsam")


def test_every_command_names_something_that_exists(manifest: PluginManifest) -> None:
    for command in manifest.contributions.commands:
        module, name = command.python_name.split(":")
        assert callable(getattr(importlib.import_module(module), name)), command.id


def test_the_top_level_manifest_is_a_link_to_the_one_in_the_package() -> None:
    link = ROOT / "napari.yaml"
    assert link.is_symlink()
    assert link.resolve() == ROOT / "src" / "napari_medsam" / "napari.yaml"


def test_settings_offer_the_models_and_overlaps_that_there_are(manifest: PluginManifest) -> None:
    properties = manifest.contributions.configurations["proposals"].properties
    assert tuple(properties["model"].enum) == registry.names()
    assert properties["overlap"].enum == [overlap.value for overlap in Overlap]


def test_the_widget_is_in_the_plugins_menu_and_under_layers_segment(manifest: PluginManifest) -> None:
    menus = manifest.contributions.menus
    for menu in ("napari/layers/segment", "napari/layers/annotate"):
        assert [item.command for item in menus[menu]] == ["napari-medsam.segment"]
    assert manifest.contributions.widgets[0].command == "napari-medsam.segment"


@pytest.mark.parametrize(
    ("name", "ours"),
    [("a.nii", True), ("A.B.NII.GZ", True), ("a.nrrd", True), ("a.mha", True), ("a.tiff", True), ("a.txt", False)],
)
def test_the_reader_takes_what_it_can_read(tmp_path: Path, name: str, ours: bool) -> None:
    path = tmp_path / name
    path.touch()
    assert (get_reader(str(path)) is not None) == ours


def test_the_reader_leaves_folders_without_dicom_alone(tmp_path: Path) -> None:
    assert get_reader(str(tmp_path)) is None
    (tmp_path / "slice").write_bytes(b"\0" * 128 + b"DICM")
    assert get_reader(str(tmp_path)) is not None


def test_starting_the_dock_imports_no_torch() -> None:
    """In an interpreter of its own, offscreen and without a canvas."""
    code = (
        "import sys\n"
        "from qtpy.QtWidgets import QApplication\n"
        "app = QApplication([])\n"
        "from napari.components import ViewerModel\n"
        "from napari_medsam.widgets.dock import SegmentDock\n"
        "dock = SegmentDock(ViewerModel())\n"
        "assert 'torch' not in sys.modules\n"
        "dock.controller.close()\n"
    )
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


def test_the_keys_are_listed_in_preferences_and_free(make_napari_viewer: Callable[..., Any]) -> None:
    from napari.layers import Image, Labels, Points, Shapes
    from napari.settings import get_settings
    from napari.utils.action_manager import action_manager

    viewer = make_napari_viewer()
    viewer.window.add_plugin_dock_widget("napari-medsam", "Prompt segmentation")
    for action in ACTIONS:
        name = f"napari-medsam:{action.name}"
        assert name in action_manager._actions, "listed"
        if action.key and name not in get_settings().shortcuts.shortcuts:
            assert action_manager._shortcuts[name], "bound"
    taken = {str(key) for kind in (Image, Labels, Points, Shapes) for key in kind.class_keymap}
    assert not taken & {action.key for action in ACTIONS if len(action.key) == 1}


def test_actions_do_nothing_in_a_viewer_without_the_dock(make_napari_viewer: Callable[..., Any]) -> None:
    viewer = make_napari_viewer()
    for action in ACTIONS:
        perform(action.name, viewer)
    assert controller_of(viewer) is None


def test_the_sample_opens_and_its_window_is_suggested(make_napari_viewer: Callable[..., Any]) -> None:
    viewer = make_napari_viewer()
    _, dock = viewer.window.add_plugin_dock_widget("napari-medsam", "Prompt segmentation")
    (image,) = viewer.open_sample("napari-medsam", "ct_phantom")
    QApplication.processEvents()
    assert dock.controller.image is image
    assert len(set(image.scale)) == 3, "anisotropic"
    assert np.all(np.abs(image.translate) > 1), "off origin"
    assert dock.window_panel.value()[0] == "CT abdomen"


def test_preferences_reach_the_controller(
    plugin_settings: Any, npe2pm: Any, manifest: PluginManifest, make_napari_viewer: Callable[..., Any]
) -> None:
    from napari.settings import get_plugin_settings

    if "napari-medsam" not in npe2pm:
        npe2pm.register(manifest)
    settings = get_plugin_settings("napari-medsam")
    settings.proposals.overlap, settings.embeddings.memory_mb = Overlap.OVERWRITE.value, 16
    viewer = make_napari_viewer()
    viewer.add_image(np.zeros((4, 10, 10), np.int16))
    _, dock = viewer.window.add_plugin_dock_widget("napari-medsam", "Prompt segmentation")
    assert dock.controller.session.overlap is Overlap.OVERWRITE
    assert dock.controller.proposals.engine.store.max_bytes == 16 << 20
