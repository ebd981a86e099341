"""`napari-medsam segment`: one image, its prompts, one label file."""

from __future__ import annotations

import argparse
import itertools
import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_medsam import api
from napari_medsam.cli.model_options import add_model_options, model_of
from napari_medsam.errors import PromptError, WriteError
from napari_medsam.geometry import VIEWS, Plane
from napari_medsam.image import Image
from napari_medsam.intensity import CT_PRESETS, Window
from napari_medsam.io import label_path, read_image, require_writable, write_labels
from napari_medsam.masks import Overlap

FILE_KEYS = ("objects", "window", "model")


def segment(options: argparse.Namespace) -> int:
    """`napari-medsam segment`: one image, its prompts, one label file."""
    image = read_image(options.image, series=options.series)
    refuse_output(options.image, options.output)
    tasks = [task_of_numbers(numbers, image.grid.ndim, options.view) for numbers in options.box]
    settings: Mapping[str, Any] = {}
    if options.boxes is not None:
        settings = load_json(options.boxes)
        tasks += [task_of_entry(entry, image, i) for i, entry in enumerate(settings["objects"], start=1)]
    tasks = _on_frames(tasks, image, options.frames)
    if not tasks:
        raise PromptError("Say what to segment: --box z,y0,x0,y1,x1 (as often as needed) or --boxes FILE.json.")
    window = window_of(options.window or settings.get("window"))
    model = model_of(options, settings.get("model", ""))
    overlap = Overlap.OVERWRITE if options.overwrite else Overlap.KEEP
    labels, names, results = api.segment_image(
        image, tasks, window=window, model=model, overlap=overlap, store=api.user_store()
    )
    written = write_labels(options.output, labels, grid=image.grid, source=image.source, names=names)
    for accepted, prediction in results:
        where = ", ".join(f"{i}" for _, i in accepted.plane.index) or "-"
        name = names[accepted.value]
        print(f"{accepted.value:4d}  {name:24s} slice {where}  {accepted.pixels} pixels  score {prediction.score:.2f}")
    for note in sorted({prediction.note for _, prediction in results} - {""}):
        print(f"note: {note}")
    print(f"written: {written}")
    return 0


def _on_frames(tasks: list[api.Task], image: Image, frames: int) -> list[api.Task]:
    """The tasks, and the same on so many frames after theirs, each for its object still."""
    if frames < 0:
        raise PromptError(f"--frames says how many frames more, 0 at least, not {frames}.")
    if not frames:
        return tasks
    fresh = itertools.count(1 + max((task.value or 0 for task in tasks), default=0))
    owned = [replace(task, value=task.value or next(fresh)) for task in tasks]
    return [*owned, *(task for by in range(1, frames + 1) for task in api.next_frame(owned, image, by))]


def task_of_numbers(numbers: Sequence[int], ndim: int, view: str) -> api.Task:
    """A task from `--box`: the indices of the slice, then row0, column0, row1, column1 (half open)."""
    if len(numbers) != ndim + 2:
        wanted = {2: "y0,x0,y1,x1", 3: "z,y0,x0,y1,x1"}.get(ndim, "t,z,y0,x0,y1,x1")
        raise PromptError(
            f"This image has {ndim} axes, so --box takes {ndim + 2} numbers ({wanted}), not {len(numbers)}."
        )
    plane = plane_of(tuple(numbers[: ndim - 2]), ndim, view)
    return api.Task(plane, api.make_prompts(numbers[ndim - 2 :]))


def task_of_entry(entry: Any, image: Image, number: int, more: Collection[str] = ()) -> api.Task:
    """A task from one entry of `objects` in a prompt file, which may hold `more` than what is used here.

    Keys: `slice` (a number, or a list for images of four axes; not for 2D), `view` (axial, coronal or sagittal; axial
    when left out), `box` [row0, column0, row1, column1], `points` [[row, column, +1 or -1], ...],
    `strokes` [[[row, column], ...], ...], `label`, `name`.
    """
    known = {"slice", "view", "box", "points", "strokes", "label", "name", *more}
    if not isinstance(entry, dict) or not entry.keys() <= known:
        raise PromptError(f"Object {number} of the prompt file may hold {', '.join(sorted(known))}, nothing else.")
    at = entry.get("slice", [])
    at = tuple(at) if isinstance(at, list) else (at,)
    try:
        plane = plane_of(tuple(_whole(i, "a slice") for i in at), image.grid.ndim, entry.get("view", "axial"))
        prompts = api.make_prompts(entry.get("box"), entry.get("points", ()), entry.get("strokes", ()))
        value = None if entry.get("label") is None else _whole(entry["label"], "a label")
        name = "" if entry.get("name") is None else _text(entry["name"], "a name")
    except (TypeError, ValueError) as error:
        raise PromptError(f"Object {number} of the prompt file cannot be used: {error}") from error
    if value is not None and value < 1:
        raise PromptError(f"Object {number} has the label {value}; labels of objects start at 1.")
    return api.Task(plane, prompts, value, name)


def plane_of(at: tuple[int, ...], ndim: int, view: str) -> Plane:
    """The slice at the indices `at` of the axes that the view hides, leading axes first.

    Raises
    ------
    PromptError
        Not as many indices as the image has hidden axes, or an unknown view.
    """
    if view not in VIEWS or (ndim < 3 and view != "axial"):
        raise PromptError(f"There is no {view!r} view of an image of {ndim} axes; there are: {', '.join(VIEWS)}.")
    if len(at) != ndim - 2:
        raise PromptError(f"An image of {ndim} axes needs {ndim - 2} slice numbers, not {len(at)}.")
    hidden = [*range(ndim - 3), ndim - 3 + VIEWS[view]] if ndim > 2 else []
    rows, columns = (axis for axis in range(ndim) if axis not in hidden)
    return Plane((rows, columns), tuple(zip(hidden, at, strict=True)))


def load_json(path: str) -> dict[str, Any]:
    """What a prompt file holds; PromptError when it is none."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # the last: brackets in brackets without end
        raise PromptError(f"The prompt file {path} cannot be read: {error}") from error
    if isinstance(found, list):
        found = {"objects": found}
    if not isinstance(found, dict) or not isinstance(found.get("objects"), list):
        raise PromptError(f'The prompt file {path} needs a list "objects", or to be one; see the README.')
    unknown = sorted(found.keys() - FILE_KEYS)
    if unknown:
        raise PromptError(f"The prompt file {path} may hold {', '.join(FILE_KEYS)}, not {', '.join(unknown)}.")
    if found.get("model") is not None:
        _text(found["model"], f'"model" in the prompt file {path}')
    return found


def window_of(given: Any) -> Window | None:
    """A window from what an option or a prompt file says; None stays None."""
    if given is None or isinstance(given, Window):
        return given
    if isinstance(given, str):
        return window_of_text(given)
    return api.make_window(given)


def window_of_text(text: str) -> Window:
    """A window from a preset's name, or from LOW,HIGH."""
    if text in CT_PRESETS:
        return CT_PRESETS[text]
    try:
        low, high = (float(v) for v in text.split(","))
    except ValueError as error:
        raise PromptError(f"--window takes LOW,HIGH or one of {', '.join(CT_PRESETS)}, not {text!r}.") from error
    return Window(low, high)


def _whole(given: Any, what: str) -> int:
    # JSON as Python reads it has Infinity and NaN, which are no integers
    if type(given) is not int and not (isinstance(given, float) and given.is_integer()):
        raise PromptError(f"{what} is a whole number, not {given!r}")
    return int(given)


def _text(given: Any, what: str) -> str:
    if not isinstance(given, str):
        raise PromptError(f"{what} is text in quotes, not {given!r}.")
    return given


def refuse_output(image: str, output: str) -> None:
    """Raise PromptError when the labels would be written over the image, and WriteError when they cannot be."""
    path = label_path(output)
    require_folder(path)
    refuse_over(path, image, "the image itself")
    require_writable(output)


def require_folder(written: Path) -> None:
    """Raise WriteError when the folder of a file that is to be written is not there: before the work, not after it."""
    folder = written.absolute().parent
    if not folder.is_dir():
        raise WriteError(f"{written} cannot be written: make the folder {folder} first.")


def refuse_over(written: Path, read: str, what: str, option: str = "--output") -> None:
    """Raise PromptError when what `option` names would be written over a file that is read, `what` in words."""
    # unlike Path.exists, no error for a name that is too long
    if os.path.exists(written) and os.path.exists(read) and os.path.samefile(written, read):
        raise PromptError(f"{written.name} is {what}, and would be lost. Choose another {option}.")


def whole_numbers(text: str) -> list[int]:
    """The numbers in "4,10,20"."""
    try:
        return [int(v) for v in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"whole numbers with commas between them, not {text!r}") from error


def add_parser(commands: Any) -> None:
    """Describe `segment` to the parser."""
    parser = commands.add_parser("segment", help="segment an image from boxes and points", description=segment.__doc__)
    parser.add_argument("image", help="NIfTI, NRRD, MHA/MHD, TIFF or DICOM file, or a folder with a DICOM series")
    box = "slice, then first row, first column, end row, end column (half open); may be repeated"
    parser.add_argument("--box", action="append", default=[], type=whole_numbers, metavar="z,y0,x0,y1,x1", help=box)
    parser.add_argument("--boxes", metavar="FILE.json", help="objects with boxes, points and strokes; see the README")
    parser.add_argument("--view", choices=tuple(VIEWS), default="axial", help="what --box counts in (default: axial)")
    frames = "in a series, draw the same on this many frames after it too, for the same objects (default: 0)"
    parser.add_argument("--frames", type=int, default=0, metavar="N", help=frames)
    parser.add_argument("-o", "--output", required=True, help="label file to write (.nii.gz or .nii)")
    parser.add_argument("--window", metavar="LOW,HIGH|PRESET", help="intensities to show; suggested when left out")
    parser.add_argument("--series", help="UID (or its end) of one series of a DICOM folder with several")
    parser.add_argument("--overwrite", action="store_true", help="let later objects overwrite earlier ones")
    add_model_options(parser)
    parser.set_defaults(act=segment)
