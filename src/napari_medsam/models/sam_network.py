"""An image encoder with SAM's prompt encoder and mask decoder, from the `segment-anything` package's own modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from torch import nn

from napari_medsam.models.batch_room import BatchRoom
from napari_medsam.models.compute import Compute, device_of, kept_of, precision_of, tensor_of
from napari_medsam.models.frame import InputPrompts
from napari_medsam.models.lean_decoder import MOST_PROMPTS, LeanDecoder, is_plain
from napari_medsam.models.precision import lower, products_in
from napari_medsam.models.resident import Resident
from napari_medsam.models.sam_segmenter import Answer

WIDTH = 256
"""Channels of SAM's embedding."""


class Rule(Enum):
    """Which of the decoder's masks, mostly four, a family offers, and which one the original would show."""

    SAM = "all four; the best of the last three for a single point, else the first"
    SINGLE = "the first only: the others were not trained"
    BEST = "the last three, the best of them by its score"
    ALL = "all of them, one a class; the first"


class Heads(NamedTuple):
    """SAM's prompt encoder and mask decoder."""

    prompt_encoder: Any
    mask_decoder: Any


def sam_heads(input_size: int, grid: int, mask_tokens: int = 3, width: int = WIDTH) -> Heads:
    """Heads without weights for inputs of `input_size` pixels that are encoded on `grid` x `grid` cells.

    The mask prompt is then of 4 `grid` a side, and so are the decoder's logits.
    """
    prompt_encoder = PromptEncoder(
        embed_dim=width, image_embedding_size=(grid, grid), input_image_size=(input_size, input_size), mask_in_chans=16
    )
    transformer = TwoWayTransformer(depth=2, embedding_dim=width, mlp_dim=2048, num_heads=8)
    mask_decoder = MaskDecoder(
        num_multimask_outputs=mask_tokens,
        transformer=transformer,
        transformer_dim=width,
        iou_head_depth=3,
        iou_head_hidden_dim=256,
    )
    return Heads(prompt_encoder, mask_decoder)


class SamNetwork:
    """A `Network` (see `sam_segmenter`) of an encoder and SAM's heads.

    The encoder's products may run in lower precision, see `precision`; the heads run in float32.

    Parameters
    ----------
    encoder : nn.Module
        (1, channels, size, size) to (1, WIDTH, grid, grid).
    heads : Heads
    rule : Rule
    compute : Compute

    Attributes
    ----------
    kept : torch.dtype
        The type in which features are kept.
    """

    def __init__(self, encoder: nn.Module, heads: Heads, rule: Rule, compute: Compute) -> None:
        self.device = device_of(compute)
        self.kept = kept_of(compute)
        self._resident = Resident.on(self.device)
        self._room = BatchRoom(self.device)
        self.precision = precision_of(compute, self.device)
        self.encoder = encoder.to(dtype=torch.float32).eval().requires_grad_(False)
        lower(self.encoder, self.precision)
        self.encoder.to(self.device)
        self.prompt_encoder, self.mask_decoder = (
            head.to(device=self.device, dtype=torch.float32).eval().requires_grad_(False) for head in heads
        )
        self.rule = rule
        self._lean: LeanDecoder | None = None

    def embed(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
        """{"image": (1, WIDTH, grid, grid)}, in the type `kept`; it stays on the device as well while there is room."""
        with self._room.measured():
            return self.embed_batch([image])[0]

    @property
    def batch(self) -> int:
        """How many inputs the device gains from at once."""
        return self._room.size

    def embed_batch(self, images: Sequence[NDArray[np.float32]]) -> list[dict[str, NDArray[np.generic]]]:
        """What `embed` gives, of several inputs at once."""
        with torch.inference_mode(), products_in(self.precision, self.device):
            found = self.encoder(tensor_of(np.stack(images)).to(self.device)).to(self.kept)
            return [{"image": self._resident.brought(one)} for one in found.split(1)]

    def answer(self, features: Mapping[str, NDArray[np.generic]], prompts: InputPrompts) -> Answer:
        """Masks by the family's rule."""
        logits, scores = self.everything(features, prompts)
        if self.rule is Rule.SINGLE:
            return Answer(logits[:1], scores[:1])
        if self.rule is Rule.BEST:
            return Answer(logits[1:], scores[1:], int(scores[1:].argmax()))
        if self.rule is Rule.ALL:
            return Answer(logits, scores)
        alone = prompts.box is None and prompts.mask is None and len(prompts.points) == 1
        return Answer(logits, scores, 1 + int(scores[1:].argmax()) if alone else 0)

    def everything(
        self, features: Mapping[str, NDArray[np.generic]], prompts: InputPrompts
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits of all mask tokens, (t, 4 grid, 4 grid), and their scores, (t,)."""
        with torch.inference_mode():
            sparse, dense = self.prompted(prompts)
            image = self._resident.of(features["image"]).to(torch.float32)
            logits, scores = self._masks(image, sparse, dense)
            return logits.cpu().numpy(), scores.cpu().numpy()

    def renew(self) -> None:
        """Take up weights of the decoder that were changed in place, as by training."""
        self._lean = None

    def prompted(self, prompts: InputPrompts) -> tuple[Any, Any]:
        """The prompt encoder's sparse and dense embeddings."""

        def there(values: NDArray[Any]) -> torch.Tensor:
            return tensor_of(values)[None].to(self.device)

        points = (there(prompts.points), there(prompts.labels)) if len(prompts.points) else None
        box = None if prompts.box is None else there(prompts.box)
        mask = None if prompts.mask is None else there(prompts.mask[None])
        sparse, dense = self.prompt_encoder(points=points, boxes=box, masks=mask)
        return sparse, dense

    def _masks(self, image: torch.Tensor, sparse: torch.Tensor, dense: torch.Tensor) -> tuple[Any, Any]:
        """Logits of all mask tokens, (t, 4 grid, 4 grid), and their scores, (t,)."""
        if is_plain(self.mask_decoder) and sparse.shape[1] <= MOST_PROMPTS:
            if self._lean is None:
                self._lean = LeanDecoder(self.mask_decoder, self.prompt_encoder.get_dense_pe())
            return self._lean.predict_masks(image, sparse, dense)
        logits, scores = self.mask_decoder.predict_masks(
            image_embeddings=image,
            image_pe=self.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
        )
        return logits[0], scores[0]
