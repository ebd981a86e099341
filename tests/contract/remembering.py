"""SAM 2 with its memory, small enough for tests: few and narrow layers, random weights, planes seen at 128 pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from napari_medsam.models import registry
from napari_medsam.models.base import Embedding
from napari_medsam.models.compute import Compute
from napari_medsam.models.frame_sam2 import Sam2Frame, as_picture
from napari_medsam.models.sam2_network import Rule, Sam2Config, Sam2Network, architecture
from napari_medsam.models.sam2_tracker import Sam2Segmenter, segmenter_of
from napari_medsam.models.sam_segmenter import SamSegmenter

SMALL = Sam2Config(16, 1, (1, 1, 2, 1), (3,), size=128)
FRAME = Sam2Frame("small", SMALL.size, as_picture)
SHAPE = (40, 60)


CPU = Compute("cpu", "float32")


def made(config: Sam2Config = SMALL, *, there: float = 5.0, compute: Compute = CPU) -> SamSegmenter:
    """A segmenter whose weights are large enough to make a difference; `there`: the logit that an object is there."""
    torch.manual_seed(3)
    model = architecture(config)
    with torch.no_grad():
        for name, values in model.named_parameters():
            if values.ndim > 1 and "embedding" not in name:
                values.normal_(0, values[0].numel() ** -0.5)
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(there)
    return segmenter_of(registry.row("medsam2").spec("random"), FRAME, Sam2Network(model, Rule.FRAME, compute))


@cache
def remembering(*, temporal: bool = True, there: float = 5.0) -> Sam2Segmenter:
    """One with a memory; the same each time."""
    segmenter = made(replace(SMALL, temporal=temporal), there=there)
    assert isinstance(segmenter, Sam2Segmenter)
    return segmenter


def planes(count: int, colours: Sequence[int] = ()) -> list[NDArray[np.uint8]]:
    """Planes with a bright L that moves, (40, 60) and perhaps colours."""
    stack = np.random.default_rng(3).integers(40, 80, (count, *SHAPE, *colours))
    for position, plane in enumerate(stack):
        plane[10:28, 16 + position : 26 + position] += 110
        plane[20:28, 16 + position : 46 + position] += 60
    return list(stack.clip(0, 255).astype(np.uint8))


@cache
def seen(count: int, *, temporal: bool = True) -> list[Embedding]:
    """The embeddings of those planes."""
    return [remembering(temporal=temporal).encode(plane) for plane in planes(count)]
