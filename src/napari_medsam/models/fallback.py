"""What to do when a device runs out of memory: free, try smaller, else on the CPU; once, and said to the user."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import MemoryShortError
from napari_medsam.models import resident
from napari_medsam.models.base import (
    Direction,
    Embedding,
    Labeller,
    Model,
    ModelSpec,
    Prediction,
    Propagator,
    Segmenter,
    Tracker,
    require_memory,
)
from napari_medsam.models.batches import batch_of, encode_all
from napari_medsam.models.compute import AUTO, Compute, device_of, precision_of
from napari_medsam.prompts import Prompts

ADVICE = "Close other programs and data, or choose a smaller model."
Value = TypeVar("Value")
Made = TypeVar("Made", bound=Model)


class Remade(Generic[Made]):
    """A model that is made anew in less memory, once, when its device has too little.

    Parameters
    ----------
    make : callable
        Makes the model for a Compute.
    compute : Compute
        What to begin with.
    """

    _living: ClassVar[weakref.WeakSet[Remade[Any]]] = weakref.WeakSet()
    """The models that there are. While one is held, another does not make do with less: its holder lets go first."""

    def __init__(self, make: Callable[[Compute], Made], compute: Compute) -> None:
        self._make = make
        self._compute = compute
        self._model: Made | None = None
        self.note = ""
        """What the user should know: that it runs elsewhere than asked; empty while it does not."""
        self._model = self._tried(lambda: make(compute))
        if self._model is None and self._living:
            raise MemoryShortError(
                "There is not enough memory for this model beside the one that is loaded. Let go of that one first, or "
                "choose a smaller model."
            )
        self._model = self._model or self._smaller()
        self._living.add(self)
        self.spec: ModelSpec = self._model.spec
        """As it was first made, so that embeddings of before stay valid."""

    def run(self, act: Callable[[Made], Value]) -> Value:
        """Do something with the model; in less memory if there is too little."""
        found = self._tried(lambda: act(self._there()))
        if found is None:
            smaller = self._smaller()
            found = self._tried(lambda: act(smaller))
        if found is None:
            raise MemoryShortError(f"There is not enough memory for this slice. {self.note} {ADVICE}")
        return found

    def run_as_it_is(self, act: Callable[[Made], Value]) -> Value:
        """Do something that can be done in smaller parts too; MemoryShortError if there is too little memory for it."""
        found = self._tried(lambda: act(self._there()))
        if found is None:
            raise MemoryShortError(f"There is not enough memory for so much at once. {ADVICE}")
        return found

    def _there(self) -> Made:
        if self._model is None:
            self._model = self._make(self._compute)
        return self._model

    def _tried(self, act: Callable[[], Value]) -> Value | None:
        try:
            return act()
        except Exception as error:
            if not is_memory_short(error):
                raise
        free()  # the traceback, and with it what the attempt held, is gone here
        return None

    def _smaller(self) -> Made:
        """The model in half precision, or on the CPU if that is what it had; once only."""
        where = self.make_do()
        free()
        made = self._tried(lambda: self._make(self._compute))
        if made is None:
            raise MemoryShortError(f"There is not enough memory for this model, not even {where}. {ADVICE}")
        self._model = made
        return made

    def make_do(self) -> str:
        """Let go of the model; when next needed it is made in less memory. Says where; once only."""
        if self.note:
            raise MemoryShortError(f"There is not enough memory for this model. {self.note} {ADVICE}")
        self._model = None
        self._compute, where = next_smaller(self._compute)
        self.note = f"It runs {where}, as there was too little memory."
        return where


class Fallback:
    """A segmenter that is `Remade` when there is too little memory; its answers say so.

    Parameters
    ----------
    make : callable
        Makes the segmenter for a Compute.
    compute : Compute
        What to begin with.
    """

    def __init__(self, make: Callable[[Compute], Segmenter], compute: Compute) -> None:
        self._remade = Remade(make, compute)
        self.spec = self._remade.spec

    @property
    def remembers(self) -> bool:
        """Whether the segmenter has a memory of its own."""
        return self._remade.run(lambda segmenter: isinstance(segmenter, Propagator))

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        """Encode; in less memory if there is too little."""
        found = self._remade.run(lambda segmenter: segmenter.encode(plane))
        return replace(found, model=self.spec.digest)

    @property
    def batch(self) -> int:
        """How many planes the segmenter gains from at a time."""
        return self._remade.run(batch_of)

    def encode_batch(self, planes: Sequence[NDArray[np.uint8]]) -> list[Embedding]:
        """Encode together; one after the other where there is too little memory for that."""
        try:
            found = self._remade.run_as_it_is(lambda segmenter: encode_all(segmenter, planes))
        except MemoryShortError:
            return [self.encode(plane) for plane in planes]
        return [replace(one, model=self.spec.digest) for one in found]

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        """Decode; in less memory if there is too little."""
        found = self._remade.run(lambda segmenter: segmenter.decode(embedding, prompts))
        return replace(found, note=" ".join(part for part in (found.note, self._remade.note) if part))


def fallback_of(make: Callable[[Compute], Segmenter], compute: Compute) -> Fallback:
    """A `Fallback`, which is a `Propagator` too if the segmenter is one."""
    fallback = Fallback(make, compute)
    return FallbackPropagator(fallback) if fallback.remembers else fallback


class FallbackPropagator(Fallback):
    """A `Fallback` whose segmenter has a memory.

    Parameters
    ----------
    fallback : Fallback
        Of that segmenter.
    """

    def __init__(self, fallback: Fallback) -> None:
        self._remade = fallback._remade
        self.spec = fallback.spec

    def tracker(self, planes: int) -> FallbackTracker:
        """An empty memory; it stays with the segmenter that there is now."""
        return FallbackTracker(self._remade, self._remade.run(lambda model: require_memory(model).tracker(planes)))


class FallbackTracker:
    """A tracker that looks for objects one by one where there is too little memory for all.

    What it remembers lies on a device, so it cannot go on elsewhere: then the run ends, and the next one takes less.

    Parameters
    ----------
    remade : Remade
        Of the model that the tracker belongs to.
    tracker : Tracker
    """

    def __init__(self, remade: Remade[Segmenter], tracker: Tracker) -> None:
        self._remade = remade
        self._tracker = tracker

    def condition(self, position: int, embedding: Embedding, known: Mapping[int, Prompts]) -> dict[int, Prediction]:
        """Take what is known, object by object."""
        some = {number: {number: prompts} for number, prompts in known.items()}
        return self._each(known, lambda number: self._tracker.condition(position, embedding, some[number]))

    def follow(
        self, position: int, embedding: Embedding, objects: Collection[int], direction: Direction
    ) -> dict[int, Prediction]:
        """Find all objects in one pass; one by one if there is too little memory."""
        try:
            found = self._remade.run_as_it_is(lambda _: self._tracker.follow(position, embedding, objects, direction))
        except MemoryShortError:
            return self._each(objects, lambda number: self._tracker.follow(position, embedding, [number], direction))
        return {number: self._noted(answer) for number, answer in found.items()}

    def _each(self, objects: Collection[int], act: Callable[[int], Mapping[int, Prediction]]) -> dict[int, Prediction]:
        return {number: self._noted(self._alone(number, act)) for number in objects}

    def _alone(self, number: int, act: Callable[[int], Mapping[int, Prediction]]) -> Prediction:
        try:
            return self._remade.run_as_it_is(lambda _: act(number)[number])
        except MemoryShortError:
            where = self._remade.make_do()
        raise MemoryShortError(
            "There is not enough memory to follow an object further; what was found is kept. "
            f"Start again from its last slice: from now on the model runs {where}."
        )

    def _noted(self, answer: Prediction) -> Prediction:
        return replace(answer, note=" ".join(part for part in (answer.note, self._remade.note) if part))


class LabellerFallback:
    """A labeller that is `Remade` when there is too little memory.

    Parameters
    ----------
    make : callable
        Makes the labeller for a Compute.
    compute : Compute
        What to begin with.
    """

    def __init__(self, make: Callable[[Compute], Labeller], compute: Compute) -> None:
        self._remade = Remade(make, compute)
        self.spec = self._remade.spec
        self.classes = self._remade.run(lambda labeller: labeller.classes)

    @property
    def note(self) -> str:
        """What the user should know: that it runs elsewhere than asked; empty while it does not."""
        return self._remade.note

    def label(self, values: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Label; in less memory if there is too little."""
        return self._remade.run(lambda labeller: labeller.label(values))


def next_smaller(compute: Compute) -> tuple[Compute, str]:
    """What needs less memory than `compute`, and how to say so."""
    import torch

    device = device_of(compute)
    if device.type == "cpu":
        if precision_of(compute, device) != torch.float32:
            raise MemoryShortError(f"There is not enough memory for this model, even in half precision. {ADVICE}")
        return replace(compute, device="cpu", precision="bfloat16"), "in half precision"
    if precision_of(compute, device) == torch.float32:
        return replace(compute, device=str(device), precision="float16"), "in half precision"
    return replace(compute, device="cpu", precision=AUTO), "on the CPU"


def is_memory_short(error: BaseException) -> bool:
    """Whether an error means too little memory, on a device or in the machine."""
    import torch

    if isinstance(error, (MemoryError, MemoryShortError, torch.OutOfMemoryError)):
        return True
    # the CPU's allocator and MPS raise a plain RuntimeError
    words = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def free() -> None:
    """Give back what nobody needs any more, on the device too."""
    resident.clear()
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):  # only GNU's allocator keeps freed gigabytes
        ctypes.CDLL(None).malloc_trim(0)
    resident.give_back()
