"""Read the tensors of a checkpoint, whoever made it, without running anything of it."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medsam.errors import CheckpointError
from napari_medsam.models.checkpoints.refusal import refused, some
from napari_medsam.models.checkpoints.sniffing import WEIGHTS, Kind, kind_of, weights_at
from napari_medsam.models.checkpoints.unwrapping import unwrapped

if TYPE_CHECKING:
    import torch

AGAIN = "Download or copy the file again."


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file.

    Parameters
    ----------
    path : Path
        The file itself, where a folder was given.
    tensors : mapping of str to Tensor
        On the CPU, by the network's own names: unwrapped, without prefixes. Mapped from the file unless that is
        "legacy": a tensor that nobody uses costs nothing, but none survives an overwritten file, so copy what is kept.
    kind : str
        "safetensors", "zip" or "legacy": how it is stored.
    metadata : mapping of str to str
        What else the file says: safetensors' metadata, or short values beside the weights, such as the epoch.
    """

    path: Path
    tensors: Mapping[str, torch.Tensor]
    kind: Kind
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor."""
        return {name: tuple(values.shape) for name, values in self.tensors.items()}


def read(path: Path) -> Checkpoint:
    """The tensors of a file, or of the file of weights in a folder of the transformers format.

    Raises
    ------
    CheckpointError
        It is missing, unreadable, damaged, no checkpoint, or changes while it is read. Whatever it holds, nothing of it
        is run.
    """
    file = weights_at(path)
    kind = kind_of(file)
    with steady(file):
        try:
            content, metadata = _safetensors(file) if kind == "safetensors" else (_pickled(file, kind), {})
            size = file.stat().st_size
        except Exception as error:  # a damaged file can make its reader fail in any way
            raise _damaged(file, error) from error.with_traceback(None)  # its frames would keep what was read
        try:
            tensors, values = unwrapped(content, file, size)
        except CheckpointError as error:
            raise _with_code(file, error) from None
    return Checkpoint(file, tensors, kind, {**values, **metadata})


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor, as `read(path).shapes`, but without reading numbers, also from "legacy" files.

    Raises
    ------
    CheckpointError
        As for `read`. A file that ends too early is noticed only when it is read.
    """
    import torch

    with torch.serialization.skip_data():
        return read(path).shapes


@contextmanager
def steady(path: Path) -> Iterator[None]:
    """See to it that a file stays the same while it is used.

    Raises
    ------
    CheckpointError
        At the end, when the file was replaced, overwritten or removed in between.
    """
    before = _stamp(path)
    yield
    if _stamp(path) != before:
        found = "one that was replaced while it was read"
        raise refused(path, "a file at rest", found, "Wait until it is written whole, and load it again.")


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        stat = path.stat()
    except OSError:
        return ()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def _safetensors(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118


def _pickled(path: Path, kind: Kind) -> Any:
    """What `torch.save` wrote. Only "zip" files can be mapped."""
    import torch

    options: dict[str, Any] = {"map_location": "cpu", "mmap": kind == "zip"}
    try:
        return torch.load(path, weights_only=True, **options)
    except pickle.UnpicklingError:
        # it names something else than tensors. TorchScript and tar files, which torch would run, fail in another way
        from napari_medsam.models.checkpoints import restricted

        return torch.load(path, weights_only=False, pickle_module=restricted, **options)


def _with_code(path: Path, error: CheckpointError) -> CheckpointError:
    """The error, and the names of code in the file, if there are any: who made it may have meant harm."""
    from torch.serialization import get_unsafe_globals_in_checkpoint

    try:
        code = get_unsafe_globals_in_checkpoint(path)
    except Exception:  # it reads zip files only
        return error
    if not code:
        return error
    return CheckpointError(f"{error} It also names code ({some(code)}). Nothing of it was run; do not trust this file.")


def _damaged(path: Path, error: Exception) -> CheckpointError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return refused(path, WEIGHTS, f"a damaged one ({reason[:200]})", AGAIN)
