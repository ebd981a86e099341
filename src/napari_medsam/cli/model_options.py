"""The options of every command that uses a model."""

from __future__ import annotations

import argparse

from napari_medsam import api
from napari_medsam.errors import ModelError
from napari_medsam.models import registry
from napari_medsam.models.base import Model
from napari_medsam.models.compute import AUTO, PRECISIONS


def add_model_options(parser: argparse.ArgumentParser, default: str = registry.DEFAULT) -> None:
    """Let the user choose a model, its weights and where it runs; `default` is named in the help."""
    name = f"short name, as `napari-medsam models` lists them (default: {default})"
    parser.add_argument("--model", metavar="NAME", type=_known, help=name)
    parser.add_argument("--checkpoint", metavar="FILE", help="weights of your own; recognised when --model is left out")
    parser.add_argument("--weights", metavar="FOLDER", help="folder to look for weights in first")
    device = "auto, cpu, mps, cuda or cuda:N (default: auto); built-in models run on the CPU"
    parser.add_argument("--device", default=AUTO, help=device)
    parser.add_argument("--precision", default=AUTO, choices=PRECISIONS, help="of the encoder (default: auto)")


def model_of(options: argparse.Namespace, otherwise: str = "") -> Model:
    """Load the model that the options name, else `otherwise`, else the default."""
    name = options.model or otherwise or ("" if options.checkpoint else registry.DEFAULT)
    return api.load_model(
        name,
        checkpoint=options.checkpoint,
        device=options.device,
        precision=options.precision,
        weights=options.weights,
    )


def _known(reference: str) -> str:
    try:
        registry.parse(reference)
    except ModelError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return reference
