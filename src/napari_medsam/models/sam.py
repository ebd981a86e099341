"""SAM ViT-B, ViT-L and ViT-H: what their files hold, and how a model is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from napari_medsam.models.checkpoints.fitting import load_into, skeleton
from napari_medsam.models.checkpoints.reading import read
from napari_medsam.models.compute import Compute
from napari_medsam.models.frame_sam import SAM
from napari_medsam.models.sam_encoder import VIT_B, VIT_H, VIT_L, EncoderConfig, image_encoder
from napari_medsam.models.sam_keys import original_names
from napari_medsam.models.sam_network import Heads, Rule, SamNetwork, sam_heads
from napari_medsam.models.sam_segmenter import SamSegmenter
from napari_medsam.models.sources import Sources

SIZES = {"sam-vit-b": VIT_B, "sam-vit-l": VIT_L, "sam-vit-h": VIT_H}
"""By layout."""


class Parts(NamedTuple):
    """The parts of a network of SAM's kind."""

    encoder: nn.Module
    heads: Heads


def make(sources: Sources) -> SamSegmenter:
    """The model of a row whose layout is sam-vit-b, -l or -h.

    Raises
    ------
    CheckpointError
        The weights are not those of the row's layout.
    """
    encoder, heads = published(sources)
    spec = sources.row.spec(sources.digest)
    return SamSegmenter(spec, SAM, SamNetwork(encoder, heads, Rule.SAM, sources.compute))


def published(sources: Sources) -> Parts:
    """The parts with the weights of a checkpoint, original or of transformers.

    Raises
    ------
    CheckpointError
        The weights are not those of the row's layout.
    """
    checkpoint = read(sources.weights)
    state = original_names(checkpoint.tensors)
    return filled(SIZES[sources.row.layout], state, checkpoint.path, sources.row.title)


def filled(config: EncoderConfig, state: Mapping[str, torch.Tensor], path: Path, what: str) -> Parts:
    """The parts with the tensors of `state`, under the original's names; `path` and `what` are for messages.

    Raises
    ------
    CheckpointError
        The tensors are not those of such a network.
    """
    whole = skeleton(lambda: architecture(config))
    load_into(whole, state, path, what=what)
    return Parts(whole["image_encoder"], Heads(whole["prompt_encoder"], whole["mask_decoder"]))


def architecture(config: EncoderConfig) -> nn.ModuleDict:
    """The whole network without weights; its tensors have the original's names."""
    heads = sam_heads(config.size, config.grid, width=config.out)
    return nn.ModuleDict({"image_encoder": image_encoder(config), **heads._asdict()})


def network(config: EncoderConfig, compute: Compute) -> SamNetwork:
    """A network with random weights, of any size: what the contract tests run."""
    heads = sam_heads(config.size, config.grid, width=config.out)
    return SamNetwork(image_encoder(config), heads, Rule.SAM, compute)
