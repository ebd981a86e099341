"""The topics that need a window: click-to-mask, stall, write and start; each runs a script of its own.

They run on the display that is there, else on a virtual one (`xvfb-run`), else they are left out and say so.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import processes
from tables import TAIL, Row, Skipped, Topic, compare, times_of

HERE = Path(__file__).resolve().parent
XVFB = ("xvfb-run", "-a", "-s", "-screen 0 1600x1000x24")

SAMM = {"title": "SAMM", "times": {"wall": {"median": 612.0}}}
"""Milliseconds from the request to the mask applied, the embedding cached (Liu et al., SAMM, 2023, table 1)."""

SAMS = "SAM's decoder"
"""The rows of click_to_mask.py that are to be told beside it: its model is SAM too."""

CLICK = {
    "click": "napari takes the click and keeps the point",
    "to lane": "the point is read, and the model begins",
    "decode": "the model answers",
    "back": "the answer is painted into the preview",
    "cycle": "from the click to the mask applied",
    "screen": "from the click to the mask on the screen",
    "redraw": "napari draws the preview again, alone",
}
WRITE = {
    "redraw": "napari draws the preview again, alone",
    "call": "accept: the mask is in the labels",
    "own": "the same without what napari takes to draw layers anew and to take the prompt off its layer",
    "commit": "accept: the labels are on the screen",
}
PROCESSOR = {"decode": "decode cpu", "screen": "gui cpu"}
"""The processor's time of a part: of the model's thread; of the window's."""

STALL = {
    "loading": "SAM ViT-B is loaded from a file, torch imported",
    "nothing asked": "nothing is asked",
    "answer at once": "boxes, for a model that answers at once",
    "0.5 s an encode": "boxes, for a model that sleeps 0.5 s a slice",
    "contour": "boxes, for the built-in contour",
    "encoding": "boxes, slices encoded by 2 blocks of ViT-B",
    "encoding ahead": "slices encoded ahead of scrolling",
    "fetching": "weights are fetched, 375 MB",
    "following": "an object is followed through 300 slices",
    "preparing": "a volume is prepared",
}
QUICK = ("nothing asked", "answer at once", "encoding")
NAPARI_ALONE = "answer at once"
"""What the other rows are told beside: all that napari does for a box, and nothing of a model."""


def virtual() -> tuple[str, ...] | None:
    """What to put before a command that opens a window; None where none can be opened."""
    if sys.platform in ("win32", "darwin") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return ()
    return XVFB if shutil.which(XVFB[0]) else None


def run_script(script: str, words: Sequence[str], before: Sequence[str] = ()) -> dict[str, Any]:
    """Run a benchmark of this folder; what it wrote as JSON, with `failed` where it then ended in trouble.

    Raises
    ------
    Skipped
        It wrote nothing; the message has its last words.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "told.json"
        command = [*before, sys.executable, str(HERE / script), "--json", str(file), *words]
        print(f"  {script} {' '.join(words)}", file=sys.stderr, flush=True)
        failed = last_words(command)
        if not file.exists():
            raise Skipped(f"{script} gave no figures: {failed or 'it wrote none'}")
        found: dict[str, Any] = json.loads(file.read_text())
        return found | {"failed": failed, "display": "virtual, drawn by software" if before else "the current one"}


def last_words(command: Sequence[str]) -> str:
    """Run a command to its end; its last line where it failed."""
    environment = {name: value for name, value in os.environ.items() if name != "QT_QPA_PLATFORM"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, env=environment, text=True, errors="replace", **pipes) as process:
        try:
            said, _ = process.communicate(timeout=processes.LONGEST)
        except subprocess.TimeoutExpired:
            processes.end(process)
            return f"it took more than {processes.LONGEST} s"
    if process.returncode == 0:
        return ""
    return next((line for line in reversed(said.splitlines()) if line.strip()), f"it ended with {process.returncode}")


def in_a_window(script: str, *words: str) -> dict[str, Any]:
    """Run a benchmark that opens a window.

    Raises
    ------
    Skipped
        No window can be opened, or the benchmark failed.
    """
    before = virtual()
    if before is None:
        raise Skipped("it needs a display, or xvfb-run for a virtual one; neither is here")
    return run_script(script, words, before)


def notes(found: Mapping[str, Any]) -> list[str]:
    """What is said below the table of a script."""
    failed = found["failed"]
    return [f"Display: {found['display']}.", *([f"It ended before all was measured: {failed}"] if failed else [])]


def clicks(options: argparse.Namespace) -> dict[str, Any]:
    """Real clicks on a real canvas."""
    prompts = str(12 if options.quick else options.prompts)
    return in_a_window("click_to_mask.py", "--prompts", prompts, "--device", options.device)


def click_table(found: Mapping[str, Any], earlier: Mapping[str, Topic]) -> Topic:
    """From a click to its mask, beside the cycle that SAMM publishes."""
    rows = [row for model, parts in found["rows"].items() for row in part_rows(model, parts, CLICK)]
    for row in rows:
        if row["name"] == "cycle" and row["group"] == SAMS:
            row["ratios"] = {"faster than SAMM's 612 ms, published for its authors' machine": compare(SAMM, row)}
    return {"unit": "milliseconds", "rows": rows, "notes": notes(found), "display": found["display"]}


def write_table(found: Mapping[str, Any], earlier: Mapping[str, Topic]) -> Topic:
    """From accepting a mask to its labels, beside what napari takes to draw once."""
    rows = []
    for model, parts in found["rows"].items():
        redraw, *own = part_rows(model, parts, WRITE)
        for row in own:
            row["ratios"] = {"one redraw": compare(row, redraw)}
        rows += [redraw | {"stock": True}, *own]
    return {"unit": "milliseconds", "rows": rows, "notes": notes(found), "display": found["display"]}


def part_rows(model: str, parts: Mapping[str, Mapping[str, float]], titles: Mapping[str, str]) -> list[Row]:
    """A row for each of the titles that was measured; the processor's time where it is told."""
    rows = []
    for name, title in titles.items():
        if name in parts:
            clocks = {"wall": parts[name], "processor": parts.get(PROCESSOR.get(name, ""), {})}
            times = {clock: named(values) for clock, values in clocks.items() if values}
            rows.append({"group": model, "name": name, "title": title, "times": times})
    return rows


def named(values: Mapping[str, float]) -> dict[str, float]:
    """With the median by its name, and no 95th percentile of a few."""
    few = {"p95"} if values["n"] < TAIL else set()
    return {{"p50": "median"}.get(name, name): value for name, value in values.items() if name not in few}


def stalls(options: argparse.Namespace) -> dict[str, Any]:
    """A ticking timer while models work."""
    few = ["--prompts", "5", "--only", *QUICK] if options.quick else []
    return in_a_window("event_loop.py", "--device", options.device, *few)


def stall_table(found: Mapping[str, Any], earlier: Mapping[str, Topic]) -> Topic:
    """How late ticks are, beside those while napari alone works."""
    rows = [stall_row(told) for told in found["rows"]]
    measured = {row["name"]: row for row in rows if "times" in row}
    alone = measured.get(NAPARI_ALONE)
    for name, row in measured.items():
        if alone is not None and name not in (NAPARI_ALONE, "nothing asked"):
            row["ratios"] = {"the longest stall without a model": compare(row, alone, "longest")}
    unit = "milliseconds that a tick comes late, and from a box to its preview"
    return {"unit": unit, "rows": rows, "notes": notes(found), "display": found["display"]}


def stall_row(told: Mapping[str, Any]) -> Row:
    name = told["name"]
    row: Row = {"name": name, "title": STALL.get(name, name), "stock": name == NAPARI_ALONE}
    if "failed" in told:
        return row | {"skipped": told["failed"]}
    late = {"median": told["p50"], "p95": told["p95"], "p99": told["p99"], "longest": told["longest"]}
    row["times"] = {"late": late | {"n": told["ticks"]}}
    if "prompt_p50" in told:
        row["times"]["to preview"] = {"median": told["prompt_p50"], "p95": told["prompt_p95"]}
    return row


def starts(options: argparse.Namespace) -> dict[str, Any]:
    """Fresh processes, without a window and with one; words in place of the figures of one that failed."""
    repeats = ("--repeats", "1" if options.quick else str(options.repeats))
    bare = run_script("start.py", ("--without-window", *repeats))
    try:
        return {"bare": bare, "window": in_a_window("start.py", *repeats)}
    except Skipped as why:
        return {"bare": bare, "window": str(why)}


def start_table(found: Mapping[str, Any], earlier: Mapping[str, Topic]) -> Topic:
    """Until the plugin is there, beside what napari takes to be."""
    rows, window = start_rows("the Python interface", found["bare"]), found["window"]
    topic: Topic = {"unit": "seconds", "rows": rows, "torch_imported": found["bare"]["torch"]}
    if isinstance(window, str):
        rows.append({"group": "in napari", "name": "window", "title": "the plugin's widget", "skipped": window})
        return topic
    napari, *own = start_rows("in napari", window)
    for row in own:
        row["ratios"] = {"napari's own start": compare(row, napari)}
    rows += [napari | {"stock": True}, *own]
    topic["torch_imported"] = topic["torch_imported"] or window["torch"]
    torch = f"torch was {'' if topic['torch_imported'] else 'not '}imported on the way."
    return topic | {"notes": [torch, *notes(window)], "display": window["display"]}


def start_rows(group: str, told: Mapping[str, Any]) -> list[Row]:
    titles = told["parts"]
    return [
        {"group": group, "name": name, "title": titles[name], "times": times_of(runs)}
        for name, runs in told["seconds"].items()
    ]
