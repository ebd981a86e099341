"""SAMed's weights: SAM's encoder brought to a smaller input, and low-rank changes added to it and to the decoder."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn import functional

from napari_medsam.models.checkpoints.refusal import refused, some
from napari_medsam.models.lora import STEP, Factors, State, Tensors, add, encoder_factors
from napari_medsam.models.sam_encoder import EncoderConfig

ENCODER = "image_encoder."
HEADS = ("prompt_encoder.", "mask_decoder.")
TRANSFORMER = "mask_decoder.transformer."

ATTENTIONS = {"sa": "self_attn", "cti": "cross_attn_token_to_image", "cit": "cross_attn_image_to_token"}
"""What SAMed_s calls the changes of an attention of the decoder's layers, and what SAM calls that attention."""

LAYERS = 2
"""Of SAM's decoder."""


def encoder_at_size(base: Tensors, config: EncoderConfig) -> State:
    """SAM's encoder, without the prefix, for inputs of `config.size`.

    Positions, and the relative positions of the blocks that see the whole grid, are interpolated bilinearly (the table
    of one axis as if it were a picture), as SAMed's `build_sam.py` does.
    """
    tables = [f"{ENCODER}blocks.{block}.attn.rel_pos_{axis}" for block in config.global_blocks for axis in "hw"]
    base.require([f"{ENCODER}pos_embed", *tables, *(ENCODER + factor.weight for factor in encoder_factors(config))])
    state = base.under(ENCODER)
    places = state[f"{ENCODER}pos_embed"]
    if tuple(places.shape[1:3]) != (config.grid, config.grid):
        square = (config.grid, config.grid)
        state[f"{ENCODER}pos_embed"] = _resized(places.permute(0, 3, 1, 2), square).permute(0, 2, 3, 1)
        for name in tables:
            shape = (2 * config.grid - 1, state[name].shape[1])
            state[name] = _resized(state[name][None, None], shape)[0, 0]
    return {name.removeprefix(ENCODER): values for name, values in state.items()}


def merged(config: EncoderConfig, changes: Tensors, base: Tensors) -> tuple[State, State]:
    """The encoder's weights, without their prefix, and those of the heads, with theirs.

    Raises
    ------
    CheckpointError
        What is needed is missing or does not fit, or a file of changes holds more than changes and heads.
    """
    encoder = encoder_at_size(base, config)
    factors = list(encoder_factors(config))
    add(encoder, factors, changes)
    known = {name for factor in (*factors, *decoder_factors()) for name in (factor.first, factor.last)}
    unknown = [name for name in changes.tensors if name not in known and not name.startswith(HEADS)]
    if unknown:
        raise refused(changes.path, changes.what, f"more: {some(unknown)}", STEP)
    return encoder, heads_of(changes, base)


def heads_of(changes: Tensors, base: Tensors) -> State:
    """The prompt encoder and the mask decoder, with their prefixes.

    SAMed's files hold both. Those of SAMed_s lack the decoder's transformer: it is that of the base, with low-rank
    changes of its queries and values.
    """
    state = changes.under(*HEADS)
    factors = list(decoder_factors())
    if any(factor.first in changes.tensors for factor in factors):
        base.require([factor.weight for factor in factors])
        state |= base.under(TRANSFORMER)
        add(state, factors, changes)
    return state


def decoder_factors() -> Iterator[Factors]:
    """The changes of SAMed_s. Even numbers are queries, odd ones values, layer by layer."""
    for short, attention in ATTENTIONS.items():
        for number in range(2 * LAYERS):
            weight = f"{TRANSFORMER}layers.{number // 2}.{attention}.{'qv'[number % 2]}_proj.weight"
            yield Factors(weight, slice(None), f"{short}_a_{number:03d}", f"{short}_b_{number:03d}")
    for projection in "qv":
        weight = f"{TRANSFORMER}final_attn_token_to_image.{projection}_proj.weight"
        yield Factors(weight, slice(None), f"fati_{projection}a", f"fati_{projection}b")


def _resized(pictures: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """(b, channels, rows, columns) at another shape."""
    return functional.interpolate(pictures.float(), shape, mode="bilinear", align_corners=False)
