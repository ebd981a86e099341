"""Marks of a person on a plane, and masks that obey them. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.prompts import Prompts

FloatArray = NDArray[np.float32]
Mark = tuple[tuple[tuple[float, float], ...], bool]
"""Plane positions, and whether they lie on the object."""


def all_marks(prompts: Prompts, shape: tuple[int, int]) -> list[Mark]:
    """Points and strokes as sets of plane positions with their sign."""
    marks: list[Mark] = [(((float(p.row), float(p.column)),), p.positive) for p in prompts.points]
    for stroke in prompts.strokes:
        pixels = stroke.pixels(shape)
        marks.append((tuple((float(r), float(c)) for r, c in pixels), stroke.positive))
    return marks


def obedient(logits: FloatArray, marks: Sequence[Mark]) -> NDArray[np.bool_]:
    """The mask of some logits, bent about a mark that it would not obey."""
    out = logits
    pixels = [(np.floor(np.array(points) + 0.5).astype(int), positive) for points, positive in marks]
    for at, positive in pixels:
        inside = ((at >= 0) & (at < logits.shape)).all(1)
        r, c = at[inside].T
        wrong = (out[r, c] > 0) != positive
        if wrong.any():
            out = bent(out, r[wrong], c[wrong], 1.0 if positive else -1.0)
    mask = out > 0
    for at, positive in pixels:
        inside = ((at >= 0) & (at < logits.shape)).all(1)
        mask[tuple(at[inside].T)] = positive
    return np.asarray(mask)


def bent(logits: FloatArray, rows: NDArray[Any], columns: NDArray[Any], sign: float) -> FloatArray:
    """Logits raised (or lowered) in small hills at pixels, enough to change the sign there."""
    out = logits.copy()
    reach = max(1.0, 0.06 * float(np.sqrt(max(int(np.count_nonzero(logits > 0)), 1))))
    wide = int(np.ceil(4 * reach))
    for row, column in zip(rows, columns, strict=True):
        if out[row, column] * sign > 0:
            continue
        r0, c0 = max(row - wide, 0), max(column - wide, 0)
        part = out[r0 : row + wide + 1, c0 : column + wide + 1]
        r, c = np.arange(r0, r0 + part.shape[0])[:, None], np.arange(c0, c0 + part.shape[1])[None]
        hill = np.exp(-((r - row) ** 2 + (c - column) ** 2) / (2 * reach**2))
        part += (sign * (abs(float(out[row, column])) + 0.5) * hill).astype(np.float32)
    return out
