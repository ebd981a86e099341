"""All benchmarks, a table a topic, beside what a user would install instead.

    python benchmarks/run.py [TOPIC ...] [--threads 1] [--repeats 5] [--json FILE] [--no-peers]

Topics: encode, decode, memory (of encodes), store, start, and, where there is a display, click-to-mask, write, stall.
The peers (segment-anything as shipped, transformers' models, MobileSAM's own code) are installed by plain pip into an
environment of their own in the user's cache; one that cannot be installed is left out and named. Each model lives in a
process of its own with random weights, since none are shipped and neither time nor memory depends on them, gets the
same input, and takes turns with the others; ratios are of medians of the processor's time, which other programs on the
machine hardly touch. Wall times stand beside them: on a quiet machine they say what a user waits.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import platformdirs

HERE = Path(__file__).resolve().parent
GROUPS = {
    "SAM ViT-B, MedSAM": ("segment-anything", "transformers-sam", "ours:sam-vit-b:float32", "ours:sam-vit-b:bfloat16"),
    "MobileSAM": ("mobile-sam", "ours:mobile-sam:float32", "ours:mobile-sam:bfloat16"),
    "LiteMedSAM": ("litemedsam", "ours:litemedsam:float32", "ours:litemedsam:bfloat16"),
    "SAM 2.1 tiny": ("transformers-sam2", "ours:sam2.1-tiny:float32", "ours:sam2.1-tiny:bfloat16"),
}
"""Those of a group take turns; the first is what the ratios are to."""

MOBILE_SAM = "git+https://github.com/ChaoningZhang/MobileSAM.git@34bbbfdface3c18e5221aa7de6032d7220c6c6a1"
PACKAGES = ("numpy", "psutil", "torch", "torchvision", "timm", "transformers", "segment-anything")
"""The peers get the versions that are here."""

INSIDE = ("encode", "decode", "memory")
WINDOWS = {"click-to-mask": ("click_to_mask.py", 60), "write": ("click_to_mask.py", 60), "stall": ("event_loop.py", 0)}
TOPICS = (*INSIDE, "store", "start", *WINDOWS)


@dataclass
class Worker:
    """A process that works when told to."""

    kind: str
    process: subprocess.Popen[str]
    answers: list[dict[str, Any]]

    def work(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.answers.append(json.loads(self.process.stdout.readline()))

    def median(self, part: str, clock: int) -> float:
        return statistics.median(one[part][clock] for one in self.answers[1:] or self.answers)


def peers_python(mobile_sam: str) -> str:
    """The Python of the environment with the peers, made when it is not there."""
    folder = platformdirs.user_cache_path("napari-medsam", appauthor=False) / "peers"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = folder / "installed.txt"
    wanted = [f"{name}=={version(name)}" for name in PACKAGES]
    if not done.exists() or done.read_text().split() != wanted:
        print(f"installing the peers into {folder}; this takes minutes", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
        done.write_text("\n".join(wanted))
    has = subprocess.run([python, "-c", "import mobile_sam.modeling.tiny_vit_sam"], capture_output=True, check=False)
    if has.returncode:
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", mobile_sam], check=False)
    return str(python)


@contextmanager
def started(kind: str, python: str, threads: int) -> Iterator[Worker | None]:
    """A worker that is ready; None where it cannot be had."""
    command = [sys.executable if kind.startswith("ours:") else python, str(HERE / "worker.py"), kind, str(threads)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with subprocess.Popen(command, text=True, env=environment, **pipes) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            _, said = process.communicate()
            print(f"  {kind} is left out: {(said.strip().splitlines() or ['it ended'])[-1]}")
            yield None
            return
        try:
            yield Worker(kind, process, [])
        finally:
            process.communicate()


def models(options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Every model's times and memory, by group."""
    python = "" if options.no_peers else peers_python(options.mobile_sam)
    found = {}
    for group, kinds in GROUPS.items():
        if options.only and options.only not in group:
            continue
        with ExitStack() as stack:
            wanted = [kind for kind in kinds if kind.startswith("ours:") or python]
            workers = [stack.enter_context(started(kind, python, options.threads)) for kind in wanted]
            there = [worker for worker in workers if worker is not None]
            for _ in range(options.repeats + 1):  # the first prepares
                for worker in there:
                    worker.work()
            found[group] = [row_of(worker, there[0]) for worker in there]
    return found


def row_of(worker: Worker, first: Worker) -> dict[str, Any]:
    row: dict[str, Any] = {"name": worker.kind, "added_mb": worker.answers[-1]["added_mb"]}
    row["memory_ratio"] = row["added_mb"] / max(first.answers[-1]["added_mb"], 1e-9)
    for part in ("encode", "decode"):
        if part in worker.answers[0]:
            row[part] = {"wall_s": worker.median(part, 0), "processor_s": worker.median(part, 1)}
            if part in first.answers[0]:
                row[part]["times_faster"] = first.median(part, 1) / row[part]["processor_s"]
    return row


def print_models(topic: str, groups: dict[str, list[dict[str, Any]]]) -> None:
    if topic == "memory":
        print(f"{'added by an encode':40s} {'MB':>8s} {'of the first':>13s}")
    else:
        print(f"{topic:40s} {'processor s':>12s} {'wall s':>8s} {'times faster':>13s}")
    for group, rows in groups.items():
        print(group)
        for row in rows:
            if topic == "memory":
                print(f"  {row['name']:38s} {row['added_mb']:8.0f} {row['memory_ratio']:13.2f}")
            elif topic in row:
                part = row[topic]
                ratio = f"{part['times_faster']:13.2f}" if "times_faster" in part else ""
                print(f"  {row['name']:38s} {part['processor_s']:12.3f} {part['wall_s']:8.3f} {ratio}")


def store(options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds to keep and to find an embedding of MedSAM's size, in memory and on disk."""
    import numpy as np

    from napari_medsam.embeddings import DiskTier
    from napari_medsam.models.base import Embedding

    features = np.random.default_rng(0).standard_normal((1, 256, 64, 64)).astype(np.float16)
    one = Embedding("benchmark", (512, 512), {"image": features}, np.zeros((512, 512), np.uint8))
    folder = Path(tempfile.mkdtemp())
    try:
        tier = DiskTier(folder / "store", 1 << 30)
        keys = [f"{number:064x}" for number in range(4 * options.repeats)]
        written = [_ms(lambda key=key: tier.write(key, one)) for key in keys]
        read = [_ms(lambda key=key: tier.read(key)) for key in keys]
        each = sum(path.stat().st_size for path in (folder / "store").rglob("*.embedding")) / len(keys)
    finally:
        shutil.rmtree(folder)
    figures = {"written_ms": statistics.median(written), "read_ms": statistics.median(read), "file_mb": each / 2**20}
    print(
        f"an embedding of MedSAM: {figures['written_ms']:.1f} ms to disk, {figures['read_ms']:.1f} ms from it, ", end=""
    )
    print(f"{features.nbytes / 2**20:.2f} MiB in memory, {figures['file_mb']:.2f} MiB on disk")
    return figures


def _ms(act: Any) -> float:
    start = time.perf_counter()
    act()
    return 1e3 * (time.perf_counter() - start)


FIRST_MASK = """
import time; start = time.perf_counter()
import numpy as np
from napari_medsam import api
image = np.zeros((40, 512, 512), np.int16); image[:, 200:300, 180:320] = 100
ready = time.perf_counter()
from napari_medsam.models.contour import Contour
from napari_medsam.prompts import Box, Prompts
model = Contour(); plane = (image[20] * 2).astype(np.uint8)
model.decode(model.encode(plane), Prompts(Box(190, 170, 310, 330)))
import sys
print(ready - start, time.perf_counter() - ready, int("torch" in sys.modules))
"""


def start(options: argparse.Namespace) -> dict[str, float]:
    """Seconds to import the package, and from there to a first mask of the built-in model; in fresh processes."""
    runs = []
    for _ in range(options.repeats):
        done = subprocess.run([sys.executable, "-c", FIRST_MASK], capture_output=True, text=True, check=True)
        runs.append([float(word) for word in done.stdout.split()])
    imported, mask, torch_there = (statistics.median(column) for column in zip(*runs, strict=True))
    print(f"import {imported:.2f} s, then a first mask {mask:.3f} s; torch imported: {'yes' if torch_there else 'no'}")
    return {"import_s": imported, "first_mask_s": mask, "torch_imported": torch_there}


def in_a_window(script: str, prompts: int) -> Any:
    """Run a benchmark that needs a display; its table is its own."""
    if sys.platform == "linux" and not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        print("needs a display: xvfb-run -s '-screen 0 1600x1000x24' python benchmarks/run.py")
        return None
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.json"
        command = [sys.executable, str(HERE / script), "--json", str(told)]
        subprocess.run([*command, *(["--prompts", str(prompts)] if prompts else [])], check=True)
        return json.loads(told.read_text())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=f"of: {', '.join(TOPICS)} (default: all)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="a group of models, by a part of its name")
    parser.add_argument("--no-peers", action="store_true", help="install and run nothing but ours")
    parser.add_argument("--mobile-sam", default=MOBILE_SAM, help="what pip is told for MobileSAM; a folder will do")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    topics = options.topics or TOPICS
    unknown = set(topics) - set(TOPICS)
    if unknown:
        parser.error(f"there is no topic {', '.join(sorted(unknown))}; there are: {', '.join(TOPICS)}")
    packages = ("napari-medsam", "torch", "timm", "transformers", "segment-anything", "numpy")
    versions = {name: version(name) for name in packages}
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {options.threads} threads"
    told: dict[str, Any] = {"machine": machine, "versions": versions, "date": time.strftime("%Y-%m-%d"), "topics": {}}
    print(machine, ", ".join(f"{name} {one}" for name, one in versions.items()), sep="\n", flush=True)
    groups = models(options) if set(topics) & set(INSIDE) else {}
    ran: dict[str, Any] = {}
    for topic in topics:
        print(f"\n== {topic}", flush=True)
        if topic in INSIDE:
            print_models(topic, groups)
            told["topics"][topic] = groups
        elif topic in WINDOWS:
            script, prompts = WINDOWS[topic]
            if script not in ran:
                ran[script] = in_a_window(script, prompts)
            told["topics"][topic] = ran[script]
        else:
            told["topics"][topic] = {"store": store, "start": start}[topic](options)
    if options.json:
        options.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
