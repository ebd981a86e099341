"""Runs through stacks: every way at every end, several objects, keys, stops, errors, and what is read and encoded."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_medsam.embeddings import EmbeddingStore
from napari_medsam.errors import GeometryError, ImageError, MemoryShortError, ModelError, PromptError, UnsupportedError
from napari_medsam.geometry import Grid, Plane
from napari_medsam.intensity import Window, to_uint8
from napari_medsam.models import registry
from napari_medsam.models.base import Direction, Embedding, Prediction
from napari_medsam.models.contour import Contour
from napari_medsam.phantom import ct_phantom
from napari_medsam.prompts import Box, Logits, MaskPrompt, Point, Prompts
from napari_medsam.propagation.plan import Ended, Grown, Passed, Plan, Way, steps_of
from napari_medsam.propagation.prompting import Feed, Prompting
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.stopping import StopRules
from napari_medsam.propagation.subject import Key, Span, Subject
from napari_medsam.propagation.walk import walk
from napari_medsam.propagation.ways import default_way, ways_of
from napari_medsam.propagation.why import Why

from ..contract.fakes import BoxFake, BrightFake, LabelFake, MaskFake
from .fakes import LazyArray, RaisingFake

SPACING = (3.0, 1.0, 2.0)
ASKED = (Way.MEMORY, Way.SLICES, Way.BOX)
NONE = StopRules.none()
UP, DOWN = Direction.UP, Direction.DOWN


def volume(size: int = 7, first: int = 0, last: int | None = None, colour: bool = False) -> NDArray[np.uint8]:
    """A dim L-shaped stack with a bright block that wanders a pixel a slice, on slices `first` to `last`."""
    data = np.full((size, 20, 28), 40, np.uint8)
    data[:, 2:18, 1] = 60
    for z in range(first, size if last is None else last + 1):
        data[z, 5:11, 6 + z : 13 + z] = 200
    return np.repeat(data[..., None], 3, axis=-1) if colour else data


def around(z: int, by: int = 1) -> Box:
    """A box around the block on slice z."""
    return Box(5 - by, 6 + z - by, 11 + by, 13 + z + by)


def key(z: int) -> Key:
    return Key(z, Prompts(around(z)))


def certain(z: int, data: NDArray[np.uint8]) -> Key:
    plane = data[z] if data.ndim == 3 else data[z, ..., 0]
    return Key(z, Prompts(mask=MaskPrompt(plane > 128)))


def plan(data: Any, keys: Sequence[Key], way: Way = Way.SLICES, span: Span | None = None, **more: Any) -> Plan:
    """A plan for one object along axis 0."""
    size = data.shape[0]
    stops = frozenset(more.pop("stops", ()))
    subject = Subject(1, tuple(keys), span or Span(0, size - 1), stops)
    return of_subjects(data, (subject,), way, **more)


def of_subjects(data: Any, subjects: tuple[Subject, ...], way: Way, axis: int = 0, **more: Any) -> Plan:
    shape = data.shape[:3]
    stack = Stack.through(Plane.across(axis, 0), shape)
    grid = Grid.from_spacing(shape, SPACING)
    return Plan(stack, subjects, way, grid, lambda at: np.asarray(data[stack.plane(at).key]), **more)


def run(made: Plan, model: Any = None, store: EmbeddingStore | None = None) -> list[Grown | Ended | Passed]:
    chosen = BrightFake() if model is None else model
    return list(walk(made, chosen, EmbeddingStore() if store is None else store))


def grown(events: Sequence[Grown | Ended | Passed], number: int = 1) -> dict[int, NDArray[np.bool_]]:
    found = [e for e in events if isinstance(e, Grown) and e.number == number]
    assert len({e.position for e in found}) == len(found), "a slice was given twice"
    return {e.position: e.mask for e in found}


def ends(events: Sequence[Grown | Ended | Passed], number: int = 1) -> dict[tuple[int, Direction], tuple[int, Why]]:
    return {(e.source, e.direction): (e.position, e.why) for e in events if isinstance(e, Ended) and e.number == number}


# -- ranges ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ASKED)
@pytest.mark.parametrize(
    ("size", "at", "span"),
    [
        (1, 0, (0, 0)),
        (6, 3, (0, 5)),
        (7, 3, (0, 6)),
        (6, 0, (0, 5)),
        (6, 5, (0, 5)),
        (6, 2, (2, 2)),
        (6, 0, (0, 0)),
        (6, 5, (5, 5)),
        (7, 2, (1, 4)),
        (7, 1, (1, 4)),
        (7, 4, (1, 4)),
    ],
)
def test_all_of_a_range_is_found_both_ends_included_and_nothing_else(
    way: Way, size: int, at: int, span: tuple[int, int]
) -> None:
    data = volume(size)
    more = {"way": way, "span": Span(*span), "rules": NONE}
    found = grown(run(plan(data, [key(at)], **more)))
    reached = list(range(span[0], span[1] + 1))
    if way is Way.BOX:  # the block leaves the box of the key in time
        reached = [z for z in reached if abs(z - at) < 8]
    assert sorted(found) == reached
    for z, mask in found.items():
        expected = data[z] > 128
        if way is Way.BOX:
            expected &= _within(around(at), expected.shape)
        np.testing.assert_array_equal(mask, expected)


def _within(box: Box, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    inside = np.zeros(shape, dtype=bool)
    inside[box.slices] = True
    return inside


@pytest.mark.parametrize("way", ASKED)
@pytest.mark.parametrize("size", [2, 5, 6])
def test_a_certain_mask_leads_the_way_and_is_never_given(way: Way, size: int) -> None:
    data = volume(size)
    for at in (0, size // 2, size - 1):
        found = grown(run(plan(data, [certain(at, data)], way, rules=NONE)))
        assert sorted(found) == [z for z in range(size) if z != at]


@pytest.mark.parametrize("way", list(Way))
@pytest.mark.parametrize("distance", [1, 2, 3, 4, 5])
def test_between_two_keys_every_slice_comes_from_the_nearer_one(way: Way, distance: int) -> None:
    data = volume(8)
    low, high = 1, 1 + distance
    events = run(plan(data, [certain(low, data), key(high)], way, span=Span(low, high)))
    sources = {e.position: (e.source, e.direction) for e in events if isinstance(e, Grown) and e.position != e.source}
    expected = {z: (low, UP) if z - low <= high - z else (high, DOWN) for z in range(low + 1, high)}
    assert sources == expected


@pytest.mark.parametrize("way", list(Way))
def test_results_and_what_is_left_add_up_to_the_steps(way: Way) -> None:
    data = volume(12, first=2, last=9)
    made = plan(data, [key(4), certain(7, data)], way)
    events = run(made)
    done = sum(isinstance(e, Grown) for e in events) + sum(e.left for e in events if isinstance(e, Ended))
    assert done == steps_of(made)
    assert sum(isinstance(e, Ended) for e in events) == 4


def test_each_end_says_where_the_object_was_last_and_why() -> None:
    data = volume(9, first=2, last=6)
    assert ends(run(plan(data, [key(4)], Way.MEMORY))) == {(4, UP): (6, Why.EMPTY), (4, DOWN): (2, Why.EMPTY)}
    assert ends(run(plan(data, [key(4)], Way.MEMORY, span=Span(3, 6)))) == {
        (4, UP): (6, Why.RANGE),
        (4, DOWN): (3, Why.RANGE),
    }
    assert ends(run(plan(data, [key(4)], Way.MEMORY, stops=(5, 2)))) == {
        (4, UP): (5, Why.STOP_HERE),
        (4, DOWN): (2, Why.STOP_HERE),
    }
    assert ends(run(plan(data, [key(3), key(6)], Way.MEMORY, span=Span(3, 6)))) == {
        (3, UP): (4, Why.MET),
        (6, DOWN): (5, Why.MET),
        (3, DOWN): (3, Why.RANGE),
        (6, UP): (6, Why.RANGE),
    }


@pytest.mark.parametrize("way", ASKED)
def test_where_nothing_is_found_on_the_key_slice_nothing_is_followed(way: Way) -> None:
    data = volume(5, first=4)
    events = run(plan(data, [key(2)], way))
    assert not grown(events)
    assert ends(events) == {(2, UP): (2, Why.NOTHING), (2, DOWN): (2, Why.NOTHING)}
    assert sum(e.left for e in events if isinstance(e, Ended)) == steps_of(plan(data, [key(2)], way)) == 5


# -- ways ------------------------------------------------------------------------------------------------------


def test_a_box_is_the_same_on_every_slice_and_nothing_but_the_range_ends_it() -> None:
    data = volume(6)
    data[3] = 40  # nothing is bright there
    found = grown(run(plan(data, [key(2)], Way.BOX)))
    assert sorted(found) == [0, 1, 2, 4, 5]
    for z, mask in found.items():
        np.testing.assert_array_equal(mask, (data[z] > 128) & _within(around(2), mask.shape))


def test_the_box_of_a_mask_is_the_one_around_it_with_the_margin() -> None:
    data = volume(3)
    made = plan(data, [certain(1, data)], Way.BOX, prompting=Prompting(margin=2.0))
    found = grown(run(made, BoxFake()))
    np.testing.assert_array_equal(found[0], _within(Box(5 - 2, 7 - 1, 11 + 2, 14 + 1), data.shape[1:]))


def test_shapes_lie_between_their_keys_and_need_no_model() -> None:
    data = volume(9)
    found = grown(list(walk(plan(data, [certain(2, data), certain(6, data)], Way.SHAPES), None, EmbeddingStore())))
    assert sorted(found) == [3, 4, 5]
    for z, mask in found.items():
        np.testing.assert_array_equal(mask, data[z] > 128)


def test_keys_of_shapes_may_be_asked_for() -> None:
    data = volume(9)
    events = run(plan(data, [key(2), certain(6, data)], Way.SHAPES))
    assert sorted(grown(events)) == [2, 3, 4, 5]
    assert ends(events)[2, DOWN] == (2, Why.NO_KEY_BEYOND)


def test_a_shape_is_as_sure_as_its_keys_are_alike() -> None:
    data = volume(9)
    events = run(plan(data, [certain(2, data), certain(4, data)], Way.SHAPES))
    (score,) = [e.score for e in events if isinstance(e, Grown)]
    assert score == pytest.approx((7 - 2) / 7)  # two blocks of 7 columns, 2 apart


def test_every_key_conditions_a_fresh_memory_of_each_direction_before_anything_is_followed() -> None:
    data, model = volume(9), BrightFake()
    one = Subject(1, (key(2), certain(6, data)), Span(1, 8))
    two = Subject(2, (key(5),), Span(4, 6))
    run(of_subjects(data, (one, two), Way.MEMORY), model)
    up, down = model.trackers
    assert up.calls == [
        ("condition", 2, (1,)),
        ("condition", 5, (2,)),
        ("condition", 6, (1,)),
        ("follow", 3, (1,)),
        ("follow", 4, (1,)),
        ("follow", 6, (2,)),
        ("follow", 7, (1,)),
        ("follow", 8, (1,)),
    ]
    assert down.calls == [
        ("condition", 6, (1,)),
        ("condition", 5, (2,)),
        ("condition", 2, (1,)),
        ("follow", 5, (1,)),
        ("follow", 4, (2,)),
        ("follow", 1, (1,)),
    ]


def test_all_objects_of_a_slice_are_followed_in_one_pass() -> None:
    data, model = volume(6), BrightFake()
    subjects = tuple(Subject(n, (key(at),), Span(0, 5)) for n, at in ((4, 0), (9, 2)))
    events = run(of_subjects(data, subjects, Way.MEMORY, rules=NONE), model)
    assert model.trackers[0].calls[-3:] == [("follow", z, (4, 9)) for z in (3, 4, 5)]
    assert sorted(grown(events, 4)) == sorted(grown(events, 9)) == list(range(6))


def test_a_direction_without_slices_costs_no_memory_of_its_own() -> None:
    data, model = volume(4), BrightFake()
    run(plan(data, [key(3)], Way.MEMORY), model)
    assert len(model.trackers) == 1


def test_the_reference_rule_goes_back_to_the_drawn_box_where_the_mask_is_empty() -> None:
    data = volume(6)
    data[2] = 40
    made = plan(data, [key(1)], span=Span(1, 5), prompting=Prompting(Feed.REFERENCE))
    found = grown(run(made))
    assert sorted(found) == [1, 3, 4, 5]
    np.testing.assert_array_equal(found[3], (data[3] > 128) & _within(around(1), found[3].shape))


def test_a_mask_prompt_starts_from_the_mask_before() -> None:
    data = volume(4)
    made = plan(data, [certain(0, data)], prompting=Prompting(Feed.MASK), rules=NONE)
    found = grown(run(made, MaskFake()))
    assert all((data[0] > 128)[~mask].sum() == 0 for mask in found.values())


class RoundsFake(BrightFake):
    """Its logits are the number of the call; `heard` are the numbers that masks came with, 0 for none."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[int] = []

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        known = None if prompts.mask is None else prompts.mask.logits
        self.heard.append(0 if known is None else int(known.values.item()))
        found = super().decode(embedding, replace(prompts, mask=None))
        logits = Logits(self.spec.digest, embedding.shape, np.array([[len(self.heard)]], np.float32))
        return replace(found, logits=(logits,))


@pytest.mark.parametrize(
    ("prompting", "heard"),
    [
        # the key, then a slice up from it and one down from it, and so on
        (Prompting(Feed.MASK, motion=False), [0, 1, 1, 2, 3, 4, 5]),
        (Prompting(Feed.MASK), [0] * 7),
        (Prompting(motion=False), [0] * 7),
    ],
)
def test_a_mask_that_is_handed_on_where_it_was_takes_its_logits_along(prompting: Prompting, heard: list[int]) -> None:
    model = RoundsFake()
    assert len(grown(run(plan(volume(7), [key(3)], rules=NONE, prompting=prompting), model))) == 7
    assert model.heard == heard


def test_a_certain_mask_has_no_logits_and_each_object_its_own() -> None:
    data, model = volume(4), RoundsFake()
    subjects = (Subject(1, (certain(0, data),), Span(0, 3)), Subject(2, (key(1),), Span(1, 3)))
    run(of_subjects(data, subjects, Way.SLICES, rules=NONE, prompting=Prompting(Feed.MASK, motion=False)), model)
    # the key of 2; slice 1 of 1; slice 2 of both; slice 3 of both
    assert model.heard == [0, 0, 2, 1, 3, 4]


@pytest.mark.parametrize(
    ("way", "order"),
    [
        (Way.SLICES, [3, 4, 2, 5, 1, 6, 0, 7, 8]),
        (Way.BOX, [3, 4, 2, 5, 1, 6, 0, 7, 8]),
        (Way.MEMORY, [3, 4, 5, 6, 7, 8, 2, 1, 0]),
    ],
)
def test_a_run_goes_both_ways_in_turn_except_where_the_memory_is_of_one(way: Way, order: list[int]) -> None:
    assert list(grown(run(plan(volume(9), [key(3)], way, rules=NONE), BrightFake()))) == order


# -- what is read and encoded ----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ASKED)
def test_each_slice_is_encoded_once_for_all_objects_and_both_directions(way: Way) -> None:
    data, model = volume(6), BrightFake()
    subjects = tuple(Subject(n, (key(at),), Span(0, 5)) for n, at in ((1, 1), (2, 4)))
    store = EmbeddingStore()
    run(of_subjects(data, subjects, way, rules=NONE), model, store)
    assert model.encoded == 6
    run(of_subjects(data, subjects, way, rules=NONE), model, store)
    assert model.encoded == 6


def test_a_step_reads_one_slice_and_the_store_is_that_of_single_slices() -> None:
    lazy, model, store = LazyArray(volume(6)), BrightFake(), EmbeddingStore()
    steps = walk(plan(lazy, [key(3)], rules=NONE), model, store)
    assert not lazy.reads
    for taken in range(1, 4):
        assert isinstance(next(steps), Grown)
        assert len(lazy.reads) == model.encoded == taken
    assert {shape for _, shape in lazy.reads} == {(20, 28)}


class BatchFake(BrightFake):
    """Encodes three planes together; `batches` are how many it got at a time."""

    batch = 3

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def encode_batch(self, planes: Sequence[NDArray[np.uint8]]) -> list[Embedding]:
        self.batches.append(len(planes))
        return [self.encode(plane) for plane in planes]


@pytest.mark.parametrize("way", ASKED)
@pytest.mark.parametrize("room", [0, 1 << 20])
def test_a_model_that_gains_from_it_encodes_slices_ahead_together_and_finds_the_same(way: Way, room: int) -> None:
    data, model = volume(9), BatchFake()
    made = plan(data, [key(1)], way, rules=NONE)
    lazy = LazyArray(data)
    ahead = grown(run(replace(made, pixels=lambda at: lazy[at]), model, EmbeddingStore(room)))
    one_by_one = grown(run(made))
    assert sorted(ahead) == sorted(one_by_one)
    assert all((ahead[at] == mask).all() for at, mask in one_by_one.items())
    assert model.batches[:2] == [3, 3]
    if room:
        assert model.encoded == 9
        assert len(lazy.reads) == (10 if way is Way.MEMORY else 9)  # each memory looks at the key slice


def test_slices_whose_mask_is_certain_are_not_encoded_ahead_for_nothing() -> None:
    data, model = volume(9), BatchFake()
    keys = [key(1), *(certain(z, data) for z in (3, 4, 5)), key(7)]
    assert sorted(grown(run(plan(data, keys, rules=NONE), model))) == [0, 1, 2, 6, 7, 8]
    assert model.encoded == 6
    assert model.batches[0] == 2, "both that are asked for, together"


def test_slices_that_the_store_has_are_not_read_ahead() -> None:
    data, model, store = volume(9), BatchFake(), EmbeddingStore()
    run(plan(data, [key(1)], rules=NONE), model, store)
    lazy = LazyArray(data)
    run(replace(plan(data, [key(1)], rules=NONE), pixels=lambda at: lazy[at]), model, store)
    assert (len(lazy.reads), model.encoded) == (9, 9)


def test_slices_behind_the_end_of_an_object_are_encoded_ahead_no_further_than_once() -> None:
    data, model = volume(20, first=0, last=6), BatchFake()
    assert sorted(grown(run(plan(data, [key(2)], Way.MEMORY), model))) == list(range(7))
    assert model.encoded <= 7 + 1 + 2


def test_a_slice_ahead_that_cannot_be_read_fails_when_its_turn_comes() -> None:
    data = volume(6)

    def gone(at: int) -> NDArray[np.uint8]:
        if at == 4:
            raise ImageError("Slice 4 is gone.")
        return data[at]

    found: list[int] = []
    steps = walk(replace(plan(data, [key(1)], rules=NONE), pixels=gone), BatchFake(), EmbeddingStore())
    with pytest.raises(ImageError, match=r"Slice 4 is gone"):
        found.extend(event.position for event in steps)
    assert found == [1, 2, 0, 0, 3], "downwards all was found before"


def test_interpolation_reads_no_slice() -> None:
    data = volume(9)
    lazy = LazyArray(data)
    run(plan(lazy, [certain(2, data), certain(6, data)], Way.SHAPES))
    assert not lazy.reads


def test_learning_many_keys_gives_a_sign_of_life_for_each() -> None:
    data, model = volume(9), BrightFake()
    steps = walk(plan(data, [certain(z, data) for z in range(5)], Way.MEMORY), model, EmbeddingStore())
    assert [next(steps) for _ in range(5)] == [Passed(z) for z in range(5)]
    assert model.encoded == 5


def test_a_run_that_is_not_asked_any_more_does_nothing_more() -> None:
    model = BrightFake()
    steps = walk(plan(volume(9), [key(4)], rules=NONE), model, EmbeddingStore())
    next(steps)
    steps.close()
    assert model.encoded == 1


@pytest.mark.parametrize("way", ASKED)
def test_colour_is_followed_as_grey_is(way: Way) -> None:
    grey = grown(run(plan(volume(5), [key(2)], way)))
    colour = grown(run(plan(volume(5, colour=True), [key(2)], way)))
    assert sorted(grey) == sorted(colour)
    assert all((grey[z] == colour[z]).all() for z in grey)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("way", ASKED)
def test_along_every_axis_the_same_voxels_are_found(way: Way, axis: int) -> None:
    data = np.moveaxis(volume(6), 0, axis)
    box = around(3)  # rows and columns keep their order: the stack's axis moves between them
    subject = Subject(1, (Key(3, Prompts(box)),), Span(0, 5))
    events = run(of_subjects(data, (subject,), way, axis=axis, rules=NONE))
    straight = grown(run(plan(volume(6), [key(3)], way, rules=NONE)))
    found = grown(events)
    assert sorted(found) == sorted(straight)
    assert all((found[z] == straight[z]).all() for z in found)


def test_time_is_walked_as_depth_is_and_a_frame_counts_as_a_millimetre() -> None:
    frames = np.stack([np.zeros((4, 20, 28), np.uint8)] * 5)
    frames[:, 2] = volume(5)
    plane = Plane((2, 3), ((0, 1), (1, 2)))
    grid = Grid.from_spacing(frames.shape, (0.04, *SPACING))
    stack = Stack.through(plane, frames.shape, axis=0)
    made = Plan(
        stack,
        (Subject(1, (key(1),), Span(0, 4)),),
        Way.SLICES,
        grid,
        lambda at: frames[stack.plane(at).key],
    )
    assert made.pitch == 1.0
    assert made.pixel == (1.0, 2.0)
    assert sorted(grown(run(made))) == [0, 1, 2, 3, 4]


# -- the built-in model on the phantom -------------------------------------------------------------------------


def test_the_built_in_model_follows_a_block_and_stops_at_its_ends() -> None:
    random = np.random.default_rng(2)
    data = np.clip(volume(9, first=2, last=6) + random.normal(0, 6, (9, 20, 28)), 0, 255).astype(np.uint8)
    truth = volume(9, first=2, last=6) > 128
    events = run(plan(data, [key(4)]), Contour())
    found = np.zeros_like(truth)
    for z, mask in grown(events).items():
        found[z] = mask
    assert sorted(grown(events)) == [2, 3, 4, 5, 6]
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.9


@pytest.mark.parametrize("axis", [0, 1])
def test_the_built_in_model_finds_a_kidney_of_unknown_range_in_axial_and_coronal_view(axis: int) -> None:
    image, labels, names = ct_phantom((30, 80, 100))
    (kidney,) = [value for value, name in names.items() if name == "left kidney"]
    truth = labels == kidney
    areas = np.count_nonzero(np.moveaxis(truth, axis, 0), axis=(1, 2))
    at = int(areas.argmax())
    stack = Stack.through(Plane.across(axis, at), truth.shape)
    drawn = Prompts(Box.around(np.argwhere(truth[stack.plane(at).key])))
    subject = Subject(1, (Key(at, drawn),), Span(0, stack.size - 1))
    window = Window(-160, 240)
    made = Plan(stack, (subject,), Way.SLICES, image.grid, lambda z: to_uint8(image.plane(stack.plane(z)), window))
    found = np.zeros_like(truth)
    for z, mask in grown(run(made, Contour())).items():
        found[stack.plane(z).key] = mask
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.88
    beyond = np.moveaxis(found, axis, 0)[areas == 0]
    assert beyond.sum() < 0.02 * truth.sum()


def test_a_long_run_holds_no_more_than_a_short_one() -> None:
    side = 100
    pixels = np.full((side, side), 90, np.uint8)

    def peak(size: int) -> int:
        stack = Stack((1, 2), 0, size)
        subject = Subject(1, (Key(size // 2, Prompts(Box(5, 5, 95, 95))),), Span(0, size - 1))
        grid = Grid.from_spacing((size, side, side), (1.0, 1.0, 1.0))
        made = Plan(stack, (subject,), Way.SLICES, grid, lambda z: pixels.copy())
        tracemalloc.start()
        taken = sum(isinstance(event, Grown) for event in walk(made, BoxFake(), EmbeddingStore(0)))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert taken == size
        return found

    peak(3)  # what is loaded once is loaded now
    assert peak(40) < peak(10) + 10 * pixels.nbytes


# -- errors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "model", "said"),
    [
        (Way.MEMORY, BoxFake(), "Box .a fake. has no memory"),
        (Way.SLICES, None, "needs a model"),
        (Way.SLICES, LabelFake(), "takes no prompts"),
        (Way.SHAPES, BrightFake(), "only slice 2"),
    ],
)
def test_a_way_that_cannot_be_gone_is_refused_at_once(way: Way, model: Any, said: str) -> None:
    with pytest.raises((UnsupportedError, PromptError), match=said):
        walk(plan(volume(5), [key(2)], way), model, EmbeddingStore())


def test_prompts_that_the_model_does_not_take_are_refused_at_once() -> None:
    clicked = Key(2, Prompts(points=(Point(8, 10),)))
    with pytest.raises(UnsupportedError, match="does not take a point"):
        walk(plan(volume(5), [clicked]), BrightFake(), EmbeddingStore())


def test_where_every_slice_is_certain_there_is_nothing_to_do() -> None:
    data = volume(5)
    for span in (Span(2, 2), Span(2, 3)):
        keys = [certain(z, data) for z in range(span.first, span.last + 1)]
        with pytest.raises(PromptError, match="every slice of the range is certain already"):
            walk(plan(data, keys, span=span), BoxFake(), EmbeddingStore())


def test_a_plan_that_does_not_fit_its_image_is_refused() -> None:
    data = volume(5)
    with pytest.raises(GeometryError, match="Slice 5 is outside the image, whose slices are 0 to 4"):
        plan(data, [key(2)], span=Span(0, 5))
    with pytest.raises(PromptError, match="no object"):
        of_subjects(data, (), Way.SLICES)
    with pytest.raises(PromptError, match="same number"):
        of_subjects(data, (Subject(1, (key(1),), Span(0, 4)),) * 2, Way.SLICES)
    with pytest.raises(PromptError, match="mask on slice 1"):
        plan(data, [Key(1, Prompts(mask=MaskPrompt(np.ones((28, 20)))))])
    with pytest.raises(GeometryError, match="single slice"):
        Stack.through(Plane((0, 1)), (20, 28))


@pytest.mark.parametrize(
    ("raised", "expected"), [(MemoryError(), MemoryShortError), (ZeroDivisionError("division"), ModelError)]
)
@pytest.mark.parametrize("way", [Way.SLICES, Way.BOX])
def test_what_was_found_before_a_failure_stays(way: Way, raised: Exception, expected: type[Exception]) -> None:
    found: list[int] = []
    steps = walk(plan(volume(8), [key(2)], way, rules=NONE), _FailingLater(raised, after=3), EmbeddingStore())
    with pytest.raises(expected, match="slice 4"):
        found.extend(event.position for event in steps)
    assert found == [2, 3, 1]


class _FailingLater(RaisingFake):
    """Works `after` times, then raises."""

    def __init__(self, error: BaseException, after: int) -> None:
        super().__init__(error, times=0)
        self._after = after

    def encode(self, plane: NDArray[np.uint8]) -> Any:
        if self.encoded == self._after:
            self._times = 1
        return super().encode(plane)


def test_a_slice_that_cannot_be_read_is_named() -> None:
    data = volume(6)

    def gone(at: int) -> NDArray[np.uint8]:
        if at == 4:
            raise OSError("the disk is gone")
        return data[at]

    made = replace(plan(data, [key(2)], rules=NONE), pixels=gone)
    with pytest.raises(ImageError, match="Slice 4 could not be read: the disk is gone"):
        run(made)
    wrong = replace(made, pixels=lambda at: data[at].T)
    with pytest.raises(ImageError, match="Slice 2 has"):
        run(wrong)


def test_the_best_way_of_a_model_is_its_memory_then_slice_by_slice() -> None:
    assert default_way(BrightFake()) is Way.MEMORY
    assert ways_of(BoxFake()) == (Way.SLICES, Way.BOX, Way.SHAPES)
    assert ways_of(LabelFake()) == (Way.SHAPES,)
    assert default_way(registry.row("medsam2")) is Way.MEMORY
    assert default_way(registry.row("contour")) is Way.SLICES
    assert ways_of(registry.row("litemedsam-scribble")) == (Way.SLICES, Way.SHAPES)  # it takes no box


def test_a_row_promises_the_ways_of_its_model() -> None:
    assert ways_of(registry.row("contour")) == ways_of(Contour())
