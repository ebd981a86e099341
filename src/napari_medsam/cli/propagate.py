"""`napari-medsam propagate`: from prompts on a few slices, or from labels, to the volume."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_medsam import api
from napari_medsam.cli.following_prompts import DEPTH, TIME, add_prompts, range_of, settings_of, stack_of, tasks_of
from napari_medsam.cli.model_options import add_model_options, model_of
from napari_medsam.cli.running import Interrupt, Progress
from napari_medsam.cli.segment import refuse_over, require_folder, window_of
from napari_medsam.errors import GeometryError, MedsamError, PromptError
from napari_medsam.image import Image
from napari_medsam.io import (
    SavedLabels,
    label_path,
    names_path,
    read_image,
    read_labels,
    require_writable,
    write_labels,
)
from napari_medsam.io.atomic import replacing, require_replaceable
from napari_medsam.io.labelled import SAME
from napari_medsam.masks import Overlap
from napari_medsam.propagation.plan import Way
from napari_medsam.propagation.prompting import Feed, Prompting
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.stopping import StopRules
from napari_medsam.propagation.why import Why
from napari_medsam.shapes import CleanUp, Operation

WAYS = {way.name.lower(): way for way in Way}
FEEDS = {"box": Feed.BOX, "points": Feed.BOX_AND_POINTS, "mask": Feed.MASK, "reference": Feed.REFERENCE}
CLEAN_UPS = {
    "largest": Operation.LARGEST,
    "small": Operation.REMOVE_SMALL,
    "fill": Operation.FILL_HOLES,
    "smooth": Operation.SMOOTH,
}
RULE_NAMES = {field.name: field.type for field in fields(StopRules)}


def propagate(options: argparse.Namespace) -> int:
    """`napari-medsam propagate`: follow objects from a few slices through a volume, or through time.

    Ctrl-C ends the run after the slice in hand, a second one at once; what is done is written.
    """
    image = read_image(options.image, series=options.series)
    _refuse_outputs(options)
    existing = None if options.labels is None else _existing(options.labels, image)
    settings = settings_of(options)
    model = model_of(options, settings.get("model", ""))
    tasks = tasks_of(image, options, settings, model.spec)
    stack = stack_of(image, options, tasks[0].plane if tasks else None)
    progress = Progress()
    with Interrupt.caught() as interrupt:
        done = api.propagate_image(
            image,
            tasks,
            stack=stack,
            labels=None if existing is None else existing.array,
            names=None if existing is None else existing.names,
            window=window_of(options.window or settings.get("window")),
            model=model,
            progress=progress,
            cancelled=interrupt.cancelled,
            **_asked(options, stack),
        )
        progress.end()
        interrupt.leave()
        return _tell(image, options, stack, tasks, done)


def _asked(options: argparse.Namespace, stack: Stack) -> dict[str, Any]:
    """What the options say of the run, as `propagate_image` takes it."""
    return {
        "values": options.label,
        "way": WAYS[options.way] if options.way else None,
        "rules": options.rules,
        "prompting": Prompting(FEEDS[options.prompt], options.margin, motion=not options.no_motion),
        "span": range_of(options, stack),
        "stops": options.stop,
        "overlap": Overlap.OVERWRITE if options.overwrite else Overlap.KEEP,
        "clean_ups": options.clean_up,
        "store": api.user_store(),
    }


def _tell(
    image: Image, options: argparse.Namespace, stack: Stack, tasks: Sequence[api.Task], done: api.Propagated
) -> int:
    """Write what was found, say what it is; the exit status."""
    if not done.slices:
        why = done.error or ("Stopped before anything was found." if done.cancelled else _nothing(done))
        print(f"napari-medsam: {why} Nothing was written.", file=sys.stderr)
        return 1
    written = write_labels(options.output, done.labels, grid=image.grid, source=image.source, names=done.names)
    for value in dict.fromkeys(found.value for found in done.slices):
        print(_line(done, value))
    for note in (*done.notes, *_short_of_boxes(options, stack, tasks, done)):
        print(f"note: {note}")
    if done.kept:
        print(f"note: {done.kept} slices were certain and were left as they are")
    if options.report:
        _write_report(Path(options.report), stack, done)
    print(f"written: {written}")
    if done.error is not None:
        print(f"napari-medsam: {done.error} What was found before is written.", file=sys.stderr)
    elif done.cancelled:
        print("napari-medsam: Stopped. What was found before is written.", file=sys.stderr)
    return 1 if done.error is not None or done.cancelled else 0


def _line(done: api.Propagated, value: int) -> str:
    """One object in a line: the slices that it was found on, the least sure of them, and why it ends where it does."""
    mine = [found for found in done.slices if found.value == value]
    least = min(mine, key=lambda found: found.score)
    reach = f"slices {min(f.position for f in mine)} to {max(f.position for f in mine)}"
    count = np.count_nonzero(done.labels == value)
    ended = [e for e in done.ended if e.value == value and e.why != Why.MET]  # between two keys it goes on
    ends = "; ".join(f"{e.direction} on slice {e.position}, {e.why}" for e in ended)
    return (
        f"{value:4d}  {done.names.get(value, str(value)):24s} {reach}  {count} voxels  "
        f"lowest score {least.score:.2f} on slice {least.position}" + (f"  ended: {ends}" if ends else "")
    )


def _short_of_boxes(
    options: argparse.Namespace, stack: Stack, tasks: Sequence[api.Task], done: api.Propagated
) -> Iterator[str]:
    """A note for each 3D box whose object was lost before the box ends, as it may be when it is followed."""
    for task in tasks:
        if task.span is None or task.prompts.box is None or options.way == "box":
            continue
        span, key = task.span.common(range_of(options, stack)), stack.position(task.plane)
        ends = {"down": span.first, "up": span.last}
        mine = [e for e in done.ended if e.source == key and _is_of(task, e.value, done.names)]
        if any(e.position != ends[e.direction] and e.why not in (Why.MET, Why.STOP_HERE) for e in mine):
            yield (
                f"the 3D box goes from slice {span.first} to {span.last}, and the object was not found on all of them; "
                "--way box asks with the box itself on each"
            )


def _is_of(task: api.Task, value: int, names: Mapping[int, str]) -> bool:
    """Whether the object with a label can be the one of a task."""
    return (task.value is None or task.value == value) and (not task.name or names.get(value) == task.name)


def _nothing(done: api.Propagated) -> str:
    """Why there is nothing to write."""
    if done.hidden:
        return " ".join(done.notes)
    whys = ", ".join(dict.fromkeys(ended.why for ended in done.ended))
    return f"Nothing was found ({whys})." if whys else "Nothing was found."


def _write_report(path: Path, stack: Stack, done: api.Propagated) -> None:
    """Scores of all slices, and how each direction ended, as JSON."""
    report = {
        "axis": stack.axis,
        "names": {str(value): name for value, name in done.names.items()},
        "slices": [asdict(found) for found in done.slices],
        "hidden": [asdict(found) for found in done.hidden],
        "ended": [asdict(ended) for ended in done.ended],
        "notes": list(done.notes),
        "cancelled": done.cancelled,
        "error": str(done.error or ""),
    }
    with replacing(path) as file:
        file.write(json.dumps(report, indent=1, ensure_ascii=False).encode())


def _refuse_outputs(options: argparse.Namespace) -> None:
    """Refused before the run rather than after it: files that cannot be written, or that would be lost."""
    out = label_path(options.output)
    written = {"--output": out} | ({"--report": Path(options.report)} if options.report else {})
    for option, path in written.items():
        require_folder(path)
        refuse_over(path, options.image, "the image itself", option)
        refuse_over(path, options.labels or "", "what --labels reads", option)
        refuse_over(path, options.boxes or "", "what --boxes reads", option)
    for path, what in ((out, "labels"), (names_path(out), "names of the labels")):
        if options.report and os.path.realpath(options.report) == os.path.realpath(path):
            raise PromptError(f"{path.name} is where the {what} go. Choose another --report.")
    require_writable(options.output)
    if options.report:
        require_replaceable(Path(options.report))


def _existing(path: str, image: Image) -> SavedLabels:
    """Labels of the image from a file; GeometryError when they lie elsewhere."""
    labels = read_labels(path)
    grid = labels.image.grid
    if grid.shape != image.grid.shape or np.abs(grid.affine - image.grid.affine).max() > SAME:
        raise GeometryError(
            f"{Path(path).name} lies on another grid than the image: {grid.shape} voxels, and the image has "
            f"{image.grid.shape}. Choose labels that were drawn on this image."
        )
    return labels


def add_parser(commands: Any) -> None:
    """Describe `propagate` to the parser."""
    parser = commands.add_parser("propagate", help="follow objects through a volume", description=propagate.__doc__)
    parser.add_argument("image", help="NIfTI, NRRD, MHA/MHD, TIFF or DICOM file, or a folder with a DICOM series")
    parser.add_argument("-o", "--output", required=True, help="label file to write (.nii.gz or .nii)")
    add_prompts(parser)
    _add_range(parser)
    _add_following(parser)
    clean = "in the end, one after the other: largest, small=MM3, fill, smooth=MM"
    parser.add_argument("--clean-up", type=_clean_ups, default=[], metavar="LIST", help=clean)
    parser.add_argument("--report", metavar="FILE.json", help="scores of all slices, and how each direction ended")
    parser.add_argument("--window", metavar="LOW,HIGH|PRESET", help="intensities to show; suggested when left out")
    parser.add_argument("--series", help="UID (or its end) of one series of a DICOM folder with several")
    parser.add_argument("--overwrite", action="store_true", help="let what is found overwrite other objects")
    add_model_options(parser)
    parser.set_defaults(act=propagate)


def _add_range(parser: argparse.ArgumentParser) -> None:
    """Let the user say what to go on from, and how far."""
    parser.add_argument("--labels", metavar="FILE", help="labels of the image to go on from; they are not changed")
    carry = "object of --labels to carry on from the slices that have it, and what boxes without --object are of"
    parser.add_argument("--label", action="append", default=[], type=int, metavar="N", help=carry)
    first = "one end of the range, included; nothing leaves it, not a 3D box either"
    parser.add_argument("--from", dest="first", type=int, metavar="A", help=first)
    parser.add_argument("--to", dest="last", type=int, metavar="B", help="the other end of the range, included")
    stop = "a slice on which to stop, included; may be repeated"
    parser.add_argument("--stop", action="append", default=[], type=int, metavar="Z", help=stop)
    along = "what to go along (default: depth)"
    parser.add_argument("--along", choices=(DEPTH, TIME), default=DEPTH, help=along)
    at = "where along the axis that is neither shown nor gone along, for --label in a series (default: 0)"
    parser.add_argument("--at", type=int, default=0, metavar="T", help=at)


def _add_following(parser: argparse.ArgumentParser) -> None:
    """Let the user say how to follow, and when to stop."""
    parser.add_argument(
        "--way", choices=tuple(WAYS), help="how to follow; the best that the model offers when left out"
    )
    prompt = "what each slice is asked with, slice by slice (default: box)"
    parser.add_argument("--prompt", choices=tuple(FEEDS), default="box", help=prompt)
    margin = f"around the last mask, for its box (default: {Prompting().margin:g})"
    parser.add_argument("--margin", type=float, default=Prompting().margin, metavar="MM", help=margin)
    still = "prompt where the object was on the slice before, not where the image says that it is now"
    parser.add_argument("--no-motion", action="store_true", help=still)
    rules = f"when to stop: none, or limits as in growth=1.6,overlap=0.7 ({', '.join(RULE_NAMES)})"
    parser.add_argument("--rules", type=_rules, default=StopRules(), metavar="RULES", help=rules)


def _rules(text: str) -> StopRules:
    """Stop rules from "none", or from limits that replace the usual ones."""
    if text == "none":
        return StopRules.none()
    limits: dict[str, Any] = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        if name not in RULE_NAMES:
            raise argparse.ArgumentTypeError(f"none, or limits of {', '.join(RULE_NAMES)}, not {part!r}")
        limits[name] = _number(number, name, whole=name == "empty")
    try:
        return replace(StopRules(), **limits)
    except MedsamError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _clean_ups(text: str) -> list[CleanUp]:
    """Operations from "largest,fill,smooth=2"."""
    found = []
    for part in text.split(","):
        name, given, number = part.partition("=")
        if name not in CLEAN_UPS:
            raise argparse.ArgumentTypeError(f"{', '.join(CLEAN_UPS)}, not {part!r}")
        try:
            found.append(CleanUp(CLEAN_UPS[name], _number(number, name)) if given else CleanUp(CLEAN_UPS[name]))
        except MedsamError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
    return found


def _number(text: str, name: str, *, whole: bool = False) -> float:
    try:
        return int(text) if whole else float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"a number for {name}, not {text!r}") from error
