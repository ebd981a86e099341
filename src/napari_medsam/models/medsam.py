"""MedSAM: SAM ViT-B trained on medical images and boxes, which sees a plane in another way than SAM."""

from __future__ import annotations

from napari_medsam.models.compute import Compute
from napari_medsam.models.frame_medsam import MEDSAM
from napari_medsam.models.sam import published
from napari_medsam.models.sam_encoder import EncoderConfig, image_encoder
from napari_medsam.models.sam_network import Rule, SamNetwork, sam_heads
from napari_medsam.models.sam_segmenter import SamSegmenter
from napari_medsam.models.sources import Sources


def make(sources: Sources) -> SamSegmenter:
    """The model of a row of MedSAM, or of somebody's own training of it.

    Raises
    ------
    CheckpointError
        The weights are not those of SAM ViT-B.
    """
    encoder, heads = published(sources)
    spec = sources.row.spec(sources.digest)
    return SamSegmenter(spec, MEDSAM, SamNetwork(encoder, heads, Rule.SINGLE, sources.compute))


def network(config: EncoderConfig, compute: Compute) -> SamNetwork:
    """A network with random weights, of any size: what the contract tests run."""
    heads = sam_heads(config.size, config.grid, width=config.out)
    return SamNetwork(image_encoder(config), heads, Rule.SINGLE, compute)
