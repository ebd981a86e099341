"""What the network of the `starter` is trained for: good first answers, and answers that corrections make better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from napari_medsam.models.finetune.clicks import best, correct
from napari_medsam.models.finetune.samples import Batch
from napari_medsam.models.starter_network import StarterNetwork


@dataclass
class Samples:
    """A batch as tensors on the device."""

    view: Tensor
    target: Tensor
    inside: Tensor
    has_box: Tensor
    start: Tensor

    @classmethod
    def of(cls, batch: Batch, device: str) -> Samples:
        """From uint8 arrays."""

        def put(values: NDArray[np.uint8]) -> Tensor:
            return torch.from_numpy(values).to(device).float() / 255

        flag = torch.from_numpy(batch.has_box).to(device)
        flags = flag.float()[:, None, None].expand(-1, *batch.views.shape[1:])
        inside = put(batch.inside)
        view = torch.stack([put(batch.views), inside, put(batch.boxes), flags], 1)
        has_mask = torch.from_numpy(batch.has_mask).to(device)[:, None, None]
        return cls(view, put(batch.targets), inside, flag, (put(batch.given) - 0.5) * has_mask)


def first_prompts(samples: Samples, random: torch.Generator) -> Tensor:
    """The box and the given mask, if any; one positive click where there is no box, and sometimes beside one."""
    count, size = samples.target.shape[:2]
    empty = torch.zeros(count, 3, size, size, device=samples.target.device)
    empty[:, 2] = samples.start
    nothing = torch.where(samples.start > 0, 9.0, -9.0)
    clicked = correct(empty, nothing, samples.target > 0.5, random)
    clicked[:, 2] = samples.start
    wanted = ~samples.has_box | (torch.rand(count, generator=random).to(empty.device) < 0.07)
    return torch.where(wanted[:, None, None, None], clicked, empty)


def mask_losses(logits: Tensor, target: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and true Dice of every candidate, (n, k) each: of (n, k, v, v) logits for (n, v, v) targets, 0 to 1.

    What lies outside the plane, where the (n, v, v) `inside` is 0, does not count.
    """
    target, weight = target[:, None], inside[:, None]
    cross = functional.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none")
    area = (target * weight).sum((2, 3)).clamp(min=4)
    cross = (cross * weight).sum((2, 3)) / (area + 0.25 * weight.sum((2, 3)))
    soft = torch.sigmoid(logits) * weight
    overlap = 2 * (soft * target).sum((2, 3)) / (soft.sum((2, 3)) + area)
    hard, truth = (logits > 0) & (weight > 0.5), (target > 0.5) & (weight > 0.5)
    both = (hard & truth).sum((2, 3))
    true = 2 * both / (hard.sum((2, 3)) + truth.sum((2, 3))).clamp(min=1)
    return cross + 1 - overlap, true


def total_loss(logits: Tensor, quality: Tensor, samples: Samples) -> tuple[Tensor, Tensor]:
    """Loss of a batch: the first candidate always, the better of the others, and the judgement of all."""
    losses, true = mask_losses(logits, samples.target, samples.inside)
    others = losses[:, 1:]
    judged = functional.binary_cross_entropy_with_logits(quality.float(), true.float())
    loss = losses[:, 0].mean() + 0.5 * others.amin(1).mean() + 0.05 * others.mean() + 0.5 * judged
    return loss, true


def rounds(network: StarterNetwork, samples: Samples, random: torch.Generator) -> tuple[Tensor, dict[str, float]]:
    """Loss over the first answer to all samples and a later one, after some corrections, to half of them."""
    features = network.encode(samples.view)
    start = first_prompts(samples, random)
    half = (len(start) + 1) // 2
    part: Any = tuple(f[:half].detach() for f in features)
    prompts = start[:half]
    mode = network.decoder.training
    network.decoder.eval()
    with torch.no_grad():
        for _ in range(int(torch.randint(1, 4, (1,), generator=random))):
            logits, quality = network.decode(part, prompts)
            prompts = correct(prompts, best(logits, quality), samples.target[:half] > 0.5, random)
    network.decoder.train(mode)
    twice: Any = tuple(torch.cat([f, f[:half]]) for f in features)
    logits, quality = network.decode(twice, torch.cat([start, prompts]))
    target, inside = (torch.cat([t, t[:half]]) for t in (samples.target, samples.inside))
    every = Samples(samples.view, target, inside, samples.has_box, samples.start)
    loss, true = total_loss(logits, quality, every)
    chosen = true.gather(1, quality.argmax(1)[:, None])[:, 0]
    boxed = samples.has_box & ~(samples.start != 0).flatten(1).any(1)
    count = len(start)
    numbers = {
        "loss": float(loss.detach()),
        "box": float(true[:count, 0][boxed].mean()),
        "chosen": float(chosen[:count][boxed].mean()),
        "oracle": float(true[:count].amax(1)[boxed].mean()),
        "clicks": float(chosen[count:].mean()),
    }
    return loss, numbers
