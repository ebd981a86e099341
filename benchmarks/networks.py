"""The topics encode, decode and memory: every model in a process of its own, peers and ours in turns."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peers
import processes
from tables import Row, Topic, compare, times_of

HERE = Path(__file__).resolve().parent
GROUPS = {
    "SAM ViT-B, MedSAM": ("segment-anything", "transformers-sam", "ours:sam-vit-b:float32", "ours:sam-vit-b:bfloat16"),
    "MobileSAM": ("mobile-sam", "ours:mobile-sam:float32", "ours:mobile-sam:bfloat16"),
    "LiteMedSAM": ("litemedsam", "ours:litemedsam:float32", "ours:litemedsam:bfloat16"),
    "SAM 2.1 tiny": ("transformers-sam2", "ours:sam2.1-tiny:float32", "ours:sam2.1-tiny:bfloat16"),
}
"""Those of a group take turns. On a GPU ours runs in float16 too."""

STOCK = {
    "segment-anything": "segment-anything",
    "transformers-sam": "transformers",
    "transformers-sam2": "transformers",
    "mobile-sam": "MobileSAM's own code",
    "litemedsam": "MobileSAM's code in LiteMedSAM's shape",
}
"""What a row of a peer stands for."""

TITLES = {
    "segment-anything": "segment-anything as shipped, as napari-sam and micro-sam run it",
    "litemedsam": STOCK["litemedsam"],
}
"""Of the peers that are not told as shipped, or not as that alone."""


@dataclass
class Worker:
    """A process that works when told to, or why there is none."""

    kind: str
    process: subprocess.Popen[str] | None = None
    device: str = "cpu"
    failed: str = ""
    late: bool = False
    ready: dict[str, Any] = field(default_factory=dict)
    answers: list[dict[str, Any]] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Its name in the tables."""
        if self.kind in STOCK:
            return TITLES.get(self.kind, f"{STOCK[self.kind]}, as shipped")
        precision = self.kind.split(":")[2]
        return f"ours, {precision}" + (" (chosen here)" if self.ready.get("chosen") == precision else "")

    def work(self) -> None:
        """Encode and decode once more."""
        if self.process is None or self.failed:
            return
        assert self.process.stdin is not None
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except OSError:
            pass  # it has ended, which its answer shows
        told = self.hear()
        if told is not None:
            self.answers.append(told)

    def hear(self) -> dict[str, Any] | None:
        """Its next answer; None when it has ended instead, or was ended because none came."""
        assert self.process is not None
        assert self.process.stdout is not None
        timer = threading.Timer(processes.LONGEST_ANSWER, self.give_up)
        timer.start()
        try:
            for line in iter(self.process.stdout.readline, ""):
                found = answer_in(line)
                if found is not None:
                    return found
            code = self.process.wait()
        finally:
            timer.cancel()
        minutes = processes.LONGEST_ANSWER / 60
        self.failed = f"no answer in {minutes:.0f} minutes" if self.late else f"its process ended with {code}"
        return None

    def give_up(self) -> None:
        """End its process, and with that the wait for its answer."""
        assert self.process is not None
        self.late = True
        processes.end(self.process)


def answer_in(line: str) -> dict[str, Any] | None:
    """What a line of a worker's output says; None for what is not its own, as of a library that greets."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


@contextmanager
def started(kind: str, found: peers.Peers | None, threads: int, device: str = "cpu") -> Iterator[Worker]:
    """A worker that is ready, or that says why it is not."""
    own = kind not in STOCK
    why = "" if own else "--no-peers" if found is None else found.why_not(kind)
    if why:
        yield Worker(kind, failed=why)
        return
    python = sys.executable if own or found is None else found.python
    command = [python, str(HERE / "worker.py"), kind, str(threads), device]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "NAPARI_MEDSAM_THREADS": str(threads)}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        tempfile.TemporaryFile("w+", errors="replace") as said,
        subprocess.Popen(command, text=True, errors="replace", env=environment, stderr=said, **pipes) as process,
    ):
        worker = Worker(kind, process, device)
        worker.ready = worker.hear() or {}
        try:
            yield worker
        finally:
            try:
                process.communicate(timeout=processes.LONGEST_ANSWER)
            except subprocess.TimeoutExpired:
                processes.end(process)
            said.seek(0)
            words = said.read().strip().splitlines()
            if worker.failed and words and not worker.late:
                worker.failed = words[-1]


def measure(options: argparse.Namespace) -> dict[str, list[Worker]]:
    """What every model answered, by group."""
    found = None if options.no_peers else peers.installed()
    options.peers = {} if found is None else found.versions
    groups = {group: kinds_on(options.device, group) for group in GROUPS if options.only.lower() in group.lower()}
    return {group: in_turns(group, kinds, found, options) for group, kinds in groups.items()}


def kinds_on(device: str, group: str) -> tuple[str, ...]:
    """The kinds of worker of a group that are of interest on a device."""
    kinds = GROUPS[group]
    if device == "cpu":
        return kinds
    return (*kinds, *(kind.replace(":bfloat16", ":float16") for kind in kinds if kind.endswith(":bfloat16")))


def in_turns(
    group: str, kinds: tuple[str, ...], found: peers.Peers | None, options: argparse.Namespace
) -> list[Worker]:
    """The workers of a group, after all rounds."""
    rounds = 1 if options.quick else options.repeats + 1  # the first prepares
    with ExitStack() as stack:
        workers = [stack.enter_context(started(kind, found, options.threads, options.device)) for kind in kinds]
        for number in range(rounds):
            print(f"  {group}: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            for worker in workers:
                worker.work()
    return workers


def table(topic: str, groups: Mapping[str, list[Worker]]) -> Topic:
    """The table of encode, decode or memory."""
    rows = [row for group, workers in groups.items() for row in rows_of(topic, group, workers)]
    if topic != "memory":
        return {"unit": "seconds", "rows": rows}
    return {"unit": "what an encode adds to the memory of the process, or of the GPU, at most, in MB", "rows": rows}


def rows_of(topic: str, group: str, workers: list[Worker]) -> list[Row]:
    """A row a worker, and one for its batches; ours with its ratio to each peer that ran."""
    rows = [row for worker in workers for row in (row_of(topic, group, worker), *batches_of(topic, group, worker))]
    stock = [row for row in rows if row["stock"] and "times" in row]
    flops = max((worker.ready.get("flops", 0.0) for worker in workers), default=0.0)
    for row in rows:
        if row["stock"] or "times" not in row:
            continue
        for peer in stock:
            name = STOCK[peer["name"]]
            if topic == "memory":
                row.setdefault("ratios", {})[f"what {name} adds"] = compare(row, peer, "most")
            else:
                row.setdefault("ratios", {})[f"faster than {name}"] = compare(peer, row)
        if topic == "encode" and flops and row["flops_per_s"]:
            least = flops / row["flops_per_s"]
            row.setdefault("ratios", {})[LIMIT] = {"wall": least / row["times"]["wall"]["median"]}
    return rows


LIMIT = "the matmul limit (one large product)"
"""The share of it: the time that the stock network's products would take at that speed, over ours."""


def row_of(topic: str, group: str, worker: Worker) -> Row:
    row: Row = {"group": group, "name": worker.kind, "title": worker.title, "stock": worker.kind in STOCK}
    row |= {"torch": worker.ready.get("torch")}
    if worker.failed or not worker.answers:
        return row | {"skipped": worker.failed or "it gave no answer"}
    row["flops_per_s"] = max(one.get("flops_per_s", 0.0) for one in worker.answers)
    if topic == "memory":
        return row | {"times": {"memory": {"most": max(one["added_mb"] for one in worker.answers)}}}
    return row | {"times": clocks_of(topic, worker)}


def batches_of(topic: str, group: str, worker: Worker) -> list[Row]:
    """The row of its batches, per input; none where it made none."""
    sizes = [one["batch"] for one in worker.answers if "batch" in one]
    if topic != "encode" or worker.failed or not sizes:
        return []
    title = f"{worker.title}, of {sizes[0]} at a time"
    return [row_of(topic, group, worker) | {"title": title, "times": clocks_of("in batches", worker)}]


def clocks_of(what: str, worker: Worker) -> dict[str, dict[str, float]]:
    """Seconds of what all answers but the first tell; of the wall alone on a GPU, which the processor waits for."""
    answers = worker.answers[1:] or worker.answers
    times = times_of([run for answer in answers for run in answer.get(what, ())])
    return times if worker.device == "cpu" else {"wall": times["wall"]}
