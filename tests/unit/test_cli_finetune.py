"""`napari-medsam finetune`, as far as it goes without training."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_medsam.cli import main
from napari_medsam.models.finetune.tuning import SETTINGS, Method, Order


def save(path: Path, values: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(values, np.diag([3.0, 1, 2, 1])), path)


def folder(path: Path, labels: np.ndarray) -> str:
    save(path / "a.nii.gz", np.arange(4 * 6 * 8, dtype=np.int16).reshape(4, 6, 8))
    save(path / "a_labels.nii.gz", labels)
    return str(path)


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["finetune", *words]) == 1
    return capsys.readouterr().err


def test_what_is_wrong_is_said_before_the_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = folder(tmp_path, np.zeros((4, 6, 8), np.uint8))
    out = str(tmp_path / "out.safetensors")
    assert "safetensors" in complaint(capsys, images, "-o", str(tmp_path / "out.pth"))
    assert "make the folder" in complaint(capsys, images, "-o", str(tmp_path / "no" / "out.safetensors"))
    assert "No labelled object" in complaint(capsys, images, "-o", out)
    assert "There is no folder" in complaint(capsys, str(tmp_path / "nowhere"), "-o", out)
    assert not list(tmp_path.glob("out*"))


def test_models_and_ways_that_do_not_fit_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.zeros((4, 6, 8), np.uint8)
    labels[:, 1:5, 3] = 1
    images, out = folder(tmp_path, labels), str(tmp_path / "out.safetensors")
    assert "'all'" in complaint(capsys, images, "-o", out, "--method", "lora")
    assert "cannot be fine-tuned" in complaint(capsys, images, "-o", out, "--model", "contour")


def test_an_order_has_the_settings_of_its_method() -> None:
    assert Order("starter").settings(Method.ALL) == SETTINGS[Method.ALL]
    other = Order("starter", steps=7, seed=3).settings(Method.ALL)
    assert (other.steps, other.seed, other.rate) == (7, 3, SETTINGS[Method.ALL].rate)
