"""The TinyViT image encoder of MobileSAM and LiteMedSAM, from the parts that `timm` has.

timm's network is made for classification. Here its stem and stages are kept, the last stage no longer halves the
grid, LiteMedSAM's stem keeps the full resolution, and SAM's neck follows. timm's registry of models is not touched.

Lower precision is for the stem, the first stage, what halves the grid after it, and the perceptrons of the others: it
moves the logits by 0.9e-2 of the largest. With the attentions in bfloat16 too it would be more than the 1e-2 that we
allow. (Measured with stand-in weights, on a CPU.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from timm.models.tiny_vit import ConvNorm, TinyVit
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from napari_medsam.models.checkpoints.fitting import load_into
from napari_medsam.models.checkpoints.reading import read
from napari_medsam.models.compute import Compute, device_of, kept_of, precision_of
from napari_medsam.models.products import make_products
from napari_medsam.models.sam_network import WIDTH, Heads, Rule, SamNetwork, sam_heads
from napari_medsam.models.sources import Sources
from napari_medsam.models.striped import StripedBlock

PREFIX = "image_encoder."
"""What the encoder's tensors begin with in a checkpoint."""

UNUSED = (f"{PREFIX}norm_head.", f"{PREFIX}head.")
"""The classifier that MobileSAM's file still carries."""

RENAMED = (
    (re.compile(r"^patch_embed\.seq\.0\."), "patch_embed.conv1."),
    (re.compile(r"^patch_embed\.seq\.2\."), "patch_embed.conv2."),
    (re.compile(r"^layers\.(\d+)\.blocks\."), r"stages.\1.blocks."),
    (re.compile(r"\.c\.weight$"), ".conv.weight"),
)
DOWNSAMPLE = re.compile(r"^layers\.(\d+)\.downsample\.")


@dataclass(frozen=True)
class TinyVitConfig:
    """A TinyViT as the SAM family uses it.

    Parameters
    ----------
    size : int
        Side in pixels of the square input.
    stem_kernel, stem_stride : int
        Of both convolutions of the stem.
    widths, depths, heads, windows : tuple of four int
        Of the stages; a window is counted in cells of the stage's grid. The first stage has convolutions only.
    out : int
        Channels of the embedding.
    """

    size: int
    stem_kernel: int
    stem_stride: int
    widths: tuple[int, int, int, int] = (64, 128, 160, 320)
    depths: tuple[int, int, int, int] = (2, 2, 6, 2)
    heads: tuple[int, int, int, int] = (2, 4, 5, 10)
    windows: tuple[int, int, int, int] = (7, 7, 14, 7)
    out: int = WIDTH

    @property
    def grid(self) -> int:
        """Side of the embedding: two convolutions in the stem, then two stages that halve."""
        return self.size // self.stem_stride**2 // 4


AT_1024 = TinyVitConfig(size=1024, stem_kernel=3, stem_stride=2)
"""MobileSAM's."""

AT_256 = TinyVitConfig(size=256, stem_kernel=1, stem_stride=1)
"""LiteMedSAM's: its stem looks at single pixels, so that 256 pixels give the grid that 1024 give MobileSAM."""


class TinyVitEncoder(nn.Module):
    """(1, 3, size, size) to (1, out, grid, grid). Its parameters stay in float32.

    Parameters
    ----------
    config : TinyVitConfig
    """

    def __init__(self, config: TinyVitConfig) -> None:
        super().__init__()
        body: Any = TinyVit(
            num_classes=0,
            embed_dims=config.widths,
            depths=config.depths,
            num_heads=config.heads,
            window_sizes=config.windows,
            drop_path_rate=0.0,
        )
        kernel, stride, width = config.stem_kernel, config.stem_stride, config.widths[0]
        body.patch_embed.conv1 = ConvNorm(3, width // 2, kernel, stride, kernel // 2)
        body.patch_embed.conv2 = ConvNorm(width // 2, width, kernel, stride, kernel // 2)
        body.stages[-1].downsample.conv2.conv.stride = (1, 1)
        for stage in body.stages[1:]:
            for block in stage.blocks:
                block.attn = WindowAttention(block.attn)
        self.patch_embed: nn.Module = body.patch_embed
        self.stages: Any = body.stages
        self.neck = _neck(config.widths[-1], config.out)
        self.reduced = torch.float32
        """Precision of the first half; see `reduce`."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Encode a batch of inputs."""
        single = self.reduced == torch.float32
        with nullcontext() if single else torch.autocast(image.device.type, self.reduced):
            maps = self.stages[0](self.patch_embed(image.contiguous(memory_format=torch.channels_last)))
            halved = self.stages[1].downsample(maps)
        tokens = self.stages[1].blocks(halved.float().permute(0, 2, 3, 1))
        found: torch.Tensor = self.neck(self.stages[2:](tokens.permute(0, 3, 1, 2)))
        return found

    def reduce(self, precision: torch.dtype) -> None:
        """Take what bears it into a lower precision; the norms are folded, and the products are made.

        Of the attentions only those of the first stage that has any, in bfloat16 on CPUs: with all of them the masks
        differ by more than 1e-2 (docs/speed.md), and elsewhere they have not been compared.
        """
        self.reduced = precision
        for stage in self.stages[1:]:
            for block in stage.blocks:
                block.mlp.fc1.to(precision)
                block.mlp.fc2.to(precision)
        for block in self.stages[1].blocks:
            weight = block.attn.qkv.weight
            if precision == torch.bfloat16 and weight.device.type == "cpu":
                block.attn.qkv.to(precision)
                block.attn.proj.to(precision)


class WindowAttention(nn.Module):
    """TinyViT's attention, whose bias is looked up anew in each call.

    The stock one keeps it from the first call on, beside a table that is not among its saved tensors: wrong once other
    weights are loaded, or when the table was never filled. With its bias of three axes torch also takes the slow way.

    Parameters
    ----------
    stock : timm Attention
        Whose parameters it takes over, under the same names.
    """

    def __init__(self, stock: Any) -> None:
        super().__init__()
        self.heads, self.side = int(stock.num_heads), int(stock.resolution[0])
        self.depths = [int(stock.key_dim), int(stock.key_dim), int(stock.val_dim)]
        self.norm, self.qkv, self.proj = stock.norm, stock.qkv, stock.proj
        self.attention_biases = stock.attention_biases

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(windows, side x side, width) to the same shape."""
        windows, count, _ = tokens.shape
        parts = self.qkv(self.norm(tokens)).view(windows, count, self.heads, -1).transpose(1, 2)
        query, key, value = parts.split(self.depths, dim=-1)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=self.bias())
        found: torch.Tensor = self.proj(mixed.transpose(1, 2).reshape(windows, count, -1))
        return found

    def bias(self) -> torch.Tensor:
        """What each pair of tokens adds, (1, heads, tokens, tokens), by how far apart they are along each axis."""
        at = torch.arange(self.side, device=self.attention_biases.device)
        apart = (at[:, None] - at[None, :]).abs()
        table = self.attention_biases.view(self.heads, self.side, self.side)
        pairs = table[:, apart[:, None, :, None], apart[None, :, None, :]]
        found: torch.Tensor = pairs.reshape(1, self.heads, self.side**2, self.side**2)
        return found


class ChannelNorm(nn.Module):
    """Layer norm over the channels of (n, channels, rows, columns), at each position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Normalise."""
        last = maps.permute(0, 2, 3, 1)
        # the epsilon of SAM (segment_anything/modeling/common.py)
        even = functional.layer_norm(last, last.shape[-1:], self.weight, self.bias, 1e-6)
        found: torch.Tensor = even.permute(0, 3, 1, 2)
        return found


def _neck(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, 1, bias=False),
        ChannelNorm(out),
        nn.Conv2d(out, out, 3, padding=1, bias=False),
        ChannelNorm(out),
    )


def filled(sources: Sources, config: TinyVitConfig, rule: Rule) -> SamNetwork:
    """The network of a checkpoint in the original's naming.

    Raises
    ------
    CheckpointError
        The weights do not fit.
    """
    checkpoint = read(sources.weights)
    parts = _parts(config)  # no skeleton: older versions of timm fail without numbers, and this is small
    load_into(parts, renamed(checkpoint.tensors), checkpoint.path, what=sources.row.title, ignored=UNUSED)
    return _assembled(parts, rule, sources.compute)


def network(config: TinyVitConfig, rule: Rule, compute: Compute) -> SamNetwork:
    """A network with random weights, of any size: what the contract tests run."""
    return _assembled(_parts(config), rule, compute)


def _parts(config: TinyVitConfig) -> nn.ModuleDict:
    heads = sam_heads(config.size, config.grid, width=config.out)
    return nn.ModuleDict({"image_encoder": TinyVitEncoder(config), **heads._asdict()})


def _assembled(parts: nn.ModuleDict, rule: Rule, compute: Compute) -> SamNetwork:
    """Decide on the precision here: to SamNetwork the encoder is one in float32."""
    encoder: Any = parts["image_encoder"]
    fold(encoder.eval())
    make_products(encoder)
    encoder.stages[0].blocks = nn.Sequential(*(StripedBlock(block) for block in encoder.stages[0].blocks))
    encoder.to(memory_format=torch.channels_last)
    heads = Heads(parts["prompt_encoder"], parts["mask_decoder"])
    network = SamNetwork(encoder, heads, rule, replace(compute, precision="float32"))
    encoder.reduce(precision_of(compute, device_of(compute)))
    network.kept = kept_of(compute)
    return network


def renamed(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of an original checkpoint with those of the encoder named as in `TinyVitEncoder`."""
    return {
        PREFIX + encoder_name(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else name: values
        for name, values in tensors.items()
    }


def encoder_name(original: str) -> str:
    """One name, without PREFIX. What halves the grid at the end of a stage belongs to the next stage in timm."""
    name = DOWNSAMPLE.sub(lambda found: f"stages.{int(found[1]) + 1}.downsample.", original)
    for pattern, new in RENAMED:
        name = pattern.sub(new, name)
    return name


def fold(module: nn.Module) -> None:
    """Fold every batch norm into the convolution before it. The module has its weights, in float32, and is in eval."""
    for name, child in module.named_children():
        if isinstance(child, ConvNorm):
            convolution: Any = child.conv
            setattr(module, name, fuse_conv_bn_eval(convolution, child.bn))
        else:
            fold(child)
