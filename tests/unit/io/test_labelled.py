"""Images in a folder with labels beside them, or in two folders."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_medsam.errors import GeometryError, ReadError
from napari_medsam.io.labelled import LabelledFile, labelled_files, read_labelled


def save(path: Path, shape: tuple[int, ...] = (4, 6, 8), spacing: float = 2.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.arange(np.prod(shape)).reshape(shape).astype(np.int16) % 5
    nib.save(nib.Nifti1Image(values, np.diag([3, 1, spacing, 1])), path)
    return path


def test_labels_beside_their_images(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a.nii.gz"), save(tmp_path / "b.nii")
    labels = save(tmp_path / "b_labels.nii.gz")
    save(tmp_path / "c_labels.nii.gz")
    assert labelled_files(tmp_path) == [LabelledFile(b, labels)]
    other = save(tmp_path / "a_labels.nii")
    assert labelled_files(tmp_path) == [LabelledFile(a, other), LabelledFile(b, labels)]


def test_images_and_labels_in_two_folders(tmp_path: Path) -> None:
    a, b = save(tmp_path / "images/a.nii.gz"), save(tmp_path / "images/b.nii.gz")
    save(tmp_path / "images/c.nii.gz")
    one, two = save(tmp_path / "labels/a.nii.gz"), save(tmp_path / "labels/b_labels.nii.gz")
    assert labelled_files(tmp_path) == [LabelledFile(a, one), LabelledFile(b, two)]


def test_a_folder_without_labels_is_refused_in_words(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz")
    with pytest.raises(ReadError, match=r"NAME_labels\.nii\.gz"):
        labelled_files(tmp_path)
    with pytest.raises(ReadError, match="no folder"):
        labelled_files(tmp_path / "nowhere")


def test_both_are_read_on_one_grid(tmp_path: Path) -> None:
    file = LabelledFile(save(tmp_path / "a.nii.gz"), save(tmp_path / "a_labels.nii.gz"))
    image, labels = read_labelled(file)
    assert labels.array.shape == image.grid.shape
    np.testing.assert_array_equal(np.asarray(image.data), labels.array)


@pytest.mark.parametrize(("shape", "spacing"), [((4, 6, 7), 2.0), ((4, 6, 8), 2.5)])
def test_labels_on_another_grid_are_refused_in_words(tmp_path: Path, shape: tuple[int, ...], spacing: float) -> None:
    file = LabelledFile(save(tmp_path / "a.nii.gz"), save(tmp_path / "a_labels.nii.gz", shape, spacing))
    with pytest.raises(GeometryError, match="another grid"):
        read_labelled(file)
