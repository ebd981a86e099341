"""The ways through a stack: each says what the objects look like on the next slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from napari_medsam.masks import BoolArray
from napari_medsam.models.base import Direction, Embedding, Prediction, Propagator, Segmenter, Tracker
from napari_medsam.prompts import Box, Logits, Prompts
from napari_medsam.propagation.legs import Leg
from napari_medsam.propagation.motion import expected
from napari_medsam.propagation.plan import Plan
from napari_medsam.propagation.prompting import box_around, box_within, prompted
from napari_medsam.propagation.slices import Slices
from napari_medsam.propagation.stopping import Watch
from napari_medsam.propagation.subject import Key
from napari_medsam.shapes import between

MOST_KEYS = 8
"""Key slices that are kept in memory for the second direction."""


class Shown:
    """A slice while it has its turn: read once and encoded once, when first needed.

    Parameters
    ----------
    slices : Slices
    position : int
    ahead : sequence of int
        The slices whose turn comes next.
    """

    def __init__(self, slices: Slices, position: int, ahead: Sequence[int]) -> None:
        self.position = position
        self._slices = slices
        self._ahead = ahead
        self._pixels: list[NDArray[np.uint8]] = []
        self._embedding: list[Embedding] = []

    def pixels(self) -> NDArray[np.uint8]:
        """The plane, (rows, columns) or (rows, columns, 3); ImageError when it cannot be read."""
        if not self._pixels:
            self._pixels.append(self._slices.read(self.position))
        return self._pixels[0]

    def other(self, position: int) -> NDArray[np.uint8]:
        """Another plane of the stack, read anew; ImageError when it cannot be read."""
        return self._slices.read(position)

    def embedding(self) -> Embedding:
        """What the model keeps of the plane."""
        if not self._embedding:
            self._embedding.append(self._slices.encode(self.position, self.pixels(), self._ahead))
        return self._embedding[0]


@dataclass
class Track:
    """A leg while it is walked.

    Parameters
    ----------
    leg : Leg
    key : Key
        Where it starts.
    start : (rows, columns) bool array
        The mask of the key slice, not empty.
    goal : (rows, columns) bool array
        The mask of the key that it goes towards; empty for a leg outward.
    watch : Watch
    logits : Logits, optional
        Those of the last mask, where they are handed on; at first of the key slice's.
    """

    leg: Leg
    key: Key
    start: BoolArray
    goal: BoolArray
    watch: Watch
    logits: Logits | None = None

    def __post_init__(self) -> None:
        self.mask = self.start
        """The last mask that was not empty."""
        self.last = self.leg.source
        """The slice of that mask."""
        self.found = 0
        """How many slices of the leg have a mask."""
        self.lost = False
        """Whether the mask of the slice before was empty."""
        self.done = False

    def take(self, position: int, mask: BoolArray, logits: Logits | None) -> None:
        """The object is on a slice."""
        self.mask, self.logits, self.last, self.lost = mask, logits, position, False
        self.found += 1


class Follower(Protocol):
    """A way through a stack. What is remembered on the way lives in it."""

    @property
    def forgets(self) -> bool:
        """Whether all keys must be learned anew for each direction, certain ones too."""
        ...

    def learn(self, shown: Shown, known: Mapping[int, Key], direction: Direction) -> Mapping[int, Prediction]:
        """Take what is known of objects on a slice; the masks at least of those that are not certain."""
        ...

    def follow(self, shown: Shown, tracks: Mapping[int, Track]) -> Mapping[int, Prediction]:
        """The masks of objects on the next slice; an empty one where one is not there."""
        ...


class BySlices:
    """Each slice is prompted by the mask of the one before.

    Parameters
    ----------
    plan : Plan
    segmenter : Segmenter
    """

    forgets = False

    def __init__(self, plan: Plan, segmenter: Segmenter) -> None:
        self._plan = plan
        self._segmenter = segmenter
        self._keys: dict[int, NDArray[np.uint8]] = {}
        """Key slices that were looked at, by position, so that they are not read again for each direction."""
        self._before: dict[Direction, dict[int, NDArray[np.uint8]]] = {}
        """The slices that the last masks lie on, by direction and position."""
        self._beside = ThreadPoolExecutor(1, "napari-medsam motion")
        """Looks where the objects are while the slice is encoded: it takes a sixth of a small encoder's time."""

    def learn(self, shown: Shown, known: Mapping[int, Key], direction: Direction) -> Mapping[int, Prediction]:
        """Ask for the masks of keys with open prompts."""
        found = {number: self._ask(shown, key.prompts) for number, key in known.items() if not key.certain}
        if found and self._plan.prompting.moves and len(self._keys) < MOST_KEYS:
            self._keys[shown.position] = shown.pixels()
        return found

    def follow(self, shown: Shown, tracks: Mapping[int, Track]) -> Mapping[int, Prediction]:
        """Ask for each object with its next prompts."""
        needed = {track.last for track in tracks.values()} if self._plan.prompting.moves else set()
        direction = next(track.leg.direction for track in tracks.values())
        held = {**self._keys, **self._before.get(direction, {})}
        before = self._before[direction] = {at: held[at] if at in held else shown.other(at) for at in needed}
        shown.pixels()  # read here, once, for both threads
        prompts = self._beside.submit(lambda: {number: self._next(track, shown) for number, track in tracks.items()})
        try:
            shown.embedding()
        finally:
            asked = prompts.result()
        found = {number: self._ask(shown, asked[number]) for number in tracks}
        if needed:
            before[shown.position] = shown.pixels()
        return found

    def _next(self, track: Track, shown: Shown) -> Prompts:
        plan, spec = self._plan, self._segmenter.spec
        if track.lost and plan.prompting.falls_back:
            return Prompts(drawn_box(track.key, track.start, plan))
        if not plan.prompting.moves:
            return prompted(track.mask, plan.prompting, spec, plan.pixel, track.logits)
        place = expected(track.mask, self._before[track.leg.direction][track.last], shown.pixels())
        asked = prompted(place.mask, plan.prompting, spec, plan.pixel)
        if asked.box is None:
            return asked
        return replace(asked, box=box_within(place.bounds, plan.prompting.margin, plan.pixel, plan.shape))

    def _ask(self, shown: Shown, prompts: Prompts) -> Prediction:
        return self._segmenter.decode(shown.embedding(), prompts.fitted(self._plan.shape))


class ByBox(BySlices):
    """Each slice is prompted by the box of the key."""

    def follow(self, shown: Shown, tracks: Mapping[int, Track]) -> Mapping[int, Prediction]:
        """Ask for each object with its box."""
        return {number: self._ask(shown, self._next(track, shown)) for number, track in tracks.items()}

    def _next(self, track: Track, shown: Shown) -> Prompts:
        return Prompts(drawn_box(track.key, track.start, self._plan))


class ByMemory:
    """The model follows the objects by itself, with a fresh memory for each direction.

    Parameters
    ----------
    plan : Plan
    propagator : Propagator
    """

    forgets = True

    def __init__(self, plan: Plan, propagator: Propagator) -> None:
        self._plan = plan
        self._propagator = propagator
        self._trackers: dict[Direction, Tracker] = {}

    def learn(self, shown: Shown, known: Mapping[int, Key], direction: Direction) -> Mapping[int, Prediction]:
        """Let the memory take every key."""
        if direction not in self._trackers:
            self._trackers.clear()  # first: two memories do not fit where one does
            self._trackers[direction] = self._propagator.tracker(self._plan.stack.size)
        prompts = {number: key.prompts.fitted(self._plan.shape) for number, key in known.items()}
        return self._trackers[direction].condition(shown.position, shown.embedding(), prompts)

    def follow(self, shown: Shown, tracks: Mapping[int, Track]) -> Mapping[int, Prediction]:
        """Find all objects in one pass."""
        ((direction, tracker),) = self._trackers.items()
        return tracker.follow(shown.position, shown.embedding(), tuple(tracks), direction)


class ByShapes:
    """Between two keys the shape of the one turns into that of the other; the image is not looked at.

    Parameters
    ----------
    plan : Plan
    asker : tuple of BySlices
        Asks for the masks of keys with open prompts; empty where there are none.
    """

    forgets = False

    def __init__(self, plan: Plan, asker: tuple[BySlices, ...]) -> None:
        self._plan = plan
        self._asker = asker

    def learn(self, shown: Shown, known: Mapping[int, Key], direction: Direction) -> Mapping[int, Prediction]:
        """Ask for the masks of keys with open prompts."""
        found: dict[int, Prediction] = {}
        for asker in self._asker:
            found.update(asker.learn(shown, known, direction))
        return found

    def follow(self, shown: Shown, tracks: Mapping[int, Track]) -> Mapping[int, Prediction]:
        """Interpolate by signed distance; the score is the Dice of the two masks between which it lies."""
        return {number: self._between(shown.position, track) for number, track in tracks.items()}

    def _between(self, position: int, track: Track) -> Prediction:
        source, (other,) = track.leg.source, track.leg.towards
        # from the lower key in both directions, so that the two halves are of one shape
        low, high = (source, other) if source < other else (other, source)
        first, second = (track.start, track.goal) if source < other else (track.goal, track.start)
        mask = between(first, second, (position - low) / (high - low), self._plan.pixel)
        alike = 2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second))
        return Prediction(mask[None], np.array([alike]))


def drawn_box(key: Key, mask: BoolArray, plan: Plan) -> Box:
    """The box that was drawn on a key slice; where there is none, the one around its mask."""
    return key.prompts.box or box_around(mask, plan.prompting.margin, plan.pixel)
