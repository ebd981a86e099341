"""SAM 2's memory in its own frame: what is kept of a plane and of an object on it, and how it finds the object again.

The modules are those of transformers' Sam2VideoModel, found by their names here and in `sam2_attention` only. Its own
session is not used: it keeps the pixels of all planes, encodes them itself, and looks at one object after another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional
from transformers.models.sam2_video.modeling_sam2_video import get_1d_sine_pe

from napari_medsam.errors import ModelError
from napari_medsam.models.frame import FloatArray, InputPrompts
from napari_medsam.models.frame_sam2 import MASK_OFFSET, MASK_SCALE
from napari_medsam.models.sam2_attention import MemoryAttention, Remembered
from napari_medsam.models.sam2_bank import POINTERS, Recalled
from napari_medsam.models.sam2_network import NO_OBJECT, Sam2Network
from napari_medsam.models.sam_segmenter import Features

CHANNELS = 64
"""Of what is remembered of a place; a pointer is taken apart into tokens of as many."""


@dataclass(frozen=True)
class Memory:
    """What is kept of one object on one plane.

    Parameters
    ----------
    features : (g * g, 64) tensor
        bfloat16, as in the original.
    pointer : (256,) tensor
        The object as a whole.
    """

    features: torch.Tensor
    pointer: torch.Tensor


@dataclass(frozen=True)
class Sighting:
    """One object on one plane.

    Parameters
    ----------
    logits : (m, m) float32 array
        Of its mask; far below 0 everywhere where it is not there.
    score : float
        The estimated overlap of the mask with the truth.
    presence : float
        The logit that the object is there at all.
    memory : Memory
    """

    logits: FloatArray
    score: float
    presence: float
    memory: Memory


@dataclass(frozen=True)
class Heads:
    """What the mask decoder says of a batch of objects: masks (b, m, m), and a number or a vector of each."""

    logits: torch.Tensor
    scores: torch.Tensor
    presence: torch.Tensor
    pointers: torch.Tensor


class Sam2Memory:
    """The memory of a loaded SAM 2. Holds no object and no plane.

    Parameters
    ----------
    network : Sam2Network

    Raises
    ------
    ModelError
        The checkpoint holds no memory, or transformers keeps it under other names.
    """

    def __init__(self, network: Sam2Network) -> None:
        self._network = network
        self._model = network.model
        # float16 products are emulated on every CPU
        emulated = network.device.type == "cpu" and network.precision == torch.float16
        try:
            with torch.inference_mode():
                self._prepare(torch.float32 if emulated else network.precision)
        except AttributeError as error:
            raise ModelError(
                f"These weights, or this version of transformers, lack a part of SAM 2's memory ({error}). Install the "
                "transformers that we ask for, and choose a file of weights for video, as the published .pt is."
            ) from error

    def _prepare(self, precision: torch.dtype) -> None:
        model, device = self._model, self._network.device
        self._attention = MemoryAttention(model.memory_attention, precision)
        side = model.config.image_size // 16
        shape = torch.Size((1, model.hidden_dim, side, side))
        seen = model.vision_encoder.neck.position_encoding(shape, device, torch.float32)
        kept = model.memory_encoder.position_encoding(torch.Size((1, CHANNELS, side, side)), device, torch.float32)
        self._position, where = seen[0].flatten(1).T.contiguous(), kept[0].flatten(1).T
        when = model.memory_temporal_positional_encoding[:, 0]
        self._place = when.roll(1, 0) + where  # slot 0, a prompted slice, has the last of them
        nothing = torch.zeros(1, 1, 1, 2, device=device), -torch.ones(1, 1, 1, dtype=torch.int64, device=device)
        self._unprompted = model.prompt_encoder(*nothing, None, None)

    @torch.inference_mode()
    def prompted(self, features: Features, prompts: InputPrompts) -> Sighting:
        """Find an object on a plane by prompts; which mask is chosen is the rule of the image path."""
        fine, middle, image = self._features(features)
        sparse, dense = self._network.prompted(prompts)
        several = prompts.box is None and prompts.mask is None and len(prompts.points) == 1
        heads = self._heads(image, (fine, middle), (sparse, dense), several=several)
        high = self._enlarged(heads.logits)
        return self._sightings(image, heads, (high > 0).float())[0]

    @torch.inference_mode()
    def shown(self, features: Features, truth: FloatArray) -> Sighting:
        """Take a mask as the truth on a plane, 0 and 1, (size, size)."""
        fine, middle, image = self._features(features)
        mask = self._network.there(truth)[None, None]
        dense = self._model.prompt_encoder.mask_embed(self._model.mask_downsample(mask))
        plane = image - self._model.no_memory_embedding.reshape(1, -1, 1, 1)
        heads = self._heads(plane, (fine, middle), (self._unprompted[0], dense), several=False)
        logits = mask * MASK_SCALE + MASK_OFFSET
        small = functional.interpolate(logits, heads.logits.shape[-2:], mode="bilinear", antialias=True)
        certain = torch.full_like(heads.presence, MASK_SCALE + MASK_OFFSET)
        known = Heads(small[:, 0], torch.ones_like(heads.scores), certain, heads.pointers)
        return self._sightings(image, known, (self._enlarged(known.logits) > 0).float())[0]

    @torch.inference_mode()
    def followed(self, features: Features, recalled: Sequence[Recalled[Memory]], planes: int) -> list[Sighting]:
        """Find several objects on a plane by what is remembered of each, in a stack of so many planes."""
        fine, middle, image = self._features(features)
        memories = [self._looked_back(one, planes) for one in recalled]
        plane = image[0].flatten(1).T - self._model.no_memory_embedding[0]
        tokens = self._attention(plane, self._position, memories)
        looked = tokens.transpose(1, 2).reshape(-1, *image.shape[1:])
        sparse, dense = self._unprompted
        several = sparse.expand(len(recalled), -1, -1, -1), dense
        heads = self._heads(looked, (fine, middle), several, several=True)
        return self._sightings(image, heads, self._enlarged(heads.logits).sigmoid())

    def _features(self, features: Features) -> list[torch.Tensor]:
        return [self._network.resident(features[name]) for name in ("feat_s0", "feat_s1", "image")]

    def _looked_back(self, recalled: Recalled[Memory], planes: int) -> Remembered:
        values = [one.features.float() for _, one in recalled.slices]
        keys = [one + self._place[slot] for one, (slot, _) in zip(values, recalled.slices, strict=True)]
        if recalled.pointers:
            pointers = torch.stack([one.pointer for _, one in recalled.pointers]).reshape(-1, CHANNELS)
            values.append(pointers)
            keys.append(pointers + self._time([back for back, _ in recalled.pointers], planes))
        tokens = len(values[-1]) if recalled.pointers else 0
        return Remembered(torch.cat(values), torch.cat(keys), tokens)

    def _time(self, back: Sequence[int], planes: int) -> torch.Tensor:
        """What tells how far back pointers lie, (4 * k, 64); SAM 2.0 does not tell."""
        model, tokens = self._model, self._model.hidden_dim // CHANNELS
        if not model.config.enable_temporal_pos_encoding_for_object_pointers:
            return torch.zeros(tokens * len(back), CHANNELS, device=self._network.device)
        part = torch.tensor(back, device=self._network.device) / max(1, min(planes, POINTERS) - 1)
        waves: Callable[..., torch.Tensor] = get_1d_sine_pe
        told: torch.Tensor = model.temporal_positional_encoding_projection_layer(waves(part, model.hidden_dim))
        return told.repeat_interleave(tokens, dim=0)

    def _heads(
        self,
        image: torch.Tensor,
        finer: tuple[torch.Tensor, torch.Tensor],
        prompts: tuple[torch.Tensor, torch.Tensor],
        *,
        several: bool,
    ) -> Heads:
        """The mask decoder for a batch of objects: one mask of each, by estimated overlap if there are several."""
        logits, scores, tokens, presence = self._model.mask_decoder(
            image_embeddings=image,
            image_positional_embeddings=self._network.positions,
            sparse_prompt_embeddings=prompts[0],
            dense_prompt_embeddings=prompts[1],
            multimask_output=several,
            high_resolution_features=list(finer),
        )
        batch, best = torch.arange(len(image), device=image.device), scores[:, 0].argmax(-1)
        there = presence[:, 0] > 0
        masks = torch.where(there[..., None], logits[batch, 0, best], NO_OBJECT)
        pointers = self._model.object_pointer_proj(tokens[batch, 0, best])
        pointers = torch.where(there, pointers, self._model.no_object_pointer)
        return Heads(masks, scores[batch, 0, best], presence[:, 0, 0], pointers)

    def _enlarged(self, logits: torch.Tensor) -> torch.Tensor:
        """(objects, m, m) to (objects, 1, 4m, 4m)."""
        return functional.interpolate(logits[:, None], scale_factor=4.0, mode="bilinear", align_corners=False)

    def _sightings(self, image: torch.Tensor, heads: Heads, masks: torch.Tensor) -> list[Sighting]:
        """What was found, with what to keep of it; `masks` of 0 to 1, (objects, 1, size, size)."""
        plane = image - self._model.no_memory_embedding.reshape(1, -1, 1, 1)
        with self._network.reduced():
            kept, _ = self._model.memory_encoder(plane.expand(len(masks), -1, -1, -1), masks * MASK_SCALE + MASK_OFFSET)
        kept = kept.float()
        hidden = self._model.occlusion_spatial_embedding_parameter
        if hidden is not None:
            kept = kept + (heads.presence <= 0)[:, None, None, None] * hidden[..., None, None]
        kept = kept.to(torch.bfloat16).flatten(2).transpose(1, 2)
        answers = zip(heads.logits.cpu().numpy(), heads.scores.tolist(), heads.presence.tolist(), strict=True)
        # copies: a view would keep the whole batch alive
        memories = [Memory(one.contiguous(), p.clone()) for one, p in zip(kept, heads.pointers, strict=True)]
        return [Sighting(*answer, memory) for answer, memory in zip(answers, memories, strict=True)]
