"""`napari-medsam prepare` and `napari-medsam cache`: volumes encoded ahead, and the folder where that is kept."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from napari_medsam import api
from napari_medsam.cli.following_prompts import DEPTH, TIME, stack_of
from napari_medsam.cli.model_options import add_model_options, model_of
from napari_medsam.cli.segment import window_of
from napari_medsam.embeddings import DiskTier, cache_folder
from napari_medsam.embeddings.budgets import VARIABLE
from napari_medsam.geometry import VIEWS
from napari_medsam.io import read_image
from napari_medsam.preparation import Preparation, left
from napari_medsam.propagation.subject import Span

FOLDER_HELP = f"folder of the embeddings (default: {VARIABLE}, else the user's cache folder)"


def prepare(options: argparse.Namespace) -> int:
    """`napari-medsam prepare`: encode a volume's slices and keep them on disk, so that masks need no encode later.

    Ctrl-C keeps what is done; the same command goes on from there.
    """
    image = read_image(options.image, series=options.series)
    stack = stack_of(image, options, None)
    span = Span.of(options.first, options.last, stack.size)
    model = model_of(options)
    store = api.user_store(options.cache, disk=options.cache_mb and options.cache_mb << 20)
    progress = _Progress()
    try:
        done = api.prepare_image(
            image,
            model=model,
            window=window_of(options.window),
            stack=stack,
            shown=(span.first + span.last) // 2,
            span=span,
            store=store,
            progress=progress,
        )
    except KeyboardInterrupt:
        print("\nnapari-medsam: Stopped. What was done is kept; the same command goes on from there.", file=sys.stderr)
        return 1
    print(f"{done.ready} of {done.total} slices are ready, {done.encoded} of them encoded now")
    print(_held(store.disk))
    return 0 if done.ready == done.total else 1


def cache(options: argparse.Namespace) -> int:
    """`napari-medsam cache`: where prepared volumes are kept and how much that is; with --clear, remove it."""
    disk = DiskTier(cache_folder(options.cache))
    if options.clear:
        print(f"removed: {disk.clear() / (1 << 20):.1f} MiB")
    print(_held(disk))
    return 0


def add_parser(commands: Any) -> None:
    """Describe `prepare` and `cache` to the parser."""
    parser = commands.add_parser("prepare", help="encode a volume ahead", description=prepare.__doc__)
    parser.add_argument("image", help="NIfTI, NRRD, MHA/MHD, TIFF or DICOM file, or a folder with a DICOM series")
    parser.add_argument("--view", choices=tuple(VIEWS), default="axial", help="what the slices are (default: axial)")
    parser.add_argument("--along", choices=(DEPTH, TIME), default=DEPTH, help="what to go along (default: depth)")
    at = "where along the axis that is neither shown nor gone along, in a series (default: 0)"
    parser.add_argument("--at", type=int, default=0, metavar="T", help=at)
    parser.add_argument("--from", dest="first", type=int, metavar="A", help="first slice, included")
    parser.add_argument("--to", dest="last", type=int, metavar="B", help="last slice, included")
    parser.add_argument("--window", metavar="LOW,HIGH|PRESET", help="intensities to show; suggested when left out")
    parser.add_argument("--series", help="UID (or its end) of one series of a DICOM folder with several")
    parser.add_argument("--cache", default="", metavar="FOLDER", help=FOLDER_HELP)
    budget = "how much the folder may hold (default: a fifth of the free disk)"
    parser.add_argument("--cache-mb", type=_positive, metavar="MB", help=budget)
    add_model_options(parser)
    parser.set_defaults(act=prepare)
    shown = commands.add_parser("cache", help="where prepared volumes are, and how large", description=cache.__doc__)
    shown.add_argument("--cache", default="", metavar="FOLDER", help=FOLDER_HELP)
    shown.add_argument("--clear", action="store_true", help="remove all of it")
    shown.set_defaults(act=cache)


def _held(disk: DiskTier | None) -> str:
    if disk is None:
        return "nothing is kept on disk"
    now = disk.usage()
    return f"{now.entries} slices, {now.used / (1 << 20):.1f} of {now.budget / (1 << 20):.0f} MiB, in {disk.folder}"


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of MiB from 1, not {text!r}")
    return int(text)


class _Progress:
    """How many slices are ready, and how long it will still take: one line that changes, on a terminal only."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._first: Preparation | None = None

    def __call__(self, now: Preparation) -> None:
        if self._first is None:  # the first encode is the slowest, and tells nothing of the others
            self._began, self._first = time.monotonic(), now
        rest = left(self._first, now, time.monotonic() - self._began)
        if sys.stderr.isatty():
            when = "" if rest is None else f", about {rest:.0f} s left"
            end = "\n" if now.finished else ""
            print(f"\rslice {now.done} of {now.total}{when}   ", end=end, file=sys.stderr, flush=True)
