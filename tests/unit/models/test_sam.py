"""From the files that users have to SAM, MedSAM and SAM with a LoRA, on networks too small to take time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("segment_anything")


from napari_medsam.errors import CheckpointError  # noqa: E402
from napari_medsam.models import lora, medsam, registry, sam, sam_lora  # noqa: E402
from napari_medsam.models.compute import Compute  # noqa: E402
from napari_medsam.models.frame import InputPrompts  # noqa: E402
from napari_medsam.models.frame_medsam import MEDSAM  # noqa: E402
from napari_medsam.models.frame_sam import SAM  # noqa: E402
from napari_medsam.models.sam_encoder import EncoderConfig  # noqa: E402
from napari_medsam.models.sam_network import Rule  # noqa: E402
from napari_medsam.models.sources import Sources  # noqa: E402
from napari_medsam.prompts import Box, Point, Prompts  # noqa: E402

TINY = EncoderConfig(width=8, depth=2, heads=2, global_blocks=())
"""At SAM's own 1024 pixels. No block sees the whole grid of 64 x 64, which would take long."""

RANK = 3
EXACT = Compute("cpu", "float32")
BOX = Box(8, 14, 30, 50)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sam.SIZES, "sam-vit-b", TINY)
    monkeypatch.setattr(lora, "VIT_B", TINY)


@pytest.fixture(scope="module")
def state() -> dict[str, Any]:
    """Weights of a tiny SAM."""
    torch.manual_seed(4)
    whole = sam.architecture(TINY)
    with torch.no_grad():
        whole["image_encoder"].pos_embed.normal_()
    return {name: values.clone() for name, values in whole.state_dict().items()}


def sources(name: str, path: Path, base: Path | None = None) -> Sources:
    return Sources(registry.row(name), path, "d1g", base, EXACT)


def saved(tensors: Any, path: Path) -> Path:
    torch.save(tensors, path)
    return path


def plane() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (40, 60)).astype(np.uint8)


def weights_of(model: Any) -> dict[str, Any]:
    parts = {
        "image_encoder": model.network.encoder,
        "prompt_encoder": model.network.prompt_encoder,
        "mask_decoder": model.network.mask_decoder,
    }
    return {f"{part}.{name}": v for part, module in parts.items() for name, v in module.state_dict().items()}


def same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(v, wanted[name]) for name, v in found.items())


def test_sam_from_its_file(state: dict[str, Any], tmp_path: Path) -> None:
    model = sam.make(sources("sam-vit-b", saved(state, tmp_path / "sam.pth")))
    assert model.frame == SAM
    assert model.spec.digest == "sam-vit-b-d1g-sam"
    assert same(weights_of(model), state)
    embedding = model.encode(plane())
    assert embedding.arrays["image"].shape == (1, 256, 64, 64)
    by_box, by_point = (
        model.decode(embedding, prompts) for prompts in (Prompts(BOX), Prompts(points=(Point(20, 30),)))
    )
    assert by_box.masks.shape == by_point.masks.shape == (4, 40, 60)
    assert by_box.chosen == 0
    assert by_point.chosen > 0


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"model": state, "optimizer": {}, "epoch": 3},
        lambda state: {"model": {f"module.{name}": values for name, values in state.items()}, "epoch": 3},
        lambda state: {name: values.half() for name, values in state.items()},
    ],
    ids=["own training", "on several GPUs", "half precision"],
)
def test_medsam_and_trainings_of_it(state: dict[str, Any], tmp_path: Path, wrap: Any) -> None:
    model = medsam.make(sources("medsam", saved(wrap(state), tmp_path / "medsam.pth")))
    network: Any = model.network
    assert model.frame == MEDSAM
    assert network.rule is Rule.SINGLE
    found = weights_of(model)
    assert all(values.dtype == torch.float32 for values in found.values())
    for name, values in found.items():
        torch.testing.assert_close(values, state[name], rtol=1e-3, atol=1e-5)
    prediction = model.decode(model.encode(plane()), Prompts(BOX))
    assert prediction.masks.shape == (1, 40, 60)


def test_sam_from_a_file_of_transformers_answers_as_transformers_does(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    vision = transformers.SamVisionConfig(
        hidden_size=TINY.width,
        num_hidden_layers=TINY.depth,
        num_attention_heads=TINY.heads,
        mlp_dim=4 * TINY.width,
        global_attn_indexes=[],
    )
    torch.manual_seed(6)
    theirs = transformers.SamModel(transformers.SamConfig(vision_config=vision.to_dict())).eval()
    with torch.no_grad():
        for values in theirs.parameters():
            values.add_(torch.randn_like(values) * 0.1)
    theirs.save_pretrained(tmp_path)
    network: Any = sam.make(sources("sam-vit-b", tmp_path / "model.safetensors")).network

    image = np.random.default_rng(7).normal(size=(3, 1024, 1024)).astype(np.float32)
    box = np.array([100, 300, 700, 600], dtype=np.float32)
    nowhere = np.zeros((0, 2), np.float32), np.zeros(0, np.int64)
    logits, scores = network.everything(network.embed(image), InputPrompts(*nowhere, box))
    with torch.inference_mode():
        given = {"pixel_values": torch.from_numpy(image)[None], "input_boxes": torch.from_numpy(box)[None, None]}
        wanted = theirs(**given, multimask_output=True)
    for found, expected in ((logits[1:], wanted.pred_masks[0, 0]), (scores[1:], wanted.iou_scores[0, 0])):
        assert np.abs(found - expected.numpy()).max() <= 1e-4 * np.abs(expected.numpy()).max()


def test_weights_of_another_size_are_refused_in_words(state: dict[str, Any], tmp_path: Path) -> None:
    path = saved({**state, "image_encoder.pos_embed": torch.zeros(1, 64, 64, 9)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth.*SAM ViT-B.*pos_embed"):
        sam.make(sources("sam-vit-b", path))


# -- LoRA ------------------------------------------------------------------------------------------------------------


def changes(depth: int = TINY.depth, width: int = TINY.width) -> dict[str, Any]:
    random = torch.Generator().manual_seed(8)
    pairs = {}
    for i in range(2 * depth):
        pairs[f"w_a_{i:03d}"] = torch.randn((RANK, width), generator=random)
        pairs[f"w_b_{i:03d}"] = torch.randn((width, RANK), generator=random)
    return pairs


def test_a_lora_is_added_to_queries_and_values(state: dict[str, Any], tmp_path: Path) -> None:
    """By what it does: each block's projection of tokens, against the two steps of the original."""
    given = changes()
    model = sam_lora.make(
        sources("sam-lora", saved(given, tmp_path / "lora.pth"), saved(state, tmp_path / "sam_vit_b_01ec64.pth"))
    )
    network: Any = model.network
    assert model.frame == SAM
    assert network.rule is Rule.SAM
    tokens = torch.randn((5, TINY.width), generator=torch.Generator().manual_seed(9))
    width = TINY.width
    for i, block in enumerate(network.encoder.blocks):
        base = f"image_encoder.blocks.{i}.attn.qkv"
        wanted = tokens @ state[f"{base}.weight"].T + state[f"{base}.bias"]
        for number, part in ((2 * i, slice(0, width)), (2 * i + 1, slice(2 * width, None))):
            wanted[:, part] += tokens @ given[f"w_a_{number:03d}"].T @ given[f"w_b_{number:03d}"].T
        torch.testing.assert_close(block.attn.qkv(tokens), wanted, rtol=1e-4, atol=1e-4)
    found = weights_of(model)
    assert all(torch.equal(v, state[name]) for name, v in found.items() if not name.endswith("qkv.weight"))


def test_the_files_of_a_lora_stay_as_they_are(state: dict[str, Any], tmp_path: Path) -> None:
    paths = saved(changes(), tmp_path / "lora.pth"), saved(state, tmp_path / "base.pth")
    before = [path.read_bytes() for path in paths]
    sam_lora.make(sources("sam-lora", *paths))
    assert [path.read_bytes() for path in paths] == before


def without(tensors: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: values for key, values in tensors.items() if key != name}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (without(changes(), "w_b_002"), "w_b_002"),
        (without(changes(), "w_a_003"), "3 changes of width 8"),
        (changes(width=16), "4 changes of width 16"),
        ({**changes(), "w_b_001": torch.zeros(RANK, 8)}, r"w_b_001 and w_a_001 of \[3, 8\] and \[3, 8\]"),
        ({**changes(), "mask_decoder.iou_token.weight": torch.zeros(1)}, "more: mask_decoder.iou_token.weight"),
    ],
    ids=["half a pair", "one missing", "another width", "the wrong way round", "more than a LoRA"],
)
def test_what_is_no_lora_of_sam_is_refused_in_words(
    state: dict[str, Any], tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    path = saved(given, tmp_path / "lora.pth")
    with pytest.raises(CheckpointError, match=rf"lora\.pth.*{said}"):
        sam_lora.make(sources("sam-lora", path, saved(state, tmp_path / "base.pth")))


def test_a_lora_beside_the_wrong_weights_is_refused_in_words(state: dict[str, Any], tmp_path: Path) -> None:
    path = saved(changes(), tmp_path / "lora.pth")
    shallow = {name: v for name, v in state.items() if ".blocks.1." not in name}
    with pytest.raises(CheckpointError, match=r"base\.pth.*blocks\.1\.attn\.qkv\.weight"):
        sam_lora.make(sources("sam-lora", path, saved(shallow, tmp_path / "base.pth")))
    with pytest.raises(CheckpointError, match="weights are missing"):
        sam_lora.make(sources("sam-lora", path))


# -- nothing early ---------------------------------------------------------------------------------------------------


def test_nothing_heavy_is_imported_before_a_model_is_loaded() -> None:
    heavy = {"torch", "torchvision", "segment_anything", "timm", "transformers", "skimage"}
    code = (
        "import sys, napari_medsam, napari_medsam.session, napari_medsam.models.registry, "
        "napari_medsam.models.catalogue, napari_medsam.models.loading, napari_medsam.models.sam_keys; "
        f"print(sorted({heavy!r} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
