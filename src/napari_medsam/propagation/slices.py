"""The slices of a run: read when their turn comes, encoded through the store, a few at a time where that is faster."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_medsam.embeddings import EmbeddingStore, Worth, content_key
from napari_medsam.errors import ImageError, MedsamError, UnsupportedError
from napari_medsam.inference import embedded
from napari_medsam.models.base import BatchEncoder, Embedding, Model, ModelSpec, Propagator, Segmenter
from napari_medsam.propagation.plan import Plan

AnyModel = Model | Propagator
Pixels = NDArray[np.uint8]


class Slices:
    """Reads and encodes the slices of a plan.

    Parameters
    ----------
    plan : Plan
    model : Segmenter or Propagator, optional
    store : EmbeddingStore
    """

    def __init__(self, plan: Plan, model: AnyModel | None, store: EmbeddingStore) -> None:
        self._plan = plan
        self._model = model
        self._store = store
        self._held: dict[int, Embedding] = {}
        """What was encoded ahead, by position; not left to the store, which may have no room for it."""

    def read(self, position: int) -> Pixels:
        """The plane at a position, (rows, columns) or (rows, columns, 3).

        Raises
        ------
        ImageError
            It cannot be read, or has another shape than the image.
        """
        held = self._held.get(position)
        if held is not None and held.plane is not None:
            return held.plane
        try:
            pixels = self._plan.pixels(position)
        except (MedsamError, MemoryError):
            raise
        except Exception as error:
            text = f"Slice {position} could not be read: {error}. Check the file and open it again."
            raise ImageError(text) from error
        if pixels.shape[:2] != self._plan.shape:
            raise ImageError(f"Slice {position} has {pixels.shape[:2]} pixels, but the image {self._plan.shape}.")
        return pixels

    def encode(self, position: int, pixels: Pixels, ahead: Sequence[int]) -> Embedding:
        """The embedding of a plane; where the model is faster with several at a time, those `ahead` are made too."""
        model = self._model
        if not isinstance(model, Segmenter | Propagator):
            raise UnsupportedError("There is no model that could look at this slice. Choose one.")
        known = position in self._held or self._store.holds(content_key(pixels, model.spec.digest))
        if isinstance(model, BatchEncoder) and not known:
            self._together(model, model.spec, {position: pixels, **self._readable(ahead[: model.batch - 1])})
        found = self._held.pop(position, None)
        return embedded(pixels, model, self._store) if found is None else found

    def forget(self) -> None:
        """Let go of what was encoded ahead."""
        self._held.clear()

    def _readable(self, ahead: Sequence[int]) -> dict[int, Pixels]:
        """The planes ahead, as far as they can be read: when its turn comes, the first that cannot says so itself."""
        planes: dict[int, Pixels] = {}
        with contextlib.suppress(MedsamError):
            for position in ahead:
                planes[position] = self.read(position)
        return planes

    def _together(self, model: BatchEncoder, spec: ModelSpec, planes: Mapping[int, Pixels]) -> None:
        """Encode what the store has not, and hold it until its turn."""
        keys = {position: content_key(plane, spec.digest) for position, plane in planes.items()}
        missing = [position for position, key in keys.items() if not self._store.holds(key)]
        if len(missing) < 2:
            return
        worth = Worth.QUICK if spec.quick else Worth.USED
        for position, found in zip(missing, model.encode_batch([planes[at] for at in missing]), strict=True):
            self._store.put(keys[position], found, worth)
            self._held[position] = replace(found, plane=planes[position], key=keys[position])
