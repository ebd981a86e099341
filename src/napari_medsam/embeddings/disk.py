"""The disk tier: a folder with one file an embedding, which several processes may share. Its budget holds for all.

A file is named by a digest, so nothing of the patient or the file system is in it. It is written beside and renamed,
so that it is there whole or not at all; its time of change is when it was last used. What is damaged, or written by
another version of the package, is not used; what is damaged is removed.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from napari_medsam import __version__
from napari_medsam.embeddings import filed
from napari_medsam.embeddings.budgets import default_disk_bytes, free_on_disk
from napari_medsam.embeddings.levels import Level
from napari_medsam.models.base import Embedding

SUFFIX = ".embedding"
PART = ".part"
"""End of the names of files that are being written."""

ABANDONED_SECONDS = 3600.0
"""A file that has been written for so long belongs to a process that is no more."""

RESERVE = 256 << 20
"""So many bytes of the disk are left free whatever the budget."""

PATIENCE = 5.0
"""Seconds to wait for another process, which holds the lock for milliseconds."""


@dataclass(frozen=True)
class _File:
    path: str
    size: int
    used: float


class DiskTier:
    """Embeddings on disk. Safe to use from several threads and processes; trouble is said, never raised.

    Parameters
    ----------
    folder : Path
        Made when the first embedding is written.
    max_bytes : int, optional
        Budget of all files in the folder; a part of the free disk when left out.
    """

    def __init__(self, folder: Path, max_bytes: int | None = None) -> None:
        self.folder = Path(folder)
        self._max_bytes = max_bytes
        self._chosen = threading.Lock()
        self.trouble = ""
        """Why nothing is written any more, and what to do; empty while all is well."""

    @property
    def max_bytes(self) -> int:
        """Budget in bytes of all files in the folder. Setting it drops what is too much."""
        with self._chosen:
            if self._max_bytes is None:
                # what is there already would otherwise make the budget less each time
                self._max_bytes = default_disk_bytes(self.folder) + self._total()
            return self._max_bytes

    @max_bytes.setter
    def max_bytes(self, value: int) -> None:
        self._max_bytes = value
        self.trouble = ""
        with suppress(OSError, Timeout):
            if self.folder.is_dir():
                with self._locked():
                    self._make_room(0)

    def usage(self) -> Level:
        """How full the folder is."""
        files = list(self._files())
        return Level(sum(one.size for one in files), self.max_bytes, len(files))

    def holds(self, key: str) -> bool:
        """Whether there is a file for the key; whether it can be read shows when it is."""
        return self._path(key).exists()

    def read(self, key: str) -> Embedding | None:
        """The embedding of a key, now the most recently used; None when it is not here. A damaged file is removed."""
        path = self._path(key)
        try:
            with path.open("rb") as file:
                found = filed.read(file, key)
        except filed.Unreadable:
            _remove(path)
            return None
        except (OSError, MemoryError):
            return None
        with suppress(OSError):  # a folder that can only be read
            os.utime(path)
        return found

    def write(self, key: str, embedding: Embedding) -> bool:
        """Write an embedding; whether it is there now. Trouble with the disk is kept in `trouble`."""
        if self.trouble:
            return False
        try:
            return self._write(key, embedding)
        except Timeout:  # another process is busy for very long: not this one, then
            return False
        except (OSError, MemoryError) as error:
            why = getattr(error, "strerror", None) or error
            self.trouble = (
                f"Embeddings cannot be written to {self.folder} ({why}), so they are kept in "
                "memory only. Make room there, allow more, or choose another folder."
            )
            return False

    def clear(self) -> int:
        """Remove all files; how many bytes that gave back."""
        gone = 0
        with suppress(OSError, Timeout):
            if self.folder.is_dir():
                with self._locked():
                    gone = sum(one.size for one in self._files(SUFFIX, PART) if _remove(Path(one.path)))
        self.trouble = ""
        return gone

    def _write(self, key: str, embedding: Embedding) -> bool:
        size = filed.size_of(key, embedding)
        self._make_folder()
        with self._locked():
            if self.holds(key):
                return True
            if not self._make_room(size):
                return False  # files that are open elsewhere could not be removed
            part = self.folder / f"{secrets.token_hex(8)}{PART}"
            try:
                with open(part, "xb", opener=_private) as file:
                    filed.write(file, key, embedding)
                os.replace(part, self._path(key))
            finally:
                _remove(part)
        return True

    def _make_folder(self) -> None:
        if not self.folder.is_dir():
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o700, exist_ok=True)

    def _make_room(self, size: int) -> bool:
        """Remove the least recently used files until `size` more bytes fit; False when they never do. Hold the lock."""
        self._remove_abandoned()
        files = sorted(self._files(), key=lambda one: one.used)
        held = sum(one.size for one in files)
        budget = min(self.max_bytes, held + free_on_disk(self.folder) - RESERVE)
        if size > budget:
            least = f"less than {RESERVE >> 20} MiB of the disk are left"
            raise OSError(least if size <= self.max_bytes else "a single one is larger than the budget")
        for one in files:
            if held + size <= budget:
                break
            held -= one.size if _remove(Path(one.path)) else 0
        return held + size <= budget

    def _remove_abandoned(self) -> None:
        for one in self._files(PART):
            if time.time() - one.used > ABANDONED_SECONDS:
                _remove(Path(one.path))

    def _total(self) -> int:
        return sum(one.size for one in self._files())

    def _files(self, *suffixes: str) -> Iterator[_File]:
        """Our files in the folder, those of other processes and versions too; in any order."""
        ends = suffixes or (SUFFIX,)
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.endswith(ends):
                    with suppress(OSError):  # removed meanwhile
                        about = entry.stat(follow_symlinks=False)
                        yield _File(entry.path, about.st_size, about.st_mtime)

    def _path(self, key: str) -> Path:
        """The file of a key. Another version of the package may encode otherwise, so it looks elsewhere."""
        name = hashlib.blake2b(f"{__version__}|{key}".encode(), digest_size=20).hexdigest()
        return self.folder / f"{name}{SUFFIX}"

    def _locked(self) -> FileLock:
        return FileLock(self.folder / "lock", timeout=PATIENCE)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _remove(path: Path) -> bool:
    """Whether a file is gone now because of this. One that is open elsewhere stays on some systems."""
    try:
        path.unlink()
    except OSError:
        return False
    return True
