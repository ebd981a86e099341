"""SAM's network opened up, so that families with adapters can put theirs between the parts of its encoder's blocks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from segment_anything.modeling.image_encoder import window_partition, window_unpartition
from torch import nn

from napari_medsam.models.checkpoints.fitting import load_into, skeleton
from napari_medsam.models.sam import Parts
from napari_medsam.models.sam_network import Heads

MIDDLE = 4
"""An adapter's middle is this many times narrower than its ends, in SAM-Med2D, SAMUS and Medical-SAM-Adapter alike."""


class OpenBlock(nn.Module):
    """The parts of a block of SAM's encoder, under their own names; a family says what is done with them.

    Parameters
    ----------
    stock : segment_anything Block
        Whose parts it takes over.
    """

    def __init__(self, stock: Any) -> None:
        super().__init__()
        self.norm1: nn.Module = stock.norm1
        self.attn: nn.Module = stock.attn
        self.norm2: nn.Module = stock.norm2
        self.mlp: nn.Module = stock.mlp
        self.window = int(stock.window_size)

    def by_windows(self, work: Callable[[torch.Tensor], torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
        """`work` done on each window, padded with zeros, or on the whole grid where the block has no windows.

        Parameters
        ----------
        work : callable
            (n, rows, columns, width) to the same shape.
        tokens : (b, rows, columns, width) tensor

        Returns
        -------
        (b, rows, columns, width) tensor
        """
        if not self.window:
            return work(tokens)
        windows, padded = window_partition(tokens, self.window)
        together: torch.Tensor = window_unpartition(work(windows), self.window, padded, tokens.shape[1:3])
        return together


class Bottleneck(nn.Module):
    """An adapter of Medical-SAM-Adapter and SAMUS: narrow, GELU, wide again. What it adds to is the caller's business.

    Parameters
    ----------
    width : int
        Channels of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.D_fc1 = nn.Linear(width, width // MIDDLE)
        self.D_fc2 = nn.Linear(width // MIDDLE, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(..., width) to the same shape."""
        found: torch.Tensor = self.D_fc2(nn.functional.gelu(self.D_fc1(tokens)))
        return found


def opened(encoder: Any, make: Callable[[Any, int], nn.Module]) -> Any:
    """The encoder itself, with each of its blocks put into another.

    Parameters
    ----------
    encoder : ImageEncoderViT
    make : callable
        The new block of an old one and the width of its tokens.
    """
    encoder.blocks = nn.ModuleList(make(block, block.norm1.normalized_shape[0]) for block in encoder.blocks)
    return encoder


def named(**modules: nn.Module) -> nn.Sequential:
    """Modules one after the other, by name: what gives tensors the names that they have in a checkpoint."""
    return nn.Sequential(OrderedDict(modules))


def filled(make: Callable[[], nn.ModuleDict], state: Mapping[str, torch.Tensor], path: Path, what: str) -> Parts:
    """The parts of a network with the tensors of `state`; `path` and `what` are for messages.

    Raises
    ------
    CheckpointError
        The tensors are not those of such a network.
    """
    whole = skeleton(make)
    load_into(whole, state, path, what=what)
    return parts_of(whole)


def parts_of(whole: nn.ModuleDict) -> Parts:
    """The parts of a whole network, which are named as in SAM."""
    return Parts(whole["image_encoder"], Heads(whole["prompt_encoder"], whole["mask_decoder"]))
