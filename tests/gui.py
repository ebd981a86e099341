"""Driving a real napari canvas: world to canvas pixels, mouse, keys, and waiting for the plugin to settle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_medsam.prompts import Box
from napari_medsam.widgets.coordinates import to_viewer_world

LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
NO_KEY, SHIFT, CONTROL = (
    Qt.KeyboardModifier.NoModifier,
    Qt.KeyboardModifier.ShiftModifier,
    Qt.KeyboardModifier.ControlModifier,
)


@contextmanager
def own_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the plugins' settings in a folder, and begin with the defaults; private in napari, as its own fixture is."""
    from napari import settings

    monkeypatch.setattr(settings, "_CFG_PATH", str(folder / "settings.yaml"))
    settings._clear_plugin_settings_cache()
    yield
    settings._clear_plugin_settings_cache()


def canvas(viewer: Any) -> Any:
    """The Qt widget that gets the mouse; private in napari, and used in tests only."""
    return viewer.window._qt_viewer.canvas.native


def settle(controller: Any, seconds: float = 20.0) -> None:
    """Run the event loop until nothing is asked or waiting."""

    def quiet() -> bool:
        p = controller.proposals
        return not (p.engine.busy or p.ahead.busy or p._read_soon.isActive() or p._warm_soon.isActive())

    until(quiet, seconds)
    for _ in range(3):
        QApplication.processEvents()


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Run the event loop until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited too long"
        QApplication.processEvents()
        time.sleep(0.002)


def use_model(controller: Any, reference: str, model: Any) -> None:
    """Have a model loaded and in use at once: a fake, under the reference of a real one."""
    controller.models.reference = reference
    controller.proposals.engine._held = (reference, model)
    controller.models.settled.emit()
    controller.models.changed.emit()
    QApplication.processEvents()


def show_voxel(viewer: Any, layer: Any, voxel: Sequence[float]) -> None:
    """Move the sliders to a voxel, and the whole image into view."""
    viewer.dims.point = tuple(to_viewer_world(viewer, layer, voxel)[0])
    viewer.reset_view()
    for _ in range(3):
        QApplication.processEvents()


def world_to_canvas(viewer: Any, world: Sequence[float]) -> QPoint:
    """Canvas pixel of a viewer-world position (2D display, no grid)."""
    camera = viewer.scene.camera
    shown = np.asarray(world, float)[list(viewer.dims.displayed)] - np.asarray(camera.center, float)[-2:]
    down, right = (str(o) for o in camera.orientation2d)
    size = canvas(viewer).size()
    x = size.width() / 2 + camera.zoom * shown[1] * (1 if right.endswith("right") else -1)
    y = size.height() / 2 + camera.zoom * shown[0] * (1 if down.endswith("down") else -1)
    return QPoint(round(x), round(y))


def canvas_to_world(viewer: Any, x: float, y: float) -> np.ndarray:
    """Viewer-world position of a canvas pixel."""
    camera = viewer.scene.camera
    down, right = (str(o) for o in camera.orientation2d)
    size = canvas(viewer).size()
    world = np.array(viewer.dims.point, float)
    offset = np.array([
        (y - size.height() / 2) * (1 if down.endswith("down") else -1),
        (x - size.width() / 2) * (1 if right.endswith("right") else -1),
    ])  # fmt: skip
    world[list(viewer.dims.displayed)] = np.asarray(camera.center, float)[-2:] + offset / camera.zoom
    return world


def click(viewer: Any, layer: Any, voxel: Sequence[float], button: Any = LEFT, keys: Any = NO_KEY) -> None:
    """Click on a voxel of a layer."""
    at = world_to_canvas(viewer, to_viewer_world(viewer, layer, voxel)[0])
    widget = canvas(viewer)
    QTest.mouseMove(widget, at)
    QApplication.processEvents()
    QTest.mouseClick(widget, button, keys, at)
    QApplication.processEvents()


def drag(
    viewer: Any,
    layer: Any,
    start: Sequence[float],
    end: Sequence[float],
    steps: int = 6,
    keys: Any = NO_KEY,
    each: Callable[[], object] = QApplication.processEvents,
) -> None:
    """Drag with the left button between two voxels of a layer; `each` is called after every step."""
    a, b = (world_to_canvas(viewer, to_viewer_world(viewer, layer, v)[0]) for v in (start, end))
    widget = canvas(viewer)
    QTest.mouseMove(widget, a)
    QApplication.processEvents()
    QTest.mousePress(widget, LEFT, keys, a)
    for t in np.linspace(0, 1, steps)[1:]:
        at = QPointF(a.x() + t * (b.x() - a.x()), a.y() + t * (b.y() - a.y()))
        # QTest.mouseMove carries no pressed button
        there = QPointF(widget.mapToGlobal(at))
        move = QMouseEvent(QEvent.Type.MouseMove, at, there, Qt.MouseButton.NoButton, LEFT, keys)
        QApplication.sendEvent(widget, move)
        QApplication.processEvents()
        each()
    QTest.mouseRelease(widget, LEFT, keys, b)
    QApplication.processEvents()


def drag_box(viewer: Any, layer: Any, plane: Any, box: Box) -> None:
    """Draw a box with the mouse: from the middle of its first pixel to the middle of its last."""
    corners = plane.to_index([(box.row0, box.column0), (box.row1 - 1, box.column1 - 1)])
    drag(viewer, layer, corners[0], corners[1])


def press(viewer: Any, key: Any, keys: Any = NO_KEY) -> None:
    """Press a key with the canvas in focus."""
    widget = canvas(viewer)
    widget.setFocus()
    QTest.keyClick(widget, key, keys)
    QApplication.processEvents()


def bright_spot(viewer: Any, fraction: float = 0.6) -> np.ndarray:
    """World position of the middle of the brightest pixels on the screen: what the user really sees."""
    for _ in range(5):
        QApplication.processEvents()
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(float).sum(axis=-1)
    y, x = np.nonzero(picture > fraction * picture.max())
    ratio = canvas(viewer).devicePixelRatioF()
    return canvas_to_world(viewer, (x.mean() + 0.5) / ratio, (y.mean() + 0.5) / ratio)
