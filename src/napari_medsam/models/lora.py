"""Low-rank changes of a network's weights (LoRA), in the order of names that SAMed began: added to the weights once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from napari_medsam.models.checkpoints.refusal import refused, some
from napari_medsam.models.sam_encoder import VIT_B, VIT_H, VIT_L, EncoderConfig

State = dict[str, torch.Tensor]

STEP = "Choose the file that belongs to this model, or another model."


@dataclass(frozen=True)
class Tensors:
    """Tensors by name, and the file that they come from, for messages.

    Parameters
    ----------
    tensors : mapping of str to Tensor
    path : Path
    what : str
        What the file should hold, as in "the base of SAMed, SAM ViT-B".
    """

    tensors: Mapping[str, torch.Tensor]
    path: Path
    what: str

    def under(self, *prefixes: str) -> State:
        """Those whose names begin with one of the prefixes."""
        return {name: values for name, values in self.tensors.items() if name.startswith(prefixes)}

    def require(self, names: list[str]) -> None:
        """Raise CheckpointError unless all these names are there."""
        missing = [name for name in names if name not in self.tensors]
        if missing:
            raise refused(self.path, self.what, f"a file without {some(missing)}", STEP)


class Factors(NamedTuple):
    """A low-rank change: some rows of the tensor `weight` get `last` @ `first` added, (out, rank) @ (rank, in)."""

    weight: str
    rows: slice
    first: str
    last: str


def encoder_factors(config: EncoderConfig, prefix: str = "") -> Iterator[Factors]:
    """The changes of SAM's encoder: of the queries, the first rows of a block's `qkv`, and of the values, the last.

    Even numbers are queries, odd ones values, block by block. `prefix` is what the encoder's weights begin with.
    """
    for block in range(config.depth):
        weight = f"{prefix}blocks.{block}.attn.qkv.weight"
        for number, rows in ((2 * block, slice(config.width)), (2 * block + 1, slice(-config.width, None))):
            yield Factors(weight, rows, f"w_a_{number:03d}", f"w_b_{number:03d}")


def add(state: State, factors: Sequence[Factors], changes: Tensors) -> None:
    """Put changed weights, in float32, in the place of those in `state`; the old ones stay as they are.

    Raises
    ------
    CheckpointError
        A factor is missing, or does not fit its weight.
    """
    changes.require([name for factor in factors for name in (factor.first, factor.last)])
    for weight in {factor.weight for factor in factors}:
        state[weight] = state[weight].to(torch.float32, copy=True)
    for factor in factors:
        first, last = (changes.tensors[name].float() for name in (factor.first, factor.last))
        part = state[factor.weight][factor.rows]
        if (*last.shape, *first.shape) != (part.shape[0], first.shape[0], first.shape[0], part.shape[1]):
            shapes = f"{list(last.shape)} and {list(first.shape)} for a weight of {list(part.shape)}"
            raise refused(changes.path, changes.what, f"{factor.last} and {factor.first} of {shapes}", STEP)
        part += last @ first


def encoder_of(changes: Tensors) -> EncoderConfig:
    """Which of SAM's encoders the changes are for, by its width and their number.

    Raises
    ------
    CheckpointError
        They are for none of them.
    """
    names = [name for name in changes.tensors if name.startswith("w_a_")]
    width = changes.tensors[names[0]].shape[-1] if names else 0
    for config in (VIT_B, VIT_L, VIT_H):
        if (width, len(names)) == (config.width, 2 * config.depth):
            return config
    found = f"{len(names)} changes of width {width}"
    raise refused(changes.path, f"{changes.what}, two for each block of SAM ViT-B, L or H", found, STEP)
