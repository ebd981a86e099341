"""SAM-Med2D's encoder: SAM's ViT-B at 256 pixels, with an adapter beside the second half of every block."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from napari_medsam.models.sam_blocks import MIDDLE, OpenBlock, opened
from napari_medsam.models.sam_encoder import EncoderConfig, image_encoder


class Adapter(nn.Module):
    """Weighs the channels, looks about in space at half the resolution, and adds that to what came in.

    Parameters
    ----------
    width : int
        Channels of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.channel = nn.Sequential(
            nn.Linear(width, width // MIDDLE, bias=False),
            nn.ReLU(),
            nn.Linear(width // MIDDLE, width, bias=False),
            nn.Sigmoid(),
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1, bias=False),
            nn.ReLU(),
        )
        self.norm = nn.LayerNorm(width)  # with torch's own epsilon of 1e-5, not SAM's

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(b, rows, columns, width) to the same shape; rows and columns are even."""
        weighed = tokens * self.channel(tokens.mean(dim=(1, 2), keepdim=True))
        seen = self.spatial(weighed.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        normed: torch.Tensor = self.norm(tokens + seen)
        return normed


class AdaptedBlock(OpenBlock):
    """A block whose second half has an adapter beside it.

    Parameters
    ----------
    stock : segment_anything Block
    width : int
        Channels of a token.
    """

    def __init__(self, stock: Any, width: int) -> None:
        super().__init__(stock)
        self.Adapter = Adapter(width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(b, rows, columns, width) to the same shape."""
        tokens = tokens + self.by_windows(self.attn, self.norm1(tokens))
        normed = self.norm2(tokens)
        adapted: torch.Tensor = tokens + self.mlp(normed) + self.Adapter(normed)
        return adapted


def med2d_encoder(config: EncoderConfig) -> nn.Module:
    """An encoder without weights: (1, 3, size, size) to (1, out, grid, grid)."""
    encoder: nn.Module = opened(image_encoder(config), AdaptedBlock)
    return encoder
