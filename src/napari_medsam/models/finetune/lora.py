"""Low-rank changes (LoRA) of the queries and values of SAM's encoder, under the names that SAMed gave them.

Of block i, `w_a_{2i}` (rank, width) and `w_b_{2i}` (width, rank) change the queries, and those of 2i + 1 the values:
the projection gets B @ A added, without a factor.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from napari_medsam.errors import ModelError

RANK = 4
"""SAMed's."""


class LowRank(nn.Module):
    """A block's projection to queries, keys and values, with changes of the first and the last third of its output."""

    def __init__(self, stock: nn.Linear, rank: int) -> None:
        super().__init__()
        self.stock = stock.requires_grad_(False)
        self.width = stock.in_features
        self.first = nn.ParameterList(_uniform(rank, self.width) for _ in range(2))
        self.last = nn.ParameterList(nn.Parameter(torch.zeros(self.width, rank)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to (..., 3 width)."""
        query, value = (x @ a.T @ b.T for a, b in zip(self.first, self.last, strict=True))
        changes = torch.cat([query, torch.zeros_like(query), value], -1)
        return torch.add(self.stock(x), changes)

    @torch.no_grad()
    def merged(self) -> Tensor:
        """The weight of the projection with its changes, (3 width, width)."""
        query, value = (b @ a for a, b in zip(self.first, self.last, strict=True))
        return torch.cat([query, torch.zeros_like(query), value]) + self.stock.weight


def add_lora(encoder: Any, rank: int = RANK) -> list[LowRank]:
    """Give every block of an encoder its changes, which begin at nothing; the rest is frozen.

    Raises
    ------
    ModelError
        It is no ViT of SAM's kind.
    """
    blocks = getattr(encoder, "blocks", ())
    if not blocks or not all(hasattr(block.attn, "qkv") for block in blocks):
        raise ModelError("LoRA needs an encoder of SAM's ViT kind; train the decoder of this model instead.")
    encoder.requires_grad_(False)
    for block in blocks:
        block.attn.qkv = LowRank(block.attn.qkv, rank)
    return [block.attn.qkv for block in blocks]


def lora_tensors(changes: list[LowRank]) -> dict[str, Tensor]:
    """The changes by SAMed's names."""
    named = {}
    for block, change in enumerate(changes):
        for which in range(2):
            named[f"w_a_{2 * block + which:03d}"] = change.first[which].detach()
            named[f"w_b_{2 * block + which:03d}"] = change.last[which].detach()
    return named


def merged_weights(changes: list[LowRank]) -> dict[str, Tensor]:
    """The changed weights under the names of SAM's own files."""
    return {f"image_encoder.blocks.{block}.attn.qkv.weight": c.merged() for block, c in enumerate(changes)}


def _uniform(rank: int, width: int) -> nn.Parameter:
    bound = 1 / math.sqrt(width)  # as nn.Linear begins, which is what SAMed uses
    return nn.Parameter(torch.empty(rank, width).uniform_(-bound, bound))
