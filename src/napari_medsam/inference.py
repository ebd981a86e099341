"""One question to a model and its answer, as frozen values; `run` is pure and may be called on any thread."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from napari_medsam.embeddings import EmbeddingStore, Worth, content_key
from napari_medsam.errors import MedsamError, MemoryShortError, ModelError
from napari_medsam.geometry import Plane
from napari_medsam.models.base import Embedding, ModelSpec, Prediction, Segmenter
from napari_medsam.prompts import Prompts

ALIKE = "All of this slice looks alike in this window (W/L), so there is no border to find."

_tickets = itertools.count(1)


def next_ticket() -> int:
    """A number above all that were given out: what is asked later has a higher one."""
    return next(_tickets)


@dataclass(frozen=True)
class Request:
    """One question to a model, complete in itself.

    Parameters
    ----------
    ticket : int
        From one global counter; a later request has a higher one.
    draft : str
        Key of the draft that asks.
    plane : Plane
    prompts : Prompts
        Empty to encode the plane only, ahead of a prompt.
    model : str
        Short name of the model.
    pixels : callable
        Gives the uint8 plane. Holds a copy of the slice for arrays in memory, and reads lazy ones when called; the
        window is applied when called, so that the thread that asks does no work on pixels.
    awaited : bool
        Whether who asks does nothing until the answer comes, so that the model may have all cores.
    """

    ticket: int
    draft: str
    plane: Plane
    prompts: Prompts
    model: str
    pixels: Callable[[], NDArray[np.uint8]] = field(repr=False)
    awaited: bool = False


@dataclass(frozen=True)
class Response:
    """The answer to a request: a prediction, or the error that prevented it (or neither, when only encoded).

    `key` is that of the plane's embedding in the store; empty after an error. `worked` is the processor's time in
    seconds that the lane's thread took, so without what it waited for others; 0 where it was not measured.
    """

    request: Request
    prediction: Prediction | None = None
    error: MedsamError | None = None
    key: str = ""
    worked: float = 0.0


def run(request: Request, segmenter: Segmenter, store: EmbeddingStore) -> Response:
    """Answer a request. Pure but for the store; errors come back in the response, none is raised."""
    try:
        embedding, prediction = _predict(request, segmenter, store)
        return Response(request, prediction, key=embedding.key)
    except Exception as error:
        return Response(request, error=explained(error, request.model))


def explained(error: Exception, model: str, where: str = "this slice") -> MedsamError:
    """What to tell the user of anything that a model raised `where`; an error raised on purpose is its own message."""
    if isinstance(error, MedsamError):
        return error
    if isinstance(error, MemoryError):
        return MemoryShortError(f"Not enough memory for {where}. Close other data and try again.")
    text = f"The model {model!r} failed on {where} ({type(error).__name__}: {error}). Please report it."
    failure = ModelError(text)
    failure.__cause__ = error
    return failure


class Encoder(Protocol):
    """What encodes planes: a `Segmenter` or a `Propagator`."""

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        ...

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        """Do the slow part."""
        ...


def embedded(pixels: NDArray[np.uint8], model: Encoder, store: EmbeddingStore) -> Embedding:
    """The embedding of a plane, (rows, columns) or (rows, columns, 3): from the store, else encoded and put there."""
    key = content_key(pixels, model.spec.digest)
    embedding = store.get(key)
    if embedding is None:
        embedding = model.encode(pixels)
        store.put(key, embedding, Worth.QUICK if model.spec.quick else Worth.USED)
    return replace(embedding, plane=pixels, key=key)


def _predict(request: Request, segmenter: Segmenter, store: EmbeddingStore) -> tuple[Embedding, Prediction | None]:
    if request.prompts:
        segmenter.spec.check(request.prompts)
    pixels = request.pixels()
    prompts = request.prompts.fitted((pixels.shape[0], pixels.shape[1])) if request.prompts else request.prompts
    embedding = embedded(pixels, segmenter, store)
    return embedding, _noted(segmenter.decode(embedding, prompts), pixels) if prompts else None


def _noted(found: Prediction, pixels: NDArray[np.uint8]) -> Prediction:
    """With a word where no model can see anything: what it draws there is its guess at the prompt alone."""
    if pixels.min() < pixels.max():
        return found
    return replace(found, note=f"{found.note} {ALIKE}".strip())
