"""The decoder of Medical-SAM-Adapter's newer versions: SAM's parts, joined in another way in its transformer.

Written from the layout of its files and from recorded outputs alone. The names are those of EfficientSAM's decoder
(Apache-2.0), and its order of steps gives the recorded outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class PositionsFirst(nn.Module):
    """A layer of the decoder's transformer.

    SAM gives positions to what is compared, not to what is passed on. Here the queries get theirs for good before the
    self-attention, and the first layer, which knows no positions, keeps its input too.

    Parameters
    ----------
    stock : segment_anything TwoWayAttentionBlock
        Whose parts it takes over, under the same names.
    """

    def __init__(self, stock: Any) -> None:
        super().__init__()
        self.first = bool(stock.skip_first_layer_pe)
        self.self_attn: nn.Module = stock.self_attn
        self.norm1: nn.Module = stock.norm1
        self.cross_attn_token_to_image: nn.Module = stock.cross_attn_token_to_image
        self.norm2: nn.Module = stock.norm2
        self.mlp: nn.Module = stock.mlp
        self.norm3: nn.Module = stock.norm3
        self.norm4: nn.Module = stock.norm4
        self.cross_attn_image_to_token: nn.Module = stock.cross_attn_image_to_token

    def forward(
        self, queries: torch.Tensor, keys: torch.Tensor, query_pe: torch.Tensor, key_pe: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Prompts, (b, n, width), and image, (b, m, width), each with its positions, to the first two anew."""
        if not self.first:
            queries = queries + query_pe
        queries = self.norm1(queries + self.self_attn(q=queries, k=queries, v=queries))
        at = keys + key_pe
        queries = self.norm2(queries + self.cross_attn_token_to_image(q=queries + query_pe, k=at, v=keys))
        queries = self.norm3(queries + self.mlp(queries))
        keys = self.norm4(keys + self.cross_attn_image_to_token(q=at, k=queries + query_pe, v=queries))
        return queries, keys


def positions_first(mask_decoder: Any) -> Any:
    """SAM's decoder itself, the layers of its transformer joined as here."""
    layers = mask_decoder.transformer.layers
    mask_decoder.transformer.layers = nn.ModuleList(PositionsFirst(layer) for layer in layers)
    return mask_decoder
