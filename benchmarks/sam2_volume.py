"""What it costs SAM 2 to follow objects through a volume: time of each part of a slice, and memory as slices go by.

    python benchmarks/sam2_volume.py [--model sam2.1-tiny] [--slices 300] [--side 512] [--objects 1] [--json FILE]

The network has its real size and random weights, since neither time nor memory depends on them; the volume is
synthetic, made slice by slice, and walked from its first slice to its last through the package's own `walk`. Times are
of the processor, the median over the slices, so that other work on the machine hardly counts. `throughput` is the part
of a slice's time that the encoder takes: what the speed of a propagation is of the encoder's own.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_medsam.embeddings import EmbeddingStore
from napari_medsam.geometry import Grid
from napari_medsam.models import medsam2, registry, sam2
from napari_medsam.models.compute import PRECISIONS, Compute
from napari_medsam.models.frame_sam2 import MEDSAM2, SAM2
from napari_medsam.models.sam2_network import Sam2Network
from napari_medsam.models.sam2_tracker import Sam2Segmenter
from napari_medsam.prompts import MaskPrompt, Prompts
from napari_medsam.propagation.plan import Ended, Grown, Plan, Way
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.stopping import StopRules
from napari_medsam.propagation.subject import Key, Span, Subject
from napari_medsam.propagation.walk import walk

MODELS = {"sam2.1-tiny": (sam2, sam2.TINY, SAM2), "medsam2": (medsam2, medsam2.CONFIG, MEDSAM2)}
MB = 1 << 20


class Parts:
    """Processor seconds of each call of some methods, by a name of each."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def measure(self, owner: Any, method: str, name: str) -> None:
        """Time every call of a method of an object from now on."""
        asked: Callable[..., Any] = getattr(owner, method)

        def timed(*given: Any, **named: Any) -> Any:
            before = time.process_time()
            found = asked(*given, **named)
            self.seconds[name].append(time.process_time() - before)
            return found

        setattr(owner, method, timed)


def segmenter_of(model: str, precision: str) -> Sam2Segmenter:
    """A model with random weights, large enough to find something."""
    module, config, frame = MODELS[model]
    torch.manual_seed(0)
    network: Sam2Network = module.network(config, Compute(precision=precision))
    with torch.no_grad():
        for name, values in network.model.named_parameters():
            if values.ndim > 1 and "embedding" not in name:
                values.normal_(0, values[0].numel() ** -0.5)
        network.model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(9)
    return Sam2Segmenter(registry.row(model).spec("random"), frame, network)


def plan_of(slices: int, side: int, objects: int) -> Plan:
    """Discs on the first slice of a noisy volume, to be followed to its last."""
    grid = Grid((slices, side, side), np.diag([3.0, 0.8, 0.8, 1.0]))
    stack = Stack.through(Stack((1, 2), 0, slices).plane(0), grid.shape)
    rows, columns = np.ogrid[:side, :side]

    def disc(number: int) -> NDArray[np.bool_]:
        at = side * (number + 1) / (objects + 1)
        return np.asarray((rows - at) ** 2 + (columns - at) ** 2 <= (side / 10) ** 2)

    def pixels(position: int) -> NDArray[np.uint8]:
        noise = np.random.default_rng(position).integers(40, 90, (side, side))
        return np.asarray(noise + 100 * np.any([disc(number) for number in range(objects)], axis=0), dtype=np.uint8)

    subjects = tuple(
        Subject(number + 1, (Key(0, Prompts(mask=MaskPrompt(disc(number)))),), Span(0, slices - 1))
        for number in range(objects)
    )
    return Plan(stack, subjects, Way.MEMORY, grid, pixels, rules=StopRules.none())


def resident_mb() -> float:
    """Memory of the process now, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(model: str, slices: int, side: int, objects: int, precision: str, store_mb: int) -> dict[str, Any]:
    """Walk a volume, and what it cost."""
    segmenter, parts = segmenter_of(model, precision), Parts()
    for owner, method, name in (
        (segmenter, "encode", "encode"),
        (segmenter.memory, "_attention", "attention"),
        (segmenter.memory, "_heads", "decode"),
        (segmenter.memory, "_sightings", "memory encode"),
        (segmenter.memory, "followed", "follow"),
    ):
        parts.measure(owner, method, name)
    plan, store = plan_of(slices, side, objects), EmbeddingStore(store_mb * MB)
    memory: dict[int, float] = {}
    walls, cpu = [time.perf_counter()], [time.process_time()]
    found, ended = 0, []
    for step in walk(plan, segmenter, store):
        if isinstance(step, Ended):
            ended.append(f"{step.why} at slice {step.position}")
        if isinstance(step, Grown) and step.number == objects:
            walls.append(time.perf_counter())
            cpu.append(time.process_time())
            memory[step.position] = resident_mb()
        found += isinstance(step, Grown)
    medians = {name: statistics.median(times) for name, times in parts.seconds.items()}
    # the first slices look back to fewer: the memory is full after the seventh
    full = {name: statistics.median(times[8:] or times) for name, times in parts.seconds.items()}
    whole = statistics.median(np.diff(cpu)[8:]) if len(cpu) > 9 else statistics.median(np.diff(cpu))
    return {
        "model": model, "precision": str(segmenter.network.precision), "slices": slices, "side": side,  # type: ignore[attr-defined]
        "objects": objects, "threads": torch.get_num_threads(), "masks": found, "ended": ended,
        "seconds": full, "seconds, all slices": medians, "seconds a slice": float(whole),
        "wall seconds a slice": float(np.median(np.diff(walls))), "wall seconds": walls[-1] - walls[0],
        "throughput": full["encode"] / float(whole),
        "memory MiB": {at: round(memory[at]) for at in list(memory)[:: max(1, len(memory) // 10)]},
        "peak MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }  # fmt: skip


def main() -> None:
    """Run with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", choices=MODELS, default="sam2.1-tiny")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--side", type=int, default=512, help="rows and columns of a slice")
    parser.add_argument("--objects", type=int, default=1)
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--store-mb", type=int, default=512, help="budget of the embeddings' store")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = run(given.model, given.slices, given.side, given.objects, given.precision, given.store_mb)
    for name, value in found.items():
        print(f"{name}: {value}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
