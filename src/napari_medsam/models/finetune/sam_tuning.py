"""Adapt a network with SAM's heads to examples: its mask decoder on features made once, or LoRA on its encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from napari_medsam.errors import UnsupportedError
from napari_medsam.models.finetune.examples import Example
from napari_medsam.models.finetune.lora import LowRank, add_lora
from napari_medsam.models.finetune.objective import mask_losses
from napari_medsam.models.finetune.people import Rng, click_in, drawn_box
from napari_medsam.models.finetune.settings import Report, Settings
from napari_medsam.models.sam_network import Rule, SamNetwork
from napari_medsam.models.sam_segmenter import SamSegmenter
from napari_medsam.prompts import Box, Point, PromptKind, Prompts

Embed = Callable[[Example], Tensor]
"""The features of an example's plane, (1, channels, grid, grid)."""

ONE_CLICK, BOX_AND_CLICK = 0.2, 0.2
"""Shares of the prompts where a model takes boxes and points; the others are boxes alone."""

WEIGHT_OF_SCORE = 0.2


class Answered(NamedTuple):
    """What the decoder says: logits, (1, k, m, m), and scores, (1, k), of the candidates that a family offers."""

    logits: Tensor
    scores: Tensor


@dataclass(frozen=True)
class Tuned:
    """A segmenter in training."""

    segmenter: SamSegmenter
    network: SamNetwork

    @classmethod
    def of(cls, segmenter: Any) -> Tuned:
        """Of a segmenter that stands on SAM's heads.

        Raises
        ------
        UnsupportedError
            It does not.
        """
        network = getattr(segmenter, "network", None)
        if not isinstance(segmenter, SamSegmenter) or not isinstance(network, SamNetwork):
            raise UnsupportedError(
                f"{segmenter.spec.title} cannot be fine-tuned here. Choose starter, or a model with SAM's own decoder: "
                "SAM, MedSAM, MobileSAM, LiteMedSAM, SAM-Med2D or SAMUS."
            )
        return cls(segmenter, network)

    def answer(self, features: Tensor, prompts: Prompts, shape: tuple[int, int]) -> Answered:
        """The candidates that the family offers: one for a box, where one is offered, several for a single click."""
        sparse, dense = self.network.prompted(self.segmenter.in_frame(prompts, shape))
        logits, scores = self.network.mask_decoder.predict_masks(
            image_embeddings=features,
            image_pe=self.network.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
        )
        alone = prompts.box is None and len(prompts.points) == 1
        several = self.network.rule is Rule.BEST or (self.network.rule is Rule.SAM and alone)
        part = slice(1, None) if several else slice(1)
        return Answered(logits[:, part], scores[:, part])

    def corrected(self, example: Example, features: Tensor, prompts: Prompts, rng: Rng) -> Prompts:
        """The prompts with one more click, where the answer to them is wrong."""
        with torch.no_grad():
            found = self.answer(features, prompts, example.mask.shape)
        best = int(found.scores[0].argmax())
        shown = self.segmenter.frame.restore(found.logits[0, best : best + 1].cpu().numpy(), example.mask.shape)[0]
        error = shown != example.mask
        row, column = click_in(error if error.any() else example.mask, rng)
        click = Point(float(row), float(column), bool(example.mask[row, column]))
        return replace(prompts, points=(*prompts.points, click))

    def target(self, example: Example) -> tuple[Tensor, Tensor]:
        """The mask on the decoder's grid and where the plane is on it, (1, m, m) each, 0 to 1."""
        whole = np.ones_like(example.mask)
        none, mask, plane = (self.segmenter.frame.mask(m) for m in (~whole, example.mask, whole))
        low, high = float(none.min()), float(plane.max())
        share, inside = (
            torch.from_numpy((m - low) / (high - low))[None].to(self.network.device) for m in (mask, plane)
        )
        return share, inside


def tune_decoder(segmenter: Any, examples: Sequence[Example], settings: Settings, report: Report) -> dict[str, Tensor]:
    """Train the mask decoder in place; its tensors by the names of SAM's own files."""
    tuned = Tuned.of(segmenter)
    decoder = tuned.network.mask_decoder.requires_grad_(True)
    train(tuned, list(decoder.parameters()), examples, settings, report, _made_once(tuned))
    decoder.requires_grad_(False)
    tuned.network.renew()
    return {f"mask_decoder.{name}": values.detach() for name, values in decoder.state_dict().items()}


def tune_lora(segmenter: Any, examples: Sequence[Example], settings: Settings, report: Report) -> list[LowRank]:
    """Train low-rank changes of the encoder in place; what a block computed is computed anew on the way back."""
    tuned = Tuned.of(segmenter)
    torch.manual_seed(settings.seed)
    changes = add_lora(tuned.network.encoder)
    encoder: Any = tuned.network.encoder.to(tuned.network.device)
    for block in encoder.blocks:
        block.forward = _anew(block.forward)

    def embed(example: Example) -> Tensor:
        image = torch.from_numpy(tuned.segmenter.frame.image(example.plane))[None].to(tuned.network.device)
        features: Tensor = encoder(image.requires_grad_(True))
        return features

    train(tuned, [p for c in changes for p in (*c.first, *c.last)], examples, settings, report, embed)
    return changes


def train(
    tuned: Tuned,
    parameters: list[torch.nn.Parameter],
    examples: Sequence[Example],
    settings: Settings,
    report: Report,
    embed: Embed,
) -> None:
    """Adjust some parameters of the network, in place."""
    rng = np.random.default_rng(settings.seed)
    optimiser = torch.optim.AdamW(parameters, lr=settings.rate, betas=(0.9, 0.98), weight_decay=0.01)
    smooth = 0.0
    for step in range(settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = settings.rate_at(step)
        optimiser.zero_grad()
        total = 0.0
        for i in rng.integers(len(examples), size=settings.batch):
            loss = loss_of(tuned, examples[int(i)], embed, rng) / settings.batch
            torch.autograd.backward(loss)
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        smooth = total if step == 0 else 0.9 * smooth + 0.1 * total
        report(step + 1, settings.steps, smooth)


def loss_of(tuned: Tuned, example: Example, embed: Embed, rng: Rng) -> Tensor:
    """Of the answer to prompts as a person gives them: the best candidate, and the scores of all."""
    features = embed(example)
    prompts = prompts_for(tuned, example, features.detach(), rng)
    found = tuned.answer(features, prompts, example.mask.shape)
    target, inside = tuned.target(example)
    losses, dice = mask_losses(found.logits, target, inside)
    overlap = dice / (2 - dice)  # the scores of these families estimate the overlap as intersection over union
    return losses.amin() + WEIGHT_OF_SCORE * functional.mse_loss(found.scores, overlap)


def prompts_for(tuned: Tuned, example: Example, features: Tensor, rng: Rng) -> Prompts:
    """A box, a click, or a box and a click that corrects, as far as the model takes them."""
    takes = tuned.segmenter.spec.prompts
    kind = rng.random()
    row0, column0, row1, column1 = drawn_box(example.mask, rng)
    box = Prompts(Box(int(row0), int(column0), int(row1), int(column1)))
    if PromptKind.POINT not in takes:
        return box
    if PromptKind.BOX not in takes or kind < ONE_CLICK:
        row, column = click_in(example.mask, rng)
        return Prompts(points=(Point(float(row), float(column)),))
    return tuned.corrected(example, features, box, rng) if kind < ONE_CLICK + BOX_AND_CLICK else box


def _made_once(tuned: Tuned) -> Embed:
    """Features of each plane, encoded when it is first needed and kept."""
    kept: dict[tuple[tuple[int, ...], bytes], Tensor] = {}

    def embed(example: Example) -> Tensor:
        key = (example.plane.shape, example.plane.tobytes())
        if key not in kept:
            found = tuned.network.embed(tuned.segmenter.frame.image(example.plane))["image"]
            kept[key] = torch.from_numpy(np.array(found, dtype=np.float32))
        return kept[key].to(tuned.network.device)

    return embed


def _anew(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.as_tensor(checkpoint(forward, x, use_reentrant=False))
