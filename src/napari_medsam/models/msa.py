"""Medical-SAM-Adapter: SAM ViT-B with adapters, trained on one kind of object with one click an image.

Its files are of two kinds: whole networks, as its training writes them, and adapters alone, as its zoo publishes them,
which need SAM ViT-B beside them.

Clicks. In training the original picks a pixel of the object as (row, column) and gives that to SAM's prompt encoder,
which takes (x, y). So the adapters learnt that a click on a row and a column looks like one mirrored at the diagonal.
We feed clicks as they were trained, exchanged; fed the right way round, they would mean another place to the network.

Relative positions. The tables of SAM's attention are called `rel_pos_h` and `rel_pos_w` in older versions and in SAM,
and `rel_h` and `rel_w` since January 2024. A side effect of the new names: those tables of SAM no longer loaded and
stayed 0, so adapters alone, published in March 2024, were most likely trained on zeros, and we put zeros there. Whole
files bring their own tables.

Decoder. Newer versions have another one, see `msa_decoder`, whose tensors have other names too. Adapters alone are run
with SAM's own: its weights would not have loaded into the other.

Threshold. The original compares logits, enlarged by the nearest pixel, with several thresholds and averages the
overlaps; we take the middle one, 0.5, and the same way of enlarging.

Files trained with `-mod sam_lora` hold low-rank changes that may or may not be in the weights already, which nothing in
the file tells. They are refused by name, see `checkpoints.strangers`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from napari_medsam.models.checkpoints.fitting import load_into, skeleton
from napari_medsam.models.checkpoints.reading import read
from napari_medsam.models.compute import Compute
from napari_medsam.models.frame_squash import MSA
from napari_medsam.models.msa_decoder import positions_first
from napari_medsam.models.msa_encoder import msa_encoder
from napari_medsam.models.sam_blocks import parts_of
from napari_medsam.models.sam_encoder import VIT_B, EncoderConfig
from napari_medsam.models.sam_lora import base_of
from napari_medsam.models.sam_network import Rule, SamNetwork, sam_heads
from napari_medsam.models.sam_segmenter import SamSegmenter
from napari_medsam.models.sources import Sources

State = dict[str, torch.Tensor]

TOKENS = "mask_decoder.mask_tokens.weight"
STOCK_TOKENS = 4
"""SAM's masks. A training for more classes than that has one mask a class, and shows all; else it shows the first."""

ACROSS_SLICES = ".Depth_Adapter."
"""Adapters that only work on volumes fed as one batch; every file has them."""

ADAPTER = "_Adapter."
NEWER = ".mlp.fc."
"""In the names of the newer decoder."""

RENAMED = (
    (re.compile(r"\.attn\.rel_([hw])$"), r".attn.rel_pos_\1"),
    (re.compile(r"(\.transformer\.layers\.\d+\.mlp)\.layers\.0\.0\."), r"\1.lin1."),
    (re.compile(r"(\.transformer\.layers\.\d+\.mlp)\.fc\."), r"\1.lin2."),
)
"""Names of the newer versions, and SAM's."""


@dataclass(frozen=True)
class MsaConfig:
    """A network of Medical-SAM-Adapter's kind.

    Parameters
    ----------
    encoder : EncoderConfig
    tokens : int
        Masks of the decoder.
    newer : bool
        Whether the decoder is that of the newer versions.
    """

    encoder: EncoderConfig = VIT_B
    tokens: int = STOCK_TOKENS
    newer: bool = True

    @property
    def rule(self) -> Rule:
        """Which masks are shown."""
        return Rule.ALL if self.tokens > STOCK_TOKENS else Rule.SINGLE


def make(sources: Sources) -> SamSegmenter:
    """The model of a whole file, or of adapters and the weights of SAM ViT-B beside them.

    Raises
    ------
    CheckpointError
        The weights are not those of Medical-SAM-Adapter, or those of SAM are missing or wrong.
    """
    return SamSegmenter(sources.row.spec(sources.digest), MSA, loaded(sources, VIT_B))


def loaded(sources: Sources, encoder: EncoderConfig) -> SamNetwork:
    """The network with its weights.

    Raises
    ------
    CheckpointError
        See `make`.
    """
    checkpoint = read(sources.weights)
    state = as_in_sam(checkpoint.tensors)
    tokens = len(state[TOKENS]) if TOKENS in state else STOCK_TOKENS
    config = MsaConfig(encoder, tokens, any(NEWER in name for name in checkpoint.tensors))
    whole = skeleton(lambda: architecture(config))
    if sources.row.base:
        state = on_base(sources, whole) | state
    load_into(whole, state, checkpoint.path, what=sources.row.title)
    return SamNetwork(*parts_of(whole), config.rule, sources.compute)


def as_in_sam(tensors: Mapping[str, torch.Tensor]) -> State:
    """What is used of a file, under SAM's names."""
    return {sam_name(name): values for name, values in tensors.items() if ACROSS_SLICES not in name}


def sam_name(name: str) -> str:
    """SAM's name of a tensor; older files have that already."""
    for pattern, replacement in RENAMED:
        name = pattern.sub(replacement, name)
    return name


def on_base(sources: Sources, whole: nn.Module) -> State:
    """The tensors of SAM on which adapters alone were trained: all but the relative positions, which were 0.

    Raises
    ------
    CheckpointError
        SAM's weights are missing, or not what they should be.
    """
    base = base_of(sources)
    base.require([name for name in whole.state_dict() if ADAPTER not in name])
    return {
        name: torch.zeros_like(values) if ".attn.rel_pos_" in name else values for name, values in base.tensors.items()
    }


def architecture(config: MsaConfig) -> nn.ModuleDict:
    """The whole network without weights; its tensors have SAM's names."""
    vit = config.encoder
    heads = sam_heads(vit.size, vit.grid, config.tokens - 1, vit.out)
    if config.newer:
        positions_first(heads.mask_decoder)
    return nn.ModuleDict({"image_encoder": msa_encoder(vit), **heads._asdict()})


def network(config: MsaConfig, compute: Compute) -> SamNetwork:
    """A network with random weights, of any size: what the contract tests run."""
    return SamNetwork(*parts_of(architecture(config)), config.rule, compute)
