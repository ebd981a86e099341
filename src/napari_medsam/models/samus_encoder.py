"""SAMUS's encoder: SAM's ViT-B on 256 grey pixels, and a small convolutional network beside it that its blocks ask."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import torch
from segment_anything.modeling.common import LayerNorm2d
from torch import nn
from torch.nn import functional

from napari_medsam.models.precision import full
from napari_medsam.models.sam_blocks import Bottleneck, OpenBlock, named
from napari_medsam.models.sam_encoder import VIT_B, EncoderConfig, image_encoder

VIT_B_GREY = replace(VIT_B, size=256, patch=8)

SCALE = 0.5
"""Of the adapter beside the second half of a block, and of the convolutional network in the end."""


@dataclass(frozen=True)
class SamusConfig:
    """A network of SAMUS's kind.

    Parameters
    ----------
    vit : EncoderConfig
        Its `size` is that of the input; `patch` that of a patch's stride, since patches overlap by half.
    stem : tuple of int
        Channels of the convolutional network's stages before the last, each at half the resolution of the one before.
    """

    vit: EncoderConfig = VIT_B_GREY
    stem: tuple[int, ...] = (64, 128, 256)


class CrossAttention(nn.Module):
    """Tokens ask the convolutional network.

    Parameters
    ----------
    width, heads : int
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        """(b, rows, columns, width) of both to the same shape."""
        found = functional.scaled_dot_product_attention(
            self._split(self.q(tokens)), self._split(self.k(asked)), self._split(self.v(asked))
        )
        mixed: torch.Tensor = self.proj(found.transpose(1, 2).reshape(tokens.shape))
        return mixed

    def _split(self, tokens: torch.Tensor) -> torch.Tensor:
        """(b, heads, rows x columns, width / heads)."""
        return tokens.reshape(len(tokens), -1, self.heads, tokens.shape[-1] // self.heads).transpose(1, 2)


class PlainBlock(OpenBlock):
    """SAM's own block, which attends by windows. It passes on what the convolutional network sees."""

    def forward(self, tokens: torch.Tensor, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens, (b, rows, columns, width), and maps, (b, width, rows, columns)."""
        tokens = tokens + self.by_windows(self.attn, self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens)), maps


class AskingBlock(OpenBlock):
    """A block over the whole grid that asks the convolutional network first, and refines what that sees.

    Parameters
    ----------
    stock : segment_anything Block
    width, heads : int
        Channels of a token; heads of the attention.
    """

    def __init__(self, stock: Any, width: int, heads: int) -> None:
        super().__init__(stock)
        self.MLP_Adapter = Bottleneck(width)
        self.Space_Adapter = CrossAttention(width, heads)
        self.refine_Adapter = named(conv=nn.Sequential(*convolution(width, width)))

    def forward(self, tokens: torch.Tensor, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens, (b, rows, columns, width), and maps, (b, width, rows, columns)."""
        normed = self.norm1(tokens)
        normed = normed + self.Space_Adapter(normed, maps.permute(0, 2, 3, 1))
        tokens = tokens + self.by_windows(self.attn, normed)
        normed = self.norm2(tokens)
        return tokens + self.mlp(normed) + SCALE * self.MLP_Adapter(normed), self.refine_Adapter(maps)


class SamusEncoder(nn.Module):
    """(1, 1, size, size) of 0 to 1 to (1, out, grid, grid).

    Parameters
    ----------
    config : SamusConfig
    """

    in_full = ("patch_embed", "neck")

    def __init__(self, config: SamusConfig) -> None:
        super().__init__()
        vit = config.vit
        # SAM's own patches, twice as far apart as here, on a square that gives the same grid
        stock: Any = image_encoder(replace(vit, size=2 * vit.size, patch=2 * vit.patch))
        stock.patch_embed.proj.stride = (vit.patch, vit.patch)
        self.overlap = vit.patch
        self.patch_embed: nn.Module = stock.patch_embed
        # SAM's table for 1024 pixels, at twice the resolution, which a learned layer halves
        self.pos_embed = nn.Parameter(torch.zeros(1, 2 * vit.grid, 2 * vit.grid, vit.width))
        self.post_pos_embed = named(downs=nn.Sequential(_halving(vit.width, vit.width)))
        self.input_Adapter = Bottleneck(vit.width)
        self.cnn_embed = _pyramid((*config.stem, vit.width))
        self.blocks = nn.ModuleList(
            PlainBlock(block) if block.window_size else AskingBlock(block, vit.width, vit.heads)
            for block in stock.blocks
        )
        self.neck: nn.Module = stock.neck

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Encode a batch of grey inputs."""
        image = image.expand(-1, 3, -1, -1)
        maps = self.cnn_embed(image)
        tokens = self._patches(image)
        tokens = tokens + self.input_Adapter(tokens) + self._places()
        for block in self.blocks:
            tokens, maps = block(tokens, maps)
        with full(image.device):
            found: torch.Tensor = self.neck(tokens.float().permute(0, 3, 1, 2) + SCALE * maps.float())
        return found

    def _patches(self, image: torch.Tensor) -> torch.Tensor:
        """(b, grid, grid, width); the image is enlarged by what the last patch reaches over the edge."""
        size = image.shape[-1] + self.overlap
        with full(image.device):
            larger = functional.interpolate(image, (size, size), mode="bilinear", align_corners=False)
            patches: torch.Tensor = self.patch_embed(larger)
        return patches

    def _places(self) -> torch.Tensor:
        """(1, grid, grid, width)."""
        places: torch.Tensor = self.post_pos_embed(self.pos_embed.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return places


def convolution(channels: int, out: int) -> list[nn.Module]:
    """Convolution, norm and GELU at the same resolution."""
    return [nn.Conv2d(channels, out, 3, padding=1, bias=False), LayerNorm2d(out), nn.GELU()]


def _halving(channels: int, out: int) -> nn.Module:
    return named(maxpool_conv=nn.Sequential(nn.MaxPool2d(2), *convolution(channels, out)))


def _pyramid(widths: tuple[int, ...]) -> nn.Module:
    """The convolutional network: colours in, the last width out, halved once for each step between widths."""
    steps = [_halving(wide, wider) for wide, wider in itertools.pairwise(widths)]
    return named(inc=named(conv=nn.Sequential(*convolution(3, widths[0]))), downs=nn.Sequential(*steps))
