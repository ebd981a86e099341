"""The mask follows a box while it is drawn: a real mouse on a real canvas."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from napari.settings import get_plugin_settings
from tests import gui
from tests.contract.fakes import BoxFake

from napari_medsam.geometry import Plane
from napari_medsam.models.base import Embedding, Prediction
from napari_medsam.prompts import Box, Prompts
from napari_medsam.widgets.live import PACE

PLANE = Plane.across(0, 30)
BOX = Box(40, 60, 120, 150)


class Noting(BoxFake):
    """Notes the boxes that it is asked for; waits while the gate is closed, for `seconds` at most."""

    def __init__(self, seconds: float = 10.0) -> None:
        super().__init__()
        self.seconds = seconds
        self.asked: list[Box] = []
        self.gate = threading.Event()
        self.gate.set()

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        if prompts.box is not None:
            self.asked.append(prompts.box)
        self.gate.wait(self.seconds)
        return super().decode(embedding, prompts)


@pytest.fixture
def model(bench: Any) -> Noting:
    made = Noting()
    gui.use_model(bench.controller, "contour", made)
    gui.show_voxel(bench.viewer, bench.image, (30, 0, 0))
    bench.controller.draw("box")
    bench.settle()
    return made


def draw(bench: Any, steps: int, each: Any) -> None:
    start, end = PLANE.to_index([(BOX.row0, BOX.column0), (BOX.row1 - 1, BOX.column1 - 1)])
    gui.drag(bench.viewer, bench.image, start, end, steps=steps, each=each)


def test_the_mask_of_the_box_so_far_is_shown_and_only_the_whole_box_is_kept(bench: Any, model: Noting) -> None:
    shown: list[int] = []
    before = bench.controller.status, bench.dock.size()

    def look() -> None:
        bench.settle()
        shown.append(int(bench.preview(PLANE).sum()))
        assert not bench.controller.session.drafts
        assert (bench.controller.status, bench.dock.size()) == before, "nothing in the dock moves under the mouse"

    draw(bench, 6, look)
    bench.settle()
    assert shown == sorted(shown)
    assert 0 < shown[0] < shown[-1]
    (draft,) = bench.controller.session.drafts.values()
    assert draft.prompts == Prompts(BOX)
    expected = np.zeros(bench.preview(PLANE).shape, dtype=bool)
    expected[BOX.slices] = True
    assert np.array_equal(bench.preview(PLANE), expected)
    assert bench.controller.proposals.live.draft is None
    bench.controller.clear()
    assert not bench.preview(PLANE).any()
    assert bench.labels is None


def test_one_question_at_most_is_under_way_and_then_the_box_of_now_is_asked(bench: Any, model: Noting) -> None:
    model.gate.clear()
    steps = iter(range(100))

    def look() -> None:
        if next(steps) < 10:
            gui.until(lambda: len(model.asked) == 1)
        else:
            model.gate.set()
            bench.settle()

    draw(bench, 13, look)
    bench.settle()
    assert len(model.asked) <= 5, "ten boxes were passed over while the first was answered"
    assert model.asked[-1] == BOX


def test_a_model_that_answers_too_late_is_not_asked_again_while_a_box_is_drawn(bench: Any, model: Noting) -> None:
    model.seconds = 2 * PACE
    model.gate.clear()
    for live in (1, 0):
        model.asked.clear()
        draw(bench, 6, lambda: gui.until(lambda: not bench.controller.proposals.engine.busy))
        bench.settle()
        assert len(model.asked) == live + 1
        assert model.asked[-1] == BOX
        bench.controller.clear()


def test_it_can_be_switched_off(bench: Any, model: Noting) -> None:
    get_plugin_settings("napari-medsam").proposals.live = False
    draw(bench, 6, bench.settle)
    bench.settle()
    assert model.asked == [BOX]


def test_a_slice_that_is_not_encoded_yet_is_not_asked_for(bench: Any) -> None:
    get_plugin_settings("napari-medsam").models.prefetch = "off"
    held = Noting()
    gui.use_model(bench.controller, "medsam", held)
    gui.show_voxel(bench.viewer, bench.image, (30, 0, 0))
    bench.controller.draw("box")
    bench.settle()
    bench.controller.proposals.work.readiness.forget()
    draw(bench, 6, bench.settle)
    bench.settle()
    assert held.asked == [BOX]
