"""Stand-ins: prompts that a network was not made for, turned into one that it was, and named as such.

A network that knows boxes only gets clicks and strokes as a box around what `contour` finds there; one that knows
points only gets a box as a point in its middle.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import UnsupportedError
from napari_medsam.models.base import Embedding, ModelSpec, Prediction, Segmenter
from napari_medsam.models.contour import Contour
from napari_medsam.prompts import Box, Point, PromptKind, Prompts

OWN = "stand-in "
"""What the names of Contour's arrays begin with in the embedding."""

MARGIN = 1
"""Pixels between what Contour finds and the box around it: people draw boxes a little loosely."""


class StandIn:
    """A segmenter that also takes the prompts named in its spec's `stand_ins`.

    Parameters
    ----------
    segmenter : Segmenter
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._finder = Contour() if PromptKind.BOX in segmenter.spec.prompts else None

    @property
    def spec(self) -> ModelSpec:
        """The network's own spec, which names the stand-ins."""
        return self._segmenter.spec

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        """The network's embedding, and what Contour keeps of the plane where it is needed."""
        embedding = self._segmenter.encode(plane)
        if self._finder is None:
            return embedding
        found = {OWN + name: array for name, array in self._finder.encode(plane).arrays.items()}
        return replace(embedding, arrays={**embedding.arrays, **found})

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        """Ask with the prompts themselves where they are native, else with their stand-in."""
        self.spec.check(prompts)
        prompts = prompts.fitted(embedding.shape)
        foreign = prompts.kinds - self.spec.prompts
        if not foreign:
            return self._segmenter.decode(embedding, prompts)
        changed = self._as_point(prompts) if self._finder is None else self._as_box(embedding, prompts, self._finder)
        said = "; ".join(self.spec.stand_ins[kind] for kind in PromptKind if kind in foreign)
        answer = self._segmenter.decode(embedding, changed)
        return replace(answer, note=f"Stand-in: {said}. {answer.note}".strip())

    def _as_box(self, embedding: Embedding, prompts: Prompts, finder: Contour) -> Prompts:
        if prompts.box is not None:
            raise UnsupportedError(
                f"{self.spec.title} takes a box and nothing beside it. Delete the points, draw another box, or choose "
                "a model that takes points."
            )
        own = {name[len(OWN) :]: array for name, array in embedding.arrays.items() if name.startswith(OWN)}
        found = finder.decode(Embedding(finder.spec.digest, embedding.shape, own), prompts).mask
        return Prompts(_around(found, embedding.shape))

    def _as_point(self, prompts: Prompts) -> Prompts:
        if prompts.box is None:
            return prompts  # strokes: the network's adapter lays points along them
        box = prompts.box
        middle = Point((box.row0 + box.row1 - 1) / 2, (box.column0 + box.column1 - 1) / 2)
        return Prompts(points=(middle, *prompts.points), strokes=prompts.strokes)


def _around(mask: NDArray[np.bool_], shape: tuple[int, int]) -> Box:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    low, high = np.array([rows[0], columns[0]]) - MARGIN, np.array([rows[-1], columns[-1]]) + 1 + MARGIN
    return Box(int(low[0]), int(low[1]), int(high[0]), int(high[1])).clipped(shape)
