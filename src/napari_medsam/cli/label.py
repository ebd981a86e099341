"""`napari-medsam label`: a CT and a model that labels by itself, one label file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from napari_medsam import api
from napari_medsam.cli.model_options import add_model_options, model_of
from napari_medsam.cli.running import Interrupt, Progress
from napari_medsam.cli.segment import refuse_output
from napari_medsam.io import read_image, write_labels
from napari_medsam.labelling import require_automatic

DEFAULT = "samed-b"
MOST = 100_000
"""Slices in a range that somebody can mean."""


def label(options: argparse.Namespace) -> int:
    """`napari-medsam label`: name the organs on the axial slices of a CT, without prompts.

    Ctrl-C ends the run after the slice in hand, a second one at once; what is done is written.
    """
    image = read_image(options.image, series=options.series)
    refuse_output(options.image, options.output)
    if options.model:
        require_automatic(options.model)
    model = model_of(options, "" if options.checkpoint else DEFAULT)
    progress = Progress()
    with Interrupt.caught() as interrupt:
        found = api.label_image(
            image, model=model, slices=options.slices, progress=progress, cancelled=interrupt.cancelled
        )
        progress.end()
        if not found.done:
            print("napari-medsam: Stopped before a slice was labelled. Nothing was written.", file=sys.stderr)
            return 1
        interrupt.leave()
        written = write_labels(options.output, found.labels, grid=image.grid, source=image.source, names=found.names)
    return _tell(found, written)


def _tell(found: api.LabelledImage, written: Path) -> int:
    """Say what was found and how far it came; the exit status."""
    counts = np.bincount(found.labels.ravel(), minlength=len(found.names) + 1)
    for value, name in found.names.items():
        print(f"{value:4d}  {name:24s} {counts[value]} voxels")
    if found.note:
        print(f"note: {found.note}")
    print(f"written: {written}")
    if found.error or found.done < found.total:
        why = found.error or "Stopped."
        print(f"napari-medsam: {why} {found.done} of {found.total} slices are labelled and written.", file=sys.stderr)
    return 1 if found.error or found.done < found.total else 0


def add_parser(commands: Any) -> None:
    """Describe `label` to the parser."""
    parser = commands.add_parser("label", help="name the organs of a CT without prompts", description=label.__doc__)
    parser.add_argument("image", help="NIfTI, NRRD, MHA/MHD, TIFF or DICOM file, or a folder with a DICOM series")
    parser.add_argument("-o", "--output", required=True, help="label file to write (.nii.gz or .nii)")
    which = "numbers of slices, first-last and both included, as in 10-40,52 (default: all)"
    parser.add_argument("--slices", type=_slices, metavar="A-B", help=which)
    parser.add_argument("--series", help="UID (or its end) of one series of a DICOM folder with several")
    add_model_options(parser, DEFAULT)
    parser.set_defaults(act=label)


def _slices(text: str) -> list[int]:
    """The numbers in "10-12,15": 10, 11, 12, 15."""
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        try:
            found = range(int(first), int(last if dash else first) + 1)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"numbers as in 10-40,52, not {text!r}") from error
        if not 0 < len(found) <= MOST:
            raise argparse.ArgumentTypeError(f"{part} ends before it begins, or is more than {MOST} slices")
        numbers += found
    return numbers
