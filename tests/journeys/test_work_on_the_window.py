"""Work counted in a real window: what one click, one turn of the wheel, one accept and to open the dock cost.

No clock is looked at. Whose work it is, the thread tells that does it: the window's must stay free for the user.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.settings import get_plugin_settings
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from tests import gui
from tests.contract.fakes import BoxFake
from tests.journeys.conftest import Bench

from napari_medsam.embeddings import keys
from napari_medsam.geometry import Plane
from napari_medsam.models.base import Embedding, Prediction
from napari_medsam.prompts import Box, Prompts
from napari_medsam.widgets import live, proposals
from napari_medsam.widgets.layer_labels import LayerLabels
from napari_medsam.widgets.model_choice import ModelChoice

SHAPE = (240, 96, 112)
PLACE = {"scale": (3, 1, 2), "translate": (-20, 7, 100)}
AT = 120
SLICE = SHAPE[1] * SHAPE[2]
VOLUME = SHAPE[0] * SLICE
SOME_SLICES = 8 * SLICE
"""What is looked at for one action of the user is of one slice, some times over; a volume is far more."""


class Work:
    """What was done, whether by the window's thread, and how much of it at a time."""

    def __init__(self) -> None:
        self._window = threading.get_ident()
        self._done: list[tuple[str, bool, int]] = []

    def note(self, what: str, amount: int = 1) -> None:
        self._done.append((what, threading.get_ident() == self._window, amount))

    def forget(self) -> None:
        self._done.clear()

    def count(self, what: str) -> int:
        """How often it was done, by any thread."""
        return sum(name == what for name, _, _ in self._done)

    def on_window(self, *what: str) -> int:
        """How much of it the window's thread has done."""
        return sum(amount for name, window, amount in self._done if name in what and window)


class Watched(np.ndarray):
    """Voxels that note each operation over them, with how many it goes over."""

    work: Work | None = None

    @classmethod
    def of(cls, data: np.ndarray, work: Work) -> Watched:
        made = data.view(cls)
        made.work = work
        return made

    def __array_finalize__(self, parent: Any) -> None:
        self.work = getattr(parent, "work", None)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = (), **kwargs: Any) -> Any:
        self._note(*inputs)
        if out:
            kwargs["out"] = tuple(_plain(each) for each in out)
        return getattr(ufunc, method)(*(_plain(each) for each in inputs), **kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        self._note(*args)
        return super().__array_function__(function, types, args, kwargs)

    def astype(self, *args: Any, **kwargs: Any) -> Any:
        self._note(self)
        return super().astype(*args, **kwargs)

    def copy(self, *args: Any, **kwargs: Any) -> Any:
        self._note(self)
        return super().copy(*args, **kwargs)

    def _note(self, *inputs: Any) -> None:
        if self.work is not None:
            self.work.note("voxels", max((each.size for each in inputs if isinstance(each, Watched)), default=0))


def _plain(each: Any) -> Any:
    return each.view(np.ndarray) if isinstance(each, Watched) else each


class Noting(BoxFake):
    """Notes which thread encodes and decodes."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work

    def encode(self, plane: np.ndarray) -> Embedding:
        self._work.note("encode")
        return super().encode(plane)

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        self._work.note("decode")
        return super().decode(embedding, prompts)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """Notes content keys, readings of the prompt layers and of labels from now on."""
    made, read, collect = Work(), LayerLabels.read, proposals.collect

    class Hashes:
        @staticmethod
        def blake2b(**options: Any) -> Any:
            made.note("key")
            return hashlib.blake2b(**options)

    def reading(labels: LayerLabels, plane: Plane) -> Any:
        found = read(labels, plane)
        made.note("voxels", found.size)
        return found

    def collecting(*layers: Any) -> Any:
        made.note("prompts")
        return collect(*layers)

    monkeypatch.setattr(keys, "hashlib", Hashes)
    monkeypatch.setattr(LayerLabels, "read", reading)
    monkeypatch.setattr(proposals, "collect", collecting)
    return made


@pytest.fixture
def desk(open_dock: Callable[..., tuple[Any, Any]], work: Work) -> Bench:
    """A window with an image, a model, a tool in hand and labels; all voxels are watched, and the slice is encoded."""
    viewer, dock = open_dock()
    voxels = np.random.default_rng(0).integers(0, 255, SHAPE, dtype=np.uint8)
    image = viewer.add_image(Watched.of(voxels, work), **PLACE)
    labels = viewer.add_labels(Watched.of(np.zeros(SHAPE, np.uint16), work), **PLACE)
    made = Bench(viewer, dock, image)
    gui.use_model(made.controller, "medsam", Noting(work))
    made.controller.choose_labels(labels)
    made.controller.draw("point")
    preview = made.controller.proposals.preview.layer
    preview.data = Watched.of(preview.data, work)
    preview.events.set_data.connect(lambda event: work.note("drawn"))
    show(made, AT)
    assert all(isinstance(layer.data, Watched) for layer in (image, labels, preview)), "none is watched"
    work.forget()
    return made


def show(desk: Bench, position: int) -> None:
    gui.show_voxel(desk.viewer, desk.image, (position, 0, 0))
    desk.settle()


def click(desk: Bench, row: int, column: int) -> None:
    gui.click(desk.viewer, desk.image, (AT, row, column))
    desk.settle()


def turn_wheel(viewer: Any, steps: int) -> None:
    """Turn the wheel over the canvas with Control held, which in napari goes through the slices."""
    widget = gui.canvas(viewer)
    at = QPointF(widget.rect().center())
    there, none = QPointF(widget.mapToGlobal(at)), Qt.MouseButton.NoButton
    turned = QWheelEvent(
        at, there, QPoint(), QPoint(0, 120 * steps), none, gui.CONTROL, Qt.ScrollPhase.NoScrollPhase, False
    )
    QApplication.sendEvent(widget, turned)
    QApplication.processEvents()


def let_the_review_end(desk: Bench) -> None:
    """What is known of an object along the stack is read a little at a time, whenever nothing else is to be done."""
    review = desk.controller.volume.review
    gui.until(lambda: not (review._soon.isActive() or review._next.isActive()))


@contextmanager
def allocated() -> Iterator[list[int]]:
    """How many bytes more were held at a time than at the beginning."""
    most: list[int] = []
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield most
        most.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()


def test_a_click_on_an_encoded_slice_is_one_decode_and_one_drawing(desk: Bench, work: Work) -> None:
    for row in (20, 40, 60):  # the first makes an object, the others refine it
        work.forget()
        with allocated() as most:
            click(desk, row, 50)
        assert desk.preview(Plane.across(0, AT))[row, 50]
        assert (work.count("encode"), work.count("decode")) == (0, 1)
        assert work.on_window("encode", "decode", "key") == 0, "the window's thread is for the user"
        assert work.on_window("prompts") == 1, "the layers of prompts are read once"
        assert work.on_window("drawn") == 1, "the preview is drawn once, with the answer"
        assert work.on_window("voxels") <= SOME_SLICES
        assert most[0] < desk.labels.data.nbytes / 4, "nothing of the size of a volume is made"


def test_a_box_that_is_not_followed_while_it_is_drawn_is_one_decode_and_one_drawing(desk: Bench, work: Work) -> None:
    get_plugin_settings("napari-medsam").proposals.live = False
    desk.controller.draw("box")
    desk.settle()
    work.forget()
    desk.draw(Plane.across(0, AT), Box(10, 10, 40, 50))
    desk.settle()
    assert desk.preview(Plane.across(0, AT))[20, 20]
    assert (work.count("encode"), work.count("decode")) == (0, 1)
    assert work.on_window("encode", "decode", "key") == 0
    assert (work.on_window("prompts"), work.on_window("drawn")) == (1, 1)
    assert work.on_window("voxels") <= SOME_SLICES


def test_a_box_that_is_followed_is_read_once_a_move_and_once_an_answer_at_most(
    desk: Bench, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "PACE", 60.0)
    desk.controller.draw("box")
    desk.settle()
    boxes = desk.controller.proposals.layers.boxes
    boxes.events.set_data.connect(lambda event: work.note("moved"))
    work.forget()
    desk.draw(Plane.across(0, AT), Box(10, 10, 40, 50))
    desk.settle()
    assert work.on_window("encode", "decode", "key") == 0
    assert work.count("encode") == 0
    assert 1 < work.on_window("prompts") <= work.on_window("moved") + work.count("decode")
    assert work.on_window("voxels") <= work.count("decode") * SOME_SLICES


def test_another_candidate_asks_no_model(desk: Bench, work: Work) -> None:
    click(desk, 40, 50)
    work.forget()
    gui.press(desk.viewer, Qt.Key.Key_N)
    desk.settle()
    assert (work.count("encode"), work.count("decode"), work.count("key")) == (0, 0, 0)
    assert work.on_window("drawn") <= 1
    assert work.on_window("voxels") <= SOME_SLICES


def test_a_turn_of_the_wheel_onto_an_encoded_slice_encodes_nothing(desk: Bench, work: Work) -> None:
    for position in (AT + 1, AT - 1, AT):
        show(desk, position)
    for steps in (1, -1, -1, 1):
        before = desk.viewer.dims.current_step[0]
        work.forget()
        with allocated() as most:
            turn_wheel(desk.viewer, steps)
            desk.settle()
        assert abs(desk.viewer.dims.current_step[0] - before) == 1
        assert (work.count("encode"), work.count("decode"), work.count("prompts")) == (0, 0, 0)
        assert work.on_window("key") == 0
        assert work.on_window("drawn") <= 1, "by napari"
        assert work.on_window("voxels") <= SOME_SLICES
        assert most[0] < desk.labels.data.nbytes / 4


def test_an_accept_copies_one_slice_not_the_volume(desk: Bench, work: Work) -> None:
    written: list[int] = []
    desk.labels.events.paint.connect(lambda event: written.extend(len(at[0]) for at, _, _ in event.value))
    for row, looked in ((20, VOLUME), (40, 0), (60, 0)):  # for the highest label that is there, once
        click(desk, row, 50)
        pixels = int(desk.preview(Plane.across(0, AT)).sum())
        let_the_review_end(desk)
        work.forget()
        with allocated() as most:
            QTest.mouseClick(desk.dock.accept_button, gui.LEFT)
        assert written == [pixels], "the step to undo holds the pixels that were changed"
        written.clear()
        assert (work.count("encode"), work.count("decode"), work.count("key"), work.count("prompts")) == (0, 0, 0, 0)
        assert work.on_window("voxels") <= looked + SOME_SLICES
        assert most[0] < desk.labels.data.nbytes / 4
    assert sorted(np.unique(desk.labels.data)) == [0, 1, 2, 3]


def test_a_run_through_slices_is_one_encode_and_one_decode_a_slice_and_draws_only_the_shown_one(
    desk: Bench, work: Work
) -> None:
    desk.controller.draw("box")
    desk.draw(Plane.across(0, AT), Box(10, 10, 40, 50))
    desk.settle()
    desk.controller.volume.set_range(AT - 10, AT + 10)
    work.forget()
    gui.press(desk.viewer, Qt.Key.Key_U)
    gui.until(lambda: not desk.controller.volume.growing.running)
    desk.settle()
    written = np.flatnonzero(np.asarray(desk.labels.data).any(axis=(1, 2)))
    assert written.tolist() == list(range(AT - 10, AT + 11))
    assert 0 < work.count("encode") <= 20, "the one that the box is on was encoded before"
    assert work.count("decode") == 21
    assert work.on_window("encode", "decode", "key") == 0
    assert 0 < work.on_window("drawn") <= 4, "when it is found, and when all is written"


@pytest.mark.parametrize("ahead", ["neighbours", "volume", "off"])
def test_to_open_the_dock_encodes_the_shown_slice_alone_and_not_on_the_windows_thread(
    make_napari_viewer: Callable[..., Any], work: Work, ahead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model at start encodes as fast as a disk reads, so nothing else is encoded ahead, whatever is set."""
    model = Noting(work)
    monkeypatch.setattr(ModelChoice, "load", lambda choice, reference: model)
    get_plugin_settings("napari-medsam").models.prefetch = ahead
    viewer = make_napari_viewer(show=True)
    voxels = Watched.of(np.random.default_rng(0).integers(0, 255, SHAPE, dtype=np.uint8), work)
    image = viewer.add_image(voxels, **PLACE)
    work.forget()
    _, dock = viewer.window.add_plugin_dock_widget("napari-medsam", "Prompt segmentation")
    assert dock.controller.image is image
    gui.settle(dock.controller)
    assert (work.count("encode"), work.count("decode"), work.count("key")) == (1, 0, 1)
    assert work.on_window("encode", "key") == 0
    assert work.on_window("voxels") <= SOME_SLICES


def test_to_open_the_dock_without_an_image_encodes_nothing(
    make_napari_viewer: Callable[..., Any], work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(ModelChoice, "load", lambda choice, reference: loaded.append(reference))
    viewer = make_napari_viewer(show=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-medsam", "Prompt segmentation")
    gui.settle(dock.controller)
    assert not loaded
    assert work.count("key") == 0


def test_to_open_the_dock_and_encode_the_shown_slice_imports_no_torch(tmp_path: Path) -> None:
    """In a process of its own, in a real window."""
    code = (
        "import sys, time\n"
        "import napari, numpy as np\n"
        "from qtpy.QtWidgets import QApplication\n"
        "viewer = napari.Viewer(show=True)\n"
        "viewer.add_image(np.random.default_rng(0).integers(0, 255, (9, 64, 64), dtype=np.uint8))\n"
        "_, dock = viewer.window.add_plugin_dock_widget('napari-medsam', 'Prompt segmentation')\n"
        "store = dock.controller.storage.store\n"
        "while not len(store):\n"
        "    QApplication.processEvents()\n"
        "    time.sleep(0.01)\n"
        "assert 'torch' not in sys.modules\n"
        "viewer.close()\n"
    )
    environment = {**os.environ, "NAPARI_CONFIG": str(tmp_path / "settings.yaml")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
