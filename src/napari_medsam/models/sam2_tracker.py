"""SAM 2 as a `Propagator`: a segmenter that also follows objects through a stack of planes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from napari_medsam.errors import PromptError
from napari_medsam.models.base import Direction, Embedding, ModelSpec, Prediction
from napari_medsam.models.frame import FloatArray, InputPrompts
from napari_medsam.models.frame_sam2 import Sam2Frame
from napari_medsam.models.sam2_bank import Bank
from napari_medsam.models.sam2_memory import Memory, Sam2Memory, Sighting
from napari_medsam.models.sam2_network import Sam2Network
from napari_medsam.models.sam_segmenter import Features, SamSegmenter, require_finite
from napari_medsam.prompts import PromptKind, Prompts

TOGETHER = 8
"""Objects looked for at once: what this takes of memory does not grow with their number."""

NOT_THERE = "The model finds that this object is not on this plane."


def segmenter_of(spec: ModelSpec, frame: Sam2Frame, network: Sam2Network) -> SamSegmenter:
    """A segmenter; a `Propagator` as well, unless its checkpoint was made for single images and has no memory."""
    if not hasattr(network.model, "memory_encoder"):
        return SamSegmenter(spec, frame, network)
    return Sam2Segmenter(spec, frame, network)


class Sam2Segmenter(SamSegmenter):
    """A SAM 2 with its memory.

    Parameters
    ----------
    spec : ModelSpec
    frame : Sam2Frame
    network : Sam2Network

    Raises
    ------
    ModelError
        The memory is not as it should be.
    """

    def __init__(self, spec: ModelSpec, frame: Sam2Frame, network: Sam2Network) -> None:
        super().__init__(spec, frame, network)
        self.truth = frame.truth
        self.memory = Sam2Memory(network)

    def tracker(self, planes: int) -> Sam2Tracker:
        """An empty memory, for a stack of so many planes."""
        return Sam2Tracker(self, planes)


class Sam2Tracker:
    """A `Tracker` (see `base`).

    What it holds of an object: half a megabyte (at 1024 pixels; an eighth of it at 512) of each plane that was prompted
    and of at most 30 planes about the last one that was looked at.

    Parameters
    ----------
    segmenter : Sam2Segmenter
    planes : int
        How many there are in the stack.
    """

    def __init__(self, segmenter: Sam2Segmenter, planes: int) -> None:
        self._segmenter = segmenter
        self._planes = planes
        self._banks: dict[int, Bank[Memory]] = {}

    @property
    def nbytes(self) -> int:
        """Memory held, on the device of the model."""
        kept = [one for bank in self._banks.values() for one in (*bank.given.values(), *bank.found.values())]
        return sum(one.features.nbytes + one.pointer.nbytes for one in kept)

    def condition(self, position: int, embedding: Embedding, known: Mapping[int, Prompts]) -> dict[int, Prediction]:
        """Take prompts as on a first plane, whatever is remembered; a lone mask is the truth, and the answer.

        Raises
        ------
        PromptError, UnsupportedError
            Prompts that cannot be used.
        """
        answers = {}
        for number, prompts in known.items():
            self._segmenter.spec.check(prompts)
            fitted = prompts.fitted(embedding.shape)
            if fitted.mask is not None and fitted.kinds == {PromptKind.MASK}:
                self.shown(position, embedding.arrays, number, self._segmenter.truth(fitted.mask.pixels))
                answers[number] = Prediction(fitted.mask.pixels[None], np.ones(1))
            else:
                given = self._segmenter.in_frame(fitted, embedding.shape)
                sighting = self.prompted(position, embedding.arrays, number, given)
                answers[number] = self._prediction(sighting, embedding.shape)
        return answers

    def follow(
        self, position: int, embedding: Embedding, objects: Collection[int], direction: Direction
    ) -> dict[int, Prediction]:
        """Find objects; where one is not there its mask is empty, and the score says how sure that is.

        Raises
        ------
        PromptError
            Nothing was said of one of the objects.
        """
        found = self.followed(position, embedding.arrays, objects, direction)
        return {number: self._prediction(one, embedding.shape) for number, one in found.items()}

    def prompted(self, position: int, features: Features, number: int, prompts: InputPrompts) -> Sighting:
        """Take prompts in the network's frame."""
        return self._given(position, number, self._segmenter.memory.prompted(features, prompts))

    def shown(self, position: int, features: Features, number: int, truth: FloatArray) -> Sighting:
        """Take a mask in the network's frame, 0 and 1, (size, size), as the truth."""
        return self._given(position, number, self._segmenter.memory.shown(features, truth))

    def followed(
        self, position: int, features: Features, objects: Collection[int], direction: Direction
    ) -> dict[int, Sighting]:
        """Find objects, in the network's frame."""
        unknown = sorted(set(objects) - self._banks.keys())
        if unknown:
            raise PromptError(
                f"Nothing says what object {unknown[0]} is. Draw a box or a point, or accept a mask first."
            )
        found: dict[int, Sighting] = {}
        numbers = list(objects)
        for first in range(0, len(numbers), TOGETHER):
            some = numbers[first : first + TOGETHER]
            found.update(zip(some, self._together(position, features, some, direction), strict=True))
        return found

    def _together(
        self, position: int, features: Features, objects: Sequence[int], direction: Direction
    ) -> list[Sighting]:
        recalled = [self._banks[number].recalled(position, direction, self._planes) for number in objects]
        sightings = self._segmenter.memory.followed(features, recalled, self._planes)
        for number, sighting in zip(objects, sightings, strict=True):
            require_finite(sighting.logits, self._segmenter.spec.title)
            self._banks[number].find(position, sighting.memory)
        return sightings

    def _given(self, position: int, number: int, sighting: Sighting) -> Sighting:
        require_finite(sighting.logits, self._segmenter.spec.title)
        self._banks.setdefault(number, Bank()).give(position, sighting.memory)
        return sighting

    def _prediction(self, sighting: Sighting, shape: tuple[int, int]) -> Prediction:
        if sighting.presence <= 0:
            sure = 1 / (1 + np.exp(np.float64(sighting.presence)))
            return Prediction(np.zeros((1, *shape), dtype=bool), np.array([sure]), note=NOT_THERE)
        masks = self._segmenter.frame.restore(sighting.logits[None], shape)
        return Prediction(masks, np.clip([sighting.score], 0, 1))
