"""Whose weights a file holds, where its keys and shapes leave that open, and what is remembered of it.

Some models share every key and shape and see images differently (SAM ViT-B and MedSAM; SAM 2.1 tiny and MedSAM2;
LiteMedSAM and its scribble version). The order is: content, file name, an earlier answer of the user, and else the
question; never a silent guess, because the wrong pre-processing gives plausible, wrong outlines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from napari_medsam.errors import AmbiguousCheckpointError, CheckpointError
from napari_medsam.models.checkpoints import jsonfile
from napari_medsam.models.row import Row, WeightFile

HINTS: Mapping[str, re.Pattern[str]] = {
    # "medsam_vit_b" holds "sam_vit_b"
    "sam-vit-b": re.compile(r"(?<!med)sam[-_]vit[-_]b"),
    "medsam": re.compile(r"medsam"),
    # the scribble model is published as medsam_lite_scribble.pth, and is a LiteMedSAM too
    "litemedsam": re.compile(r"^(?!.*scribble).*(lite[-_]?medsam|medsam[-_]lite)"),
    "litemedsam-scribble": re.compile(r"scribble"),
    "sam2.1-tiny": re.compile(r"(?<!med)sam[-_]?2(\.1|[._]?1[-_]hiera)"),
    # MedSAM2's own configuration is called sam2.1_hiera_t512, which speaks for both
    "medsam2": re.compile(r"medsam|t512"),
}
"""What in a file name, in lower case, speaks for a model among those that share a layout (so "medsam" on a SAM 2.1 file
is MedSAM2). A row that is not here has its published file names only."""

NAMELESS = ("model.safetensors", "pytorch_model.bin")
"""Names of every Hugging Face repository; there the folders above speak."""

ANSWERS, FIRST = "answers", "first"


@dataclass(frozen=True)
class Remembered:
    """What the user said, and what was fetched first; kept in one small file.

    Parameters
    ----------
    path : Path
        The file, which need not exist.
    """

    path: Path

    @classmethod
    def of_user(cls) -> Remembered:
        """That of the user who runs this."""
        return cls(platformdirs.user_data_path("napari-medsam", appauthor=False) / "weights.json")

    def answer(self, digest: str) -> str:
        """Name of the row that the user chose for the content with this digest; empty when never asked."""
        return self._get(ANSWERS, digest)

    def keep_answer(self, digest: str, row: str) -> None:
        """Remember the user's choice. Where it cannot be written, the user is asked again."""
        self._keep(ANSWERS, digest, row)

    def first(self, file: WeightFile) -> str:
        """Digest of the first accepted content of a published file; empty when it was never fetched."""
        return self._get(FIRST, _key(file))

    def keep_first(self, file: WeightFile, digest: str) -> None:
        """Remember the content of a published file; also after the user chose another one by hand."""
        self._keep(FIRST, _key(file), digest)

    def _get(self, part: str, key: str) -> str:
        entries = jsonfile.read(self.path).get(part)
        value = entries.get(key) if isinstance(entries, dict) else None
        return value if isinstance(value, str) else ""

    def _keep(self, part: str, key: str, value: str) -> None:
        def edit(content: dict[str, Any]) -> None:
            entries = content.get(part)
            content[part] = {**(entries if isinstance(entries, dict) else {}), key: value}

        with suppress(OSError):
            jsonfile.change(self.path, edit)


def _key(file: WeightFile) -> str:
    """A repository's files have names like model.safetensors, so its name belongs to theirs."""
    return f"{file.repository}/{file.inside or file.name}" if file.repository else file.name


def check_content(file: WeightFile, path: Path, digest: str, remembered: Remembered) -> None:
    """Refuse a file that was found by its name and holds something else than what is published under it.

    Where nobody has published a digest, the first content that was fetched counts.

    Raises
    ------
    CheckpointError
        With both digests, and how to accept the file.
    """
    first = remembered.first(file)
    expected, why = (file.sha256, "published") if file.sha256 else (first, "fetched first")
    if expected and digest != expected:
        raise CheckpointError(
            f"{path} is not the file that was {why} under that name: its SHA-256 is {digest}, expected {expected}. "
            "Remove it and fetch it again, or, if you trust it, choose it by hand."
        )


def decide(layout: str, rows: Sequence[Row], path: Path, digest: str, remembered: Remembered) -> Row:
    """The model that a file is for.

    Parameters
    ----------
    layout : str
        As `identify` names it.
    rows : sequence of Row
        The table.
    path : Path
        The file; its name may speak.
    digest : str
        SHA-256 of its content.
    remembered : Remembered
        Earlier answers.

    Returns
    -------
    Row
        By content, then by name, then by the earlier answer. Rows with the same backend see images alike: among
        those, a file of unknown name goes to the one whose name begins the others' (medsam2).

    Raises
    ------
    AmbiguousCheckpointError
        Nothing decides; `candidates` are what to ask the user.
    CheckpointError
        No row has the layout.
    """
    fitting = [row for row in rows if row.layout == layout]
    if not fitting:
        raise CheckpointError(f"{path} holds weights of the layout {layout}, for which there is no model here.")
    names = _speaking(path)
    for chosen in (
        [row for row in fitting if any(digest in (file.sha256, file.seen_sha256) for file in row.files)],
        [row for row in fitting if _published(row, path)],
        _hinted(fitting, names),
        [row for row in fitting if row.name == remembered.answer(digest)],
        fitting,
    ):
        alike = _alike(chosen)
        if len(alike) == 1:
            return alike[0]
    raise _question(path, _alike(fitting))


def _speaking(path: Path) -> tuple[str, ...]:
    """The names that may say whose a file is, in lower case: its own, or those of the folders of a repository."""
    name = path.name.lower()
    if name not in NAMELESS:
        return (name,)
    above = [part.lower() for part in path.parts[:-1]]
    # <cache>/models--owner--name/snapshots/<commit>/model.safetensors, or a folder with the repository's name
    return tuple([part for part in above if part.startswith("models--")] or above[-1:])


def _published(row: Row, path: Path) -> bool:
    """Whether the row's file has that name, and the name is nobody else's."""
    name = path.name.lower()
    return name not in NAMELESS and any(file.name.lower() == name for file in row.files)


def _hinted(rows: Iterable[Row], names: Iterable[str]) -> list[Row]:
    """The rows for which the names speak; a name that speaks for two sorts of model is left to the user."""
    return [row for row in rows if row.name in HINTS and any(HINTS[row.name].search(name) for name in names)]


def _alike(rows: Iterable[Row]) -> list[Row]:
    """One row per sort: of those with one backend the generic one, whose name begins the others'."""
    sorts: dict[str, list[Row]] = {}
    for row in rows:
        sorts.setdefault(row.backend, []).append(row)
    return [row for same in sorts.values() for row in _generic(same)]


def _generic(same: list[Row]) -> list[Row]:
    nobodys = [row for row in same if not row.files]  # the row for files that are not published
    if len(same) > 1 and len(nobodys) == 1:
        return nobodys
    shortest = min(same, key=lambda row: len(row.name))
    return [shortest] if all(row.name.startswith(shortest.name) for row in same) else same


def _question(path: Path, rows: Sequence[Row]) -> AmbiguousCheckpointError:
    names = tuple(row.name for row in rows)
    titles = " or ".join(f"{row.title} ({row.name})" for row in rows)
    return AmbiguousCheckpointError(
        f"{path} may hold the weights of {titles}: their files look the same, and they see images differently. "
        f"Say whose it is, for instance as {names[0]}@{path.name}, or with --model {names[0]} on the command line; the "
        "answer is remembered.",
        names,
    )
