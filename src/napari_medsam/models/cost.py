"""What a model costs on this machine: seconds of an encode and of a decode, memory, and whether one can work with that.

Neither time nor memory depends on what the weights are, so a model whose weights are not here is measured with random
ones. torch is imported when something is measured.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from napari_medsam.errors import ModelError
from napari_medsam.models.compute import Compute, device_of
from napari_medsam.models.frame import InputPrompts
from napari_medsam.models.row import Row
from napari_medsam.prompts import Box, Prompts

SHAPES = {
    "sam-vit-b": "sam_encoder:VIT_B",
    "sam-vit-l": "sam_encoder:VIT_L",
    "sam-vit-h": "sam_encoder:VIT_H",
    "mobile-sam": "tiny_vit:AT_1024",
    "litemedsam": "tiny_vit:AT_256",
    "sam2.1-tiny": "sam2:TINY",
    "sam2.1-small": "sam2:SMALL",
    "sam2.1-base-plus": "sam2:BASE_PLUS",
    "sam2.1-large": "sam2:LARGE",
    "medsam2": "medsam2:CONFIG",
    "sam-med2d": "sammed2d:Med2dConfig",
}
"""Where the size of a network stands, by the name of the row that it was made for."""

PLANE = 512
"""Side of the plane on which models with weights are measured."""

AGAIN_BELOW = 3.0
"""An encode that took less than these seconds is done once more, since the first one also prepares."""


class Verdict(StrEnum):
    """Whether one can work with a model."""

    COMFORTABLE = "comfortable"
    USABLE = "usable"
    SLOW = "slow"
    TOO_LARGE = "too large for the free memory"


COMFORTABLE = 2.0, 0.3
"""Seconds of an encode, once a slice, and of a decode, at each click: at most these."""

USABLE = 15.0, 1.0
"""The same for what is usable."""


@dataclass(frozen=True)
class Cost:
    """What a model costs.

    Parameters
    ----------
    name : str
        The row's.
    encode_s, decode_s : float
        Seconds.
    memory_mb : float
        What building and running it added, on a GPU to what is taken there, else to a process that has its libraries.
    how : str
        "own weights", "random weights", or "estimated".
    where : str
        Device and precision; empty where nothing is computed in torch.
    free_mb : float, optional
        Memory that was free on the GPU whose memory is meant; None for that of the computer.
    """

    name: str
    encode_s: float
    decode_s: float
    memory_mb: float
    how: str
    where: str = ""
    free_mb: float | None = None

    def verdict(self, free_mb: float) -> Verdict:
        """The verdict where so much memory of the computer is free."""
        if self.memory_mb > (free_mb if self.free_mb is None else self.free_mb):
            return Verdict.TOO_LARGE
        for limits, verdict in ((COMFORTABLE, Verdict.COMFORTABLE), (USABLE, Verdict.USABLE)):
            if self.encode_s <= limits[0] and self.decode_s <= limits[1]:
                return verdict
        return Verdict.SLOW


def estimated(row: Row, known: Cost, of: Row) -> Cost:
    """The cost of a row by that of another, and by how the two compared where both were measured."""
    factor = row.speed / of.speed
    return Cost(
        row.name, known.encode_s * factor, known.decode_s, float(row.memory_mb), "estimated", known.where, known.free_mb
    )


def of_model(row: Row, load: Callable[[str], Any], compute: Compute) -> Cost:
    """The cost of a model whose weights are here, on a plane of noise with a box."""
    memory = _Memory() if row.built_in else _memory_of(compute)
    model = load(row.name)
    plane = np.random.default_rng(0).integers(0, 255, (PLANE, PLANE), dtype=np.uint8)
    prompts = Prompts(Box(120, 90, 330, 320))
    encode_s, embedding = timed(lambda: model.encode(plane))
    decode_s, _ = timed(lambda: model.decode(embedding, prompts))
    how = "built in" if row.built_in else "own weights"
    return Cost(row.name, encode_s, decode_s, memory.added_mb, how, free_mb=memory.free_mb)


def of_random(row: Row, compute: Compute) -> Cost:
    """The cost of a model with random weights of its size.

    Raises
    ------
    ModelError
        Its size is not known without its weights.
    """
    return of_network(row.name, backend_module(row).network, shape_of(row), compute)


def backend_module(row: Row) -> Any:
    """The module that makes a row's model."""
    return importlib.import_module(row.backend.partition(":")[0])


def shape_of(row: Row) -> Any:
    """What describes the size of a row's network.

    Raises
    ------
    ModelError
        It is not known without its weights.
    """
    where, _, name = _shape_of(row).partition(":")
    if not name:
        raise ModelError(f"{row.title} can only be measured with its weights: napari-medsam fetch {row.name}.")
    found = getattr(importlib.import_module(f"napari_medsam.models.{where}"), name)
    return found() if isinstance(found, type) else found


def side_of(config: Any) -> int:
    """Side of the input of a network of such a size."""
    return int(getattr(config, "size", 0) or config.vit.size)


def of_network(name: str, make: Callable[[Any, Compute], Any], config: Any, compute: Compute) -> Cost:
    """The cost of a network of `config`, whose `size` is the side of its input."""
    from napari_medsam.models.threads import THREADS

    THREADS.settle()
    memory = _memory_of(compute)
    network = make(config, compute)
    size = side_of(config)
    image = np.random.default_rng(0).random((3, size, size), dtype=np.float32)
    box = np.array([0.2, 0.3, 0.7, 0.8], dtype=np.float32) * size
    prompts = InputPrompts(np.empty((0, 2), np.float32), np.empty(0, np.int64), box)
    encode_s, features = timed(lambda: network.embed(image))
    decode_s, _ = timed(lambda: network.answer(features, prompts))
    precision = getattr(getattr(network, "encoder", None), "reduced", network.precision)
    where = f"{network.device}, {str(precision).removeprefix('torch.')}"
    return Cost(name, encode_s, decode_s, memory.added_mb, "random weights", where, memory.free_mb)


def timed(act: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, the least of two where the first is short, and what was found."""
    best = float("inf")
    for _ in range(2):
        start = time.perf_counter()
        found = act()
        best = min(best, time.perf_counter() - start)
        if best > AGAIN_BELOW:
            break
    return best, found


def _shape_of(row: Row) -> str:
    """Medical trainings have the size of what they were trained from, except MedSAM2, which sees fewer pixels."""
    if row.backend.startswith("napari_medsam.models.medsam2:"):
        return SHAPES["medsam2"]
    return SHAPES.get(row.name, SHAPES.get(row.layout, ""))


class _Memory:
    """The peak of memory from now on: of this process, or on a GPU."""

    def __init__(self, gpu: Any = None) -> None:
        self._gpu = gpu
        self.free_mb = None if gpu is None else self._cuda.mem_get_info(gpu)[0] / 1e6
        self._before = self._peak_mb()

    @property
    def added_mb(self) -> float:
        """How much was added at most."""
        return self._peak_mb() - self._before

    @property
    def _cuda(self) -> Any:
        import torch

        return torch.cuda

    def _peak_mb(self) -> float:
        return _peak_mb() if self._gpu is None else float(self._cuda.max_memory_allocated(self._gpu) / 1e6)


def _memory_of(compute: Compute) -> _Memory:
    """Where a network takes memory; torch, which this imports, does not count."""
    device = device_of(compute)
    return _Memory(device if device.type == "cuda" else None)


def _peak_mb() -> float:
    """The most memory that this process has held, in MB; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return _peak_of_windows()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def _peak_of_windows() -> float:
    import psutil

    return float(getattr(psutil.Process().memory_info(), "peak_wset", 0)) / 1e6
