"""One door for all files: which reader takes which file, and labels reopened with their names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import ReadError
from napari_medsam.image import Image
from napari_medsam.io.dicom import is_dicom, read_dicom
from napari_medsam.io.files import DICOM, ITK, NIFTI, NUMPY, RASTER, SUFFIXES, TIFF, reading, suffix_of
from napari_medsam.io.itk import read_itk
from napari_medsam.io.names import read_names
from napari_medsam.io.nifti import read_nifti
from napari_medsam.io.raster import read_array, read_picture
from napari_medsam.io.tiff import read_tiff

_READERS: dict[str, Callable[[Path], Image]] = {
    **dict.fromkeys(NIFTI, read_nifti),
    **dict.fromkeys(ITK, read_itk),
    **dict.fromkeys(DICOM, read_dicom),
    **dict.fromkeys(TIFF, read_tiff),
    **dict.fromkeys(RASTER, read_picture),
    **dict.fromkeys(NUMPY, read_array),
}


class SavedLabels(NamedTuple):
    """Labels from a file: the integer array, the same as an Image with grid and source, and the names of its values."""

    array: NDArray[Any]
    image: Image
    names: dict[int, str]


def read_image(path: str | Path, *, series: str | None = None) -> Image:
    """Read an image file, or a folder with one DICOM series.

    Parameters
    ----------
    path : path
        .nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd, .dcm, .ima, .tif, .tiff, .png, .jpg, .bmp, .npy (upper or lower
        case), a DICOM file without a suffix, or a folder.
    series : str, optional
        For a folder with several DICOM series: the UID of one, or the end of it.

    Returns
    -------
    Image
        Voxels as stored, (z, y, x) with indices toward left, posterior and superior and a grid in LPS millimetres
        where the format knows the patient; see the module of the format.

    Raises
    ------
    ReadError
        What is wrong with which file, and what to do. No other exception leaves this function.
    """
    path = Path(path)
    with reading(path, "an image"):
        return read_dicom(path, series) if path.is_dir() else _reader(path)(path)


def read_labels(path: str | Path) -> SavedLabels:
    """Read labels from any format that `read_image` reads.

    Names come from the table beside the file (`names.read_names`), else from inside it: the label table that some
    NIfTI files carry, or the segments of a .seg.nrrd. A table that cannot be used counts as none.

    Raises
    ------
    ReadError
        As `read_image`; or the voxels are colours or fractions, so they are no labels.
    """
    path = Path(path)
    return labels_from(path, read_picture(path, indexed=True) if suffix_of(path) in RASTER else read_image(path))


def labels_from(path: str | Path, image: Image) -> SavedLabels:
    """The labels in `image`, which `read_image` has read from `path`: the file is not read again.

    The names are looked for as `read_labels` says. The source entry of the result says that it holds labels, so they
    may be saved over their file; that of `image` stays as it is.

    Raises
    ------
    ReadError
        The voxels are colours or fractions, so they are no labels. The colours of a picture with a palette are no
        numbers any more: `read_labels` reads such a picture.
    """
    path = Path(path)
    if image.rgb:
        raise ReadError(f"{path.name} is a colour picture, not labels. Open it as an image.")
    array = _whole_numbers(path, np.asarray(image.data))
    source = {**image.source, "is_labels": True}
    return SavedLabels(array, replace(image, data=array, source=source), _names(path, image))


def _reader(path: Path) -> Callable[[Path], Image]:
    reader = _READERS.get(suffix_of(path))
    if reader is None and path.is_file() and is_dicom(path):
        return read_dicom
    if reader is None and path.exists():
        raise ReadError(
            f"{path.name} is of a kind that cannot be opened. These can: {', '.join(SUFFIXES)}, DICOM folders."
        )
    return reader or read_nifti


def _whole_numbers(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    """`array` as integers: as they are, or converted from a float type without loss."""
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind in "iu":
        return array
    if not np.isfinite(array).all() or np.abs(array).max(initial=0) >= 2**31 or (array != np.rint(array)).any():
        raise ReadError(f"{path.name} holds fractions or infinities, so it is no label file. Open it as an image.")
    return array.astype(np.int32)


def _names(path: Path, image: Image) -> dict[int, str]:
    try:
        beside = read_names(path)
    except ReadError:
        beside = {}
    return beside or dict(image.source.get("names", {})) or _table_inside(image)


def _table_inside(image: Image) -> dict[int, str]:
    """Names from the label table in a NIfTI extension (as Connectome Workbench and TotalSegmentator write it)."""
    for _, content in image.source.get("extensions", ()):
        if b"<LabelTable" in content:
            try:
                labels = ElementTree.fromstring(content.strip(b"\0 \t\r\n")).iter("Label")
                return {int(e.attrib["Key"]): (e.text or "").strip() for e in labels}
            except (ElementTree.ParseError, KeyError, ValueError):
                return {}
    return {}
