"""SAM 2's attention to what it remembers, with the weights of transformers' modules and fewer products than they do.

The result is that of `Sam2VideoModel.memory_attention`. Three things make it cheaper, and change nothing but rounding:

- A memory has 64 channels and is widened to 256 before it is averaged. Averaging is linear, so it comes first here, on
  64 channels, and two matrices that follow each other are one.
- Half the channels of a rotary pair come first, then the other half: a rotation is then four products of whole rows.
  The order of channels is the same in queries and keys, so no product between them notices.
- On a CPU, products of bfloat16 are whole matrix products, a few rows of the plane at a time. torch's own attention is
  four times slower there in bfloat16 (measured on an AMD EPYC with AVX512-BF16).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

ROWS = 192
"""Tokens of the plane whose attention is made at a time on a CPU: as few as products are fast with, so that their
weights of attention (11 megabytes at 1024 pixels) need not leave its cache."""

POSITION = 0.1
"""What part of its positional embedding is added to a plane (pos_enc_at_input of the original)."""


@dataclass(frozen=True)
class Remembered:
    """What one object's memory holds for one plane.

    Parameters
    ----------
    values : (t, 64) tensor
        Of the slices remembered, g x g tokens each, then of the object pointers.
    keys : (t, 64) tensor
        The same, with what tells where and when.
    pointers : int
        How many tokens at the end are pointers, which have no place on the plane.
    """

    values: torch.Tensor
    keys: torch.Tensor
    pointers: int


@dataclass(frozen=True)
class Linear:
    """A linear layer of its own precision."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """(..., c) to (..., d), in the layer's precision."""
        return functional.linear(values.to(self.weight.dtype), self.weight, self.bias)


class MemoryAttention:
    """The layers of a Sam2VideoMemoryAttention, ready to run in a precision.

    Parameters
    ----------
    module : Sam2VideoMemoryAttention
        Of one head, as in every SAM 2.
    precision : torch.dtype
        Of its products; what is added up and normalised stays float32.
    """

    def __init__(self, module: Any, precision: torch.dtype) -> None:
        self._norm = module.layer_norm
        self._layers = [_Layer(layer, precision) for layer in module.layers]
        turn, turn_by = module.rotary_emb(module.layer_norm.weight, module.position_ids)
        self._turn = turn[0, :, 0::2].float(), turn_by[0, :, 0::2].float()

    def __call__(self, plane: torch.Tensor, position: torch.Tensor, memories: Sequence[Remembered]) -> torch.Tensor:
        """Features of a plane as each memory changes them.

        Parameters
        ----------
        plane : (n, c) tensor
            Its n tokens, row by row.
        position : (n, c) tensor
            Their positional embedding.
        memories : sequence of Remembered
            One an object.

        Returns
        -------
        (objects, n, c) tensor
        """
        tokens = (plane + POSITION * position)[None]
        tokens = self._layers[0].within(tokens, self._turn)  # the same for all objects, until they look back
        tokens = tokens.expand(len(memories), -1, -1)
        for number, layer in enumerate(self._layers):
            tokens = layer.within(tokens, self._turn) if number else tokens
            tokens = layer.across(tokens, memories, self._turn)
        return torch.as_tensor(self._norm(tokens))


class _Layer:
    """One Sam2VideoMemoryAttentionLayer."""

    def __init__(self, layer: Any, precision: torch.dtype) -> None:
        own, cross = layer.self_attn, layer.cross_attn_image
        self._norms = layer.layer_norm1, layer.layer_norm2, layer.layer_norm3
        self._activation = layer.activation
        self._own = [_paired(part, own.scaling**0.5, precision) for part in (own.q_proj, own.k_proj)]
        self._own_value = _followed(own.v_proj, own.o_proj, precision)
        self._query = _paired(cross.q_proj, cross.scaling, precision)
        self._key = _paired(cross.k_proj, 1.0, precision)
        self._value = _followed(cross.v_proj, cross.o_proj, precision)
        self._wide = Linear(layer.linear1.weight.to(precision), layer.linear1.bias.to(precision))
        self._narrow = Linear(layer.linear2.weight.to(precision), layer.linear2.bias.to(precision))

    def within(self, tokens: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Attention of a plane to itself."""
        given = self._norms[0](tokens)
        query, key = (_turned(part(given), turn) for part in self._own)
        value = self._own_value(given)
        return tokens + attended(query, list(key), list(value))

    def across(
        self, tokens: torch.Tensor, memories: Sequence[Remembered], turn: tuple[torch.Tensor, torch.Tensor]
    ) -> torch.Tensor:
        """Attention of a plane to each memory, and the layer's last step."""
        query = _turned(self._query(self._norms[1](tokens)), turn)
        keys = [self._keys(one, turn) for one in memories]
        tokens = tokens + self._value(attended(query, keys, [one.values.to(query.dtype) for one in memories]))
        return tokens + self._narrow(self._activation(self._wide(self._norms[2](tokens))))

    def _keys(self, memory: Remembered, turn: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        keys = self._key(memory.keys)
        placed = keys[: len(keys) - memory.pointers]
        for frame in placed.view(-1, len(turn[0]), keys.shape[-1]):
            frame.copy_(_turned(frame, turn))
        return keys


def attended(query: torch.Tensor, keys: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> torch.Tensor:
    """Attention of one head for each object: (b, n, c) to b times (t, c) and (t, d), (b, n, d). Queries are scaled."""
    if query.device.type == "cpu":
        return torch.stack([_by_rows(*one) for one in zip(query, keys, values, strict=True)])
    if len({len(key) for key in keys}) == 1:
        return _on_device(query, torch.stack(list(keys)), torch.stack(list(values)))
    one_by_one = zip(query, keys, values, strict=True)
    return torch.cat([_on_device(q[None], key[None], value[None]) for q, key, value in one_by_one])


def _on_device(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return functional.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None], scale=1.0)[:, 0]


def _by_rows(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    across, starts = key.T, range(0, len(query), ROWS)
    return torch.cat([(query[start : start + ROWS] @ across).softmax(-1) @ value for start in starts])


def _turned(values: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Rotary embedding of (..., n, c) whose first halves of pairs come first; in float32, as in the original."""
    first, second = values.float().chunk(2, -1)
    cosine, sine = turn
    turned = torch.empty_like(values)
    half = first.shape[-1]
    turned[..., :half] = torch.addcmul(first * cosine, second, sine, value=-1)
    turned[..., half:] = torch.addcmul(second * cosine, first, sine)
    return turned


def _paired(linear: Any, scale: float, precision: torch.dtype) -> Linear:
    """A projection times `scale`, with the first halves of rotary pairs in front."""
    weight, bias = (torch.cat([part[0::2], part[1::2]]) * scale for part in (linear.weight, linear.bias))
    return Linear(weight.to(precision), bias.to(precision))


def _followed(first: Any, second: Any, precision: torch.dtype) -> Linear:
    """Two linear layers as one."""
    bias = functional.linear(first.bias, second.weight, second.bias)
    return Linear((second.weight @ first.weight).to(precision), bias.to(precision))
