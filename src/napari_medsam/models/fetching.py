"""Which files a model still needs, and fetching them: its own, and those of the model it builds on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from napari_medsam.errors import DownloadCancelled, DownloadError, DownloadInterrupted
from napari_medsam.models import registry
from napari_medsam.models.checkpoints import places
from napari_medsam.models.checkpoints.fetch import fetch
from napari_medsam.models.checkpoints.origin import by_hand
from napari_medsam.models.checkpoints.parts import part_of, size_of
from napari_medsam.models.checkpoints.places import Places
from napari_medsam.models.row import Row


def needed(name: str, where: Places) -> list[Row]:
    """The rows whose weights are not on this machine and that a model needs, the one beside it first."""
    row = registry.row(name)
    rows = [registry.row(row.base), row] if row.base else [row]
    return [one for one in rows if not one.built_in and places.find(one, where) is None]


def fetch_row(row: Row, where: Places, progress: Callable[[int, int], None], cancelled: Callable[[], bool]) -> Path:
    """Fetch the weights of one row: the best of its files, or the next where that cannot be had.

    Raises
    ------
    DownloadError
        None could be fetched, or a person has to get them; says what to do.
    """
    first: DownloadError | None = None
    for file in row.files:
        if not file.fetchable:
            continue
        try:
            return fetch(file, where.folder, progress, cancelled, offline=where.offline)
        except DownloadCancelled:
            raise
        except DownloadInterrupted as error:
            if size_of(part_of(where.folder / file.name)) > 0:
                raise  # the next try goes on from what is there
            first = first or error
        except DownloadError as error:
            first = first or error
    if first is not None:
        raise first
    if row.files:
        raise by_hand(row.files[0])
    raise DownloadError(f"Nobody publishes weights of {row.title}: choose a file of your own.")
