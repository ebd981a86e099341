"""The network of the `starter` model: an encoder of one view, and a light decoder of prompts. torch.

    looker = StarterNetwork()
    features = looker.encode(view)                # (n, 4, v, v): once per view
    logits, quality = looker.decode(features, prompts)   # (n, 3, v, v): once per change of the prompts

Channels of `view`: grey value 0..1, inside the plane, inside the box, whether there is a box.
Channels of `prompts`: positive marks, negative marks, previous mask minus one half (0 where there is none).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

CANDIDATES = 3
VIEW_CHANNELS = 4
PROMPT_CHANNELS = 3

Features = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class NetworkConfig:
    """Widths at strides 2, 4, 8 and 16, and blocks at each."""

    widths: tuple[int, int, int, int] = (32, 64, 96, 128)
    blocks: tuple[int, int, int, int] = (1, 2, 2, 2)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution and batch normalisation."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """Two 3 x 3 convolutions beside an identity, with a gate that sees the whole view."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = convolution(width, width)
        self.second = convolution(width, width)
        self.gate = nn.Linear(width, width)
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`."""
        y = self.second(functional.relu(self.first(x)))
        gate = torch.sigmoid(self.gate(x.mean((2, 3))))[:, :, None, None]
        return functional.relu(x + y * gate.to(y.dtype))


def stage(inputs: int, width: int, blocks: int) -> nn.Sequential:
    """Halve the raster, then `blocks` blocks."""
    return nn.Sequential(convolution(inputs, width, 3, 2), nn.ReLU(), *(Block(width) for _ in range(blocks)))


class Joint(nn.Module):
    """Bring a coarser map up and join it to a finer one, then one block."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.lift = convolution(coarse, fine, 1)
        self.keep = convolution(fine, fine, 1)
        self.block = Block(fine)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Shape of `fine`."""
        lifted = functional.interpolate(self.lift(coarse), size=fine.shape[2:], mode="nearest")
        out: Tensor = self.block(functional.relu(self.keep(fine) + lifted))
        return out


def standard(grey: Tensor, weight: Tensor, limit: float) -> Tensor:
    """`grey` with mean 0 and deviation 1 where `weight` is, clipped to +-`limit`: no window hides an object."""
    total = weight.sum((2, 3), keepdim=True) + 1e-3
    mean = (grey * weight).sum((2, 3), keepdim=True) / total
    spread = (((grey - mean) ** 2 * weight).sum((2, 3), keepdim=True) / total).sqrt()
    return ((grey - mean) / (spread + 0.005)).clamp(-limit, limit)


class Encoder(nn.Module):
    """(n, 4, v, v) view to features at strides 2, 4 and 8."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        a, b, c, d = config.widths
        self.stem = convolution(4 * (VIEW_CHANNELS + 2), a)
        self.at2 = nn.Sequential(*(Block(a) for _ in range(config.blocks[0])))
        self.at4 = stage(a, b, config.blocks[1])
        self.at8 = stage(b, c, config.blocks[2])
        self.at16 = stage(c, d, config.blocks[3])
        self.up8 = Joint(d, c)
        self.up4 = Joint(c, b)

    def forward(self, view: Tensor) -> Features:
        """Features at strides 2, 4 and 8."""
        grey, box = view[:, :1], view[:, 2:3]
        x = torch.cat([standard(grey, view[:, 1:2], 5), standard(grey, box + (1 - view[:, 3:4]), 3), view], 1)
        x = functional.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
        at2 = self.at2(functional.relu(self.stem(x)))
        at4 = self.at4(at2)
        at8 = self.at8(at4)
        at8 = self.up8(self.at16(at8), at8)
        return at2, self.up4(at8, at4), at8


class Decoder(nn.Module):
    """Features and prompt maps to CANDIDATES masks and the quality of each."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        a, b, c, _ = config.widths
        self.marks = convolution(16 * PROMPT_CHANNELS, b)
        self.at4 = Block(b)
        self.down = convolution(b, c, 3, 2)
        self.at8 = Block(c)
        self.up4 = Joint(c, b)
        self.up2 = convolution(b, a, 1)
        self.marks2 = convolution(4 * PROMPT_CHANNELS, a)
        self.last = convolution(a, a)
        self.masks = nn.Conv2d(a, 4 * CANDIDATES, 3, padding=1)
        self.judge = nn.Sequential(nn.Linear(3 * b + c + 4, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, features: Features, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, CANDIDATES, v, v) and quality logits (n, CANDIDATES)."""
        at2, at4, at8 = features
        fine = functional.pixel_unshuffle(prompts, 2).contiguous(memory_format=torch.channels_last)
        coarse = functional.pixel_unshuffle(prompts, 4).contiguous(memory_format=torch.channels_last)
        x4 = self.at4(functional.relu(at4 + self.marks(coarse)))
        x8 = self.at8(functional.relu(at8 + self.down(x4)))
        x4 = self.up4(x8, x4)
        lifted = functional.interpolate(self.up2(x4), scale_factor=2, mode="nearest")
        x2 = functional.relu(at2 + lifted + self.marks2(fine))
        x2 = functional.relu(x2 + self.last(x2))
        logits = functional.pixel_shuffle(self.masks(x2), 2).float()
        return logits, self._judge(logits.detach(), x4.float(), x8.float())

    def _judge(self, logits: Tensor, x4: Tensor, x8: Tensor) -> Tensor:
        """Quality of each mask, from features inside, around and along it."""
        soft = functional.avg_pool2d(torch.sigmoid(logits), 4).flatten(2)
        sure = functional.avg_pool2d(torch.sigmoid(logits).sub(0.5).abs().mul(2), 4).flatten(2)
        raster = soft.reshape(*soft.shape[:2], *x4.shape[2:])
        near = (functional.max_pool2d(raster, 5, 1, 2).flatten(2) - soft).clamp(min=0)
        flat = x4.flatten(2).transpose(1, 2)
        pooled = [w @ flat / (w.sum(2, keepdim=True) + 1) for w in (soft, near, 1 - sure)]
        whole = x8.mean((2, 3))[:, None].expand(-1, CANDIDATES, -1)
        size = soft.mean(2, keepdim=True)
        unsure = (1 - sure).mean(2, keepdim=True)
        edge = near.mean(2, keepdim=True)
        numbers = torch.cat([size, unsure, unsure / (size + 0.01), edge / (size + 0.01)], 2)
        out: Tensor = self.judge(torch.cat([*pooled, whole, numbers], 2))[:, :, 0]
        return out


def folded(network: nn.Module) -> None:
    """Put every batch normalisation into the convolution before it, in place; for inference only."""
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            for i in range(len(module) - 1):
                conv, norm = module[i], module[i + 1]
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    module[i] = fuse_conv_bn_eval(conv, norm)
                    module[i + 1] = nn.Identity()


class StarterNetwork(nn.Module):
    """Encoder of a view and decoder of prompts."""

    def __init__(self, config: NetworkConfig | None = None) -> None:
        super().__init__()
        self.config = config or NetworkConfig()
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)

    def encode(self, view: Tensor) -> Features:
        """Features of a (n, 4, v, v) view."""
        features: Features = self.encoder(view)
        return features

    def decode(self, features: Features, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, CANDIDATES, v, v) and quality logits (n, CANDIDATES) for (n, 3, v, v) prompt maps."""
        out: tuple[Tensor, Tensor] = self.decoder(features, prompts)
        return out
