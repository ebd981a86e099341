"""How SAM and MedSAM see planes: their own pixels in, their own pixels out, whatever the shape."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.transform import resize

pytest.importorskip("torch")

from napari_medsam.models.frame import Frame
from napari_medsam.models.frame_medsam import MEDSAM, MedSamFrame
from napari_medsam.models.frame_sam import DEVIATION, MEAN, SAM, SamFrame, fitting

SIZE, CELLS = 1024, 256
BOTH = pytest.mark.parametrize("frame", [SAM, MEDSAM], ids=["sam", "medsam"])

SMALL = 128
SMALL_SAM, SMALL_MEDSAM = SamFrame(SMALL), MedSamFrame(SMALL)
SMALLER = pytest.mark.parametrize("frame", [SMALL_SAM, SMALL_MEDSAM], ids=["sam", "medsam"])
"""The same frames for a smaller network: to see a plane takes time in the square of the size."""

SHAPES = [(90, 400), (400, 90), (64, 48), (1500, 1100), (1024, 1024)]
TINY = [(2, 2), (2, 300), (300, 2), (1, 5000), (3, 7)]


def noise(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def extent(frame: Frame, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Rows and columns of the network's input that the plane takes, by an independent formula."""
    if isinstance(frame, MedSamFrame):
        return np.array([frame.size, frame.size], dtype=float)
    assert isinstance(frame, SamFrame)
    return np.array([max(1, math.floor(n * frame.size / max(shape) + 0.5)) for n in shape], dtype=float)


def an_l(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.bool_]:
    """At parts of the height and the width: a long leg down the left, a short foot to the right, nothing symmetric."""
    r, c = rows[:, None], columns[None, :]
    leg = (r > 0.1) & (r < 0.8) & (c > 0.15) & (c < 0.35)
    foot = (r > 0.55) & (r < 0.8) & (c > 0.15) & (c < 0.75)
    return np.asarray(leg | foot)


def on_plane(shape: tuple[int, int]) -> NDArray[np.bool_]:
    return an_l(*((np.arange(n) + 0.5) / n for n in shape))


def on_cells(frame: Frame, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Logits of the L as a decoder would give them: made on the coarse grid, with no code of the frame."""
    centres = (np.arange(CELLS) + 0.5) * SIZE / CELLS
    there = an_l(*(centres / n for n in extent(frame, shape)))
    return np.where(there, 8, -8).astype(np.float32)


def overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))


@SMALLER
@pytest.mark.parametrize("shape", [*SHAPES, *TINY, (40, 60, 3)], ids=str)
def test_the_input_is_a_square_of_three_channels(frame: Frame, shape: tuple[int, ...]) -> None:
    image = frame.image(noise(shape))
    assert image.shape == (3, SMALL, SMALL)
    assert image.dtype == np.float32
    assert np.isfinite(image).all()
    assert image.flags.c_contiguous


@SMALLER
@pytest.mark.parametrize("level", [0, 137, 255])
@pytest.mark.parametrize("shape", [(30, 50), (1, 1), (30, 50, 3)], ids=str)
def test_flat_planes_have_no_nan(frame: Frame, level: int, shape: tuple[int, ...]) -> None:
    image = frame.image(np.full(shape, level, dtype=np.uint8))
    assert np.isfinite(image).all()
    if isinstance(frame, MedSamFrame):
        assert not image.any()


def test_sam_normalises_colours_one_by_one_and_pads_with_zeros() -> None:
    plane = np.zeros((30, 60, 3), dtype=np.uint8) + np.array([255, 128, 0], dtype=np.uint8)
    image = SMALL_SAM.image(plane)
    by_hand = [(255 - 123.675) / 58.395, (128 - 116.28) / 57.12, -103.53 / 57.375]
    np.testing.assert_allclose(image[:, :64], np.broadcast_to(np.reshape(by_hand, (3, 1, 1)), (3, 64, 128)), 1e-5)
    assert not image[:, 64:].any()


def test_medsam_stretches_over_all_channels_together() -> None:
    plane = np.full((16, 24, 3), 100, dtype=np.uint8)
    plane[:8, :, 0], plane[8:, :, 2] = 50, 150
    image = SMALL_MEDSAM.image(plane)
    assert image.min() == 0
    assert image.max() == 1
    assert np.allclose(image[1], 0.5, atol=0.011)  # one grey level: as in the original, a spline may end just below 100


@SMALLER
def test_a_grey_plane_and_its_copy_in_three_colours_look_the_same(frame: Frame) -> None:
    plane = noise((40, 70))
    np.testing.assert_array_equal(frame.image(plane), frame.image(np.dstack([plane] * 3)))


@SMALLER
@pytest.mark.parametrize("shape", [*SHAPES, (40, 60, 3)], ids=str)
def test_a_transposed_plane_is_seen_transposed(frame: Frame, shape: tuple[int, ...]) -> None:
    """To one grey level: PIL rounds between the axes, and MedSAM's numbers are cut to whole ones."""
    plane = noise(shape)
    straight, across = frame.image(plane), frame.image(plane.swapaxes(0, 1))
    level = 1 / 255 if isinstance(frame, MedSamFrame) else 1 / float(DEVIATION.min())
    assert np.abs(across - straight.swapaxes(1, 2)).max() <= 1.01 * level


@SMALLER
@pytest.mark.parametrize(("row", "column"), [(3, 25), (5, 2), (9, 0)])
def test_a_pixel_is_where_its_position_says(frame: Frame, row: int, column: int) -> None:
    plane = np.zeros((10, 30), dtype=np.uint8)
    plane[row, column] = 255
    bright = np.unravel_index(frame.image(plane)[0].argmax(), (SMALL, SMALL))
    x, y = frame.positions(np.array([(column, row)], dtype=np.float64), (10, 30))[0]
    rows, columns = extent(frame, (10, 30))
    # the originals scale the index and not the centre, so they point at most half a pixel of the plane up and left
    assert 0 <= bright[0] - y <= rows / 10
    assert 0 <= bright[1] - x <= columns / 30


@BOTH
@pytest.mark.parametrize("shape", [*SHAPES, *TINY], ids=str)
def test_positions_go_there_and_back(frame: Frame, shape: tuple[int, int]) -> None:
    xy = np.random.default_rng(2).uniform(0, 1, (20, 2)) * (shape[1] - 1, shape[0] - 1)
    there = frame.positions(xy, shape)
    assert there.dtype == np.float32
    assert (there >= 0).all()
    assert (there <= SIZE).all()
    rows, columns = extent(frame, shape)
    np.testing.assert_allclose(there / (columns, rows) * (shape[1], shape[0]), xy, atol=1e-3)


@BOTH
def test_no_positions_are_no_positions(frame: Frame) -> None:
    assert frame.positions(np.zeros((0, 2)), (30, 40)).shape == (0, 2)


@BOTH
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_an_object_on_the_coarse_grid_lands_on_its_pixels(frame: Frame, shape: tuple[int, int]) -> None:
    logits = on_cells(frame, shape)
    found = frame.restore(np.stack([logits, -logits]), shape)
    assert found.shape == (2, *shape)
    assert found.dtype == bool
    mask = on_plane(shape)
    assert overlap(found[0], mask) > 0.97
    assert overlap(found[1], ~mask) > 0.97
    for other in (mask[::-1], mask[:, ::-1], mask[::-1, ::-1]):
        assert overlap(found[0], other) < 0.75


@BOTH
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_mask_prompt_comes_back_on_its_own_pixels(frame: Frame, shape: tuple[int, int]) -> None:
    prompt = frame.mask(on_plane(shape))
    assert prompt.shape == (CELLS, CELLS)
    assert prompt.dtype == np.float32
    assert (prompt.min(), prompt.max()) == (-10, 10)
    assert overlap(frame.restore(prompt[None], shape)[0], on_plane(shape)) > 0.97


@BOTH
@pytest.mark.parametrize("shape", TINY, ids=str)
def test_tiny_and_thin_masks_have_their_form(frame: Frame, shape: tuple[int, int]) -> None:
    mask = np.zeros(shape, dtype=bool)
    mask[:, : (shape[1] + 1) // 2] = True
    prompt = frame.mask(mask)
    assert prompt.shape == (CELLS, CELLS)
    assert np.isfinite(prompt).all()
    assert frame.restore(prompt[None], shape).shape == (1, *shape)
    assert frame.restore(np.full((1, CELLS, CELLS), 5, np.float32), shape).all()


def test_sam_s_padding_is_off_the_object_in_a_mask_prompt() -> None:
    prompt = SAM.mask(np.ones((100, 400), dtype=bool))
    assert (prompt[:64] == 10).all()
    assert (prompt[64:] == -10).all()


def test_no_side_becomes_nothing() -> None:
    assert fitting((1, 5000), SIZE) == (1, 1024)
    assert fitting((5000, 2), SIZE) == (1024, 1)
    assert fitting((181, 258), SIZE) == (718, 1024)


def bilinear(picture: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """By an independent formula: one matrix for each axis, pixels taken as areas."""

    def weights(new: int, old: int) -> NDArray[np.float64]:
        at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)[:, None]
        return np.maximum(0, 1 - np.abs(at - np.arange(old)))

    return np.asarray(weights(shape[0], picture.shape[0]) @ picture @ weights(shape[1], picture.shape[1]).T)


@pytest.mark.parametrize("shape", [(37, 211), (300, 140), (512, 512), (512, 301), (99, 512), (256, 256)], ids=str)
def test_the_steps_back_are_those_of_the_originals(shape: tuple[int, int]) -> None:
    logits = np.random.default_rng(3).normal(size=(CELLS, CELLS))
    rows, columns = extent(SAM, shape).astype(int)
    sam = bilinear(bilinear(logits, (SIZE, SIZE))[:rows, :columns], shape)
    medsam = bilinear(1 / (1 + np.exp(-logits)), shape) - 0.5
    for frame, wanted in ((SAM, sam), (MEDSAM, medsam)):
        found = frame.restore(logits[None].astype(np.float32), shape)[0]
        sure = np.abs(wanted) > 1e-5
        assert sure.mean() > 0.99
        np.testing.assert_array_equal(found[sure], wanted[sure] > 0)


def test_mean_and_deviation_have_the_shape_of_channels() -> None:
    assert MEAN.shape == DEVIATION.shape == (3, 1, 1)


def test_colours_of_unequal_range_are_clipped_together() -> None:
    """As the original, which resizes the three channels as one block."""
    plane = noise((60, 90, 3))
    plane[..., 1] = plane[..., 1] // 2 + 20
    plane[..., 2] = plane[..., 2] // 8 + 60
    block = resize(plane, (SMALL, SMALL), order=3, preserve_range=True, anti_aliasing=True).astype(np.uint8)
    low, high = int(block.min()), int(block.max())
    expected = np.moveaxis((block - float(low)) / (high - low), -1, 0)
    found = SMALL_MEDSAM.image(plane)
    assert np.mean(np.abs(found - expected) > 1e-4) < 1e-3
    assert np.abs(found - expected).max() < 1.5 / (high - low)
