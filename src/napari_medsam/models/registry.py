"""The table of models. Backends are named by string and imported when a model is first loaded."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from napari_medsam.errors import ModelError
from napari_medsam.models.base import Segmenter

DEFAULT = "contour"


@dataclass(frozen=True)
class Row:
    """One model: its short name, a title for the chooser, and the `module:class` that makes it."""

    name: str
    title: str
    backend: str


TABLE: tuple[Row, ...] = (
    Row("contour", "Contour (built in, classical)", "napari_medsam.models.contour:Contour"),
    Row("starter", "Starter (synthetic training)", "napari_medsam.models.starter:Starter"),
)


def names() -> tuple[str, ...]:
    """The short names of all models, in the chooser's order."""
    return tuple(row.name for row in TABLE)


def row(name: str) -> Row:
    """The row of a model; ModelError with the names that exist when there is none."""
    for candidate in TABLE:
        if candidate.name == name:
            return candidate
    raise ModelError(f"There is no model called {name!r}. Choose one of: {', '.join(names())}.")


def load(name: str) -> Segmenter:
    """Make the model. May import heavy libraries, so call it off the GUI thread.

    Raises
    ------
    ModelError
        The name is unknown, or the backend cannot be imported or made.
    """
    module, _, attribute = row(name).backend.partition(":")
    try:
        segmenter: Segmenter = getattr(importlib.import_module(module), attribute)()
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"The model {name!r} could not be loaded: {error}. Reinstall napari-medsam.") from error
    return segmenter
