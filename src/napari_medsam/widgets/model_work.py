"""Work on weights that takes time, on threads of its own: looking them up, recognising a file, fetching."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from qtpy.QtCore import QObject, Signal

from napari_medsam.errors import AmbiguousCheckpointError, MedsamError, ModelError
from napari_medsam.models import registry
from napari_medsam.models.checkpoints import places
from napari_medsam.models.checkpoints.places import Places, State
from napari_medsam.models.fetching import fetch_row, needed
from napari_medsam.models.loading import Loader
from napari_medsam.models.row import Row

Ask = Callable[[str, tuple[Row, ...]], None]
"""Asks the user whose weights a file holds: its path, and the rows that it fits."""


@dataclass(frozen=True)
class Looked:
    """What is on this machine: the state of every model, and the folder for what is fetched."""

    states: Mapping[str, State]
    folder: Path


@dataclass(frozen=True)
class Recognised:
    """A file of weights is that of the model `reference` names."""

    reference: str


@dataclass(frozen=True)
class Unclear:
    """A file fits several rows, and only the user knows which."""

    path: str
    rows: tuple[Row, ...]
    ask: Ask


@dataclass(frozen=True)
class Going:
    """A download of a row's weights goes on: bytes there, and in all (0: unknown)."""

    row: str
    done: int
    total: int


@dataclass(frozen=True)
class Fetched:
    """A download has ended; with its error when it did not bring the weights."""

    name: str
    error: MedsamError | None = None


@dataclass(frozen=True)
class Failed:
    """Something else went wrong."""

    error: MedsamError


class Backstage(QObject):
    """Runs work on threads, and brings what they send to the GUI thread.

    A thread holds this object and nothing that knows the viewer, so that a closed one can be forgotten meanwhile.
    """

    came = Signal(object)
    """One of the messages above."""

    def start(self, work: Callable[[], object]) -> None:
        """Run `work` on a thread of its own; what it returns is sent, and so is what it raises."""
        threading.Thread(target=lambda: self.send(_safely(work)), name="napari-medsam weights", daemon=True).start()

    def send(self, message: object) -> None:
        """Bring a message to the GUI thread, from whatever thread."""
        with contextlib.suppress(RuntimeError):  # the application is ending, and Qt has let go of this
            self.came.emit(message)


def look(setting: str) -> Looked:
    """What is on this machine, with `setting` as the user's folder of weights."""
    where = Places.from_environment(setting)
    return Looked(places.states(registry.TABLE, where), where.folder)


def recognise(path: str, ask: Ask | None) -> Recognised | Unclear:
    """Find out whose weights a file holds. CheckpointError when it is none, or nobody can be asked."""
    try:
        return Recognised(Loader().recognise(Path(path)))
    except AmbiguousCheckpointError as error:
        if ask is None:
            raise
        return Unclear(path, tuple(registry.row(name) for name in error.candidates), ask)


def remember(path: str, name: str) -> Recognised:
    """Keep what the user said of a file that fits several models."""
    return Recognised(Loader().remember(Path(path), name))


def fetch(name: str, setting: str, stage: Backstage, stop: threading.Event) -> Fetched:
    """Fetch what a model needs: the weights beside its own first."""
    try:
        where = Places.from_environment(setting)
        for row in needed(name, where):
            fetch_row(row, where, _reporter(stage, row), stop.is_set)
    except Exception as error:
        return Fetched(name, _in_words(error))
    return Fetched(name)


def _reporter(stage: Backstage, row: Row) -> Callable[[int, int], None]:
    return lambda done, total: stage.send(Going(row.name, done, total))


def _safely(work: Callable[[], object]) -> object:
    try:
        return work()
    except Exception as error:
        return Failed(_in_words(error))


def _in_words(error: Exception) -> MedsamError:
    if isinstance(error, MedsamError):
        return error
    failure = ModelError(f"This failed unexpectedly ({type(error).__name__}: {error}). Please report it.")
    failure.__cause__ = error
    return failure
