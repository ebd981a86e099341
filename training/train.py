"""Train the `starter` network on synthetic scenes; stop and go on at will.

    python train.py                       # one process on the GPU if there is one, else two on the CPU
    python train.py --smoke               # a minute on one core: does it learn at all?

It goes on from `--folder`/last.pt when that is there. While `--folder`/PAUSE exists, it sleeps;
when `--folder`/STOP appears, it saves and ends.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from generator import Recipe, batches  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.utils.data import DataLoader, IterableDataset, get_worker_info  # noqa: E402

from napari_medsam.models.finetune.objective import Samples, rounds  # noqa: E402
from napari_medsam.models.finetune.samples import Batch  # noqa: E402
from napari_medsam.models.starter_network import StarterNetwork  # noqa: E402

MEET = 5
"""Steps that a process takes by itself before the weights of all are averaged; the moving average follows then."""

LEARNT = 0.35
"""Smoothed Dice of a box that the smoke run must reach (an untrained network has 0.15)."""

SMOKE: dict[str, Any] = {"steps": 60, "batch": 16, "warmup": 10, "average": 0.9, "phase": [{"from": 0.0, "size": 64}]}


@dataclass(frozen=True)
class Place:
    """Where this process runs: its rank among `world`, its device, and helpers that make batches (0: itself)."""

    rank: int
    world: int
    device: str
    workers: int


class Stream(IterableDataset[tuple[Batch, int]]):
    """Batches of one process, shared among its helpers by scene number."""

    def __init__(self, recipe: Recipe, count: int, first: int, place: Place) -> None:
        self.recipe, self.count, self.first, self.place = recipe, count, first, place

    def __iter__(self) -> Iterator[tuple[Batch, int]]:
        info = get_worker_info()
        helper, helpers = (info.id, info.num_workers) if info else (0, 1)
        stride = self.place.world * helpers
        return batches(self.recipe, self.count, self.first + self.place.rank * helpers + helper, stride)


class Run:
    """Network, its moving average, optimiser and counters; saved and loaded as one."""

    def __init__(self, config: dict[str, Any], place: Place) -> None:
        self.config, self.place = config, place
        torch.manual_seed(config["seed"])
        self.network = StarterNetwork().to(place.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        flat = [p for p in self.network.parameters() if p.ndim < 2]
        deep = [p for p in self.network.parameters() if p.ndim >= 2]
        groups = [{"params": deep, "weight_decay": config["decay"]}, {"params": flat, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=config["rate"], betas=(0.9, 0.98), fused=True)
        self.step, self.scene, self.seconds, self.stop = 0, 0, 0.0, False

    def save(self, path: Path) -> None:
        """Write all of it, in one piece or not at all."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "numbers": {"step": self.step, "scene": self.scene, "seconds": self.seconds},
            "config": self.config,
        }
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def load(self, path: Path) -> None:
        """Read what `save` wrote."""
        state = torch.load(path, map_location=self.place.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        numbers = state["numbers"]
        self.step, self.scene, self.seconds = numbers["step"], numbers["scene"], numbers["seconds"]

    @property
    def size(self) -> int:
        """Side of the view now."""
        share = self.step / self.config["steps"]
        return int([p["size"] for p in self.config["phase"] if p["from"] <= share][-1])

    def rate(self) -> float:
        """Learning rate now."""
        c = self.config
        if self.step < c["warmup"]:
            return float(c["rate"] * (self.step + 1) / c["warmup"])
        share = min((self.step - c["warmup"]) / max(c["steps"] - c["warmup"], 1), 1)
        return float(c["final_rate"] + (c["rate"] - c["final_rate"]) * 0.5 * (1 + math.cos(math.pi * share)))

    def update(self, loss: Tensor, stop: bool) -> None:
        """One step of the optimiser; now and then the processes meet at their mean, and the moving average follows."""
        self.optimiser.zero_grad(set_to_none=False)
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = [p for p in self.network.parameters() if p.grad is not None]
        torch.nn.utils.clip_grad_norm_(parameters, 2.0)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.optimiser.step()
        self.step += 1
        if self.step % MEET == 0:
            self.stop = self._meet(stop)
            self._follow()

    @torch.no_grad()
    def _meet(self, stop: bool) -> bool:
        """Average the weights of all processes; whether any of them wants to stop."""
        if self.place.world == 1:
            return stop
        values = [v for v in self.network.state_dict().values() if v.dtype.is_floating_point]
        wish = torch.full((1,), float(stop), device=values[0].device)
        flat = torch.cat([wish, *(v.flatten() for v in values)]) / self.place.world
        dist.all_reduce(flat)
        for value, mean in zip(values, torch.split(flat[1:], [v.numel() for v in values]), strict=True):
            value.copy_(mean.view_as(value))
        return bool(flat[0] > 0)

    @torch.no_grad()
    def _follow(self) -> None:
        keep = min(self.config["average"], (1 + self.step) / (20 + self.step)) ** MEET
        live = self.network.state_dict()
        for name, value in self.average.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(live[name], 1 - keep)
            else:
                value.copy_(live[name])


def wait_while_paused(folder: Path) -> None:
    """Sleep while the file PAUSE is there."""
    while (folder / "PAUSE").exists() or (folder.parent / "PAUSE").exists():
        time.sleep(1)


def samples_of(run: Run) -> Iterator[tuple[Batch, int]]:
    """Batches of the size of the view now, from the next scene on."""
    c, place = run.config, run.place
    shuffle = 64 if c["steps"] < 200 else Recipe.shuffle
    recipe = replace(
        Recipe(seed=c["seed"]), size=run.size, per_scene=c["per_scene"], without_box=c["without_box"], shuffle=shuffle
    )
    stream = Stream(recipe, c["batch"] // place.world, run.scene, place)
    return iter(DataLoader(stream, batch_size=None, num_workers=place.workers))


def train(run: Run, folder: Path) -> dict[str, float]:
    """Steps until the configured number; returns the smoothed numbers."""
    random = torch.Generator().manual_seed(run.config["seed"] + 1000 * run.step + run.place.rank)
    smooth: dict[str, float] = {}
    size, stream = run.size, samples_of(run)
    saved = logged = time.perf_counter()
    while run.step < run.config["steps"] and not run.stop:
        if run.step % 5 == 0:
            wait_while_paused(folder)
        began = time.perf_counter()
        if run.size != size:
            size, stream = run.size, samples_of(run)
        batch, scene = next(stream)
        run.scene = scene - scene % (run.place.world * max(run.place.workers, 1))
        samples = Samples.of(batch, run.place.device)
        with torch.autocast(run.place.device, dtype=torch.bfloat16):
            loss, numbers = rounds(run.network, samples, random)
        run.update(loss, (folder / "STOP").exists())
        for name, value in numbers.items():
            before = smooth.get(name, value)
            smooth[name] = before if math.isnan(value) else 0.98 * before + 0.02 * value
        now = time.perf_counter()
        run.seconds += now - began
        if run.place.rank == 0 and now - logged > 20:
            logged = now
            log(folder, run, size, smooth, now - began)
        if run.place.rank == 0 and now - saved > run.config["checkpoint_seconds"]:
            saved = now
            run.save(folder / "last.pt")
    if run.place.rank == 0:
        log(folder, run, size, smooth, 0)
        run.save(folder / "last.pt")
    return smooth


def log(folder: Path, run: Run, size: int, smooth: dict[str, float], seconds: float) -> None:
    """One line of the log."""
    text = " ".join(f"{k} {v:.4f}" for k, v in smooth.items())
    line = f"{time.strftime('%H:%M:%S')} step {run.step} view {size} rate {run.rate():.2e} {text}"
    line += f" | {run.seconds:.0f} s in all, {1e3 * seconds:.0f} ms a step"
    print(line, flush=True)
    with open(folder / "log.txt", "a") as file:
        file.write(line + "\n")


def work(rank: int, world: int, arguments: argparse.Namespace, config: dict[str, Any]) -> None:
    """One process of the training."""
    device = "cuda" if torch.cuda.is_available() and not arguments.smoke else "cpu"
    torch.set_num_threads(1)
    if world > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(arguments.port))
        dist.init_process_group("gloo", rank=rank, world_size=world)
    folder = Path(arguments.folder)
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(config, Place(rank, world, device, arguments.workers))
    if (folder / "last.pt").exists() and not arguments.smoke:
        run.load(folder / "last.pt")
    smooth = train(run, folder)
    if arguments.smoke and rank == 0:
        print(json.dumps({k: round(v, 3) for k, v in smooth.items()}))
        if smooth["box"] < LEARNT:
            sys.exit(f"The Dice of a box is {smooth['box']:.2f} after {run.step} steps: it does not learn.")
    if world > 1:
        dist.destroy_process_group()


def main() -> None:
    """Read the arguments and start the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default=str(HERE / "config.toml"))
    parser.add_argument("--folder", default=str(HERE.parent / "checkpoints"))
    parser.add_argument("--processes", type=int, default=1 if torch.cuda.is_available() else 2)
    parser.add_argument("--workers", type=int, default=12 if torch.cuda.is_available() else 0)
    parser.add_argument("--port", type=int, default=29511)
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    config = tomllib.loads(Path(arguments.config).read_text())
    if arguments.smoke:
        config |= SMOKE
        arguments.processes, arguments.workers = 1, 0
    if arguments.processes == 1:
        work(0, 1, arguments, config)
    else:
        torch.multiprocessing.spawn(  # type: ignore[attr-defined,no-untyped-call]
            work, (arguments.processes, arguments, config), nprocs=arguments.processes
        )


if __name__ == "__main__":
    main()
