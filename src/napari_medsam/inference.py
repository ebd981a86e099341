"""One question to a model and its answer, as frozen values; `run` is pure and may be called on any thread."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_medsam.embeddings import EmbeddingStore, content_key
from napari_medsam.errors import MedsamError, ModelError
from napari_medsam.geometry import Plane
from napari_medsam.models.base import Prediction, Segmenter
from napari_medsam.prompts import Prompts

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
    """

    ticket: int
    draft: str
    plane: Plane
    prompts: Prompts
    model: str
    pixels: Callable[[], NDArray[np.uint8]] = field(repr=False)


@dataclass(frozen=True)
class Response:
    """The answer to a request: a prediction, or the error that prevented it (or neither, when only encoded)."""

    request: Request
    prediction: Prediction | None = None
    error: MedsamError | None = None


def run(request: Request, segmenter: Segmenter, store: EmbeddingStore) -> Response:
    """Answer a request. Pure but for the store; errors come back in the response, none is raised."""
    try:
        return Response(request, _predict(request, segmenter, store))
    except MedsamError as error:
        return Response(request, error=error)
    except MemoryError:
        return Response(request, error=ModelError("Not enough memory for this slice. Close other data and try again."))
    except Exception as error:
        text = f"The model {request.model!r} failed on this slice ({type(error).__name__}: {error}). Please report it."
        failure = ModelError(text)
        failure.__cause__ = error
        return Response(request, error=failure)


def _predict(request: Request, segmenter: Segmenter, store: EmbeddingStore) -> Prediction | None:
    if request.prompts:
        segmenter.spec.check(request.prompts)
    pixels = request.pixels()
    prompts = request.prompts.fitted((pixels.shape[0], pixels.shape[1])) if request.prompts else request.prompts
    key = content_key(pixels, segmenter.spec.digest)
    embedding = store.get(key)
    if embedding is None:
        embedding = segmenter.encode(pixels)
        store.put(key, embedding)
    return segmenter.decode(embedding, prompts) if prompts else None
