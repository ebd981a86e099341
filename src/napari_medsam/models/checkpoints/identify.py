"""Tell networks apart by the names and shapes of their tensors. No torch here.

Some networks share all names and shapes, and differ only in how they see an image: SAM ViT-B and MedSAM, SAM 2.1 tiny
and MedSAM2, LiteMedSAM and its Scribble version. They have one layout; which of them a file holds is for `choices`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_medsam.models.checkpoints.refusal import refused, some
from napari_medsam.models.checkpoints.strangers import stranger_of

Shapes = Mapping[str, tuple[int, ...]]
Naming = Literal["original", "transformers"]

EXPECTED = "weights of SAM, SAM 2 or one of their medical relatives"

SAM_SIZES = {(768, 12): "b", (1024, 24): "l", (1280, 32): "h"}
"""SAM's encoders by width and number of blocks (segment_anything/build_sam.py)."""

SAM2_SIZES = {(96, 12): "tiny", (96, 16): "small", (112, 24): "base-plus", (144, 48): "large"}
"""SAM 2's encoders by width of the first stage and number of blocks (sam2/configs)."""

SAM_GRID = 64
"""Side of SAM's position embedding: 1024 pixels in patches of 16."""

FT_SAM_GRID = 16
"""The same at FT-SAM's and SAM-Med2D's 256 pixels."""

TINY_VITS: Mapping[tuple[int, ...], str] = {(32, 3, 3, 3): "mobile-sam", (32, 3, 1, 1): "litemedsam"}
"""Networks with TinyViT by their first convolution."""

LORA_COUNT = {768: 48, 1280: 128}
"""Tensors w_a and w_b by the encoder's width: two of each per block, in SAMed of ViT-B; SAMed_h has 64 and 64."""

OTHER_2024 = "medsam2_pretrain"
"""Name of the weights of ImprintLab's Medical-SAM2, whose names and shapes are those of SAM 2."""


@dataclass(frozen=True)
class Layout:
    """Which network a set of tensors belongs to.

    Parameters
    ----------
    name : str
        As in the registry's rows: "sam-vit-b", "sam2.1-tiny", ...
    naming : str
        "original", the names of the authors' code, or "transformers".
    """

    name: str
    naming: Naming = "original"


def identify(shapes: Shapes, path: Path) -> Layout:
    """The layout of a set of tensors.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Shape of each tensor by its name, without prefixes.
    path : Path
        Where they come from, for messages.

    Raises
    ------
    CheckpointError
        They are of a network that is not run here. The message says of which, where that is known.
    """
    stranger = stranger_of(shapes)
    if stranger is not None:
        raise refused(path, EXPECTED, stranger.name, stranger.step)
    for recognise in RECOGNISERS:
        name = recognise(shapes)
        if name:
            naming: Naming = "transformers" if _begins(shapes, "vision_encoder.") else "original"
            return _checked(Layout(name, naming), path)
    raise refused(path, EXPECTED, _contents(shapes), "Choose a file of weights of one of the models in the list.")


def _checked(layout: Layout, path: Path) -> Layout:
    """Refuse what only its file name gives away."""
    if layout.name.startswith("sam2") and path.stem.lower() == OTHER_2024:
        found = "Medical-SAM2 of ImprintLab, another project than MedSAM2"
        raise refused(path, EXPECTED, found, "Choose MedSAM2 (bowang-lab) in its place.")
    return layout


def _lora(shapes: Shapes) -> str:
    """SAMed's files, and plain LoRA in its order of names."""
    width = shapes.get("w_a_000", (0, 0))[-1]
    pairs = [name for name in shapes if re.fullmatch(r"w_[ab]_\d{3}", name)]
    if width not in LORA_COUNT or len(pairs) != LORA_COUNT[width]:
        return ""
    if len(pairs) == len(shapes):
        return "sam-lora-b" if width == 768 else ""
    if not _begins(shapes, "mask_decoder."):
        return ""
    if "fati_qa" in shapes or "sa_a_000" in shapes:
        return "samed-s" if width == 768 else ""
    return "samed-b" if width == 768 else "samed-h"


def _tiny_vit(shapes: Shapes) -> str:
    """MobileSAM halves the image twice in its first layers, LiteMedSAM does not."""
    first = shapes.get("image_encoder.patch_embed.seq.0.c.weight", ())
    return TINY_VITS.get(first, "")


def _adapted(shapes: Shapes) -> str:
    """SAM ViT-B with something added. SAMUS has adapters of Medical-SAM-Adapter's name too, so it comes first."""
    block = "image_encoder.blocks.0"
    if "image_encoder.cnn_embed.inc.conv.0.weight" in shapes:
        return "samus"
    if f"{block}.Adapter.channel.0.weight" in shapes:
        return "sam-med2d"
    if shapes.get(f"{block}.Space_Adapter.D_fc1.weight") != (192, 768):
        return ""
    if all("_Adapter." in name for name in shapes):
        return "msa-adapters"
    return "msa" if shapes.get("image_encoder.patch_embed.proj.weight") == (768, 3, 16, 16) else ""


def _sam(shapes: Shapes) -> str:
    """Plain SAM, of either naming."""
    for encoder, blocks in (("image_encoder", "blocks"), ("vision_encoder", "layers")):
        grid = shapes.get(f"{encoder}.pos_embed", ())
        size = SAM_SIZES.get((grid[-1] if grid else 0, _count(shapes, f"{encoder}.{blocks}.")))
        if size is None or shapes.get("mask_decoder.mask_tokens.weight") != (4, 256):
            continue
        if grid[1:3] == (SAM_GRID, SAM_GRID):
            return f"sam-vit-{size}"
        if grid[1:3] == (FT_SAM_GRID, FT_SAM_GRID) and size == "b":
            return "ft-sam"
    return ""


def _sam2(shapes: Shapes) -> str:
    """SAM 2 and 2.1, of either naming. EfficientTAM has a trunk too, without windows."""
    later = {"no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"}
    for encoder in ("image_encoder.trunk", "vision_encoder.backbone"):
        width = shapes.get(f"{encoder}.pos_embed_window", (0, 0))[1]
        size = SAM2_SIZES.get((width, _count(shapes, f"{encoder}.blocks.")))
        if size is not None:
            return f"sam2.1-{size}" if later & shapes.keys() else f"sam2-{size}"
    return ""


def _starter(shapes: Shapes) -> str:
    return "starter" if _begins(shapes, "decoder.at4.") and _begins(shapes, "encoder.up8.") else ""


RECOGNISERS: tuple[Callable[[Shapes], str], ...] = (_lora, _tiny_vit, _adapted, _sam, _sam2, _starter)
"""Each gives a layout's name, or nothing; the first that gives one is right."""


def _begins(names: Iterable[str], beginning: str) -> bool:
    return any(name.startswith(beginning) for name in names)


def _count(names: Iterable[str], beginning: str) -> int:
    """How many different numbers follow a beginning: blocks of an encoder."""
    return len({name[len(beginning) :].partition(".")[0] for name in names if name.startswith(beginning)})


def _contents(shapes: Shapes) -> str:
    """What is there, in words: the sizes that were looked at, and the first parts of the names."""
    parts = sorted({".".join(name.split(".")[:2]) for name in shapes})
    sizes = [
        f"{name} {list(shapes[name])}"
        for name in ("image_encoder.pos_embed", "vision_encoder.pos_embed", "mask_decoder.mask_tokens.weight")
        if name in shapes
    ]
    return f"{len(shapes)} tensors of another network ({some([*sizes, *parts])})"
