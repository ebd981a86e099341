"""From the files that users have to SAM-Med2D, SAMUS and Medical-SAM-Adapter, on networks too small to take time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("segment_anything")

from napari_medsam.errors import CheckpointError  # noqa: E402
from napari_medsam.models import msa, registry, sam, sammed2d, samus  # noqa: E402
from napari_medsam.models.compute import Compute  # noqa: E402
from napari_medsam.models.frame import InputPrompts  # noqa: E402
from napari_medsam.models.frame_squash import MED2D  # noqa: E402
from napari_medsam.models.msa_encoder import msa_encoder  # noqa: E402
from napari_medsam.models.sam_encoder import EncoderConfig, image_encoder  # noqa: E402
from napari_medsam.models.sam_network import Rule  # noqa: E402
from napari_medsam.models.sam_segmenter import Answer, SamSegmenter  # noqa: E402
from napari_medsam.models.sources import Sources  # noqa: E402
from napari_medsam.prompts import Box, MaskPrompt, Point, Prompts  # noqa: E402

TINY = EncoderConfig(width=8, depth=3, heads=2, global_blocks=(1,), size=160, window=3, out=32)
"""A grid of 10 x 10, so that windows of 3 are padded."""

EXACT = Compute("cpu", "float32")
RELATIVE = ".attn.rel_pos_"
CLICK = InputPrompts(np.array([[50, 90]], np.float32), np.array([1]))


def sources(row: str, tensors: Any, folder: Path, base: Any = None) -> Sources:
    weights = folder / "weights.pth"
    torch.save(tensors, weights)
    if base is not None:
        torch.save(base, folder / "base.pth")
        base = folder / "base.pth"
    return Sources(registry.row(row), weights, "d1g", base, EXACT)


def random_state(module: Any, seed: int = 0) -> dict[str, Any]:
    """Random numbers for every tensor, also where a network begins with zeros or ones."""
    torch.manual_seed(seed)
    return {name: torch.randn(values.shape) / 4 for name, values in module.state_dict().items()}


def picture(channels: int = 3, size: int = TINY.size) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 1, (channels, size, size)).astype(np.float32)


def answer(network: Any, image: np.ndarray | None = None) -> np.ndarray:
    return np.asarray(network.everything(network.embed(picture() if image is None else image), CLICK)[0])


# -- SAM-Med2D and SAMUS ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapters", [True, False])
@pytest.mark.parametrize("wrapped", [True, False])
def test_sam_med2d_from_its_file(tmp_path: Path, adapters: bool, wrapped: bool) -> None:
    config = sammed2d.Med2dConfig(replace(TINY, window=14), adapters)
    state = random_state(sammed2d.architecture(config))
    network = sammed2d.loaded(sources("sam-med2d", {"model": state} if wrapped else state, tmp_path), config)
    assert network.rule is Rule.BEST
    for name, values in network.encoder.state_dict().items():
        assert torch.equal(values, state[f"image_encoder.{name}"]), name
    assert answer(network).shape == (4, 40, 40)


def test_sam_med2d_shows_the_best_of_the_last_three() -> None:
    network = sammed2d.network(sammed2d.Med2dConfig(replace(TINY, window=14)), EXACT)
    features = network.embed(picture())
    logits, scores = network.everything(features, CLICK)
    found = network.answer(features, CLICK)
    np.testing.assert_array_equal(found.logits, logits[1:])
    assert found.scores[found.chosen] == scores[1:].max()


class Listener:
    """A network that keeps what it is asked."""

    asked: InputPrompts

    def embed(self, image: Any) -> dict[str, Any]:
        return {}

    def answer(self, features: Any, prompts: InputPrompts) -> Answer:
        self.asked = prompts
        return Answer(np.zeros((1, 64, 64), np.float32), np.zeros(1, np.float32))


def test_sam_med2d_gets_half_open_boxes_and_shares_of_a_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener()
    monkeypatch.setattr(sammed2d, "loaded", lambda *_: listener)
    mask = np.zeros((128, 64), dtype=bool)
    mask[64:, 32:] = True
    for make, row in ((sammed2d.make, "sam-med2d"), (sammed2d.make_ft, "ft-sam")):
        model: SamSegmenter = make(Sources(registry.row(row), tmp_path, "d1g"))
        assert model.frame is MED2D
        model.decode(model.encode(np.zeros((128, 64), np.uint8)), Prompts(Box(8, 14, 30, 50), mask=MaskPrompt(mask)))
        np.testing.assert_array_equal(listener.asked.box, [14 * 4, 8 * 2, 50 * 4, 30 * 2])
        assert listener.asked.mask is not None
        assert (listener.asked.mask[32:, 32:] == 1).all()
        assert listener.asked.mask.sum() == 32 * 32


def test_samus_from_its_file(tmp_path: Path) -> None:
    config = samus.SamusConfig(replace(TINY, patch=8, size=64), stem=(4, 6, 8))
    state = random_state(samus.architecture(config))
    torch.save({f"module.{n}": v for n, v in state.items()}, tmp_path / "s.pth", _use_new_zipfile_serialization=False)
    network = samus.loaded(Sources(registry.row("samus"), tmp_path / "s.pth", "d1g", None, EXACT), config)
    assert network.rule is Rule.SINGLE
    for name, values in network.encoder.state_dict().items():
        assert torch.equal(values, state[f"image_encoder.{name}"]), name
    assert answer(network, picture(1, 64)).shape == (4, 32, 32)


# -- Medical-SAM-Adapter ---------------------------------------------------------------------------------------------


def training(state: dict[str, Any]) -> dict[str, Any]:
    """What its training writes: the tensors among other things, and adapters across slices that are not used here."""
    depth = {f"image_encoder.blocks.{i}.Depth_Adapter.D_fc1.bias": torch.zeros(2) for i in range(TINY.depth)}
    return {"epoch": 7, "model": "sam", "state_dict": state | depth, "optimizer": {}, "best_tol": 0.1}


def newer_names(state: dict[str, Any]) -> dict[str, Any]:
    """The names of the newer versions."""
    changes = {
        ".rel_pos_": ".rel_",
        **{f".{i}.mlp.lin1.": f".{i}.mlp.layers.0.0." for i in (0, 1)},
        **{f".{i}.mlp.lin2.": f".{i}.mlp.fc." for i in (0, 1)},
    }

    def renamed(name: str) -> str:
        for old, new in changes.items():
            if not (old.endswith(".") and name.startswith("image_encoder")):
                name = name.replace(old, new)
        return name

    return {renamed(name): values for name, values in state.items()}


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    return random_state(msa.architecture(msa.MsaConfig(TINY)), 3)


def relative(network: Any) -> list[Any]:
    return [values for name, values in network.encoder.state_dict().items() if RELATIVE in name]


def test_a_whole_file_of_either_naming(whole: dict[str, Any], tmp_path: Path) -> None:
    older = msa.loaded(sources("msa", training(whole), tmp_path), TINY)
    newer = msa.loaded(sources("msa", training(newer_names(whole)), tmp_path), TINY)
    for network in (older, newer):
        assert network.rule is Rule.SINGLE
        for name, values in network.encoder.state_dict().items():
            assert torch.equal(values, whole[f"image_encoder.{name}"]), name
    image = picture()
    np.testing.assert_array_equal(older.embed(image)["image"], newer.embed(image)["image"])
    assert not np.allclose(answer(older), answer(newer)), "the newer decoder is another"


def test_only_the_names_of_the_relative_positions_are_new(whole: dict[str, Any], tmp_path: Path) -> None:
    """In between, the decoder was still SAM's own."""
    between = {name.replace(".rel_pos_", ".rel_"): values for name, values in whole.items()}
    older = msa.loaded(sources("msa", training(whole), tmp_path), TINY)
    network = msa.loaded(sources("msa", training(between), tmp_path), TINY)
    np.testing.assert_array_equal(answer(network), answer(older))


@pytest.mark.parametrize("tokens", [4, 6])
def test_a_mask_for_each_class(tmp_path: Path, tokens: int) -> None:
    state = random_state(msa.architecture(msa.MsaConfig(TINY, tokens)), 5)
    network = msa.loaded(sources("msa", training(newer_names(state)), tmp_path), TINY)
    found = network.answer(network.embed(picture()), CLICK)
    assert len(found.logits) == (1 if tokens == 4 else tokens)
    assert found.chosen == 0


def adapters_of(state: dict[str, Any]) -> dict[str, Any]:
    return {name: values for name, values in training(state)["state_dict"].items() if "_Adapter." in name}


@pytest.mark.parametrize("wrapped", [True, False])
def test_adapters_on_sam(whole: dict[str, Any], tmp_path: Path, wrapped: bool) -> None:
    base = random_state(sam.architecture(TINY), 6)
    adapters = adapters_of(whole)
    file = {"state_dict": adapters} if wrapped else adapters
    network = msa.loaded(sources("msa-melanoma", file, tmp_path, base), TINY)
    assert all(not values.any() for values in relative(network))
    for name, values in network.encoder.state_dict().items():
        if RELATIVE not in name:
            wanted = adapters if "_Adapter." in name else base
            assert torch.equal(values, wanted[f"image_encoder.{name}"]), name
    for name, values in network.mask_decoder.state_dict().items():
        assert torch.equal(values, base[f"mask_decoder.{name}"]), name


def test_adapters_that_do_nothing_leave_sam_but_for_its_padding() -> None:
    """Without padded windows, and with zeros in the adapters, the encoder is SAM's."""
    config = replace(TINY, window=5)
    ours, theirs = msa_encoder(config).eval(), image_encoder(config).eval()
    state = random_state(theirs, 8)
    ours.load_state_dict({n: torch.zeros_like(v) for n, v in ours.state_dict().items() if "_Adapter." in n} | state)
    theirs.load_state_dict(state)
    image = torch.from_numpy(picture())[None]
    with torch.inference_mode():
        torch.testing.assert_close(ours(image), theirs(image))


def test_adapters_without_sam(whole: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="weights are missing"):
        msa.loaded(sources("msa-melanoma", adapters_of(whole), tmp_path), TINY)


@pytest.mark.parametrize("gone", ["image_encoder.pos_embed", "mask_decoder.iou_token.weight"])
def test_adapters_on_something_else_than_sam(whole: dict[str, Any], tmp_path: Path, gone: str) -> None:
    base = random_state(sam.architecture(TINY), 6)
    del base[gone]
    with pytest.raises(CheckpointError, match=rf"base\.pth.*{gone}"):
        msa.loaded(sources("msa-melanoma", adapters_of(whole), tmp_path, base), TINY)


def test_adapters_that_are_not_complete(whole: dict[str, Any], tmp_path: Path) -> None:
    adapters = adapters_of(whole)
    del adapters["image_encoder.blocks.1.MLP_Adapter.D_fc1.bias"]
    base = random_state(sam.architecture(TINY), 6)
    with pytest.raises(CheckpointError, match=r"weights\.pth.*1 missing.*blocks\.1\.MLP_Adapter"):
        msa.loaded(sources("msa-melanoma", adapters, tmp_path, base), TINY)


def test_a_click_reaches_medical_sam_adapter_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener()
    monkeypatch.setattr(msa, "loaded", lambda *_: listener)
    model = msa.make(Sources(registry.row("msa-melanoma"), tmp_path, "d1g"))
    model.decode(model.encode(np.zeros((64, 128), np.uint8)), Prompts(points=(Point(16, 96),)))
    np.testing.assert_array_equal(listener.asked.points, [(256, 768)])
