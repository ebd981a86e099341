"""How well objects are followed through real volumes, where they are thought to end, and what each stop rule wins.

    python benchmarks/propagation.py [--volumes FOLDER] [--models starter contour] [--json FILE] [--markdown FILE]

The volumes lie in $NAPARI_MEDSAM_SHARED/data/volumes, or in `shared` beside the repository: each with its labels on the
same grid. Every structure on three slices or more along the first axis is one case. It is given a box on its largest
slice: the bounds of the reference there, enlarged by 1 pixel. The model sees the volume through the window that
napari-medsam suggests. The ways, each with the built-in models:

- ranged: slice by slice, the first and last slice of the reference given
- no motion: the same with the box around the last mask, wherever the image says that the object went
- points, mask, reference (`--feeds`): the same as ranged with the other feeds, where a model was made for them
- free: slice by slice through the whole volume; the stop rules decide
- box: the 3D box: that one box on every slice of the true range
- three keys: slice by slice between boxes on the first, the largest and the last slice
- shapes: the same three answers, with the shapes between them interpolated
- 2D only: the reference's own box on every slice, so nothing is followed: what the model can do at best
- reference shapes: no model; the reference itself on those three slices, interpolated

The defaults were chosen on CHOSEN_ON alone; the other volumes are held out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.embeddings import EmbeddingStore
from napari_medsam.geometry import Grid, Plane
from napari_medsam.intensity import suggest_window, to_uint8
from napari_medsam.io import read_image, read_labels
from napari_medsam.models.base import Direction, Segmenter
from napari_medsam.models.contour import Contour
from napari_medsam.models.starter import Starter
from napari_medsam.prompts import MaskPrompt, PromptKind, Prompts
from napari_medsam.propagation.plan import Grown, Plan, Way, steps_of
from napari_medsam.propagation.prompting import Feed, Prompting, box_around
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.stopping import Look, StopRules, Watch
from napari_medsam.propagation.subject import Key, Span, Subject
from napari_medsam.propagation.walk import walk

BoolArray = NDArray[np.bool_]

VOLUMES = {
    "torso_ct_crop": "torso_ct_crop_labels.nii.gz",
    "abdomen_mr": "abdomen_mr_labels.nii.gz",
    "cord_t1w": "cord_t1w_labels.nii.gz",
    "cord_t2": "cord_t2_labels.nii.gz",
    "cord_t2s": "cord_t2s_gm_labels.nii.gz",
    "brain1": "brain1_labels.nrrd",
    "brain2": "brain2_labels.nrrd",
    "breast1": "breast1_labels.nrrd",
}
CHOSEN_ON = ("torso_ct_crop", "cord_t2", "brain1")
"""Volumes on which the defaults of the rules and of the prompting were chosen."""

MODELS: dict[str, Callable[[], Segmenter]] = {"starter": Starter, "contour": Contour}
LEAST_SLICES = 3
GROW = 1
"""The box is this much larger than the reference on each side, in pixels."""

STORE_BYTES = 2 << 30
ONLY_EMPTY = replace(StopRules.none(), empty=1)
FEEDS = {"points": Feed.BOX_AND_POINTS, "mask": Feed.MASK, "reference": Feed.REFERENCE}


@dataclass(frozen=True, eq=False)
class Case:
    """One structure of one volume, seen along one axis."""

    volume: str
    name: str
    axis: int
    grid: Grid
    seen: NDArray[np.uint8]
    truth: BoolArray

    @property
    def stack(self) -> Stack:
        return Stack.through(Plane.across(self.axis, 0), self.grid.shape)

    @property
    def slices(self) -> BoolArray:
        """The reference, (slices, rows, columns)."""
        return np.moveaxis(self.truth, self.axis, 0)

    @property
    def present(self) -> NDArray[np.intp]:
        return np.flatnonzero(self.slices.any(axis=(1, 2)))

    @property
    def span(self) -> Span:
        return Span(int(self.present[0]), int(self.present[-1]))

    @property
    def largest(self) -> int:
        return int(self.slices.sum(axis=(1, 2)).argmax())

    @property
    def ends(self) -> tuple[int, ...]:
        """First, largest and last slice; fewer where they are the same."""
        return tuple(sorted({self.span.first, self.largest, self.span.last}))

    def boxed(self, position: int) -> Key:
        box = box_around(self.slices[position], 0.0, (1.0, 1.0), least=GROW)
        return Key(position, Prompts(box))

    def pixels(self, position: int) -> NDArray[np.uint8]:
        return np.asarray(self.seen[self.stack.plane(position).key])


@dataclass(frozen=True)
class Outcome:
    """How one way did on one case."""

    model: str
    way: str
    volume: str
    structure: str
    axis: int
    slices: int
    dice: float
    beyond_mm3: float
    beyond_share: float
    overrun: int
    missed: int


def load(folder: Path, names: Iterable[str], axis: int) -> Iterator[Case]:
    for name in names:
        path = next(p for p in sorted(folder.iterdir()) if p.name.split(".")[0] == name)
        image, labels = read_image(path), read_labels(folder / VOLUMES[name])
        seen = to_uint8(np.asarray(image.data), suggest_window(image.sample())[1])
        for value in np.unique(labels.array)[1:]:
            structure = labels.names.get(int(value), "object" if labels.array.max() == value else str(value))
            case = Case(name, structure, axis, image.grid, seen, labels.array == value)
            if len(case.present) >= LEAST_SLICES:
                yield case


def scored(case: Case, model: str, way: str, found: BoolArray) -> Outcome:
    truth, span = case.slices, case.span
    at = np.arange(len(truth))
    beyond = found[(at < span.first) | (at > span.last)]
    voxel = float(np.prod(case.grid.spacing))
    return Outcome(
        model,
        way,
        case.volume,
        case.name,
        case.axis,
        len(case.present),
        dice(found, truth),
        float(beyond.sum() * voxel),
        float(beyond.sum() / truth.sum()),
        int(beyond.any(axis=(1, 2)).sum()),
        int((truth.any(axis=(1, 2)) & ~found.any(axis=(1, 2))).sum()),
    )


def dice(a: BoolArray, b: BoolArray) -> float:
    return float(2 * np.count_nonzero(a & b) / max(np.count_nonzero(a) + np.count_nonzero(b), 1))


class Bench:
    """One model on all cases, each slice encoded once."""

    def __init__(self, name: str, rules: StopRules, prompting: Prompting, feeds: Sequence[str] = ()) -> None:
        self.name = name
        self.feeds = feeds
        self.model = MODELS[name]()
        self.rules = rules
        self.prompting = prompting
        self.store = EmbeddingStore(STORE_BYTES)

    def walked(
        self,
        case: Case,
        keys: Sequence[Key],
        span: Span,
        way: Way = Way.SLICES,
        rules: StopRules = ONLY_EMPTY,
        **prompting: Any,
    ) -> BoolArray:
        subject, how = Subject(1, tuple(keys), span), replace(self.prompting, **prompting)
        plan = Plan(case.stack, (subject,), way, case.grid, case.pixels, rules, how)
        found = np.zeros(case.slices.shape, dtype=bool)
        for result in walk(plan, self.model, self.store):
            if isinstance(result, Grown):
                found[result.position] = result.mask
        return found

    def ways(self, case: Case, run: dict[int, Grown]) -> Iterator[tuple[str, BoolArray]]:
        """Every way's answer. `run` is the free run of the case: a range and the stop rules only cut it short."""
        one, three = [case.boxed(case.largest)], [case.boxed(p) for p in case.ends]
        every = [case.boxed(int(p)) for p in case.present]
        ranged = stopped(case, run, ONLY_EMPTY)
        outside = ~np.isin(np.arange(len(ranged)), np.arange(case.span.first, case.span.last + 1))
        ranged[outside] = False
        yield "ranged", ranged
        yield "no motion", self.walked(case, one, case.span, motion=False)
        for name in self.feeds:
            if name != "mask" or PromptKind.MASK in self.model.spec.prompts:
                yield name, self.walked(case, one, case.span, feed=FEEDS[name])
        yield "free", stopped(case, run, self.rules)
        yield "box", self.walked(case, one, case.span, Way.BOX)
        yield "three keys", self.walked(case, three, case.span)
        if len(three) > 1:
            yield "shapes", self.walked(case, three, case.span, Way.SHAPES)
        yield "2D only", self.walked(case, every, case.span)

    def free_run(self, case: Case) -> dict[int, Grown]:
        """Everything that is found when no rule but an empty mask ends it, by slice."""
        subject = Subject(1, (case.boxed(case.largest),), Span(0, case.stack.size - 1))
        plan = Plan(case.stack, (subject,), Way.SLICES, case.grid, case.pixels, ONLY_EMPTY, self.prompting)
        return {r.position: r for r in walk(plan, self.model, self.store) if isinstance(r, Grown)}


def stopped(case: Case, run: dict[int, Grown], rules: StopRules) -> BoolArray:
    """What is left of a free run under other rules, which only ever cut a direction short."""
    key = case.largest
    found = np.zeros(case.slices.shape, dtype=bool)
    if key not in run:
        return found  # nothing on the key slice itself
    found[key] = run[key].mask
    look = (Look.of(case.pixels(key), run[key].mask),) if rules.looks else ()
    for direction in Direction:
        watch = Watch(rules, case.stack.pitch(case.grid), run[key].mask, look)
        position = key + direction
        while position in run:
            grown = run[position]
            if watch.judge(grown.mask, grown.score, lambda at=position: case.pixels(at)):  # type: ignore[misc]
                break
            found[position] = grown.mask
            position += direction
    return found


def ablations(rules: StopRules) -> dict[str, StopRules]:
    """The rules alone, none and all."""
    none = ONLY_EMPTY
    return {
        "no rule but an empty mask": none,
        "growth": replace(none, growth=rules.growth, reach=rules.reach),
        "shrinkage": replace(none, shrinkage=rules.shrinkage, reach=rules.reach),
        "overlap": replace(none, overlap=rules.overlap, reach=rules.reach),
        "score": replace(none, score=rules.score),
        "contrast": replace(none, contrast=rules.contrast),
        "all": rules,
        "all but growth": replace(rules, growth=np.inf),
        "all but shrinkage": replace(rules, shrinkage=0.0),
        "all but overlap": replace(rules, overlap=0.0),
        "all but score": replace(rules, score=0.0),
        "all but contrast": replace(rules, contrast=-np.inf),
    }


def shapes_of_reference(case: Case) -> BoolArray:
    keys = [Key(p, Prompts(mask=MaskPrompt(case.slices[p]))) for p in case.ends]
    found = np.zeros(case.slices.shape, dtype=bool)
    for key in keys:
        found[key.position] = case.slices[key.position]
    plan = Plan(case.stack, (Subject(1, tuple(keys), case.span),), Way.SHAPES, case.grid, case.pixels)
    for result in walk(plan, None, EmbeddingStore()) if steps_of(plan) else ():
        if isinstance(result, Grown):
            found[result.position] = result.mask
    return found


def study(cases: Sequence[Case], bench: Bench) -> tuple[list[Outcome], list[Outcome]]:
    """All ways, and the stop rules, on all cases."""
    ways, rules = [], []
    kept: tuple[str, int] | None = None
    for case in cases:
        if kept != (case.volume, case.axis):
            bench.store.clear()  # of one volume everything fits; what comes next is another
            kept = case.volume, case.axis
        run = bench.free_run(case)
        ways += [scored(case, bench.name, way, found) for way, found in bench.ways(case, run)]
        for name, chosen in ablations(bench.rules).items():
            rules.append(scored(case, bench.name, name, stopped(case, run, chosen)))
        done = {o.way: o for o in ways if o.structure == case.name and o.volume == case.volume}
        print(
            f"  {case.volume:14s} {case.name:32s} ranged {done['ranged'].dice:.3f} 2D {done['2D only'].dice:.3f}",
            flush=True,
        )
    return ways, rules


def mean(values: Iterable[float]) -> float:
    held = list(values)
    return float(np.mean(held)) if held else float("nan")


def ways_table(outcomes: Sequence[Outcome]) -> list[str]:
    """Mean Dice by way: on the volumes that the defaults were chosen on, on the others, and by volume."""
    lines = ["| model | way | all | chosen on | held out |", "| --- | --- | --- | --- | --- |"]
    for model, way in dict.fromkeys((o.model, o.way) for o in outcomes):
        mine = [o for o in outcomes if (o.model, o.way) == (model, way)]
        inside = mean(o.dice for o in mine if o.volume in CHOSEN_ON)
        outside = mean(o.dice for o in mine if o.volume not in CHOSEN_ON)
        lines.append(f"| {model} | {way} | {mean(o.dice for o in mine):.3f} | {inside:.3f} | {outside:.3f} |")
    return lines


def volumes_table(outcomes: Sequence[Outcome]) -> list[str]:
    """Mean Dice by volume and way."""
    ways = list(dict.fromkeys((o.model, o.way) for o in outcomes))
    lines = [
        "| volume | n | " + " | ".join(f"{m} {w}".strip() for m, w in ways) + " |",
        "| --- " * (len(ways) + 2) + "|",
    ]
    for volume in dict.fromkeys(o.volume for o in outcomes):
        here = [o for o in outcomes if o.volume == volume]
        found = [mean(o.dice for o in here if (o.model, o.way) == way) for way in ways]
        count = len({o.structure for o in here})
        lines.append(f"| {volume} | {count} | " + " | ".join(f"{d:.3f}" for d in found) + " |")
    return lines


def rules_table(outcomes: Sequence[Outcome]) -> list[str]:
    """What is found beyond the true ends, and what is missed before them, by rule."""
    lines = [
        "| model | rules | Dice | held out | beyond the ends, mm3 | share of object | slices too far | slices missed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for model, way in dict.fromkeys((o.model, o.way) for o in outcomes):
        mine = [o for o in outcomes if (o.model, o.way) == (model, way)]
        held = mean(o.dice for o in mine if o.volume not in CHOSEN_ON)
        share = sum(o.beyond_share for o in mine) / len(mine)
        lines.append(
            f"| {model} | {way} | {mean(o.dice for o in mine):.3f} | {held:.3f} | "
            f"{mean(o.beyond_mm3 for o in mine):,.0f} | {share:.2f} | {mean(o.overrun for o in mine):.1f} | "
            f"{mean(o.missed for o in mine):.1f} |"
        )
    return lines


def structures_table(outcomes: Sequence[Outcome], model: str) -> list[str]:
    """Dice of every structure by way, of one model."""
    ways = list(dict.fromkeys(o.way for o in outcomes if o.model in (model, "")))
    rows: dict[tuple[str, str, int], dict[str, float]] = defaultdict(dict)
    for o in outcomes:
        if o.model in (model, ""):
            rows[o.volume, o.structure, o.slices][o.way] = o.dice
    lines = ["| volume | structure | slices | " + " | ".join(ways) + " |", "| --- " * (len(ways) + 3) + "|"]
    for (volume, structure, slices), found in rows.items():
        cells = " | ".join(f"{found[way]:.3f}" if way in found else "-" for way in ways)
        lines.append(f"| {volume} | {structure} | {slices} | {cells} |")
    return lines


def report(ways: Sequence[Outcome], rules: Sequence[Outcome], machine: str) -> str:
    """The tables as Markdown."""
    parts = [machine, "## Ways", *ways_table(ways), "## By volume", *volumes_table(ways), "## Stop rules"]
    parts += rules_table(rules)
    for model in dict.fromkeys(o.model for o in ways if o.model):
        parts += [f"## Structures, {model}", *structures_table(ways, model)]
    return "\n".join(part if part.startswith("| ") else f"\n{part}\n" for part in parts) + "\n"


def main() -> None:
    """Print the tables."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    default = Path(os.environ.get("NAPARI_MEDSAM_SHARED", beside)) / "data" / "volumes"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--volumes", type=Path, default=default)
    parser.add_argument("--only", nargs="+", choices=list(VOLUMES), default=list(VOLUMES))
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--axis", type=int, choices=(0, 1, 2), default=0)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="of each volume every Nth structure only")
    parser.add_argument("--feeds", nargs="*", choices=list(FEEDS), default=[], help="other feeds to try as well")
    parser.add_argument("--margin", type=float, default=Prompting().margin, help="mm")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    start = time.perf_counter()
    cases = []
    for name in options.only:
        cases += list(load(options.volumes, [name], options.axis))[:: options.every]
    prompting = Prompting(margin=options.margin)
    ways = [scored(case, "", "reference shapes", shapes_of_reference(case)) for case in cases if len(case.ends) > 1]
    rules: list[Outcome] = []
    for name in options.models:
        found = study(cases, Bench(name, StopRules(), prompting, options.feeds))
        ways, rules = [*ways, *found[0]], [*rules, *found[1]]
    machine = f"{len(cases)} structures along axis {options.axis}, {platform.machine()}, {os.cpu_count()} cores"
    text = report(ways, rules, f"{machine}, {time.perf_counter() - start:.0f} s")
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    if options.json:
        rows: dict[str, Any] = {"ways": [asdict(o) for o in ways], "rules": [asdict(o) for o in rules]}
        options.json.write_text(json.dumps({"machine": machine, **rows}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
