"""SAM's ViT encoder at any size: the blocks of the `segment-anything` package, with leaner attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from segment_anything.modeling import ImageEncoderViT
from torch import nn
from torch.nn import functional

from napari_medsam.models.channel_attention import way_for
from napari_medsam.models.precision import finely, full
from napari_medsam.models.products import make_products

BIAS_ELEMENTS = 16 * 1024 * 1024
"""Elements of the attention bias of a grid of tokens that exist at a time (64 MiB in float32). At 1024 pixels all of it
has 200 million."""

EPSILON = 1e-6
"""Of SAM's layer norms; torch's own is another (segment_anything/build_sam.py)."""


@dataclass(frozen=True)
class EncoderConfig:
    """A ViT as SAM has it.

    Parameters
    ----------
    width : int
        Channels of a token.
    depth : int
        Blocks.
    heads : int
    global_blocks : tuple of int
        Blocks whose attention spans the whole grid; that of the others spans a window.
    size : int
        Side in pixels of the input.
    window : int
        Side of a window, in tokens.
    patch : int
        Side of a token, in pixels.
    out : int
        Channels of the embedding.
    """

    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    size: int = 1024
    window: int = 14
    patch: int = 16
    out: int = 256

    @property
    def grid(self) -> int:
        """Side of the embedding, in tokens."""
        return self.size // self.patch


VIT_B = EncoderConfig(768, 12, 12, (2, 5, 8, 11))
VIT_L = EncoderConfig(1024, 24, 16, (5, 11, 17, 23))
VIT_H = EncoderConfig(1280, 32, 16, (7, 15, 23, 31))


def image_encoder(config: EncoderConfig) -> VitEncoder:
    """An encoder without weights; its tensors have the original's names."""
    stock = ImageEncoderViT(
        img_size=config.size,
        patch_size=config.patch,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.heads,
        out_chans=config.out,
        norm_layer=layer_norm,
        use_rel_pos=True,
        window_size=config.window,
        global_attn_indexes=config.global_blocks,
    )
    for block in stock.blocks:
        block.attn = LeanAttention(block.attn)
        make_products(block)
    return VitEncoder(stock)


def layer_norm(width: int) -> nn.LayerNorm:
    """A layer norm of SAM's blocks."""
    return nn.LayerNorm(width, eps=EPSILON)


class VitEncoder(nn.Module):
    """(1, 3, size, size) to (1, out, grid, grid), float32.

    Parameters
    ----------
    stock : segment_anything ImageEncoderViT
        Whose children it takes over, under the same names.
    """

    in_full = ("patch_embed", "neck")

    def __init__(self, stock: Any) -> None:
        super().__init__()
        self.pos_embed = stock.pos_embed
        self.patch_embed = stock.patch_embed
        self.blocks = stock.blocks
        self.neck = stock.neck

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Encode a batch of inputs."""
        with full(image.device):
            tokens = (self.patch_embed(image.float()) + self.pos_embed).contiguous()  # else each norm copies them
        for block in self.blocks:
            tokens = block(tokens)
        with full(image.device):
            found: torch.Tensor = self.neck(tokens.float().permute(0, 3, 1, 2))
        return found


class LeanAttention(nn.Module):
    """The attention of SAM's encoder in parts, so that its whole matrix (800 MB a copy at 1024 pixels) never exists.

    Parameters
    ----------
    stock : segment_anything Attention
        Whose parameters it takes over, under the same names.
    """

    in_full = ("proj",)

    def __init__(self, stock: Any) -> None:
        super().__init__()
        self.heads = int(stock.num_heads)
        self.qkv = stock.qkv
        self.proj = stock.proj
        self.rel_pos_h = stock.rel_pos_h
        self.rel_pos_w = stock.rel_pos_w

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(b, rows, columns, width) to the same shape; in float32, on CUDA perhaps in float16."""
        b, rows, columns, width = tokens.shape
        qkv = self.qkv(tokens).reshape(b, rows * columns, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)  # each (b, heads, rows x columns, width / heads)
        by_row, by_column = self.offsets(query, rows, columns)
        attend = way_for(query) or by_bias
        attended = attend(query, key, value, by_row, by_column).transpose(1, 2).reshape(b, rows, columns, width)
        return finely(self.proj, attended)

    def offsets(self, query: torch.Tensor, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What a key's row adds to a score, (b, heads, tokens, rows), and its column, (b, heads, tokens, columns)."""
        b, heads, _, depth = query.shape
        grid = query.reshape(b * heads, rows, columns, depth)
        with full(query.device):
            exact = grid.float()
            by_row = torch.einsum("brcd,rkd->brck", exact, between(rows, self.rel_pos_h))
            by_column = torch.einsum("brcd,ckd->brck", exact, between(columns, self.rel_pos_w))
        return by_row.reshape(b, heads, -1, rows), by_column.reshape(b, heads, -1, columns)


def by_bias(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, by_row: torch.Tensor, by_column: torch.Tensor
) -> torch.Tensor:
    """Attention with what rows and columns add as a bias, some queries at a time; see `by_channels`."""
    count = max(1, BIAS_ELEMENTS // (query.shape[1] * query.shape[2]))
    parts = []
    for at in range(0, query.shape[2], count):
        part = slice(at, at + count)
        bias = (by_row[:, :, part, :, None] + by_column[:, :, part, None, :]).flatten(-2).to(query.dtype)
        parts.append(functional.scaled_dot_product_attention(query[:, :, part], key, value, attn_mask=bias))
    return torch.cat(parts, dim=2)


def between(count: int, table: torch.Tensor) -> torch.Tensor:
    """The entry for each pair of places on an axis, (count, count, d), of a table of distances, (2 count - 1, d)."""
    at = torch.arange(count, device=table.device)
    return table[at[:, None] - at[None, :] + count - 1]
