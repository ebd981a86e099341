"""Which slice is reached from which key: by an independent rule of distance, at every end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medsam.errors import GeometryError, PromptError
from napari_medsam.models.base import Direction
from napari_medsam.prompts import Box, Prompts
from napari_medsam.propagation.legs import Leg, legs_of
from napari_medsam.propagation.subject import Key, Span, Subject

BOX = Prompts(Box(1, 2, 4, 7))
UP, DOWN = Direction.UP, Direction.DOWN


def subject(keys: tuple[int, ...], span: tuple[int, int], stops: tuple[int, ...] = ()) -> Subject:
    return Subject(7, tuple(Key(at, BOX) for at in keys), Span(*span), frozenset(stops))


def walked(legs: tuple[Leg, ...]) -> dict[int, list[int]]:
    """The slices reached from each key, upwards then downwards."""
    found: dict[int, list[int]] = {}
    for direction in (UP, DOWN):
        for leg in legs:
            if leg.direction is direction:
                found.setdefault(leg.source, []).extend(leg.positions)
    return found


def test_one_key_reaches_both_ends_of_its_range() -> None:
    assert walked(legs_of(subject((3,), (1, 6)))) == {3: [4, 5, 6, 2, 1]}


@pytest.mark.parametrize(("key", "reached"), [(0, [1, 2, 3]), (3, [2, 1, 0])])
def test_from_the_first_and_the_last_slice_there_is_one_way(key: int, reached: list[int]) -> None:
    assert walked(legs_of(subject((key,), (0, 3)))) == {key: reached}


def test_a_range_of_one_slice_has_nothing_to_reach() -> None:
    assert walked(legs_of(subject((4,), (4, 4)))) == {4: []}


@pytest.mark.parametrize(
    ("high", "from_low", "from_high"),
    [(3, [], []), (4, [3], []), (5, [3], [4]), (6, [3, 4], [5]), (7, [3, 4], [6, 5])],
)
def test_a_gap_is_split_in_the_middle_and_the_odd_slice_belongs_to_the_lower_key(
    high: int, from_low: list[int], from_high: list[int]
) -> None:
    assert walked(legs_of(subject((2, high), (2, high)))) == {2: from_low, high: from_high}


@given(st.sets(st.integers(0, 25), min_size=1, max_size=6), st.integers(0, 4), st.integers(0, 4))
def test_every_slice_but_the_keys_is_reached_once_and_from_the_nearest_key(
    keys: set[int], below: int, above: int
) -> None:
    first, last = max(min(keys) - below, 0), max(keys) + above
    legs = legs_of(subject(tuple(keys), (first, last)))
    sources = {position: leg.source for leg in legs for position in leg.positions}
    assert sum(len(leg.positions) for leg in legs) == len(sources)
    # the nearest key, the lower of two: an independent way to say it
    expected = {p: min(sorted(keys), key=lambda k: abs(k - p)) for p in range(first, last + 1) if p not in keys}
    assert sources == expected


def test_each_leg_walks_away_from_its_key_without_a_jump() -> None:
    for leg in legs_of(subject((2, 9, 10, 15), (0, 20), (18,))):
        assert [*np.diff([leg.source, *leg.positions])] == [leg.direction] * len(leg.positions)


def test_a_leg_in_a_gap_knows_the_key_that_it_goes_towards() -> None:
    towards = {(leg.source, leg.direction): leg.towards for leg in legs_of(subject((2, 8), (0, 9)))}
    assert towards == {(2, DOWN): (), (2, UP): (8,), (8, DOWN): (2,), (8, UP): ()}


def test_stop_here_is_the_last_slice_of_its_direction() -> None:
    legs = legs_of(subject((5,), (0, 9), (7, 8, 2)))
    assert walked(legs) == {5: [6, 7, 4, 3, 2]}
    assert all(leg.halted for leg in legs)


def test_stop_here_on_a_key_lets_nothing_out_but_leaves_the_gap() -> None:
    assert walked(legs_of(subject((3, 6), (0, 9), (3, 6)))) == {3: [4], 6: [5]}


def test_stop_here_in_a_gap_ends_the_half_that_it_lies_in() -> None:
    assert walked(legs_of(subject((0, 10), (0, 10), (2, 8)))) == {0: [1, 2], 10: [9, 8]}


@pytest.mark.parametrize(("one", "other"), [(2, 5), (5, 2)])
def test_start_and_end_may_be_set_in_any_order(one: int, other: int) -> None:
    assert Span.of(one, other, 9) == Span(2, 5)


def test_both_ends_of_a_range_belong_to_it() -> None:
    span = Span.of(2, 5, 9)
    assert [p for p in range(9) if p in span] == [2, 3, 4, 5]
    assert len(span) == 4
    assert Span.of(None, None, 1) == Span(0, 0)


@pytest.mark.parametrize("outside", [-1, 9])
def test_an_end_outside_the_image_is_refused(outside: int) -> None:
    with pytest.raises(GeometryError, match=f"Slice {outside} is outside the image, whose slices are 0 to 8"):
        Span.of(outside, 3, 9)


def test_prompts_outside_the_range_are_refused() -> None:
    with pytest.raises(PromptError, match="Slice 5 has prompts but is outside the range 6 to 6"):
        subject((5,), (6, 6))


def test_an_object_without_prompts_is_refused() -> None:
    with pytest.raises(PromptError, match="No slice says where the object is"):
        subject((), (0, 3))
