"""Between a file's own voxel order and ours: (z, y, x) arrays whose index increases toward left, posterior, superior.

Voxels are permuted and flipped, never resampled. NIfTI's world is RAS+ millimetres with axes x, y, z; ours is
LPS+ with axes z, y, x. An oblique volume is shown on its own voxel grid, with the position of its centre kept;
its true affine stays in the source entry and is written back with the labels.

The source entry (`Image.source`, plain values that can be pickled) of a file with geometry holds

affine
    4 x 4 nested tuples, from the file's voxel index (x, y, z) to RAS, in the file's own length unit.
shape
    The file's spatial shape in its own voxel order, 2 or 3 values.
zyx, scale, translate
    Shape, spacing and origin of the array that was made of it, spatial axes only, LPS millimetres.
oblique
    Whether the array's axes are not the world's axes, so that shown positions are not the patient's.
header, endian, version, extensions
    The NIfTI header's bytes, byte order ("<" or ">"), NIfTI version (1 or 2) and extensions; absent for other formats.
time_step
    Seconds between the frames of a 4D file; absent otherwise.
format
    Kind of file.
path
    Absolute path of the file or folder that was read; it may be gone since. Labels never replace it (`write_labels`).
is_labels
    Whether it holds labels: it says so of itself, or it was read as labels (`labels_from`).
names
    Label values and names found inside the file; absent for most formats.

Formats without a patient (TIFF, pictures) have `format`, `path` and `is_labels` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_medsam.geometry import FloatArray, Grid
from napari_medsam.io.files import location

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From RAS to LPS, and back."""

OBLIQUE = 1e-4
"""Axes count as straight when no step along one leaves it by more than this part of the smallest spacing."""


class Oriented(NamedTuple):
    """A volume in our order.

    `array` is ([t,] z, y, x) or (z, y, x, channels), two spatial axes for a 2D file; `grid` has its spatial axes,
    `axis_labels` their names; `oblique` as in the source entry.
    """

    array: NDArray[Any]
    grid: Grid
    oblique: bool
    axis_labels: tuple[str, ...]


def to_lps(voxels: NDArray[Any], affine: ArrayLike, *, rgb: bool = False) -> Oriented:
    """Permute and flip `voxels`, in the file's order, into (z, y, x) order toward L, P, S.

    Parameters
    ----------
    voxels : array
        (x, y), (x, y, z), or (x, y, z, t); with `rgb` one more axis, channels, which stays last.
    affine : (4, 4) array
        From voxel index to RAS millimetres.
    rgb : bool
        Whether the last axis is colour.
    """
    from nibabel.orientations import apply_orientation, inv_ornt_aff

    flat = voxels.ndim - rgb == 2
    if flat:
        voxels = voxels[:, :, None]
    order = _lps_order(affine)
    to_world = LPS @ np.asarray(affine, dtype=np.float64) @ inv_ornt_aff(order, voxels.shape[:3])
    moved = apply_orientation(voxels, order)
    array = moved.transpose(2, 1, 0, 3) if rgb else moved.transpose()
    spacing, origin, oblique = _straightened(to_world, moved.shape[:3])
    keep = [a for a in range(3) if not (flat and a == 2 - int(order[2, 0]))]
    if flat:
        array = array.squeeze(axis=2 - int(order[2, 0]))
    zyx = moved.shape[2::-1]
    grid = Grid.from_spacing(tuple(zyx[a] for a in keep), spacing[::-1][keep], origin[::-1][keep])
    # contiguous because torch takes no negative strides
    return Oriented(np.ascontiguousarray(array), grid, oblique, tuple("zyx"[a] for a in keep))


def from_lps(array: NDArray[Any], affine: ArrayLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """Undo `to_lps`: a view of `array`, ([t,] z, y, x), in the voxel order of a file of spatial `shape`."""
    from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

    frames = array.shape[:1] if array.ndim == 4 else ()
    whole = [1, 1, 1]
    for (axis, _), n in zip(_lps_order(affine), (*shape, 1)[:3], strict=True):
        whole[2 - int(axis)] = n
    back = ornt_transform(axcodes2ornt("LPS"), io_orientation(np.asarray(affine)))
    voxels: NDArray[Any] = apply_orientation(array.reshape(*frames, *whole).transpose(), back)
    return voxels[:, :, 0] if len(shape) == 2 else voxels


def source_entry(
    path: Path, kind: str, affine: ArrayLike, shape: tuple[int, ...], oriented: Oriented, **more: Any
) -> dict[str, Any]:
    """Collect the source entry of a volume read from `path`, as this module's docstring says.

    `more` are the format's own fields.
    """
    grid = oriented.grid
    return {
        "format": kind,
        "path": location(path),
        "affine": tuple(tuple(float(v) for v in row) for row in np.asarray(affine)),
        "shape": tuple(int(n) for n in shape),
        "zyx": grid.shape,
        "scale": grid.spacing,
        "translate": tuple(float(v) for v in grid.affine[:-1, -1]),
        "oblique": oriented.oblique,
        **more,
    }


def source_grid(source: Mapping[str, Any] | None) -> Grid | None:
    """Grid, spatial axes only, of the array that a source entry belongs to; None when the entry has no geometry."""
    if not source or "affine" not in source:
        return None
    return Grid.from_spacing(tuple(source["zyx"]), source["scale"], source["translate"])


def with_time(grid: Grid, frames: int, step: float) -> Grid:
    """`grid` with a leading time axis of `frames` frames, `step` seconds apart."""
    scale, origin = (step, *grid.spacing), (0.0, *grid.affine[:-1, -1])
    return Grid.from_spacing((frames, *grid.shape), scale, origin)


def require_usable(affine: FloatArray) -> None:
    """Raise GeometryError unless `affine`, (4, 4), places every voxel somewhere of its own."""
    Grid((1, 1, 1), affine)


def _lps_order(affine: ArrayLike) -> NDArray[Any]:
    """For each voxel axis of the file: the LPS axis (0 x, 1 y, 2 z) that it becomes, and 1 or -1 for its direction."""
    from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

    order: NDArray[Any] = ornt_transform(io_orientation(np.asarray(affine)), axcodes2ornt("LPS"))
    return order


def _straightened(to_world: FloatArray, shape: tuple[int, ...]) -> tuple[FloatArray, FloatArray, bool]:
    """(spacing, origin, oblique), axes x, y, z: the axis-aligned grid that comes nearest, its centre kept."""
    linear, offset = to_world[:3, :3], to_world[:3, 3]
    spacing = np.linalg.norm(linear, axis=0)
    tilt = linear - np.diag(spacing)
    if not tilt.any():
        return spacing, offset, False
    half = (np.array(shape) - 1) / 2
    return spacing, offset + tilt @ half, bool(np.abs(tilt).max() > OBLIQUE * spacing.min())
