"""SAM-Med2D and FT-SAM: SAM ViT-B at 256 pixels, trained on medical images, with adapters and without.

Both offer three masks and show the one that they score highest. Boxes are given half-open, and a mask to start from as
how much of each cell is on the object, as in training; see `frame_squash`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from napari_medsam.models.checkpoints.reading import read
from napari_medsam.models.compute import Compute
from napari_medsam.models.frame_squash import MED2D, ends_of
from napari_medsam.models.med2d_encoder import med2d_encoder
from napari_medsam.models.sam_blocks import filled, parts_of
from napari_medsam.models.sam_encoder import VIT_B, EncoderConfig, image_encoder
from napari_medsam.models.sam_keys import original_names
from napari_medsam.models.sam_network import Rule, SamNetwork, sam_heads
from napari_medsam.models.sam_segmenter import SamSegmenter
from napari_medsam.models.sources import Sources

VIT_B_256 = replace(VIT_B, size=256)


@dataclass(frozen=True)
class Med2dConfig:
    """A network of SAM-Med2D's kind.

    Parameters
    ----------
    encoder : EncoderConfig
    adapters : bool
        Whether the encoder has them; FT-SAM's has none.
    """

    encoder: EncoderConfig = VIT_B_256
    adapters: bool = True


def make(sources: Sources) -> SamSegmenter:
    """The model of a file of SAM-Med2D.

    Raises
    ------
    CheckpointError
        The weights are not those of SAM-Med2D.
    """
    return _made(sources, Med2dConfig())


def make_ft(sources: Sources) -> SamSegmenter:
    """The model of a file of FT-SAM.

    Raises
    ------
    CheckpointError
        The weights are not those of SAM ViT-B at 256 pixels.
    """
    return _made(sources, Med2dConfig(adapters=False))


def _made(sources: Sources, config: Med2dConfig) -> SamSegmenter:
    return SamSegmenter(sources.row.spec(sources.digest), MED2D, loaded(sources, config), corners=ends_of)


def loaded(sources: Sources, config: Med2dConfig) -> SamNetwork:
    """The network with its weights.

    Raises
    ------
    CheckpointError
        See `make`.
    """
    checkpoint = read(sources.weights)
    state = original_names(checkpoint.tensors)
    parts = filled(lambda: architecture(config), state, checkpoint.path, sources.row.title)
    return SamNetwork(*parts, Rule.BEST, sources.compute)


def architecture(config: Med2dConfig) -> nn.ModuleDict:
    """The whole network without weights; its tensors have the original's names."""
    vit = config.encoder
    encoder = med2d_encoder(vit) if config.adapters else image_encoder(vit)
    return nn.ModuleDict({"image_encoder": encoder, **sam_heads(vit.size, vit.grid, width=vit.out)._asdict()})


def network(config: Med2dConfig, compute: Compute) -> SamNetwork:
    """A network with random weights, of any size: what the contract tests run."""
    return SamNetwork(*parts_of(architecture(config)), Rule.BEST, compute)
