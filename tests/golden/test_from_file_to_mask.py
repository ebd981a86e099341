"""The user's whole path with files laid out as the public ones: a file on disk, recognised, loaded, and a mask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.golden.originals import Originals

from napari_medsam import api
from napari_medsam.errors import AmbiguousCheckpointError, CheckpointError
from napari_medsam.models.checkpoints.choices import Remembered
from napari_medsam.models.checkpoints.hashes import digest_of
from napari_medsam.models.checkpoints.places import Places
from napari_medsam.models.compute import Compute
from napari_medsam.models.loading import Loader

BOX = (255, 95, 350, 190)
"""The demo's box, as rows and columns."""

Save = Callable[[dict[str, Any], Path], None]


def wrapped(state: dict[str, Any], path: Path) -> None:
    """As a training run saves it, with what the optimiser holds."""
    torch.save({"model": state, "optimizer": torch.optim.Adam([torch.zeros(3)]).state_dict(), "epoch": 7}, path)


def parallel(state: dict[str, Any], path: Path) -> None:
    """As a run on several GPUs saves it, in the old format."""
    named = {f"module.{name}": values for name, values in state.items()}
    torch.save(named, path, _use_new_zipfile_serialization=False)


FILES: list[tuple[str, str, str, Save]] = [
    ("lite_medsam", "lite_medsam.pth", "litemedsam", wrapped),
    ("lite_medsam", "medsam_lite_scribble.pth", "litemedsam-scribble", wrapped),
    ("mobile_sam", "mobile_sam.pt", "mobile-sam", parallel),
    ("medsam2", "MedSAM2_latest.pt", "medsam2", wrapped),
]


@pytest.fixture(scope="module")
def slice_(shared: Path) -> np.ndarray:
    path = shared / "data" / "photos" / "medsam_img_demo.png"
    if not path.exists():
        pytest.skip(f"no picture at {path}")
    return np.asarray(Image.open(path).convert("L"))


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    return Loader(Places((tmp_path / "weights",)), Compute("cpu", "float32"), Remembered(tmp_path / "said.json"))


@pytest.mark.parametrize(("keys", "name", "row", "save"), FILES, ids=[name for _, name, _, _ in FILES])
def test_a_file_is_recognised_loaded_and_answers(
    shared: Path, tmp_path: Path, slice_: np.ndarray, loader: Loader, keys: str, name: str, row: str, save: Save
) -> None:
    save(Originals(shared).weights(keys), tmp_path / name)
    reference = loader.recognise(tmp_path / name)
    assert reference == f"{row}@{tmp_path / name}"
    model = loader(reference)
    assert model.spec.name == row
    assert digest_of(tmp_path / name)[:16] in model.spec.digest
    assert "float32" in model.spec.digest
    asked = {"strokes": [[(300, 120), (310, 160)]]} if row.endswith("scribble") else {"box": BOX}
    prediction = api.segment_plane(slice_, **asked, window=(0, 255), model=model)  # type: ignore[arg-type]
    assert prediction.mask.shape == slice_.shape
    assert np.isfinite(prediction.scores).all()


def test_a_file_that_fits_two_models_is_asked_about_and_remembered(
    shared: Path, tmp_path: Path, loader: Loader
) -> None:
    path = tmp_path / "best.pth"
    wrapped(Originals(shared).weights("lite_medsam"), path)
    with pytest.raises(AmbiguousCheckpointError) as caught:
        loader.recognise(path)
    assert set(caught.value.candidates) == {"litemedsam", "litemedsam-scribble"}
    loader.remembered.keep_answer(digest_of(path), "litemedsam-scribble")
    assert loader.recognise(path) == f"litemedsam-scribble@{path}"


def test_the_wrong_family_is_refused_with_the_right_one(shared: Path, tmp_path: Path, loader: Loader) -> None:
    path = tmp_path / "mobile_sam.pt"
    wrapped(Originals(shared).weights("mobile_sam"), path)
    with pytest.raises(CheckpointError, match=r"mobile_sam\.pt .* LiteMedSAM.*MobileSAM"):
        loader(f"litemedsam@{path}")


def test_a_published_name_with_another_content_is_refused(shared: Path, tmp_path: Path) -> None:
    """mobile_sam.pt has a published digest; in the weights folder a file of that name must be that file."""
    folder = tmp_path / "weights"
    folder.mkdir()
    wrapped(Originals(shared).weights("mobile_sam"), folder / "mobile_sam.pt")
    loader = Loader(Places((folder,)), Compute("cpu", "float32"), Remembered(tmp_path / "said.json"))
    with pytest.raises(CheckpointError, match="mobile_sam"):
        loader("mobile-sam")
