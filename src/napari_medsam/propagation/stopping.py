"""When an object is thought to have ended: rules that know the distance between slices, and who keeps watch by them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_medsam.errors import InputError
from napari_medsam.masks import BoolArray
from napari_medsam.propagation.why import Why
from napari_medsam.shapes import bounds_of

Pixels = Callable[[], NDArray[np.uint8]]
FloatArray = NDArray[np.float64]

NORMAL = 1.4826
"""Times the median absolute deviation, this is the standard deviation of what is normally distributed."""

LEAST_SPREAD = 4.0
"""Grey levels, of 255: what is more even than this is taken to vary as much, so that a flat object has a look too."""

LEAST_CONTRAST = 8.0
"""Grey levels, of 255: a key slice with less says nothing of how the object stands out."""

RING = (1, 3)
"""What surrounds a mask: pixels further than the first and no further than the second from it."""

SCORES = 5
"""The score is held against the median of this many before it."""

LEVELS = np.arange(256.0)
"""The grey values that there are: a median by counting them takes a tenth of the time of one by sorting."""

MOST_SEEN = 32
"""Masks that are remembered at most, however thin the slices are."""


@dataclass(frozen=True)
class StopRules:
    """When a direction ends before its range does. Each rule is switched off by the value named.

    What changes along the way is measured against the mask `reach` back, so that slices of half a millimetre are not
    judged by their noise, and its limits are for one millimetre: over `d` mm a factor `f` becomes `f ** d`.

    Parameters
    ----------
    empty : int
        Empty masks in a row that end a direction; 0: none do, and the last mask that was not empty leads on.
    growth : float
        The largest factor by which the area may grow in 1 mm; infinity: off.
    shrinkage : float
        The smallest factor by which the area may shrink in 1 mm; 0: off.
    overlap : float
        The least Dice of two masks 1 mm apart; 0: off.
    score : float
        The least score, as a part of the median of those before it in this direction; 0: off.
    look : float
        The largest distance of the median grey value inside the mask from that on the key slice, in robust standard
        deviations of the key's; infinity: off. In colour the channel that differs most counts.
    contrast : float
        The least contrast between the mask and what is around it, as a part of that on the key slice; 0 ends a
        direction where bright on dark turns into dark on bright, -infinity: off. Counts where the key slice has any
        contrast to speak of. In colour the channel in which the key stands out most counts.
    reach : float
        How far back the mask is with which area and overlap are compared, in mm; at least one slice.

    Raises
    ------
    InputError
        A limit that is no limit.
    """

    empty: int = 1
    growth: float = 1.3
    shrinkage: float = 0.6
    overlap: float = 0.6
    score: float = 0.8
    look: float = np.inf
    contrast: float = 0.0
    reach: float = 2.0

    def __post_init__(self) -> None:
        parts = {"shrinkage": self.shrinkage, "overlap": self.overlap, "score": self.score}
        for name, value in parts.items():
            if not 0 <= value <= 1:
                raise InputError(f"The stop rule for {name} is a number from 0 (off) to 1, not {value}.")
        if not self.growth >= 1:
            raise InputError(f"The stop rule for growth is a factor of 1 or more (infinity: off), not {self.growth}.")
        if not self.contrast <= 1:
            raise InputError(f"The stop rule for contrast is 1 or less (-infinity: off), not {self.contrast}.")
        if not (self.look > 0 and self.reach >= 0 and self.empty >= 0):
            raise InputError(
                "The stop rules need a look above 0 (infinity: off), and empty and reach of 0 or more, not "
                f"{self.look}, {self.empty} and {self.reach}."
            )

    @classmethod
    def none(cls) -> StopRules:
        """No rule but the range and the slices where the user says stop; empty masks do not end a direction either."""
        return cls(empty=0, growth=np.inf, shrinkage=0.0, overlap=0.0, score=0.0, look=np.inf, contrast=-np.inf)

    @property
    def looks(self) -> bool:
        """Whether the key slice must be looked at."""
        return self.look < np.inf or self.contrast > -np.inf

    def within(self) -> StopRules:
        """The rules between two keys: the object is known on both sides, so that only a loss of it ends a direction."""
        return replace(StopRules.none(), empty=self.empty)


@dataclass(frozen=True)
class Look:
    """The grey values inside a mask, one a channel: median, robust standard deviation, and how much it stands out.

    Parameters
    ----------
    middle, spread : (channels,) arrays
    contrast : (channels,) array
        The median inside less that of the ring around the mask; 0 where there is no ring.
    """

    middle: FloatArray
    spread: FloatArray
    contrast: FloatArray

    @classmethod
    def of(cls, pixels: NDArray[np.uint8], mask: BoolArray) -> Look:
        """The look of a mask that is not empty, (rows, columns), on a plane."""
        inside = pixels.reshape(*mask.shape, -1)[mask].astype(np.float64)
        middle = np.median(inside, axis=0)
        around = _around(pixels, mask)
        contrast = middle - np.median(around, axis=0) if len(around) else np.zeros_like(middle)
        return cls(middle, NORMAL * np.median(np.abs(inside - middle), axis=0), contrast)

    def distance(self, other: Look) -> float:
        """How far `other` is from this one, in this one's standard deviations."""
        return float((np.abs(other.middle - self.middle) / np.maximum(self.spread, LEAST_SPREAD)).max())

    def kept(self, other: Look) -> float:
        """The contrast of `other` as a part of this one's, where this one stands out most; 1 where it hardly does."""
        channel = int(np.abs(self.contrast).argmax())
        mine = self.contrast[channel]
        return float(other.contrast[channel] / mine) if abs(mine) > LEAST_CONTRAST else 1.0


def _around(pixels: NDArray[np.uint8], mask: BoolArray) -> FloatArray:
    """The grey values of the ring around a mask, (k, channels): RING[0] to RING[1] pixels from its border."""
    near = tuple(slice(max(s.start - RING[1], 0), s.stop + RING[1]) for s in bounds_of(mask))
    close, far = (ndimage.binary_dilation(mask[near], iterations=i) for i in RING)
    ring = far & ~close
    return np.asarray(pixels.reshape(*mask.shape, -1)[near][ring], dtype=np.float64)


@dataclass(frozen=True)
class _Seen:
    """A mask that was taken: how far along the way, in mm, and how many pixels it has."""

    at: float
    mask: BoolArray
    area: int


class Watch:
    """Judges the masks of one direction, one after another. Holds no more of them than the rules look back.

    Parameters
    ----------
    rules : StopRules
    pitch : float
        Distance between slices, in mm.
    start : (rows, columns) bool array
        The mask of the key slice, not empty.
    look : tuple of Look
        Of the key slice; empty when no rule needs it.
    """

    def __init__(self, rules: StopRules, pitch: float, start: BoolArray, look: tuple[Look, ...] = ()) -> None:
        self._rules = rules
        self._pitch = pitch
        self._look = look
        self._at = 0.0
        self._empty = 0
        self._scores: deque[float] = deque(maxlen=SCORES)
        self._seen: deque[_Seen] = deque([_Seen(0.0, start, int(np.count_nonzero(start)))], MOST_SEEN)

    def judge(self, mask: BoolArray, score: float, pixels: Pixels) -> tuple[Why, ...]:
        """Take the mask of the next slice, (rows, columns), and say which rules end the direction before it.

        `pixels` gives the slice; it is called only if a rule needs it.
        """
        self._at += self._pitch
        area = int(np.count_nonzero(mask))
        if not area:
            self._empty += 1
            return (Why.EMPTY,) if self._empty == self._rules.empty else ()
        self._empty = 0
        now = _Seen(self._at, mask, area)
        broken = (*self._change(now), *self._doubt(now, score, pixels))
        if not broken:
            self._take(now, score)
        return broken

    def _change(self, now: _Seen) -> tuple[Why, ...]:
        before = self._seen[0]
        distance, rules = now.at - before.at, self._rules
        change = np.log(now.area / before.area)
        broken = []
        if change > np.log(rules.growth) * distance:  # by logarithms: a power may be too large for a number
            broken.append(Why.GREW)
        if rules.shrinkage > 0 and change < np.log(rules.shrinkage) * distance:
            broken.append(Why.SHRANK)
        if rules.overlap > 0 and _dice(before, now) < rules.overlap**distance:
            broken.append(Why.MOVED)
        return tuple(broken)

    def _doubt(self, now: _Seen, score: float, pixels: Pixels) -> tuple[Why, ...]:
        broken = []
        if self._scores and score < self._rules.score * float(np.median(self._scores)):
            broken.append(Why.SCORE)
        for look in self._look:
            here = Look.of(pixels(), now.mask)
            if look.distance(here) > self._rules.look:
                broken.append(Why.LOOK)
            if look.kept(here) < self._rules.contrast:
                broken.append(Why.CONTRAST)
        return tuple(broken)

    def _take(self, now: _Seen, score: float) -> None:
        self._scores.append(score)
        self._seen.append(now)
        # the first one is what the next mask is compared with: the nearest that is `reach` back, or the last
        while len(self._seen) > 1 and now.at + self._pitch - self._seen[1].at >= self._rules.reach - self._pitch / 1e6:
            self._seen.popleft()


def _dice(one: _Seen, other: _Seen) -> float:
    return 2.0 * float(np.count_nonzero(one.mask & other.mask)) / (one.area + other.area)
