"""The stop rules, each at its limit, on slices near together and far apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_medsam.errors import InputError
from napari_medsam.propagation.stopping import Look, StopRules, Watch
from napari_medsam.propagation.why import Why

SHAPE = (40, 60)
GREY = np.full(SHAPE, 100, np.uint8)
OFF = StopRules.none()


def block(rows: int, columns: int, at: tuple[int, int] = (5, 10)) -> NDArray[np.bool_]:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[at[0] : at[0] + rows, at[1] : at[1] + columns] = True
    return mask


def ended(rules: StopRules, masks: list[NDArray[np.bool_]], pitch: float = 1.0) -> tuple[int, tuple[Why, ...]]:
    """After how many masks beside the first a watch ends, and why."""
    watch = Watch(rules, pitch, masks[0])
    for taken, mask in enumerate(masks[1:]):
        broken = watch.judge(mask, 0.9, lambda: GREY)
        if broken:
            return taken, broken
    return len(masks) - 1, ()


@pytest.mark.parametrize("pitch", [0.5, 1.0, 7.5])
def test_the_same_shape_goes_on_for_ever_whatever_the_distance(pitch: float) -> None:
    assert ended(StopRules(), [block(10, 10)] * 12, pitch) == (11, ())


@pytest.mark.parametrize(("columns", "why"), [(14, ()), (16, (Why.GREW,))])
def test_an_area_may_grow_by_its_factor_in_a_millimetre_and_no_more(columns: int, why: tuple[Why, ...]) -> None:
    rules = replace(OFF, growth=1.5)
    assert ended(rules, [block(10, 10), block(10, columns)])[1] == why


@pytest.mark.parametrize(("columns", "why"), [(6, ()), (4, (Why.SHRANK,))])
def test_an_area_may_shrink_by_its_factor_in_a_millimetre_and_no_more(columns: int, why: tuple[Why, ...]) -> None:
    rules = replace(OFF, shrinkage=0.5)
    assert ended(rules, [block(10, 10), block(10, columns)])[1] == why


@pytest.mark.parametrize(("by", "why"), [(2, ()), (4, (Why.MOVED,))])
def test_two_masks_a_millimetre_apart_overlap_as_the_rule_says(by: int, why: tuple[Why, ...]) -> None:
    rules = replace(OFF, overlap=0.7)  # Dice of two squares of 10 moved by k: (10 - k) / 10
    assert ended(rules, [block(10, 10), block(10, 10, (5, 10 + by))])[1] == why


def test_through_thicker_slices_more_change_is_allowed() -> None:
    rules = replace(OFF, growth=1.5, overlap=0.7)
    masks = [block(10, 10), block(10, 20)]
    assert ended(rules, masks, 1.0) == (0, (Why.GREW, Why.MOVED))
    assert ended(rules, masks, 3.0) == (1, ())


def test_through_thin_slices_change_is_measured_over_the_reach() -> None:
    rules = replace(OFF, growth=1.25, reach=2.0)
    noisy = [block(10, 10), block(10, 10), block(10, 10), block(10, 12), block(10, 10)]
    # 1.2 in 0.5 mm would be 1.44 in 1 mm; in the 1.5 mm since the first mask it is 1.13
    assert ended(rules, noisy, 0.5) == (4, ())
    assert ended(replace(rules, reach=0.0), noisy, 0.5) == (2, (Why.GREW,))


def test_a_slow_drift_is_compared_with_the_mask_that_lies_the_reach_back() -> None:
    rules = replace(OFF, overlap=0.7, reach=2.0)
    drifting = [block(10, 10, (5, 10 + step)) for step in range(20)]
    # 4 pixels in 2 mm: Dice 0.6 stays above 0.7 ** 2
    assert ended(rules, drifting, 0.5) == (19, ())
    assert ended(replace(rules, overlap=0.8), drifting, 0.5) == (2, (Why.MOVED,))  # 0.7 at 1.5 mm is below 0.72


def test_an_empty_mask_ends_a_direction() -> None:
    masks = [block(4, 4), block(4, 4), block(0, 0), block(4, 4)]
    assert ended(StopRules(), masks) == (1, (Why.EMPTY,))


def test_as_many_empty_masks_in_a_row_as_wished_end_it() -> None:
    nothing, some = block(0, 0), block(4, 4)
    rules = replace(StopRules(), empty=2)
    assert ended(rules, [some, nothing, some, nothing, nothing, some]) == (3, (Why.EMPTY,))
    assert ended(replace(rules, empty=0), [some, *[nothing] * 9]) == (9, ())


def test_a_score_far_below_those_before_it_ends_a_direction() -> None:
    rules = replace(OFF, score=0.5)
    watch = Watch(rules, 1.0, block(5, 5))
    scores = [0.2, 0.8, 0.7, 0.9, 0.42, 0.3]
    broken = [watch.judge(block(5, 5), score, lambda: GREY) for score in scores]
    assert broken == [()] * 5 + [(Why.SCORE,)]  # the median of 0.2 0.8 0.7 0.9 0.42 is 0.7


def textured(middle: float, spread: float) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).normal(middle, spread, SHAPE)
    return np.clip(np.rint(noise), 0, 255).astype(np.uint8)


def test_the_look_is_the_median_in_robust_deviations() -> None:
    look = Look.of(textured(100, 10), block(30, 40))
    assert look.middle == pytest.approx(100, abs=1)
    assert look.spread == pytest.approx(10, rel=0.1)
    assert look.distance(Look.of(textured(130, 10), block(30, 40))) == pytest.approx(3.0, rel=0.1)
    inside = textured(100, 10)[block(15, 33)].astype(float)  # an odd number, whose median is one of them
    odd = Look.of(textured(100, 10), block(15, 33))
    assert odd.middle == np.median(inside)
    assert odd.spread == pytest.approx(1.4826 * np.median(np.abs(inside - np.median(inside))))


def test_a_few_outliers_do_not_change_the_look() -> None:
    image = textured(100, 10)
    image[5:7, 10:20] = 255
    assert Look.of(image, block(30, 40)).distance(Look.of(textured(100, 10), block(30, 40))) < 0.3


def test_what_is_even_varies_at_least_a_little() -> None:
    flat = Look.of(GREY, block(9, 9))
    assert flat.distance(Look.of(GREY + np.uint8(4), block(9, 9))) == pytest.approx(1.0)


def test_in_colour_the_channel_that_differs_most_counts() -> None:
    image = np.full((*SHAPE, 3), 100, np.uint8)
    other = image + np.array([0, 4, 40], np.uint8)
    assert Look.of(image, block(9, 9)).distance(Look.of(other, block(9, 9))) == pytest.approx(10.0)


def test_another_look_ends_a_direction() -> None:
    start = block(30, 40)
    watch = Watch(replace(OFF, look=3.0), 1.0, start, (Look.of(textured(100, 10), start),))
    assert watch.judge(start, 0.9, lambda: textured(120, 10)) == ()
    assert watch.judge(start, 0.9, lambda: textured(140, 10)) == (Why.LOOK,)


def standing_out(inside: int, outside: int) -> NDArray[np.uint8]:
    return np.where(block(10, 12), inside, outside).astype(np.uint8)


@pytest.mark.parametrize(("inside", "why"), [(100, ()), (90, (Why.CONTRAST,)), (20, (Why.CONTRAST,))])
def test_a_direction_ends_where_the_object_stands_out_less_than_the_part_given(
    inside: int, why: tuple[Why, ...]
) -> None:
    mask = block(10, 12)
    watch = Watch(replace(OFF, contrast=0.35), 1.0, mask, (Look.of(standing_out(180, 60), mask),))
    assert watch.judge(mask, 0.9, lambda: standing_out(180, 60) // 2) == ()  # 60 of 120, however dark the slice
    assert watch.judge(mask, 0.9, lambda: standing_out(inside + 5, 60)) == why  # 45, 35 and -35 of 120


def test_an_object_that_hardly_stands_out_on_the_key_slice_is_not_judged_by_it() -> None:
    mask = block(10, 12)
    look = Look.of(standing_out(104, 100), mask)
    assert look.kept(Look.of(standing_out(60, 100), mask)) == 1.0


def test_the_contrast_is_that_with_the_ring_just_outside_in_the_channel_that_stands_out_most() -> None:
    mask = block(10, 12)
    image = np.stack([standing_out(110, 100), standing_out(200, 80)], axis=-1)
    image[12:, 35:] = 255  # far away
    look = Look.of(image, mask)
    assert look.contrast.tolist() == [10, 120]
    assert look.kept(Look.of(image // 2, mask)) == pytest.approx(0.5)


def test_a_mask_that_fills_the_slice_has_a_look_but_no_contrast() -> None:
    look = Look.of(GREY, np.ones(SHAPE, dtype=bool))
    assert (look.middle.tolist(), look.contrast.tolist()) == ([100], [0])


def test_without_rules_that_need_them_no_pixels_are_read() -> None:
    def unread() -> NDArray[np.uint8]:
        raise AssertionError("read")

    assert Watch(StopRules(), 1.0, block(5, 5)).judge(block(5, 5), 0.9, unread) == ()


def test_no_rule_ends_anything_when_all_are_off() -> None:
    masks = [block(1, 1), block(30, 40), block(0, 0), block(1, 1, (38, 58)), block(35, 45)]
    assert ended(OFF, masks, 0.3) == (4, ())


def test_between_two_keys_only_a_loss_ends_a_direction() -> None:
    assert StopRules().within() == replace(OFF, empty=1)


def test_a_distance_as_in_micrometres_is_no_overflow() -> None:
    assert ended(StopRules(), [block(5, 5), block(30, 40)], 7500.0) == (1, ())


@pytest.mark.parametrize(
    "wrong",
    [
        {"growth": 0.9},
        {"shrinkage": 1.1},
        {"overlap": -0.1},
        {"score": np.nan},
        {"look": 0.0},
        {"contrast": 1.1},
        {"empty": -1},
    ],
)
def test_a_limit_that_is_none_is_refused_with_its_name(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        StopRules(**wrong)  # type: ignore[arg-type]
