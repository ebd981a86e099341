"""Fetching weights: checked, resumable, whole or not at all. Call it off the GUI thread, and only on the user's word.

A file grows as `<name>.part` and gets its name when its size and SHA-256 are right. Two processes that want the same
file take turns: the second waits, and finds it there.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from napari_medsam.errors import DownloadError, DownloadInterrupted
from napari_medsam.models.checkpoints import hashes
from napari_medsam.models.checkpoints.choices import Remembered
from napari_medsam.models.checkpoints.origin import by_hand, origin_of, why_offline
from napari_medsam.models.checkpoints.parts import Part
from napari_medsam.models.checkpoints.places import offline_by_environment, wrong
from napari_medsam.models.checkpoints.transfer import Patience, Watch, require_space, transfer
from napari_medsam.models.row import WeightFile

USUAL = Patience()
ENOUGH = 2**24
"""Bytes by which a try counts as a success though it was cut: a slow proxy cuts every long answer."""

ADVICE = {
    errno.ENOSPC: "the disk is full. Free some space; what came is kept",
    errno.EDQUOT: "your disk quota is used up. Free some space; what came is kept",
    errno.EACCES: "you may not write there. Choose another weights folder",
    errno.EPERM: "you may not write there. Choose another weights folder",
    errno.EROFS: "the drive is read-only. Choose another weights folder",
    errno.EEXIST: "that is a file, not a folder. Choose another weights folder",
    errno.ENOTDIR: "part of the path is a file, not a folder. Choose another weights folder",
}
Result = TypeVar("Result")


def fetch(
    file: WeightFile,
    folder: Path,
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
    *,
    offline: bool = False,
    patience: Patience = USUAL,
    remembered: Remembered | None = None,
) -> Path:
    """Fetch a file of weights into a folder, going on where an earlier try stopped.

    Parameters
    ----------
    file : WeightFile
    folder : Path
        Made when it is not there.
    progress : callable of (int, int)
        Told bytes there and in all (0 while nobody knows), from the calling thread, ten times a second at most.
    cancelled : callable
        Asked often, also from another thread, whether to stop.
    offline : bool
        Refuse, as HF_HUB_OFFLINE does.
    patience : Patience
        How long to wait and how often to try.
    remembered : Remembered, optional
        Where the digests of first downloads are kept; the user's own by default.

    Returns
    -------
    Path
        The file. One that was there already is left as it is.

    Raises
    ------
    DownloadCancelled
        The caller wanted to stop; what came is kept.
    DownloadError
        Offline, got by hand only, refused, no room, no right to write, cut off too often (kept), or not the file
        that was expected (removed). Says what to do.
    CheckpointError
        A file of that name is there, and cannot be read.
    """
    target = folder / file.name
    with _in_words(folder):
        if target.exists():
            return _present(file, target)
        if offline or offline_by_environment():
            raise DownloadError(why_offline(file))
        if not file.fetchable:
            raise by_hand(file)
        watch = Watch(progress, cancelled)
        watch.check()
        folder.mkdir(parents=True, exist_ok=True)
        part = Part(target)
        with _alone(file, part, watch):
            if target.exists():
                return _present(file, target)
            require_space(folder, max(file.size - part.size, 0))
            _fetch(file, part, watch, patience, remembered or Remembered.of_user())
    return target


def _fetch(file: WeightFile, part: Part, watch: Watch, patience: Patience, remembered: Remembered) -> None:
    origin = _retrying(lambda: origin_of(file, patience.connect), part, watch, patience)
    first = "" if file.sha256 else remembered.first(file)
    _require_first(file, origin.sha256, first)  # known before a byte is fetched
    size = file.size if file.exact else 0
    digest = _retrying(lambda: transfer(origin, part, size, watch, patience), part, watch, patience)
    _require(file, part, origin.sha256, digest, first)
    part.finish()
    hashes.remember(part.target, digest)
    remembered.keep_first(file, digest)


def _retrying(action: Callable[[], Result], part: Part, watch: Watch, patience: Patience) -> Result:
    """Try until it works, or until too many tries in a row brought too little."""
    failures = 0
    while True:
        before = part.size
        try:
            return action()
        except DownloadInterrupted:
            failures = 1 if part.size - before >= ENOUGH else failures + 1
            if failures >= patience.tries:
                raise
        watch.wait(patience.pause * 2 ** (failures - 1))


def _require(file: WeightFile, part: Part, expected: str, digest: str, first: str) -> None:
    """Remove the part and raise DownloadError unless its content is the expected one."""
    try:
        if expected and digest != expected:
            raise DownloadError(
                f"{file.name} came damaged, or is another file: its SHA-256 is {digest}, expected {expected}. It was "
                "removed. Try again; if that does not help, get it in a browser and choose it by hand."
            )
        _require_first(file, digest, first)
    except DownloadError:
        part.remove()
        raise


def _require_first(file: WeightFile, digest: str, first: str) -> None:
    """Nobody published a digest, so the first content that was fetched counts."""
    if digest and first and digest != first:
        raise DownloadError(
            f"{file.name} is another file than the one fetched first: its SHA-256 is {digest}, that one's was {first}. "
            "It is not used. If you trust the new file, get it in a browser and choose it by hand."
        )


def _present(file: WeightFile, target: Path) -> Path:
    """The file that is there already; one that is wrong is the user's, so it is not overwritten."""
    bad = wrong(file, target)
    if not bad and file.sha256 and (digest := hashes.digest_of(target)) != file.sha256:
        bad = f"{target} has the SHA-256 {digest} instead of {file.sha256}"
    if bad:
        raise DownloadError(f"{bad}. Remove or rename it to fetch the published file, or choose it by hand to use it.")
    return target


@contextmanager
def _alone(file: WeightFile, part: Part, watch: Watch) -> Iterator[None]:
    """Wait until no other process fetches the file, and keep others out."""
    lock = FileLock(part.target.with_name(f".{part.target.name}.lock"))
    while True:
        try:
            lock.acquire(timeout=0.2, poll_interval=0.05)
            break
        except Timeout:
            watch.tell(part.size, file.size)  # of the other
            watch.check()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _in_words(folder: Path) -> Iterator[None]:
    """Turn what the system says about the folder into a DownloadError."""
    try:
        yield
    except OSError as error:
        why = ADVICE.get(error.errno or 0, f"{error.strerror or error}. Choose another weights folder")
        raise DownloadError(f"{folder} cannot take the weights: {why}.") from error
