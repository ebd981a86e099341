"""Too little memory: free, try smaller, else on the CPU; once, and said."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.contract.fakes import BoxFake, LabelFake

from napari_medsam.engine import Engine, Errand, Outcome
from napari_medsam.errors import MemoryShortError
from napari_medsam.models.base import Embedding, Prediction
from napari_medsam.models.compute import Compute
from napari_medsam.models.fallback import Fallback, LabellerFallback, Remade
from napari_medsam.prompts import Box, Prompts

PLANE = np.zeros((20, 30), dtype=np.uint8)
BOX = Prompts(Box(2, 3, 9, 12))


@pytest.fixture(autouse=True)
def _nothing_else_is_held() -> None:
    """Errors that pytest keeps hold models of other tests."""
    Remade._living.clear()


class Hungry(BoxFake):
    """Runs out of memory in float32 when asked to `fail`: "make", "encode" or "decode"."""

    def __init__(self, compute: Compute, fail: str, error: Exception, always: bool = False) -> None:
        super().__init__()
        self._fail = fail if always or compute.precision == "float32" else ""
        self._error = error
        self._maybe("make")

    def _maybe(self, what: str) -> None:
        if what == self._fail:
            raise self._error

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        self._maybe("encode")
        return super().encode(plane)

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        self._maybe("decode")
        return super().decode(embedding, prompts)


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("fail", ["make", "encode", "decode"])
def test_it_goes_on_in_less_memory_and_says_so(fail: str, error: Exception) -> None:
    asked: list[Compute] = []

    def make(compute: Compute) -> Hungry:
        asked.append(compute)
        return Hungry(compute, fail, error)

    model = Fallback(make, Compute("cpu", "float32"))
    prediction = model.decode(model.encode(PLANE), BOX)
    assert asked == [Compute("cpu", "float32"), Compute("cpu", "bfloat16")]
    assert prediction.note == "It runs in half precision, as there was too little memory."
    np.testing.assert_array_equal(prediction.masks, BoxFake().decode(BoxFake().encode(PLANE), BOX).masks)


def test_a_model_that_never_fits_says_what_to_do() -> None:
    with pytest.raises(MemoryShortError, match="not even in half precision"):
        Fallback(lambda compute: Hungry(compute, "make", MemoryError(), always=True), Compute("cpu", "float32"))


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError):
        Fallback(lambda compute: Hungry(compute, "make", ZeroDivisionError()), Compute("cpu", "float32"))


def test_an_embedding_of_before_is_still_the_models() -> None:
    model = Fallback(lambda compute: Hungry(compute, "decode", MemoryError()), Compute("cpu", "float32"))
    embedding = model.encode(PLANE)
    model.decode(embedding, BOX)
    assert model.encode(PLANE).model == embedding.model == model.spec.digest


def test_a_labeller_goes_on_in_less_memory_too() -> None:
    class HungryLabeller(LabelFake):
        def __init__(self, compute: Compute) -> None:
            super().__init__()
            self._hungry = compute.precision == "float32"

        def label(self, values: NDArray[np.generic]) -> NDArray[np.uint8]:
            if self._hungry:
                raise MemoryError
            return super().label(values)

    values = np.array([[-100, 40], [100, 900]])
    model = LabellerFallback(HungryLabeller, Compute("cpu", "float32"))
    assert model.classes == LabelFake.classes
    np.testing.assert_array_equal(model.label(values), LabelFake().label(values))


def test_a_model_that_was_short_twice_says_so_at_once() -> None:
    model = Fallback(lambda compute: Hungry(compute, "encode", MemoryError(), always=True), Compute("cpu", "float32"))
    with pytest.raises(MemoryShortError, match="not enough memory for this slice"):
        model.encode(PLANE)


def test_half_precision_on_the_cpu_is_the_end() -> None:
    with pytest.raises(MemoryShortError, match="even in half precision"):
        Fallback(lambda compute: Hungry(compute, "make", MemoryError(), always=True), Compute("cpu", "bfloat16"))


def test_the_model_in_use_gives_way_before_the_next_one_makes_do_with_less() -> None:
    """There is room for one model: the second is loaded as asked, once the first was let go."""
    room: weakref.WeakSet[BoxFake] = weakref.WeakSet()
    asked: list[Compute] = []

    def make(compute: Compute) -> BoxFake:
        asked.append(compute)
        if room:
            raise MemoryError
        model = BoxFake()
        room.add(model)
        return model

    outcomes: list[Outcome] = []
    engine = Engine(lambda reference: Fallback(make, Compute("cpu", "float32")), outcomes.append)
    for name in ("first", "second"):
        engine.submit(Errand("model", name, lambda model: model.spec))
        assert engine.wait(10)
    engine.close(1)
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert asked == [Compute("cpu", "float32")] * 3
