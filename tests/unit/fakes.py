"""A small asymmetric phantom, a lazy array that keeps account, and ways to hold a model, for tests of the core."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.embeddings import EmbeddingStore
from napari_medsam.geometry import Grid, Plane
from napari_medsam.image import Image
from napari_medsam.inference import Request, Response, run
from napari_medsam.intensity import Window
from napari_medsam.models.base import Embedding, Segmenter
from napari_medsam.session import Session

from ..contract.fakes import BoxFake

SHAPE = (4, 6, 8)
SPACING = (3.0, 1.0, 2.0)
ORIGIN = (-20.5, 7.25, 100.0)
WINDOW = Window(-600, 1000)
SECONDS = 10.0
"""How long a test waits for something that should happen at once."""


def voxels() -> NDArray[np.int16]:
    """(4, 6, 8) HU, each voxel's value its own, with an L-shaped object of arms 4, 4 and 2 voxels from one corner."""
    volume = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) * 3 - 500
    volume[1, 1:5, 2] += 1000
    volume[1, 4, 3:6] += 1000
    volume[2, 4, 2] += 1000
    return volume


def grid(shape: tuple[int, ...] = SHAPE) -> Grid:
    return Grid.from_spacing(shape, SPACING[-len(shape) :], ORIGIN[-len(shape) :])


def image(data: Any = None, **more: Any) -> Image:
    return Image(voxels() if data is None else data, more.pop("grid", grid()), **more)


def session(data: Any = None, **more: Any) -> Session:
    return Session(image(data), window=more.pop("window", WINDOW), **more)


def answer(
    document: Session, request: Request, segmenter: Segmenter | None = None, store: EmbeddingStore | None = None
) -> Response:
    """Run a request as the engine would, and hand the answer in."""
    model = BoxFake() if segmenter is None else segmenter
    # not `store or ...`: an empty store is false
    response = run(request, model, EmbeddingStore() if store is None else store)
    document.receive(response)
    return response


def axial(z: int) -> Plane:
    return Plane.across(0, z)


class LazyArray:
    """An array that is not numpy's; `reads` tells which thread read how much."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim
        self.reads: list[tuple[int, tuple[int, ...]]] = []

    def __getitem__(self, key: Any) -> NDArray[Any]:
        out = self._array[key]
        self.reads.append((threading.get_ident(), np.shape(out)))
        return out


class BrokenArray(LazyArray):
    """An array that lies on a disk that is gone."""

    def __init__(self, array: NDArray[Any], error: BaseException) -> None:
        super().__init__(array)
        self._error = error

    def __getitem__(self, key: Any) -> NDArray[Any]:
        raise self._error


class RaisingFake(BoxFake):
    """Raises `error` while it encodes as often as `times` says, then works."""

    def __init__(self, error: BaseException, times: int = 1_000_000) -> None:
        super().__init__()
        self._error = error
        self._times = times

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        if self._times > 0:
            self._times -= 1
            raise self._error
        return super().encode(plane)


class Gate:
    """Pass it to SlowFake as `sleep`: an encode says that it has begun, and lasts until it is released."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.release = threading.Event()

    def __call__(self, seconds: float) -> None:
        self.entered.set()
        assert self.release.wait(SECONDS), "nobody opened the gate"
