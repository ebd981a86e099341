"""How LiteMedSAM sees a plane and where its masks land, on asymmetric phantoms of awkward shapes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from napari_medsam.models.area_resize import area_resize
from napari_medsam.models.frame import corners_of
from napari_medsam.models.frame_lite import LITE, SIZE
from napari_medsam.prompts import Box

SHAPES = [(40, 60), (60, 40), (256, 256), (181, 258), (2, 2), (2, 300), (300, 5), (3, 1), (1300, 700), (700, 2000)]
BROAD = [shape for shape in SHAPES if min(shape) >= 40]
LARGE = [(1024, 1024), (1300, 700), (700, 2000), (3000, 4000)]

shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def within(shape: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns that a plane takes of the input."""
    longest = max(shape)
    rows, columns = (max(1, int(side * 256 / longest + 0.5)) for side in shape)
    return rows, columns


def letter(shape: tuple[int, int]) -> NDArray[np.bool_]:
    """An L, about a third of the plane high and wide, off its centre."""
    rows, columns = (np.arange(side) / side for side in shape)
    stem = (rows[:, None] >= 0.2) & (rows[:, None] < 0.8) & (columns >= 0.5) & (columns < 0.65)
    foot = (rows[:, None] >= 0.6) & (rows[:, None] < 0.8) & (columns >= 0.5) & (columns < 0.95)
    return stem | foot


def overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


@shapes
def test_the_image_fills_0_to_1_and_the_rest_is_0(shape: tuple[int, int]) -> None:
    plane = np.random.default_rng(2).integers(30, 200, shape).astype(np.uint8)
    image = LITE.image(plane)
    rows, columns = within(shape)
    assert image.shape == (3, SIZE, SIZE)
    assert image.dtype == np.float32
    assert image.flags.c_contiguous
    inner = image[:, :rows, :columns]
    assert inner.min() == 0
    assert inner.max() == 1
    assert not image[:, rows:].any()
    assert not image[:, :, columns:].any()


@shapes
def test_grey_is_three_equal_colours(shape: tuple[int, int]) -> None:
    plane = np.random.default_rng(2).integers(0, 256, shape).astype(np.uint8)
    np.testing.assert_array_equal(LITE.image(plane), LITE.image(np.repeat(plane[..., None], 3, axis=-1)))


def test_colours_share_one_stretch() -> None:
    plane = np.zeros((50, 80, 3), np.uint8)
    plane[..., 1], plane[10:30, 20:50, 2] = 100, 200
    image = LITE.image(plane)
    np.testing.assert_allclose(image[1, :160, :256], 0.5)
    assert (image[0].max(), image[2].max()) == (0, 1)


@pytest.mark.parametrize("level", [0, 77, 255])
def test_a_plane_of_one_grey_level_is_black(level: int) -> None:
    assert not LITE.image(np.full((30, 50), level, np.uint8)).any()


@shapes
def test_a_bright_pixel_lies_where_its_position_says(shape: tuple[int, int]) -> None:
    row, column = int(shape[0] * 0.7), int(shape[1] * 0.3)
    plane = np.zeros(shape, np.uint8)
    plane[row, column] = 255
    x, y = LITE.positions(np.array([[column, row]], float), shape)[0]
    bright = np.argwhere(LITE.image(plane)[0] == 1)
    assert np.abs(bright - (y, x)).min(axis=0).max() <= 1


def test_a_box_is_cut_off_to_whole_pixels_as_in_the_original() -> None:
    box = Box(7, 95, 191, 351)  # its last pixel is at row 190, column 350
    inner = LITE.positions(corners_of(box), (400, 600))
    expected = [[int(value * (256 / 600)) for value in corner] for corner in [(95, 7), (350, 190)]]
    assert inner.tolist() == expected
    assert LITE.positions(np.empty((0, 2)), (400, 600)).shape == (0, 2)


@pytest.mark.parametrize("shape", BROAD, ids=str)
def test_an_l_comes_back_onto_its_own_pixels(shape: tuple[int, int]) -> None:
    mask = letter(shape)
    rows, columns = within(shape)
    seen = np.full((SIZE, SIZE), 9.0, np.float32)  # what the network says of the padding must not matter
    at = [(np.arange(new) * 2 + 1) * old // (2 * new) for old, new in zip(shape, (rows, columns), strict=True)]
    seen[:rows, :columns] = np.where(mask[np.ix_(*at)], 5.0, -5.0)
    found = LITE.restore(np.stack([seen, -seen]), shape)
    assert found.shape == (2, *shape)
    assert found.dtype == bool
    assert overlap(found[0], mask) > (0.99 if max(shape) <= SIZE else 0.9)
    np.testing.assert_array_equal(found[1], ~found[0])


@shapes
def test_nothing_beyond_the_plane_reaches_it(shape: tuple[int, int]) -> None:
    rows, columns = within(shape)
    seen = np.full((1, SIZE, SIZE), -9.0, np.float32)
    seen[:, :rows, :columns] = 0.01
    found = LITE.restore(seen, shape)
    assert found.shape == (1, *shape)
    assert found.all()


def test_the_logits_are_interpolated_and_not_the_likelihoods() -> None:
    logits = np.zeros((1, SIZE, SIZE), np.float32)
    logits[..., 0::2], logits[..., 1::2] = 9.0, -2.0
    found = LITE.restore(logits, (512, 512))[0]
    # a quarter of the way: 0.75 * -2 + 0.25 * 9 > 0, while the likelihoods would give 0.34 < 0.5
    assert found[:, 1:-1].all()


@shapes
def test_a_broad_scribble_is_the_originals_but_for_its_rim(shape: tuple[int, int]) -> None:
    pixels = letter(shape)
    original = area_resize(pixels.astype(np.uint8), within(shape)) > 0
    scribble = LITE.mask(pixels)
    assert scribble.shape == (SIZE, SIZE)
    assert scribble.dtype == np.float32
    assert set(np.unique(scribble)) <= {0.0, 1.0}
    inner = scribble[: original.shape[0], : original.shape[1]] > 0
    assert scribble.sum() == inner.sum()
    assert not (original & ~inner).any()
    if original.any():
        assert not (inner & ~ndimage.binary_dilation(original, np.ones((3, 3)))).any()


@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_a_line_of_one_pixel_survives_in_one_piece(shape: tuple[int, int]) -> None:
    rows, columns = shape
    along = np.linspace(0, 1, 2 * max(shape))
    lines = {
        "across": ([rows // 3] * columns, range(columns)),
        "down": (range(rows), [columns // 5] * rows),
        "oblique": ((along * (rows - 1)).astype(int), (along**2 * (columns - 1)).astype(int)),
    }
    for name, (row, column) in lines.items():
        pixels = np.zeros(shape, bool)
        pixels[list(row), list(column)] = True
        scribble = LITE.mask(pixels)
        assert ndimage.label(scribble, np.ones((3, 3)))[1] == 1, name
        extent = np.array([np.ptp(np.flatnonzero(scribble.any(axis))) + 1 for axis in (1, 0)])
        drawn = np.array([np.ptp(np.flatnonzero(pixels.any(axis))) + 1 for axis in (1, 0)])
        assert np.abs(extent - drawn * 256 / max(shape)).max() <= 1, name
    lost = np.zeros(shape, np.uint8)
    lost[rows // 3] = 1
    assert not area_resize(lost, within(shape)).any()


@shapes
def test_a_single_pixel_survives_in_its_place(shape: tuple[int, int]) -> None:
    for row, column in [(0, 0), (shape[0] - 1, shape[1] - 1), (shape[0] // 2, shape[1] // 3)]:
        pixels = np.zeros(shape, bool)
        pixels[row, column] = True
        scribble = LITE.mask(pixels)
        assert scribble.any()
        middle = (np.argwhere(scribble).mean(axis=0) + 0.5) / within(shape)
        assert np.abs(middle - (np.array([row, column]) + 0.5) / shape).max() <= 1.01 / min(within(shape))


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if max(shape) >= SIZE], ids=str)
def test_transposing_the_scribble_transposes_what_is_seen(shape: tuple[int, int]) -> None:
    pixels = letter(shape)
    np.testing.assert_array_equal(LITE.mask(pixels.T), LITE.mask(pixels).T)
