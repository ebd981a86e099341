"""What the next slice is asked with: boxes in mm, deep points, masks, and LiteMedSAM's reference rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_medsam.errors import InputError, UnsupportedError
from napari_medsam.models import registry
from napari_medsam.models.base import ModelSpec
from napari_medsam.prompts import Box, MaskPrompt, Point, PromptKind, Prompts
from napari_medsam.propagation.prompting import (
    FRAME,
    Feed,
    Prompting,
    box_around,
    inner_points,
    prompted,
    reference_box,
    require_promptable,
)

PIXEL = (1.0, 2.0)
BOX, POINT, STROKE, MASK = PromptKind.BOX, PromptKind.POINT, PromptKind.STROKE, PromptKind.MASK


def spec(*kinds: PromptKind) -> ModelSpec:
    return ModelSpec("m", "M", "m-1", frozenset(kinds), False, "Apache-2.0", "A model.")


def ell(shape: tuple[int, int] = (30, 40)) -> NDArray[np.bool_]:
    """An L: rows 10 to 19, columns 8 to 11, and rows 16 to 19, columns 8 to 25."""
    mask = np.zeros(shape, dtype=bool)
    mask[10:20, 8:12] = True
    mask[16:20, 8:26] = True
    return mask


def test_the_margin_is_in_millimetres_along_each_axis() -> None:
    assert box_around(ell(), 4.0, PIXEL) == Box(10 - 4, 8 - 2, 20 + 4, 26 + 2)


def test_the_margin_is_a_pixel_at_least() -> None:
    assert box_around(ell(), 0.3, PIXEL) == Box(9, 7, 21, 27)


def test_a_box_stays_on_the_plane() -> None:
    assert box_around(ell((22, 27)), 9.0, PIXEL) == Box(1, 4, 22, 27)


@pytest.mark.parametrize("at", [(0, 0), (0, 39), (29, 0), (29, 39), (12, 17)])
def test_one_pixel_never_makes_a_box_below_two_by_two(at: tuple[int, int]) -> None:
    mask = np.zeros((30, 40), dtype=bool)
    mask[at] = True
    for box in (box_around(mask, 0.0, PIXEL, least=0), box_around(mask, 3.0, PIXEL), reference_box(mask)):
        assert box.clipped((30, 40)) == box
        assert mask[box.slices].any()


def test_the_first_point_lies_deepest_inside() -> None:
    mask = np.zeros((30, 40), dtype=bool)
    mask[4:13, 5:14] = True  # its middle is (8, 9)
    mask[12, 5:38] = True
    assert inner_points(mask, (1.0, 1.0), 1) == (Point(8, 9),)


def test_depth_is_in_millimetres() -> None:
    mask = np.zeros((41, 41), dtype=bool)
    mask[5:36, 10:15] = True
    mask[5:15, 10:40] = True
    # of pixels of 1 x 10 mm the upright bar is 31 mm high and 50 mm wide, the other one 10 mm high
    (in_mm,), (in_pixels,) = inner_points(mask, (1.0, 10.0), 1), inner_points(mask, (1.0, 1.0), 1)
    assert in_mm.row == 20
    assert 10 <= in_mm.column < 15
    assert in_pixels.row < 15


def test_points_lie_apart_and_on_the_object() -> None:
    points = inner_points(ell(), (1.0, 1.0), 3)
    assert len(set(points)) == 3
    assert all(ell()[p.pixel] and p.positive for p in points)
    places = np.array([p.pixel for p in points])
    assert min(np.linalg.norm(a - b) for i, a in enumerate(places) for b in places[:i]) > 1.9


def test_there_are_no_more_points_than_pixels() -> None:
    mask = np.zeros((5, 6), dtype=bool)
    mask[2, 3:5] = True
    assert {p.pixel for p in inner_points(mask, PIXEL, 9)} == {(2, 3), (2, 4)}


def test_points_of_the_transposed_mask_are_the_transposed_points() -> None:
    straight = inner_points(ell(), PIXEL, 3)
    across = inner_points(ell().T, PIXEL[::-1], 3)
    assert [p.pixel for p in across] == [p.pixel[::-1] for p in straight]


def test_what_is_asked_is_what_the_feed_says() -> None:
    everything = spec(BOX, POINT, MASK)
    box = box_around(ell(), Prompting().margin, PIXEL)
    points = inner_points(ell(), PIXEL, 1)
    asked = {feed: prompted(ell(), Prompting(feed), everything, PIXEL) for feed in Feed}
    assert asked == {
        Feed.BOX: Prompts(box),
        Feed.BOX_AND_POINTS: Prompts(box, points),
        Feed.MASK: Prompts(box, mask=MaskPrompt(ell())),
        Feed.REFERENCE: Prompts(reference_box(ell())),
    }


def test_a_model_without_boxes_is_asked_with_points_and_one_without_points_with_the_mask() -> None:
    assert prompted(ell(), Prompting(), spec(POINT), PIXEL) == Prompts(points=inner_points(ell(), PIXEL, 1))
    assert prompted(ell(), Prompting(), spec(STROKE, MASK), PIXEL) == Prompts(mask=MaskPrompt(ell()))


@pytest.mark.parametrize(
    ("feed", "takes", "missing"),
    [
        (Feed.BOX_AND_POINTS, (BOX,), "point"),
        (Feed.MASK, (BOX, POINT), "mask"),
        (Feed.REFERENCE, (POINT,), "box"),
        (Feed.BOX, (STROKE,), "neither box, point nor mask"),
    ],
)
def test_a_feed_that_the_model_was_not_made_for_is_refused(
    feed: Feed, takes: tuple[PromptKind, ...], missing: str
) -> None:
    with pytest.raises(UnsupportedError, match=missing):
        require_promptable(spec(*takes), Prompting(feed))


def test_every_model_of_the_table_can_be_followed_slice_by_slice() -> None:
    for row in registry.TABLE:
        if not row.automatic:
            require_promptable(row.spec("x"), Prompting())


@pytest.mark.parametrize("wrong", [{"margin": -1.0}, {"margin": np.nan}, {"points": 0}])
def test_a_prompting_that_is_none_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        replace(Prompting(), **wrong)  # type: ignore[arg-type]


# -- the reference ---------------------------------------------------------------------------------------------


def seen_by_lite(box: Box, shape: tuple[int, int]) -> list[int]:
    """A box as LiteMedSAM sees it, row0, column0, row1, column1: inclusive corners times the scale, cut off."""
    scale = FRAME / max(shape)
    return [int(edge * scale) for edge in (box.row0, box.column0, box.row1 - 1, box.column1 - 1)]


def in_frame(start: int, stop: int, side: int, longest: int) -> tuple[int, int]:
    """First and last pixel of a side of the frame of which a range of the plane covers half or more, by its area."""
    size = max(1, int(side * FRAME / longest + 0.5))
    edges = np.arange(size + 1) * (side / size)
    share = np.clip(np.minimum(edges[1:], stop) - np.maximum(edges[:-1], start), 0, None) / np.diff(edges)
    # halves are rounded to the even number, and up where four pixels become one
    on = np.flatnonzero((share > 0.5 + 1e-9) | ((side == 2 * size) & (share == 0.5)))
    return int(on[0]), int(on[-1])


@pytest.mark.parametrize("shape", [(512, 512), (256, 256), (300, 400), (517, 389), (301, 299), (1024, 768)])
def test_in_planes_larger_than_the_frame_the_reference_box_is_the_original_to_the_pixel(
    shape: tuple[int, int],
) -> None:
    random = np.random.default_rng(shape[0])
    for _ in range(10):
        row0, column0 = (int(random.integers(20, side // 2)) for side in shape)
        row1, column1 = (int(random.integers(side // 2 + 8, side - 20)) for side in shape)
        mask = np.zeros(shape, dtype=bool)
        mask[row0:row1, column0:column1] = True
        top, bottom = in_frame(row0, row1, shape[0], max(shape))
        left, right = in_frame(column0, column1, shape[1], max(shape))
        assert seen_by_lite(reference_box(mask), shape) == [top - 3, left - 3, bottom + 3, right + 3]
