"""Labels out: NIfTI with the geometry of the image that they were drawn on, and the table of their names."""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_medsam.errors import GeometryError, LabelsError, WriteError
from napari_medsam.geometry import FloatArray, Grid
from napari_medsam.io.atomic import replacing, require_replaceable
from napari_medsam.io.files import NIFTI
from napari_medsam.io.names import names_path, require_own_table, write_names
from napari_medsam.io.nifti import SECONDS
from napari_medsam.io.orient import LPS, from_lps, source_grid

INTENT_NAME = "napari-medsam"
COMPRESSION = 3
"""Level of gzip: on labels as fast as level 1 and a third smaller; above 3 writing takes much longer."""

LABEL_TYPES = (np.uint8, np.uint16, np.uint32)
LARGEST_AXIS = 32767
"""NIfTI 1 counts voxels in 16 bits; longer axes need NIfTI 2."""

SCANNER, ALIGNED = 1, 2
AFFINE_FIELDS = (
    *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)


def write_labels(
    path: str | Path,
    labels: ArrayLike,
    *,
    grid: Grid,
    source: Mapping[str, Any] | None = None,
    names: Mapping[int, str] | None = None,
    colors: Mapping[int, str] | None = None,
) -> Path:
    """Write labels as NIfTI, whole or not at all, and their names beside it.

    When `grid` is still the grid of the source, the voxels go back into the source's own order, and its affine and
    header are written as they were, field by field. Otherwise the affine is the grid's own, as sform.

    Parameters
    ----------
    path : path
        Where to; .nii.gz is appended unless it ends in .nii or .nii.gz. An existing file is replaced when `path` is
        its full name, but never the image itself.
    labels : array of shape `grid.shape`
        Whole numbers from 0 upward; (y, x), (z, y, x) or (t, z, y, x). Stored in the smallest unsigned type that fits.
    grid : Grid
        World in LPS millimetres, time in seconds. A layer in other units must be converted before.
    source : mapping, optional
        `Image.source` of the image that the labels were drawn on.
    names : mapping of int to str, optional
        Of every label: written to `<stem>.tsv`. Of a table that is there, rows of values without a name here go, as
        their objects were of the labels that are replaced; other columns stay. Nothing is written when None or empty.
    colors : mapping of int to str, optional
        Hex colours for the table.

    Returns
    -------
    Path
        The path that was really written.

    Raises
    ------
    LabelsError
        Negative, fractional or too large values, or a shape other than the grid's.
    GeometryError
        A grid that mixes time with space.
    WriteError
        The system refuses; the file to write is the one that `source` was read from, and that holds no labels; a name
        without its suffix is that of an existing file; or the name table would replace some other file.
    """
    path = require_writable(path, source, named=bool(names))
    voxels = np.asarray(labels)
    if voxels.shape != grid.shape:
        raise LabelsError(f"The labels have the shape {voxels.shape}, but their grid says {grid.shape}.")
    voxels = voxels.astype(label_type(voxels), copy=False)
    image = _image(voxels, grid, source)
    with replacing(path) as file:
        _write(image, file, zipped=path.name.lower().endswith(".gz"))
    if names:
        write_names(path, names, colors)
    return path


def label_path(path: str | Path) -> Path:
    """Where labels for `path` really go: .nii.gz is appended unless the name ends in .nii or .nii.gz."""
    path = Path(path)
    return path if path.name.lower().endswith(NIFTI) else path.with_name(f"{path.name}.nii.gz")


def require_writable(typed: str | Path, source: Mapping[str, Any] | None = None, *, named: bool = True) -> Path:
    """Make sure, before the work, that `write_labels` will be able to write.

    Parameters
    ----------
    typed : path
        As for `write_labels`.
    source : mapping, optional
        `Image.source` of the image, whose own file is refused.
    named : bool
        Whether a table of names will go beside it.

    Returns
    -------
    Path
        The path that will really be written.

    Raises
    ------
    WriteError
        As from `write_labels`.
    """
    path = _free_path(typed, source)
    require_replaceable(path)
    if named:
        require_own_table(path)
        require_replaceable(names_path(path))
    return path


def _free_path(typed: str | Path, source: Mapping[str, Any] | None) -> Path:
    """`label_path(typed)`; WriteError when what lies there must not be lost, or nobody was asked about it."""
    path = label_path(typed)
    if source and not source.get("is_labels") and _is_file_of(source, path):
        raise WriteError(f"{path.name} is the image itself, which would be lost; choose another name for the labels.")
    # os.path.exists, unlike Path.exists, gives no error for a name that is too long
    if path != Path(typed) and os.path.exists(path):
        raise WriteError(f"{path.name} exists; nothing was written. Type the full name {path.name} to replace it.")
    return path


def _is_file_of(source: Mapping[str, Any], path: Path) -> bool:
    """Whether `path` is, also by a link, the file that a source entry was read from."""
    read = source.get("path")
    try:
        return isinstance(read, str) and os.path.samefile(read, path)
    except (OSError, ValueError):  # one of them does not exist, or has a name that no file can have
        return False


def label_type(labels: NDArray[Any]) -> type[np.unsignedinteger[Any]]:
    """Smallest unsigned integer type that holds `labels`; LabelsError when none does."""
    if labels.dtype.kind not in "biu":
        raise LabelsError(f"Labels are whole numbers, not {labels.dtype}. Round the array and convert it to integers.")
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low < 0:
        raise LabelsError(f"Labels are numbers from 0 upward, but the smallest here is {low}. Renumber that object.")
    for kind in LABEL_TYPES:
        if high <= np.iinfo(kind).max:
            return kind
    raise LabelsError(f"The label {high} is too large for a file (at most {2**32 - 1}). Renumber that object.")


def _write(image: Any, file: BinaryIO, *, zipped: bool) -> None:
    with ExitStack() as stack:
        out: BinaryIO = file
        if zipped:
            # no name and no time in the gzip header, so that saving twice gives the same bytes
            opened = gzip.GzipFile(filename="", mode="wb", compresslevel=COMPRESSION, fileobj=file, mtime=0)
            out = cast(BinaryIO, stack.enter_context(opened))
        image.to_stream(out)


def _image(voxels: NDArray[Any], grid: Grid, source: Mapping[str, Any] | None) -> Any:
    space, step = _split_time(grid)
    origin = source_grid(source)
    if source is not None and origin is not None and space.same_as(origin):
        image = _on_source(voxels, source, step)
    else:
        image = _on_grid(voxels, space, step)
    header = image.header
    header.set_data_dtype(voxels.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    header.set_intent("label", name=INTENT_NAME)
    return image


def _split_time(grid: Grid) -> tuple[Grid, float | None]:
    """(spatial grid, seconds between frames or None when the grid has no time axis)."""
    if grid.ndim < 4:
        return grid, None
    if grid.ndim > 4:
        raise LabelsError(f"Labels of {grid.ndim} axes cannot be saved as NIfTI; save one channel or frame at a time.")
    if grid.affine[0, 1:-1].any() or grid.affine[1:-1, 0].any():
        raise GeometryError("The layer's transform mixes time with space. Reset its rotation and shear, then save.")
    return Grid(grid.shape[1:], grid.affine[1:, 1:]), float(abs(grid.affine[0, 0]))


def _on_source(voxels: NDArray[Any], source: Mapping[str, Any], step: float | None) -> Any:
    """Image in the source's own voxel order with the source's affine and header."""
    import nibabel as nib

    affine = np.array(source["affine"])
    stored = from_lps(voxels, affine, tuple(source["shape"]))
    if not source.get("header"):
        return _with_affine(stored, affine, SCANNER, step)
    kind: Any = nib.Nifti2Image if source["version"] == 2 else nib.Nifti1Image
    header = kind.header_class(source["header"], endianness=source["endian"], check=False)
    image = kind(stored, affine, header)
    for field in AFFINE_FIELDS:
        image.header[field] = header[field]
    image.header["pixdim"][:4] = header["pixdim"][:4]
    if step is not None and step != source.get("time_step"):
        _set_time(image.header, step)
    for code, content in source.get("extensions", ()):
        # a table of names inside the source would contradict the names given here
        if b"LabelTable" not in content:
            image.header.extensions.append(nib.nifti1.Nifti1Extension(code, content))
    return image


def _on_grid(voxels: NDArray[Any], space: Grid, step: float | None) -> Any:
    """Image whose sform is the grid's affine; a 2D grid is written as a 2D file at z = 0."""
    n = space.ndim
    flipped = space.affine[::-1, ::-1]
    affine = np.eye(4)
    affine[:n, :n] = flipped[1:, 1:]
    affine[:n, 3] = flipped[1:, 0]
    return _with_affine(voxels.transpose(), LPS @ affine, ALIGNED, step)


def _with_affine(stored: NDArray[Any], affine: FloatArray, code: int, step: float | None) -> Any:
    """Image with a fresh header: sform always, qform as well when the affine has no shear, which it cannot hold."""
    import nibabel as nib

    kind: Any = nib.Nifti2Image if max(stored.shape) > LARGEST_AXIS else nib.Nifti1Image
    image = kind(stored, affine, dtype=stored.dtype)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code)
    image.set_qform(affine, code if _is_rigid(affine) else 0)
    if step is not None:
        _set_time(image.header, step)
    return image


def _is_rigid(affine: FloatArray) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() < 1e-6)


def _set_time(header: Any, step: float) -> None:
    header.set_xyzt_units(header.get_xyzt_units()[0], "sec")
    header["pixdim"][4] = step / SECONDS["sec"]
