"""Write the averaged weights of a checkpoint as half precision safetensors.

python export.py checkpoints/last.pt ../src/napari_medsam/models/weights/starter.safetensors
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from napari_medsam.models.starter_network import NetworkConfig


def export(checkpoint: Path, out: Path, which: str = "average") -> int:
    """Write the file; returns its size in bytes."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    tensors = {k: v.half().contiguous() for k, v in state[which].items() if v.dtype.is_floating_point}
    facts = {"config": json.dumps(NetworkConfig().as_dict()), "step": str(state["numbers"]["step"])}
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(out), metadata=facts)
    return out.stat().st_size


if __name__ == "__main__":
    print(export(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]), "bytes")
