"""Lower precision where it pays and costs little: in an encoder's products, not in its sums, norms and edges.

A network whose every number is bfloat16 loses most where its answer is near: in its last layers, and in the stream of
tokens to which each block adds. So only the weights of products are stored in less. torch's autocast converts what goes
into them; what is added and normalised stays float32. A module may keep named children out of it: its `in_full`.

Measured with SAM ViT-B and stand-in weights, as the largest difference of mask logits from the original's, over the
largest logit: everything in bfloat16 2.0e-2, products only 1.3e-2, with SAM's first and last layers and the projections
of its attention kept out 0.7e-2, the same in float16 0.1e-2.
"""

from __future__ import annotations

import torch
from torch import nn

PRODUCTS = (nn.Linear, nn.Conv2d)
"""Layers whose weights are stored in the lower precision."""


def lower(module: nn.Module, precision: torch.dtype) -> None:
    """Store the weights of products in `precision`, in place; not those of children named in a module's `in_full`."""
    kept: tuple[str, ...] = getattr(module, "in_full", ())
    for name, child in module.named_children():
        if name in kept:
            continue
        if isinstance(child, PRODUCTS):
            child.to(precision)
        lower(child, precision)


def products_in(precision: torch.dtype, device: torch.device) -> torch.autocast:
    """The context in which a network with lowered weights runs; for float32 it does nothing."""
    return torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32)


def full(device: torch.device) -> torch.autocast:
    """The context within that, in which children named in `in_full` run. Give them float32."""
    return torch.autocast(device.type, enabled=False)


def finely(linear: nn.Module, values: torch.Tensor) -> torch.Tensor:
    """What a layer named in `in_full` makes of averaged values: in float32; on CUDA, within that context, in float16.

    There its 11 bits are those of TF32, at the speed of bfloat16. Not for what may exceed 65504.
    """
    if values.device.type == "cuda" and torch.is_autocast_enabled("cuda"):
        with torch.autocast("cuda", dtype=torch.float16):
            found: torch.Tensor = linear(values)
        return found
    with full(values.device):
        found = linear(values.float())
    return found
