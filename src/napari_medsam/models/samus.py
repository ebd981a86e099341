"""SAMUS: SAM for ultrasound, on 256 grey pixels, trained with one click an image."""

from __future__ import annotations

from torch import nn

from napari_medsam.models.checkpoints.reading import read
from napari_medsam.models.compute import Compute
from napari_medsam.models.frame_squash import SAMUS
from napari_medsam.models.sam_blocks import filled, parts_of
from napari_medsam.models.sam_network import Rule, SamNetwork, sam_heads
from napari_medsam.models.sam_segmenter import SamSegmenter
from napari_medsam.models.samus_encoder import SamusConfig, SamusEncoder
from napari_medsam.models.sources import Sources


def make(sources: Sources) -> SamSegmenter:
    """The model of a file of SAMUS.

    Raises
    ------
    CheckpointError
        The weights are not those of SAMUS.
    """
    return SamSegmenter(sources.row.spec(sources.digest), SAMUS, loaded(sources, SamusConfig()))


def loaded(sources: Sources, config: SamusConfig) -> SamNetwork:
    """The network with its weights.

    Raises
    ------
    CheckpointError
        See `make`.
    """
    checkpoint = read(sources.weights)
    parts = filled(lambda: architecture(config), checkpoint.tensors, checkpoint.path, sources.row.title)
    return SamNetwork(*parts, Rule.SINGLE, sources.compute)


def architecture(config: SamusConfig) -> nn.ModuleDict:
    """The whole network without weights; its tensors have the original's names."""
    vit = config.vit
    heads = sam_heads(vit.size, vit.grid, width=vit.out)
    return nn.ModuleDict({"image_encoder": SamusEncoder(config), **heads._asdict()})


def network(config: SamusConfig, compute: Compute) -> SamNetwork:
    """A network with random weights, of any size: what the contract tests run."""
    return SamNetwork(*parts_of(architecture(config)), Rule.SINGLE, compute)
