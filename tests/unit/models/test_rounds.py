"""A model's own logits as the mask prompt of the next round: for that model and that shape alone, else the mask."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("segment_anything")

from napari_medsam.errors import PromptError
from napari_medsam.models import registry
from napari_medsam.models.base import Prediction
from napari_medsam.models.frame import Frame, InputPrompts
from napari_medsam.models.frame_lite import LITE
from napari_medsam.models.frame_medsam import MEDSAM
from napari_medsam.models.frame_sam import SAM
from napari_medsam.models.frame_sam2 import MEDSAM2, SAM2
from napari_medsam.models.frame_squash import MED2D
from napari_medsam.models.sam_segmenter import Answer, SamSegmenter
from napari_medsam.prompts import Box, MaskPrompt, Prompts

BOX = Prompts(Box(8, 14, 30, 50))
PLANE = np.zeros((40, 60), np.uint8)


class Listener:
    """A network that keeps what it is asked, and answers with logits of -50 to 50, the second candidate chosen."""

    def __init__(self, side: int) -> None:
        ramp = np.linspace(-50, 50, side * side, dtype=np.float32).reshape(side, side)
        self.logits = np.stack([-ramp, ramp])
        self.asked: list[InputPrompts] = []

    def embed(self, image: Any) -> dict[str, Any]:
        return {}

    def answer(self, features: Any, prompts: InputPrompts) -> Answer:
        self.asked.append(prompts)
        return Answer(self.logits, np.array([0.5, 0.9], np.float32), chosen=1)


def model_of(row: str, frame: Frame, side: int) -> tuple[SamSegmenter, Listener]:
    network = Listener(side)
    return SamSegmenter(registry.row(row).spec("d1g"), frame, network), network


@pytest.mark.parametrize(
    ("row", "frame", "side", "heard"),
    [
        ("sam-vit-b", SAM, 256, lambda logits: logits),
        ("mobile-sam", SAM, 256, lambda logits: logits),
        ("sam2.1-tiny", SAM2, 256, lambda logits: logits.clip(-32, 32)),
        ("medsam2", MEDSAM2, 128, lambda logits: logits.clip(-32, 32)),
        ("sam-med2d", MED2D, 64, lambda logits: 1 / (1 + np.exp(-logits.astype(np.float64)))),
    ],
)
def test_the_next_round_hears_the_logits_of_the_chosen_mask_as_the_original_has_them(
    row: str, frame: Frame, side: int, heard: Any
) -> None:
    model, network = model_of(row, frame, side)
    embedding = model.encode(PLANE)
    first = model.decode(embedding, BOX)
    model.decode(embedding, replace(BOX, mask=first.prompt))
    asked = network.asked[1].mask
    assert asked is not None
    assert asked.dtype == np.float32
    np.testing.assert_allclose(asked, heard(network.logits[1]), atol=1e-6)
    other = replace(first, chosen=0).prompt
    model.decode(embedding, replace(BOX, mask=other))
    np.testing.assert_allclose(network.asked[2].mask, heard(network.logits[0]), atol=1e-6)


def test_another_model_or_another_plane_hears_the_mask() -> None:
    model, network = model_of("sam-vit-b", SAM, 256)
    mask = model.decode(model.encode(PLANE), BOX).prompt
    plain = SAM.mask(mask.pixels)
    mobile, listener = model_of("mobile-sam", SAM, 256)
    mobile.decode(mobile.encode(PLANE), Prompts(mask=mask))
    np.testing.assert_array_equal(listener.asked[0].mask, plain)
    turned = MaskPrompt(mask.pixels.reshape(60, 40), mask.logits)
    model.decode(model.encode(PLANE.reshape(60, 40)), Prompts(mask=turned))
    np.testing.assert_array_equal(network.asked[1].mask, SAM.mask(turned.pixels))
    assert Prompts(mask=mask).transposed().mask.logits is None, "they lie as the plane did"


@pytest.mark.parametrize(("row", "frame"), [("medsam", MEDSAM), ("litemedsam", LITE)])
def test_models_that_take_no_mask_keep_no_logits(row: str, frame: Frame) -> None:
    model, _ = model_of(row, frame, 256)
    found = model.decode(model.encode(PLANE), BOX)
    assert found.logits == ()
    assert found.prompt.logits is None


def test_masks_with_other_logits_are_other_prompts() -> None:
    model, _ = model_of("sam-vit-b", SAM, 256)
    embedding = model.encode(PLANE)
    one, same = (model.decode(embedding, BOX).prompt for _ in range(2))
    assert one == same
    assert hash(one) == hash(same)
    assert one != MaskPrompt(one.pixels)
    with pytest.raises(PromptError):
        Prediction(np.zeros((1, 4, 4), dtype=bool), np.ones(1)).prompt  # noqa: B018
