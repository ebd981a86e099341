"""Where weights are on this machine, and what a model still needs. It looks and fetches nothing; no torch here.

Only names, sizes and digests that are known already are looked at, so the state of all models is there in
milliseconds; a file's content is looked at when it is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import chain, islice
from pathlib import Path

import platformdirs

from napari_medsam.models.checkpoints import hashes
from napari_medsam.models.checkpoints.parts import amount, part_of, size_of
from napari_medsam.models.row import Row, WeightFile

ENVIRONMENT = "NAPARI_MEDSAM_WEIGHTS"
"""Names one or more folders, separated as in PATH."""

DEPTH = 2
"""Levels of folders within a weights folder that are looked into."""

ENTRIES = 5000
"""Files that are looked at, so that a weights folder set to a whole home costs no more than a moment."""

Shelf = Mapping[str, tuple[Path, ...]]
"""The files that are there, by name; of one name the first place first."""


@dataclass(frozen=True)
class Places:
    """Where to look for weights.

    Parameters
    ----------
    folders : tuple of Path
        Searched in this order, and DEPTH levels below. What is fetched goes to the first.
    caches : tuple of Path
        Folders of other programs, searched after them.
    hub : Path, optional
        The cache of huggingface_hub.
    offline : bool
        Whether nothing may be fetched.
    """

    folders: tuple[Path, ...]
    caches: tuple[Path, ...] = ()
    hub: Path | None = None
    offline: bool = False

    @property
    def folder(self) -> Path:
        """Where what is fetched is kept."""
        return self.folders[0]

    @classmethod
    def from_environment(cls, setting: str = "", option: Path | None = None) -> Places:
        """The places of this user.

        Parameters
        ----------
        setting : str
            The folder of the user's settings; empty for none.
        option : Path, optional
            The folder named on the command line; it comes first.

        Returns
        -------
        Places
            The option, the setting, those of NAPARI_MEDSAM_WEIGHTS, and the user's data folder; then the caches of
            torch and huggingface_hub. Offline when HF_HUB_OFFLINE says so.
        """
        from huggingface_hub import constants

        named = [str(option or ""), setting, *os.environ.get(ENVIRONMENT, "").split(os.pathsep)]
        folders = [Path(name.strip()).expanduser().absolute() for name in named if name.strip()]
        folders.append(platformdirs.user_data_path("napari-medsam", appauthor=False) / "weights")
        return cls(
            folders=tuple(dict.fromkeys(folders)),
            caches=(torch_checkpoints(),),
            hub=Path(constants.HF_HUB_CACHE),
            offline=offline_by_environment(),
        )


def torch_checkpoints() -> Path:
    """Where torch.hub keeps checkpoints, found as its documentation says, without importing torch."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    home = os.environ.get("TORCH_HOME") or os.path.join(cache, "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def offline_by_environment() -> bool:
    """Whether HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids the network, as huggingface_hub reads them."""
    said = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return said.upper() in {"1", "ON", "YES", "TRUE"}


@dataclass(frozen=True)
class Found:
    """One of a row's files, on disk."""

    file: WeightFile
    path: Path


class Kind(Enum):
    """What stands between a model and its use."""

    BUILT_IN = "built in"
    ON_DISK = "on disk"
    BASE_MISSING = "base missing"
    INCOMPLETE = "incomplete"
    WRONG = "wrong file"
    NEEDS_DOWNLOAD = "needs download"
    NEEDS_PERSON = "needs a person"


@dataclass(frozen=True)
class State:
    """A model's weights on this machine.

    Parameters
    ----------
    kind : Kind
    text : str
        The same in a few words, for the chooser.
    found : Found, optional
        The weights, when they are there.
    file : WeightFile, optional
        What to fetch, or to get by hand.
    here : int
        Bytes of it that are there already.
    base : str
        Name of the row whose weights are missing beside; empty for none.
    """

    kind: Kind
    text: str
    found: Found | None = None
    file: WeightFile | None = None
    here: int = 0
    base: str = ""

    @property
    def ready(self) -> bool:
        """Whether the model can be loaded now."""
        return self.kind in (Kind.BUILT_IN, Kind.ON_DISK)

    @property
    def missing(self) -> int:
        """Bytes still to fetch of its own file; 0 where nobody knows."""
        return max(self.file.size - self.here, 0) if self.file else 0

    @property
    def page(self) -> str:
        """The page from which a person gets the file; empty for none."""
        return self.file.page if self.file else ""


def find(row: Row, places: Places) -> Found | None:
    """The best of the row's files that is on disk with the right size; its content is checked when it is loaded."""
    return _find(row, places, shelf(places))


def state(row: Row, places: Places, base: Row | None = None) -> State:
    """What the row needs on this machine; `base` is the row that its `base` names."""
    return _state(row, places, shelf(places), base)


def states(rows: Iterable[Row], places: Places) -> dict[str, State]:
    """The state of every row by name, with one look at the folders."""
    there = shelf(places)
    named = {row.name: row for row in rows}
    return {name: _state(row, places, there, named.get(row.base)) for name, row in named.items()}


def shelf(places: Places) -> Shelf:
    """The files in the folders and caches, by name."""
    found: dict[str, list[Path]] = {}
    own = (path for folder in places.folders for path in _files(folder, DEPTH))
    others = (path for folder in places.caches for path in _files(folder, 0))
    for path in chain(islice(own, ENTRIES), islice(others, ENTRIES)):
        found.setdefault(path.name, []).append(path)
    return {name: tuple(paths) for name, paths in found.items()}


def _files(folder: Path, depth: int) -> Iterator[Path]:
    """Files of a folder, then those of its folders; hidden ones and what may not be read are left out."""
    try:
        with os.scandir(folder) as scan:
            entries = sorted((entry for entry in scan if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError:
        return
    yield from (Path(entry.path) for entry in entries if _is(entry, "is_file"))
    if depth:
        for entry in entries:
            if _is(entry, "is_dir"):
                yield from _files(Path(entry.path), depth - 1)


def _is(entry: os.DirEntry[str], question: str) -> bool:
    try:
        return bool(getattr(entry, question)())
    except OSError:
        return False


def _find(row: Row, places: Places, there: Shelf) -> Found | None:
    fitting = (Found(file, p) for file in row.files for p in _named(file, places, there) if not wrong(file, p))
    return next(fitting, None)


def _named(file: WeightFile, places: Places, there: Shelf) -> Iterator[Path]:
    yield from there.get(file.name, ())
    cached = _in_hub(file, places.hub)
    if cached:
        yield cached


def _in_hub(file: WeightFile, hub: Path | None) -> Path | None:
    """The file in the cache of huggingface_hub."""
    # asked first, because the import costs a fifth of a second and most have no such folder
    if not hub or not file.repository or not (hub / f"models--{file.repository.replace('/', '--')}").is_dir():
        return None
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(file.repository, file.inside or file.name, cache_dir=hub)
    return Path(path) if isinstance(path, str) else None


def wrong(file: WeightFile, path: Path) -> str:
    """What is wrong with a file of that name, in words; empty when nothing is known against it."""
    size = size_of(path)
    if size < 0:
        return f"{path} is not a file that can be read"
    if file.exact and file.size and size != file.size:
        return f"{path} has {size:,} bytes instead of {file.size:,}"
    if size == 0:
        return f"{path} is empty"
    if file.sha256 and hashes.remembered(path) not in ("", file.sha256):
        return f"{path} has another content (SHA-256) than the published file"
    return ""


def _state(row: Row, places: Places, there: Shelf, base: Row | None) -> State:
    if row.built_in:
        return State(Kind.BUILT_IN, "built in")
    missing = row.base if row.base and not (base and _find(base, places, there)) else ""
    found = _find(row, places, there)
    if found and missing:
        return State(Kind.BASE_MISSING, f"needs {missing} beside", found, found.file, base=missing)
    if found:
        return State(Kind.ON_DISK, "on disk", found)
    return _to_get(row, places, there, missing)


def _in_the_way(file: WeightFile, places: Places, there: Shelf) -> str:
    """What is wrong with a file of that name; one that is in another folder does not hinder a download."""
    at = [p for p in _named(file, places, there) if not file.fetchable or p == places.folder / file.name]
    return next((what for p in at if (what := wrong(file, p))), "")


def _to_get(row: Row, places: Places, there: Shelf, base: str) -> State:
    """The state of a row of which no file is there, or only a wrong one."""
    bad = next((what for file in row.files if (what := _in_the_way(file, places, there))), "")
    begun = {file: max(size_of(part_of(places.folder / file.name)), 0) for file in row.files if file.fetchable}
    file = max(begun, key=lambda f: begun[f] > 0) if begun else next(iter(row.files), None)
    here = begun.get(file, 0) if file else 0
    beside = f", and {base}" if base else ""
    if bad:
        return State(Kind.WRONG, f"{bad}; remove it, or choose another", file=file, base=base)
    if file is None:
        return State(Kind.NEEDS_PERSON, f"choose a file of your own{beside}", base=base)
    size = amount(file.size) if file.size else ""
    if not file.fetchable:
        what = f"get it by hand ({size})" if size else "get it by hand"
        return State(Kind.NEEDS_PERSON, what + beside, file=file, base=base)
    offline = "; offline now" if places.offline else ""
    if here:
        text = f"incomplete: {amount(here)} of {size or 'it'}{beside}{offline}"
        return State(Kind.INCOMPLETE, text, file=file, here=here, base=base)
    return State(Kind.NEEDS_DOWNLOAD, f"needs {size or 'a download'}{beside}{offline}", file=file, base=base)
