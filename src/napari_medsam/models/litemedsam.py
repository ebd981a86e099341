"""LiteMedSAM, a MedSAM at 256 pixels with a small encoder, and its version for scribbles."""

from __future__ import annotations

from napari_medsam.models import tiny_vit
from napari_medsam.models.compute import Compute
from napari_medsam.models.frame_lite import LITE
from napari_medsam.models.sam_network import Rule, SamNetwork
from napari_medsam.models.sam_segmenter import SamSegmenter
from napari_medsam.models.scribble import ScribbleSegmenter
from napari_medsam.models.sources import Sources
from napari_medsam.models.tiny_vit import AT_256, TinyVitConfig

RULE = Rule.SINGLE
"""Both were trained with one mask only."""


def make(sources: Sources) -> SamSegmenter:
    """LiteMedSAM.

    Raises
    ------
    CheckpointError
        The weights are not those of a LiteMedSAM.
    """
    return SamSegmenter(sources.row.spec(sources.digest), LITE, tiny_vit.filled(sources, AT_256, RULE))


def make_scribble(sources: Sources) -> ScribbleSegmenter:
    """LiteMedSAM-Scribble: another training of the same network.

    Raises
    ------
    CheckpointError
        The weights are not those of a LiteMedSAM.
    """
    return ScribbleSegmenter(sources.row.spec(sources.digest), LITE, tiny_vit.filled(sources, AT_256, RULE))


def network(config: TinyVitConfig, compute: Compute) -> SamNetwork:
    """A network with random weights, of any size: what the contract tests run."""
    return tiny_vit.network(config, RULE, compute)
