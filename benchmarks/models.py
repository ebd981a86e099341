"""What one encode and one decode of each family cost: processor time, memory, and the time to build.

    python benchmarks/models.py [--json FILE] [--precision float32] [NAME ...]

Each network has its real size and random weights, since neither time nor memory depends on them, and runs in a process
of its own on one thread of the CPU. Times are of the processor, so that other work on the machine hardly counts; the
column `of ViT-B` is what the catalogue calls speed, and `memory` what building and one encode and decode add to a
process that has imported the network's libraries.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

REPEATS = 3
NETWORKS = {
    # short name: module, how to get its configuration, side of the input, channels
    "sam-vit-b": ("sam", "sam_encoder:VIT_B", 1024),
    "sam-vit-l": ("sam", "sam_encoder:VIT_L", 1024),
    "sam-vit-h": ("sam", "sam_encoder:VIT_H", 1024),
    "mobile-sam": ("mobile_sam", "tiny_vit:AT_1024", 1024),
    "medsam": ("medsam", "sam_encoder:VIT_B", 1024),
    "litemedsam": ("litemedsam", "tiny_vit:AT_256", 256),
    "sam-med2d": ("sammed2d", "sammed2d:Med2dConfig()", 256),
    "ft-sam": ("sammed2d", "sammed2d:Med2dConfig(adapters=False)", 256),
    "samus": ("samus", "samus:SamusConfig()", 256),
    "msa": ("msa", "msa:MsaConfig()", 1024),
    "samed-b": ("samed", "samed:SamedConfig(at_size(VIT_B), 8)", 512),
    "samed-h": ("samed", "samed:SamedConfig(at_size(VIT_H), 8)", 512),
    "sam2.1-tiny": ("sam2", "sam2:TINY", 1024),
    "sam2.1-small": ("sam2", "sam2:SMALL", 1024),
    "sam2.1-base-plus": ("sam2", "sam2:BASE_PLUS", 1024),
    "sam2.1-large": ("sam2", "sam2:LARGE", 1024),
    "medsam2": ("medsam2", "medsam2:CONFIG", 512),
}


def measure(name: str, precision: str) -> dict[str, Any]:
    """Build and run one network in this process."""
    import torch

    from napari_medsam.models.compute import Compute
    from napari_medsam.models.frame import InputPrompts

    torch.set_num_threads(1)
    module, configuration, size = NETWORKS[name]
    backend = importlib.import_module(f"napari_medsam.models.{module}")
    where, _, text = configuration.partition(":")
    config = eval(text, vars(importlib.import_module(f"napari_medsam.models.{where}")))
    before, start = peak_mb(), time.process_time()
    network = backend.network(config, Compute("cpu", precision))
    built = time.process_time() - start
    image = np.random.default_rng(0).random((3, size, size), dtype=np.float32)
    box = np.array([0.2, 0.3, 0.7, 0.8], dtype=np.float32) * size
    prompts = InputPrompts(np.empty((0, 2), np.float32), np.empty(0, np.int64), box)
    encodes, decodes = [], []
    for _ in range(1 + (REPEATS if size < 1024 else 1)):  # the first also prepares
        start = time.process_time()
        features = network.embed(image[:1] if module == "samus" else image)
        encodes.append(time.process_time() - start)
        start = time.process_time()
        network.answer(features, prompts)
        decodes.append(time.process_time() - start)
    held = sum(array.nbytes for array in features.values())
    return {
        "name": name,
        "build_s": built,
        "encode_s": statistics.median(encodes[1:]),
        "decode_s": statistics.median(decodes[1:]),
        "memory_mb": peak_mb() - before,
        "embedding_mb": held / 2**20,
    }


def peak_mb() -> float:
    """The most memory that this process has held."""
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6


def in_a_process(name: str, precision: str) -> dict[str, Any]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--inside", "--precision", precision, name]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(NETWORKS)}")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(measure(options.names[0], options.precision)))
        return
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, one thread, {options.precision}")
    print(f"{'':18s} {'encode s':>9s} {'of ViT-B':>9s} {'decode s':>9s} {'memory MB':>10s} {'embedding MB':>13s}")
    rows = []
    for name in dict.fromkeys(["sam-vit-b", *(options.names or NETWORKS)]):
        rows.append(in_a_process(name, options.precision))
        one, first = rows[-1], rows[0]
        share = one["encode_s"] / first["encode_s"]
        print(
            f"{name:18s} {one['encode_s']:9.2f} {share:9.3f} {one['decode_s']:9.3f} {one['memory_mb']:10.0f} "
            f"{one['embedding_mb']:13.1f}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
