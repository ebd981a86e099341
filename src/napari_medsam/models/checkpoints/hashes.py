"""The SHA-256 of a file, computed once: a checkpoint of 2.5 GB takes seconds, and is the same one tomorrow."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs

from napari_medsam.errors import CheckpointError
from napari_medsam.models.checkpoints import jsonfile

KEPT = 500
"""Files remembered."""


def store() -> Path:
    """Where digests are remembered; it may be deleted at any time."""
    return platformdirs.user_cache_path("napari-medsam", appauthor=False) / "digests.json"


def digest_of(path: Path) -> str:
    """The hex SHA-256 of a file, remembered for as long as its size, time and inode stay.

    Raises
    ------
    CheckpointError
        The file is missing, is a folder, may not be read, or changed while it was read.
    """
    try:
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            known = _look_up(path, before)
            if known:
                return known
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            after = os.fstat(file.fileno())
    except OSError as error:
        raise CheckpointError(_unreadable(path, error)) from error
    if _stamp(before) != _stamp(after):
        raise CheckpointError(f"{path} changed while it was read. Wait until it is copied whole, and load it again.")
    _keep(path, after, digest)
    return digest


def remembered(path: Path) -> str:
    """The digest of a file if it is known already, else an empty text. Reads no file of weights."""
    try:
        return _look_up(path, path.stat())
    except OSError:
        return ""


def remember(path: Path, digest: str) -> None:
    """Keep a digest that was computed elsewhere, while the file was written."""
    with suppress(OSError):
        _keep(path, path.stat(), digest)


def _stamp(stat: os.stat_result) -> list[int]:
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]


def _look_up(path: Path, stat: os.stat_result) -> str:
    entry = jsonfile.read(store()).get(os.path.realpath(path))
    if not isinstance(entry, dict) or entry.get("stamp") != _stamp(stat):
        return ""
    digest = entry.get("sha256")
    return digest if isinstance(digest, str) else ""


def _keep(path: Path, stat: os.stat_result, digest: str) -> None:
    def edit(content: dict[str, Any]) -> None:
        key = os.path.realpath(path)
        content.pop(key, None)
        content[key] = {"stamp": _stamp(stat), "sha256": digest}
        for old in list(content)[:-KEPT]:  # the order is that of writing
            del content[old]

    # what cannot be kept is computed again
    with suppress(OSError):
        jsonfile.change(store(), edit)


def _unreadable(path: Path, error: OSError) -> str:
    """Why a file cannot be read, and what to do."""
    if isinstance(error, FileNotFoundError):
        return f"There is no file {path}. Check the name and whether the drive is connected."
    if os.path.isdir(path):
        return f"{path} is a folder. Choose the file of weights in it."
    if isinstance(error, PermissionError):
        return f"{path} may not be read by this user. Change its permissions, or copy it."
    return f"{path} could not be read: {error.strerror or error}. Copy or download it again."
