"""The resize by area, against recorded answers of OpenCV and formulas of its own."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_medsam.models.area_resize import area_resize

# CRC-32 of the bytes that cv2.resize(..., interpolation=cv2.INTER_AREA) gives for `sample(shape)`: OpenCV 4.11 and 5.0,
# which agree. Thousands of other sizes were compared in the same way, without a difference.
RECORDED = [
    ((181, 258), (180, 256), 0x3ED3C805),
    ((181, 258, 3), (180, 256), 0xAD6505E2),
    ((1200, 300, 3), (256, 64), 0x1C90E665),
    ((300, 1100), (70, 256), 0xB4742223),
    ((512, 512), (256, 256), 0xE28EAF47),
    ((96, 60, 3), (48, 30), 0x6AD34016),
    ((768, 48, 3), (256, 16), 0x0CB825A0),
    ((700, 49), (100, 7), 0x74F92D14),
    ((2, 300), (2, 256), 0xC7BFD781),
    ((257, 100), (256, 100), 0x959337EF),
    ((60, 40), (256, 171), 0x502DE1A7),
    ((7, 3, 3), (256, 110), 0x0B5FF712),
    ((2, 2), (256, 256), 0xE959F59A),
    ((255, 3), (256, 3), 0x79177DFA),
    ((40, 90), (60, 30), 0x77785B6B),
]

sides = st.integers(1, 60)


def sample(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.random.RandomState(sum(shape)).randint(0, 256, shape).astype(np.uint8)


def overlaps(old: int, new: int) -> NDArray[np.float64]:
    """The share of each new pixel that lies on each old one, (new, old)."""
    edges_old, edges_new = np.arange(old + 1) / old, np.arange(new + 1) / new
    low = np.maximum(edges_old[None, :-1], edges_new[:-1, None])
    high = np.minimum(edges_old[None, 1:], edges_new[1:, None])
    return np.maximum(high - low, 0) * new


@pytest.mark.parametrize(("shape", "to", "checksum"), RECORDED, ids=lambda value: str(value))
def test_every_grey_level_is_opencvs(shape: tuple[int, ...], to: tuple[int, int], checksum: int) -> None:
    found = area_resize(sample(shape), to)
    assert found.shape == (*to, *shape[2:])
    assert found.dtype == np.uint8
    assert zlib.crc32(np.ascontiguousarray(found).tobytes()) == checksum


@given(sides, sides, sides, sides)
def test_shrinking_gives_the_mean_over_the_area(rows: int, columns: int, less: int, fewer: int) -> None:
    to = min(rows, less), min(columns, fewer)
    image = sample((rows, columns))
    mean = overlaps(rows, to[0]) @ image @ overlaps(columns, to[1]).T
    # half a level for the rounding, and what shares under a thousandth, which OpenCV leaves out, can make
    assert np.abs(area_resize(image, to) - mean).max() <= 0.5 + 255 * 2e-3


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 5))
def test_enlarging_by_a_whole_factor_repeats_pixels(rows: int, columns: int, factor: int) -> None:
    image = sample((rows, columns, 3))
    found = area_resize(image, (rows * factor, columns * factor))
    np.testing.assert_array_equal(found, image.repeat(factor, 0).repeat(factor, 1))


@given(sides, sides, sides, sides, st.integers(0, 255))
def test_one_grey_level_stays_one(rows: int, columns: int, to_rows: int, to_columns: int, level: int) -> None:
    found = area_resize(np.full((rows, columns), level, np.uint8), (to_rows, to_columns))
    np.testing.assert_array_equal(found, level)


@given(sides, sides, sides, sides)
def test_the_transpose_gives_the_transpose(rows: int, columns: int, to_rows: int, to_columns: int) -> None:
    image = sample((rows, columns))
    straight = area_resize(image, (to_rows, to_columns)).astype(int)
    across = area_resize(np.ascontiguousarray(image.T), (to_columns, to_rows)).T
    assert np.abs(straight - across).max() <= 1  # sums in another order round another way


def test_colours_are_resized_one_by_one() -> None:
    image = sample((37, 90, 3))
    found = area_resize(image, (20, 50))
    for colour in range(3):
        np.testing.assert_array_equal(found[..., colour], area_resize(image[..., colour], (20, 50)))


def test_the_same_size_is_a_copy() -> None:
    image = sample((9, 5))
    found = area_resize(image, (9, 5))
    np.testing.assert_array_equal(found, image)
    assert not np.shares_memory(found, image)
