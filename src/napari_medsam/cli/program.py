"""The command line: what there is to do, and how its errors are told."""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from napari_medsam import __version__
from napari_medsam.cli import bench, finetune, label, models, prepare, propagate, segment
from napari_medsam.demo import run_demo
from napari_medsam.errors import MedsamError

COMMANDS = (segment, propagate, label, prepare, finetune, models, bench)
"""Modules that each add one command or more."""
WITH_NEGATIVE = ("--window", "--box", "--box3d", "--line")
"""Options whose numbers may begin below zero."""

INTERRUPTED = 130
"""The exit status that shells know of: 128 and the number of the signal."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 done, 1 an error that was explained, 130 interrupted."""
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
    except KeyboardInterrupt:
        print("napari-medsam: Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # who reads the output, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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


def _with_negative_numbers(words: Sequence[str]) -> list[str]:
    """Join `--window -160,240`, in which argparse takes the number for an option."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in WITH_NEGATIVE and re.match(r"-[\d.]", word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="napari-medsam", description="Promptable segmentation of medical images.")
    parser.add_argument("--version", action="version", version=f"napari-medsam {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add_parser(commands)
    show = commands.add_parser("demo", help="the main job on a phantom", description=demo.__doc__)
    show.add_argument("--output", default="demo-output", help="folder for the files (default: demo-output)")
    show.add_argument("--window", action="store_true", help="open it in napari instead")
    show.set_defaults(act=demo)
    return parser
