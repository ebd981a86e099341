"""Labels without prompts in a real viewer: a slice, a volume, and every way in which a run may end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.layers import Labels
from tests import gui
from tests.contract.fakes import LabelFake
from tests.journeys.conftest import Bench

from napari_medsam.errors import ModelError
from napari_medsam.phantom import ct_phantom
from napari_medsam.widgets.actions import perform

CT = np.asarray(ct_phantom((6, 40, 50))[0].data)
EXPECTED = (CT >= 0).astype(int) + (CT >= 300)
"""What LabelFake says, computed in another way: tissue is 1, bone is 2."""
AUTOMATIC = "samed-b"


class Slices(LabelFake):
    """A LabelFake that waits before each slice until it is let through, and fails on the slice `bad` (by count)."""

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Semaphore(0)
        self.bad = 0

    def label(self, values: np.ndarray) -> np.ndarray:
        assert self.let.acquire(timeout=30)
        if self.labelled + 1 == self.bad:
            raise ModelError("No such slice.")
        return super().label(values)


@pytest.fixture
def bench(open_dock: Callable[..., tuple[Any, Any]]) -> Bench:
    """A small CT of 3 x 1 x 2 mm in a viewer, turned to the coronal view, with a model that labels by itself."""
    viewer, dock = open_dock()
    image = viewer.add_image(CT, scale=(3, 1, 2), translate=(-20, 7, 100), name="ct")
    made = Bench(viewer, dock, image)
    made.settle()
    gui.use_model(dock.controller, AUTOMATIC, LabelFake())
    gui.show_voxel(viewer, image, (4, 20, 25))
    dock.controller.turn("coronal")
    made.settle()
    return made


def ended(bench: Bench) -> None:
    gui.until(lambda: not bench.controller.labelling.running)
    bench.settle()


def values(bench: Bench) -> np.ndarray:
    return np.asarray(bench.labels.data)


def test_a_slice_and_a_volume_in_one_step_each(bench: Bench) -> None:
    viewer, dock, controller = bench.viewer, bench.dock, bench.controller
    assert dock.label_panel.isVisible()
    assert not dock.box_button.isVisible()
    assert not dock.objects.refine.isEnabled()
    assert "takes no prompts" in dock.objects.refine.toolTip()
    width, height = dock.width(), dock.minimumSizeHint().height()

    dock.label_panel.slice.click()
    assert dock.label_panel.stop.isEnabled()
    assert not dock.label_panel.volume.isEnabled()
    ended(bench)
    only = np.zeros_like(EXPECTED)
    only[4] = EXPECTED[4]
    assert np.array_equal(values(bench), only), "the axial slice at the sliders, though the coronal view is shown"
    assert controller.session.names == {1: "tissue", 2: "bone"}
    assert "1 slice: tissue, bone" in controller.status[0]
    controller.undo()
    assert not values(bench).any()
    assert controller.session.names == {}

    mine = np.zeros(CT.shape, np.uint8)  # every value is taken, and one object has the name of a class
    mine[2, :9], mine[5, 30:, :20] = 254, 255
    chosen = viewer.add_labels(mine.copy(), scale=bench.image.scale, translate=bench.image.translate, name="mine")
    controller.choose_labels(chosen)
    controller.name_object("")
    controller.session.rename(254, "Tissue")
    said = []
    controller.said.connect(lambda text, kind: said.append(text))
    dock.label_panel.volume.click()
    ended(bench)
    wanted = np.choose(EXPECTED, (0, 254, 256))
    assert np.array_equal(values(bench), np.where(mine > 0, mine, wanted)), "extended, and others are kept"
    assert values(bench).dtype == np.uint16
    assert controller.session.names == {254: "Tissue", 255: "object 255", 256: "bone"}
    assert any("slice 2 of 6, about" in text for text in said)
    assert said[-1] == "Labelled 6 slices: Tissue, bone."
    perform("undo", viewer)
    assert np.array_equal(values(bench), mine)
    perform("redo", viewer)
    assert (values(bench) == 256).any()
    assert (dock.width(), dock.minimumSizeHint().height()) == (width, height), "nothing has grown"

    gui.use_model(controller, "contour", None)
    assert dock.box_button.isVisible()
    assert not dock.label_panel.isVisible()
    perform("label_volume", viewer)
    assert not controller.labelling.running
    assert "needs prompts" in controller.status[0]


def test_however_a_run_ends_what_is_done_stays_as_one_step(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer, controller = bench.viewer, bench.controller
    notices: list[str] = []
    monkeypatch.setattr("napari.utils.notifications.show_warning", notices.append)

    def begin(done: int, bad: int = 0) -> Slices:
        """A run of which `done` slices are there, and the next is being labelled."""
        model = Slices()
        model.bad = bad
        gui.use_model(controller, AUTOMATIC, model)
        controller.label("volume")
        model.let.release(done)
        gui.until(lambda: model.labelled == done and f"slice {done + 1} of" in controller.status[0])
        return model

    def labelled() -> list[bool]:
        return [bool(values(bench)[z].any()) for z in range(6)]

    model = begin(2)
    bench.dock.label_panel.stop.click()
    model.let.release(9)
    ended(bench)
    assert labelled() == [True, True, False, False, False, False]
    assert controller.status[0] == "Stopped after 2 of 6 slices: tissue, bone."
    controller.undo()
    assert not values(bench).any()

    model = begin(1, bad=2)
    model.let.release(9)
    ended(bench)
    assert labelled() == [True, False, False, False, False, False]
    assert controller.status == (notices.pop(), "error")
    assert "No such slice. Stopped after 1 of 6 slices: tissue, bone." in controller.status[0]
    controller.undo()

    model = begin(1)  # a mask accepted, or painted, in the middle of a run is a step of its own
    bench.labels.data_setitem((np.array([5]), np.array([0]), np.array([0])), 77)
    model.let.release(9)
    ended(bench)
    controller.undo()
    assert np.argwhere(values(bench)).tolist() == [[5, 0, 0]]
    controller.undo()

    model = begin(1)
    other = viewer.add_image(np.random.default_rng(1).normal(size=(4, 30, 20)).astype(np.float32), name="mr")
    controller.choose_image(other)
    model.let.release(9)
    ended(bench)
    assert "Stopped after 1 of 6 slices" in notices.pop()
    assert controller.work.target.layer is None
    gui.show_voxel(viewer, other, (2, 5, 5))
    gui.use_model(controller, AUTOMATIC, LabelFake())
    controller.label("slice")
    assert "does not look like CT" in notices.pop(), "said before"
    ended(bench)
    assert "does not look like CT" in controller.status[0]
    controller.choose_image(bench.image)
    assert labelled() == [True, False, False, False, False, False]
    controller.undo()

    model = begin(1)
    controller.models.loading = "medsam"
    controller.models.changed.emit()
    model.let.release(9)
    ended(bench)
    assert "Another model" in notices.pop()
    assert labelled()[0]
    controller.models.loading = ""

    model = begin(1)
    viewer.layers.remove(bench.labels)
    model.let.release(9)
    ended(bench)
    assert "nothing was written" in notices.pop()
    assert not any(isinstance(layer, Labels) and layer.name == "ct labels" for layer in viewer.layers)

    model = begin(1)
    viewer.layers.remove(bench.image)
    model.let.release(9)
    ended(bench)
    assert "had no labels" in notices.pop()
    assert not notices

    controller.choose_image(other)
    begin(1)  # and the viewer is closed while it runs
