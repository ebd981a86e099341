"""MobileSAM and LiteMedSAM against what the originals answered with the same stand-in weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from tests.far import REAL_GPU
from timm.models import tiny_vit as stock

from napari_medsam.errors import CheckpointError
from napari_medsam.models import litemedsam, mobile_sam, registry, tiny_vit
from napari_medsam.models.compute import Compute
from napari_medsam.models.frame import InputPrompts
from napari_medsam.models.frame_lite import LITE
from napari_medsam.models.sam_network import SamNetwork
from napari_medsam.models.sources import Sources
from napari_medsam.prompts import Box, Prompts, Stroke

from .originals import LIMIT, Originals

LOW_LIMIT = 1e-2
"""As LIMIT, of the decoder's masks where the encoder runs in less than float32."""

BACKENDS = {"mobile_sam": ("mobile-sam", mobile_sam.make), "lite_medsam": ("litemedsam", litemedsam.make)}
SIZES = {"mobile_sam": 1024, "lite_medsam": 256}
NO_POINTS = np.empty((0, 2), np.float32), np.empty(0, np.int64)


class Stored(NamedTuple):
    """A recorded model: the name of its keys and outputs, and a checkpoint of stand-in weights."""

    name: str
    path: Path


@pytest.fixture(scope="module")
def originals(shared: Path) -> Originals:
    return Originals(shared)


@pytest.fixture(scope="module", params=list(BACKENDS))
def stored(request: pytest.FixtureRequest, originals: Originals, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    path = tmp_path_factory.mktemp("weights") / f"{request.param}.pth"
    torch.save(originals.weights(request.param), path)
    return Stored(request.param, path)


def sources(stored: Stored, precision: str = "float32", row: str = "") -> Sources:
    return Sources(registry.row(row or BACKENDS[stored.name][0]), stored.path, "x", None, Compute("cpu", precision))


def made(stored: Stored, precision: str) -> SamNetwork:
    network = BACKENDS[stored.name][1](sources(stored, precision)).network
    assert isinstance(network, SamNetwork)
    return network


def prompts_of(originals: Originals, size: int) -> dict[str, InputPrompts]:
    points, labels, box = originals.fill.prompts(size)
    clicks = points[0], labels[0].astype(np.int64)
    return {
        "points": InputPrompts(*clicks),
        "box": InputPrompts(*NO_POINTS, box[0]),
        "points+box": InputPrompts(*clicks, box[0]),
        "none": InputPrompts(*NO_POINTS),
        "mask": InputPrompts(*NO_POINTS, None, originals.fill.mask_prompt(256)[0, 0]),
    }


def differences(originals: Originals, name: str, network: SamNetwork) -> dict[str, float]:
    """Of every recorded output."""
    recorded = originals.outputs(name)
    features = network.embed(originals.fill.image(SIZES[name])[0])
    ours: dict[str, NDArray[Any]] = {"embed": np.asarray(features["image"])}
    for kind, prompts in prompts_of(originals, SIZES[name]).items():
        if f"{kind}|multi|masks" in recorded:
            logits, scores = network.everything(features, prompts)
            for mode, some in (("multi", slice(1, None)), ("single", slice(0, 1))):
                ours[f"{kind}|{mode}|masks"], ours[f"{kind}|{mode}|iou"] = logits[None, some], scores[None, some]
    assert ours.keys() == recorded.keys()
    return {key: originals.difference(value, recorded[key]) for key, value in ours.items()}


def test_every_output_is_the_originals(originals: Originals, stored: Stored) -> None:
    found = differences(originals, stored.name, made(stored, "float32"))
    assert {key: value for key, value in found.items() if value > LIMIT} == {}


@pytest.mark.parametrize("precision", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_masks_hold_in_lower_precision(originals: Originals, stored: Stored, precision: str) -> None:
    found = differences(originals, stored.name, made(stored, precision))
    assert {key: value for key, value in found.items() if key.endswith("masks") and value > LOW_LIMIT} == {}


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("precision", "limit"),
    [
        pytest.param("float32", LIMIT, marks=REAL_GPU),
        ("bfloat16", LOW_LIMIT),
        pytest.param("float16", LOW_LIMIT, marks=REAL_GPU),
    ],
)
def test_masks_hold_on_a_gpu(originals: Originals, stored: Stored, precision: str, limit: float) -> None:
    source = Sources(registry.row(BACKENDS[stored.name][0]), stored.path, "x", None, Compute("cuda", precision))
    network = BACKENDS[stored.name][1](source).network
    assert isinstance(network, SamNetwork)
    found = differences(originals, stored.name, network)
    assert {key: value for key, value in found.items() if key.endswith("masks") and value > limit} == {}


def test_names_are_those_of_the_verified_map(shared: Path) -> None:
    path = shared / "keys/map_tinyvit_to_timm.tsv"
    if not path.exists():
        pytest.skip(f"no map at {path}")
    pairs = [line.split("\t") for line in path.read_text().splitlines() if not line.startswith("#")]
    assert len(pairs) > 200
    for original, timms in pairs:
        assert tiny_vit.encoder_name(original.removeprefix(tiny_vit.PREFIX)) == timms


def test_a_bias_is_that_of_timms_own_attention() -> None:
    theirs = stock.Attention(40, 8, 5, attn_ratio=1, resolution=(6, 6))
    theirs.eval()  # which returns nothing
    ours = tiny_vit.WindowAttention(theirs)
    for _ in range(2):  # other weights later, as when a checkpoint is loaded into a network that was used
        torch.nn.init.normal_(theirs.attention_biases)
        theirs.attention_bias_cache = {}
        torch.testing.assert_close(ours.bias()[0], theirs.get_attention_biases(torch.device("cpu")))
        tokens = torch.randn(3, 36, 40)
        torch.testing.assert_close(ours(tokens), theirs(tokens), rtol=1e-4, atol=1e-5)


def test_timms_registry_is_left_as_it_is() -> None:
    assert timm.model_entrypoint("tiny_vit_5m_224") is stock.tiny_vit_5m_224
    assert stock.tiny_vit_5m_224.__module__ == "timm.models.tiny_vit"


def test_other_weights_are_refused_by_name(stored: Stored, originals: Originals, tmp_path: Path) -> None:
    weights: Mapping[str, Any] = originals.weights(stored.name)
    path = tmp_path / "cut.pth"
    torch.save({name: weights[name] for name in weights if "neck.2" not in name}, path)
    with pytest.raises(CheckpointError, match=r"cut\.pth.*neck\.2\.weight"):
        made(Stored(stored.name, path), "float32")


def test_a_scribble_gives_a_mask_of_the_plane(originals: Originals, tmp_path: Path) -> None:
    path = tmp_path / "medsam_lite_scribble.pth"
    torch.save({"model": originals.weights("lite_medsam"), "epoch": 3}, path)
    segmenter = litemedsam.make_scribble(sources(Stored("lite_medsam", path), row="litemedsam-scribble"))
    plane = np.random.default_rng(1).integers(0, 256, (60, 90)).astype(np.uint8)
    strokes = Stroke(((10, 20), (40, 50))), Stroke(((10, 60), (20, 80)), positive=False)
    prediction = segmenter.decode(segmenter.encode(plane), Prompts(strokes=strokes))
    assert prediction.masks.shape == (1, 60, 90)
    assert prediction.note


def test_a_box_gives_the_one_mask_that_was_trained(originals: Originals, tmp_path: Path) -> None:
    path = tmp_path / "lite_medsam.pth"
    torch.save(originals.weights("lite_medsam"), path)
    segmenter = litemedsam.make(sources(Stored("lite_medsam", path)))
    plane = np.random.default_rng(1).integers(0, 256, (60, 90)).astype(np.uint8)
    assert segmenter.decode(segmenter.encode(plane), Prompts(Box(8, 20, 40, 70))).masks.shape == (1, 60, 90)


@pytest.mark.parametrize(("picture", "file"), [("small", "s0114_111.png"), ("truck", "truck.jpg")])
def test_the_input_is_the_originals(originals: Originals, shared: Path, picture: str, file: str) -> None:
    recorded = originals.outputs("preprocess")
    with Image.open(shared / "data/photos" / file) as opened:
        image = LITE.image(np.asarray(opened.convert("RGB")))
    # a grey level is 4e-3: every one is right
    np.testing.assert_allclose(originals.fill.thin(image), recorded[f"{picture}|litemedsam"], atol=1e-6)
    mean, deviation, low, high, rows, columns = recorded[f"{picture}|litemedsam|stat"]
    assert (image.min(), image.max(), *image.shape[1:]) == pytest.approx((low, high, rows, columns))
    assert (image.mean(dtype=float), image.std(dtype=float)) == pytest.approx((mean, deviation), abs=1e-6)
