"""Strokes as a mask prompt: what the network is shown, and what becomes of its answer."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_medsam.errors import PromptError, UnsupportedError
from napari_medsam.models.base import ModelSpec, Prediction
from napari_medsam.models.frame import FloatArray, InputPrompts
from napari_medsam.models.frame_lite import LITE
from napari_medsam.models.sam_segmenter import Answer, Features
from napari_medsam.models.scribble import NEGATIVE, ScribbleSegmenter
from napari_medsam.prompts import Box, MaskPrompt, Point, PromptKind, Prompts, Stroke

SPEC = ModelSpec(
    "scribble-fake", "Scribble (a fake)", "1", frozenset({PromptKind.STROKE, PromptKind.MASK}), False, "Apache-2.0", "-"
)
SHAPE = (96, 256)
PLANE = np.random.default_rng(4).integers(0, 256, SHAPE).astype(np.uint8)
ROW = Stroke(((20, 30), (20, 90)))


class Near:
    """A network that says "on the object" within 16 pixels of what it is shown, and the more so the nearer."""

    def __init__(self) -> None:
        self.shown: list[InputPrompts] = []

    def embed(self, image: FloatArray) -> Features:
        return {"image": image}

    def answer(self, features: Features, prompts: InputPrompts) -> Answer:
        self.shown.append(prompts)
        assert prompts.mask is not None
        at = np.argwhere(prompts.mask)
        grid = np.stack(np.mgrid[:256, :256], axis=-1).reshape(-1, 1, 2)
        distance = np.concatenate([np.abs(part - at).max(-1).min(-1) for part in np.array_split(grid, 64)])
        return Answer((16.5 - distance).reshape(1, 256, 256).astype(np.float32), np.array([1.2], np.float32))


@pytest.fixture
def network() -> Near:
    return Near()


def ask(network: Near, prompts: Prompts) -> Prediction:
    segmenter = ScribbleSegmenter(SPEC, LITE, network)
    return segmenter.decode(segmenter.encode(PLANE), prompts)


def pixels_of(stroke: Stroke) -> NDArray[np.bool_]:
    pixels = np.zeros(SHAPE, bool)
    pixels[tuple(stroke.pixels(SHAPE).T)] = True
    return pixels


def test_the_strokes_are_shown_as_one_mask_and_nothing_else(network: Near) -> None:
    other = Stroke(((50, 200), (80, 240)))
    prediction = ask(network, Prompts(strokes=(ROW, other)))
    (shown,) = network.shown
    assert shown.mask is not None
    np.testing.assert_array_equal(shown.mask[:96] > 0, pixels_of(ROW) | pixels_of(other))
    assert not shown.mask[96:].any()
    assert shown.box is None
    assert shown.points.shape == (0, 2)
    assert shown.labels.shape == (0,)
    assert prediction.masks.shape == (1, *SHAPE)
    assert prediction.scores.tolist() == [1.0]
    assert prediction.note == ""


def test_a_mask_prompt_is_a_broad_stroke(network: Near) -> None:
    mask = np.zeros(SHAPE, bool)
    mask[40:60, 100:130] = True
    ask(network, Prompts(strokes=(ROW,), mask=MaskPrompt(mask)))
    (shown,) = network.shown
    assert shown.mask is not None
    np.testing.assert_array_equal(shown.mask[:96] > 0, mask | pixels_of(ROW))


def test_a_pixel_that_a_negative_stroke_claims_more_goes_to_it(network: Near) -> None:
    negative = Stroke(((30, 30), (30, 90)), positive=False)
    alone = ask(network, Prompts(strokes=(ROW,)))
    both = ask(network, Prompts(strokes=(ROW, negative)))
    halfway = np.arange(SHAPE[0])[:, None] < 25
    beside = slice(40, 80)  # not beyond the ends of the strokes
    np.testing.assert_array_equal(both.mask[:, beside], (alone.mask & halfway)[:, beside])
    assert alone.mask[25:, beside].any()
    assert both.note == NEGATIVE
    assert not (both.mask & pixels_of(negative)).any()


def test_a_negative_stroke_far_away_changes_nothing(network: Near) -> None:
    negative = Stroke(((80, 200), (80, 240)), positive=False)
    alone = ask(network, Prompts(strokes=(ROW,)))
    both = ask(network, Prompts(strokes=(ROW, negative)))
    np.testing.assert_array_equal(both.mask, alone.mask)


@pytest.mark.parametrize("prompts", [Prompts(Box(2, 2, 9, 9)), Prompts(points=(Point(5, 5),), strokes=(ROW,))])
def test_boxes_and_points_are_refused(network: Near, prompts: Prompts) -> None:
    with pytest.raises(UnsupportedError, match="it takes: mask, stroke"):
        ask(network, prompts)


def test_negative_strokes_alone_are_refused(network: Near) -> None:
    with pytest.raises(PromptError, match="Only negative"):
        ask(network, Prompts(strokes=(Stroke(((3, 3), (9, 9)), positive=False),)))


def test_the_spec_is_told_apart_by_the_frame(network: Near) -> None:
    segmenter = ScribbleSegmenter(SPEC, LITE, network)
    assert segmenter.spec.digest == "1-litemedsam"
    assert segmenter.encode(PLANE).model == segmenter.spec.digest
