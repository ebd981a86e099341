"""SAM's mask decoder with the same weights and masks, for one object at a time, in less than a third of the time.

The original projects all the picture's positions to keys, values and queries for each of its five cross attentions.
With a few prompt tokens it is less to fold those projections into the tokens: q . (W x) = (W' q) . x. What the
positional encoding adds to a product is the same for every picture, so it is computed once. Channels stay last, so
that transposed convolutions of stride 2 are products too, and nothing is copied between heads and grids.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from segment_anything.modeling import MaskDecoder, TwoWayTransformer
from segment_anything.modeling.transformer import Attention, TwoWayAttentionBlock
from torch import nn
from torch.nn import functional

from napari_medsam.models.products import can_fuse

MOST_PROMPTS = 32
"""With more prompt tokens the original's way is the shorter one: folded, a product grows with them."""


class LeanDecoder:
    """SAM's mask decoder for single objects.

    Parameters
    ----------
    decoder : MaskDecoder
        A plain one, see `is_plain`. With other weights a new one of these is needed.
    image_pe : (1, width, grid, grid) tensor
        The dense positional encoding.
    """

    def __init__(self, decoder: Any, image_pe: torch.Tensor) -> None:
        self.decoder = decoder
        self.grid = int(image_pe.shape[-1])
        with torch.inference_mode():
            places = image_pe[0].flatten(1).T
            transformer = decoder.transformer
            self._layers = [_Layer(layer, places) for layer in transformer.layers]
            self._last = _ToTokens(transformer.final_attn_token_to_image, places)

    def predict_masks(
        self, image: torch.Tensor, sparse: torch.Tensor, dense: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of all mask tokens, (t, 4 grid, 4 grid), and their scores, (t,).

        Parameters
        ----------
        image, dense : (1, width, grid, grid) tensors
        sparse : (1, k, width) tensor
        """
        decoder = self.decoder
        tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight, sparse[0]])
        keys = (image + dense)[0].flatten(1).T.contiguous()
        queries = tokens
        for layer in self._layers:
            queries, keys = layer(queries, keys, tokens)
        queries = decoder.transformer.norm_final_attn(queries + self._last(queries + tokens, keys))
        scores = decoder.iou_prediction_head(queries[:1])
        return self._masks(queries[1 : 1 + decoder.num_mask_tokens], keys), scores[0]

    def _masks(self, mask_tokens: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """(t, 4 grid, 4 grid): the tokens' products with the picture at four times the size."""
        first, norm, bend, second, bend_again = self.decoder.output_upscaling
        fine = bend(functional.layer_norm(_doubled(first, keys), norm.weight.shape, norm.weight, norm.bias, norm.eps))
        finer = bend_again(_doubled(second, fine))
        networks = self.decoder.output_hypernetworks_mlps
        by_token = torch.stack([net(token) for net, token in zip(networks, mask_tokens, strict=True)])
        masks: torch.Tensor = finer @ by_token.T
        g = self.grid
        # row, column; then the row and column within, twice
        return masks.view(g, g, 2, 2, 2, 2, -1).permute(6, 0, 2, 4, 1, 3, 5).reshape(-1, 4 * g, 4 * g)


def is_plain(decoder: Any) -> bool:
    """Whether a decoder is SAM's own, with no layer changed."""
    transformer: Any = getattr(decoder, "transformer", None)
    if type(decoder) is not MaskDecoder or type(transformer) is not TwoWayTransformer:
        return False
    attentions = [module for module in transformer.modules() if isinstance(module, Attention)]
    projections = [one for a in attentions for one in (a.q_proj, a.k_proj, a.v_proj, a.out_proj)]
    return all(type(layer) is TwoWayAttentionBlock for layer in transformer.layers) and all(
        type(one) is nn.Linear for one in projections
    )


class _Layer:
    """A `TwoWayAttentionBlock`: (queries, keys) to the next ones; `tokens` are the queries' own positions."""

    def __init__(self, layer: Any, places: torch.Tensor) -> None:
        self.layer = layer
        self._to_tokens = _ToTokens(layer.cross_attn_token_to_image, places)
        self._to_image = _ToImage(layer.cross_attn_image_to_token, places)

    def __call__(
        self, queries: torch.Tensor, keys: torch.Tensor, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        layer = self.layer
        placed = queries if layer.skip_first_layer_pe else queries + tokens
        among = layer.self_attn(placed[None], placed[None], queries[None])[0]
        queries = layer.norm1(among if layer.skip_first_layer_pe else queries + among)
        queries = layer.norm2(queries + self._to_tokens(queries + tokens, keys))
        queries = layer.norm3(queries + layer.mlp(queries))
        return queries, layer.norm4(self._to_image(keys, queries + tokens, queries))


class _ToTokens:
    """Attention of the tokens to the picture."""

    def __init__(self, attention: Any, places: torch.Tensor) -> None:
        self.attention = attention
        # the keys' bias adds the same to all of a token's scores, so it is left out
        self._places = places @ attention.k_proj.weight.T

    def __call__(self, tokens: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """(t, width) of (t, width) tokens and (n, width) keys."""
        a = self.attention
        asked = _split(a.q_proj(tokens), a.num_heads)
        heads, count, depth = asked.shape
        folded = (asked @ _rows_by_head(a.k_proj.weight, heads)).reshape(heads * count, -1)
        scores = _times(_diagonal(asked), self._places) + _times(folded, keys)
        mixed = _times((scores / math.sqrt(depth)).softmax(dim=-1), keys.T).view(heads, count, -1)
        values = mixed @ _rows_by_head(a.v_proj.weight, heads).transpose(1, 2) + a.v_proj.bias.view(heads, 1, depth)
        found: torch.Tensor = a.out_proj(values.transpose(0, 1).reshape(count, heads * depth))
        return found


class _ToImage:
    """Attention of the picture to the tokens."""

    def __init__(self, attention: Any, places: torch.Tensor) -> None:
        self.attention = attention
        self._places = attention.q_proj(places)

    def __call__(self, keys: torch.Tensor, tokens: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
        """`keys`, (n, width), with what they get from (t, width) tokens and queries."""
        a = self.attention
        offered = _split(a.k_proj(tokens), a.num_heads)
        heads, count, depth = offered.shape
        folded = (offered @ _rows_by_head(a.q_proj.weight, heads)).reshape(heads * count, -1)
        scores = _times(_diagonal(offered), self._places) + _times(folded, keys)
        # over the tokens, with the picture's positions last: over a short last axis it takes twenty times as long
        weights = (scores / math.sqrt(depth)).view(heads, count, -1).softmax(dim=1).view(heads * count, -1)
        spread = _split(a.v_proj(queries), heads) @ a.out_proj.weight.T.view(heads, depth, -1)
        spread = torch.cat([spread[:1] + a.out_proj.bias, spread[1:]])  # a head's weights are one in all
        return keys + _times(weights.T, spread.reshape(heads * count, -1).T)


def _split(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(heads, t, depth) of (t, heads * depth)."""
    return x.view(len(x), heads, -1).transpose(0, 1)


def _rows_by_head(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """(heads, depth, width) of a projection's weight, (heads * depth, width)."""
    return weight.view(heads, len(weight) // heads, -1)


def _diagonal(x: torch.Tensor) -> torch.Tensor:
    """(heads * t, heads * depth) with the blocks of (heads, t, depth) on its diagonal: all heads in one product."""
    heads, count, depth = x.shape
    blocks = x.new_zeros(heads, count, heads, depth)
    every = torch.arange(heads, device=x.device)
    blocks[every, :, every] = x
    return blocks.view(heads * count, heads * depth)


def _doubled(convolution: Any, x: torch.Tensor) -> torch.Tensor:
    """A transposed convolution of size and stride 2 of (..., width): (..., 2, 2, out), the pixels each becomes."""
    weight = convolution.weight  # (width, out, 2, 2)
    flat = weight.permute(2, 3, 1, 0).reshape(-1, len(weight))
    bias = convolution.bias.repeat(4)
    return _times(x.reshape(-1, len(weight)), flat, bias).view(-1, len(convolution.bias))


def _times(values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """(n, out): the product of (n, in) values and an (out, in) weight; see `products` for how."""
    if can_fuse(values, weight):
        found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(values, weight, bias, "none", [], "")
        return found
    return functional.linear(values, weight, bias)
