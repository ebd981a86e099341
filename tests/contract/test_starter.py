"""Laws of the `starter` segmenter on its shipped weights."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from napari_medsam.models.starter import Starter
from napari_medsam.prompts import Box, MaskPrompt, Point, Prompts, Stroke


@pytest.fixture(scope="module")
def model() -> Starter:
    return Starter()


@pytest.fixture(scope="module")
def disc() -> NDArray[np.uint8]:
    r, c = np.mgrid[:90, :131]
    plane = 60 + 90 * (((r - 40) / 14) ** 2 + ((c - 70) / 21) ** 2 < 1)
    return (plane + np.random.default_rng(3).normal(0, 6, plane.shape)).clip(0, 255).astype(np.uint8)


BOX = Box(25, 48, 56, 93)


def test_a_plain_ellipse(model: Starter, disc: NDArray[np.uint8]) -> None:
    truth = disc > 105
    found = model.decode(model.encode(disc), Prompts(BOX))
    assert found.masks.shape == (3, 90, 131)
    assert found.masks.dtype == bool
    assert 2 * (found.mask & truth).sum() / (found.mask.sum() + truth.sum()) > 0.93
    assert ((found.scores >= 0) & (found.scores <= 1)).all()


def test_marks_are_obeyed(model: Starter, disc: NDArray[np.uint8]) -> None:
    points = (Point(40, 70, False), Point(10, 10, True), Point(30, 52, True), Point(52.4, 90.2, True))
    stroke = Stroke(((35, 60), (36, 64)), False)
    for mask in model.decode(model.encode(disc), Prompts(BOX, points, (stroke,))).masks:
        assert all(mask[p.pixel] == p.positive for p in points)
        assert not mask[tuple(stroke.pixels(mask.shape).T)].any()


@pytest.mark.parametrize("box", [BOX, Box(20, 50, 60, 90), None])
def test_transposing_all_transposes_the_mask(model: Starter, disc: NDArray[np.uint8], box: Box | None) -> None:
    prompts = Prompts(box, (Point(38, 66), Point(30, 80), Point(22, 55, False)))
    one = model.decode(model.encode(disc), prompts)
    other = model.decode(model.encode(np.ascontiguousarray(disc.T)), prompts.transposed())
    assert np.count_nonzero(one.mask != other.mask.T) <= 0.01 * one.mask.sum()


def test_the_same_twice_and_after_others(model: Starter, disc: NDArray[np.uint8]) -> None:
    embedding = model.encode(disc)
    prompts = Prompts(BOX, (Point(30, 60),))
    one = model.decode(embedding, prompts)
    model.decode(embedding, Prompts(BOX, (Point(50, 88, False),)))
    fresh = Starter().decode(embedding, prompts)
    np.testing.assert_array_equal(one.masks, fresh.masks)


def test_a_point_alone(model: Starter, disc: NDArray[np.uint8]) -> None:
    truth = disc > 105
    found = model.decode(model.encode(disc), Prompts(None, (Point(41, 69),)))
    assert 2 * (found.mask & truth).sum() / (found.mask.sum() + truth.sum()) > 0.85


@pytest.mark.parametrize("shape", [(2, 2), (3, 300), (40, 5), (513, 511)])
def test_any_shape(model: Starter, shape: tuple[int, int]) -> None:
    plane = np.zeros(shape, np.uint8)
    plane[: shape[0] // 2 + 1] = 200
    found = model.decode(model.encode(plane), Prompts(Box(0, 0, *shape)))
    assert found.mask.shape == shape


def test_colour(model: Starter, disc: NDArray[np.uint8]) -> None:
    grey = model.decode(model.encode(disc), Prompts(BOX))
    colour = model.decode(model.encode(np.repeat(disc[:, :, None], 3, 2)), Prompts(BOX))
    np.testing.assert_array_equal(grey.mask, colour.mask)


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def first_tries(truth: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """Masks near the truth, as other tools leave them."""
    rows, columns = truth.nonzero()
    left = columns == columns.min()
    r, c = np.indices(truth.shape)
    bitten = truth & (np.hypot(r - rows[left].mean(), c - columns.min()) > 12)
    return {
        "too small": ndimage.binary_erosion(truth, iterations=3),
        "too large": ndimage.binary_dilation(truth, iterations=3),
        "moved": np.roll(truth, (2, -3), (0, 1)),
        "bitten": bitten,
    }


def l_shape() -> NDArray[np.bool_]:
    mask = np.zeros((90, 131), dtype=bool)
    mask[20:70, 40:60] = mask[50:70, 40:100] = True
    return mask


def ellipse() -> NDArray[np.bool_]:
    r, c = np.mgrid[:90, :131]
    return np.asarray(((r - 40) / 14) ** 2 + ((c - 70) / 21) ** 2 < 1)


@pytest.mark.parametrize("truth", [ellipse(), l_shape()], ids=["ellipse", "L"])
@pytest.mark.parametrize("kind", ["too small", "too large", "moved", "bitten"])
def test_a_mask_given_is_made_better(model: Starter, truth: NDArray[np.bool_], kind: str) -> None:
    noise = np.random.default_rng(5).normal(0, 6, truth.shape)
    plane = (60 + 90 * truth + noise).clip(0, 255).astype(np.uint8)
    given = first_tries(truth)[kind]
    found = model.decode(model.encode(plane), Prompts(mask=MaskPrompt(given)))
    assert dice(found.mask, truth) > dice(given, truth)


@pytest.mark.parametrize("truth", [ellipse(), l_shape()], ids=["ellipse", "L"])
def test_a_mask_given_that_is_right_is_kept(model: Starter, truth: NDArray[np.bool_]) -> None:
    plane = np.where(truth, 150, 60).astype(np.uint8)
    assert dice(model.decode(model.encode(plane), Prompts(mask=MaskPrompt(truth))).mask, truth) > 0.96


def test_marks_beside_a_mask_given_are_obeyed(model: Starter, disc: NDArray[np.uint8]) -> None:
    points = (Point(20, 120), Point(40, 70, False))
    for box in (None, BOX):
        for mask in model.decode(model.encode(disc), Prompts(box, points, mask=MaskPrompt(disc > 105))).masks:
            assert mask[20, 120]
            assert not mask[40, 70]


def test_a_mask_given_beside_a_box_is_another_question(model: Starter, disc: NDArray[np.uint8]) -> None:
    embedding = model.encode(disc)
    alone = model.decode(embedding, Prompts(BOX))
    half = np.zeros(disc.shape, dtype=bool)
    half[27:54, 50:70] = True
    given = model.decode(embedding, Prompts(BOX, mask=MaskPrompt(half)))
    assert not np.array_equal(given.scores, alone.scores)
    np.testing.assert_array_equal(model.decode(embedding, Prompts(BOX)).masks, alone.masks)


def test_transposing_a_mask_given_transposes_the_answer(model: Starter, disc: NDArray[np.uint8]) -> None:
    prompts = Prompts(mask=MaskPrompt(first_tries(disc > 105)["bitten"]))
    one = model.decode(model.encode(disc), prompts)
    other = model.decode(model.encode(np.ascontiguousarray(disc.T)), prompts.transposed())
    np.testing.assert_array_equal(one.masks, other.masks.swapaxes(1, 2))
