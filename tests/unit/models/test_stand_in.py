"""Prompts that a network was not made for, turned into one that it was, and named as such."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_medsam.errors import UnsupportedError
from napari_medsam.models.base import Embedding, ModelSpec, Prediction
from napari_medsam.models.stand_in import StandIn
from napari_medsam.prompts import Box, Point, PromptKind, Prompts, Stroke

BOX, POINT, STROKE = PromptKind.BOX, PromptKind.POINT, PromptKind.STROKE


class Recorder:
    """Remembers what it was asked, and answers with an empty mask."""

    def __init__(self, native: PromptKind, stand_ins: dict[PromptKind, str]) -> None:
        self.spec = ModelSpec("recorder", "Recorder", "recorder-1", frozenset({native}), False, "-", "-", stand_ins)
        self.asked: list[Prompts] = []

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        return Embedding(self.spec.digest, (plane.shape[0], plane.shape[1]), {"mean": np.array([plane.mean()])})

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        assert prompts.kinds <= self.spec.takes
        self.asked.append(prompts)
        return Prediction(np.zeros((1, *embedding.shape), dtype=bool), np.array([0.5]))


@pytest.fixture
def bright() -> NDArray[np.uint8]:
    """Make a plane with a bright ellipse: rows 20 to 39, columns 30 to 69."""
    rows, columns = np.ogrid[:80, :120]
    inside = ((rows - 29.5) / 10) ** 2 + ((columns - 49.5) / 20) ** 2 <= 1
    noise = np.random.default_rng(0).normal(0, 3, (80, 120))
    return np.clip(np.where(inside, 180, 60) + noise, 0, 255).astype(np.uint8)


def test_a_native_prompt_goes_through_untouched(bright: NDArray[np.uint8]) -> None:
    recorder = Recorder(BOX, {POINT: "clicks become boxes"})
    model = StandIn(recorder)
    prediction = model.decode(model.encode(bright), Prompts(Box(18, 28, 42, 72)))
    assert recorder.asked == [Prompts(Box(18, 28, 42, 72))]
    assert prediction.note == ""


def test_a_click_becomes_a_box_around_what_contour_finds(bright: NDArray[np.uint8]) -> None:
    recorder = Recorder(BOX, {POINT: "clicks become boxes"})
    model = StandIn(recorder)
    prediction = model.decode(model.encode(bright), Prompts(points=(Point(30, 50),)))
    (asked,) = recorder.asked
    assert asked.kinds == {BOX}
    assert asked.box is not None
    found = np.array([asked.box.row0, asked.box.column0, asked.box.row1, asked.box.column1])
    np.testing.assert_allclose(found, (19, 29, 41, 71), atol=3)
    assert prediction.note == "Stand-in: clicks become boxes."


def test_a_click_beside_a_box_is_refused_with_what_to_do(bright: NDArray[np.uint8]) -> None:
    model = StandIn(Recorder(BOX, {POINT: "clicks become boxes"}))
    with pytest.raises(UnsupportedError, match="takes a box and nothing beside it"):
        model.decode(model.encode(bright), Prompts(Box(18, 28, 42, 72), (Point(30, 50),)))


def test_a_box_becomes_a_point_in_its_middle(bright: NDArray[np.uint8]) -> None:
    recorder = Recorder(POINT, {BOX: "boxes become points", STROKE: "strokes become points"})
    model = StandIn(recorder)
    prediction = model.decode(model.encode(bright), Prompts(Box(10, 20, 20, 41), (Point(3, 4, positive=False),)))
    assert recorder.asked == [Prompts(points=(Point(14.5, 30), Point(3, 4, positive=False)))]
    assert prediction.note == "Stand-in: boxes become points."


def test_strokes_are_left_to_the_networks_adapter(bright: NDArray[np.uint8]) -> None:
    recorder = Recorder(POINT, {BOX: "boxes become points", STROKE: "strokes become points"})
    model = StandIn(recorder)
    stroke = Stroke(((3, 4), (9, 9)))
    assert model.decode(model.encode(bright), Prompts(strokes=(stroke,))).note == "Stand-in: strokes become points."
    assert recorder.asked == [Prompts(strokes=(stroke,))]


def test_what_has_no_stand_in_is_refused(bright: NDArray[np.uint8]) -> None:
    model = StandIn(Recorder(BOX, {POINT: "clicks become boxes"}))
    with pytest.raises(UnsupportedError, match="does not take a stroke"):
        model.decode(model.encode(bright), Prompts(strokes=(Stroke(((3, 4), (9, 9))),)))
