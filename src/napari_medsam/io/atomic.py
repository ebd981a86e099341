"""Writing a file so that it is there whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from napari_medsam.errors import WriteError

_ADVICE = {
    errno.ENOSPC: ("the disk is full", "Free some space or choose another drive"),
    errno.EDQUOT: ("your disk quota is used up", "Free some space or choose another drive"),
    errno.EACCES: ("you may not write there", "Choose a folder of your own, or close the file in other programs"),
    errno.EPERM: ("you may not write there", "Choose a folder of your own, or close the file in other programs"),
    errno.EROFS: ("the drive is read-only", "Choose another drive"),
    errno.ENOENT: ("the folder does not exist", "Create it or choose another"),
    errno.ENOTDIR: ("part of the path is a file, not a folder", "Choose another folder"),
    errno.EISDIR: ("that is a folder", "Choose a file name"),
    errno.ENAMETOOLONG: ("the name is too long", "Choose a shorter one"),
}


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write that takes the place of `path` when, and only when, the block ends well.

    The bytes go to a temporary file in the same folder, are flushed to the disk, and then renamed. On any failure,
    also an interrupt, the temporary file is removed and what stood at `path` still stands. A link is followed.

    Raises
    ------
    WriteError
        The system refuses; says the path, why, and what to do. Other exceptions of the block pass unchanged.
    """
    target = Path(os.path.realpath(path))
    temporary = _beside(target)
    with _explained(path, target):
        _require_no_folder(target)
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if os.path.isfile(target):
                shutil.copymode(target, temporary)
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def require_replaceable(path: Path) -> None:
    """Raise the WriteError of `replacing` where it would be refused at once: before the work, not after it."""
    target = Path(os.path.realpath(path))
    temporary = _beside(target)
    with _explained(path, target):
        _require_no_folder(target)
        # no flag of the system tells it for every user and drive, so a file is made, and goes again
        try:
            temporary.open("xb").close()
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _beside(target: Path) -> Path:
    # short, because the target's own name may already be as long as the file system allows
    return target.with_name(f".{secrets.token_hex(6)}.tmp")


def _require_no_folder(target: Path) -> None:
    """Raise OSError for a folder, and for a name that no file can have."""
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory", str(target))


@contextmanager
def _explained(path: Path, target: Path) -> Iterator[None]:
    """Turn what the system refuses into a WriteError."""
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        why, advice = _ADVICE.get(error.errno or 0, (error.strerror or str(error), "Choose another folder"))
        kept = " The file that was there is unchanged." if os.path.isfile(target) else ""
        raise WriteError(f"{path} could not be written: {why}. {advice} and save again.{kept}") from error
