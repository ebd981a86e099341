"""How much of a run slice by slice is the encoder's own time: what following costs beside encoding.

    python benchmarks/slices_volume.py [--models medsam litemedsam mobile-sam] [--slices 12] [--side 512] [--json FILE]

Networks have their real size and random weights. Those find nothing, so each answer's mask is exchanged for the
synthetic disc after the decoder has made it; all work is done as ever. Times are of the wall, since motion is worked
out beside the encoder, so they mean something on a quiet machine only; medians, on as many threads as torch is told to
use. `throughput` is the time of an encode on its own, measured before and after the run, as a part of a slice's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sam2_volume import plan_of

from napari_medsam.embeddings import EmbeddingStore
from napari_medsam.models import cost, registry
from napari_medsam.models.base import Embedding, Prediction
from napari_medsam.models.compute import PRECISIONS, Compute
from napari_medsam.models.frame_lite import LITE
from napari_medsam.models.frame_medsam import MEDSAM
from napari_medsam.models.frame_sam import SAM
from napari_medsam.models.sam_segmenter import SamSegmenter
from napari_medsam.prompts import Prompts
from napari_medsam.propagation.plan import Grown, Way
from napari_medsam.propagation.prompting import Prompting
from napari_medsam.propagation.walk import walk

FRAMES = {"medsam": MEDSAM, "litemedsam": LITE, "mobile-sam": SAM}


class Told:
    """A segmenter of random weights whose masks are told to it."""

    def __init__(self, segmenter: SamSegmenter, mask: NDArray[np.bool_]) -> None:
        self._segmenter = segmenter
        self._mask = mask
        self.spec = segmenter.spec

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        return self._segmenter.encode(plane)

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        found = self._segmenter.decode(embedding, prompts)
        return replace(found, masks=np.broadcast_to(self._mask, found.masks.shape))


def run(model: str, slices: int, side: int, precision: str, prompting: Prompting) -> dict[str, Any]:
    """Walk a volume, and what it cost."""
    row = registry.row(model)
    network = cost.backend_module(row).network(cost.shape_of(row), Compute("cpu", precision))
    plan = replace(plan_of(slices, side, 1), way=Way.SLICES, prompting=prompting)
    mask = plan.subjects[0].keys[0].prompts.mask
    assert mask is not None
    told = Told(SamSegmenter(row.spec("random"), FRAMES[model], network), mask.pixels)

    def alone() -> list[float]:
        planes = [plan.pixels(position) for position in range(slices // 2)]
        return [seconds(lambda plane=plane: told.encode(plane)) for plane in planes]  # type: ignore[misc]

    alone()
    encodes, walls, cpu = alone(), [time.perf_counter()], [time.process_time()]
    for step in walk(plan, told, EmbeddingStore()):
        if isinstance(step, Grown):
            walls.append(time.perf_counter())
            cpu.append(time.process_time())
    encode = statistics.median(encodes + alone())
    whole = float(np.median(np.diff(walls)[2:]))
    return {
        "model": model, "precision": precision, "motion": prompting.motion, "slices": len(walls) - 1, "side": side,
        "threads": torch.get_num_threads(), "encode": encode, "seconds a slice": whole, "throughput": encode / whole,
        "processor seconds a slice": float(np.median(np.diff(cpu)[2:])),
    }  # fmt: skip


def seconds(act: Callable[[], object]) -> float:
    """How long something takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def main() -> None:
    """Run with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", nargs="+", choices=FRAMES, default=list(FRAMES))
    parser.add_argument("--slices", type=int, default=12)
    parser.add_argument("--side", type=int, default=512, help="rows and columns of a slice")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    kinds = (Prompting(), Prompting(motion=False))
    found = [run(name, given.slices, given.side, given.precision, kind) for name in given.models for kind in kinds]
    for one in found:
        print({name: round(value, 4) if isinstance(value, float) else value for name, value in one.items()})
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
