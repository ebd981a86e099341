"""SAMed: SAM with low-rank changes, that labels eight organs on axial slices of abdominal CT by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from napari_medsam.errors import ImageError
from napari_medsam.models.base import ModelSpec
from napari_medsam.models.checkpoints.fitting import load_into, skeleton
from napari_medsam.models.checkpoints.reading import read
from napari_medsam.models.compute import Compute
from napari_medsam.models.frame import InputPrompts
from napari_medsam.models.lora import Tensors
from napari_medsam.models.sam_encoder import VIT_B, VIT_H, EncoderConfig, image_encoder
from napari_medsam.models.sam_lora import base_of
from napari_medsam.models.sam_network import Heads, Rule, SamNetwork, sam_heads
from napari_medsam.models.samed_view import SIZE, mirrored, network_input, on_slice
from napari_medsam.models.samed_weights import merged
from napari_medsam.models.sources import Sources

UNPROMPTED = InputPrompts(np.empty((0, 2), dtype=np.float32), np.empty(0, dtype=np.int64))


@dataclass(frozen=True)
class SamedConfig:
    """A network of SAMed's kind.

    Parameters
    ----------
    encoder : EncoderConfig
    classes : int
        What it tells apart, background not counted. The decoder has a mask for each, and one for the background.
    """

    encoder: EncoderConfig
    classes: int


def at_size(encoder: EncoderConfig) -> EncoderConfig:
    """The encoder for SAMed's smaller input."""
    return replace(encoder, size=SIZE)


ENCODERS = {"samed-b": at_size(VIT_B), "samed-s": at_size(VIT_B), "samed-h": at_size(VIT_H)}
"""By layout."""


class Samed:
    """Labeller of a network that gives a mask for each class, without prompts.

    Parameters
    ----------
    spec : ModelSpec
    classes : tuple of str
        Names of the values from 1 upward.
    network : SamNetwork
    """

    def __init__(self, spec: ModelSpec, classes: tuple[str, ...], network: SamNetwork) -> None:
        self.spec = spec
        self.classes = classes
        self.network = network

    def label(self, values: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Label an axial slice of CT, (rows, columns), in Hounsfield units; rows go toward posterior, columns left.

        Raises
        ------
        ImageError
            It is no plane of real numbers.
        """
        if values.ndim != 2 or values.dtype.kind not in "biuf":
            raise ImageError(
                f"{self.spec.title} labels grey slices, (rows, columns), not {values.dtype} {values.shape}."
            )
        found = winners(self.logits(network_input(mirrored(values))))
        shape = (int(values.shape[0]), int(values.shape[1]))
        return np.ascontiguousarray(mirrored(on_slice(found, shape)))

    def logits(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """A mask for the background and each class, (1 + classes, SIZE / 4, SIZE / 4), of an input, (3, SIZE, SIZE)."""
        return self.network.everything(self.network.embed(image), UNPROMPTED)[0]


def winners(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The class of each pixel of the input, (SIZE, SIZE), of masks on a coarser grid, (1 + classes, m, m)."""
    masks = functional.interpolate(torch.from_numpy(logits)[None], (SIZE, SIZE), mode="bilinear", align_corners=False)
    return masks[0].argmax(dim=0).to(torch.uint8).numpy()


def make(sources: Sources) -> Samed:
    """The model of a row whose layout is samed-b, samed-s or samed-h.

    Raises
    ------
    CheckpointError
        The file of changes, or that of the SAM that it changes, is not what it should be.
    """
    row = sources.row
    config = SamedConfig(ENCODERS[row.layout], len(row.classes))
    base, checkpoint = base_of(sources), read(sources.weights)
    changes = Tensors(checkpoint.tensors, checkpoint.path, f"the weights of {row.title}")
    encoder_state, heads_state = merged(config.encoder, changes, base)
    encoder = skeleton(lambda: image_encoder(config.encoder))
    load_into(encoder, encoder_state, base.path, what=f"the encoder of {row.base}")
    heads = skeleton(lambda: nn.ModuleDict(unfilled_heads(config)._asdict()))
    load_into(heads, heads_state, changes.path, what=f"the decoder of {row.title}")
    network = SamNetwork(encoder, Heads(heads["prompt_encoder"], heads["mask_decoder"]), Rule.SINGLE, sources.compute)
    return Samed(row.spec(sources.digest), row.classes, network)


def unfilled_heads(config: SamedConfig) -> Heads:
    """The heads, without weights."""
    encoder = config.encoder
    return sam_heads(encoder.size, encoder.grid, config.classes, encoder.out)


def network(config: SamedConfig, compute: Compute) -> SamNetwork:
    """A network with random weights, of any size: what the contract tests run."""
    return SamNetwork(image_encoder(config.encoder), unfilled_heads(config), Rule.SINGLE, compute)
