"""How SAM 2 and MedSAM2 see planes: their own pixels in, their own pixels out, whatever the shape."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_medsam.models.frame_sam2 import DEVIATION, MEAN, MEDSAM2, SAM2, Sam2Frame

FRAMES = pytest.mark.parametrize("frame", [SAM2, MEDSAM2], ids=["sam2", "medsam2"])
SHAPES = pytest.mark.parametrize(
    "shape", [(2, 2), (2, 300), (300, 2), (90, 400), (400, 90), (64, 48), (1500, 1100)], ids=str
)


def an_l(shape: tuple[int, int]) -> NDArray[np.bool_]:
    """A long leg down the left, a short foot along the bottom: no flip and no transpose looks the same."""
    rows, columns = shape
    mask = np.zeros(shape, dtype=bool)
    mask[rows // 8 : -(rows // 4) or None, columns // 8 : max(columns // 4, 1)] = True
    mask[-(rows // 2) or None : -(rows // 4) or None, columns // 8 : max(columns // 2, 1)] = True
    return mask


def seen(frame: Sam2Frame, plane: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The input of the network in grey values again."""
    return np.asarray((frame.image(plane) * DEVIATION + MEAN) * 255, dtype=np.float32)


@FRAMES
@SHAPES
def test_the_input_is_a_square_of_three_colours(frame: Sam2Frame, shape: tuple[int, int]) -> None:
    plane = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    image = frame.image(plane)
    assert image.shape == (3, frame.size, frame.size)
    assert image.dtype == np.float32
    assert np.isfinite(image).all()


@FRAMES
def test_colours_are_normalised_one_by_one(frame: Sam2Frame) -> None:
    plane = np.zeros((30, 50, 3), dtype=np.uint8) + np.array([255, 128, 0], dtype=np.uint8)
    by_hand = [(1 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, -0.406 / 0.225]
    image = frame.image(plane)
    for channel, value in zip(image, by_hand, strict=True):
        np.testing.assert_allclose(channel, value, atol=1e-5)


@FRAMES
def test_a_grey_plane_and_its_copy_in_three_colours_look_the_same(frame: Sam2Frame) -> None:
    plane = np.random.default_rng(1).integers(0, 256, (40, 70), dtype=np.uint8)
    np.testing.assert_array_equal(frame.image(plane), frame.image(np.dstack([plane] * 3)))


@FRAMES
@pytest.mark.parametrize(("row", "column"), [(3, 100), (20, 7), (39, 0)])
def test_a_pixel_is_where_its_position_says(frame: Sam2Frame, row: int, column: int) -> None:
    plane = np.zeros((40, 120), dtype=np.uint8)
    plane[row, column] = 255
    bright = np.unravel_index(seen(frame, plane)[0].argmax(), (frame.size, frame.size))
    x, y = frame.positions(np.array([(column, row)], dtype=np.float64), (40, 120))[0]
    # SAM 2 scales the index and not the centre, so it points at most half a pixel of the plane up and left
    assert 0 <= bright[0] - y <= frame.size / 40
    assert 0 <= bright[1] - x <= frame.size / 120


@FRAMES
@SHAPES
def test_positions_go_there_and_back(frame: Sam2Frame, shape: tuple[int, int]) -> None:
    xy = np.random.default_rng(2).uniform(0, 1, (20, 2)) * (shape[1] - 1, shape[0] - 1)
    there = frame.positions(xy, shape)
    assert there.dtype == np.float32
    assert (there >= 0).all()
    assert (there <= frame.size).all()
    np.testing.assert_allclose(there * (shape[1], shape[0]) / frame.size, xy, atol=1e-3)


@FRAMES
def test_no_positions_are_no_positions(frame: Sam2Frame) -> None:
    assert frame.positions(np.zeros((0, 2)), (30, 40)).shape == (0, 2)


@FRAMES
@SHAPES
def test_a_mask_comes_back_on_its_own_pixels(frame: Sam2Frame, shape: tuple[int, int]) -> None:
    mask = an_l(shape)
    prompt = frame.mask(mask)
    assert prompt.shape == (frame.size // 4, frame.size // 4)
    assert np.abs(prompt).max() < 10.001
    back = frame.restore(np.stack([prompt, -prompt]), shape)
    assert back.shape == (2, *shape)
    assert overlap(back[0], mask) > 0.95
    if min(shape) > 2:
        assert overlap(back[0], mask[::-1]) < 0.9
        assert overlap(back[0], mask[:, ::-1]) < 0.9
    assert overlap(back[1], ~mask) > 0.95


def overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))


def test_one_voxel_stays_one_voxel() -> None:
    mask = np.zeros((5, 9), dtype=bool)
    mask[1, 7] = True
    assert (SAM2.restore(SAM2.mask(mask)[None], (5, 9))[0] == mask).all()


def test_restoring_is_bilinear() -> None:
    """By an independent formula: the value at a pixel's centre, between the centres of the logits."""
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(1, 128, 128)).astype(np.float32)
    shape = (37, 211)
    rows, columns = ((np.arange(n) + 0.5) * 128 / n - 0.5 for n in shape)
    r, c = np.clip(rows, 0, 127), np.clip(columns, 0, 127)
    r0, c0 = r.astype(int), c.astype(int)
    r1, c1 = np.minimum(r0 + 1, 127), np.minimum(c0 + 1, 127)
    fr, fc = (r - r0)[:, None], (c - c0)[None]
    one = logits[0]
    above = one[np.ix_(r0, c0)] * (1 - fc) + one[np.ix_(r0, c1)] * fc
    below = one[np.ix_(r1, c0)] * (1 - fc) + one[np.ix_(r1, c1)] * fc
    value = above * (1 - fr) + below * fr
    sure = np.abs(value) > 1e-4
    np.testing.assert_array_equal(MEDSAM2.restore(logits, shape)[0][sure], (value > 0)[sure])


def test_sam2_smooths_numbers_and_medsam2_rounds_them() -> None:
    plane = np.array([[0, 1], [1, 1]], dtype=np.uint8)
    rounded = seen(MEDSAM2, plane)
    np.testing.assert_allclose(rounded, np.rint(rounded), atol=1e-3)
    assert np.abs(seen(SAM2, plane) - np.rint(seen(SAM2, plane))).max() > 0.4


def test_the_frames_have_names_of_their_own() -> None:
    assert SAM2.name != MEDSAM2.name
    assert (SAM2.size, MEDSAM2.size) == (1024, 512)
