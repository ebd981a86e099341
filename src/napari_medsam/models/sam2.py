"""SAM 2 and 2.1: what their files hold, and how a model is made of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from napari_medsam.models.checkpoints.fitting import load_into, skeleton
from napari_medsam.models.checkpoints.reading import read
from napari_medsam.models.compute import Compute
from napari_medsam.models.frame_sam2 import SAM2
from napari_medsam.models.sam2_keys import completed, from_original, is_transformers, remembers
from napari_medsam.models.sam2_network import Rule, Sam2Config, Sam2Network, architecture, refresh
from napari_medsam.models.sam2_tracker import segmenter_of
from napari_medsam.models.sam_segmenter import SamSegmenter
from napari_medsam.models.sources import Sources

TINY = Sam2Config(96, 1, (1, 2, 7, 2), (5, 7, 9))
SMALL = Sam2Config(96, 1, (1, 2, 11, 2), (7, 10, 13))
BASE_PLUS = Sam2Config(112, 2, (2, 3, 16, 3), (12, 16, 20), background=14)
LARGE = Sam2Config(144, 2, (2, 6, 36, 4), (23, 33, 43), windows=(8, 4, 16, 8))
"""The sizes, as in sam2/configs/sam2.1."""

SIZES = {"tiny": TINY, "small": SMALL, "base-plus": BASE_PLUS, "large": LARGE}


def make(sources: Sources) -> SamSegmenter:
    """The model of a row whose layout is sam2-SIZE or sam2.1-SIZE.

    Raises
    ------
    CheckpointError
        The weights are not those of the row's layout.
    """
    model = filled(sources, config_of(sources.row.layout))
    spec = sources.row.spec(sources.digest)
    return segmenter_of(spec, SAM2, Sam2Network(model, Rule.IMAGE, sources.compute))


def config_of(layout: str) -> Sam2Config:
    """What a layout's name says."""
    version, _, size = layout.partition("-")
    return replace(SIZES[size], temporal=version == "sam2.1")


def filled(sources: Sources, config: Sam2Config) -> Any:
    """A Sam2VideoModel with the weights of a checkpoint, original or of transformers.

    Raises
    ------
    CheckpointError
        The weights do not fit.
    """
    checkpoint = read(sources.weights)
    tensors = checkpoint.tensors
    named = completed(tensors) if is_transformers(tensors) else from_original(tensors)
    config = replace(config, memory=remembers(named))
    model = skeleton(lambda: architecture(config))
    load_into(model, named, checkpoint.path, what=sources.row.title)
    refresh(model)
    return model


def network(config: Sam2Config, compute: Compute) -> Sam2Network:
    """A network with random weights, of any size: what the contract tests run."""
    return Sam2Network(architecture(config), Rule.IMAGE, compute)
