"""An organ through the volume in a real viewer: box, run, undo, correct, run again, save; and however a run ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import Qt
from tests import gui
from tests.contract.fakes import BrightFake
from tests.journeys.conftest import Bench

from napari_medsam.errors import ModelError
from napari_medsam.geometry import Plane
from napari_medsam.intensity import TYPED
from napari_medsam.phantom import ct_phantom
from napari_medsam.prompts import Box, Prompts
from napari_medsam.propagation.stopping import StopRules
from napari_medsam.widgets import growing
from napari_medsam.widgets.reach import Reach
from napari_medsam.widgets.volume import Options

SMALL = (24, 80, 100)
SPLEEN = 3


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / max(float(a.sum() + b.sum()), 1)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A small phantom as a file, and its labels."""
    image, truth, _ = ct_phantom(SMALL)
    affine = np.diag([-image.grid.spacing[2], -image.grid.spacing[1], image.grid.spacing[0], 1.0])
    path = tmp_path_factory.mktemp("small") / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.data).T, affine), path)
    return path, truth


def middle_of(truth: np.ndarray, axis: int) -> tuple[Plane, Box]:
    """The slice across `axis` where the spleen is largest, and a loose box around it there."""
    others = tuple(a for a in range(3) if a != axis)
    plane = Plane.across(axis, int((truth == SPLEEN).sum(axis=others).argmax()))
    at = np.argwhere(truth[plane.key] == SPLEEN)
    (r0, c0), (r1, c1) = at.min(axis=0) - 1, at.max(axis=0) + 2
    return plane, Box(int(r0), int(c0), int(r1), int(c1))


def ended(bench: Bench) -> None:
    gui.until(lambda: not bench.controller.volume.growing.running, 60)
    bench.settle()


@pytest.mark.parametrize(("view", "axis"), [("axial", 0), ("coronal", 1)])
def test_box_run_undo_correct_run_again_save(
    open_dock: Callable[..., tuple[Any, Any]], small: tuple[Path, np.ndarray], tmp_path: Path, view: str, axis: int
) -> None:
    path, truth = small
    viewer, dock = open_dock()
    (image,) = viewer.open(str(path), plugin="napari-medsam")
    bench = Bench(viewer, dock, image)
    bench.settle()
    controller, volume = bench.controller, bench.controller.volume
    plane, box = middle_of(truth, axis)
    controller.turn(view)
    gui.show_voxel(viewer, image, plane.to_index([(0, 0)])[0])
    middle = plane.index[0][1]
    width = dock.width()

    for at, key, keys in ((0, Qt.Key.Key_Period, gui.NO_KEY), (3, Qt.Key.Key_Comma, gui.NO_KEY)):
        volume.go(at)
        gui.press(viewer, key, keys)
    gui.press(viewer, Qt.Key.Key_H, gui.SHIFT)
    assert volume.reach == Reach(3, 0, frozenset({3})), "the keys of the range"
    gui.press(viewer, Qt.Key.Key_H, gui.SHIFT)
    dock.volume.range.everything.click()
    assert volume.reach == Reach()

    volume.go(middle)
    gui.press(viewer, Qt.Key.Key_G)
    bench.draw(plane, box)
    gui.press(viewer, Qt.Key.Key_U)
    assert volume.growing.running, controller.status
    assert dock.volume.stop.isEnabled()
    volume.go(middle + 1)  # scroll meanwhile
    gui.until(lambda: not volume.growing.running or len(volume.growing.growth) > 1, 60)
    ended(bench)
    labels = bench.labels
    grown = labels.data.copy()
    assert dice(grown == 1, truth == SPLEEN) > 0.8
    assert not controller.proposals.preview.layer.data.any()
    assert not len(controller.proposals.layers.boxes.data)
    gui.press(viewer, Qt.Key.Key_Z, gui.CONTROL)
    assert not labels.data.any(), "one step"
    gui.press(viewer, Qt.Key.Key_Z, gui.CONTROL | gui.SHIFT)
    assert np.array_equal(labels.data, grown)
    gui.until(lambda: len(volume.review.found) == np.count_nonzero(grown.any(axis=tuple({0, 1, 2} - {axis}))))
    assert volume.review.certain == {middle}

    gui.press(viewer, Qt.Key.Key_N, gui.SHIFT)  # the most doubtful slice, corrected with the brush
    at = volume.shown[1]
    worst = min(volume.review.scores.values())
    assert volume.review.scores[at] == worst
    there = Plane.across(axis, at)
    viewer.layers.selection.active = labels
    labels.mode, labels.brush_size = "paint", 3
    corner = there.to_index([(2, 2), (2, 9)])
    gui.drag(viewer, labels, corner[0], corner[1])
    corrected = labels.data[there.key].copy()
    assert not np.array_equal(corrected, grown[there.key])
    gui.until(lambda: at in volume.review.certain)

    labels.mode = "pan_zoom"
    gui.press(viewer, Qt.Key.Key_U, gui.SHIFT)
    ended(bench)
    assert np.array_equal(labels.data[there.key], corrected)
    assert np.array_equal(labels.data[plane.key], grown[plane.key])
    gui.press(viewer, Qt.Key.Key_U)
    ended(bench)
    assert np.array_equal(labels.data[there.key], corrected), "nor does a whole run touch it"

    (written,) = labels.save(str(tmp_path / "out.nii.gz"), plugin="napari-medsam")
    (reopened,) = viewer.open(written, plugin="napari-medsam")
    assert np.array_equal(reopened.data, labels.data)
    assert dock.width() == width, "nothing has grown"


class Gated(BrightFake):
    """A BrightFake that waits before each slice until it is let through, and fails on slice `bad` (by count)."""

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Semaphore(0)
        self.decoded = self.bad = 0

    def decode(self, embedding: Any, prompts: Prompts) -> Any:
        assert self.let.acquire(timeout=30)
        self.decoded += 1
        if self.decoded == self.bad:
            raise ModelError("Out of memory.")
        return super().decode(embedding, prompts)


def bright() -> np.ndarray:
    """(8, 30, 40): a bright rod along z, wider upwards."""
    volume = np.zeros((8, 30, 40), np.uint8)
    for z in range(8):
        volume[z, 10:18, 12 : 20 + z // 2] = 200
    volume += np.arange(8, dtype=np.uint8)[:, None, None]
    return volume


def test_however_a_run_ends_what_is_found_stays_as_one_step(
    open_dock: Callable[..., tuple[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, dock = open_dock()
    image = viewer.add_image(bright(), scale=(3, 1, 2), units="mm", name="rod")
    bench = Bench(viewer, dock, image)
    controller, volume = bench.controller, bench.controller.volume
    controller.choose_window(TYPED, 0, 255)
    volume.options = Options(rules=StopRules.none())
    bench.settle()
    notices: list[str] = []
    monkeypatch.setattr(growing, "BUDGET", 0.0)  # a slice an errand
    monkeypatch.setattr("napari.utils.notifications.show_warning", notices.append)

    def begin(done: int, bad: int = 0) -> Gated:
        """A run from slice 3 up, of which `done` slices are found, and the next one is waited for."""
        model = Gated()
        model.bad = bad
        gui.use_model(controller, "contour", model)
        gui.show_voxel(viewer, image, (3, 0, 0))
        controller.clear()
        layers = controller.proposals.layers
        layers.add(Plane.across(0, 3), Prompts(box=Box(8, 10, 20, 24)), layers.new_number())
        gui.until(lambda: bool(controller.session.drafts))
        model.let.release()  # for the proposal itself
        bench.settle()
        model.decoded = 0
        model.let.release(done)
        controller.attempt(volume.propagate)
        gui.until(lambda: volume.growing.growth is not None and len(volume.growing.growth) == done)
        return model

    def found() -> list[int]:
        data = np.asarray(bench.labels.data)
        return np.flatnonzero((data > 0).any(axis=(1, 2))).tolist()

    model = begin(2)
    preview = controller.proposals.preview.layer.data
    gui.until(lambda: np.flatnonzero(preview.any(axis=(1, 2))).tolist() == [3, 4])  # it fills slice by slice
    controller.accept()
    assert "belong to the run" in controller.status[0]
    dock.volume.stop.click()
    volume.growing.stop()  # twice does no harm
    model.let.release(9)
    bench.settle()
    assert found() == [3, 4]
    assert controller.status[0].startswith("Stopped: object 1 on 2 slices, 3 to 4")
    controller.undo()
    assert not found()

    model = begin(3, bad=4)
    model.let.release(9)
    ended(bench)
    assert found() == [2, 3, 4]
    assert "Out of memory. Stopped: object 1 on 3 slices" in notices.pop()
    controller.undo()

    model = begin(2)  # what is painted in the middle of a run is a step of its own
    bench.labels.data_setitem((np.array([7]), np.array([0]), np.array([0])), 77)
    model.let.release(9)
    ended(bench)
    controller.undo()
    assert np.argwhere(bench.labels.data).tolist() == [[7, 0, 0]]
    controller.undo()

    model = begin(1)
    other = viewer.add_image(np.random.default_rng(1).normal(size=(4, 30, 20)).astype(np.float32), name="mr")
    controller.choose_image(other)
    model.let.release(9)
    ended(bench)
    assert "The image was put aside. Stopped: object 1 on 1 slice" in notices.pop()
    controller.choose_image(image)
    assert found() == [3]
    controller.undo()

    model = begin(2)
    controller.models.loading = "medsam"
    controller.models.changed.emit()
    model.let.release(9)
    ended(bench)
    assert "Another model was chosen. Stopped" in notices.pop()
    assert found() == [3, 4]
    controller.models.loading = ""

    controller.choose_object(1)
    model = begin(1)
    viewer.layers.remove(bench.labels)
    model.let.release(9)
    ended(bench)
    assert "nothing was written" in notices.pop()
    assert not any(isinstance(layer, Labels) and layer.name == "rod labels" for layer in viewer.layers)

    model = begin(1)  # a new object needs no old labels
    model.let.release(9)
    ended(bench)
    assert found() == list(range(8))
    controller.choose_object(None)

    model = begin(1)
    viewer.layers.remove(bench.labels)
    model.let.release(9)
    ended(bench)
    assert found() == list(range(8))

    model = begin(1)
    viewer.layers.remove(bench.labels)
    viewer.layers.remove(image)
    model.let.release(9)
    ended(bench)
    assert "had no labels" in notices.pop()
    assert not notices

    image = viewer.add_image(bright(), scale=(3, 1, 2), units="mm", name="rod")
    controller.choose_image(image)
    controller.choose_window(TYPED, 0, 255)
    begin(1)  # and the viewer is closed while it runs


@pytest.mark.parametrize("closed", ["viewer", "window", "viewer without labels"])
def test_what_is_found_when_the_window_closes_is_in_the_labels_and_nothing_is_said(
    open_dock: Callable[..., tuple[Any, Any]], monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    viewer, dock = open_dock()
    image = viewer.add_image(bright(), scale=(3, 1, 2), units="mm", name="rod")
    bench = Bench(viewer, dock, image)
    controller, volume = bench.controller, bench.controller.volume
    controller.choose_window(TYPED, 0, 255)
    volume.options = Options(rules=StopRules.none())
    gui.use_model(controller, "contour", BrightFake())
    notices: list[str] = []
    monkeypatch.setattr(growing, "BUDGET", 0.0)
    monkeypatch.setattr("napari.utils.notifications.show_warning", notices.append)
    labels = None
    if closed != "viewer without labels":
        labels = viewer.add_labels(np.zeros((8, 30, 40), np.uint8), scale=(3, 1, 2), units="mm")
        controller.choose_labels(labels)
    gui.show_voxel(viewer, image, (3, 0, 0))
    layers = controller.proposals.layers
    layers.add(Plane.across(0, 3), Prompts(box=Box(8, 10, 20, 24)), layers.new_number())
    bench.settle()
    controller.attempt(volume.propagate)
    gui.until(lambda: volume.growing.growth is not None and len(volume.growing.growth) == 3)
    window = viewer.window._qt_window
    window.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)  # the fixture closes it once more
    if closed == "window":
        dock.parentWidget().hide()  # the dock alone may be hidden
        assert volume.growing.running
        dock.parentWidget().show()
        window.close()
        assert not volume.growing.running
    else:
        viewer.close()
    if labels is not None:
        assert np.count_nonzero(labels.data.any(axis=(1, 2))) == 3
    assert not volume.growing.running
    assert not notices
