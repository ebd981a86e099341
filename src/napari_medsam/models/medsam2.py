"""MedSAM2: SAM 2.1 tiny at 512 pixels, trained on medical volumes and videos. One plane is a volume of one slice."""

from __future__ import annotations

from dataclasses import replace

from napari_medsam.models import sam2
from napari_medsam.models.compute import Compute
from napari_medsam.models.frame_sam2 import MEDSAM2
from napari_medsam.models.sam2_network import Rule, Sam2Config, Sam2Network, architecture
from napari_medsam.models.sam2_tracker import segmenter_of
from napari_medsam.models.sam_segmenter import SamSegmenter
from napari_medsam.models.sources import Sources

CONFIG = replace(sam2.TINY, size=512)
"""As in sam2/configs/sam2.1_hiera_t512.yaml of MedSAM2."""


def make(sources: Sources) -> SamSegmenter:
    """The model of a row of MedSAM2; all its releases are of one layout.

    Raises
    ------
    CheckpointError
        The weights are not those of MedSAM2.
    """
    model = sam2.filled(sources, CONFIG)
    return segmenter_of(sources.row.spec(sources.digest), MEDSAM2, Sam2Network(model, Rule.FRAME, sources.compute))


def network(config: Sam2Config, compute: Compute) -> Sam2Network:
    """A network with random weights, of any size: what the contract tests run."""
    return Sam2Network(architecture(config), Rule.FRAME, compute)
