"""Networks that are near to ours, or are taken for them, and that we do not run: by the names of their tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

OWN_PROGRAM = "Use it with its own program, or choose another model here."


class Stranger(NamedTuple):
    """A network that is refused by name.

    Parameters
    ----------
    sign : Pattern
        Found in one of the names of its tensors, and in none of the networks that we run.
    name : str
        What it is, for a message.
    step : str
        What the user can do.
    """

    sign: re.Pattern[str]
    name: str
    step: str


def _stranger(sign: str, name: str, step: str = OWN_PROGRAM) -> Stranger:
    return Stranger(re.compile(sign), name, step)


STRANGERS: tuple[Stranger, ...] = (
    _stranger(r"^mask_decoder\.h[fq]_token\.", "SAM-HQ", "Choose a model of SAM in its place; SAM-HQ is not run here."),
    _stranger(r"^prompt_generator\.|^feature_adapter\.", "AutoSAMUS", "Choose the file of SAMUS itself."),
    _stranger(r"^prompt_encoder\.invalid_points\.", "EfficientSAM", "Choose MobileSAM in its place."),
    _stranger(r"^image_encoder\.backbone\.stages\.", "EfficientViT-SAM", "Choose MobileSAM in its place."),
    _stranger(r"^image_encoder\.fuse_stage[23]\.", "EdgeSAM", "Choose MobileSAM in its place."),
    _stranger(r"^(vision_encoder\.backbone\.timm_model|image_encoder\.trunk\.body|spatial_perceiver)\.", "EdgeTAM"),
    _stranger(r"^(detector|detector_model|tracker_model|tracker)\.", "SAM 3"),
    _stranger(
        r"\.lora_[AB](\.default)?(\.weight)?$",
        "LoRA of another order of names (PEFT, or loralib as Medical-SAM-Adapter's sam_lora writes it)",
        "If its weights hold the change already, save them without the lora_ tensors and choose that file; or choose a "
        "file with w_a_000.",
    ),
    _stranger(
        r"\.qkv\.linear_[ab]_[qv]\.",
        "a whole SAMed network",
        "Choose the file that SAMed's save_lora_parameters wrote (epoch_159.pth).",
    ),
    _stranger(r"^encoder\.stages\.", "nnU-Net or nnInteractive"),
    _stranger(r"^model\.\d+\.(conv|cv1)\.", "YOLO or FastSAM"),
)
"""The first one whose sign is found names the file."""


def stranger_of(names: Iterable[str]) -> Stranger | None:
    """Which of the strangers has tensors of such names."""
    listed = list(names)
    return next((one for one in STRANGERS if any(one.sign.search(name) for name in listed)), None)
