"""Drawn lines: the long axis of a lesion, and a second one across it as its short axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_medsam.prompts import Ends, Line

FloatArray = NDArray[np.float64]
PAIR = 2
"""Lines of one object at most."""


def crosses(one: FloatArray, other: FloatArray) -> bool:
    """Whether two straight lines, (2, 2) ends each, cut each other."""
    return _parts(one, other) and _parts(other, one)


def line_of(drawn: Sequence[FloatArray], pixel: tuple[float, float]) -> Line:
    """The measurement that one or two drawn lines make: the longer one is the long axis.

    Parameters
    ----------
    drawn : sequence of (2, 2) arrays
        Ends in (row, column).
    pixel : (float, float)
        Size of a pixel along rows and columns, in mm.

    Raises
    ------
    PromptError
        A line has no length.
    """
    size = np.asarray(pixel, dtype=np.float64)
    long, *rest = sorted(drawn, key=lambda ends: -float(np.linalg.norm((ends[1] - ends[0]) * size)))
    return Line(_ends(long), _ends(rest[0]) if rest else ())


def _ends(at: FloatArray) -> Ends:
    (row0, column0), (row1, column1) = at.tolist()
    return (row0, column0), (row1, column1)


def _parts(line: FloatArray, points: FloatArray) -> bool:
    """Whether two points lie on different sides of a line, or on it."""
    along = line[1] - line[0]
    sides = [float(along[0] * (p - line[0])[1] - along[1] * (p - line[0])[0]) for p in points]
    return sides[0] * sides[1] <= 0
