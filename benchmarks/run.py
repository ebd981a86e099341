"""All benchmarks, a table a topic, beside what a user would install instead.

    python benchmarks/run.py [TOPIC ...] [--device cpu] [--quick] [--threads 1] [--repeats 5] [--json FILE] [--no-peers]

Topics: encode, decode, click-to-mask, stall, store, write, memory (of encodes), start. Those of the window run on the
display that is there, else on a virtual one. All that is printed is written as JSON too, after each topic.

The peers (segment-anything as shipped, transformers' models, MobileSAM's own code) are installed by plain pip into an
environment of their own in the user's cache; one that cannot be installed is left out and named. Each model lives in a
process of its own with random weights, since none are shipped and neither time nor memory depends on them, gets the
same input, and takes turns with the others; ratios are of medians of the processor's time, which other programs on the
machine hardly touch. Wall times stand beside them: on a quiet machine they say what a user waits. On a GPU only those
are told, and each encode of ours also as a share of what the hardware can multiply.

What cannot be had here is left out in words. An error costs its own topics too, not the others, and the exit status.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keeping
import networks
import platformdirs
import tables
import windows
from machine import gpu, load, machine, versions

from napari_medsam.errors import ModelError

QUICK = "Quick: all is done once or so and nothing is warm, so the numbers only show that it runs."

OPTIONS = ("device", "quick", "threads", "repeats", "prompts", "only")
"""Those that are written beside the figures."""

Measure = Callable[[argparse.Namespace], Any]
Table = Callable[[Any, Mapping[str, tables.Topic]], tables.Topic]
"""Of what was measured, and the topics before."""


def _networks(topic: str, found: Any, earlier: Mapping[str, tables.Topic]) -> tables.Topic:
    return networks.table(topic, found)


TOPICS: dict[str, tuple[Measure, Table]] = {
    "encode": (networks.measure, partial(_networks, "encode")),
    "decode": (networks.measure, partial(_networks, "decode")),
    "click-to-mask": (windows.clicks, windows.click_table),
    "stall": (windows.stalls, windows.stall_table),
    "store": (keeping.measure, keeping.table),
    "write": (windows.clicks, windows.write_table),
    "memory": (networks.measure, partial(_networks, "memory")),
    "start": (windows.starts, windows.start_table),
}
"""What measures a topic, once for all topics that it measures, and what makes a table of it."""


@dataclass(frozen=True)
class Run:
    """What a measurement gave or why it was skipped, how long it took in s, and the load before and after."""

    found: Any
    seconds: float
    load: dict[str, list[float]]


def run(measure: Measure, options: argparse.Namespace) -> Run:
    """Measure something; an error in it is what was found then."""
    before, start = load(), time.perf_counter()
    try:
        found = measure(options)
    except Exception as error:
        found = error
        trace(error)
    return Run(found, time.perf_counter() - start, {"start": before, "end": load()})


def trace(error: Exception) -> None:
    """Where an error comes from, for who is to mend it; what was only skipped is none."""
    if not isinstance(error, tables.Skipped):
        traceback.print_exception(error, file=sys.stderr)


def topic_of(name: str, done: Run, earlier: Mapping[str, tables.Topic]) -> tables.Topic:
    """A topic as it is printed and written."""
    times = {"measured_in_s": round(done.seconds, 1), "load": done.load}
    if isinstance(done.found, Exception):
        return without(done.found) | times
    try:
        topic = TOPICS[name][1](done.found, earlier)
        "".join(tables.lines(name, topic))
        json.dumps(topic)  # so that what cannot be printed or written is told here, and not in the way of the others
    except Exception as error:
        trace(error)
        return without(error) | times
    return topic | times


def without(why: Exception) -> tables.Topic:
    """A topic without figures; `failed` where that is an error and not something that cannot be had here."""
    if isinstance(why, tables.Skipped):
        return {"skipped": str(why)}
    return {"skipped": f"{type(why).__name__}: {why}", "failed": True}


def arguments_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=f"of: {', '.join(TOPICS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="everything once or so, to see that it runs: no figures")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N, of all that networks do (default: cpu)")
    parser.add_argument("--threads", type=int, default=1, help="of encode, decode and memory (default: 1)")
    parser.add_argument("--repeats", type=int, default=5, help="encodes of each model; starts (default: 5)")
    parser.add_argument("--prompts", type=int, default=200, help="clicks for click-to-mask and write (default: 200)")
    parser.add_argument("--only", default="", help="a group of models, by a part of its name")
    parser.add_argument("--no-peers", action="store_true", help="install and run nothing but ours")
    parser.add_argument("--json", type=Path, help="(default: a new file in the user's cache)")
    options = parser.parse_args(arguments)
    options.topics = list(dict.fromkeys(options.topics)) or list(TOPICS)
    unknown = set(options.topics) - set(TOPICS)
    if unknown:
        parser.error(f"there is no topic {', '.join(sorted(unknown))}; there are: {', '.join(TOPICS)}")
    if not any(options.only.lower() in group.lower() for group in networks.GROUPS):
        parser.error(f"there is no group {options.only}; there are: {', '.join(networks.GROUPS)}")
    if min(options.repeats, options.prompts, options.threads) < 1:
        parser.error("repeats, prompts and threads are at least 1")
    try:
        options.gpu = gpu(options.device)
    except ModelError as error:
        parser.error(str(error))
    return options


def file_for(options: argparse.Namespace) -> Path:
    """Where the JSON goes; its folder is made."""
    folder = platformdirs.user_cache_path("napari-medsam", appauthor=False) / "speed"
    file: Path = options.json or folder / f"{time.strftime('%Y-%m-%d-%H%M%S')}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def main(arguments: Sequence[str] | None = None) -> None:
    options = arguments_of(arguments)
    file, here = file_for(options), machine() | options.gpu
    told: dict[str, Any] = {"date": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "machine": here, "versions": versions()}
    told["options"] = {name: getattr(options, name) for name in OPTIONS}
    told["topics"] = {}
    print(f"{here['processor']}, {here['cores']} cores, {here['memory_gb']} GB of memory, load {load()[0]}")
    if options.gpu:
        print(f"{here['gpu']}, {here['gpu_memory_gb']} GB")
    print(", ".join(f"{name} {one}" for name, one in told["versions"].items()), flush=True)
    if options.quick:
        print(QUICK)
    done: dict[Measure, Run] = {}
    for name in options.topics:
        measure = TOPICS[name][0]
        if measure not in done:
            done[measure] = run(measure, options)
        topic = topic_of(name, done[measure], told["topics"])
        told["topics"][name] = topic
        told["versions"]["peers"] = getattr(options, "peers", {})
        print("", *tables.lines(name, topic), f"  {about(topic)}", sep="\n", flush=True)
        file.write_text(json.dumps(told, indent=1))
    print(f"\nwritten to {file}")
    failed = [name for name, topic in told["topics"].items() if topic.get("failed")]
    if failed:
        raise SystemExit(f"not measured because of an error: {', '.join(failed)}")


def about(topic: tables.Topic) -> str:
    """How it was measured, in a line."""
    start, end = (topic["load"][when][0] for when in ("start", "end"))
    return f"Measured in {topic['measured_in_s']:.0f} s; load {start} at the start, {end} at the end."


if __name__ == "__main__":
    main()
