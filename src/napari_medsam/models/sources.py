"""What a backend is given to make a model from: its row, its weights on disk, and where to run. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from napari_medsam.models.compute import Compute
from napari_medsam.models.row import Row


@dataclass(frozen=True)
class Sources:
    """What a backend makes a model from.

    Parameters
    ----------
    row : Row
    weights : Path
        The checkpoint, used in place.
    digest : str
        Of the checkpoint's content.
    base : Path, optional
        The checkpoint of `row.base`, for rows that need one.
    compute : Compute
    """

    row: Row
    weights: Path
    digest: str
    base: Path | None = None
    compute: Compute = field(default_factory=Compute)
