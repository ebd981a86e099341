"""Shapes: the mask between two others, and tidying up (parts, holes, smooth borders), with lengths in mm.

All functions are pure, take bool masks of any number of axes with the size of a voxel along each, and look at a mask's
own neighbourhood only, so that a small object in a large volume costs little. Where a mask touches the edge of the
image, its object is taken to go on beyond it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_medsam.errors import GeometryError, LabelsError
from napari_medsam.masks import BoolArray

FloatArray = NDArray[np.float64]
Region = tuple[slice, ...]

TRUNCATE = 3.0
"""The Gaussian is cut off at this many standard deviations."""

HALF_WIDTH = float(np.sqrt(2 * np.log(2)))
"""Half the width at half height of a Gaussian of standard deviation 1. Blurred and cut at one half, a rod of this
radius just vanishes."""

SAME = 1e-6
"""Values that differ by less are equal: sums of floats depend on their order, and so on how a volume lies in memory."""


class Touch(Enum):
    """Which voxels are neighbours, so that they belong to one part."""

    FACES = "faces"
    CORNERS = "faces, edges and corners"


def between(first: BoolArray, second: BoolArray, fraction: float, spacing: Sequence[float]) -> BoolArray:
    """The shape on the way from one mask to another, interpolated by signed distance to the border.

    Where the masks agree better when their centroids are laid onto each other, they are first moved so: the shape then
    travels, and two that do not overlap (a slanted vessel through thick slices) do not vanish half way. Where a thin
    shape would vanish all the same, the pixels that come nearest to being inside are taken, as many as the two areas
    let expect.

    Parameters
    ----------
    first, second : (rows, columns) bool arrays
    fraction : float
        How far along, from 0 (`first`) to 1 (`second`).
    spacing : (float, float)
        Size of a pixel along rows and columns, in mm.

    Returns
    -------
    (rows, columns) bool array
        Empty where one of the two is: nothing has no shape.

    Raises
    ------
    LabelsError
        The masks differ in shape, or the fraction is no fraction.
    GeometryError
        The spacing does not fit.
    """
    _check(first, spacing)
    if first.shape != second.shape:
        raise LabelsError(f"Masks of {first.shape} and {second.shape} pixels lie on different slices; give both alike.")
    if not 0 <= fraction <= 1:
        raise LabelsError(f"The place between two slices is a fraction from 0 to 1, not {fraction}.")
    if fraction in (0, 1) or not (first.any() and second.any()):
        empty = not (first.any() and second.any())
        return np.zeros_like(first) if empty else np.array(second if fraction else first)
    way = _way(first, second)
    near = _grown(bounds_of(first | second), [int(np.ceil(abs(w))) + 1 for w in way], first.shape)
    start = _moved_distance(first[near], way * fraction, spacing)
    end = _moved_distance(second[near], way * (fraction - 1), spacing)
    distance = (1 - fraction) * start + fraction * end
    area = (1 - fraction) * np.count_nonzero(first) + fraction * np.count_nonzero(second)
    inside = distance > SAME
    out = np.zeros_like(first)
    out[near] = inside if inside.any() else _highest(distance, max(round(area), 1))
    return out


def signed_distance(mask: BoolArray, spacing: Sequence[float]) -> FloatArray:
    """How deep each voxel lies inside a mask, in mm: the distance to its border, below 0 outside; the mask's shape.

    The border runs between the voxels. Where the mask touches the edge of the image it goes on; only one that fills the
    image has its border there. It must not be empty.
    """
    padded = np.pad(mask, 1) if mask.all() else np.pad(mask, 1, mode="edge")
    half = min(spacing) / 2
    inside = ndimage.distance_transform_edt(padded, sampling=spacing) - half
    outside = half - ndimage.distance_transform_edt(~padded, sampling=spacing)
    return np.asarray(np.where(padded, inside, outside)[(slice(1, -1),) * mask.ndim])


def largest_component(mask: BoolArray, touch: Touch = Touch.CORNERS) -> BoolArray:
    """The part with the most voxels; of several such the first in array order. An empty mask stays empty."""
    out = np.zeros_like(mask)
    region = bounds_of(mask)
    labels, count = ndimage.label(mask[region], structure=_structure(mask.ndim, touch))
    if count:
        out[region] = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return out


def remove_small(mask: BoolArray, least: float, spacing: Sequence[float], touch: Touch = Touch.CORNERS) -> BoolArray:
    """The mask without its small parts; the largest part always stays.

    Parameters
    ----------
    mask : n-dimensional bool array
    least : float
        Parts below this go: mm2 in a slice, mm3 in a volume.
    spacing : n floats
        Size of a voxel along each axis, in mm.
    touch : Touch
        Which voxels belong to one part.

    Raises
    ------
    LabelsError, GeometryError
        `least` is below 0; the spacing does not fit.
    """
    _check(mask, spacing)
    _check_amount(least)
    out = np.zeros_like(mask)
    region = bounds_of(mask)
    labels, count = ndimage.label(mask[region], structure=_structure(mask.ndim, touch))
    if count:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        stays = sizes * np.prod(spacing) >= least
        stays[np.argmax(sizes)] = True
        stays[0] = False
        out[region] = stays[labels]
    return out


def fill_holes(mask: BoolArray, spacing: Sequence[float], most: float = np.inf) -> BoolArray:
    """The mask with the background that it encloses.

    In a volume a hole is closed on all sides; a tube has none. For holes within slices, fill slice by slice.

    Parameters
    ----------
    mask : n-dimensional bool array
    spacing : n floats
        Size of a voxel along each axis, in mm.
    most : float
        Larger holes stay: mm2 in a slice, mm3 in a volume.

    Raises
    ------
    LabelsError, GeometryError
        `most` is below 0; the spacing does not fit.
    """
    _check(mask, spacing)
    _check_amount(most)
    out = np.array(mask)
    region = bounds_of(mask)
    if not mask[region].size:
        return out
    outside = np.pad(~mask[region], 1, constant_values=True)
    labels, count = ndimage.label(outside, structure=_structure(mask.ndim, Touch.FACES))
    if count > 1:
        filled = np.bincount(labels.ravel()) * np.prod(spacing) <= most
        filled[[0, labels.flat[0]]] = False, False
        out[region] |= filled[labels][(slice(1, -1),) * mask.ndim]
    return out


def smoothed(mask: BoolArray, radius: float, spacing: Sequence[float]) -> BoolArray:
    """The mask with a smoother border: blurred with a Gaussian, and cut where it keeps its number of voxels.

    Each separate part is smoothed by itself and keeps its own volume (but for voxels that are equally near, and those
    where two parts now meet), so a thin vessel or a small part does not vanish; `remove_small` is there for that. What
    is thinner than `radius` and sticks out of a larger part is rounded off. For a part that is itself smaller than the
    radius, its longest side is the radius: there is no detail beyond that.

    Parameters
    ----------
    mask : n-dimensional bool array
    radius : float
        Details below this radius go, in mm: half the width of the Gaussian at half its height. The same in all
        directions, so thick slices are smoothed little across.
    spacing : n floats
        Size of a voxel along each axis, in mm.

    Raises
    ------
    LabelsError, GeometryError
        The radius is below 0; the spacing does not fit.
    """
    _check(mask, spacing)
    _check_amount(radius)
    out = np.zeros_like(mask)
    whole = bounds_of(mask)
    labels, count = ndimage.label(mask[whole], structure=_structure(mask.ndim, Touch.CORNERS))
    for number, found in enumerate(ndimage.find_objects(labels) if count else (), start=1):
        at = tuple(slice(w.start + f.start, w.start + f.stop) for w, f in zip(whole, found, strict=True))
        sigma = [min(radius, _longest(at, spacing)) / HALF_WIDTH / step for step in spacing]
        near = _grown(at, [int(np.ceil(TRUNCATE * s)) + 1 for s in sigma], mask.shape)
        part = np.zeros([s.stop - s.start for s in near], dtype=np.float32)
        part[tuple(slice(a.start - n.start, a.stop - n.start) for a, n in zip(at, near, strict=True))] = (
            labels[found] == number
        )
        blurred = ndimage.gaussian_filter(part, sigma, mode="nearest", truncate=TRUNCATE)
        out[near] |= _highest(blurred, int(np.count_nonzero(part)))
    return out


class Operation(Enum):
    """A way to tidy an object up."""

    LARGEST = "keep the largest part"
    REMOVE_SMALL = "remove small parts"
    FILL_HOLES = "fill holes"
    SMOOTH = "smooth"


@dataclass(frozen=True)
class CleanUp:
    """One operation on one object: what to do, how much, and whether in 3D or slice by slice.

    Parameters
    ----------
    operation : Operation
    amount : float
        SMOOTH: the radius in mm. REMOVE_SMALL: parts below this go; FILL_HOLES: holes above this stay; both in mm3, or
        in mm2 where it is slice by slice. LARGEST does not use it.
    axis : int, optional
        Slice by slice along this axis; left out, all axes together.

    Raises
    ------
    LabelsError
        The amount is below 0, or no number.
    """

    operation: Operation
    amount: float = np.inf
    axis: int | None = None

    def __post_init__(self) -> None:
        if self.operation is not Operation.LARGEST:
            _check_amount(self.amount)
        if self.operation in (Operation.SMOOTH, Operation.REMOVE_SMALL) and np.isinf(self.amount):
            raise LabelsError(f"To {self.operation.value}, say how much: a finite number of {self.unit}.")

    @property
    def unit(self) -> str:
        """What the amount is counted in, for 3D: "mm", "mm2" or "mm3"; empty where there is no amount."""
        if self.operation is Operation.LARGEST:
            return ""
        if self.operation is Operation.SMOOTH:
            return "mm"
        return "mm3" if self.axis is None else "mm2"

    def check(self, shape: Sequence[int], spacing: Sequence[float]) -> None:
        """Raise GeometryError or LabelsError unless it can be done in a volume of `shape` with voxels of `spacing`."""
        if self.axis is not None and not 0 <= self.axis < len(shape):
            raise GeometryError(f"A volume of {len(shape)} axes has no axis {self.axis} to go along.")
        longest = max(n * step for a, (n, step) in enumerate(zip(shape, spacing, strict=True)) if a != self.axis)
        if self.operation is Operation.SMOOTH and self.amount > longest:
            what = f"A radius of {self.amount:g} mm is larger than the image, which is {longest:g} mm long"
            raise LabelsError(f"{what}. Give a radius of a few voxels.")

    def __call__(self, mask: BoolArray, spacing: Sequence[float]) -> BoolArray:
        """The mask after the operation on all axes together."""
        match self.operation:
            case Operation.LARGEST:
                return largest_component(mask)
            case Operation.REMOVE_SMALL:
                return remove_small(mask, self.amount, spacing)
            case Operation.FILL_HOLES:
                return fill_holes(mask, spacing, self.amount)
            case Operation.SMOOTH:
                return smoothed(mask, self.amount, spacing)


class Cleaned(NamedTuple):
    """A part of a volume after an operation: nothing changes outside it."""

    region: Region
    mask: BoolArray


def apply(cleanup: CleanUp, mask: BoolArray, spacing: Sequence[float]) -> BoolArray:
    """The mask of an object after one operation; a new array of the same shape. Errors are those of `apply_near`."""
    region, changed = apply_near(cleanup, mask, spacing)
    out = np.zeros_like(mask)
    out[region] = changed
    return out


def apply_near(cleanup: CleanUp, mask: BoolArray, spacing: Sequence[float]) -> Cleaned:
    """The same as `apply`, on the part of the volume alone that may differ; it is empty where the mask is.

    Raises
    ------
    GeometryError
        The spacing does not fit, or there is no such axis.
    LabelsError
        The radius is larger than the volume.
    """
    _check(mask, spacing)
    cleanup.check(mask.shape, spacing)
    held = bounds_of(mask)
    radius = min(cleanup.amount, _longest(held, spacing)) if cleanup.operation is Operation.SMOOTH else 0.0
    reach = radius / HALF_WIDTH * TRUNCATE
    region = _grown(held, [int(np.ceil(reach / step)) + 2 for step in spacing], mask.shape)
    near = mask[region]
    if cleanup.axis is None or not near.size:
        return Cleaned(region, cleanup(near, spacing) if near.size else np.array(near))
    within = [step for a, step in enumerate(spacing) if a != cleanup.axis]
    return Cleaned(
        region, np.stack([cleanup(m, within) for m in np.moveaxis(near, cleanup.axis, 0)], axis=cleanup.axis)
    )


def bounds_of(mask: BoolArray) -> Region:
    """The smallest block of voxels that holds the mask; of no voxels where it is empty."""
    block: list[slice] = []
    for axis in range(mask.ndim):
        held = mask[tuple(block)].any(axis=tuple(a for a in range(mask.ndim) if a != axis))
        hit = np.flatnonzero(held)
        block.append(slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(0, 0))
    return tuple(block)


# -- inside ----------------------------------------------------------------------------------------------------------


def _way(first: BoolArray, second: BoolArray) -> FloatArray:
    """How far `second` lies from `first`, (2,) pixels; zero where they agree at least as well as they stand."""
    at = [np.argwhere(m) for m in (first, second)]
    way = np.asarray(at[1].mean(axis=0) - at[0].mean(axis=0))
    agree_as_they_stand = np.count_nonzero(first & second)
    moved = at[0] + np.rint(way).astype(np.intp)
    within = moved[((moved >= 0) & (moved < second.shape)).all(axis=1)]
    agree_when_moved = np.count_nonzero(second[tuple(within.T)])
    return way if not agree_as_they_stand or agree_when_moved > agree_as_they_stand else np.zeros(2)


def _moved_distance(mask: BoolArray, by: FloatArray, spacing: Sequence[float]) -> FloatArray:
    """Distance to the border in mm, above 0 inside, of a mask moved `by` pixels; beyond an edge it goes on."""
    reach = [int(np.ceil(abs(b))) + 1 for b in by]
    margins = [(r, r) for r in reach]
    # one that fills everything has its border at the edge: there is no other from which to measure
    wide = np.pad(mask, margins) if mask.all() else np.pad(mask, margins, mode="edge")
    distance = signed_distance(wide, spacing)
    moved = distance if not by.any() else ndimage.shift(distance, by, order=1, mode="nearest")
    return np.asarray(moved[tuple(slice(r, -r) for r in reach)])


def _highest(values: NDArray[np.floating], count: int) -> BoolArray:
    """Where the `count` highest values are; of those equally high all or none, whatever comes nearer, at least one."""
    cut = np.partition(values, values.size - count, axis=None)[values.size - count]
    above, upward = values > cut + SAME, values >= cut - SAME
    fewer, more = int(np.count_nonzero(above)), int(np.count_nonzero(upward))
    return np.asarray(above if fewer and count - fewer < more - count else upward)


def _structure(ndim: int, touch: Touch) -> BoolArray:
    return np.asarray(ndimage.generate_binary_structure(ndim, 1 if touch is Touch.FACES else ndim))


def _longest(region: Region, spacing: Sequence[float]) -> float:
    """The longest side of a block, in mm."""
    return float(max((s.stop - s.start) * step for s, step in zip(region, spacing, strict=True)))


def _grown(region: Region, margin: Sequence[int], shape: tuple[int, ...]) -> Region:
    """The block with a margin on all sides, inside the volume; one of no voxels stays so."""
    if any(s.start == s.stop for s in region):
        return region
    grown = zip(region, margin, shape, strict=True)
    return tuple(slice(max(s.start - m, 0), min(s.stop + m, size)) for s, m, size in grown)


def _check(mask: BoolArray, spacing: Sequence[float]) -> None:
    if mask.dtype != np.bool_:
        raise LabelsError(f"A mask holds true and false, not {mask.dtype}; compare the labels with a value first.")
    if len(spacing) != mask.ndim or not all(np.isfinite(step) and step > 0 for step in spacing):
        raise GeometryError(f"A mask of {mask.ndim} axes needs as many voxel sizes above 0 mm, not {tuple(spacing)}.")


def _check_amount(amount: float) -> None:
    if not amount >= 0:
        raise LabelsError(f"A radius or size is 0 mm or more, not {amount}.")
