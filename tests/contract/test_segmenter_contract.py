"""The laws that every Segmenter obeys, whatever it answers. A new model is one more line in SEGMENTERS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_medsam.errors import ImageError, PromptError, UnsupportedError
from napari_medsam.models.base import Embedding, ModelSpec, Prediction, Segmenter
from napari_medsam.models.batches import encode_all
from napari_medsam.models.contour import Contour
from napari_medsam.models.starter import Starter
from napari_medsam.prompts import Box, MaskPrompt, Point, PromptKind, Prompts, Stroke

from .fakes import BoxFake, MaskFake, SlowFake
from .families import FAMILIES, segmenter_of

SEGMENTERS: list[tuple[str, Callable[[], Segmenter]]] = [
    ("contour", Contour),
    ("starter", Starter),
    ("box-fake", BoxFake),
    ("mask-fake", MaskFake),
    ("slow-fake", lambda: SlowFake(seconds=0.001)),
]

FAMILY = [(family.row, partial(segmenter_of, family.row)) for family in FAMILIES]
"""Networks of every family: random weights, so there are no laws of what they answer, but all of how."""

BOX = Box(8, 14, 30, 50)
SHAPE = (40, 60)


@pytest.fixture(params=[f for _, f in SEGMENTERS], ids=[i for i, _ in SEGMENTERS])
def segmenter(request: pytest.FixtureRequest) -> Segmenter:
    """One that knows an object when it sees one."""
    made: Segmenter = request.param()
    return made


@pytest.fixture(params=[f for _, f in SEGMENTERS + FAMILY], ids=[i for i, _ in SEGMENTERS + FAMILY])
def anyone(request: pytest.FixtureRequest) -> Segmenter:
    made: Segmenter = request.param()
    return made


ASKED = (
    Prompts(BOX),
    Prompts(points=(Point(24, 40),)),
    Prompts(strokes=(Stroke(((24, 18), (24, 40))),)),
)


def native(segmenter: Segmenter) -> Prompts:
    """A question in a kind of prompt that the model was made for."""
    return next(prompts for prompts in ASKED if prompts.kinds <= segmenter.spec.prompts)


def plane(shape: tuple[int, ...] = SHAPE) -> NDArray[np.uint8]:
    """Make an asymmetric plane: noise, and a bright L in the place of BOX."""
    values = np.random.default_rng(3).integers(40, 80, shape)
    values[10:28, 16:28] += 110
    values[20:28, 16:48] += 60
    return values.clip(0, 255).astype(np.uint8)


_encoded: dict[tuple[int, tuple[int, ...], bytes], Embedding] = {}


def encoded(segmenter: Segmenter, image: NDArray[np.uint8]) -> Embedding:
    """The embedding of an image; a network's is made once, since an encode takes it a second."""
    if segmenter.spec.name not in dict(FAMILY):
        return segmenter.encode(image)
    key = id(segmenter), image.shape, image.tobytes()
    if key not in _encoded:
        _encoded[key] = segmenter.encode(image)
    return _encoded[key]


def predict(segmenter: Segmenter, image: NDArray[np.uint8], prompts: Prompts) -> Prediction:
    return segmenter.decode(encoded(segmenter, image), prompts)


def check_form(prediction: Prediction, shape: tuple[int, int]) -> None:
    assert prediction.masks.dtype == bool
    assert prediction.masks.shape[1:] == shape
    assert len(prediction.masks) >= 1
    assert prediction.scores.shape == (len(prediction.masks),)
    assert np.isfinite(prediction.scores).all()
    assert ((prediction.scores >= 0) & (prediction.scores <= 1)).all()
    assert 0 <= prediction.chosen < len(prediction.masks)


def test_planes_encoded_together_are_as_each_alone(anyone: Segmenter) -> None:
    mirrored, alone = encode_all(anyone, [plane()[::-1], plane()]), encoded(anyone, plane())
    assert mirrored[0].shape == alone.shape
    assert list(mirrored[1].arrays) == list(alone.arrays)
    for name, array in mirrored[1].arrays.items():
        assert array.dtype == alone.arrays[name].dtype
        np.testing.assert_allclose(array, alone.arrays[name], atol=1e-3 * np.abs(alone.arrays[name]).max())
        assert not np.shares_memory(array, mirrored[0].arrays[name])


def test_the_spec_tells_all(anyone: Segmenter) -> None:
    spec = anyone.spec
    assert isinstance(spec, ModelSpec)
    assert all((spec.name, spec.title, spec.digest, spec.licence, spec.about))
    assert spec.prompts
    assert spec.prompts <= frozenset(PromptKind)


@pytest.mark.parametrize("shape", [SHAPE, (*SHAPE, 3)], ids=["grey", "rgb"])
def test_masks_and_scores_have_the_promised_form(anyone: Segmenter, shape: tuple[int, ...]) -> None:
    check_form(predict(anyone, plane(shape), native(anyone)), SHAPE)


def test_a_box_finds_something(segmenter: Segmenter) -> None:
    assert predict(segmenter, plane(), Prompts(BOX)).mask.any()


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ((2, 2), Box(0, 0, 2, 2)),
        ((3, 7), Box(0, 1, 3, 6)),
        ((2, 300), Box(0, 20, 2, 250)),
        ((300, 5), Box(9, 0, 80, 5)),
    ],
)
def test_tiny_and_thin_planes_are_planes_too(anyone: Segmenter, shape: tuple[int, int], box: Box) -> None:
    image = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    middle = (box.row0, box.column0 + 1)
    prompts = Prompts(box) if PromptKind.BOX in anyone.spec.takes else Prompts(strokes=(Stroke((middle,)),))
    check_form(predict(anyone, image, prompts), shape)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_plane_without_contrast_is_a_plane_too(anyone: Segmenter, level: int) -> None:
    check_form(predict(anyone, np.full(SHAPE, level, dtype=np.uint8), native(anyone)), SHAPE)


def test_the_same_question_gets_the_same_answer(anyone: Segmenter) -> None:
    both = Prompts(BOX, (Point(24, 40), Point(12, 40, positive=False)))
    prompts = both if both.kinds <= anyone.spec.prompts else native(anyone)
    first, second = (anyone.decode(anyone.encode(plane()), prompts) for _ in range(2))
    np.testing.assert_array_equal(first.masks, second.masks)
    np.testing.assert_array_equal(first.scores, second.scores)
    assert first.chosen == second.chosen


@pytest.mark.parametrize(
    "prompts",
    [
        Prompts(BOX),
        Prompts(BOX, (Point(24, 40), Point(12, 40, positive=False))),
        Prompts(Box(5, 5, 35, 35)),
        Prompts(points=(Point(14, 20),)),
    ],
    ids=["box", "box and points", "square box", "point"],
)
@pytest.mark.parametrize("shape", [(40, 60), (60, 60), (40, 60, 3)], ids=str)
def test_transposing_plane_and_prompts_transposes_the_masks(
    segmenter: Segmenter, shape: tuple[int, ...], prompts: Prompts
) -> None:
    image = plane(shape)
    straight = predict(segmenter, image, prompts)
    across = predict(segmenter, image.swapaxes(0, 1).copy(), prompts.transposed())
    np.testing.assert_array_equal(across.masks, straight.masks.swapaxes(1, 2))
    np.testing.assert_array_equal(across.scores, straight.scores)
    assert across.chosen == straight.chosen


def test_kinds_that_the_spec_does_not_name_are_refused(anyone: Segmenter) -> None:
    blob = np.zeros(SHAPE, dtype=bool)
    blob[10:28, 16:28] = True
    every = {
        PromptKind.BOX: Prompts(BOX),
        PromptKind.POINT: Prompts(points=(Point(14, 20),)),
        PromptKind.STROKE: Prompts(strokes=(Stroke(((14, 20), (24, 20))),)),
        PromptKind.MASK: Prompts(mask=MaskPrompt(blob)),
    }
    assert every.keys() == set(PromptKind)
    embedding = encoded(anyone, plane())
    for kind, prompts in every.items():
        if kind in anyone.spec.takes:
            prediction = anyone.decode(embedding, prompts)
            check_form(prediction, SHAPE)
            if kind in anyone.spec.stand_ins and kind is not PromptKind.STROKE:
                assert "Stand-in" in prediction.note
        else:
            with pytest.raises(UnsupportedError):
                anyone.decode(embedding, prompts)


def test_an_embedding_serves_many_prompts_and_is_never_written_to(anyone: Segmenter) -> None:
    image = plane()
    embedding = anyone.encode(image)
    before = {name: np.array(array) for name, array in embedding.arrays.items()}
    first = anyone.decode(embedding, native(anyone))
    for other in ASKED:
        if other.kinds <= anyone.spec.takes:
            anyone.decode(embedding, other)
    again = anyone.decode(embedding, native(anyone))
    np.testing.assert_array_equal(first.masks, again.masks)
    assert embedding.arrays.keys() == before.keys()
    for name, array in embedding.arrays.items():
        np.testing.assert_array_equal(array, before[name])
    np.testing.assert_array_equal(image, plane())


def test_decode_takes_an_embedding_that_cannot_be_written_to(anyone: Segmenter) -> None:
    embedding = encoded(anyone, plane())
    frozen = {name: np.array(array) for name, array in embedding.arrays.items()}
    for array in frozen.values():
        array.flags.writeable = False
    prediction = anyone.decode(replace(embedding, arrays=frozen), native(anyone))
    np.testing.assert_array_equal(prediction.masks, anyone.decode(embedding, native(anyone)).masks)


def test_the_embedding_says_whose_it_is_and_of_what_shape(anyone: Segmenter) -> None:
    embedding = encoded(anyone, plane())
    assert embedding.model == anyone.spec.digest
    assert embedding.shape == SHAPE


def test_the_mask_stays_in_the_box(segmenter: Segmenter) -> None:
    prediction = predict(segmenter, plane(), Prompts(BOX))
    # a model may answer a little beyond a box that cuts the object
    near = np.zeros(SHAPE, dtype=bool)
    near[BOX.row0 - 2 : BOX.row1 + 2, BOX.column0 - 2 : BOX.column1 + 2] = True
    assert not (prediction.mask & ~near).any()


def test_a_box_that_reaches_beyond_the_plane_is_clipped(anyone: Segmenter) -> None:
    if PromptKind.BOX not in anyone.spec.takes:
        return
    clipped = predict(anyone, plane(), Prompts(Box(0, 0, 20, 30)))
    beyond = predict(anyone, plane(), Prompts(Box(-9, -5, 20, 30)))
    np.testing.assert_array_equal(beyond.masks, clipped.masks)


def test_every_mask_holds_the_positive_points_and_no_negative_one(segmenter: Segmenter) -> None:
    points = (Point(24, 40), Point(9, 48), Point(18, 20, positive=False), Point(25.4, 17.6, positive=False))
    prediction = predict(segmenter, plane(), Prompts(BOX, points))
    for point in points:
        assert (prediction.masks[(slice(None), *point.pixel)] == point.positive).all()


@pytest.mark.parametrize(
    "prompts",
    [
        Prompts(),
        Prompts(points=(Point(5, 5, positive=False),)),
        Prompts(Box(100, 100, 120, 130)),
        Prompts(BOX, (Point(SHAPE[0], 5),)),
        Prompts(BOX, (Point(np.nan, 5),)),
    ],
    ids=["nothing", "only negative", "box outside", "point outside", "nan"],
)
def test_prompts_that_cannot_be_used_are_refused_in_words(anyone: Segmenter, prompts: Prompts) -> None:
    embedding = encoded(anyone, plane())
    with pytest.raises((PromptError, UnsupportedError)):
        anyone.decode(embedding, prompts)


@pytest.mark.parametrize("image", [np.zeros((8, 8)), np.zeros(8, dtype=np.uint8)], ids=["float", "one axis"])
def test_planes_that_are_no_planes_are_refused_in_words(segmenter: Segmenter, image: NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError):
        segmenter.encode(image)
