"""Medical-SAM-Adapter's encoder: SAM's ViT-B with two small adapters in every block.

Written from the layout of its files and from recorded outputs alone. Its third adapter, across the slices of a volume,
works on volumes that are fed as one batch; on single planes the original does not use it, and it is not here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from napari_medsam.models.sam_blocks import Bottleneck, OpenBlock, opened
from napari_medsam.models.sam_encoder import EncoderConfig, image_encoder

SCALE = 0.5
"""Of the adapter beside the second half of a block."""


class AdaptedBlock(OpenBlock):
    """A block with an adapter after its attention, and one beside its second half.

    Parameters
    ----------
    stock : segment_anything Block
    width : int
        Channels of a token.
    """

    def __init__(self, stock: Any, width: int) -> None:
        super().__init__(stock)
        self.Space_Adapter = Bottleneck(width)
        self.MLP_Adapter = Bottleneck(width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(b, rows, columns, width) to the same shape.

        Other than in SAM, windows are cut first and normed then, so that their padding is not 0 but the norm's bias. In
        the original the first adapter works within the windows; it sees one token at a time, so that is the same.
        """
        around = self.by_windows(lambda windows: self.attn(self.norm1(windows)), tokens)
        tokens = tokens + around + self.Space_Adapter(around)
        normed = self.norm2(tokens)
        adapted: torch.Tensor = tokens + self.mlp(normed) + SCALE * self.MLP_Adapter(normed)
        return adapted


def msa_encoder(config: EncoderConfig) -> nn.Module:
    """An encoder without weights: (1, 3, size, size) to (1, out, grid, grid)."""
    encoder: nn.Module = opened(image_encoder(config), AdaptedBlock)
    return encoder
