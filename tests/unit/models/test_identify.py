"""Networks are told apart by the names and shapes of their tensors."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_medsam.errors import CheckpointError
from napari_medsam.models.checkpoints.identify import Layout, identify

PATH = Path("weights.pth")
Shapes = dict[str, tuple[int, ...]]


def sam(width: int = 768, depth: int = 12, grid: int = 64, tokens: int = 4) -> Shapes:
    shapes: Shapes = {
        "image_encoder.pos_embed": (1, grid, grid, width),
        "image_encoder.patch_embed.proj.weight": (width, 3, 16, 16),
        "mask_decoder.mask_tokens.weight": (tokens, 256),
        "prompt_encoder.no_mask_embed.weight": (1, 256),
    }
    return shapes | {f"image_encoder.blocks.{i}.norm1.weight": (width,) for i in range(depth)}


def transformers_sam(width: int, depth: int) -> Shapes:
    shapes: Shapes = {
        "vision_encoder.pos_embed": (1, 64, 64, width),
        "mask_decoder.mask_tokens.weight": (4, 256),
    }
    return shapes | {f"vision_encoder.layers.{i}.layer_norm1.weight": (width,) for i in range(depth)}


def sam2(width: int, depth: int, trunk: str = "image_encoder.trunk", *more: str) -> Shapes:
    shapes: Shapes = {f"{trunk}.pos_embed_window": (1, width, 8, 8)} | dict.fromkeys(more, (1, 64))
    return shapes | {f"{trunk}.blocks.{i}.proj.weight": (width, width) for i in range(depth)}


def lora(width: int, count: int, *more: str) -> Shapes:
    shapes: Shapes = {f"w_a_{i:03}": (4, width) for i in range(count)}
    return shapes | {f"w_b_{i:03}": (width, 4) for i in range(count)} | dict.fromkeys(more, (1, 256))


def tiny(kernel: int) -> Shapes:
    return {"image_encoder.patch_embed.seq.0.c.weight": (32, 3, kernel, kernel)}


HEADS = ("prompt_encoder.no_mask_embed.weight", "mask_decoder.mask_tokens.weight")
MSA = {f"image_encoder.blocks.{i}.{kind}_Adapter.D_fc1.weight": (192, 768) for i in (0, 1) for kind in ("Space", "MLP")}
CNN = {"image_encoder.cnn_embed.inc.conv.0.weight": (64, 3, 3, 3)}
CHANNEL = {"image_encoder.blocks.0.Adapter.channel.0.weight": (192, 768)}
LATER = "no_obj_embed_spatial"
LATER_TRANSFORMERS = "occlusion_spatial_embedding_parameter"
BACKBONE = "vision_encoder.backbone"

KNOWN: list[tuple[Shapes, Layout]] = [
    (sam(), Layout("sam-vit-b")),
    (sam(1024, 24), Layout("sam-vit-l")),
    (sam(1280, 32), Layout("sam-vit-h")),
    (transformers_sam(768, 12), Layout("sam-vit-b", "transformers")),
    (transformers_sam(1024, 24), Layout("sam-vit-l", "transformers")),
    (transformers_sam(1280, 32), Layout("sam-vit-h", "transformers")),
    (sam(grid=16), Layout("ft-sam")),
    (sam(grid=16) | CHANNEL, Layout("sam-med2d")),
    (sam() | CNN | MSA, Layout("samus")),
    (sam() | MSA, Layout("msa")),
    (dict(MSA), Layout("msa-adapters")),
    (tiny(3), Layout("mobile-sam")),
    (tiny(1), Layout("litemedsam")),
    (lora(768, 24), Layout("sam-lora-b")),
    (lora(768, 24, *HEADS), Layout("samed-b")),
    (lora(768, 24, *HEADS, "sa_a_000", "fati_qa"), Layout("samed-s")),
    (lora(1280, 64, *HEADS), Layout("samed-h")),
    (sam2(96, 12), Layout("sam2-tiny")),
    (sam2(96, 16), Layout("sam2-small")),
    (sam2(112, 24), Layout("sam2-base-plus")),
    (sam2(144, 48), Layout("sam2-large")),
    (sam2(96, 12, "image_encoder.trunk", LATER), Layout("sam2.1-tiny")),
    (sam2(144, 48, "image_encoder.trunk", LATER), Layout("sam2.1-large")),
    (sam2(96, 16, BACKBONE), Layout("sam2-small", "transformers")),
    (sam2(112, 24, BACKBONE, LATER_TRANSFORMERS), Layout("sam2.1-base-plus", "transformers")),
    ({"encoder.up8.lift.0.weight": (8,), "decoder.at4.gate.bias": (64,)}, Layout("starter")),
]

STRANGE: list[tuple[Shapes, str]] = [
    (sam() | {"mask_decoder.hf_token.weight": (1, 256)}, "SAM-HQ"),
    (tiny(3) | {"mask_decoder.hf_token.weight": (1, 256)}, "SAM-HQ"),
    (transformers_sam(768, 12) | {"mask_decoder.hq_token.weight": (1, 256)}, "SAM-HQ"),
    (sam() | CNN | MSA | {"prompt_generator.object_token.weight": (1, 256)}, "AutoSAMUS"),
    ({"image_encoder.pos_embed": (1, 197, 192), "prompt_encoder.invalid_points.weight": (1, 256)}, "EfficientSAM"),
    ({"image_encoder.backbone.stages.0.op_list.0.conv.weight": (32, 3, 3, 3)}, "EfficientViT-SAM"),
    ({"image_encoder.fuse_stage2.weight": (256, 192, 1, 1)}, "EdgeSAM"),
    ({"vision_encoder.backbone.timm_model.stem.weight": (1,)}, "EdgeTAM"),
    ({"detector.backbone.vision_backbone.trunk.pos_embed": (1, 577, 1024)}, "SAM 3"),
    ({"encoder.stages.0.0.convs.0.conv.weight": (32, 1, 3, 3, 3)}, "nnInteractive"),
    (sam() | {"image_encoder.blocks.0.attn.qkv.lora_A": (8, 768)}, "LoRA of another order"),
    ({"base_model.model.vision_encoder.layers.0.attn.qkv.lora_A.default.weight": (8, 768)}, "LoRA of another order"),
    (sam(grid=32, tokens=9) | {"image_encoder.blocks.0.attn.qkv.linear_a_q.weight": (4, 768)}, "a whole SAMed network"),
    (sam(grid=32), "image_encoder.pos_embed [1, 32, 32, 768]"),
    (sam(tokens=9), "mask_decoder.mask_tokens.weight [9, 256]"),
    (sam(depth=11), "another network"),
    (sam(1024, 24, grid=16), "another network"),
    (lora(1024, 48), "96 tensors of another network (w_a_000"),
    (lora(768, 12), "another network"),
    (tiny(5), "another network"),
    ({"image_encoder.trunk.pos_embed": (1, 197, 192)}, "another network"),
    ({"conv1.weight": (64, 3, 7, 7), "layer1.0.conv1.weight": (64, 64, 3, 3)}, "2 tensors of another network"),
]


@pytest.mark.parametrize(("shapes", "layout"), KNOWN, ids=lambda value: getattr(value, "name", ""))
def test_each_layout_is_known(shapes: Shapes, layout: Layout) -> None:
    assert identify(shapes, PATH) == layout


@pytest.mark.parametrize(("shapes", "name"), STRANGE, ids=lambda value: value if isinstance(value, str) else "")
def test_other_networks_are_refused_by_name_with_a_next_step(shapes: Shapes, name: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        identify(shapes, PATH)
    message = str(caught.value)
    assert name in message
    assert message.startswith("weights.pth: expected weights of SAM")
    assert message.endswith(".")


def test_the_other_medsam2_is_refused_by_its_file_name() -> None:
    with pytest.raises(CheckpointError, match="ImprintLab"):
        identify(sam2(96, 12), Path("MedSAM2_pretrain.pth"))
