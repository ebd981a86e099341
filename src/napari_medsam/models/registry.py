"""The table of models, and what a user types to name one of them. No torch here.

A model is named by a reference: the short name of a row ("medsam"), or a row and a file of its own weights
("medsam@/data/own_training.pth").
"""

from __future__ import annotations

from pathlib import Path

from napari_medsam.errors import ModelError
from napari_medsam.models.catalogue import ROWS
from napari_medsam.models.row import Row

DEFAULT = "contour"
AT = "@"

TABLE: tuple[Row, ...] = ROWS


def names() -> tuple[str, ...]:
    """The short names of all models, in the chooser's order."""
    return tuple(row.name for row in TABLE)


def row(name: str) -> Row:
    """The row of a model; ModelError with the names that exist when there is none."""
    for candidate in TABLE:
        if candidate.name == name:
            return candidate
    raise ModelError(f"There is no model called {name!r}. Choose one of: {', '.join(names())}.")


def of_layout(layout: str) -> tuple[Row, ...]:
    """The rows whose weights have this layout."""
    return tuple(candidate for candidate in TABLE if candidate.layout == layout)


def reference(name: str, path: str | Path | None = None) -> str:
    """What names a row's model, with weights of the user's own where `path` is given."""
    return name if path is None else f"{row(name).name}{AT}{Path(path).absolute()}"


def parse(reference: str) -> tuple[Row, Path | None]:
    """The row and the file that a reference names; None for the published weights.

    Raises
    ------
    ModelError
        There is no such row.
    """
    name, at, path = reference.partition(AT)
    return row(name), Path(path) if at else None


def title(reference: str) -> str:
    """The title of the model that a reference names, with the name of the user's file."""
    found, path = parse(reference)
    return found.title if path is None else f"{found.title} ({path.name})"
