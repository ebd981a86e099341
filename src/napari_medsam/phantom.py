"""An asymmetric CT-like phantom of the upper abdomen, with its labels: for trials, tests and benchmarks.

Positions are millimetres from the middle of the field, (z, y, x) toward superior, posterior and the patient's left.
No organ is its own mirror image or a prism, so a swapped axis, a flip or a slice off by one shows in every view.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_medsam.errors import ImageError
from napari_medsam.geometry import Grid
from napari_medsam.image import Image

FIELD = (180.0, 300.0, 360.0)
"""Millimetres that the default spacing spreads over any shape, (z, y, x)."""

SHAPE = (60, 160, 200)
ORIGIN = (-412.5, -139.25, -171.5)
"""World position of voxel 0, LPS millimetres, (z, y, x)."""

NOISE = 12.0
"""Standard deviation of the noise in HU."""

BLUR = 0.7
"""In-plane blur in pixels: soft edges as a scanner makes them, and noise that is correlated a little."""

Vector = tuple[float, float, float]


class Tissue(NamedTuple):
    """A label value with its name and its intensity in HU."""

    label: int
    name: str
    hu: float


AIR = Tissue(0, "air", -1000)
LIVER = Tissue(1, "liver", 110)
LESION = Tissue(2, "liver lesion", 55)
SPLEEN = Tissue(3, "spleen", 125)
RIGHT_KIDNEY = Tissue(4, "right kidney", 175)
LEFT_KIDNEY = Tissue(5, "left kidney", 180)
AORTA = Tissue(6, "aorta", 240)
VERTEBRA = Tissue(7, "vertebra", 320)
CANAL = Tissue(8, "spinal canal", 20)
LUNG = Tissue(9, "left lung base", -820)
MARKER = Tissue(10, "marker", 900)
FAT = Tissue(11, "fat", -100)
MUSCLE = Tissue(12, "muscle", 50)
TISSUES = (AIR, LIVER, LESION, SPLEEN, RIGHT_KIDNEY, LEFT_KIDNEY, AORTA, VERTEBRA, CANAL, LUNG, MARKER, FAT, MUSCLE)


class Ellipsoid(NamedTuple):
    """Centre and half axes in millimetres, (z, y, x); the centre moves by `lean` (y, x) per millimetre of z."""

    tissue: Tissue
    centre: Vector
    half: Vector
    lean: tuple[float, float] = (0.0, 0.0)


ORGANS = (
    Ellipsoid(LUNG, (88, 22, 62), (52, 62, 50), (0.10, -0.15)),
    Ellipsoid(LIVER, (18, -16, -66), (66, 74, 70), (0.12, -0.22)),
    Ellipsoid(LIVER, (30, -48, -6), (30, 30, 62), (-0.20, 0.30)),
    Ellipsoid(LESION, (24, -22, -82), (13, 16, 11), (0.0, 0.3)),
    Ellipsoid(SPLEEN, (22, 42, 100), (40, 36, 19), (0.30, -0.12)),
    Ellipsoid(RIGHT_KIDNEY, (-34, 52, -62), (48, 22, 25), (0.18, 0.22)),
    Ellipsoid(LEFT_KIDNEY, (-20, 50, 60), (56, 25, 28), (0.22, -0.18)),
)
"""Painted in this order; a later one covers an earlier one."""

MARKER_BOXES = (
    ((-60, -138, -150), (-20, -132, -144)),
    ((-60, -138, -150), (-54, -112, -144)),
    ((-60, -138, -150), (-54, -132, -90)),
)
"""Three bars from one corner, 40 mm up, 26 mm back, 60 mm left: an L in every view. Two corners each, (z, y, x)."""


def ct_phantom(
    shape: Sequence[int] = SHAPE, *, seed: int = 0, spacing: Sequence[float] | None = None
) -> tuple[Image, NDArray[np.uint16], dict[int, str]]:
    """Make the phantom.

    Parameters
    ----------
    shape : three ints
        Voxels along z, y, x.
    seed : int
        Of the noise; the anatomy is always the same.
    spacing : three floats, optional
        Millimetres along z, y, x. By default FIELD is spread over `shape`, so that any shape shows the whole body.

    Returns
    -------
    image : Image
        int16, HU, LPS millimetres, off origin; its `source` is empty, so labels are saved through its grid.
    labels : (z, y, x) array of uint16
        What each voxel is: the organs, then fat and muscle; 0 is the air around the body.
    names : dict of int to str

    Raises
    ------
    ImageError
        `shape` is not three numbers above 0.
    """
    voxels = tuple(int(n) for n in shape)
    if len(voxels) != 3 or min(voxels) < 1:
        raise ImageError(f"A phantom needs three axes of one voxel or more, not {tuple(shape)}.")
    if spacing is None:
        spacing = tuple(round(size / n, 4) for size, n in zip(FIELD, voxels, strict=True))
    grid = Grid.from_spacing(voxels, tuple(spacing), ORIGIN)
    labels = _anatomy(grid)
    image = Image(_scan(labels, seed), grid, name="ct_phantom", axis_labels=("z", "y", "x"), units=("mm", "mm", "mm"))
    return image, labels, {t.label: t.name for t in TISSUES if t is not AIR}


def _anatomy(grid: Grid) -> NDArray[np.uint16]:
    labels = np.zeros(grid.shape, dtype=np.uint16)
    positions = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(grid.shape, grid.spacing, strict=True)]
    z, y, x = (p.astype(np.float32) for p in positions)
    cavity = np.stack([_paint_body(labels[k], float(height), y, x) for k, height in enumerate(z)])
    for organ in ORGANS:
        _paint_ellipsoid(labels, cavity, organ, (z, y, x))
    for k, height in enumerate(z):
        _paint_spine_and_aorta(labels[k], float(height), y, x)
    for low, high in MARKER_BOXES:
        at = tuple(slice(*np.searchsorted(p, (a, b))) for p, a, b in zip((z, y, x), low, high, strict=True))
        labels[at] = MARKER.label
    return labels


Axis = NDArray[np.float32]


def _ellipse(y: Axis, x: Axis, centre: tuple[float, float], half: tuple[float, float]) -> NDArray[np.bool_]:
    """(rows, columns) of the voxels within an ellipse; `centre` and `half` axes are (y, x) in millimetres."""
    rows = ((y - np.float32(centre[0])) / np.float32(half[0])) ** 2
    columns = ((x - np.float32(centre[1])) / np.float32(half[1])) ** 2
    return np.asarray(rows[:, None] + columns[None, :] < 1)


def _paint_body(plane: NDArray[np.uint16], z: float, y: Axis, x: Axis) -> NDArray[np.bool_]:
    """Paint fat, the muscle wall and the fat within it, wider and deeper toward the feet; return what is within."""
    wide, deep = 158 - 0.10 * z, 112 - 0.08 * z
    plane[_ellipse(y, x, (2, 3), (deep, wide))] = FAT.label
    plane[_ellipse(y, x, (2, 3), (deep - 16, wide - 18))] = MUSCLE.label
    cavity = _ellipse(y, x, (-4, 2), (deep - 32, wide - 30))
    plane[cavity] = FAT.label
    return cavity


def _paint_ellipsoid(
    labels: NDArray[np.uint16], cavity: NDArray[np.bool_], organ: Ellipsoid, positions: tuple[Axis, Axis, Axis]
) -> None:
    """Paint within the body's cavity; only the box around the ellipsoid is looked at."""
    reach = (0.0, *(abs(lean) * organ.half[0] for lean in organ.lean))
    at = tuple(
        slice(*np.searchsorted(p, (c - h - r, c + h + r)))
        for p, c, h, r in zip(positions, organ.centre, organ.half, reach, strict=True)
    )
    z, y, x = (p[s] - np.float32(c) for p, s, c in zip(positions, at, organ.centre, strict=True))
    up = z[:, None, None]
    rows = (y[None, :, None] - np.float32(organ.lean[0]) * up) / np.float32(organ.half[1])
    columns = (x[None, None, :] - np.float32(organ.lean[1]) * up) / np.float32(organ.half[2])
    within = (up / np.float32(organ.half[0])) ** 2 + rows**2 + columns**2 < 1
    labels[at][within & cavity[at]] = organ.tissue.label


def _paint_spine_and_aorta(plane: NDArray[np.uint16], z: float, y: Axis, x: Axis) -> None:
    """Vertebrae that narrow to discs every 32 mm, their spine to the back, the canal, and the aorta in front."""
    waist = abs(np.sin(np.pi * (z + 5) / 32))
    depth, width = 17 + 3 * waist, 21 + 5 * waist
    plane[_ellipse(y, x, (56, 0), (depth, width))] = VERTEBRA.label
    if waist > 0.5:
        plane[_ellipse(y, x, (86, -2), (20, 6))] = VERTEBRA.label
        plane[_ellipse(y, x, (79, 0), (14, 24))] = VERTEBRA.label
    plane[_ellipse(y, x, (78, 0), (8, 10))] = CANAL.label
    plane[_ellipse(y, x, (24 + 0.06 * z, 12 - 0.05 * z), (10 + 0.02 * z, 11 + 0.02 * z))] = AORTA.label


def _scan(labels: NDArray[np.uint16], seed: int) -> NDArray[np.int16]:
    """int16 HU of `labels`, slice by slice so that a large volume needs little more than itself."""
    table = np.array([t.hu for t in sorted(TISSUES)], dtype=np.float32)
    random = np.random.default_rng(seed)
    # white noise of this size has the standard deviation NOISE after the blur
    white = np.float32(NOISE / _kept_by_blur())
    out = np.empty(labels.shape, dtype=np.int16)
    for k, plane in enumerate(labels):
        noisy = random.standard_normal(plane.shape, dtype=np.float32)
        noisy *= white
        noisy += table[plane]
        out[k] = np.rint(ndimage.gaussian_filter(noisy, BLUR, mode="nearest"))
    return out


def _kept_by_blur() -> float:
    """Part of the standard deviation of white noise that is left after the blur in two dimensions."""
    impulse = np.zeros(33)
    impulse[16] = 1
    return float((ndimage.gaussian_filter1d(impulse, BLUR) ** 2).sum())
