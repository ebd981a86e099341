"""The real lists of tensors of all originals are told apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_medsam.errors import CheckpointError
from napari_medsam.models.checkpoints.identify import Layout, identify

LAYOUTS = {
    "ft_sam_b": Layout("ft-sam"),
    "hf_sam2_video_default_tiny": Layout("sam2.1-tiny", "transformers"),
    "hf_sam_vit_b": Layout("sam-vit-b", "transformers"),
    "lite_medsam": Layout("litemedsam"),
    "medsam2": Layout("sam2.1-tiny"),
    "medsam2_oldbranch": Layout("sam2-tiny"),
    "mobile_sam": Layout("mobile-sam"),
    "msa_adapter_zoo_guess": Layout("msa-adapters"),
    "msa_sam_adpt": Layout("msa"),
    "sam2.1_hiera_base_plus": Layout("sam2.1-base-plus"),
    "sam2.1_hiera_large": Layout("sam2.1-large"),
    "sam2.1_hiera_small": Layout("sam2.1-small"),
    "sam2.1_hiera_tiny": Layout("sam2.1-tiny"),
    "sam2_hiera_tiny": Layout("sam2-tiny"),
    "sam_vit_b": Layout("sam-vit-b"),
    "sam_vit_h": Layout("sam-vit-h"),
    "sam_vit_l": Layout("sam-vit-l"),
    "samed_b_lora": Layout("samed-b"),
    "samed_h_lora": Layout("samed-h"),
    "sammed2d_b": Layout("sam-med2d"),
    "samus": Layout("samus"),
}

REFUSED = {
    "efficient_sam_vitt": "EfficientSAM",
    "efficientvit_sam_l0": "EfficientViT-SAM",
    "msa_sam_lora": "loralib",
    "sam_hq_vit_b": "SAM-HQ",
    "sam_hq_vit_tiny": "SAM-HQ",
    "samed_b_runtime": "a whole SAMed network",
    "samed_h_runtime": "a whole SAMed network",
}


def shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    rows = [line.split("\t") for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {
        name.removeprefix("sam2_model."): tuple(int(one) for one in shape.strip("[]").split(",") if one.strip())
        for name, shape, _ in rows
    }


def test_every_list_of_names_is_known_or_refused_by_name(shared: Path) -> None:
    lists = {path.stem: shapes_of(path) for path in sorted((shared / "keys").glob("*.txt"))}
    if not lists:
        pytest.skip(f"no lists of names in {shared / 'keys'}")
    assert lists.keys() == LAYOUTS.keys() | REFUSED.keys()
    for stem, layout in LAYOUTS.items():
        assert identify(lists[stem], Path(stem)) == layout, stem
    for stem, name in REFUSED.items():
        with pytest.raises(CheckpointError, match=name):
            identify(lists[stem], Path(stem))


def test_a_really_trained_lora_is_known(shared: Path) -> None:
    from napari_medsam.models.checkpoints.reading import read

    path = shared / "data/lora/sam_vit_b_lora_rank4.safetensors"
    if not path.exists():
        pytest.skip(f"no LoRA at {path}")
    assert identify(read(path).shapes, path) == Layout("sam-lora-b")
