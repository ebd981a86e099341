"""Put the tensors of a checkpoint into a network, strictly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from napari_medsam.models.checkpoints.refusal import refused, some

if TYPE_CHECKING:
    import torch

Module = TypeVar("Module", bound="torch.nn.Module")

COUNTER = "num_batches_tracked"
"""Batch normalisation's count of training steps: not used in evaluation, and some files lack it."""

STEP = "Choose the file that belongs to this model, or the model that belongs to this file."


def skeleton(make: Callable[[], Module]) -> Module:
    """A module without numbers: it costs neither memory nor the time of a random initialisation.

    Parameters
    ----------
    make : callable
        Builds the module.

    Returns
    -------
    nn.Module
        On the device "meta". `load_into` fills its parameters and persistent buffers; the caller makes the others anew,
        since nobody else knows their values.
    """
    import torch

    with torch.device("meta"):
        return make()


def load_into(
    module: torch.nn.Module,
    tensors: Mapping[str, torch.Tensor],
    path: Path,
    *,
    what: str,
    ignored: tuple[str, ...] = (),
) -> None:
    """Give every parameter and persistent buffer of `module` its tensor, converted to the module's own type.

    Afterwards the module does not depend on the file. Tensors that are mapped from it are copied: were they kept, a
    training run that overwrites its checkpoint in place would change the model in use, or end the process. Those in
    memory become a `skeleton`'s own without a copy, so use them for nothing else.

    Parameters
    ----------
    module : nn.Module
        Filled, or a `skeleton`.
    tensors : mapping of str to Tensor
        By the module's names.
    path : Path
        Where they come from, for messages.
    what : str
        What the module is, for messages, as in "SAM ViT-B".
    ignored : tuple of str
        Beginnings of names in `tensors` that the module need not have.

    Raises
    ------
    CheckpointError
        A tensor is missing, superfluous, or of another shape. The module is then as it was.
    """
    import torch

    wanted: dict[str, torch.Tensor] = module.state_dict()
    offered = {name: values for name, values in tensors.items() if name in wanted or not name.startswith(ignored)}
    _check(wanted, offered, path, what)
    offered.update(_counters(wanted, offered))
    empty = any(values.is_meta for values in wanted.values())
    if empty:
        offered = {name: _owned(values, wanted[name]) for name, values in offered.items()}
    with torch.no_grad():
        loading: Any = module  # versions of torch differ in how they type `load_state_dict`
        loading.load_state_dict(offered, strict=True, assign=empty)


def _owned(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The tensor in the module's type, in memory that is nobody else's."""
    storage = values.untyped_storage()
    shared = not storage.resizable() or storage.nbytes() > values.nbytes  # a mapped storage cannot be resized
    return values.detach().to(dtype=like.dtype, copy=shared).contiguous()


def _counters(wanted: Mapping[str, torch.Tensor], offered: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Zeros for the counters that a file lacks."""
    import torch

    lacking = [name for name in wanted if name.endswith(COUNTER) and name not in offered]
    return {name: torch.zeros(wanted[name].shape, dtype=wanted[name].dtype) for name in lacking}


def _check(wanted: Mapping[str, torch.Tensor], offered: Mapping[str, torch.Tensor], path: Path, what: str) -> None:
    missing = [name for name in wanted if name not in offered and not name.endswith(COUNTER)]
    extra = [name for name in offered if name not in wanted]
    if missing or extra:
        raise refused(path, f"the {len(wanted)} tensors of {what}", _difference(missing, extra, len(offered)), STEP)
    shapes = [
        f"{name} {list(offered[name].shape)} for {list(wanted[name].shape)}"
        for name in offered
        if offered[name].shape != wanted[name].shape
    ]
    if shapes:
        raise refused(path, f"the shapes of {what}", f"{len(shapes)} others: {some(shapes)}", STEP)


def _difference(missing: list[str], extra: list[str], count: int) -> str:
    parts = [f"{count} tensors"]
    if missing:
        parts.append(f"{len(missing)} missing ({some(missing)})")
    if extra:
        parts.append(f"{len(extra)} unknown ({some(extra)})")
    return "; ".join(parts)
