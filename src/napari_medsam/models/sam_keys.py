"""Names of SAM's tensors in files of the transformers format, turned into the original's. No torch here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")

ENCODER = "vision_encoder."
"""What the encoder's tensors begin with in transformers, and nowhere else."""

POSITIONS = ("prompt_encoder.shared_embedding.positional_embedding", "shared_image_embedding.positional_embedding")
"""Two names of one tensor; some files hold both, some only one."""

ORIGINAL_POSITIONS = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"

LAST_OF_THREE = r"(output_hypernetworks_mlps\.\d+|iou_prediction_head)"

RULES: tuple[tuple[str, str], ...] = (
    (r"^vision_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
    (r"^vision_encoder\.neck\.conv1\.", "image_encoder.neck.0."),
    (r"^vision_encoder\.neck\.layer_norm1\.", "image_encoder.neck.1."),
    (r"^vision_encoder\.neck\.conv2\.", "image_encoder.neck.2."),
    (r"^vision_encoder\.neck\.layer_norm2\.", "image_encoder.neck.3."),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    (r"^vision_encoder\.", "image_encoder."),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"\.mask_embed\.conv1\.", ".mask_downscaling.0."),
    (r"\.mask_embed\.layer_norm1\.", ".mask_downscaling.1."),
    (r"\.mask_embed\.conv2\.", ".mask_downscaling.3."),
    (r"\.mask_embed\.layer_norm2\.", ".mask_downscaling.4."),
    (r"\.mask_embed\.conv3\.", ".mask_downscaling.6."),
    (r"\.upscale_conv1\.", ".output_upscaling.0."),
    (r"\.upscale_layer_norm\.", ".output_upscaling.1."),
    (r"\.upscale_conv2\.", ".output_upscaling.3."),
    (rf"{LAST_OF_THREE}\.layers\.0\.", r"\1.layers.1."),
    (rf"{LAST_OF_THREE}\.proj_in\.", r"\1.layers.0."),
    (rf"{LAST_OF_THREE}\.proj_out\.", r"\1.layers.2."),
    (r"\.layer_norm(\d|_final_attn)\.", r".norm\1."),
)
"""In this order. Found by laying the parameters of the two implementations beside each other."""


def original_names(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """The same tensors under the original's names; those that have them already keep them.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Of SAM or MedSAM, or of another network that has SAM's names.
    """
    if not any(name.startswith(ENCODER) for name in tensors):
        return dict(tensors)
    return {original_name(name): values for name, values in tensors.items()}


def original_name(name: str) -> str:
    """The original's name of a tensor of transformers."""
    if name in POSITIONS:
        return ORIGINAL_POSITIONS
    for pattern, replacement in RULES:
        name = re.sub(pattern, replacement, name)
    return name
