"""MobileSAM: SAM with a small encoder. It sees a plane as SAM does."""

from __future__ import annotations

from napari_medsam.models import tiny_vit
from napari_medsam.models.compute import Compute
from napari_medsam.models.frame_sam import SAM
from napari_medsam.models.sam_network import Rule, SamNetwork
from napari_medsam.models.sam_segmenter import SamSegmenter
from napari_medsam.models.sources import Sources
from napari_medsam.models.tiny_vit import AT_1024, TinyVitConfig


def make(sources: Sources) -> SamSegmenter:
    """MobileSAM.

    Raises
    ------
    CheckpointError
        The weights are not those of a MobileSAM.
    """
    return SamSegmenter(sources.row.spec(sources.digest), SAM, tiny_vit.filled(sources, AT_1024, Rule.SAM))


def network(config: TinyVitConfig, compute: Compute) -> SamNetwork:
    """A network with random weights, of any size: what the contract tests run."""
    return tiny_vit.network(config, Rule.SAM, compute)
