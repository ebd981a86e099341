"""NRRD and MetaImage in, through SimpleITK; and from any SimpleITK image to an Image in our order of axes.

The source entry gets the NIfTI affine that says the same as ITK's origin, spacing and direction, in the file's own
voxel order, so that labels are saved with the true geometry of an oblique volume too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import ReadError
from napari_medsam.geometry import FloatArray
from napari_medsam.image import Image
from napari_medsam.io.files import reading, require_file, stem_of, suffix_of
from napari_medsam.io.orient import LPS, require_usable, source_entry, to_lps, with_time

COLOUR_TYPES = ("uint8", "uint16")


def read_itk(path: Path) -> Image:
    """Read a NRRD (.nrrd, .nhdr) or MetaImage (.mha, .mhd) file.

    Returns
    -------
    Image
        As `nifti.read_nifti`, in the stored type; 8 and 16-bit pixels of 3 or 4 values are colour. The fourth axis
        of a 4D file is taken as time in seconds.

    Raises
    ------
    ReadError
        Missing, empty, cut off, of another format, complex, a vector field, or without a usable geometry.
    """
    require_file(path)
    kind = "NRRD" if suffix_of(path) in (".nrrd", ".nhdr") else "MetaImage"
    with reading(path, kind):
        import SimpleITK as sitk

        image = sitk.ReadImage(str(path))
        is_segmentation = path.name.lower().endswith(".seg.nrrd")
        return from_itk(path, image, kind.lower(), is_labels=is_segmentation, names=_segments(image))


def from_itk(path: Path, image: Any, kind: str, **more: Any) -> Image:
    """Image of a SimpleITK image that was read from `path`; `more` goes into the source entry."""
    voxels, rgb = _voxels(path, image)
    affine = LPS @ _to_lps_world(image)
    require_usable(affine)
    shape = voxels.shape[:-1] if rgb else voxels.shape
    oriented = to_lps(voxels, affine, rgb=rgb)
    if not oriented.array.flags.writeable:  # still ITK's own memory, which goes when `image` does
        oriented = oriented._replace(array=oriented.array.copy())
    grid, labels, units = oriented.grid, oriented.axis_labels, ("mm",) * len(oriented.axis_labels)
    if len(shape) == 4:
        more["time_step"] = float(image.GetSpacing()[3])
        grid = with_time(grid, shape[3], more["time_step"])
        labels, units = ("t", *labels), ("s", *units)
    source = source_entry(path, kind, affine, shape[:3], oriented, **more)
    return Image(oriented.array, grid, rgb, stem_of(path), source, labels, units)


def _voxels(path: Path, image: Any) -> tuple[NDArray[Any], bool]:
    """(view of the voxels as (x, y[, z[, t]][, channels]), whether the last axis is colour)."""
    import SimpleITK as sitk

    array = sitk.GetArrayViewFromImage(image)
    if array.dtype.kind == "c":
        raise ReadError(f"{path.name} has complex voxels. Save the magnitude as real numbers and open that.")
    n = int(image.GetNumberOfComponentsPerPixel())
    if n == 1:
        voxels = array.transpose()
        return (voxels[..., 0] if voxels.ndim == 4 and voxels.shape[3] == 1 else voxels), False
    if n not in (3, 4) or array.dtype.name not in COLOUR_TYPES or image.GetDimension() > 3:
        raise ReadError(
            f"{path.name} holds {n} numbers of type {array.dtype} for each voxel (a vector field or a sequence). "
            "Save one component as an image of its own and open that."
        )
    return array.transpose(*range(array.ndim - 1)[::-1], array.ndim - 1), True


def _to_lps_world(image: Any) -> FloatArray:
    """(4, 4) matrix from ITK's index (x, y, z) to its LPS millimetres."""
    n = image.GetDimension()
    keep = min(n, 3)
    matrix = np.eye(4)
    direction = np.reshape(image.GetDirection(), (n, n))
    matrix[:keep, :keep] = direction[:keep, :keep] * np.asarray(image.GetSpacing()[:keep])
    matrix[:keep, 3] = image.GetOrigin()[:keep]
    return matrix


def _segments(image: Any) -> dict[int, str]:
    """Names of labels as 3D Slicer keeps them in a .seg.nrrd; empty when there are none."""
    names = {}
    for key in image.GetMetaDataKeys():
        if key.startswith("Segment") and key.endswith("_LabelValue"):
            name = key.removesuffix("LabelValue") + "Name"
            if image.HasMetaDataKey(name):
                names[int(image.GetMetaData(key))] = str(image.GetMetaData(name))
    return names
