"""The laws of a `Tracker`, for SAM 2's with random weights: there are no laws of what it finds, but all of how."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_medsam.errors import PromptError
from napari_medsam.models.base import Direction, Prediction, Propagator, Segmenter
from napari_medsam.models.sam2_bank import POINTERS
from napari_medsam.models.sam2_tracker import Sam2Tracker
from napari_medsam.prompts import Box, MaskPrompt, Point, Prompts

from .remembering import SHAPE, planes, remembering, seen

UP, DOWN = Direction.UP, Direction.DOWN
BOX = Prompts(Box(8, 14, 30, 50))
COUNT = 5


def blob(row: int = 10, column: int = 16) -> Prompts:
    pixels = np.zeros(SHAPE, dtype=bool)
    pixels[row : row + 18, column : column + 8] = True
    return Prompts(mask=MaskPrompt(pixels))


WAYS_IN = {"box": BOX, "point": Prompts(points=(Point(24, 30),)), "mask": blob()}


def tracker(planes: int = COUNT) -> Sam2Tracker:
    return remembering().tracker(planes)


def through(known: Mapping[int, Prompts], positions: range, direction: Direction) -> list[Mapping[int, Prediction]]:
    """Predictions on slices after the first of `positions`, on which `known` is known."""
    one = tracker()
    one.condition(positions[0], seen(COUNT)[positions[0]], known)
    return [one.follow(at, seen(COUNT)[at], list(known), direction) for at in positions[1:]]


def logits(known: Mapping[int, Prompts], order: list[int], direction: Direction, at: list[int]) -> NDArray[np.float32]:
    """Logits of object 1 on slices whose pixels are those of `order` and whose positions are `at`."""
    one = tracker()
    one.condition(at[0], seen(COUNT)[order[0]], known)
    pairs = zip(order[1:], at[1:], strict=True)
    return np.stack([one.followed(p, seen(COUNT)[o].arrays, [1], direction)[1].logits for o, p in pairs])


def test_it_is_a_segmenter_and_a_propagator() -> None:
    assert isinstance(remembering(), Segmenter)
    assert isinstance(remembering(), Propagator)


@pytest.mark.parametrize("way", WAYS_IN)
def test_masks_and_scores_have_the_promised_form(way: str) -> None:
    answers = through({1: WAYS_IN[way]}, range(COUNT), UP)
    for answer in answers:
        assert answer.keys() == {1}
        assert answer[1].masks.shape == (1, *SHAPE)
        assert answer[1].masks.dtype == bool
        assert 0 <= answer[1].score <= 1
    assert len({answer[1].mask.tobytes() for answer in answers}) > 1, "each slice has a mask of its own"


@pytest.mark.parametrize("way", WAYS_IN)
def test_the_same_way_twice_gives_the_same(way: str) -> None:
    first, second = (through({1: WAYS_IN[way]}, range(COUNT), UP) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a[1].masks, b[1].masks)
        np.testing.assert_array_equal(a[1].scores, b[1].scores)


def test_a_lone_mask_is_the_truth_where_it_was_given() -> None:
    (answer,) = tracker().condition(2, seen(COUNT)[2], {7: blob()}).values()
    assert blob() == Prompts(mask=MaskPrompt(answer.mask))
    assert answer.score == 1


def test_prompts_are_answered_as_on_a_single_plane() -> None:
    for prompts in (BOX, WAYS_IN["point"], Prompts(Box(8, 14, 30, 50), (Point(12, 40, positive=False),))):
        alone = remembering().decode(seen(COUNT)[2], prompts)
        (answer,) = tracker().condition(2, seen(COUNT)[2], {1: prompts}).values()
        np.testing.assert_array_equal(answer.mask, alone.mask)
        assert answer.score == pytest.approx(alone.score, abs=1e-5)


def test_what_was_shown_changes_what_is_found() -> None:
    at = list(range(COUNT))
    one, other = (logits({1: shown}, at, UP, at) for shown in (blob(), blob(3, 40)))
    assert np.abs(one - other).max() > 1e-2


def test_downwards_through_the_reversed_stack_is_the_same() -> None:
    at = list(range(COUNT))
    np.testing.assert_array_equal(logits({1: BOX}, at, UP, at), logits({1: BOX}, at, DOWN, at[::-1]))


def test_objects_together_are_found_as_each_alone() -> None:
    known = {1: BOX, 4: blob(), 9: WAYS_IN["point"]}
    together = tracker()
    together.condition(0, seen(COUNT)[0], known)
    apart = {number: tracker() for number in known}
    for number, prompts in known.items():
        apart[number].condition(0, seen(COUNT)[0], {number: prompts})
    for at in range(1, COUNT):
        found = together.followed(at, seen(COUNT)[at].arrays, list(known), UP)
        for number, one in apart.items():
            alone = one.followed(at, seen(COUNT)[at].arrays, [number], UP)[number]
            np.testing.assert_allclose(found[number].logits, alone.logits, atol=1e-3)
            assert found[number].score == pytest.approx(alone.score, abs=1e-4)


def test_objects_that_end_or_begin_later_leave_the_others_as_they_are() -> None:
    alone = through({1: BOX}, range(COUNT), UP)
    one = tracker()
    one.condition(0, seen(COUNT)[0], {1: BOX, 2: blob()})
    one.condition(3, seen(COUNT)[3], {3: blob(4, 30)})
    for at, objects in ((1, [1, 2]), (2, [1]), (3, [1]), (4, [1, 3])):
        answer = one.follow(at, seen(COUNT)[at], objects, UP)
        assert sorted(answer) == objects
        assert np.mean(answer[1].mask != alone[at - 1][1].mask) < 1e-2


def test_an_object_that_is_not_there_has_an_empty_mask_and_a_sure_score() -> None:
    one = remembering(there=-9.0).tracker(COUNT)
    one.condition(0, seen(COUNT)[0], {1: blob()})
    answer = one.follow(1, seen(COUNT)[1], [1], UP)[1]
    assert not answer.mask.any()
    assert answer.score > 0.9
    assert "not on this plane" in answer.note


@pytest.mark.parametrize("shape", [(31, 90), (90, 31, 3), (200, 40)], ids=str)
def test_planes_of_any_shape_and_colours(shape: tuple[int, ...]) -> None:
    stack = np.random.default_rng(1).integers(0, 256, (2, *shape)).astype(np.uint8)
    first, second = (remembering().encode(plane) for plane in stack)
    pixels = np.zeros(shape[:2], dtype=bool)
    pixels[5:20, 8:22] = True
    one = tracker(2)
    one.condition(0, first, {1: Prompts(mask=MaskPrompt(pixels))})
    assert one.follow(1, second, [1], UP)[1].masks.shape == (1, *shape[:2])


def test_a_mask_thinner_than_the_network_s_pixels_is_still_shown() -> None:
    pixels = np.zeros((1000, 900), dtype=bool)
    pixels[500, 400] = True
    truth = remembering().truth(pixels)
    assert 1 <= np.count_nonzero(truth) <= 4
    np.testing.assert_allclose(np.argwhere(truth).mean(0), np.array([500.5 / 1000, 400.5 / 900]) * 128 - 0.5, atol=1)


def test_what_it_holds_does_not_grow_with_the_slices_that_it_has_seen() -> None:
    one = tracker(300)
    one.condition(0, seen(COUNT)[0], {1: BOX, 2: blob()})
    held = []
    for at in range(1, 3 * POINTERS):
        one.follow(at, seen(COUNT)[at % COUNT], [1, 2], UP)
        held.append(one.nbytes)
    assert held[-1] == held[POINTERS] == max(held)
    slice_bytes = 8 * 8 * 64 * 2 + 256 * 4
    assert max(held) == 2 * (1 + POINTERS) * slice_bytes


def test_objects_of_which_nothing_was_said_are_refused_in_words() -> None:
    with pytest.raises(PromptError, match="object 5"):
        tracker().follow(1, seen(COUNT)[1], [5], UP)


def test_sam_2_of_2024_without_temporal_pointers_follows_too() -> None:
    one = remembering(temporal=False).tracker(COUNT)
    stack = seen(COUNT, temporal=False)
    one.condition(2, stack[2], {1: BOX})
    assert one.follow(1, stack[1], [1], DOWN)[1].masks.shape == (1, *SHAPE)


def test_colour_planes_are_followed() -> None:
    first, second = (remembering().encode(plane) for plane in planes(2, (3,)))
    one = tracker(2)
    one.condition(0, first, {1: BOX})
    assert one.follow(1, second, [1], UP)[1].masks.shape == (1, *SHAPE)
