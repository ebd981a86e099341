"""`napari-medsam models` and `napari-medsam fetch`: what there is, its state on this machine, and its weights."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from napari_medsam.models import registry
from napari_medsam.models.checkpoints import places
from napari_medsam.models.checkpoints.parts import amount
from napari_medsam.models.checkpoints.places import Places, State
from napari_medsam.models.fetching import fetch_row, needed
from napari_medsam.models.row import Row


def models(options: argparse.Namespace) -> int:
    """`napari-medsam models`: every model with its state on this machine; all about those that are named."""
    where = _places(options)
    rows = [registry.row(name) for name in options.names] or list(registry.TABLE)
    states = places.states(registry.TABLE, where)
    for row in rows:
        print(about(row, states[row.name]) if options.names else line(row, states[row.name]))
    if not options.names:
        print(f"\nWeights are looked for in {where.folder} first. `napari-medsam models NAME` tells all about one.")
    return 0


def fetch_weights(options: argparse.Namespace) -> int:
    """`napari-medsam fetch`: get the published weights of models, and those that they need beside."""
    where = _places(options)
    for name in options.names:
        for row in needed(name, where):
            print(f"{row.title}: {fetch_row(row, where, _Progress(), lambda: False)}")
        print(f"{registry.row(name).title} is ready.")
    return 0


def line(row: Row, state: State) -> str:
    """One line about a model."""
    return f"{row.name:24s} {row.title:38s} {row.prompts_in_words:26s} {state.text:34s} {row.licence}"


def about(row: Row, state: State) -> str:
    """All about a model, a fact a line."""
    facts = [("state", state.text), ("family", row.family), ("takes", row.prompts_in_words)]
    facts += [(f"a {kind.value}", text) for kind, text in row.stand_ins.items()]
    facts += [("labels", ", ".join(row.classes)), ("licence", row.licence), ("source", row.source)]
    facts += [("needs beside", row.base), ("sees", f"{row.input_size} px" if row.input_size else "")]
    facts += [("memory", f"{row.memory_mb} MB" if row.memory_mb else "")]
    facts += [("time", f"{row.speed:.2g} of SAM ViT-B's" if row.speed else "")]
    facts += [("file", f"{file.name} {amount(file.size) if file.size else ''}".strip()) for file in row.files]
    facts += [("by hand", file.page) for file in row.files if file.page]
    lines = [f"{row.name}: {row.title}", f"  {row.about}"]
    return "\n".join([*lines, *(f"  {name:14s} {text}" for name, text in facts if text)])


def add_parser(commands: Any) -> None:
    """Describe both commands to the parser."""
    listing = commands.add_parser("models", help="list the models and their state", description=models.__doc__)
    listing.add_argument("names", nargs="*", metavar="NAME", help="tell all about these")
    listing.set_defaults(act=models)
    getting = commands.add_parser("fetch", help="fetch weights of models", description=fetch_weights.__doc__)
    getting.add_argument("names", nargs="+", metavar="NAME", help="short name of a model")
    getting.set_defaults(act=fetch_weights)
    for parser in (listing, getting):
        parser.add_argument("--weights", metavar="FOLDER", help="folder of weights, before that of the environment")


class _Progress:
    """A line that tells how far a download is, at most every hundredth."""

    def __init__(self) -> None:
        self._shown = -1

    def __call__(self, done: int, total: int) -> None:
        share = 100 * done // total if total else done >> 24
        if share != self._shown and sys.stderr.isatty():
            self._shown = share
            print(f"\r{amount(done)} of {amount(total) if total else '?'} ", end="", file=sys.stderr, flush=True)


def _places(options: argparse.Namespace) -> Places:
    return Places.from_environment(option=Path(options.weights) if options.weights else None)
