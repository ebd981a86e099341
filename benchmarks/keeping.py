"""The topic store: what it takes to keep and to find an embedding of MedSAM's size, in memory and on disk."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tables import Row, Skipped, Topic, compare, times_of

from napari_medsam.embeddings import DiskTier, EmbeddingStore
from napari_medsam.models.base import Embedding

SHAPE = (1, 256, 64, 64)
TITLES = {
    "keep": "kept in memory",
    "find": "found in memory",
    "write": "written to disk",
    "read": "read from disk, and checked",
}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Runs of each, as (wall, processor) in ms, and what an embedding takes up."""
    features = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float16)
    one = Embedding("benchmark", (512, 512), {"image": features})
    keys = [f"{number:064x}" for number in range(4 if options.quick else 8 * options.repeats)]
    try:
        with tempfile.TemporaryDirectory() as folder:
            memory, disk = EmbeddingStore(1 << 30), DiskTier(Path(folder) / "store", 1 << 30)
            acts: dict[str, Callable[[str], object]] = {
                "keep": lambda key: memory.put(key, one),
                "find": memory.get,
                "write": lambda key: disk.write(key, one),
                "read": disk.read,
            }
            runs = {name: [timed(act, key, disk) for key in keys] for name, act in acts.items()}
            return {"runs": runs, "file_mb": disk.usage().used / len(keys) / 2**20, "memory_mb": one.nbytes / 2**20}
    except OSError as error:
        raise Skipped(f"no files could be written: {error}") from error


def timed(act: Callable[[str], object], key: str, disk: DiskTier) -> tuple[float, float]:
    """Milliseconds of the wall and of the processor.

    Raises
    ------
    Skipped
        The embedding was not kept or not found, most often because of trouble with the disk.
    """
    wall, own = time.perf_counter(), time.process_time()
    there = act(key)
    spent = 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - own)
    if not there:
        raise Skipped(disk.trouble or "an embedding could not be kept, or was not found again")
    return spent


def table(found: Mapping[str, Any], earlier: Mapping[str, Topic]) -> Topic:
    """The table, beside the encode that is saved, where that was measured in the same run."""
    runs = found["runs"]
    rows: list[Row] = [{"name": name, "title": TITLES[name], "times": times_of(runs[name])} for name in TITLES]
    encode = encode_ms(earlier)
    if encode is not None:
        rows[-1]["ratios"] = {"faster than ours encodes it again": compare(encode, rows[-1])}
    sizes = {"memory": found["memory_mb"], "disk": found["file_mb"], "float32": 2 * found["memory_mb"]}
    note = f"An embedding of MedSAM takes {sizes['memory']:.2f} MiB in memory and {sizes['disk']:.2f} MiB on disk; "
    note += f"{sizes['float32']:.2f} MiB in float32, as models give it. Files stay in the system's cache meanwhile."
    return {"unit": "milliseconds", "rows": rows, "sizes_mib": sizes, "notes": [note]}


def encode_ms(earlier: Mapping[str, Topic]) -> Row | None:
    """Our fastest encode of MedSAM, as a row in ms."""
    rows = [row for row in earlier.get("encode", {}).get("rows", []) if "times" in row]
    ours = [row for row in rows if str(row["name"]).startswith("ours:sam-vit-b")]
    if not ours:
        return None
    wall = min((row["times"]["wall"] for row in ours), key=lambda one: float(one["median"]))
    return {"times": {"wall": {"median": 1e3 * wall["median"]}}}
