"""`napari-medsam bench`: which of the models one can work with on this machine."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from napari_medsam import __version__
from napari_medsam.errors import MedsamError, ModelError
from napari_medsam.models import cost, registry
from napari_medsam.models.checkpoints import places
from napari_medsam.models.checkpoints.places import Places
from napari_medsam.models.compute import AUTO, PRECISIONS, Compute
from napari_medsam.models.cost import Cost
from napari_medsam.models.loading import Loader
from napari_medsam.models.row import Row

USUAL = ("contour", "starter", "litemedsam", "mobile-sam", "medsam2", "sam2.1-tiny", "medsam")
"""Measured unless others are named, in this order."""

YARDSTICK = "medsam"
"""Others are estimated by its time: the table of models says how theirs compare."""

SECONDS = 60.0


def bench(options: argparse.Namespace) -> int:
    """`napari-medsam bench`: measure models, each in a process of its own, and say which are comfortable here.

    Models whose weights are not here are measured with random ones of the same size, which take the same time.
    """
    if options.inside:
        print(json.dumps(asdict(measured(registry.row(options.names[0]), options))))
        return 0
    rows = [registry.row(name) for name in options.names or USUAL]
    free = psutil.virtual_memory().available / 1e6
    machine = about_machine(free)
    if not options.json:
        print(machine)
        print(heading(), flush=True)
    known: list[Cost] = []
    failed: dict[str, str] = {}
    for row, found in in_turn(rows, options):
        if isinstance(found, Cost):
            known.append(found)
        else:
            failed[row.name] = found
        if not options.json:
            print(line(row, found, free) if isinstance(found, Cost) else f"{row.name:20s} {found}", flush=True)
    guesses = [] if options.names else estimates(known, rows)
    if options.json:
        entries = [asdict(one) | {"verdict": one.verdict(free).value} for one in (*known, *guesses)]
        told = {"machine": machine, "version": __version__, "models": entries, "not_measured": failed}
        print(json.dumps(told, indent=1))
        return 0
    for one in guesses:
        print(line(registry.row(one.name), one, free))
    for about in about_gpus(known):
        print(about)
    return 0


def in_turn(rows: Sequence[Row], options: argparse.Namespace) -> Iterator[tuple[Row, Cost | str]]:
    """Yields each row with its cost, or why it was not measured; after `options.seconds` none is."""
    end = time.monotonic() + options.seconds
    for row in rows:
        left = end - time.monotonic()
        if left <= 0:
            yield row, f"not measured: the {options.seconds:.0f} s are over (--seconds gives more)"
            continue
        try:
            yield row, in_a_process(row, options, left)
        except MedsamError as error:
            yield row, f"not measured: {error}"


def in_a_process(row: Row, options: argparse.Namespace, seconds: float) -> Cost:
    """Measure in a process of its own, so that its memory is its own.

    Raises
    ------
    ModelError
        It failed, or took too long.
    """
    command = [sys.executable, "-m", "napari_medsam.cli", "bench", row.name, "--inside"]
    command += ["--device", options.device, "--precision", options.precision]
    command += ["--weights", options.weights] if options.weights else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"it took more than the {seconds:.0f} s that were left (--seconds gives more)") from error
    if done.returncode:
        raise ModelError((done.stderr.strip() or f"its process ended with {done.returncode}").splitlines()[-1])
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def measured(row: Row, options: argparse.Namespace) -> Cost:
    """Measure in this process: with the weights that are here, else with random ones."""
    compute = Compute(options.device, options.precision)
    where = Places.from_environment(option=Path(options.weights) if options.weights else None)
    if row.built_in or places.find(row, where) is not None:
        return cost.of_model(row, Loader(where, compute), compute)
    return cost.of_random(row, compute)


def estimates(known: Sequence[Cost], rows: Sequence[Row]) -> list[Cost]:
    """Costs of the models of other sizes, by that of the yardstick; none where that was not measured."""
    yardstick = next((one for one in known if one.name == YARDSTICK), None)
    if yardstick is None:
        return []
    seen = {(row.layout, row.input_size) for row in rows}
    found = []
    for row in registry.TABLE:
        if row.speed and (row.layout, row.input_size) not in seen:
            seen.add((row.layout, row.input_size))
            found.append(cost.estimated(row, yardstick, registry.row(YARDSTICK)))
    return found


def heading() -> str:
    """The head of the table."""
    return f"{'model':20s} {'encode s':>9s} {'decode s':>9s} {'memory MB':>10s}  {'how':16s} {'runs on':14s} verdict"


def line(row: Row, found: Cost, free_mb: float) -> str:
    """One line of the table."""
    times = f"{found.encode_s:9.2f} {found.decode_s:9.3f} {found.memory_mb:10.0f}"
    return f"{row.name:20s} {times}  {found.how:16s} {found.where:14s} {found.verdict(free_mb).value}"


def about_gpus(known: Sequence[Cost]) -> list[str]:
    """A line for each GPU that models ran on, with the memory by which they were judged."""
    free = {one.where.partition(",")[0] or "GPU": one.free_mb for one in known if one.free_mb is not None}
    judged = "GB of its memory free; models that run there are judged by that"
    return [f"{name}: {mb / 1e3:.1f} {judged}" for name, mb in free.items()]


def about_machine(free_mb: float) -> str:
    """The machine in a line."""
    kind = platform.processor() or platform.machine()
    return f"{kind}, {os.cpu_count()} cores, {free_mb / 1e3:.1f} GB of memory free, Python {platform.python_version()}"


def add_parser(commands: Any) -> None:
    """Describe the command to the parser."""
    parser = commands.add_parser("bench", help="which models are comfortable here", description=bench.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"models to measure (default: {' '.join(USUAL)})")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time to take at most (default: 60)")
    parser.add_argument("--device", default=AUTO, help="auto, cpu, mps, cuda or cuda:N (default: auto)")
    parser.add_argument("--precision", default=AUTO, choices=PRECISIONS, help="of encoders (default: auto)")
    parser.add_argument("--weights", metavar="FOLDER", help="folder to look for weights in first")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(act=bench)
