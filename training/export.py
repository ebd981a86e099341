"""Write the averaged weights of a checkpoint as half precision safetensors.

python export.py checkpoints/last.pt ../src/napari_medsam/models/weights/starter.safetensors
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from napari_medsam.models.starter_network import NetworkConfig
from napari_medsam.models.starter_weights import write_weights


def export(checkpoint: Path, out: Path, which: str = "average") -> int:
    """Write the file; returns its size in bytes."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    write_weights(out, state[which], NetworkConfig(), {"step": str(state["numbers"]["step"])})
    return out.stat().st_size


if __name__ == "__main__":
    print(export(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]), "bytes")
