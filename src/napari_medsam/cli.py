"""napari-medsam without a window: segment an image from prompts, run the demo, list the models."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_medsam import __version__, api
from napari_medsam.demo import run_demo
from napari_medsam.errors import MedsamError, PromptError
from napari_medsam.geometry import VIEWS, Plane
from napari_medsam.image import Image
from napari_medsam.intensity import CT_PRESETS, Window
from napari_medsam.io import label_path, read_image, write_labels
from napari_medsam.masks import Overlap
from napari_medsam.models import registry

FILE_KEYS = ("objects", "window", "model")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 done, 1 an error that was explained."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(_with_negative_numbers(words))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a name that the terminal cannot show must not end the run
    try:
        return int(options.act(options))
    except MedsamError as error:
        print(f"napari-medsam: {error}", file=sys.stderr)
        return 1


def segment(options: argparse.Namespace) -> int:
    """`napari-medsam segment`: one image, its prompts, one label file."""
    image = read_image(options.image, series=options.series)
    _refuse_source(options.image, options.output)
    tasks = [task_of_numbers(numbers, image.grid.ndim, options.view) for numbers in options.box]
    settings: Mapping[str, Any] = {}
    if options.boxes is not None:
        settings = _load_json(options.boxes)
        tasks += [task_of_entry(entry, image, i) for i, entry in enumerate(settings["objects"], start=1)]
    if not tasks:
        raise PromptError("Say what to segment: --box z,y0,x0,y1,x1 (as often as needed) or --boxes FILE.json.")
    window = _window(options.window or settings.get("window"))
    model = options.model or settings.get("model", registry.DEFAULT)
    overlap = Overlap.OVERWRITE if options.overwrite else Overlap.KEEP
    labels, names, results = api.segment_image(image, tasks, window=window, model=model, overlap=overlap)
    written = write_labels(options.output, labels, grid=image.grid, source=image.source, names=names)
    for accepted, prediction in results:
        where = ", ".join(f"{i}" for _, i in accepted.plane.index) or "-"
        name = names[accepted.value]
        print(f"{accepted.value:4d}  {name:24s} slice {where}  {accepted.pixels} pixels  score {prediction.score:.2f}")
    print(f"written: {written}")
    return 0


def models(options: argparse.Namespace) -> int:
    """`napari-medsam models`: a line per model."""
    for row in registry.TABLE:
        spec = registry.load(row.name).spec
        takes = ", ".join(sorted(kind.value for kind in spec.prompts))
        print(f"{row.name:12s} {spec.title}\n{'':12s} takes {takes}; licence {spec.licence}\n{'':12s} {spec.about}")
    return 0


def demo(options: argparse.Namespace) -> int:
    """`napari-medsam demo`: the main job on the phantom, with files to look at; or in a window."""
    if options.window:
        from importlib import import_module

        # by name, so that this module stays below the widgets and free of Qt
        import_module("napari_medsam.widgets.demo").open_demo()
        return 0
    for line in run_demo(Path(options.output)):
        print(line)
    return 0


def task_of_numbers(numbers: Sequence[int], ndim: int, view: str) -> api.Task:
    """A task from `--box`: the indices of the slice, then row0, column0, row1, column1 (half open)."""
    if len(numbers) != ndim + 2:
        wanted = {2: "y0,x0,y1,x1", 3: "z,y0,x0,y1,x1"}.get(ndim, "t,z,y0,x0,y1,x1")
        raise PromptError(
            f"This image has {ndim} axes, so --box takes {ndim + 2} numbers ({wanted}), not {len(numbers)}."
        )
    plane = plane_of(tuple(numbers[: ndim - 2]), ndim, view)
    return api.Task(plane, api.make_prompts(numbers[ndim - 2 :]))


def task_of_entry(entry: Any, image: Image, number: int) -> api.Task:
    """A task from one entry of `objects` in a prompt file.

    Keys: `slice` (a number, or a list for images of four axes; not for 2D), `view` (axial, coronal or sagittal; axial
    when left out), `box` [row0, column0, row1, column1], `points` [[row, column, +1 or -1], ...], `label`, `name`.
    """
    known = {"slice", "view", "box", "points", "label", "name"}
    if not isinstance(entry, dict) or not entry.keys() <= known:
        raise PromptError(f"Object {number} of the prompt file may hold {', '.join(sorted(known))}, nothing else.")
    at = entry.get("slice", [])
    at = tuple(at) if isinstance(at, list) else (at,)
    try:
        plane = plane_of(tuple(_whole(i, "a slice") for i in at), image.grid.ndim, entry.get("view", "axial"))
        prompts = api.make_prompts(entry.get("box"), entry.get("points", ()))
        value = None if entry.get("label") is None else _whole(entry["label"], "a label")
        name = "" if entry.get("name") is None else str(entry["name"])
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


def _load_json(path: str) -> dict[str, Any]:
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PromptError(f"The prompt file {path} cannot be read: {error}") from error
    if isinstance(found, list):
        found = {"objects": found}
    if not isinstance(found, dict) or not isinstance(found.get("objects"), list):
        raise PromptError(f'The prompt file {path} needs a list "objects", or to be one; see the README.')
    unknown = sorted(found.keys() - FILE_KEYS)
    if unknown:
        raise PromptError(f"The prompt file {path} may hold {', '.join(FILE_KEYS)}, not {', '.join(unknown)}.")
    return found


def _window(given: Any) -> Window | None:
    if given is None or isinstance(given, Window):
        return given
    if isinstance(given, str):
        return _window_of_text(given)
    return api.make_window(given)


def _window_of_text(text: str) -> Window:
    if text in CT_PRESETS:
        return CT_PRESETS[text]
    try:
        low, high = (float(v) for v in text.split(","))
    except ValueError as error:
        raise PromptError(f"--window takes LOW,HIGH or one of {', '.join(CT_PRESETS)}, not {text!r}.") from error
    return Window(low, high)


def _whole(given: Any, what: str) -> int:
    if isinstance(given, bool) or not isinstance(given, (int, float)) or given != int(given):
        raise PromptError(f"{what} is a whole number, not {given!r}")
    return int(given)


def _refuse_source(image: str, output: str) -> None:
    written = label_path(output)
    # unlike Path.exists, no error for a name that is too long
    if os.path.exists(written) and os.path.samefile(written, image):
        raise PromptError(f"{written.name} is the image itself, and would be lost. Choose another --output.")


def _with_negative_numbers(words: Sequence[str]) -> list[str]:
    """Join `--window -160,240`, in which argparse takes the number for an option."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in ("--window", "--box") and re.match(r"-[\d.]", word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _numbers(text: str) -> list[int]:
    try:
        return [int(v) for v in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"whole numbers with commas between them, not {text!r}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="napari-medsam", description="Promptable segmentation of medical images.")
    parser.add_argument("--version", action="version", version=f"napari-medsam {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    seg = commands.add_parser("segment", help="segment an image from boxes and points", description=segment.__doc__)
    seg.add_argument("image", help="NIfTI, NRRD, MHA/MHD, TIFF or DICOM file, or a folder with a DICOM series")
    box = "slice, then first row, first column, end row, end column (half open); may be repeated"
    seg.add_argument("--box", action="append", default=[], type=_numbers, metavar="z,y0,x0,y1,x1", help=box)
    seg.add_argument("--boxes", metavar="FILE.json", help="objects with boxes and points; see the README")
    seg.add_argument("--view", choices=tuple(VIEWS), default="axial", help="what --box counts in (default: axial)")
    seg.add_argument("-o", "--output", required=True, help="label file to write (.nii.gz or .nii)")
    seg.add_argument("--window", metavar="LOW,HIGH|PRESET", help="intensities to show; suggested when left out")
    seg.add_argument("--model", choices=registry.names(), help=f"default: {registry.DEFAULT}")
    seg.add_argument("--series", help="UID (or its end) of one series of a DICOM folder with several")
    seg.add_argument("--overwrite", action="store_true", help="let later objects overwrite earlier ones")
    seg.set_defaults(act=segment)
    show = commands.add_parser("demo", help="the main job on a phantom", description=demo.__doc__)
    show.add_argument("--output", default="demo-output", help="folder for the files (default: demo-output)")
    show.add_argument("--window", action="store_true", help="open it in napari instead")
    show.set_defaults(act=demo)
    listing = commands.add_parser("models", help="list the models", description=models.__doc__)
    listing.set_defaults(act=models)
    return parser


if __name__ == "__main__":
    sys.exit(main())
