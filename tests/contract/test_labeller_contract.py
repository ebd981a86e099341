"""The laws that every Labeller obeys, whatever it answers. A new one is one more line in LABELLERS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_medsam.errors import ImageError, UnsupportedError
from napari_medsam.models.base import Labeller, ModelSpec, Segmenter
from napari_medsam.prompts import Box, Prompts

from .fakes import BoxFake, LabelFake


def small_samed(compute: Any = None) -> Labeller:
    """SAMed's real frame around a network of 2 narrow blocks, so that a plane takes a tenth of a second."""
    pytest.importorskip("torch")
    pytest.importorskip("segment_anything")
    import torch

    from napari_medsam.models import registry, samed
    from napari_medsam.models.compute import Compute
    from napari_medsam.models.sam_encoder import EncoderConfig

    encoder = EncoderConfig(width=16, depth=2, heads=2, global_blocks=(1,), size=samed.SIZE, out=32)
    torch.manual_seed(5)
    network = samed.network(samed.SamedConfig(encoder, 8), compute or Compute("cpu", "float32"))
    row = registry.row("samed-b")
    return samed.Samed(row.spec("small"), row.classes, network)


LABELLERS: list[tuple[str, Callable[[], Labeller]]] = [("label-fake", LabelFake), ("samed", small_samed)]

SHAPE = (40, 60)


@pytest.fixture(scope="module", params=[f for _, f in LABELLERS], ids=[i for i, _ in LABELLERS])
def labeller(request: pytest.FixtureRequest) -> Labeller:
    made: Labeller = request.param()
    return made


def hounsfield(shape: tuple[int, ...] = SHAPE, dtype: Any = np.int16) -> NDArray[Any]:
    """Make an asymmetric slice: air, a body, and a bright L."""
    values = np.random.default_rng(3).integers(-1000, -900, shape)
    values[4:-3, 5:-8] += 1000
    values[10:28, 16:28] += 400
    values[20:28, 16:48] += 200
    return values.astype(dtype)


def test_the_spec_tells_all_and_takes_no_prompt(labeller: Labeller) -> None:
    spec = labeller.spec
    assert isinstance(spec, ModelSpec)
    assert all((spec.name, spec.title, spec.digest, spec.licence, spec.about))
    assert not spec.takes
    with pytest.raises(UnsupportedError):
        spec.check(Prompts(Box(2, 2, 9, 9)))


def test_it_is_told_from_a_model_that_needs_prompts(labeller: Labeller) -> None:
    assert isinstance(labeller, Labeller)
    assert not isinstance(labeller, Segmenter)
    assert not isinstance(BoxFake(), Labeller)


def test_each_class_has_a_name_of_its_own(labeller: Labeller) -> None:
    assert labeller.classes
    assert all(labeller.classes)
    assert len(set(labeller.classes)) == len(labeller.classes) < 256


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64, ">i2"])
def test_labels_have_the_promised_form(labeller: Labeller, dtype: Any) -> None:
    found = labeller.label(hounsfield(dtype=dtype))
    assert found.shape == SHAPE
    assert found.dtype == np.uint8
    assert found.max() <= len(labeller.classes)
    assert found.flags.c_contiguous


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (1, 300), (300, 3), (513, 40)], ids=str)
def test_tiny_and_thin_slices_are_slices_too(labeller: Labeller, shape: tuple[int, int]) -> None:
    found = labeller.label(np.full(shape, 40, dtype=np.int16))
    assert found.shape == shape
    assert found.max() <= len(labeller.classes)


def test_the_same_slice_gets_the_same_labels_whatever_its_type(labeller: Labeller) -> None:
    first, second = (labeller.label(hounsfield(dtype=d)) for d in (np.int16, np.float64))
    np.testing.assert_array_equal(first, second)


def test_the_slice_is_never_written_to(labeller: Labeller) -> None:
    values = hounsfield()
    values.flags.writeable = False
    labeller.label(values)
    np.testing.assert_array_equal(values, hounsfield())


def test_values_that_are_no_numbers_do_no_harm(labeller: Labeller) -> None:
    values = hounsfield(dtype=np.float32)
    values[3, 5], values[8, 9], values[9, 9] = np.nan, np.inf, -np.inf
    assert labeller.label(values).shape == SHAPE


@pytest.mark.parametrize(
    "values",
    [np.zeros((40, 60, 3), np.uint8), np.zeros(8), np.zeros((4, 4), complex), np.zeros((4, 4), "U1")],
    ids=["colour", "one axis", "complex", "text"],
)
def test_what_is_no_slice_is_refused_in_words(labeller: Labeller, values: NDArray[Any]) -> None:
    with pytest.raises(ImageError):
        labeller.label(values)
