"""A run while it is written into labels: what came of each object, to be counted, named and remembered."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.drafts import Accepted, Draft, question
from napari_medsam.errors import LabelsError
from napari_medsam.geometry import Plane
from napari_medsam.labels import LabelStore
from napari_medsam.masks import Overlap
from napari_medsam.objects import ObjectNames
from napari_medsam.propagation.gathering import NEW, Followed
from napari_medsam.propagation.growth import Growth, Laid, Written
from napari_medsam.propagation.planning import Scene
from napari_medsam.propagation.provenance import EMPTY, Entry


class Recording:
    """Writes a growth and keeps account, as far as it came.

    Parameters
    ----------
    growth : Growth
    labels : LabelStore
        Where it is written to.
    values : sequence of int
        The label of each of the growth's objects.
    """

    def __init__(self, growth: Growth, labels: LabelStore, values: Sequence[int]) -> None:
        self.growth = growth
        self.objects: list[tuple[int, Followed]] = list(zip(values, growth.objects, strict=True))
        self.entries: dict[int, dict[int, Entry]] = {value: {} for value in values}
        self._labels = labels
        self._pixels = dict.fromkeys(values, 0)
        self._slices = 0
        self._kept = 0
        self._settled: tuple[str, ...] = ()

    def steps(self, overlap: Overlap) -> Iterator[tuple[Plane, NDArray[Any]]]:
        """What `LabelStore.put` takes; a slice counts once the next is asked for, when it has been written."""
        for laid in self.growth.laid_over(self._labels.read, [value for value, _ in self.objects], overlap):
            yield laid.plane, laid.after
            self._take(laid)

    def planes(self, value: int) -> list[Plane]:
        """The slices on which an object is now."""
        stack = self.growth.plan.stack
        return [stack.plane(at) for at, entry in self.entries[value].items() if entry.after != EMPTY]

    def settle(self, drafts: Mapping[str, Draft]) -> tuple[str, ...]:
        """Keys of those proposals that are in the labels now, of the open ones, unless they ask something else."""
        found = []
        for value, each in self.objects:
            here = set(self.planes(value))
            for draft in each.drafts:
                still = drafts.get(draft.key)
                if still is not None and question(still)[:2] == question(draft)[:2] and draft.plane in here:
                    found.append(draft.key)
        self._settled = tuple(found)
        return self._settled

    def remember(self, objects: ObjectNames, scene: Scene) -> None:
        """Bring names and provenance in step with what was written, with the latest step of the labels."""
        stack, step = self.growth.plan.stack, self._labels.latest()
        for value, each in self.objects:
            if value not in objects.names and not each.before:
                scene.provenance.forget(value)
            for plane in self.planes(value):
                (objects.extend if each.before else objects.add)(value, each.name, plane)
            scene.provenance.note(value, stack, self.entries[value], scene.look(value, stack), step)

    @property
    def names(self) -> frozenset[str]:
        """The names of new objects that are in the labels now."""
        return frozenset(each.name for value, each in self.objects if each.value == NEW and self.planes(value))

    @property
    def written(self) -> Written:
        """The account."""
        values = {s.number: value for value, each in self.objects for s in each.subjects}
        pixels = {value: count for value, count in self._pixels.items() if count}
        return Written(self._slices, pixels, values, self._kept, self._settled)

    def _take(self, laid: Laid) -> None:
        differs = laid.after != laid.before
        self._slices += bool(differs.any())
        self._kept += laid.kept
        for value, entry in laid.entries.items():
            if entry.after != EMPTY or entry.before != EMPTY:
                self.entries[value][laid.position] = entry
            mine = differs & ((laid.after == value) | (laid.before == value))
            self._pixels[value] += int(np.count_nonzero(mine))


def require_labels(growth: Growth, labels: LabelStore) -> None:
    """Raise LabelsError when a run of objects in other labels would be written."""
    if growth.labels is not labels and any(each.value != NEW for each in growth.objects):
        raise LabelsError(
            "Other labels are in use now than when the run began, so what it found cannot be added to its objects. "
            "Choose the labels of the run again, and repeat it."
        )


def values_for(growth: Growth, accepted: Mapping[str, Accepted], first: int) -> list[int]:
    """The label of each object of a run: a new one gets the next from `first`, unless it has come into the labels.

    That is so when one of its proposals was `accepted` by itself meanwhile; by key.
    """
    fresh = itertools.count(max([first, *(each.value + 1 for each in growth.objects)]))
    return [each.value or _accepted_as(each, accepted) or next(fresh) for each in growth.objects]


def _accepted_as(each: Followed, accepted: Mapping[str, Accepted]) -> int:
    for draft in each.drafts:
        done = accepted.get(draft.key)
        if done is not None and done.plane == draft.plane:
            return done.value
    return NEW
