"""Small segmenters that obey the laws of the seam, for tests that need a model but not its answers."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_medsam.errors import ImageError
from napari_medsam.models.base import Direction, Embedding, ModelSpec, Prediction
from napari_medsam.prompts import Point, PromptKind, Prompts

RADIUS = 3.0
"""Radius of the disc around a point, in pixels."""


class BoxFake:
    """The mask is the box, with discs around positive points added and discs around negative ones cut out.

    Two candidates when there is a box: the box, and the box without its outermost pixels. `encoded` counts the calls.
    """

    spec = ModelSpec(
        name="box-fake",
        title="Box (a fake)",
        digest="box-fake-1",
        prompts=frozenset({PromptKind.BOX, PromptKind.POINT}),
        needs_network=False,
        licence="Apache-2.0",
        about="Not a model: it answers with the box itself.",
    )

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        """Keep the mean of the plane, so that something depends on the pixels."""
        if plane.dtype != np.uint8 or plane.ndim not in (2, 3):
            raise ImageError(f"The fake takes uint8 planes, not {plane.dtype} {plane.shape}.")
        self.encoded += 1
        return Embedding(self.spec.digest, (plane.shape[0], plane.shape[1]), {"mean": np.array([plane.mean()])})

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        """Answer with the box and the discs."""
        self.spec.check(prompts)
        prompts = prompts.fitted(embedding.shape)
        masks = [_with_points(_box_mask(prompts, embedding.shape, shrink), prompts.points) for shrink in (0, 1)]
        return Prediction(np.stack(masks), np.array([0.9, 0.8]), chosen=0)


class SlowFake(BoxFake):
    """A BoxFake whose encode takes `seconds`: for tests of queues, cancelling and late answers.

    Parameters
    ----------
    seconds : float
        How long an encode lasts.
    sleep : callable
        What waits; a test may pass an event's `wait` to hold the encode until it is released.
    """

    def __init__(self, seconds: float = 0.05, sleep: Callable[[float], object] = time.sleep) -> None:
        super().__init__()
        self._seconds = seconds
        self._sleep = sleep

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        """Wait, then encode."""
        self._sleep(self._seconds)
        return super().encode(plane)


class MaskFake(BoxFake):
    """A BoxFake that also starts from a mask: its pixels, with the discs around the points added and cut out."""

    spec = dataclasses.replace(
        BoxFake.spec,
        name="mask-fake",
        title="Mask (a fake)",
        digest="mask-fake-1",
        prompts=frozenset({PromptKind.BOX, PromptKind.POINT, PromptKind.MASK}),
    )

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        """Answer with the box, the mask and the discs."""
        self.spec.check(prompts)
        if prompts.mask is None:
            return super().decode(embedding, prompts)
        fitted = prompts.fitted(embedding.shape)
        start = _box_mask(fitted, embedding.shape, 0) | prompts.mask.pixels
        return Prediction(_with_points(start, fitted.points)[None], np.array([0.9]))


def _box_mask(prompts: Prompts, shape: tuple[int, int], shrink: int) -> NDArray[np.bool_]:
    mask = np.zeros(shape, dtype=bool)
    if prompts.box is not None:
        rows, columns = prompts.box.slices
        inner = slice(shrink, -shrink or None)
        # a box of two pixels has nothing inside its outermost pixels
        small = min(mask[rows, columns].shape) <= 2 * shrink
        mask[rows, columns][(slice(None),) * 2 if small else (inner, inner)] = True
    return mask


def _with_points(mask: NDArray[np.bool_], points: tuple[Point, ...]) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    for positive in (True, False):
        for point in points:
            if point.positive == positive:
                row, column = point.pixel
                mask[(rows - row) ** 2 + (columns - column) ** 2 <= RADIUS**2] = positive
    for point in points:
        mask[point.pixel] = point.positive
    return mask


class LabelFake:
    """A labeller by ranges of Hounsfield units: tissue from 0, bone from 300. `labelled` counts the calls."""

    spec = ModelSpec(
        name="label-fake",
        title="Ranges (a fake)",
        digest="label-fake-1",
        prompts=frozenset(),
        needs_network=False,
        licence="Apache-2.0",
        about="Not a model: it answers with ranges of intensities.",
    )
    classes = ("tissue", "bone")

    def __init__(self) -> None:
        self.labelled = 0

    def label(self, values: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Answer with the ranges."""
        if values.ndim != 2 or values.dtype.kind not in "biuf":
            raise ImageError(f"The fake takes grey planes, not {values.dtype} {values.shape}.")
        self.labelled += 1
        return np.asarray(np.digitize(np.nan_to_num(values, nan=-1000), (0, 300)), dtype=np.uint8)


class BrightFake(BoxFake):
    """A model with a memory: the object is what is brighter than THRESHOLD, in the box or near where it was before.

    `trackers` are all that were made, each with the `calls` that it got.
    """

    THRESHOLD = 128
    REACH = 2
    """Pixels by which an object may have moved from one plane to the next."""

    spec = dataclasses.replace(
        BoxFake.spec,
        name="bright-fake",
        title="Bright (a fake)",
        digest="bright-fake-1",
        prompts=frozenset({PromptKind.BOX, PromptKind.MASK}),
    )

    def __init__(self) -> None:
        super().__init__()
        self.trackers: list[BrightTracker] = []

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        """Keep what is bright."""
        grey = plane if plane.ndim == 2 else plane.max(axis=-1)
        return dataclasses.replace(super().encode(plane), arrays={"bright": grey > self.THRESHOLD})

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        """Answer with what is bright in the box; a mask is taken as it is."""
        self.spec.check(prompts)
        prompts = prompts.fitted(embedding.shape)
        shown = _box_mask(prompts, embedding.shape, 0)
        found = np.asarray(embedding.arrays["bright"]) & shown
        if prompts.mask is not None:
            found = prompts.mask.pixels
        return Prediction(found[None], np.array([0.7]))

    def tracker(self, planes: int) -> BrightTracker:
        """Make an empty memory."""
        self.trackers.append(BrightTracker(self))
        return self.trackers[-1]


class BrightTracker:
    """The memory of a BrightFake: the last mask of each object. `calls` are (verb, position, objects)."""

    def __init__(self, model: BrightFake) -> None:
        self._model = model
        self._seen: dict[int, dict[int, NDArray[np.bool_]]] = {}
        self.calls: list[tuple[str, int, tuple[int, ...]]] = []

    def condition(self, position: int, embedding: Embedding, known: Mapping[int, Prompts]) -> dict[int, Prediction]:
        """Take masks and boxes."""
        self.calls.append(("condition", position, tuple(sorted(known))))
        answers = {number: self._model.decode(embedding, prompts) for number, prompts in known.items()}
        for number, answer in answers.items():
            self._seen.setdefault(number, {})[position] = answer.mask
        return answers

    def follow(
        self, position: int, embedding: Embedding, objects: Collection[int], direction: Direction
    ) -> dict[int, Prediction]:
        """Look near where each object was on the nearest plane before this one."""
        self.calls.append(("follow", position, tuple(sorted(objects))))
        answers = {}
        for number in objects:
            seen = self._seen[number]
            before = min((at for at in seen if (position - at) * direction > 0), key=lambda at: abs(position - at))
            near = ndimage.binary_dilation(seen[before], np.ones((3, 3)), iterations=BrightFake.REACH)
            found = near & np.asarray(embedding.arrays["bright"])
            if found.any():
                seen[position] = found
            answers[number] = Prediction(found[None], np.array([0.8]))
        return answers
