"""How SAM-Med2D, SAMUS and Medical-SAM-Adapter see planes: their own pixels in, their own pixels out, in any shape."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from napari_medsam.models.frame_squash import (
    DEVIATION,
    MEAN,
    MED2D,
    MSA,
    SAMUS,
    SquashFrame,
    bilinear,
    ends_of,
    nearest,
)
from napari_medsam.prompts import Box

FRAMES = pytest.mark.parametrize("frame", [MED2D, SAMUS, MSA], ids=["sam-med2d", "samus", "msa"])
COLOURED = pytest.mark.parametrize("frame", [MED2D, MSA], ids=["sam-med2d", "msa"])
SHAPES = pytest.mark.parametrize(
    "shape", [(2, 2), (2, 300), (300, 2), (90, 400), (400, 90), (64, 48), (1500, 1100)], ids=str
)
CHANNELS = {"sam-med2d": 3, "samus": 1, "msa": 3}


def an_l(shape: tuple[int, int]) -> NDArray[np.bool_]:
    """A long leg down the left, a short foot along the bottom: no flip and no transpose looks the same."""
    rows, columns = shape
    mask = np.zeros(shape, dtype=bool)
    mask[rows // 8 : -(rows // 4) or None, columns // 8 : max(columns // 4, 1)] = True
    mask[-(rows // 2) or None : -(rows // 4) or None, columns // 8 : max(columns // 2, 1)] = True
    return mask


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def noise(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def levels(frame: SquashFrame, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first channel of a network's input in grey levels again."""
    return image[0] * DEVIATION[0] + MEAN[0] if frame is MED2D else image[0] * 255


# -- pixels in -------------------------------------------------------------------------------------------------------


@FRAMES
@SHAPES
def test_the_input_is_a_square(frame: SquashFrame, shape: tuple[int, int]) -> None:
    plane = noise(shape)
    for given in (plane, np.dstack([plane] * 3)):
        image = frame.image(given)
        assert image.shape == (CHANNELS[frame.name], frame.size, frame.size)
        assert image.dtype == np.float32
        assert image.flags.c_contiguous
    np.testing.assert_array_equal(frame.image(plane), image)


@FRAMES
def test_a_plane_that_is_not_contiguous(frame: SquashFrame) -> None:
    plane = noise((80, 60))
    np.testing.assert_array_equal(frame.image(plane[::2].T), frame.image(np.ascontiguousarray(plane[::2].T)))


def test_sam_med2d_copies_pixels() -> None:
    plane = noise((300, 1000))
    image = levels(MED2D, MED2D.image(plane))
    for row, column in ((0, 0), (7, 201), (131, 64), (255, 255)):
        by_hand = plane[int(row * 300 / 256), int(column * 1000 / 256)]
        assert abs(image[row, column] - float(by_hand)) < 1e-3


def test_sam_med2d_repeats_the_pixels_of_a_tiny_plane() -> None:
    plane = np.array([[10, 20], [30, 40]], dtype=np.uint8)
    np.testing.assert_allclose(levels(MED2D, MED2D.image(plane)), np.kron(plane, np.ones((128, 128))), atol=1e-3)


@COLOURED
def test_colours_keep_their_order(frame: SquashFrame) -> None:
    plane = np.zeros((30, 50, 3), dtype=np.uint8) + np.array([255, 128, 0], dtype=np.uint8)
    by_hand = {
        "sam-med2d": [(255 - 123.675) / 58.395, (128 - 116.28) / 57.12, -103.53 / 57.375],
        "msa": [1, 128 / 255, 0],
    }
    for channel, value in zip(frame.image(plane), by_hand[frame.name], strict=True):
        np.testing.assert_allclose(channel, value, atol=1e-5)


def test_samus_sees_colours_as_grey() -> None:
    plane = np.zeros((30, 50, 3), dtype=np.uint8) + np.array([200, 100, 0], dtype=np.uint8)
    np.testing.assert_allclose(SAMUS.image(plane), np.rint(0.299 * 200 + 0.587 * 100) / 255, atol=1e-6)


@pytest.mark.parametrize("frame", [SAMUS, MSA], ids=["samus", "msa"])
def test_the_range_is_that_of_the_levels_and_not_of_the_plane(frame: SquashFrame) -> None:
    plane = np.clip(noise((40, 70)), 50, 99)
    image = frame.image(plane)
    assert 50 / 255 <= image.min() <= image.max() <= 99 / 255 + 1e-6
    theirs = np.asarray(Image.fromarray(plane).resize((frame.size,) * 2, Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(np.rint(levels(frame, image)).astype(int), theirs)


# -- positions -------------------------------------------------------------------------------------------------------


@FRAMES
@pytest.mark.parametrize(("row", "column"), [(3, 100), (20, 7), (39, 0)])
def test_a_pixel_is_where_its_position_says(frame: SquashFrame, row: int, column: int) -> None:
    plane = np.zeros((40, 120), dtype=np.uint8)
    plane[row, column] = 255
    bright = np.argwhere(frame.image(plane)[0] > frame.image(plane)[0].max() * 0.9).mean(axis=0)
    x, y = frame.positions(np.array([(column, row)], dtype=np.float64), (40, 120))[0]
    x, y = (y, x) if frame is MSA else (x, y)
    # the originals scale the index and not the centre, so they point at most half a pixel of the plane up and left
    assert -1 <= bright[0] - y <= frame.size / 40
    assert -1 <= bright[1] - x <= frame.size / 120


@FRAMES
@SHAPES
def test_positions_go_there_and_back(frame: SquashFrame, shape: tuple[int, int]) -> None:
    xy = np.random.default_rng(2).uniform(0, 1, (20, 2)) * (shape[1] - 1, shape[0] - 1)
    there = frame.positions(xy, shape)
    assert there.dtype == np.float32
    assert (there >= 0).all()
    assert (there <= frame.size).all()
    back = (there[:, ::-1] if frame is MSA else there) * (shape[1], shape[0]) / frame.size
    np.testing.assert_allclose(back, xy, atol=1e-3)


@FRAMES
def test_no_positions_are_no_positions(frame: SquashFrame) -> None:
    assert frame.positions(np.zeros((0, 2)), (40, 60)).shape == (0, 2)


def test_clicks_of_medical_sam_adapter_are_exchanged() -> None:
    """As it was trained: column 30 of 60 and row 10 of 40 come as x = 256 and y = 512."""
    np.testing.assert_array_equal(MSA.positions(np.array([(30.0, 10.0)]), (40, 60)), [(256, 512)])
    np.testing.assert_array_equal(MED2D.positions(np.array([(30.0, 10.0)]), (40, 60)), [(128, 64)])


def test_a_box_is_half_open() -> None:
    np.testing.assert_array_equal(ends_of(Box(8, 14, 30, 50)), [(14, 8), (50, 30)])


# -- masks in and out ------------------------------------------------------------------------------------------------


@FRAMES
@SHAPES
def test_an_l_comes_back_onto_its_own_pixels(frame: SquashFrame, shape: tuple[int, int]) -> None:
    mask = an_l(shape)
    shares = frame.mask(mask)
    assert shares.shape == (frame.side, frame.side)
    assert shares.dtype == np.float32
    assert -1e-6 <= shares.min() <= shares.max() <= 1 + 1e-6
    back = frame.restore(np.stack([20 * shares - 10, 10 - 20 * shares]), shape)
    assert back.shape == (2, *shape)
    cells = max(shape) / frame.side
    assert dice(back[0], mask) >= (1.0 if cells <= 1 else 0.95)
    assert dice(back[1], ~mask) >= (1.0 if cells <= 1 else 0.95)


@FRAMES
@SHAPES
def test_shares_keep_the_area(frame: SquashFrame, shape: tuple[int, int]) -> None:
    mask = noise(shape, 4) > 150
    assert abs(frame.mask(mask).mean() - mask.mean()) < 1e-4


def test_a_share_is_the_part_of_a_cell_that_is_covered() -> None:
    mask = np.zeros((128, 192), dtype=bool)
    mask[0, :3] = True
    mask[10, 6:8] = True
    shares = MED2D.mask(mask)
    assert shares[0, 0] == pytest.approx(3 / 6)
    assert shares[5, 2] == pytest.approx(2 / 6)
    assert np.count_nonzero(shares) == 2


def test_the_threshold_of_medical_sam_adapter_is_half_a_logit() -> None:
    logits = np.full((1, 256, 256), 0.4, np.float32)
    logits[0, :128] = 0.6
    found = MSA.restore(logits, (10, 7))[0]
    assert found[:5].all()
    assert not found[5:].any()
    assert SAMUS.restore(logits[:, ::2, ::2], (10, 7)).all()


@SHAPES
@pytest.mark.parametrize("side", [64, 128, 256])
def test_resizing_is_that_of_torch(shape: tuple[int, int], side: int) -> None:
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(5).normal(0, 5, (side, side)).astype(np.float32)

    def theirs(**options: object) -> NDArray[np.float32]:
        given = torch.from_numpy(logits)[None, None]
        return np.asarray(torch.nn.functional.interpolate(given, shape, **options)[0, 0])

    np.testing.assert_allclose(bilinear(logits, shape), theirs(mode="bilinear", align_corners=False), atol=1e-3)
    np.testing.assert_array_equal(nearest(logits, shape), theirs(mode="nearest"))
