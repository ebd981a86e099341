"""Each family's frame, end to end: a network that answers with what it is shown gives back the prompts, in place."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_medsam.models.frame_sam import SAM
from napari_medsam.models.sam_segmenter import SamSegmenter
from napari_medsam.prompts import Box, MaskPrompt, Point, PromptKind, Prompts

from .families import FAMILIES, Echo, Family

SHAPES = [(90, 140), (140, 90), (300, 300), (40, 1500), (1100, 700)]


@pytest.fixture(params=FAMILIES, ids=lambda family: family.row)
def family(request: pytest.FixtureRequest) -> Family:
    made: Family = request.param
    return made


def echo_of(family: Family) -> Echo:
    return Echo(family.size, family.logits, exchanged=family.exchanged)


def overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(2 * np.count_nonzero(a & b) / max(np.count_nonzero(a) + np.count_nonzero(b), 1))


def cell(family: Family, shape: tuple[int, int]) -> float:
    """How many pixels of the plane a cell of the decoder's masks spans, at most."""
    return max(1.0, max(shape) / family.logits)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_box_comes_back_where_it_was_drawn(family: Family, shape: tuple[int, int]) -> None:
    if PromptKind.BOX not in family.segmenter(echo_of(family)).spec.prompts:
        return
    rows, columns = shape
    box = Box(int(0.1 * rows), int(0.55 * columns), int(0.45 * rows), int(0.9 * columns))
    segmenter = family.segmenter(echo_of(family))
    found = segmenter.decode(segmenter.encode(np.zeros(shape, dtype=np.uint8)), Prompts(box)).mask
    at = np.argwhere(found)
    drawn = np.array([[box.row0, box.column0], [box.row1 - 1, box.column1 - 1]])
    np.testing.assert_allclose([at.min(0), at.max(0)], drawn, atol=2 * cell(family, shape))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_point_comes_back_where_it_was_clicked(family: Family, shape: tuple[int, int]) -> None:
    if PromptKind.POINT not in family.segmenter(echo_of(family)).spec.prompts:
        return
    point = Point(round(0.25 * shape[0]), round(0.7 * shape[1]))
    segmenter = family.segmenter(echo_of(family))
    found = segmenter.decode(segmenter.encode(np.zeros(shape, dtype=np.uint8)), Prompts(points=(point,))).mask
    middle = np.argwhere(found).mean(axis=0)
    np.testing.assert_allclose(middle, (point.row, point.column), atol=2 * cell(family, shape))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_mask_comes_back_where_it_was(family: Family, shape: tuple[int, int]) -> None:
    segmenter = family.segmenter(echo_of(family))
    if PromptKind.MASK not in segmenter.spec.prompts:
        return
    rows, columns = shape
    mask = np.zeros(shape, dtype=bool)
    mask[int(0.2 * rows) : int(0.8 * rows), int(0.3 * columns) : int(0.5 * columns)] = True
    mask[int(0.6 * rows) : int(0.8 * rows), int(0.3 * columns) : int(0.85 * columns)] = True
    prompts = Prompts(mask=MaskPrompt(mask))
    found = segmenter.decode(segmenter.encode(np.zeros(shape, dtype=np.uint8)), prompts).mask
    assert overlap(found, mask) > (0.93 if cell(family, shape) < 2 else 0.8)


@pytest.mark.parametrize("shape", [(90, 140), (300, 301)], ids=str)
def test_the_plane_is_shown_upright(family: Family, shape: tuple[int, int]) -> None:
    """A bright corner is shown where a click on it is: image and prompts go through one frame."""
    plane = np.zeros(shape, dtype=np.uint8)
    plane[: shape[0] // 3, 2 * shape[1] // 3 :] = 255
    image = family.frame.image(plane).mean(axis=0)
    bright = np.argwhere(image > (image.max() + image.min()) / 2).mean(axis=0)
    middle = np.array([[(shape[1] - 1) * 5 / 6, (shape[0] - 1) / 6]])
    x, y = family.frame.positions(middle, shape)[0]
    if family.exchanged:
        x, y = y, x
    np.testing.assert_allclose(bright, (y, x), atol=0.03 * family.size)


def test_a_plane_and_its_transpose_are_seen_alike(family: Family) -> None:
    plane = np.random.default_rng(2).integers(0, 256, (60, 90)).astype(np.uint8)
    straight = family.frame.image(plane)
    across = family.frame.image(np.ascontiguousarray(plane.T))
    # resampling in two passes rounds between them, and rounds differently in the other order
    difference = np.abs(across.swapaxes(1, 2) - straight)
    assert difference.mean() < 0.02
    assert difference.max() < 0.5


def test_the_digest_tells_frames_apart() -> None:
    spec = FAMILIES[0].segmenter(echo_of(FAMILIES[0])).spec
    other = SamSegmenter(spec, FAMILIES[2].frame, echo_of(FAMILIES[2]))
    assert other.frame.name != SAM.name
    assert other.spec.digest != spec.digest
