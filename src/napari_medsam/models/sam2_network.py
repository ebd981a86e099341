"""SAM 2 as an image model, on transformers' Sam2VideoModel: what is loaded can also follow an object through a volume.

Importing transformers takes seconds, so only a backend that loads a model imports this module. Nothing is fetched here.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers.models.sam2.configuration_sam2 import Sam2HieraDetConfig, Sam2VisionConfig
from transformers.models.sam2_video.configuration_sam2_video import (
    Sam2VideoConfig,
    Sam2VideoMaskDecoderConfig,
    Sam2VideoPromptEncoderConfig,
)
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel

from napari_medsam.errors import ModelError
from napari_medsam.models.batch_room import BatchRoom
from napari_medsam.models.compute import Compute, device_of, kept_of, precision_of, tensor_of
from napari_medsam.models.frame import InputPrompts
from napari_medsam.models.products import make_products
from napari_medsam.models.resident import Resident
from napari_medsam.models.sam_segmenter import Answer, Features

MASKS = 4
"""What the decoder answers: one mask for clear prompts, then three for ambiguous ones."""

STABLE_WITHIN, STABLE_ABOVE = 0.05, 0.98
"""The first mask is stable when so much of it stays between these logits (dynamic_multimask_* in sam2/build_sam.py)."""

BOX_LABELS = (2, 3)
"""SAM 2 takes a box as two points of these labels."""

NO_OBJECT = -1024.0
"""The logit of every pixel where the object is not there (NO_OBJ_SCORE in sam2/modeling/sam2_base.py)."""

MEMORY_MODULES = ("memory_attention", "memory_encoder", "mask_downsample", "object_pointer_proj")
MEMORY_PARAMETERS = ("no_memory_positional_encoding", "memory_temporal_positional_encoding", "no_object_pointer")


class Rule(Enum):
    """What the original would show.

    All four masks are kept. Preferred is the best of the last three for a single point, else the first if it is stable.
    """

    IMAGE = "as SAM2ImagePredictor"
    FRAME = "as SAM2VideoPredictor on the frame of the prompts: nothing where it finds that the object is not there"


@dataclass(frozen=True)
class Sam2Config:
    """A SAM 2: its Hiera encoder, the size of its input, and what its checkpoint holds of the memory.

    Parameters
    ----------
    width, heads : int
        Channels and attention heads of the first stage; each stage has twice those of the one before.
    blocks : tuple of int
        Blocks of each stage.
    global_blocks : tuple of int
        Blocks whose attention spans the whole grid.
    windows : tuple of int
        Side of the attention window of each stage, in tokens.
    background : int
        Side of the coarse positional embedding.
    size : int
        Side in pixels of the input.
    temporal : bool
        Whether the memory knows how far away a frame is and that an object is hidden: new in SAM 2.1.
    memory : bool
        Whether there is a memory at all; files made for transformers' Sam2Model have none.
    """

    width: int
    heads: int
    blocks: tuple[int, ...]
    global_blocks: tuple[int, ...]
    windows: tuple[int, ...] = (8, 4, 14, 7)
    background: int = 7
    size: int = 1024
    temporal: bool = True
    memory: bool = True

    @property
    def grid(self) -> int:
        """Side of the embedding."""
        return self.size // 16


def architecture(config: Sam2Config) -> Any:
    """A Sam2VideoModel with random weights, or with none on the meta device; without memory it lacks those modules."""
    parts = Sam2VideoConfig(
        vision_config=_vision(config),
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(image_size=config.size),
        mask_decoder_config=Sam2VideoMaskDecoderConfig(),
        image_size=config.size,
        memory_attention_rope_feat_sizes=[config.grid, config.grid],
        enable_temporal_pos_encoding_for_object_pointers=config.temporal,
        enable_occlusion_spatial_embedding=config.temporal,
    )
    model: Any = Sam2VideoModel(parts)
    if not config.memory:
        for name in (*MEMORY_MODULES, "temporal_positional_encoding_projection_layer"):
            delattr(model, name)
        for name in (*MEMORY_PARAMETERS, "occlusion_spatial_embedding_parameter"):
            setattr(model, name, None)
    return model


def _vision(config: Sam2Config) -> Any:
    stages = range(len(config.blocks))
    channels = [config.width << stage for stage in stages]
    backbone = Sam2HieraDetConfig(
        hidden_size=config.width,
        num_attention_heads=config.heads,
        image_size=[config.size, config.size],
        window_positional_embedding_background_size=[config.background, config.background],
        blocks_per_stage=list(config.blocks),
        embed_dim_per_stage=channels,
        num_attention_heads_per_stage=[config.heads << stage for stage in stages],
        window_size_per_stage=list(config.windows),
        global_attention_blocks=list(config.global_blocks),
    )
    return Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=channels[::-1],
        backbone_feature_sizes=[[config.grid * finer] * 2 for finer in (4, 2, 1)],
    )


def refresh(model: Any) -> None:
    """Make anew what no checkpoint holds, on a model that was built without numbers."""
    attention = getattr(model, "memory_attention", None)
    if attention is not None:
        attention.rotary_emb = type(attention.rotary_emb)(model.config)
        attention.position_ids = attention.precompute_positions(model.config)


class Sam2Network:
    """A `Network` (see `sam_segmenter`) of a SAM 2.

    Parameters
    ----------
    model : Sam2VideoModel
        Stays in float32; where less is asked for, the encoder runs under autocast, as in the originals, which keeps its
        norms and sums exact.
    rule : Rule
    compute : Compute

    Attributes
    ----------
    model : Sam2VideoModel
        For propagation: the same weights on the same device. Has a `memory_encoder` only if its checkpoint had one.
    device : torch.device
    precision : torch.dtype
    kept : torch.dtype
        The type in which features are kept.
    """

    def __init__(self, model: Any, rule: Rule, compute: Compute) -> None:
        self.device = device_of(compute)
        self.precision = precision_of(compute, self.device)
        self.kept = kept_of(compute)
        self._resident = Resident.on(self.device)
        self._room = BatchRoom(self.device)
        self.model: Any = model.to(device=self.device, dtype=torch.float32).eval().requires_grad_(False)
        make_products(self.model.vision_encoder.backbone)
        self.rule = rule
        self._decoder = copy.copy(self.model.mask_decoder)  # the same parameters
        self._decoder._dynamic_multimask_via_stability = lambda logits, scores: (logits, scores)

    def reduced(self) -> AbstractContextManager[Any]:
        """The precision of the encoder, for as long as the context lasts."""
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)

    def embed(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
        """{"feat_s0": (1, 32, 4g, 4g), "feat_s1": (1, 64, 2g, 2g), "image": (1, 256, g, g)} with `grid` g.

        In the type `kept`; they stay on the device as well while there is room.
        """
        with self._room.measured():
            return self.embed_batch([image])[0]

    @property
    def batch(self) -> int:
        """How many inputs the device gains from at once."""
        return self._room.size

    def embed_batch(self, images: Sequence[NDArray[np.float32]]) -> list[dict[str, NDArray[np.generic]]]:
        """What `embed` gives, of several inputs at once."""
        with torch.inference_mode():
            found = self.encoded(tensor_of(np.stack(images)).to(self.device))
            each = [{name: one[i : i + 1].to(self.kept) for name, one in found.items()} for i in range(len(images))]
            return [{name: self._resident.brought(one) for name, one in features.items()} for features in each]

    def encoded(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Features of (n, 3, size, size).

        Only the backbone runs reduced: it is nearly all of the work, and the rest would bring a third of the error.
        """
        neck, decoder = self.model.vision_encoder.neck, self.model.mask_decoder
        with self.reduced():
            stages = self.model.vision_encoder.backbone(pixels).intermediate_hidden_states
        fine, middle, coarse, coarsest = (stage.float() for stage in stages)
        above = functional.interpolate(neck.convs[0](coarsest.permute(0, 3, 1, 2)), scale_factor=2.0, mode="nearest")
        without_memory = self.model.no_memory_embedding.reshape(1, -1, 1, 1)
        return {
            "feat_s0": in_one(fine, neck.convs[3], decoder.conv_s0),
            "feat_s1": in_one(middle, neck.convs[2], decoder.conv_s1),
            "image": neck.convs[1](coarse.permute(0, 3, 1, 2)) + above + without_memory,
        }

    def answer(self, features: Features, prompts: InputPrompts) -> Answer:
        """Masks by the family's rule."""
        logits, scores, presence = self.everything(features, prompts)
        best = 1 + int(scores[1:].argmax())
        alone = prompts.box is None and prompts.mask is None and len(prompts.points) == 1
        chosen = best if alone or not stable(logits[0]) else 0
        if self.rule is Rule.FRAME and presence <= 0:
            note = "The model finds that this object is not on this plane."
            return Answer(np.full_like(logits, NO_OBJECT), scores, chosen, note)
        return Answer(logits, scores, chosen)

    def everything(
        self, features: Features, prompts: InputPrompts
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
        """Logits of all masks, (4, 4g, 4g), their scores, (4,), and the logit that the object is there at all."""
        with torch.inference_mode():
            sparse, dense = self.prompted(prompts)
            fine, middle, image = (self.resident(features[name]) for name in ("feat_s0", "feat_s1", "image"))
            logits, scores, _, presence = self._decoder(
                image_embeddings=image,
                image_positional_embeddings=self.positions,
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=False,
                high_resolution_features=[fine, middle],
            )
        if logits.shape[2] != MASKS:
            raise ModelError("This version of transformers hides masks of SAM 2. Install the one that we ask for.")
        return logits[0, 0].cpu().numpy(), scores[0, 0].cpu().numpy(), float(presence)

    def prompted(self, prompts: InputPrompts) -> tuple[torch.Tensor, torch.Tensor]:
        """The prompt encoder's sparse and dense embeddings: a box as two points before the clicks, then a padding."""
        at, labels = prompts.points, prompts.labels
        if prompts.box is not None:
            at = np.concatenate([prompts.box.reshape(2, 2), at])
            labels = np.concatenate([BOX_LABELS, labels])
        encoder = self.model.prompt_encoder
        sparse, dense = encoder(
            input_points=self.there(at)[None, None] if len(at) else None,
            input_labels=torch.from_numpy(labels)[None, None].to(self.device) if len(at) else None,
            input_boxes=None,
            input_masks=None if prompts.mask is None else self.there(prompts.mask)[None, None],
        )
        return torch.zeros(1, 1, 0, encoder.hidden_size, device=self.device) if sparse is None else sparse, dense

    @cached_property
    def positions(self) -> torch.Tensor:
        """Positional embedding of the grid, (1, 256, g, g)."""
        with torch.inference_mode():
            positions: torch.Tensor = self.model.get_image_wide_positional_embeddings()
            return positions

    def resident(self, values: NDArray[Any]) -> torch.Tensor:
        """An array of an embedding on the device, float32; its copy there is kept while there is room."""
        return self._resident.of(values).to(torch.float32)

    def there(self, values: NDArray[Any]) -> torch.Tensor:
        """An array as float32 on the device."""
        return tensor_of(values).to(device=self.device, dtype=torch.float32)


def in_one(tokens: torch.Tensor, first: Any, second: Any) -> torch.Tensor:
    """Two 1 x 1 convolutions of (1, rows, columns, c) as one, (1, d, rows, columns).

    The 256 channels between them would take 64 MB at 1024 pixels, and a tenth of the time of an encode.
    """
    outer = second.weight.flatten(1)
    weight, bias = outer @ first.weight.flatten(1), outer @ first.bias + second.bias
    return functional.linear(tokens, weight, bias).permute(0, 3, 1, 2)


def stable(logits: NDArray[np.float32]) -> bool:
    """Whether a mask stays nearly the same when its threshold is moved a little."""
    low, high = np.count_nonzero(logits > -STABLE_WITHIN), np.count_nonzero(logits > STABLE_WITHIN)
    return low == 0 or bool(np.float32(high) / np.float32(low) >= STABLE_ABOVE)
