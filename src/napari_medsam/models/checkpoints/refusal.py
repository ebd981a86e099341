"""The one form in which a checkpoint is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_medsam.errors import CheckpointError

SHOWN = 5
"""Names listed in a message at most."""

LONGEST = 80
"""Characters of a name that are shown."""


def refused(path: Path, expected: str, found: str, step: str) -> CheckpointError:
    """The error that names the file, what was expected, what was found, and the next step.

    Parameters
    ----------
    path : Path
    expected, found : str
        Phrases without a full stop.
    step : str
        A sentence.
    """
    return CheckpointError(f"{path}: expected {expected}, found {found}. {step}")


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(name if len(name) <= LONGEST else f"{name[:LONGEST]}..." for name in names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
