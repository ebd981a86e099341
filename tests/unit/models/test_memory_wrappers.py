"""A model with a memory behind the wrappers of loading: still a `Propagator`, and only then; and short of memory."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.contract.fakes import BoxFake, BrightFake, BrightTracker
from tests.contract.remembering import SMALL, made, planes, remembering

from napari_medsam.errors import MemoryShortError, UnsupportedError
from napari_medsam.models.base import Direction, Embedding, Prediction, Propagator, Segmenter, require_memory
from napari_medsam.models.compute import Compute
from napari_medsam.models.fallback import Remade, fallback_of
from napari_medsam.models.stand_in import stand_in_of
from napari_medsam.prompts import Box, Point, PromptKind, Prompts, Stroke

FULL = Compute("cpu", "float32")
STROKE = {PromptKind.STROKE: "a stroke counts as points"}


@pytest.fixture(autouse=True)
def _nothing_else_is_held() -> None:
    """Errors that pytest keeps hold models of other tests."""
    Remade._living.clear()


def volume() -> list[NDArray[np.uint8]]:
    """Two objects, of 30 and 40 bright pixels, that move by a pixel a slice."""
    stack = np.full((4, 40, 60), 20, dtype=np.uint8)
    for position, plane in enumerate(stack):
        plane[10 + position : 15 + position, 12:18] = 200
        plane[20:24, 30 + position : 40 + position] = 220
    return list(stack)


KNOWN = {1: Prompts(Box(8, 10, 17, 20)), 2: Prompts(Box(18, 28, 26, 42))}


class ShortTracker(BrightTracker):
    """Finds one object at a time; from slice `until` on not even that."""

    until = 99

    def follow(
        self, position: int, embedding: Embedding, objects: Collection[int], direction: Direction
    ) -> dict[int, Prediction]:
        """Run out of memory for two."""
        if len(objects) > 1 or position >= self.until:
            raise MemoryError
        return super().follow(position, embedding, objects, direction)


class Short(BrightFake):
    """A model whose trackers are short of memory; `until` is theirs."""

    until = 99

    def tracker(self, planes: int) -> BrightTracker:
        """Make one."""
        tracker = ShortTracker(self)
        tracker.until = self.until
        return tracker


@pytest.mark.parametrize(("model", "remembers"), [(BrightFake(), True), (BoxFake(), False)], ids=["memory", "none"])
def test_a_wrapped_model_is_a_propagator_if_it_has_a_memory(model: Segmenter, remembers: bool) -> None:
    for wrapped in (
        fallback_of(lambda _: model, FULL),
        stand_in_of(model),
        stand_in_of(fallback_of(lambda _: model, FULL)),
    ):
        assert isinstance(wrapped, Segmenter)
        assert isinstance(wrapped, Propagator) == remembers


def test_sam_2_made_for_single_images_is_no_propagator_and_says_so() -> None:
    model = stand_in_of(fallback_of(lambda _: made(replace(SMALL, memory=False)), FULL))
    assert isinstance(model, Segmenter)
    assert not isinstance(model, Propagator)
    with pytest.raises(UnsupportedError, match=r"no memory.*slice by slice"):
        require_memory(model)


def test_the_wrappers_add_nothing_to_what_is_found() -> None:
    bare, wrapped = BrightFake(), stand_in_of(fallback_of(lambda _: BrightFake(), FULL))
    trackers = bare.tracker(4), require_memory(wrapped).tracker(4)
    seen = [bare.encode(plane) for plane in volume()]
    for direct, behind in zip(*(one.condition(0, seen[0], KNOWN).values() for one in trackers), strict=True):
        np.testing.assert_array_equal(direct.masks, behind.masks)
    for at in (1, 2, 3):
        found, other = (one.follow(at, seen[at], [1, 2], Direction.UP) for one in trackers)
        for number in (1, 2):
            np.testing.assert_array_equal(found[number].mask, other[number].mask)
            assert np.count_nonzero(other[number].mask) == {1: 30, 2: 40}[number]
            assert other[number].note == ""


def test_a_stroke_is_taken_as_points_and_named_as_such() -> None:
    inner = made()
    inner.spec = replace(inner.spec, prompts=frozenset({PromptKind.POINT}), stand_ins=STROKE)
    tracker = require_memory(stand_in_of(inner)).tracker(3)
    seen = inner.encode(planes(1)[0])
    (answer,) = tracker.condition(0, seen, {1: Prompts(strokes=(Stroke(((12, 18), (24, 18))),))}).values()
    assert answer.note == "Stand-in: a stroke counts as points."
    with pytest.raises(UnsupportedError):
        tracker.condition(0, seen, {1: Prompts(Box(2, 3, 9, 12), (Point(4, 5),))})


def test_too_little_memory_for_all_objects_finds_them_one_by_one() -> None:
    model = fallback_of(lambda _: Short(), FULL)
    tracker = require_memory(model).tracker(4)
    seen = [model.encode(plane) for plane in volume()]
    tracker.condition(0, seen[0], KNOWN)
    found = tracker.follow(1, seen[1], [1, 2], Direction.UP)
    assert [np.count_nonzero(found[number].mask) for number in (1, 2)] == [30, 40]


def test_too_little_memory_for_one_ends_the_run_and_the_next_one_takes_less() -> None:
    asked: list[str] = []

    def make(compute: Compute) -> Short:
        asked.append(compute.precision)
        model = Short()
        model.until = 2 if compute.precision == "float32" else 99
        return model

    model = fallback_of(make, FULL)
    seen = [model.encode(plane) for plane in volume()]
    first = require_memory(model).tracker(4)
    first.condition(0, seen[0], KNOWN)
    first.follow(1, seen[1], [1, 2], Direction.UP)
    with pytest.raises(MemoryShortError, match=r"what was found is kept.*in half precision"):
        first.follow(2, seen[2], [1, 2], Direction.UP)
    second = require_memory(model).tracker(4)
    second.condition(1, seen[1], {1: Prompts(Box(8, 10, 18, 20))})
    answer = second.follow(2, seen[2], [1], Direction.UP)[1]
    assert np.count_nonzero(answer.mask) == 30
    assert answer.note == "It runs in half precision, as there was too little memory."
    assert asked == ["float32", "bfloat16"]


def test_embeddings_are_those_of_the_image_path() -> None:
    """What propagation is given comes from the store, and prompts on single planes get it from there too."""
    model = remembering()
    seen = model.encode(planes(1)[0])
    model.tracker(3).condition(0, seen, {1: Prompts(Box(8, 14, 30, 50))})
    assert seen.arrays.keys() == {"feat_s0", "feat_s1", "image"}
    again = model.encode(planes(1)[0])
    for name, array in seen.arrays.items():
        np.testing.assert_array_equal(array, again.arrays[name])
