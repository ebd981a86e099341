"""One layout for all topics: rows of times and of ratios in words, printed alike and written as JSON as they are.

A topic is {"unit", "rows", "notes"}, or {"skipped": why}. A row has a "title", perhaps the "group" that it belongs to,
and "times", {clock: {least, median, p95, ...}}, or is {"skipped": why} too. Its "ratios" are {words: {clock: number}},
where the words go on after "3.6 times", and are of medians.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Row = dict[str, Any]
Topic = dict[str, Any]

STATISTICS = ("least", "median", "p95", "p99", "longest", "most")

TAIL = 20
"""With fewer values than these, a 95th percentile is only their largest."""


class Skipped(Exception):
    """Why something was not measured, in words for the table."""


def summary(values: Sequence[float]) -> dict[str, float]:
    """Of one clock: the least, the median, and the 95th percentile where there are enough values for one."""
    found = {"least": min(values), "median": statistics.median(values)}
    if len(values) >= TAIL:
        found["p95"] = statistics.quantiles(values, n=20, method="inclusive")[-1]
    return found | {"n": len(values)}


def times_of(runs: Sequence[Sequence[float]]) -> dict[str, dict[str, float]]:
    """The times of a row, from (wall, processor) of each run."""
    wall, own = zip(*runs, strict=True)
    return {"processor": summary(own), "wall": summary(wall)}


def compare(over: Row, under: Row, statistic: str = "median") -> dict[str, float]:
    """How often the one holds the other, by each clock that has told the statistic of both."""
    pairs = {clock: (values, under["times"].get(clock, {})) for clock, values in over["times"].items()}
    return {
        clock: a[statistic] / b[statistic] for clock, (a, b) in pairs.items() if statistic in a and b.get(statistic)
    }


def lines(name: str, topic: Topic) -> Iterator[str]:
    """The table of a topic."""
    if "skipped" in topic:
        yield f"== {name}: not measured: {topic['skipped']}"
        return
    rows = topic["rows"]
    columns = _columns(rows)
    width = max(len(row["title"]) for row in rows) + 2
    seen = [clock for clock, _ in columns]
    clocks = [clock if clock not in seen[:at] else "" for at, clock in enumerate(seen)]
    yield f"== {name}, {topic['unit']}"
    yield (" " * width + "".join(f"{clock:>11s}" for clock in clocks)).rstrip()
    yield " " * width + "".join(f"{statistic:>11s}" for _, statistic in columns)
    group = ""
    for row in rows:
        if row.get("group", "") != group:
            group = row["group"]
            yield group
        yield f"  {row['title']:{width - 2}s}{_cells(row, columns)}".rstrip()
    yield from (f"  {note}" for note in topic.get("notes", ()))


def _columns(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """(clock, statistic) of all that the rows have."""
    there: dict[str, set[str]] = {}
    for row in rows:
        for clock, values in row.get("times", {}).items():
            there.setdefault(clock, set()).update(values)
    return [(clock, statistic) for clock, has in there.items() for statistic in STATISTICS if statistic in has]


def _cells(row: Row, columns: Sequence[tuple[str, str]]) -> str:
    if "skipped" in row:
        return f"   not measured: {row['skipped']}"
    values = (row["times"].get(clock, {}).get(statistic) for clock, statistic in columns)
    ratios = "; ".join(_ratio(words, ratio) for words, ratio in row.get("ratios", {}).items() if ratio)
    return "".join(f"{'' if value is None else _number(value):>11s}" for value in values) + f"   {ratios}"


def _ratio(words: str, by_clock: Mapping[str, float]) -> str:
    """As "4.90 times faster than stock (wall 4.41)": the first clock decides, others are told beside it."""
    (_, first), *others = by_clock.items()
    beside = ", ".join(f"{clock} {_number(value)}" for clock, value in others)
    return f"{_number(first)} times {words}" + (f" ({beside})" if beside else "")


def _number(value: float) -> str:
    """Three digits or so."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3}f}"
