"""`napari-medsam finetune`: adapt a model to labels of one's own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from napari_medsam.cli.model_options import add_model_options
from napari_medsam.cli.segment import window_of_text
from napari_medsam.errors import WriteError
from napari_medsam.geometry import VIEWS
from napari_medsam.intensity import suggest_window
from napari_medsam.io.labelled import labelled_files, read_labelled
from napari_medsam.models import registry
from napari_medsam.models.checkpoints.places import Places
from napari_medsam.models.compute import Compute
from napari_medsam.models.finetune.examples import Example, examples_of
from napari_medsam.models.finetune.tuning import Method, Order, tune
from napari_medsam.models.loading import Loader

DEFAULT = "starter"
SUFFIX = ".safetensors"
LINES = 20
"""Of progress that are printed where the output is no terminal."""


def finetune(options: argparse.Namespace) -> int:
    """`napari-medsam finetune`: learn from every labelled slice in a folder, and write weights that the chooser loads.

    The labels of NAME.nii.gz are NAME_labels.nii.gz beside it, or two folders, images and labels, hold files of the
    same names. Slices without any label are left out, so a few labelled slices of a volume are enough.
    """
    output = _checked_output(options.output)
    examples = examples_in(options)
    print(f"{len(examples)} objects on labelled slices")
    tuned = tune(_order(options), examples, output, _Progress())
    print(f"written: {output}\nuse it with: --model {tuned}")
    return 0


def examples_in(options: argparse.Namespace) -> list[Example]:
    """Every object on every labelled slice of the folder."""
    found: list[Example] = []
    for file in labelled_files(options.folder):
        image, labels = read_labelled(file)
        window = window_of_text(options.window) if options.window else suggest_window(image.sample())[1]
        found += examples_of(np.asarray(image.data), labels.array, window, VIEWS[options.view])
    return found


def add_parser(commands: Any) -> None:
    """Describe `finetune` to the parser."""
    parser = commands.add_parser("finetune", help="adapt a model to your own labels", description=finetune.__doc__)
    parser.add_argument("folder", help="folder of images with labels")
    parser.add_argument("-o", "--output", required=True, help=f"file of weights to write ({SUFFIX})")
    parser.add_argument("--view", choices=tuple(VIEWS), default="axial", help="how the labels were drawn: axial")
    parser.add_argument("--window", metavar="LOW,HIGH|PRESET", help="intensities to show; suggested when left out")
    what = "what to train: all (of the starter), decoder (of others; the default), lora (of SAM's encoder, on a GPU)"
    parser.add_argument("--method", choices=tuple(method.value for method in Method), help=what)
    parser.add_argument("--steps", type=int, help="steps of training; 150 or 200 when left out")
    parser.add_argument("--seed", type=int, default=0, help="another number, another training (default: 0)")
    add_model_options(parser, DEFAULT)
    parser.set_defaults(act=finetune)


def _order(options: argparse.Namespace) -> Order:
    places = Places.from_environment(option=Path(options.weights) if options.weights else None)
    loader = Loader(places, Compute(options.device))
    reference = options.model or DEFAULT
    if options.checkpoint:
        path = Path(options.checkpoint)
        reference = registry.reference(options.model, path) if options.model else loader.recognise(path)
    return Order(reference, Method(options.method) if options.method else None, options.steps, options.seed, loader)


def _checked_output(given: str) -> Path:
    """The file to write; refused before the training rather than after it."""
    output = Path(given)
    if output.suffix != SUFFIX:
        raise WriteError(f"{output.name} is to hold safetensors: give it a name that ends in {SUFFIX}.")
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise WriteError(f"{output} cannot be written: make the folder {output.absolute().parent} first.")
    return output


class _Progress:
    """How far the training is: one line that changes on a terminal, a few lines elsewhere."""

    def __call__(self, step: int, steps: int, loss: float) -> None:
        text = f"step {step} of {steps}, loss {loss:.3f}"
        if sys.stderr.isatty():
            print(f"\r{text} ", end="" if step < steps else "\n", file=sys.stderr, flush=True)
        elif step % max(steps // LINES, 1) == 0:
            print(text, file=sys.stderr, flush=True)
