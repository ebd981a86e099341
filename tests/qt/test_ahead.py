"""What is encoded ahead and on demand, with layers but without a window: guards that count encodes, not seconds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.settings import get_plugin_settings
from qtpy.QtWidgets import QApplication
from tests import gui
from tests.contract.fakes import SlowFake

from napari_medsam.geometry import Plane
from napari_medsam.intensity import TYPED
from napari_medsam.models.base import Embedding
from napari_medsam.preparation.plan import NEAR_AHEAD, NEAR_BEHIND
from napari_medsam.propagation.stack import Stack
from napari_medsam.widgets.controller import Controller
from napari_medsam.widgets.storage import NOTHING, PREPARED, Choice, chosen
from napari_medsam.widgets.store_panel import PreparePanel, StoreDialog

SHAPE = (24, 6, 8)


class Noting(SlowFake):
    """Notes which slices it encodes, each of them another grey; waits while the gate is closed."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        super().__init__(10.0, self.gate.wait)
        self.greys: list[int] = []

    def encode(self, plane: np.ndarray) -> Embedding:
        self.greys.append(int(plane[0, 0]))
        return super().encode(plane)


class Made:
    """A controller on a volume whose slice i is of grey i, with a model that is slow enough to be worth it."""

    def __init__(self) -> None:
        self.viewer = ViewerModel()
        data = np.zeros(SHAPE, np.uint8) + np.arange(SHAPE[0], dtype=np.uint8)[:, None, None]
        self.image = self.viewer.add_image(data, scale=(3, 1, 2), translate=(-20, 7, 100))
        self.controller = Controller(self.viewer)
        self.model = Noting()
        gui.use_model(self.controller, "medsam", self.model)
        self.show(5)
        self.controller.choose_image(self.image)
        self.controller.choose_window(TYPED, 0, 255)

    @property
    def store(self) -> Any:
        return self.controller.storage.store

    @property
    def ready(self) -> list[int]:
        stack = Stack.through(Plane.across(0, 0), SHAPE)
        return np.flatnonzero(self.controller.proposals.ahead.ready(stack)).tolist()

    def show(self, position: int) -> None:
        gui.show_voxel(self.viewer, self.image, (position, 0, 0))

    def settle(self) -> None:
        gui.until(lambda: not self.controller.prepare.running)
        gui.settle(self.controller)


@pytest.fixture
def make(qapp: QApplication, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    made: list[Made] = []

    def one() -> Made:
        made.append(Made())
        return made[-1]

    monkeypatch.setattr("napari.utils.notifications.show_warning", lambda text: None)
    monkeypatch.setenv("NAPARI_MEDSAM_CACHE", str(tmp_path / "cache"))
    with gui.own_settings(tmp_path, monkeypatch):
        yield one
        for each in made:
            each.model.gate.set()
            each.controller.close()


def test_the_shown_slice_is_encoded_first_then_those_next_to_it_in_the_way_of_scrolling(make: Any) -> None:
    bench = make()
    bench.settle()
    near = range(5 - NEAR_BEHIND, 5 + NEAR_AHEAD + 1)
    assert bench.model.greys == [*range(5, 5 + NEAR_AHEAD + 1), 4, 3]
    assert bench.ready == list(near)
    bench.model.greys.clear()
    bench.show(4)  # the other way
    bench.settle()
    assert bench.model.greys == [2, 1, 0]


def test_a_slice_that_is_scrolled_to_comes_before_all_that_waits(make: Any) -> None:
    bench = make()
    bench.model.gate.clear()
    gui.until(lambda: bench.model.greys == [5])
    for position in (8, 12, 20):
        bench.show(position)
    bench.model.gate.set()
    bench.settle()
    assert bench.model.greys[:3] == [5, 20, 21]
    assert not {8, 12} & set(bench.model.greys), "slices that were only passed are not encoded"


@pytest.mark.parametrize(("setting", "encodes"), [("off", 1), ("volume", SHAPE[0])])
def test_how_much_is_encoded_ahead_is_a_setting(make: Any, setting: str, encodes: int) -> None:
    get_plugin_settings("napari-medsam").models.prefetch = setting
    bench = make()
    bench.settle()
    assert len(bench.model.greys) == encodes


def test_far_slices_do_not_drive_out_near_ones(make: Any) -> None:
    get_plugin_settings("napari-medsam").models.prefetch = "volume"
    bench = make()
    bench.store.max_bytes = 13 * 8  # an embedding of the fake is a float
    bench.settle()
    assert {3, 4, *range(5, 14)} <= set(bench.ready)
    assert len(bench.model.greys) == 13


def test_a_built_in_model_encodes_no_slice_but_the_shown_one(make: Any) -> None:
    bench = make()
    gui.use_model(bench.controller, "contour", bench.model)
    bench.settle()
    bench.model.greys.clear()
    bench.show(20)
    bench.settle()
    assert bench.model.greys == [20]


def test_preparing_a_volume_encodes_each_slice_once_and_goes_on_where_it_was_stopped(make: Any) -> None:
    get_plugin_settings("napari-medsam").models.prefetch = "off"
    bench = make()
    bench.settle()
    prepare = bench.controller.prepare
    prepare.start()
    gui.until(lambda: prepare.progress[0] >= 4)
    assert bench.controller.status[0].startswith("Prepared ")
    assert prepare.progress[1] == SHAPE[0]
    prepare.stop()
    bench.settle()
    assert "Prepare volume goes on there" in bench.controller.status[0]
    assert len(bench.model.greys) < SHAPE[0]
    prepare.start()
    bench.settle()
    assert sorted(bench.model.greys) == list(range(SHAPE[0]))
    assert "All 24 slices" in bench.controller.status[0]
    assert bench.store.flush(10)
    assert bench.store.usage().disk.entries == SHAPE[0]


def test_a_prepared_volume_is_ready_on_another_day_without_an_encode(make: Any) -> None:
    bench = make()
    bench.controller.prepare.start()
    bench.settle()
    assert bench.store.flush(10)
    again = make()
    again.settle()
    assert again.ready == list(range(SHAPE[0])), "found by looking at the slices"
    assert again.model.greys == []


def test_putting_the_image_aside_stops_preparing(make: Any) -> None:
    bench = make()
    bench.controller.prepare.start()
    bench.controller.choose_image(None)
    assert not bench.controller.prepare.running
    bench.settle()
    assert len(bench.model.greys) <= 1


def test_clearing_the_memory_takes_the_slices_off_the_strip(make: Any) -> None:
    bench = make()
    bench.settle()
    bench.controller.storage.clear_memory()
    bench.controller.proposals.ahead.recount()
    assert bench.ready == []


def test_budgets_count_from_the_moment_they_are_set(make: Any) -> None:
    bench = make()
    bench.settle()
    bench.controller.storage.choose(Choice(memory_mb=16, disk=NOTHING))
    assert bench.store.max_bytes == 16 << 20
    assert bench.store.disk is None
    assert chosen() == Choice(memory_mb=16, disk=NOTHING), "saved"


def test_the_stores_window_shows_what_it_is_given_and_says_only_what_the_user_changes(qapp: QApplication) -> None:
    from qtpy.QtWidgets import QWidget

    parent = QWidget()
    dialog, said = StoreDialog(parent), []
    dialog.chosen.connect(said.append)
    given = Choice(2048, PREPARED, 40, "/data/cache")
    dialog.setValue(given, "volume", live=False)
    assert dialog.value() == given
    assert not said
    dialog.memory.setValue(512)
    assert said == [Choice(512, PREPARED, 40, "/data/cache")]


def test_the_row_offers_to_prepare_or_to_stop(qapp: QApplication) -> None:
    panel, said = PreparePanel(), []
    panel.started.connect(lambda: said.append("start"))
    panel.stopped.connect(lambda: said.append("stop"))
    for running in (False, True):
        panel.setValue(ready=True, running=running, done=3, total=24)
        panel.prepare.click()
    assert said == ["start", "stop"]
