"""NIfTI in: .nii and .nii.gz to an Image in LPS millimetres. See `orient` for the order of axes."""

from __future__ import annotations

import codecs
import gzip
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import ReadError
from napari_medsam.geometry import FloatArray
from napari_medsam.image import Image
from napari_medsam.io.files import reading, require_file, stem_of
from napari_medsam.io.orient import Oriented, require_usable, source_entry, to_lps, with_time

MILLIMETRES = {"meter": 1000.0, "mm": 1.0, "micron": 1e-3}
SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
GZIP = b"\x1f\x8b"
CHUNK = 2**20
HEAD = 512
"""Bytes from the beginning that are enough to tell what a file is."""

VERSIONS = {n.to_bytes(4, order): version for n, version in ((348, 1), (540, 2)) for order in ("little", "big")}
"""The first field of a NIfTI header, its own length in either byte order, and the version that has this length."""


def read_nifti(path: Path) -> Image:
    """Read a NIfTI file.

    Parameters
    ----------
    path : Path
        .nii or .nii.gz, NIfTI 1 or 2, of 2 to 4 dimensions (further dimensions of one voxel are dropped).

    Returns
    -------
    Image
        Shape (z, y, x), (t, z, y, x), (z, y, x, 3 | 4) for colour, or two axes for a 2D file; C-contiguous, native
        byte order. float32 when the file scales its voxels, else the stored type. LPS millimetres and seconds;
        lengths in metres or microns are converted.

    Raises
    ------
    ReadError
        Missing, empty, cut off, not NIfTI, more than 4 dimensions, complex voxels, or an affine that cannot be used.
    """
    require_file(path)
    with reading(path, "NIfTI"), _opened(path) as file:
        image = _header(path, file)
        shape = _shape(path, image)
        affine = np.asarray(image.affine, dtype=np.float64)
        require_usable(affine)
        voxels, rgb = _voxels(path, image, shape)
        # gzip knows only at its end whether what it unpacked is what was packed
        while file.read(CHUNK):
            pass
        oriented = to_lps(voxels, _in_millimetres(affine, image.header), rgb=rgb)
        del voxels
        return _image(path, image, oriented, shape, rgb=rgb)


def _opened(path: Path) -> BufferedIOBase:
    """Open for reading what is inside; ReadError when the name and the first bytes disagree about compression."""
    zipped = path.name.lower().endswith(".gz")
    with path.open("rb") as file:
        packed = file.read(len(GZIP)) == GZIP
    if zipped != packed:
        with _inside(path, packed=packed) as file:
            _version(path, file)
        found, suffix = ("compressed", ".nii.gz") if packed else ("not compressed", ".nii")
        raise ReadError(f"{path.name} is {found}, against what its name says. Rename it to end in {suffix}.")
    return _inside(path, packed=packed)


def _inside(path: Path, *, packed: bool) -> BufferedIOBase:
    return gzip.open(path) if packed else path.open("rb")


def _header(path: Path, file: BufferedIOBase) -> Any:
    """The nibabel image of `file`, its voxels not yet read."""
    import nibabel as nib

    kind: Any = nib.Nifti2Image if _version(path, file) == 2 else nib.Nifti1Image
    # not memory-mapped: the file may be replaced while its image is open
    return kind.from_file_map(kind.make_file_map({"image": file}), mmap=False)


def _version(path: Path, file: BufferedIOBase) -> int:
    """1 or 2, by how `file` begins; ReadError says what it is otherwise, of which nibabel says little."""
    head = file.read(HEAD)
    file.seek(0)
    version = VERSIONS.get(head[:4])
    if version is not None:
        return version
    text = _text(head)
    if text is None:
        raise ReadError(
            f"{path.name} is not NIfTI: it does not start with a NIfTI header. Check that it is the file you meant."
        )
    found = "a web page" if "<html" in text.lower() or "<!doctype html" in text.lower() else "text"
    raise ReadError(f"{path.name} is not NIfTI but {found}. The download may have failed: download it again.")


def _text(head: bytes) -> str | None:
    """`head`, the beginning of a file, as the text that it is; None when it is something else, or nothing."""
    try:
        # a character may be cut off at the end
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return None
    return text if text and all(c.isprintable() or c.isspace() for c in text) else None


def _shape(path: Path, image: Any) -> tuple[int, ...]:
    """(x, y[, z[, t]]): the file's shape without trailing dimensions of one voxel beyond the third."""
    shape = tuple(int(n) for n in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (2, 3, 4):
        raise ReadError(
            f"{path.name} has {len(shape)} dimensions, {shape}; images of 2 to 4 can be opened. "
            "Save the part you need (one volume, one component) as a file of its own."
        )
    if min(shape) < 1:
        raise ReadError(f"{path.name} holds no voxels: its shape is {shape}. Export it again.")
    return shape


def _voxels(path: Path, image: Any, shape: tuple[int, ...]) -> tuple[NDArray[Any], bool]:
    """(voxels in the file's order and native byte order, whether the last axis is colour)."""
    proxy, stored = image.dataobj, image.get_data_dtype()
    if stored.kind == "c":
        raise ReadError(f"{path.name} has complex voxels. Save the magnitude as real numbers and open that.")
    if stored.fields:
        if len(shape) == 4:
            raise ReadError(f"{path.name} is a time series in colour. Save one frame as a file of its own.")
        colour = np.ascontiguousarray(np.asanyarray(proxy)).view((np.uint8, len(stored.fields)))
        return colour.reshape(*shape, len(stored.fields)), True
    scaled = (proxy.slope, proxy.inter) != (1.0, 0.0)
    voxels = np.asarray(proxy, dtype=np.float32 if scaled else None)
    native = np.float64 if stored.itemsize > 8 else voxels.dtype.newbyteorder("=")
    return voxels.astype(native, copy=False).reshape(shape, order="F"), False


def _in_millimetres(affine: FloatArray, header: Any) -> FloatArray:
    return np.diag([*[MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)] * 3, 1.0]) @ affine


def _image(path: Path, image: Any, oriented: Oriented, shape: tuple[int, ...], *, rgb: bool) -> Image:
    header, array, grid = image.header, oriented.array, oriented.grid
    more: dict[str, Any] = {
        "header": bytes(header.binaryblock),
        "endian": str(header.endianness),
        "version": 2 if header.sizeof_hdr == 540 else 1,
        "extensions": tuple((int(e.get_code()), bytes(e.get_content())) for e in header.extensions),
        "is_labels": header.get_intent()[0] == "label" and array.dtype.kind in "iu",
    }
    labels, units = oriented.axis_labels, ("mm",) * len(oriented.axis_labels)
    if len(shape) == 4:
        step = float(header["pixdim"][4]) * SECONDS.get(header.get_xyzt_units()[1], 1.0)
        more["time_step"] = step if np.isfinite(step) and step > 0 else 1.0
        grid = with_time(grid, shape[3], more["time_step"])
        labels, units = ("t", *labels), ("s", *units)
    source = source_entry(path, "nifti", image.affine, shape[:3], oriented, **more)
    return Image(array, grid, rgb, stem_of(path), source, labels, units)
