"""Which slices SAM 2 looks back to."""

from __future__ import annotations

import pytest

from napari_medsam.models.base import Direction
from napari_medsam.models.sam2_bank import Bank, nearest

UP, DOWN = Direction.UP, Direction.DOWN


def walked(given: list[int], found: list[int]) -> Bank[str]:
    bank: Bank[str] = Bank()
    for at in given:
        bank.give(at, f"given {at}")
    for at in found:
        bank.find(at, f"found {at}")
    return bank


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_the_prompted_slice_and_the_six_before_are_looked_back_to(direction: Direction) -> None:
    bank = walked([50], [50 + step * direction for step in range(1, 12)])
    recalled = bank.recalled(50 + 12 * direction, direction, 300)
    assert recalled.slices == (
        (0, "given 50"),
        *((back, f"found {50 + (12 - back) * direction}") for back in range(6, 0, -1)),
    )
    assert recalled.pointers == (
        (12, "given 50"),
        *((back, f"found {50 + (12 - back) * direction}") for back in range(1, 12)),
    )


def test_at_most_fifteen_pointers_of_found_slices_and_fewer_in_a_short_stack() -> None:
    bank = walked([0], list(range(1, 40)))
    assert [back for back, _ in bank.recalled(40, UP, 300).pointers] == [40, *range(1, 16)]
    assert [back for back, _ in bank.recalled(40, UP, 5).pointers] == [40, 1, 2, 3, 4]


def test_slices_ahead_are_looked_at_only_where_they_were_prompted_and_without_their_pointer() -> None:
    bank = walked([10, 20], [11, 12, 13])
    recalled = bank.recalled(14, UP, 300)
    assert [slot for slot, _ in recalled.slices] == [0, 0, 3, 2, 1]
    assert [one for _, one in recalled.pointers] == ["given 10", "found 13", "found 12", "found 11"]


def test_of_many_prompted_slices_the_next_on_each_side_and_then_the_nearest() -> None:
    given = {at: at for at in (0, 10, 18, 19, 40, 90)}
    assert list(nearest(given, 20)) == [19, 40, 18, 10]
    assert list(nearest(given, 100)) == [90, 40, 19, 18]
    assert list(nearest(given, 19)) == [18, 19, 10, 0]


def test_a_prompted_slice_that_is_not_among_them_counts_as_one_before() -> None:
    bank = walked([1, 15, 16, 17, 18, 30], [19])
    assert (5, "given 15") in bank.recalled(20, UP, 300).slices


def test_what_is_out_of_reach_is_forgotten_and_what_was_given_is_not() -> None:
    bank = walked([0, 7], list(range(1, 100)))
    assert list(bank.given) == [0, 7]
    assert list(bank.found) == list(range(84, 100))
    bank.find(3, "on the way back")
    assert list(bank.found) == [3]


def test_a_prompt_on_a_slice_takes_the_place_of_what_was_found_there() -> None:
    bank = walked([0], [1, 2, 3])
    bank.give(2, "corrected")
    bank.find(2, "found again")
    assert 2 not in bank.found
    assert bank.recalled(4, UP, 300).slices[:2] == ((0, "corrected"), (0, "given 0"))
