"""The budgets of the store's tiers, set in their window and in Preferences: they count at once, and where shown."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.settings import get_plugin_settings
from npe2 import PluginManager
from pydantic import ValidationError
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QSpinBox
from tests import gui

from napari_medsam import api
from napari_medsam.models import resident
from napari_medsam.widgets import storage
from napari_medsam.widgets.dock import SegmentDock
from napari_medsam.widgets.storage import MIB, Choice, chosen
from napari_medsam.widgets.store_panel import NO_DEVICE, StoreDialog

MIBS = np.dtype((np.uint8, MIB))


@pytest.fixture(autouse=True)
def _as_it_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The settings as they come, a folder of its own, and no network on a device but those of the test."""
    PluginManager.instance().discover()
    gc.collect()
    monkeypatch.setenv("NAPARI_MEDSAM_CACHE", str(tmp_path / "cache"))
    with gui.own_settings(tmp_path, monkeypatch):
        yield
    resident.set_budget(None)


@pytest.fixture
def docks(qapp: QApplication) -> Iterator[list[SegmentDock]]:
    """Two docks, each over a viewer of its own without a window."""
    made = [SegmentDock(ViewerModel()) for _ in range(2)]
    yield made
    for dock in made:
        dock.controller.close()
        dock.close()


@pytest.fixture
def dock(docks: list[SegmentDock]) -> SegmentDock:
    return docks[0]


@pytest.fixture
def device() -> Any:
    """A device without hardware."""
    return pytest.importorskip("torch").device("meta")


def opened(dock: SegmentDock) -> StoreDialog:
    """The window of the store, when it knows how full that is."""
    dock.store.open()
    dialog = dock.store.dialog
    assert dialog is not None
    dialog.held_on_device.clear()
    dock.controller.storage.look()
    gui.until(lambda: bool(dialog.held_on_device.text()))
    return dialog


def enter(box: QSpinBox, value: int) -> None:
    """Type a number over the one that is there."""
    box.setFocus()
    box.selectAll()
    QTest.keyClicks(box, str(value))
    QTest.keyClick(box, Qt.Key.Key_Return)


def settings() -> Any:
    return get_plugin_settings("napari-medsam").embeddings


def test_the_gpus_budget_is_set_in_the_window_and_counts_at_once(dock: SegmentDock, device: Any) -> None:
    held, arrays = resident.Resident.on(device), np.zeros(3, MIBS)
    each = list(arrays)
    for array in each:
        held.of(array)
    dialog = opened(dock)
    assert dialog.held_on_device.text().startswith("3.1 MB of ")
    enter(dialog.device, 2)
    assert (held.nbytes, held.max_bytes) == (2 * MIB, 2 * MIB)
    assert settings().device_mb == 2
    assert dialog.device.text() == "2 MB"
    gui.until(lambda: dialog.held_on_device.text() == "2.1 MB of 2.1 MB")
    enter(dialog.device, 0)
    assert held.max_bytes == resident.WHERE_UNKNOWN
    assert dialog.device.text() == "a part of what is free"


def test_clearing_the_gpu_leaves_the_budget_and_the_memory(dock: SegmentDock, device: Any) -> None:
    held, (array,) = resident.Resident.on(device), np.zeros(1, MIBS)
    held.of(array)
    dialog = opened(dock)
    dialog.clear_device.click()
    assert held.nbytes == 0
    gui.until(lambda: dialog.held_on_device.text().startswith("0 bytes of "))


def test_without_a_gpu_it_says_so_and_the_budget_can_be_set_for_later(dock: SegmentDock) -> None:
    dialog = opened(dock)
    assert dialog.held_on_device.text() == NO_DEVICE
    assert dialog.held_on_device.isVisible()
    assert not dialog.clear_device.isEnabled()
    assert dialog.device.isEnabled()
    enter(dialog.device, 512)
    assert chosen() == Choice(device_mb=512)


def test_the_gpus_budget_counts_from_the_start(qapp: QApplication, device: Any) -> None:
    settings().device_mb = 16
    controller = SegmentDock(ViewerModel()).controller
    assert resident.Resident.on(device).max_bytes == 16 * MIB
    controller.close()


def test_a_budget_that_a_script_has_set_stays_where_the_user_has_set_none(
    docks: list[SegmentDock], device: Any
) -> None:
    api.set_device_budget(5 * MIB)
    controller = SegmentDock(ViewerModel()).controller
    assert resident.Resident.on(device).max_bytes == 5 * MIB
    controller.close()


def test_what_is_typed_in_preferences_counts_when_it_rests(dock: SegmentDock, monkeypatch: pytest.MonkeyPatch) -> None:
    budgets: list[int | None] = []
    store, dialog = dock.controller.storage.store, opened(dock)
    monkeypatch.setattr(resident, "set_budget", budgets.append)
    for typed in (2, 20, 204, 2048):
        settings().update({"device_mb": typed, "memory_mb": typed, "disk_gb": 7})
    gui.until(lambda: len(budgets) == 2)
    assert budgets == [2048 * MIB] * 2, "in both docks"
    gui.until(lambda: dialog.value().device_mb == 2048)
    assert dialog.value() == chosen() == Choice(2048, disk_gb=7, device_mb=2048)
    assert store.max_bytes == 2048 * MIB
    assert store.disk is not None
    assert store.disk.max_bytes == 7 << 30


def test_the_window_of_one_viewer_sets_the_budgets_of_all(docks: list[SegmentDock]) -> None:
    first, second = (opened(dock) for dock in docks)
    enter(first.memory, 64)
    enter(first.device, 32)
    store = docks[1].controller.storage.store
    gui.until(lambda: store.max_bytes == 64 * MIB)
    assert second.value() == first.value() == Choice(64, device_mb=32)


def test_what_is_half_typed_in_preferences_drops_nothing(qapp: QApplication, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "REST_MS", 1 << 30)
    made = storage.Storage()
    before = made.store.max_bytes
    for typed in (2, 20, 204):
        settings().memory_mb = typed
        for _ in range(5):
            QApplication.processEvents()
    assert made.store.max_bytes == before


@pytest.mark.parametrize("name", ["memory_mb", "device_mb", "disk_gb"])
def test_a_budget_below_nothing_is_refused_in_preferences(name: str) -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        setattr(settings(), name, -1)
    assert chosen() == Choice()


def test_a_budget_in_a_file_of_settings_that_is_none_is_passed_over(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    (tmp_path / "napari-medsam.yaml").write_text("embeddings:\n  device_mb: much\n  disk_gb: 3\n")
    assert chosen() == Choice(disk_gb=3)


def test_a_forgotten_storage_hears_no_settings(qapp: QApplication) -> None:
    made = storage.Storage()
    made.choose(Choice(memory_mb=16))
    store, there = made.store, weakref.ref(made)
    del made
    gc.collect()
    assert there() is None
    settings().memory_mb = 64
    for _ in range(3):
        QApplication.processEvents()
    assert store.max_bytes == 16 * MIB


def test_showing_and_setting_the_gpus_budget_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from qtpy.QtWidgets import QApplication\n"
        "app = QApplication([])\n"
        "from napari.components import ViewerModel\n"
        "from napari_medsam import api\n"
        "from napari_medsam.widgets.dock import SegmentDock\n"
        "dock = SegmentDock(ViewerModel())\n"
        "dock.store.open()\n"
        "dialog = dock.store.dialog\n"
        "dialog.device.setValue(64)\n"
        "api.set_device_budget(1 << 20)\n"
        "dialog.held_on_device.clear()\n"
        "dock.controller.storage.clear_device()\n"
        "while not dialog.held_on_device.text():\n"
        "    app.processEvents()\n"
        "    time.sleep(0.01)\n"
        "assert 'torch' not in sys.modules\n"
        "dock.controller.close()\n"
    )
    environment = {
        **os.environ,
        "QT_QPA_PLATFORM": "offscreen",
        "NAPARI_CONFIG": str(tmp_path / "settings.yaml"),
        "NAPARI_MEDSAM_CACHE": str(tmp_path / "cache"),
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
