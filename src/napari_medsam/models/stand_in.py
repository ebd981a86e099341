"""Stand-ins: prompts that a network was not made for, turned into one that it was, and named as such.

A network that knows boxes only gets clicks and strokes as a box around what `contour` finds there; one that knows
points only gets a box as a point in its middle.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import ModelError, UnsupportedError
from napari_medsam.models.base import (
    Direction,
    Embedding,
    ModelSpec,
    Prediction,
    Propagator,
    Segmenter,
    Tracker,
    require_memory,
)
from napari_medsam.models.batches import batch_of, encode_all
from napari_medsam.models.contour import Contour
from napari_medsam.prompts import Box, Point, PromptKind, Prompts

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
        """The network's embedding. Contour looks at the plane itself when it is asked, which takes it milliseconds."""
        return replace(self._segmenter.encode(plane), plane=plane)

    @property
    def batch(self) -> int:
        """How many planes the network gains from at a time."""
        return batch_of(self._segmenter)

    def encode_batch(self, planes: Sequence[NDArray[np.uint8]]) -> list[Embedding]:
        """The network's embeddings, together where it gains from that."""
        found = encode_all(self._segmenter, planes)
        return [replace(one, plane=plane) for one, plane in zip(found, planes, strict=True)]

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        """Ask with the prompts themselves where they are native, else with their stand-in."""
        changed, note = self.native(embedding, prompts)
        answer = self._segmenter.decode(embedding, changed)
        return replace(answer, note=f"{note} {answer.note}".strip())

    def native(self, embedding: Embedding, prompts: Prompts) -> tuple[Prompts, str]:
        """Prompts that the network was made for, and what to say of the change; nothing where there was none."""
        self.spec.check(prompts)
        prompts = prompts.fitted(embedding.shape)
        foreign = prompts.kinds - self.spec.prompts
        if not foreign:
            return prompts, ""
        changed = self._as_point(prompts) if self._finder is None else self._as_box(embedding, prompts, self._finder)
        said = "; ".join(self.spec.stand_ins[kind] for kind in PromptKind if kind in foreign)
        return changed, f"Stand-in: {said}."

    def _as_box(self, embedding: Embedding, prompts: Prompts, finder: Contour) -> Prompts:
        if prompts.box is not None:
            raise UnsupportedError(
                f"{self.spec.title} takes a box and nothing beside it. Delete the points, draw another box, or choose "
                "a model that takes points."
            )
        if embedding.plane is None:
            raise ModelError("An embedding was decoded without its plane, which clicks need here. Please report it.")
        found = finder.decode(finder.encode(embedding.plane), prompts).mask
        return Prompts(_around(found, embedding.shape))

    def _as_point(self, prompts: Prompts) -> Prompts:
        if prompts.box is None:
            return prompts  # strokes: the network's adapter lays points along them
        box = prompts.box
        middle = Point((box.row0 + box.row1 - 1) / 2, (box.column0 + box.column1 - 1) / 2)
        return Prompts(points=(middle, *prompts.points), strokes=prompts.strokes)


def stand_in_of(segmenter: Segmenter) -> StandIn:
    """A `StandIn`, which is a `Propagator` too if the segmenter is one."""
    return StandInPropagator(segmenter) if isinstance(segmenter, Propagator) else StandIn(segmenter)


class StandInPropagator(StandIn):
    """A `StandIn` whose segmenter has a memory."""

    def tracker(self, planes: int) -> StandInTracker:
        """An empty memory."""
        return StandInTracker(self, require_memory(self._segmenter).tracker(planes))


class StandInTracker:
    """A tracker that also takes prompts with a stand-in.

    Parameters
    ----------
    model : StandIn
    tracker : Tracker
        The network's own.
    """

    def __init__(self, model: StandIn, tracker: Tracker) -> None:
        self._model = model
        self._tracker = tracker

    def condition(self, position: int, embedding: Embedding, known: Mapping[int, Prompts]) -> dict[int, Prediction]:
        """Take what is known, as prompts that the network was made for."""
        native = {number: self._model.native(embedding, prompts) for number, prompts in known.items()}
        found = self._tracker.condition(position, embedding, {number: asked for number, (asked, _) in native.items()})
        return {n: replace(answer, note=f"{native[n][1]} {answer.note}".strip()) for n, answer in found.items()}

    def follow(
        self, position: int, embedding: Embedding, objects: Collection[int], direction: Direction
    ) -> Mapping[int, Prediction]:
        """Find objects."""
        return self._tracker.follow(position, embedding, objects, direction)


def _around(mask: NDArray[np.bool_], shape: tuple[int, int]) -> Box:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    low, high = np.array([rows[0], columns[0]]) - MARGIN, np.array([rows[-1], columns[-1]]) + 1 + MARGIN
    return Box(int(low[0]), int(low[1]), int(high[0]), int(high[1])).clipped(shape)
