"""A click on an encoded slice and its mask are drawn in one frame when the model is quick: a real mouse and canvas."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from tests import gui
from tests.contract.fakes import BoxFake

from napari_medsam.inference import Response
from napari_medsam.models.base import Embedding, Prediction
from napari_medsam.prompts import Prompts
from napari_medsam.widgets.patience import MOMENT

QUICK, SLOW = MOMENT / 2, MOMENT * 2


class Frames:
    """Which prompts and masks the canvas showed at each frame that it drew."""

    def __init__(self, bench: Any) -> None:
        self.seen: list[tuple[int, bool]] = []
        self._bench = bench
        gui.canvas(bench.viewer).frameSwapped.connect(self._look)

    def _look(self) -> None:
        proposals = self._bench.controller.proposals
        points, preview = proposals.layers.points, proposals.preview.layer
        drawn = 0 if points is None else len(points.data)
        if drawn:
            self.seen.append((drawn, bool((preview.data & 3).any())))


class Gated(BoxFake):
    """Answers when the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.decoding = threading.Event()

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        self.decoding.set()
        assert self.gate.wait(20)
        return super().decode(embedding, prompts)


@pytest.fixture
def model(bench: Any) -> Gated:
    made = Gated()
    gui.use_model(bench.controller, "contour", made)
    gui.show_voxel(bench.viewer, bench.image, (30, 0, 0))
    bench.controller.draw("point")
    bench.settle()
    return made


def worked(bench: Any, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every answer say that the model worked so long."""
    patience = bench.controller.proposals.patience
    note = patience.note

    def noting(response: Response) -> None:
        note(replace(response, worked=seconds))

    monkeypatch.setattr(patience, "note", noting)


def waited(bench: Any, monkeypatch: pytest.MonkeyPatch, came: bool | None = None) -> list[float]:
    """How long the window is ready to wait, at each time that it does; nothing comes in that time with `came` False."""
    waits: list[float] = []
    engine = bench.controller.proposals.engine
    answered = engine.answered

    def noting(ticket: int, timeout: float) -> bool:
        waits.append(timeout)
        return answered(ticket, timeout) if came is None else came

    monkeypatch.setattr(engine, "answered", noting)
    return waits


def clicked(bench: Any, row: int) -> None:
    gui.click(bench.viewer, bench.image, (30, row, 100))
    bench.settle()


def test_the_point_and_its_mask_come_in_one_frame(bench: Any, model: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_medsam.widgets.patience.MOMENT", 20.0)  # a busy machine is no reason to fail
    worked(bench, QUICK, monkeypatch)
    clicked(bench, 100)  # how quick the model is was not known before
    bench.controller.clear()
    bench.settle()
    frames = Frames(bench)
    clicked(bench, 110)
    assert frames.seen
    assert all(seen == (1, True) for seen in frames.seen), "no frame with the point alone"
    assert bench.controller.status[1] == "ready"


@pytest.mark.parametrize("seconds", [SLOW, QUICK], ids=["slow", "stuck"])
def test_the_window_does_not_wait_for_long(
    bench: Any, model: Gated, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow model is not waited for, one that is slow for once for a moment; then the point is drawn."""
    worked(bench, seconds, monkeypatch)
    clicked(bench, 100)
    bench.controller.clear()
    bench.settle()
    waits = waited(bench, monkeypatch)
    frames = Frames(bench)
    model.gate.clear()
    gui.click(bench.viewer, bench.image, (30, 110, 100))
    gui.until(lambda: (1, False) in frames.seen)
    assert bench.controller.status[1] == "busy"
    model.gate.set()
    bench.settle()
    gui.until(lambda: (1, True) in frames.seen)
    assert bench.controller.status[1] == "ready"
    assert waits == ([] if seconds == SLOW else [MOMENT])
    assert MOMENT <= 0.05


def test_after_a_wait_in_vain_prompts_are_passed_over_more_and_more(
    bench: Any, model: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked(bench, QUICK, monkeypatch)
    clicked(bench, 100)
    waits = waited(bench, monkeypatch, came=False)
    for row in range(101, 113):
        clicked(bench, row)
    assert len(waits) == 3, "the 1st, the 3rd and the 7th of 12"


def test_a_slice_that_is_not_encoded_is_not_waited_for(
    bench: Any, model: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    gui.use_model(bench.controller, "sam-vit-b", model)
    bench.settle()
    waits = waited(bench, monkeypatch)
    worked(bench, QUICK, monkeypatch)
    proposals = bench.controller.proposals
    proposals.patience._worked["sam-vit-b"] = QUICK
    monkeypatch.setattr(proposals.ahead, "is_ready", lambda plane: False)
    clicked(bench, 100)
    assert waits == []
    monkeypatch.setattr(proposals.ahead, "is_ready", lambda plane: True)
    clicked(bench, 110)
    assert len(waits) == 1
