"""Fine-tuning networks with SAM's heads: the decoder, or LoRA on the encoder, of a SAM of two narrow blocks."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_medsam.errors import LabelsError, UnsupportedError
from napari_medsam.models import registry
from napari_medsam.models.checkpoints.reading import read
from napari_medsam.models.checkpoints.writing import write
from napari_medsam.models.compute import Compute
from napari_medsam.models.contour import Contour
from napari_medsam.models.finetune import tuning
from napari_medsam.models.finetune.examples import Example
from napari_medsam.models.finetune.lora import add_lora, lora_tensors, merged_weights
from napari_medsam.models.finetune.sam_tuning import Tuned, tune_decoder, tune_lora
from napari_medsam.models.finetune.settings import Settings, silent
from napari_medsam.models.finetune.tuning import Method, Order, tune
from napari_medsam.models.frame_sam import SamFrame
from napari_medsam.models.row import Row
from napari_medsam.models.sam_encoder import EncoderConfig, image_encoder
from napari_medsam.models.sam_network import Rule, SamNetwork, sam_heads
from napari_medsam.models.sam_segmenter import SamSegmenter
from napari_medsam.models.sources import Sources

CONFIG = EncoderConfig(width=24, depth=2, heads=2, global_blocks=(1,), size=128, window=4)


def narrow_sam(rule: Rule = Rule.SAM) -> SamSegmenter:
    torch.manual_seed(1)
    network = SamNetwork(image_encoder(CONFIG), sam_heads(128, 8), rule, Compute("cpu", "float32"))
    return SamSegmenter(registry.row("sam-vit-b").spec("narrow"), SamFrame(128), network)


def examples() -> list[Example]:
    """Bright blocks of several shapes on noise."""
    rng, found = np.random.default_rng(0), []
    for row, column, height, width in ((10, 20, 30, 50), (40, 12, 20, 24), (5, 60, 50, 20), (30, 40, 28, 44)):
        mask = np.zeros((72, 100), dtype=bool)
        mask[row : row + height, column : column + width] = True
        plane = (60 + 120 * mask + rng.normal(0, 5, mask.shape)).clip(0, 255).astype(np.uint8)
        found.append(Example(plane, mask))
    return found


@pytest.mark.parametrize("rule", [Rule.SAM, Rule.BEST], ids=lambda rule: rule.name)
def test_the_decoder_learns_and_the_encoder_stays(rule: Rule) -> None:
    segmenter = narrow_sam(rule)
    encoder = copy.deepcopy(segmenter.network.encoder.state_dict())  # type: ignore[attr-defined]
    told: list[float] = []
    settings = Settings(steps=16, batch=2, rate=1e-3)
    tensors = tune_decoder(segmenter, examples(), settings, lambda step, steps, loss: told.append(loss))
    assert told[-1] < 0.85 * told[0]
    assert all(torch.equal(v, encoder[k]) for k, v in segmenter.network.encoder.state_dict().items())  # type: ignore[attr-defined]
    names = {f"mask_decoder.{name}" for name in sam_heads(128, 8).mask_decoder.state_dict()}
    assert tensors.keys() == names


def test_the_target_lies_where_the_decoder_answers() -> None:
    segmenter = narrow_sam()
    example = examples()[1]
    share, inside = Tuned.of(segmenter).target(example)
    back = segmenter.frame.restore(share.numpy() - 0.5, example.mask.shape)[0]
    assert np.count_nonzero(back != example.mask) < 0.02 * example.mask.size
    assert float(inside.mean()) == pytest.approx(0.72, abs=0.03)


def test_lora_begins_at_nothing_and_is_what_the_merged_weights_do() -> None:
    torch.manual_seed(1)
    encoder: Any = image_encoder(CONFIG).eval()
    image = torch.randn(1, 3, 128, 128)
    before = encoder(image)
    stock = copy.deepcopy(encoder)
    changes = add_lora(encoder, rank=2)
    torch.testing.assert_close(encoder(image), before)
    for change in changes:
        for last in change.last:
            torch.nn.init.normal_(last, std=0.3)
    state = stock.state_dict()
    for name, values in merged_weights(changes).items():
        state[name.removeprefix("image_encoder.")] = values
    stock.load_state_dict(state)
    assert not torch.allclose(stock(image), before, atol=1e-3)
    torch.testing.assert_close(stock(image), encoder(image), atol=1e-4, rtol=1e-4)


def test_lora_of_the_queries_and_values_alone_learns_in_the_order_of_samed() -> None:
    segmenter = narrow_sam()
    decoder = copy.deepcopy(segmenter.network.mask_decoder.state_dict())  # type: ignore[attr-defined]
    changes = tune_lora(segmenter, examples(), Settings(steps=3, batch=2, rate=1e-2), silent)
    named = lora_tensors(changes)
    assert sorted(named) == sorted(f"w_{ab}_{i:03d}" for ab in "ab" for i in range(4))
    assert {tuple(v.shape) for k, v in named.items() if k.startswith("w_a")} == {(4, 24)}
    assert {tuple(v.shape) for k, v in named.items() if k.startswith("w_b")} == {(24, 4)}
    assert all(v.abs().max() > 0 for v in named.values())
    assert all(torch.equal(v, decoder[k]) for k, v in segmenter.network.mask_decoder.state_dict().items())  # type: ignore[attr-defined]
    # queries of block 0 are the first third of its projection
    weight = changes[0].merged() - changes[0].stock.weight
    torch.testing.assert_close(weight[:24], named["w_b_000"] @ named["w_a_000"])
    torch.testing.assert_close(weight[-24:], named["w_b_001"] @ named["w_a_001"])
    assert not weight[24:-24].any()


def test_the_same_seed_gives_the_same_weights() -> None:
    settings = Settings(steps=2, batch=2, rate=1e-3, seed=5)
    one, two = (tune_decoder(narrow_sam(), examples(), settings, silent) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_what_cannot_be_trained_is_refused_in_words(tmp_path: Any) -> None:
    with pytest.raises(UnsupportedError, match="Contour"):
        Tuned.of(Contour())
    with pytest.raises(UnsupportedError, match="cannot be fine-tuned"):
        tune(Order("contour", method=Method.DECODER), examples(), tmp_path / "a.safetensors")
    with pytest.raises(UnsupportedError, match="'all'"):
        tune(Order("starter", method=Method.LORA), examples(), tmp_path / "a.safetensors")
    with pytest.raises(LabelsError):
        tune(Order("starter"), [], tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


class NarrowLoader:
    """Gives the narrow SAM as the weights of any row, from a file of its own."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "narrow.safetensors"
        network: Any = narrow_sam().network
        parts = {"image_encoder": network.encoder, "prompt_encoder": network.prompt_encoder}
        parts["mask_decoder"] = network.mask_decoder
        write(self.file, {f"{p}.{n}": v for p, module in parts.items() for n, v in module.state_dict().items()}, {})

    def sources(self, row: Row, path: Path | None) -> Sources:
        return Sources(row, self.file, "narrow")


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setattr(tuning, "backend_of", lambda row: lambda sources: narrow_sam())
    return NarrowLoader(tmp_path)


def test_a_tuned_decoder_is_written_with_all_else_as_it_was(narrow: Any, tmp_path: Path) -> None:
    out = tmp_path / "own.safetensors"
    assert tune(Order("medsam", steps=1, loader=narrow), examples(), out) == f"medsam@{out}"
    before, after = read(narrow.file).tensors, read(out)
    assert before.keys() == after.tensors.keys()
    changed = {name for name in before if not torch.equal(before[name], after.tensors[name])}
    assert changed
    assert all(name.startswith("mask_decoder.") for name in changed)
    assert after.metadata["method"] == "decoder"
    assert after.metadata["source"] == "narrow"
    assert len(after.metadata["data"]) == 32


def test_lora_on_sam_is_a_small_file_and_on_others_merged(narrow: Any, tmp_path: Path) -> None:
    small, whole = tmp_path / "lora.safetensors", tmp_path / "whole.safetensors"
    lora = Method.LORA
    assert tune(Order("sam-vit-b", lora, steps=2, loader=narrow), examples(), small) == f"sam-lora@{small}"
    assert {name[:4] for name in read(small).tensors} == {"w_a_", "w_b_"}
    assert tune(Order("medsam", lora, steps=2, loader=narrow), examples(), whole) == f"medsam@{whole}"
    before, after = read(narrow.file).tensors, read(whole).tensors
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"image_encoder.blocks.{block}.attn.qkv.weight" for block in range(2)}


def test_a_training_that_is_stopped_leaves_nothing(narrow: Any, tmp_path: Path) -> None:
    def stop(step: int, steps: int, loss: float) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "own.safetensors"
    for reference in ("medsam", "starter"):
        with pytest.raises(KeyboardInterrupt):
            tune(Order(reference, steps=3, loader=narrow), examples(), out, stop)
    assert not list(tmp_path.glob("own*"))
