"""Images in a folder with their labels beside them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from napari_medsam.errors import GeometryError, ReadError
from napari_medsam.image import Image
from napari_medsam.io.files import SUFFIXES, stem_of, suffix_of
from napari_medsam.io.read import SavedLabels, read_image, read_labels

ENDING = "_labels"
IMAGES, LABELS = "images", "labels"
SAME = 0.01
"""Affines of an image and its labels may differ by this much: millimetres, or millimetres a voxel."""


class LabelledFile(NamedTuple):
    """An image and the labels that were drawn on it."""

    image: Path
    labels: Path


def labelled_files(folder: str | Path) -> list[LabelledFile]:
    """The images of a folder that have labels, in the order of their names.

    The labels of `NAME.nii.gz` are `NAME_labels.nii.gz` beside it, or `labels/NAME.nii.gz` (or
    `labels/NAME_labels.nii.gz`) for `images/NAME.nii.gz`. Each may be of any format that can be read.

    Raises
    ------
    ReadError
        There is no such folder, or nothing labelled in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ReadError(f"There is no folder {folder}. Check the name and whether the drive is connected.")
    apart = (folder / IMAGES).is_dir() and (folder / LABELS).is_dir()
    images, labels = (_files(folder / IMAGES), _files(folder / LABELS)) if apart else (_files(folder),) * 2
    found = []
    for stem, image in images.items():
        drawn = labels.get(stem + ENDING) or (labels.get(stem) if apart else None)
        if drawn is not None and (apart or not stem.endswith(ENDING)):
            found.append(LabelledFile(image, drawn))
    if not found:
        raise ReadError(
            f"No image in {folder} has labels. Save the labels of NAME.nii.gz as NAME{ENDING}.nii.gz beside it, or use "
            f"two folders, {IMAGES} and {LABELS}, with the same names."
        )
    return found


def read_labelled(file: LabelledFile) -> tuple[Image, SavedLabels]:
    """Both files.

    Raises
    ------
    ReadError
        One of them cannot be read.
    GeometryError
        The labels were not drawn on this image.
    """
    image, labels = read_image(file.image), read_labels(file.labels)
    same = image.grid.shape == labels.image.grid.shape
    if not same or np.abs(image.grid.affine - labels.image.grid.affine).max() > SAME:
        raise GeometryError(
            f"{file.labels.name} lies on another grid than {file.image.name}: {labels.image.grid.shape} voxels, and "
            f"the image has {image.grid.shape}. Bring it onto the image's grid, or take it out of the folder."
        )
    return image, labels


def _files(folder: Path) -> dict[str, Path]:
    """Files that can be read, by their names without suffix."""
    return {stem_of(path): path for path in sorted(folder.iterdir()) if path.is_file() and suffix_of(path) in SUFFIXES}
