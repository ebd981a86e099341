"""SAM 2's attention to its memory: fewer products than transformers' modules, the same result."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers.models.sam2_video.configuration_sam2_video import Sam2VideoConfig
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoMemoryAttention

from napari_medsam.models.sam2_attention import MemoryAttention, Remembered

SIDE, SLICES, POINTERS = 8, 3, 12
TOKENS = SIDE * SIDE


@pytest.fixture(scope="module")
def module() -> Any:
    torch.manual_seed(2)
    made = Sam2VideoMemoryAttention(Sam2VideoConfig(memory_attention_rope_feat_sizes=[SIDE, SIDE])).eval()
    with torch.no_grad():
        for values in made.parameters():
            values.normal_(0, values[0].numel() ** -0.5 if values.ndim > 1 else 0.3)
    return made


def memory(slices: int, pointers: int, seed: int) -> Remembered:
    drawn = torch.Generator().manual_seed(seed)
    values, places = (torch.randn(slices * TOKENS + pointers, 64, generator=drawn) for _ in range(2))
    return Remembered(values, values + places, pointers)


def theirs(module: Any, plane: torch.Tensor, position: torch.Tensor, one: Remembered) -> torch.Tensor:
    found = module(
        current_vision_features=plane[:, None],
        memory=one.values[:, None],
        current_vision_position_embeddings=position[:, None],
        memory_posision_embeddings=(one.keys - one.values)[:, None],
        num_object_pointer_tokens=one.pointers,
    )
    return torch.as_tensor(found).reshape(TOKENS, 256)


@pytest.mark.parametrize(
    ("precision", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)], ids=["float32", "bfloat16"]
)
def test_objects_together_get_what_transformers_gives_each(
    module: Any, monkeypatch: pytest.MonkeyPatch, precision: torch.dtype, limit: float
) -> None:
    monkeypatch.setattr("napari_medsam.models.sam2_attention.ROWS", 12)  # so that there are several blocks
    drawn = torch.Generator().manual_seed(1)
    plane, position = (torch.randn(TOKENS, 256, generator=drawn) for _ in range(2))
    memories = [memory(SLICES, POINTERS, 5), memory(1, 0, 6), memory(SLICES, POINTERS, 7)]
    with torch.inference_mode():
        found = MemoryAttention(module, precision)(plane, position, memories)
        for ours, one in zip(found, memories, strict=True):
            known = theirs(module, plane, position, one)
            assert (ours - known).abs().max() <= limit * known.abs().max()
