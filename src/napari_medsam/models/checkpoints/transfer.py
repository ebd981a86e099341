"""One try at fetching what is missing of a file.

It runs on requests, the library beneath pooch. pooch's own HTTPDownloader begins every file anew and writes whatever
comes, and hf_hub_download can neither be cancelled while it waits nor be told how long to wait; here a try goes on
where the last one stopped, only if the server's file is still the same.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from napari_medsam.errors import DownloadCancelled, DownloadError, DownloadInterrupted
from napari_medsam.models.checkpoints.origin import Origin
from napari_medsam.models.checkpoints.parts import Part, Seen, amount

CHUNK = 2**16
"""Bytes read at a time: what a cut connection may cost."""

BEAT = 0.1
"""Seconds between reports of progress, and between looks at whether to stop."""

SPARE = 50 * 10**6
"""Bytes left free on the drive."""

AGAIN = frozenset({408, 429, 500, 502, 503, 504})
"""Answers after which another try may help."""

BY_HAND = "Get the file in a browser and choose it."


@dataclass(frozen=True)
class Patience:
    """How long to wait, and how often to try.

    Parameters
    ----------
    connect, stall : float
        Seconds for a connection, and without a byte.
    tries : int
        Tries in a row that bring little or nothing.
    pause : float
        Seconds before the second try; doubled before each further one.
    """

    connect: float = 10.0
    stall: float = 30.0
    tries: int = 4
    pause: float = 1.0


@dataclass
class Watch:
    """The caller's side: told of progress, asked whether to stop.

    Parameters
    ----------
    progress : callable of (int, int)
        Told bytes there and in all (0 while nobody knows), at most every BEAT and at the end.
    cancelled : callable
        Asked from two threads whether to stop.
    """

    progress: Callable[[int, int], None]
    cancelled: Callable[[], bool]
    _told: float = field(default=-1.0, repr=False)

    def check(self) -> None:
        """Raise DownloadCancelled when the caller wants to stop."""
        if self.cancelled():
            raise DownloadCancelled(
                "The download was cancelled. What came is kept; start it again to go on from there."
            )

    def wait(self, seconds: float) -> None:
        """Sleep, but not after the caller wants to stop."""
        end = time.monotonic() + seconds
        self.check()
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, BEAT))
            self.check()

    def tell(self, done: int, total: int) -> None:
        """Report, unless that was done just now."""
        now = time.monotonic()
        if done == total or now - self._told >= BEAT:
            self._told = now
            self.progress(done, total)


def transfer(origin: Origin, part: Part, size: int, watch: Watch, patience: Patience) -> str:
    """Fetch what is missing of a part.

    Parameters
    ----------
    origin : Origin
    part : Part
        Gone on with when the server's file is still the same, else begun anew.
    size : int
        Bytes that the whole file must have; 0 where nobody knows.
    watch : Watch
    patience : Patience

    Returns
    -------
    str
        Hex SHA-256 of the whole file, which is now in the part.

    Raises
    ------
    DownloadInterrupted
        Another try may help.
    DownloadError
        None would.
    DownloadCancelled
    """
    if part.size and not _may_continue(part, origin):
        part.remove()
    hasher = _hasher(part, watch)
    headers = {**origin.headers, "Accept-Encoding": "identity", **_range(part)}
    waits = (patience.connect, patience.stall)
    try:
        with (
            requests.get(origin.address, headers=headers, stream=True, timeout=waits) as response,
            _interruptible(response, watch.cancelled),
        ):
            if response.status_code == 416:
                _require_whole(response, part)
                watch.tell(part.size, part.size)
                return str(hasher.hexdigest())
            chunks = _accepted(response, origin, part, size)
            hasher = hasher if part.size else hashlib.sha256()
            _receive(chunks, part, hasher, watch)
    except requests.RequestException as error:
        watch.check()
        raise _in_words(error, origin.address, part) from error
    return str(hasher.hexdigest())


def require_space(folder: Path, needed: int) -> None:
    """Raise DownloadError unless the drive has room."""
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE:
        raise DownloadError(
            f"{amount(needed)} are needed in {folder}, and {amount(free)} are free there ({amount(SPARE)} stay spare). "
            "Free some space, or choose another weights folder."
        )


def _may_continue(part: Part, origin: Origin) -> bool:
    """Whether the part is of this address, and it can be known whether the server's file is still the same."""
    seen = part.seen()
    return seen.address == origin.address and bool(seen.validator or origin.sha256)


def _range(part: Part) -> dict[str, str]:
    if not part.size:
        return {}
    validator = part.seen().validator
    return {"Range": f"bytes={part.size}-"} | ({"If-Range": validator} if validator else {})


def _hasher(part: Part, watch: Watch) -> Any:
    """SHA-256 of what is there."""
    hasher = hashlib.sha256()
    if part.size:
        with part.path.open("rb") as file:
            while block := file.read(2**22):
                hasher.update(block)
                watch.check()
    return hasher


@contextmanager
def _interruptible(response: requests.Response, cancelled: Callable[[], bool]) -> Iterator[None]:
    """Wake the reader, which may wait for bytes that do not come, as soon as the caller wants to stop."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(BEAT):
            if cancelled():
                # refused when the answer is over, or closed already
                with suppress(OSError, ValueError, RuntimeError):
                    response.raw.shutdown()
                return

    thread = threading.Thread(target=watch, name="napari-medsam download", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _accepted(response: requests.Response, origin: Origin, part: Part, size: int) -> Iterator[bytes]:
    """The bytes that follow the part, after all that the answer's head tells was checked."""
    _require_success(response, part)
    seen = Seen(
        origin.address, response.headers.get("ETag", ""), response.headers.get("Last-Modified", ""), _total(response)
    )
    if response.status_code == 206:
        _require_same(response, seen, part)
        require_space(part.path.parent, seen.total - part.size)
        return response.iter_content(CHUNK)
    chunks = response.iter_content(CHUNK)
    first = next(chunks, b"")
    # a login page of the network must not cost the part, so that goes last
    _require_weights(response, first, part)
    _require_size(seen.total, size, part, origin)
    require_space(part.path.parent, seen.total - part.size)
    part.begin(seen)
    return chain([first], chunks)


def _receive(chunks: Iterator[bytes], part: Part, hasher: Any, watch: Watch) -> None:
    done, total = part.size, part.seen().total
    with part.path.open("ab") as out:
        for piece in chunks:
            out.write(piece)
            hasher.update(piece)
            done += len(piece)
            watch.tell(done, total)
            watch.check()
        out.flush()
        os.fsync(out.fileno())
    if done != total:
        watch.check()
        raise DownloadInterrupted(_cut(part, total))


def _total(response: requests.Response) -> int:
    """Bytes of the whole file; 0 where the server does not say."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        return 0
    after_slash = response.headers.get("Content-Range", "").rpartition("/")[2]
    text = after_slash if response.status_code in (206, 416) else response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else 0


def _require_success(response: requests.Response, part: Part) -> None:
    status, name = response.status_code, part.target.name
    if status in AGAIN:
        raise DownloadInterrupted(
            f"{name} could not be fetched: {_host(response.url)} answers {status}. {_again(part)}"
        )
    if status in (404, 410):
        raise DownloadError(
            f"{name} is not at {_plain(response.url)} any more ({status}). Find it elsewhere: {BY_HAND}"
        )
    if status in (401, 403):
        raise DownloadError(f"{_host(response.url)} refuses {name} ({status}). {BY_HAND}")
    if status != 200 and not (status == 206 and part.size):
        raise DownloadError(f"{name} could not be fetched: {_host(response.url)} answers {status}. {BY_HAND}")


def _require_same(response: requests.Response, seen: Seen, part: Part) -> None:
    """Start over unless what comes follows what is there, and is of the same file."""
    before = part.seen()
    start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    follows = start is not None and int(start[1]) == part.size and seen.total == before.total
    if not follows or (seen.etag and before.etag and seen.etag != before.etag):
        part.remove()
        raise DownloadInterrupted(f"{part.target.name} has changed on the server. Try again to fetch it anew.")


def _require_whole(response: requests.Response, part: Part) -> None:
    """Nothing follows the part: it is whole, or of no use."""
    if not part.size or _total(response) != part.size or part.seen().total != part.size:
        part.remove()
        raise DownloadInterrupted(f"What was there of {part.target.name} did not fit. Try again to fetch it anew.")


def _require_weights(response: requests.Response, first: bytes, part: Part) -> None:
    beginning = first[:512].lstrip().lower()
    html = beginning.startswith((b"<!doctype", b"<html", b"<head", b"<?xml"))
    if html or response.headers.get("Content-Type", "").startswith("text/html"):
        raise DownloadError(
            f"{_plain(response.url)} sends a web page instead of {part.target.name}. A login or a proxy may be in the "
            f"way: open the address in a browser. {BY_HAND}"
        )


def _require_size(total: int, size: int, part: Part, origin: Origin) -> None:
    if size and total and total != size:
        raise DownloadError(
            f"{part.target.name} at {_plain(origin.address)} has {total:,} bytes, expected {size:,}: it is another "
            "file. Update the plugin, or, if you trust it, get it in a browser and choose it."
        )
    if not total:
        raise DownloadError(
            f"{_host(origin.address)} does not say how long {part.target.name} is, so it cannot be checked. {BY_HAND}"
        )


def _again(part: Part) -> str:
    return "What came is kept: try again to go on from there." if part.size else "Try again later."


def _cut(part: Part, total: int) -> str:
    of = f" of {amount(total)}" if total else ""
    return f"The connection ended after {amount(part.size)}{of} of {part.target.name}. {_again(part)}"


def _in_words(error: requests.RequestException, address: str, part: Part) -> DownloadError:
    """A failure of the connection; DownloadInterrupted when another try may help."""
    host, name = _host(address), part.target.name
    if isinstance(error, requests.exceptions.SSLError):
        return DownloadError(
            f"The certificate of {host} is not trusted here. Behind a proxy that inspects traffic, set "
            f"REQUESTS_CA_BUNDLE to its certificate. {BY_HAND}"
        )
    if isinstance(error, requests.TooManyRedirects):
        return DownloadError(f"{_plain(address)} leads in a circle. {BY_HAND}")
    if isinstance(error, ValueError):  # MissingSchema, InvalidURL and others
        return DownloadError(f"{_plain(address)} is not an address that can be fetched. {BY_HAND}")
    if isinstance(error, requests.exceptions.ProxyError):
        return DownloadInterrupted(f"The proxy does not lead to {host}. Check HTTPS_PROXY. {BY_HAND}")
    if isinstance(error, requests.ConnectTimeout):
        return DownloadInterrupted(f"{host} does not answer. Check the connection and try again.")
    if isinstance(error, requests.Timeout) or "timed out" in str(error).lower():
        return DownloadInterrupted(f"{host} stopped sending {name} after {amount(part.size)}. {_again(part)}")
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return DownloadInterrupted(_cut(part, part.seen().total))
    return DownloadInterrupted(f"There is no connection to {host}. Check the network. {_again(part)}")


def _host(address: str) -> str:
    return urlsplit(address).hostname or address


def _plain(address: str) -> str:
    """The address without its query, which may hold a signature."""
    return address.partition("?")[0]
