"""DICOM in, through SimpleITK (GDCM): one series of slices from a folder, or a single file.

A folder must hold exactly one series of images, or the caller says which. Files that are no DICOM, and objects that
refer to images without being one (segmentations, structure sets, reports, presentation states, dose), are passed over;
a damaged DICOM file is an error, because the volume would lack a slice. When the folder itself holds no series, its
direct subfolders are looked at, one level deep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_medsam.errors import ReadError
from napari_medsam.geometry import FloatArray
from napari_medsam.image import Image
from napari_medsam.io.files import reading, require_file
from napari_medsam.io.itk import from_itk

NOT_IMAGES = ("SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "SR", "PR", "KO", "REG", "DOC", "FID", "PLAN")
"""Modalities of objects that belong to images but are passed over in a folder."""

UNEVEN = 0.1
"""Slices may lie off an even spacing by this part of it; more is a gap, less is rounding in the header."""

TILT = 0.01
"""Millimetres by which the last slice may lie beside the normal through the first and still count as straight."""

SHORT = 12
"""Characters of a series' UID that are shown, from its end, where series differ."""

MODALITY, DESCRIPTION = "0008|0060", "0008|103e"
POSITION, ORIENTATION = "0020|0032", "0020|0037"


INDEX_FILE = "DICOMDIR"
MAGIC = (128, b"DICM")


@dataclass(frozen=True)
class Series:
    """One DICOM series in a folder: its UID, what it says of itself, and its files, not yet sorted."""

    uid: str
    modality: str
    description: str
    files: tuple[str, ...]

    def __str__(self) -> str:
        count = f"{len(self.files)} file{'s' if len(self.files) != 1 else ''}"
        return f"...{self.uid[-SHORT:]} ({self.modality or 'no modality'}, {self.description or 'no name'}, {count})"


@dataclass(frozen=True)
class _Slice:
    """What a slice's header says; position and direction in LPS, None where it says nothing."""

    file: str
    size: tuple[int, ...]
    pixel: int
    position: FloatArray | None
    orientation: FloatArray | None


def read_dicom(path: Path, series: str | None = None) -> Image:
    """Read one DICOM file, or the one series of a folder.

    Parameters
    ----------
    path : Path
        A file, which is read alone, or a folder.
    series : str, optional
        Which series of a folder: its UID, or the end of it.

    Returns
    -------
    Image
        (z, y, x) in LPS millimetres; a single slice has one voxel along its own normal. Rescaled by the file's slope
        and intercept (Hounsfield units for CT): int16 where the values fit, else int32, or float32.

    Raises
    ------
    ReadError
        No series or several; slices missing, unevenly spaced, doubled or of different sizes or directions; a damaged
        file; an object that is no image.
    """
    if path.is_dir():
        return _read_series(path, choose_series(path, series))
    require_file(path)
    return _read_file(path, str(path))


def is_dicom(path: Path) -> bool:
    """Whether `path` is a file that begins as DICOM files do, whatever its name."""
    offset, magic = MAGIC
    try:
        with path.open("rb") as file:
            return file.read(offset + len(magic))[offset:] == magic
    except OSError:
        return False


def find_series(folder: Path) -> tuple[Series, ...]:
    """Series of images in `folder`, or in its direct subfolders when it has none of its own."""
    with reading(folder, "a DICOM folder"):
        found = _series_in(folder)
        if not found:
            found = tuple(s for sub in sorted(folder.iterdir()) if sub.is_dir() for s in _series_in(sub))
    return tuple(s for s in found if s.modality not in NOT_IMAGES)


def choose_series(folder: Path, wanted: str | None) -> Series:
    """Pick the series that `wanted` names, or the only one; ReadError says what there is otherwise."""
    found = find_series(folder)
    if not found:
        raise ReadError(
            f"The folder {folder.name} holds no DICOM images, nor do the folders in it. "
            "Choose the folder that directly holds the slices of one series, or an image file."
        )
    match = [s for s in found if wanted is None or s.uid.endswith(wanted)]
    if len(match) == 1:
        return match[0]
    listing = "; ".join(str(s) for s in (match or found))
    problem = f"{len(match)} series" if match else f"no series whose UID ends in {wanted!r}; there are"
    raise ReadError(
        f"The folder {folder.name} holds {problem}: {listing}. "
        "Put the files of the one you want into a folder of its own and open that. "
        "Or name it by the end of its UID: --series on the command line, series= in Python."
    )


def _series_in(folder: Path) -> tuple[Series, ...]:
    import SimpleITK as sitk

    # GDCM warns on stderr about every file that is no DICOM
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        uids = [uid for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)) if uid]
        names = [sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid) for uid in uids]
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
    _require_undamaged(folder, {Path(file).name for files in names for file in files})
    return tuple(_describe(uid, files) for uid, files in zip(uids, names, strict=True) if files)


def _require_undamaged(folder: Path, listed: set[str]) -> None:
    """ReadError when `folder` has DICOM files that GDCM left out of every series without a word."""
    for path in sorted(folder.iterdir()):
        if path.name not in listed and path.name != INDEX_FILE and is_dicom(path):
            raise ReadError(
                f"{path.name} in {folder.name} is a DICOM file that cannot be read: it is cut off, or names no series. "
                "Copy or export it again, or move it out of the folder."
            )


def _describe(uid: str, files: Sequence[str]) -> Series:
    header = _header(files[0])
    return Series(uid, _text(header, MODALITY), _text(header, DESCRIPTION), tuple(files))


def _header(file: str) -> Any:
    """A SimpleITK reader that has read the header of `file`, not its voxels."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(file)
    reader.ReadImageInformation()
    return reader


def _text(header: Any, key: str) -> str:
    return str(header.GetMetaData(key)).strip() if header.HasMetaDataKey(key) else ""


def _numbers(header: Any, key: str, count: int) -> FloatArray | None:
    parts = _text(header, key).split("\\")
    return np.array([float(p) for p in parts]) if len(parts) == count else None


def _read_file(path: Path, file: str) -> Image:
    with reading(path, "DICOM"):
        import SimpleITK as sitk

        header = _header(file)
        modality = _text(header, MODALITY)
        if modality in NOT_IMAGES:
            raise ReadError(
                f"{path.name} is a DICOM object of the kind {modality}, not an image. "
                "Open the image series; convert a segmentation to NIfTI (for example with dcmqi) to open it."
            )
        image = sitk.ReadImage(file, imageIO="GDCMImageIO")
        return from_itk(path, _compact(image), "dicom", is_labels=False)


def _read_series(folder: Path, series: Series) -> Image:
    if len(series.files) == 1:
        return _read_file(folder, series.files[0])
    with reading(folder, "a DICOM series"):
        import SimpleITK as sitk

        slices = [_slice(file) for file in series.files]
        slices = _sorted(f"The series {series} in {folder.name}", slices)
        reader = sitk.ImageSeriesReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileNames([s.file for s in slices])
        # the reader would take the first slice's type for all, and cut off the fractions of the others
        reader.SetOutputPixelType(_common_type([s.pixel for s in slices]))
        image = _compact(reader.Execute())
        _tilt(image, slices)
        return from_itk(folder, image, "dicom", is_labels=False)


def _slice(file: str) -> _Slice:
    header = _header(file)
    size = tuple(int(n) for n in header.GetSize())
    position, orientation = _numbers(header, POSITION, 3), _numbers(header, ORIENTATION, 6)
    return _Slice(file, size, int(header.GetPixelID()), position, orientation)


def _sorted(what: str, slices: list[_Slice]) -> list[_Slice]:
    """Sort by position along the slices' normal; ReadError unless they make one evenly spaced volume."""
    if any(s.position is None or s.orientation is None for s in slices):
        raise ReadError(f"{what} has slices without a position, so they cannot be stacked. Open a single file.")
    if any(s.size[2:] != (1,) for s in slices):
        raise ReadError(f"{what} consists of several multi-frame files. Open one of the files.")
    if len({s.size for s in slices}) > 1:
        raise ReadError(f"{what} mixes images of different sizes. Put those of one size into a folder of their own.")
    directions = np.array([s.orientation for s in slices])
    if np.abs(directions - directions[0]).max() > 1e-3:
        raise ReadError(f"{what} mixes slices of different directions. Put those of one direction into a folder.")
    normal = np.cross(directions[0, :3], directions[0, 3:])
    heights = np.array([s.position @ normal for s in slices if s.position is not None])
    order = np.argsort(heights, kind="stable")
    _require_even(what, heights[order])
    positions = np.array([slices[i].position for i in order])
    aside = np.linalg.norm(positions - np.linspace(positions[0], positions[-1], len(positions)), axis=1).max()
    if aside > UNEVEN * np.median(np.diff(heights[order])):
        raise ReadError(f"{what} has slices shifted sideways by up to {aside:.2f} mm. Resample it to a straight stack.")
    return [slices[i] for i in order]


def _require_even(what: str, heights: FloatArray) -> None:
    """ReadError unless ascending `heights`, millimetres along the normal, are evenly spaced to UNEVEN."""
    gaps = np.diff(heights)
    step = float(np.median(gaps))
    if gaps.min() <= 1e-3:
        raise ReadError(
            f"{what} has more than one slice at {heights[int(gaps.argmin())]:.2f} mm (several phases or echoes, or "
            "files that are there twice). Put one volume into a folder of its own."
        )
    off = np.abs(heights - np.linspace(heights[0], heights[-1], len(heights))).max()
    if off <= UNEVEN * step:
        return
    worst = int(np.abs(gaps - step).argmax())
    missing = round(float(gaps[worst]) / step) - 1
    said = f"slices are missing (about {missing})" if missing > 0 else "the spacing is uneven"
    raise ReadError(
        f"{what}: between {heights[worst]:.2f} and {heights[worst + 1]:.2f} mm the gap is {gaps[worst]:.2f} mm, "
        f"elsewhere {step:.2f} mm; {said}. Export the whole series again, or resample it to an even spacing."
    )


def _tilt(image: Any, slices: Sequence[_Slice]) -> None:
    """Give `image` the third axis along which its slices are really stacked (a tilted gantry shears the volume).

    ITK stacks along the normal, and takes the distance between slices as if they lay there.
    """
    step = np.subtract(*np.array([slices[-1].position, slices[0].position])) / (len(slices) - 1)
    direction = np.reshape(image.GetDirection(), (3, 3))
    along = float(step @ direction[:, 2])
    if np.linalg.norm(step - along * direction[:, 2]) * len(slices) < TILT:
        return
    direction[:, 2] = step / np.linalg.norm(step)
    image.SetSpacing((*image.GetSpacing()[:2], float(np.linalg.norm(step))))
    image.SetDirection(direction.ravel().tolist())


def _common_type(pixels: Sequence[int]) -> int:
    """SimpleITK type that holds all the slices' types."""
    import SimpleITK as sitk

    kinds = set(pixels)
    if len(kinds) == 1:
        return next(iter(kinds))
    return int(sitk.sitkFloat32 if kinds & {sitk.sitkFloat32, sitk.sitkFloat64} else sitk.sitkInt32)


def _compact(image: Any) -> Any:
    """The same values in half the memory where that loses nothing: scanners store 16 bits, ITK rescales into more."""
    import SimpleITK as sitk

    if image.GetPixelID() == sitk.sitkFloat64:
        return sitk.Cast(image, sitk.sitkFloat32)
    if image.GetPixelID() == sitk.sitkInt32:
        limits = sitk.MinimumMaximumImageFilter()
        limits.Execute(image)
        if limits.GetMinimum() >= -(2**15) and limits.GetMaximum() < 2**15:
            return sitk.Cast(image, sitk.sitkInt16)
    return image
