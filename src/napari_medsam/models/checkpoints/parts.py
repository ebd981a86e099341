"""The beginning of a file that is being fetched: it lies beside the file's place, with a note of what it is part of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from napari_medsam.models.checkpoints import jsonfile


def part_of(target: Path) -> Path:
    """Where the beginning of `target` is kept."""
    return target.with_name(target.name + ".part")


def size_of(path: Path) -> int:
    """Bytes of a file; -1 when there is none."""
    try:
        return path.stat().st_size if path.is_file() else -1
    except OSError:
        return -1


def amount(count: int) -> str:
    """Bytes in words, as "375 MB"."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}" if count < 10 * unit else f"{count / unit:.0f} {name}"
    return f"{count} bytes"


@dataclass(frozen=True)
class Seen:
    """What a server said of a file, to tell later whether it is still the same.

    Parameters
    ----------
    address : str
    etag : str
        As sent, with its quotes.
    modified : str
        The Last-Modified date, as sent.
    total : int
        Bytes of the whole file.
    """

    address: str = ""
    etag: str = ""
    modified: str = ""
    total: int = 0

    @property
    def validator(self) -> str:
        """What to send as If-Range; a weak tag may not be sent (RFC 9110, 13.1.5)."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


class Part:
    """The part of one target."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = part_of(target)
        self._note = self.path.with_name(self.path.name + ".json")

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return max(size_of(self.path), 0)

    def seen(self) -> Seen:
        """What the server said when the part was begun; empty when nobody wrote it down."""
        note: Mapping[str, object] = jsonfile.read(self._note)
        text = {name: value for name in ("address", "etag", "modified") if isinstance(value := note.get(name), str)}
        total = note.get("total")
        return Seen(**text, total=total if isinstance(total, int) else 0)

    def begin(self, seen: Seen) -> None:
        """Start empty, and note what it will be part of."""
        self.path.write_bytes(b"")
        jsonfile.write(self._note, asdict(seen))

    def remove(self) -> None:
        """Forget what was fetched."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def finish(self) -> None:
        """Put the part, now whole, in its place."""
        self.path.replace(self.target)
        self._note.unlink(missing_ok=True)
