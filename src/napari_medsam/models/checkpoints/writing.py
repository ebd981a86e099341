"""Write tensors as safetensors, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medsam.errors import WriteError

if TYPE_CHECKING:
    import torch


def write(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, str]) -> None:
    """Write a file of weights. A file that is there is replaced once the new one is complete.

    Parameters
    ----------
    path : Path
        Its folder is made where it is missing.
    tensors : mapping of str to Tensor
    facts : mapping of str to str
        The file's metadata.

    Raises
    ------
    WriteError
        The system refuses; what stood there before still stands.
    """
    from safetensors.torch import save_file

    part = path.with_name(path.name + ".part")
    # safetensors refuses tensors that share memory, and one mapped from the file to be replaced must not be kept
    owned = {name: values.detach().cpu().clone().contiguous() for name, values in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(owned, str(part), metadata=dict(facts))
        part.replace(path)
    except Exception as error:  # the library turns an error of the system into one of its own
        part.unlink(missing_ok=True)
        raise WriteError(f"{path} could not be written: {error}. Choose another folder, or make room.") from error
