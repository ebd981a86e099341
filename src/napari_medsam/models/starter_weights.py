"""The file of weights of the `starter` model: safetensors in half precision, with its configuration beside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medsam.errors import CheckpointError
from napari_medsam.models.checkpoints.fitting import load_into
from napari_medsam.models.checkpoints.reading import read
from napari_medsam.models.checkpoints.refusal import refused
from napari_medsam.models.checkpoints.writing import write

if TYPE_CHECKING:
    import torch

    from napari_medsam.models.starter_network import NetworkConfig, StarterNetwork

WEIGHTS = Path(__file__).parent / "weights" / "starter.safetensors"
"""The weights that come with the package."""


@dataclass(frozen=True)
class Weights:
    """A network as it was read.

    Parameters
    ----------
    network : StarterNetwork
        In single precision, in evaluation mode.
    facts : mapping of str to str
        What the file says of itself.
    digest : str
        SHA-256 of the file.
    """

    network: StarterNetwork
    facts: Mapping[str, str]
    digest: str


def read_weights(path: Path) -> Weights:
    """The network of a file.

    Raises
    ------
    CheckpointError
        It is missing, damaged, or not of this model.
    """
    from napari_medsam.models.starter_network import StarterNetwork

    checkpoint = read(path)
    network = StarterNetwork(_config(checkpoint.path, checkpoint.metadata))
    load_into(network, checkpoint.tensors, checkpoint.path, what="the starter network")
    return Weights(network.eval(), checkpoint.metadata, hashlib.sha256(checkpoint.path.read_bytes()).hexdigest())


def write_weights(
    path: Path, tensors: Mapping[str, torch.Tensor], config: NetworkConfig, facts: Mapping[str, str]
) -> None:
    """Write weights as `read_weights` takes them, whole or not at all.

    Parameters
    ----------
    path : Path
        Its folder is made where it is missing.
    tensors : mapping of str to Tensor
        The network's state; counters are left out.
    config : NetworkConfig
    facts : mapping of str to str
        Where the weights come from, for the file's metadata.

    Raises
    ------
    WriteError
        The file could not be written.
    """
    kept = {name: values.half() for name, values in tensors.items() if values.dtype.is_floating_point}
    write(path, kept, {"config": json.dumps(config.as_dict()), **facts})


def ready(network: StarterNetwork) -> StarterNetwork:
    """The network made fast for inference: norms folded into convolutions, channels last; it cannot be trained then."""
    import torch

    from napari_medsam.models.starter_network import folded

    network.eval().requires_grad_(False)
    folded(network)
    moved: Any = network  # versions of torch differ in how they type `to`
    moved.to(memory_format=torch.channels_last)
    return network


def _config(path: Path, metadata: Mapping[str, str]) -> NetworkConfig:
    from napari_medsam.models.starter_network import NetworkConfig

    try:
        raw = json.loads(metadata["config"])
        return NetworkConfig(tuple(raw["widths"]), tuple(raw["blocks"]))
    except (KeyError, TypeError, ValueError) as error:
        raise _foreign(path) from error


def _foreign(path: Path) -> CheckpointError:
    return refused(
        path,
        "weights of the starter",
        "none (its metadata does not say how the network is built)",
        "Choose a file that `napari-medsam finetune --model starter` wrote, or the model that this file belongs to.",
    )
