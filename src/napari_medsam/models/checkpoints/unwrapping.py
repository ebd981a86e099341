"""From what a training run saved to the tensors of the network: no containers, no prefixes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medsam.models.checkpoints.refusal import refused, some
from napari_medsam.models.checkpoints.sniffing import WEIGHTS

if TYPE_CHECKING:
    import torch

CONTAINERS = ("model", "state_dict", "network_weights")
"""Where training runs put the weights, beside the optimiser and so on; tried in this order."""

PREFIXES = ("module.", "_orig_mod.", "sam2_model.")
"""Of DataParallel, of torch.compile, and of the SAM 2 wrapper of bowang-lab/MedSAM."""

TYPES = ("float32", "float16", "bfloat16", "float64", "int64", "int32", "bool")
"""Types of tensors that a network can be filled with. Others are of quantised weights, which need their own code."""


def unwrapped(content: Any, path: Path, size: int) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors by the network's own names, and the short values beside them.

    Parameters
    ----------
    content : object
        All that the file holds.
    path : Path
    size : int
        Bytes of the file.

    Raises
    ------
    CheckpointError
        There are no tensors, or none that a network can be filled with.
    """
    values = content if isinstance(content, Mapping) else {}
    tensors = _found(values)
    if not tensors:
        step = "Choose a file of weights, as torch.save(network.state_dict(), ...) writes it."
        raise refused(path, f"the tensors of a network in {WEIGHTS}", _contents(content), step)
    _check(tensors, path, size)
    said = {name: str(value) for name, value in values.items() if type(name) is str and _is_short(value)}
    return _without_prefixes(tensors), said


def _found(values: Mapping[Any, Any]) -> dict[str, torch.Tensor]:
    """The tensors in a container, or at the top, or in the only other container that has some."""
    for inner in (*map(values.get, CONTAINERS), values):
        if tensors := _tensors(inner):
            return tensors
    others = [tensors for inner in values.values() if (tensors := _tensors(inner))]
    return others[0] if len(others) == 1 else {}


def _is_short(value: Any) -> bool:
    """Whether a value is a number or a text that a person would read."""
    return (
        type(value) is float
        or (type(value) is int and abs(value) < 1 << 63)
        or (type(value) is str and len(value) < 200)
    )


def _tensors(values: Any) -> dict[str, torch.Tensor]:
    """The tensors among the values of a mapping."""
    import torch

    if not isinstance(values, Mapping):
        return {}
    return {
        name: value.detach() for name, value in values.items() if type(name) is str and isinstance(value, torch.Tensor)
    }


def _without_prefixes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without what all names begin with. A prefix of some names only is a part of the network."""
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            return _without_prefixes({name.removeprefix(prefix): values for name, values in tensors.items()})
    return tensors


def _check(tensors: Mapping[str, torch.Tensor], path: Path, size: int) -> None:
    """Refuse what cannot be numbers of a network, and tensors that repeat a few numbers to fill the memory."""
    for name, values in tensors.items():
        kind = str(values.dtype).removeprefix("torch.")
        if kind not in TYPES or str(values.layout) != "torch.strided":
            step = "Choose the version of these weights that is not quantised."
            raise refused(path, f"tensors of {', '.join(TYPES[:3])}", f"{kind} ({name})", step)
        if values.numel() * values.element_size() > size:
            found = f"{name} of shape {list(values.shape)} in a file of {size} bytes"
            raise refused(path, "tensors no larger than the file", found, "Do not use it: it was made to do harm.")


def _contents(content: Any) -> str:
    """What a file without tensors holds, in words."""
    if isinstance(content, Mapping):
        names = [name if type(name) is str else type(name).__name__ for name in content]
        return f"no tensors, or several sets of them, in the entries {some(names)}" if names else "nothing in it"
    from napari_medsam.models.checkpoints.restricted import Inert

    return "an object of other code in it" if isinstance(content, Inert) else f"a {type(content).__name__} in it"
