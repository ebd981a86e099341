"""The model chooser in a real viewer with a real mouse: fetched, stopped, gone on with, used, dropped, closed."""

from __future__ import annotations

import gc
import hashlib
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from tests import gui
from tests.golden.originals import Originals
from tests.journeys.conftest import Bench
from tests.unit.models import loopback

from napari_medsam.geometry import Plane
from napari_medsam.models import registry
from napari_medsam.models.row import WeightFile
from napari_medsam.phantom import LIVER, ct_phantom
from napari_medsam.prompts import Box
from napari_medsam.widgets.compat import store_setting

LEFT = Qt.MouseButton.LeftButton
NAME = "lite_medsam.pth"


@pytest.fixture(scope="module")
def weights(shared: Path) -> dict[str, Any]:
    """Stand-in weights of a LiteMedSAM."""
    return Originals(shared).weights("lite_medsam")


def saved(content: Any, path: Path) -> bytes:
    import torch

    torch.save(content, path)
    return path.read_bytes()


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, bytes], Path]:
    """Let the row of LiteMedSAM be fetched from a server on this machine; the weights folder."""

    def change(address: str, content: bytes) -> Path:
        sha256 = hashlib.sha256(content).hexdigest()
        file = WeightFile(NAME, len(content), sha256, f"{address}/{NAME}")
        rows = [replace(row, files=(file,)) if row.name == "litemedsam" else row for row in registry.TABLE]
        monkeypatch.setattr(registry, "TABLE", tuple(rows))
        folder = tmp_path / "weights"
        store_setting("models.weights", str(folder))
        return folder

    return change


def click(widget: Any, at: QPoint | None = None) -> None:
    QTest.mouseClick(widget, LEFT, pos=at or widget.rect().center())
    QApplication.processEvents()


def select(dialog: Any, name: str) -> None:
    """Click on a model in the list."""
    item = next(item for item in dialog._lines() if item.data(0, Qt.ItemDataRole.UserRole) == name)
    dialog.tree.scrollToItem(item)
    click(dialog.tree.viewport(), dialog.tree.visualItemRect(item).center())
    assert dialog.value() == name


def drop(dock: Any, path: Path) -> None:
    """Drop a file onto the dock, through Qt's own events."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    copy, none = Qt.DropAction.CopyAction, Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(QPoint(9, 9), copy, data, LEFT, none)
    QApplication.sendEvent(dock, enter)
    assert enter.isAccepted()
    QApplication.sendEvent(dock, QDropEvent(QPointF(9, 9), copy, data, LEFT, none))


def working() -> bool:
    return any(thread.name == "napari-medsam weights" for thread in threading.enumerate())


def fetch_with_a_break(bench: Bench, dialog: Any) -> None:
    """Fetch until something has come, stop, and fetch the rest."""
    models = bench.controller.models
    gui.until(lambda: bool(models.states) and not working())
    QApplication.processEvents()
    select(dialog, "litemedsam")
    click(dialog.fetch_button)
    gui.until(lambda: dialog.progress.value() > 0)
    click(dialog.stop_button)
    gui.until(lambda: not models.fetching and not working())
    assert "goes on from there next time" in bench.controller.status[0]
    assert models.reference == "contour"
    gui.until(dialog.fetch_button.isEnabled)
    click(dialog.fetch_button)
    gui.until(lambda: models.reference == "litemedsam", 60)
    bench.settle()


def test_from_a_click_on_fetch_to_masks_of_the_fetched_model(
    bench: Bench, weights: dict[str, Any], serve: Callable[[str, bytes], Path], tmp_path: Path
) -> None:
    published = saved(weights, tmp_path / "published.pth")
    truth = ct_phantom()[1] == LIVER.label
    plane = Plane.across(0, int(np.argmax(truth.sum(axis=(1, 2)))))
    rows, columns = np.nonzero(truth[plane.key])
    middle = (int(np.median(rows)), int(np.median(columns)))
    dock, canvas = bench.dock, gui.canvas(bench.viewer)
    width = dock.width()
    gui.show_voxel(bench.viewer, bench.image, plane.to_index([middle])[0])

    with loopback.Loopback([loopback.Content(published, stall=2**20), loopback.Content(published)]) as server:
        folder = serve(server.address, published)
        click(dock.model.more)
        dialog = dock.model.dialog
        assert dialog.isVisible()
        fetch_with_a_break(bench, dialog)
        assert server.ranges == ["", f"bytes={2**20}-"]
    assert (folder / NAME).read_bytes() == published
    assert dock.model.text.text() == "loaded · cpu · Apache-2.0"
    dialog.close()

    gui.press(bench.viewer, Qt.Key.Key_G)
    bench.draw(plane, Box(int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1))
    bench.settle()
    draft = bench.controller.work.draft
    assert draft.error is None
    assert draft.prediction.note == ""
    assert dock.proposal.text.text() == f"score {draft.score:.2f}, mask 1 of {len(draft.prediction.masks)}"
    gui.press(bench.viewer, Qt.Key.Key_K)
    gui.press(bench.viewer, Qt.Key.Key_H)
    gui.click(bench.viewer, bench.image, plane.to_index([middle])[0])
    bench.settle()
    assert "Stand-in: it knows boxes only" in bench.controller.status[0]

    own = tmp_path / "own_scribble_training.pth"
    saved({"model": weights}, own)
    drop(dock, own)
    gui.until(lambda: bench.controller.models.reference == f"litemedsam-scribble@{own}", 60)
    bench.settle()
    gui.press(bench.viewer, Qt.Key.Key_K)
    gui.press(bench.viewer, Qt.Key.Key_H)
    assert "does not take a point" in bench.controller.status[0]
    gui.press(bench.viewer, Qt.Key.Key_W)
    start, end = plane.to_index([(middle[0], middle[1] - 6), (middle[0], middle[1] + 6)])
    gui.drag(bench.viewer, bench.image, start, end, steps=12)
    bench.settle()
    assert bench.controller.work.draft.error is None
    assert bench.controller.work.draft.prediction is not None
    assert (dock.width(), gui.canvas(bench.viewer).width()) == (width, canvas.width()), "long titles widen nothing"


def test_closing_the_viewer_stops_a_download_that_stalls(
    open_dock: Callable[..., Any], serve: Callable[[str, bytes], Path]
) -> None:
    content = bytes(2**20)
    with loopback.Loopback([loopback.Content(content, stall=2**18)]) as server:
        folder = serve(server.address, content)
        part = folder / f"{NAME}.part"
        viewer, dock = open_dock()
        engine = dock.controller.proposals.engine
        dock.model.open()
        dock.controller.models.fetch("litemedsam")
        gui.until(lambda: part.exists() and part.stat().st_size >= 2**18)
        viewer.close()
        del dock
        for _ in range(5):
            QApplication.processEvents()
            gc.collect()
        gui.until(lambda: not working(), loopback.STALL / 2)
        gui.until(lambda: not engine._thread.is_alive())
    assert part.stat().st_size == 2**18, "what came is kept"
