"""What `napari-medsam propagate` is asked to follow: boxes, 3D boxes, lines and prompt files, as tasks."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from napari_medsam import api
from napari_medsam.cli.segment import load_json, plane_of, task_of_entry, whole_numbers
from napari_medsam.errors import PromptError
from napari_medsam.geometry import VIEWS, Plane
from napari_medsam.image import Image
from napari_medsam.models.base import ModelSpec
from napari_medsam.prompts import Box, Ends, Line, Prompts
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.starts import boxed
from napari_medsam.propagation.subject import Span

DEPTH, TIME = "depth", "time"
FILE_KEYS = ("span", "line")
"""What an entry of a prompt file may hold besides what `segment` takes."""


class Drawn(argparse.Action):
    """Keeps what is drawn in its order, each with the `--object` before it."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Take one `--box`, `--box3d` or `--line`."""
        drawn = [
            *(namespace.drawn or []),
            (self.dest, namespace.object or "", whole_numbers_of(parser, option, values)),
        ]
        namespace.drawn = drawn


def whole_numbers_of(parser: argparse.ArgumentParser, option: str | None, text: str) -> list[int]:
    """The numbers of an option; the parser's own error when they are none."""
    try:
        return whole_numbers(text)
    except argparse.ArgumentTypeError as error:
        parser.error(f"argument {option}: {error}")


def add_prompts(parser: argparse.ArgumentParser) -> None:
    """Let the user say what to follow."""
    box = "box on a slice: slice, first row, first column, end row, end column (half open); may be repeated"
    parser.add_argument("--box", action=Drawn, metavar="z,y0,x0,y1,x1", help=box)
    solid = "box through slices z0 to z1 (both included), rows and columns half open; may be repeated"
    parser.add_argument("--box3d", action=Drawn, metavar="z0,y0,x0,z1,y1,x1", help=solid)
    line = "long axis of a lesion on a slice, from end to end; then, if measured, the two ends of the short axis"
    parser.add_argument("--line", action=Drawn, metavar="z,y0,x0,y1,x1[,y2,x2,y3,x3]", help=line)
    named = "name of the object that the boxes and lines after it are of; may be repeated"
    parser.add_argument("--object", metavar="NAME", help=named)
    file = (
        'objects with prompts, as for `segment`, or with a "line": [[row, column], [row, column]], or [long axis, '
        'short axis] of that form, and with a "span": [first, last]; see the README'
    )
    parser.add_argument("--boxes", metavar="FILE.json", help=file)
    parser.add_argument("--view", choices=tuple(VIEWS), default="axial", help="what the slices are (default: axial)")
    parser.set_defaults(drawn=[])


def stack_of(image: Image, options: argparse.Namespace, first: Plane | None) -> Stack:
    """The slices to go through: those behind `first`, else behind slice 0 of the view at the place `--at`.

    Raises
    ------
    PromptError, GeometryError
        The image has no such axis.
    """
    ndim = image.grid.ndim
    if options.along == TIME and ndim < 4:
        raise PromptError(f"This image has {ndim} axes and no time. Leave --along out.")
    hidden = max(ndim - 2, 0)
    along = None if hidden == 0 else (0 if options.along == TIME else ndim - 3 + VIEWS[options.view])
    start = first or plane_of(_place(options.at, hidden, time=options.along == TIME), ndim, options.view)
    return Stack.through(start, image.grid.shape, along)


def range_of(options: argparse.Namespace, stack: Stack) -> Span:
    """The range of `--from` and `--to`; the whole stack where they are left out."""
    return Span.of(options.first, options.last, stack.size)


def _place(at: int, hidden: int, *, time: bool) -> tuple[int, ...]:
    """Indices of the hidden axes: `at` along those that are not gone along."""
    return tuple(0 if (i == 0 if time else i == hidden - 1) else at for i in range(hidden))


def tasks_of(image: Image, options: argparse.Namespace, settings: Any, spec: ModelSpec) -> list[api.Task]:
    """All that was drawn, on the command line and in the prompt file, for a model that takes what `spec` says.

    Boxes and lines without a name are of the `--label`, where there is one.
    """
    make = {"box": _box_task, "box3d": _solid_task, "line": _line_task}
    label = options.label[0] if len(options.label) == 1 else None
    found = [
        replace(make[kind](numbers, image, options, spec), name=name, value=None if name else label)
        for kind, name, numbers in _named(options)
    ]
    entries = settings.get("objects", [])
    return found + [_entry_task(entry, image, i, spec) for i, entry in enumerate(entries, start=1)]


def _named(options: argparse.Namespace) -> list[tuple[str, str, list[int]]]:
    """What was drawn, with its names; a name at the end is of everything where nothing else has one.

    Raises
    ------
    PromptError
        Nothing was drawn of the last name.
    """
    drawn: list[tuple[str, str, list[int]]] = options.drawn or []
    names = {name for _, name, _ in drawn}
    if not options.object or not drawn or options.object in names:
        return drawn
    if names != {""}:
        raise PromptError(
            f"--object {options.object} has no box after it. Put each name before the boxes that it is of."
        )
    return [(kind, options.object, numbers) for kind, _, numbers in drawn]


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """What the prompt file holds; nothing where there is none."""
    return {} if options.boxes is None else load_json(options.boxes)


Maker = Callable[[Sequence[int], Image, argparse.Namespace, ModelSpec], api.Task]


def _box_task(numbers: Sequence[int], image: Image, options: argparse.Namespace, spec: ModelSpec) -> api.Task:
    at, rest = _cut("box", numbers, image, (4,))
    return api.Task(plane_of(at, image.grid.ndim, options.view), api.make_prompts(rest))


def _line_task(numbers: Sequence[int], image: Image, options: argparse.Namespace, spec: ModelSpec) -> api.Task:
    at, rest = _cut("line", numbers, image, (4, 8))
    plane = plane_of(at, image.grid.ndim, options.view)
    ends = [(float(r), float(c)) for r, c in zip(rest[::2], rest[1::2], strict=True)]
    return api.Task(plane, _line_prompts([ends[:2], ends[2:]], plane, image, spec))


def _solid_task(numbers: Sequence[int], image: Image, options: argparse.Namespace, spec: ModelSpec) -> api.Task:
    """The box on the slice in the middle, with the slices of the 3D box that are in the run's range as the object's."""
    hidden = max(image.grid.ndim - 2, 0)
    if len(numbers) != hidden + 5 or not hidden:
        raise PromptError(f"--box3d takes {hidden + 5} numbers for an image of {image.grid.ndim} axes that has depth.")
    place, (row0, column0, last, row1, column1) = list(numbers[:hidden]), numbers[hidden:]
    stack = stack_of(image, options, plane_of(tuple(place), image.grid.ndim, options.view))
    span = Span.of(place[0 if options.along == TIME else hidden - 1], last, stack.size)
    solid = boxed(Box(row0, column0, row1, column1), span.common(range_of(options, stack)), stack)
    return api.Task(solid.plane, Prompts(solid.box), span=solid.span)


def _entry_task(entry: Any, image: Image, number: int, spec: ModelSpec) -> api.Task:
    """A task from an entry of a prompt file: as for `segment`, and "line" and "span"."""
    if not isinstance(entry, dict):
        raise PromptError(f"Object {number} of the prompt file is to be {{...}}, not {entry!r}.")
    task = task_of_entry(entry, image, number, FILE_KEYS)
    if entry.get("line") is not None:
        if task.prompts:
            raise PromptError(f"Object {number} of the prompt file has a line and other prompts; keep one of them.")
        task = replace(task, prompts=_line_prompts(entry["line"], task.plane, image, spec))
    if entry.get("span") is not None:
        task = replace(task, span=_span(entry["span"], number))
    return task


def _line_prompts(given: Any, plane: Plane, image: Image, spec: ModelSpec) -> Prompts:
    """A line as prompts, from its axis [end, end], or from [long axis, short axis or []]; each end (row, column)."""
    long, *short = _axes(given)
    pixel = image.grid.spacing[plane.axes[0]], image.grid.spacing[plane.axes[1]]
    return Line(long, short[0] if short else ()).prompts(pixel, spec.prompts)


def _axes(given: Any) -> list[Ends]:
    """The long axis of a line, and the short one where that was drawn."""
    try:
        axes = np.asarray([each for each in given if each != []], dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        axes = np.empty(0)
    if axes.shape == (2, 2):  # one axis, without a list around it
        axes = axes[np.newaxis]
    if axes.shape not in ((1, 2, 2), (2, 2, 2)):
        raise PromptError(
            "A line is [[row, column], [row, column]], its two ends, or [long axis, short axis] with the ends of both, "
            f"not {given!r}."
        )
    return [((float(a), float(b)), (float(c), float(d))) for (a, b), (c, d) in axes]


def _span(given: Any, number: int) -> Span:
    whole = isinstance(given, list) and len(given) == 2 and all(type(i) is int for i in given)
    if not whole:
        raise PromptError(f'"span" of object {number} is [first, last], whole numbers, not {given!r}.')
    return Span(min(given), max(given))


def _cut(what: str, numbers: Sequence[int], image: Image, counts: tuple[int, ...]) -> tuple[tuple[int, ...], list[int]]:
    """The indices of the slice, and the rest."""
    hidden = max(image.grid.ndim - 2, 0)
    if len(numbers) - hidden not in counts:
        wanted = " or ".join(str(hidden + count) for count in counts)
        raise PromptError(
            f"This image has {image.grid.ndim} axes, so --{what} takes {wanted} numbers, not {len(numbers)}."
        )
    return tuple(numbers[:hidden]), list(numbers[hidden:])
