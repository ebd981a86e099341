"""SAM's attention in half precision: what a pair's distance adds to its score are further channels of its product.

A score of SAM is q k, plus what the key's row adds for this query, plus what its column adds. With those appended to
the query, and marks of the key's row and column to the key, one product of matrices gives the whole score, and nothing
of the size of all pairs is made. On a GPU one call of torch's fused attention does it all. On a CPU, in bfloat16,
blocks are made that stay in the cache: on an AMD EPYC with AVX512-BF16 that takes 0.4 of the time of torch's attention
with a bias (0.36 and 0.84 s for a block of ViT-B over 64 x 64 tokens).

On a CPU torch gives the scores in bfloat16, so their rounding grows with their size. A softmax does not notice what is
added to all scores of a query: the mean of the keys is taken off them, and the largest of what rows and columns add.
What is left is small where it matters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from napari_medsam.models.precision import full

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""As `by_channels`."""

HALVES = (torch.bfloat16, torch.float16)

BLOCK = 1 << 20
"""Scores made at a time: two megabytes, which stay in a core's cache."""


KERNEL = torch.float16
"""What fused attention on a GPU is given."""

NEVER = -3e4
"""What is added to a score at least: the exponential of less is 0 all the same, and float16 ends at -65504."""

EIGHT = 8
"""Fused kernels take channels in eights, and the fastest of them as many of values as of keys."""


def way_for(query: torch.Tensor) -> Attend | None:
    """The way through channels that suits a device and a precision; None where there is none, and for gradients."""
    if torch.is_grad_enabled():
        return None
    if query.device.type == "cpu":
        return by_channels if query.dtype == torch.bfloat16 else None
    return by_kernel if query.device.type == "cuda" and query.dtype in HALVES else None


def by_channels(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, by_row: torch.Tensor, by_column: torch.Tensor
) -> torch.Tensor:
    """Attention with what rows and columns add, in blocks.

    Parameters
    ----------
    query, key, value : (b, heads, rows x columns, d) tensors
        In bfloat16; not scaled.
    by_row : (b, heads, rows x columns, rows) tensor
        What a key's row adds to a score.
    by_column : (b, heads, rows x columns, columns) tensor
        What its column adds.

    Returns
    -------
    (b, heads, rows x columns, d) tensor
    """
    b, heads, count, depth = query.shape
    asked = _joined(query, [_topped(by_row), _topped(by_column)], query.dtype)
    centred = (key.float() - key.float().mean(2, keepdim=True)) * depth**-0.5
    rows, columns = by_row.shape[-1], by_column.shape[-1]
    told = _joined(centred, _marks(rows, columns, query), query.dtype)
    values = value.reshape(b * heads, count, depth).contiguous()  # else each block copies it
    found = torch.empty_like(values)
    _fill(found, asked.flatten(0, 1), told.flatten(0, 1).transpose(1, 2), values)
    return found.view(b, heads, count, depth)


def by_kernel(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, by_row: torch.Tensor, by_column: torch.Tensor
) -> torch.Tensor:
    """As `by_channels`, in one call of torch's fused attention, which adds up in float32.

    In float16 whatever comes in: it costs a GPU the same as bfloat16, and rounds what is added, the shares and the
    answer an eighth as much.
    """
    depth = query.shape[-1]
    # the kernel scales what is added with the rest
    added = [(_topped(one) * depth**0.5).clamp(min=NEVER) for one in (by_row, by_column)]
    marks = _marks(by_row.shape[-1], by_column.shape[-1], key)
    asked, told = _joined(query, added, KERNEL, EIGHT), _joined(key, marks, KERNEL, EIGHT)
    values = functional.pad(value.to(KERNEL), (0, told.shape[-1] - depth))
    with full(query.device):  # an autocast around would round all to its own type
        found = functional.scaled_dot_product_attention(asked, told, values, scale=depth**-0.5)
    return found[..., :depth]


def _fill(found: torch.Tensor, asked: torch.Tensor, told: torch.Tensor, values: torch.Tensor) -> None:
    """Attention of each of (m, n, d), a block of scores at a time."""
    together, count = asked.shape[:2]
    rows = max(1, min(count, BLOCK // count))
    some = max(1, BLOCK // (rows * count))
    for first in range(0, together, some):
        which = slice(first, first + some)
        for top in range(0, count, rows):
            part = slice(top, top + rows)
            scores = torch.bmm(asked[which, part], told[which])
            torch.softmax(scores, -1, out=scores)
            found[which, part] = torch.bmm(scores, values[which])


def _joined(first: torch.Tensor, others: Sequence[torch.Tensor], dtype: torch.dtype, multiple: int = 1) -> torch.Tensor:
    """Along the channels; zeros follow up to a multiple."""
    parts = [first, *others]
    width = sum(part.shape[-1] for part in parts)
    joined = first.new_empty((*first.shape[:-1], -(-width // multiple) * multiple), dtype=dtype)
    at = 0
    for part in parts:
        joined[..., at : at + part.shape[-1]] = part
        at += part.shape[-1]
    if at < joined.shape[-1]:
        joined[..., at:] = 0
    return joined


def _topped(added: torch.Tensor) -> torch.Tensor:
    """Less the largest that it adds to a query."""
    return added - added.amax(-1, keepdim=True)


def _marks(rows: int, columns: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For each key a 1 at its row, (rows x columns, rows), and a 1 at its column, (rows x columns, columns)."""
    of_rows, of_columns = (torch.eye(n, dtype=like.dtype, device=like.device) for n in (rows, columns))
    return of_rows.repeat_interleave(columns, 0), of_columns.repeat(rows, 1)
