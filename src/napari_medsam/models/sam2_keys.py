"""SAM 2's parameters under the names of transformers' Sam2VideoModel. torch is imported when asked, not before."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SHARED = ("prompt_encoder.shared_embedding.positional_embedding", "shared_image_embedding.positional_embedding")
"""Two names of one tensor; some files hold both, some only one."""

POINT_LABELS = "prompt_encoder.point_embed.weight"
"""One table of what the original keeps as four: negative point, positive point, and the two corners of a box."""

THREE_LAYERS = r"(output_hypernetworks_mlps\.\d|iou_prediction_head|pred_obj_score_head|object_pointer_proj)\.layers"

RULES: tuple[tuple[str, str], ...] = (
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"^image_encoder\.neck\.convs\.(\d)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
    (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
    (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
    (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
    (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    (r"\.pe_layer\.positional_encoding_gaussian_matrix$", ".shared_embedding.positional_embedding"),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"^memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
    (r"\.gamma$", ".scale"),
    (r"\.mask_downsampler\.encoder\.12\.", ".mask_downsampler.final_conv."),
    (r"\.(self_attn|cross_attn_\w+|final_attn_\w+)\.out_proj\.", r".\1.o_proj."),
    (r"\.norm(\d?|_final_attn)\.", r".layer_norm\1."),
    (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
    (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
    (rf"{THREE_LAYERS}\.0\.", r"\1.proj_in."),
    (rf"{THREE_LAYERS}\.2\.", r"\1.proj_out."),
    (rf"{THREE_LAYERS}\.1\.", r"\1.layers.0."),
)
"""In this order. Found by laying the parameters of the two implementations beside each other."""

DOWNSAMPLER = re.compile(r"\.mask_downsampler\.encoder\.(\d+)\.")
"""Its convolutions, norms and activations take turns in one list of the original."""

FOUR_LABELS = re.compile(r"^sam_prompt_encoder\.point_embeddings\.(\d)\.weight$")


def name_of(original: str) -> str:
    """The name that transformers gives to a parameter of the original."""
    if FOUR_LABELS.match(original):
        return POINT_LABELS
    name = original
    for pattern, by in RULES:
        name = re.sub(pattern, by, name)
    return DOWNSAMPLER.sub(_downsampler, name)


def _downsampler(found: re.Match[str]) -> str:
    layer, part = divmod(int(found[1]), 3)
    return f".mask_downsampler.layers.{layer}.{'conv' if part == 0 else 'layer_norm'}."


def from_original(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The parameters of an original checkpoint, complete under the names of transformers."""
    import torch

    renamed = {name_of(key): tensor for key, tensor in tensors.items()}
    labels = sorted(key for key in tensors if FOUR_LABELS.match(key))
    if labels:
        renamed[POINT_LABELS] = torch.cat([tensors[key] for key in labels])
    return completed(renamed)


def completed(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same parameters, the positional embedding under both its names."""
    full = dict(tensors)
    for name, other in (SHARED, SHARED[::-1]):
        if name in full:
            full.setdefault(other, full[name])
    return full


def is_transformers(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether parameters have the names of transformers already."""
    return any(name.startswith("vision_encoder.") for name in tensors)


def remembers(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether parameters under transformers' names hold the memory that a volume needs, or only the image model."""
    return any(name.startswith("memory_encoder.") for name in tensors)
