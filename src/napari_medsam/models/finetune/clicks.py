"""People who correct a mask: clicks and strokes in the largest error, drawn into maps of the view. torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SPREAD = 1 / 40
"""Deviation of a mark over the side of the view."""


def marks(positions: Tensor, present: Tensor, size: int) -> Tensor:
    """Soft marks at (n, m, 2) positions in view samples where `present` (n, m); (n, size, size), the largest of all."""
    at = torch.arange(size, device=positions.device, dtype=torch.float32)
    spread = 2 * (SPREAD * size) ** 2
    rows = torch.exp(-((at - positions[:, :, :1]) ** 2) / spread)
    columns = torch.exp(-((at - positions[:, :, 1:]) ** 2) / spread)
    every = rows[:, :, :, None] * columns[:, :, None, :] * present[:, :, None, None]
    return every.amax(1)


def worst_place(error: Tensor, random: torch.Generator) -> Tensor:
    """(n,) flat index in (n, v, v) bool errors: the middle of the largest one, now and then any place in an error."""
    size = error.shape[1]
    kernel = int(torch.randint(1, max(size // 8, 2), (1,), generator=random)) * 2 + 1
    depth = functional.avg_pool2d(error[:, None].float(), kernel, 1, kernel // 2)[:, 0]
    noise = torch.rand(error.shape, generator=random).to(error.device)
    any_place = torch.rand(len(error), 1, 1, generator=random).to(error.device) < 0.2
    score = torch.where(any_place, noise, depth + 0.02 * noise) * (error.float() + 1e-6)
    return score.flatten(1).argmax(1)


def correct(prompts: Tensor, shown: Tensor, target: Tensor, random: torch.Generator) -> Tensor:
    """Prompt maps with one more click or stroke where `shown` (n, v, v) logits differ from `target` (n, v, v) bool."""
    count, size = target.shape[:2]
    error = (shown > 0) != target
    error = torch.where(error.flatten(1).any(1)[:, None, None], error, target)
    place = worst_place(error, random)
    at = torch.stack([place // size, place % size], 1).float()
    angle = torch.rand(count, 1, generator=random).to(at.device) * 6.283
    reach = torch.rand(count, 1, generator=random).to(at.device) * size * 0.25
    is_stroke = torch.rand(count, 1, generator=random).to(at.device) < 0.15
    along = torch.linspace(-1, 1, 7, device=at.device)[None] * reach * is_stroke
    positions = at[:, None] + torch.stack([along * angle.cos(), along * angle.sin()], 2)
    pixel = positions.round().long().clamp(0, size - 1)
    present = error.flatten(1).gather(1, pixel[:, :, 0] * size + pixel[:, :, 1])
    mark = marks(positions, present.float(), size)
    positive = target.flatten(1).gather(1, place[:, None])[:, :, None].float()
    keep = (torch.rand(count, 1, 1, generator=random).to(at.device) > 0.1).float()
    plus = torch.maximum(prompts[:, 0], mark * positive)
    minus = torch.maximum(prompts[:, 1], mark * (1 - positive))
    return torch.stack([plus, minus, (torch.sigmoid(shown) - 0.5) * keep], 1)


def best(logits: Tensor, quality: Tensor) -> Tensor:
    """The candidate of the highest quality, (n, v, v)."""
    return logits[torch.arange(len(logits)), quality.argmax(1)]
