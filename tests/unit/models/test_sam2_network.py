"""SAM 2's network in small: which mask is preferred, what a box becomes, and what a model without numbers needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from napari_medsam.errors import CheckpointError  # noqa: E402
from napari_medsam.models import medsam2, sam2  # noqa: E402
from napari_medsam.models.checkpoints.fitting import load_into, skeleton  # noqa: E402
from napari_medsam.models.compute import Compute  # noqa: E402
from napari_medsam.models.frame import InputPrompts  # noqa: E402
from napari_medsam.models.sam2_network import (  # noqa: E402
    NO_OBJECT,
    Sam2Config,
    Sam2Network,
    architecture,
    refresh,
    stable,
)

SMALL = Sam2Config(8, 1, (1, 1, 2, 1), (3,), size=128)
CPU = Compute("cpu", "float32")
NONE = np.zeros((0, 2), np.float32), np.zeros(0, np.int64)
POINT = InputPrompts(np.array([[40, 25]], np.float32), np.array([1]))
BOX = InputPrompts(*NONE, np.array([20, 10, 90, 60], np.float32))


@pytest.fixture(scope="module")
def image() -> Any:
    return np.random.default_rng(0).normal(size=(3, 128, 128)).astype(np.float32)


@pytest.fixture
def network() -> Sam2Network:
    torch.manual_seed(0)
    return sam2.network(SMALL, CPU)


def test_the_features_are_of_three_sizes(network: Sam2Network, image: Any) -> None:
    shapes = {name: array.shape for name, array in network.embed(image).items()}
    assert shapes == {"feat_s0": (1, 32, 32, 32), "feat_s1": (1, 64, 16, 16), "image": (1, 256, 8, 8)}


def test_the_features_are_transformers_own(network: Sam2Network, image: Any) -> None:
    """Two convolutions in one, and no positional encodings, but the same numbers."""
    with torch.no_grad():
        network.model.no_memory_embedding.normal_()
    theirs = network.model.get_image_embeddings(torch.from_numpy(image)[None])
    for (name, found), expected in zip(network.embed(image).items(), theirs, strict=True):
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5, err_msg=name)


def test_all_four_masks_are_kept(network: Sam2Network, image: Any) -> None:
    answer = network.answer(network.embed(image), BOX)
    assert answer.logits.shape == (4, 32, 32)
    assert answer.scores.shape == (4,)


def test_a_single_point_gets_the_best_of_the_last_three(network: Sam2Network, image: Any) -> None:
    answer = network.answer(network.embed(image), POINT)
    assert answer.chosen == 1 + answer.scores[1:].argmax()


@pytest.mark.parametrize(("first", "steady"), [(3.0, True), (0.01, False)])
def test_a_box_gets_the_first_mask_if_it_is_stable(
    network: Sam2Network, image: Any, monkeypatch: pytest.MonkeyPatch, first: float, steady: bool
) -> None:
    logits = np.stack([np.full((32, 32), first), *np.zeros((3, 32, 32))]).astype(np.float32)
    scores = np.array([0.2, 0.3, 0.9, 0.4], np.float32)
    monkeypatch.setattr(network, "everything", lambda *_: (logits, scores, 1.0))
    assert network.answer({}, BOX).chosen == (0 if steady else 2)
    two = InputPrompts(np.zeros((2, 2), np.float32), np.array([1, 0]))
    assert network.answer({}, two).chosen == (0 if steady else 2)
    assert network.answer({}, POINT).chosen == 2
    with_mask = replace(POINT, mask=np.zeros((32, 32), np.float32))
    assert network.answer({}, with_mask).chosen == (0 if steady else 2)


def test_stability_counts_what_a_moved_threshold_changes() -> None:
    logits = np.full(1000, -1.0, np.float32)
    assert stable(logits)  # nothing there, and nothing with a lower threshold
    logits[:100] = 1
    logits[100:102] = 0.01
    assert stable(logits)  # 100 of 102
    logits[102:103] = -0.01
    assert not stable(logits)  # 100 of 103


def test_a_box_is_two_points_before_the_clicks_and_then_a_padding(network: Sam2Network) -> None:
    both = replace(BOX, points=POINT.points, labels=POINT.labels)
    sparse, dense = network.prompted(both)
    assert sparse.shape == (1, 1, 4, 256)
    assert dense.shape == (1, 256, 8, 8)
    alone, _ = network.prompted(BOX)
    point, _ = network.prompted(POINT)
    padding = network.model.prompt_encoder.not_a_point_embed.weight[0]
    for found, expected in [
        (sparse[0, 0, :2], alone[0, 0, :2]),
        (sparse[0, 0, 2:], point[0, 0]),
        (alone[0, 0, 2], padding),
    ]:
        torch.testing.assert_close(found, expected)


def test_a_mask_alone_needs_no_points(network: Sam2Network, image: Any) -> None:
    features = network.embed(image)
    low, high = (InputPrompts(*NONE, mask=np.full((32, 32), value, np.float32)) for value in (-10, 10))
    assert network.prompted(low)[0].shape == (1, 1, 0, 256)
    assert not np.array_equal(network.answer(features, low).logits, network.answer(features, high).logits)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_keeps_half_the_bytes(image: Any, precision: str) -> None:
    torch.manual_seed(0)
    network = sam2.network(SMALL, Compute("cpu", precision))
    features = network.embed(image)
    assert {array.dtype for array in features.values()} == {np.dtype(np.float16)}
    assert network.answer(features, BOX).logits.dtype == np.float32
    assert next(network.model.parameters()).dtype == torch.float32


def test_medsam2_shows_nothing_where_it_finds_no_object(image: Any) -> None:
    network = medsam2.network(SMALL, CPU)
    features = network.embed(image)
    bias = network.model.mask_decoder.pred_obj_score_head.proj_out.bias
    with torch.no_grad():
        bias.fill_(100)
    there = network.answer(features, BOX)
    with torch.no_grad():
        bias.fill_(-100)
    gone = network.answer(features, BOX)
    assert not there.note
    assert (there.logits != NO_OBJECT).any()
    assert "not on this plane" in gone.note
    assert (gone.logits == NO_OBJECT).all()


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, temporal=False), replace(SMALL, memory=False)], ids=str)
def test_a_skeleton_filled_and_refreshed_is_like_one_made_at_once(config: Sam2Config, image: Any) -> None:
    made = architecture(config)
    filled = skeleton(lambda: architecture(config))
    load_into(filled, made.state_dict(), Path("made.pt"), what="SAM 2")
    refresh(filled)
    buffers = dict(made.named_buffers())
    assert {name for name, _ in filled.named_buffers()} == buffers.keys()
    assert all(torch.equal(values, buffers[name]) for name, values in filled.named_buffers())
    one, other = (sam2.Sam2Network(model, sam2.Rule.IMAGE, CPU) for model in (made, filled))
    answers = [network.answer(network.embed(image), POINT) for network in (one, other)]
    np.testing.assert_array_equal(answers[0].logits, answers[1].logits)


def test_a_model_without_memory_says_so() -> None:
    model = architecture(replace(SMALL, memory=False))
    assert not any("memory_attention" in name or "memory_encoder" in name for name in model.state_dict())


def test_weights_of_another_size_are_refused() -> None:
    other = architecture(replace(SMALL, width=16)).state_dict()
    with pytest.raises(CheckpointError, match="SAM 2 tiny"):
        load_into(skeleton(lambda: architecture(SMALL)), other, Path("other.pt"), what="SAM 2 tiny")
