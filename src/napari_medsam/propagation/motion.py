"""Where an object may be on the next slice, by what both slices show: how the image moves, and what looks like it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_medsam.masks import BoolArray
from napari_medsam.shapes import bounds_of, signed_distance

ROOM = 12
"""The part of a plane that is looked at: the bounds of the object and this many cells around them."""

MOST_CELLS = 128
"""A part with longer sides is seen in cells of several pixels, so that time does not depend on the image's size."""

LEAST_SIDE = 8
"""Where a part is narrower, in cells, the object is expected where it was."""

RADIUS = 4
"""What moves together: cells within this distance."""

RING = 5.0
"""What is within this distance of an object, in cells, is its surroundings."""

BAND = 3.0
"""The border is thought to lie within this distance of where the image carries it, in cells."""

STIFF = 1.5
"""How many units of log-likelihood a cell's distance from that place is worth."""

LEVELS = 8
"""Grey levels in a bin of the histograms."""

MOST_EVIDENCE = 3.0
"""A single pixel says no more than this, in units of log-likelihood."""

CELLS = (1.0, 1.0)
"""The spacing that makes distances count in cells."""

FloatArray = NDArray[np.float64]
Bytes = NDArray[np.uint8]


class Expected(NamedTuple):
    """Where an object is thought to be.

    Parameters
    ----------
    mask : (rows, columns) bool array
        The last mask, carried along as the image moves. Not empty.
    bounds : four floats
        First row and column, and those after the last: half way between the bounds of `mask` and those of what looks
        like the object around there.
    """

    mask: BoolArray
    bounds: tuple[float, float, float, float]


def expected(mask: BoolArray, before: Bytes, now: Bytes) -> Expected:
    """Where the object of one slice is on the next.

    A vessel or rib that runs aslant through thick slices is found where it is now, rather than where it was. And since
    a box around a mask that is a little too small gives one that is smaller still, the bounds are mended by the grey
    values: a pixel near the border counts by how much oftener its grey value was inside the last mask than around it.

    Parameters
    ----------
    mask : (rows, columns) bool array
        The object on the slice before, not empty.
    before, now : (rows, columns) or (rows, columns, 3) uint8 arrays
        Both slices, as the model sees them.
    """
    side = max(s.stop - s.start for s in bounds_of(mask))
    cell = max(1, -(-(side + 2 * ROOM) // MOST_CELLS))
    near = _around(mask, ROOM * cell)
    part = _cells(mask[near], cell) >= 0.5
    if min(part.shape) < LEAST_SIDE or not part.any():
        return Expected(mask, _ends(mask))
    old, new = (_cells(pixels[near], cell) for pixels in (before, now))
    carried = _carried(part, old, new)
    ends = np.add(_ends(carried), _ends(_alike(part, carried, old, new))) / 2
    moved = np.asarray(_ends(mask)) + cell * (ends - _ends(part))  # so that what stands still keeps its own pixels
    row0, column0, row1, column1 = np.clip(moved, 0, (*mask.shape, *mask.shape))
    return Expected(_in_pixels(mask, carried, near, cell), (float(row0), float(column0), float(row1), float(column1)))


def _around(mask: BoolArray, room: int) -> tuple[slice, slice]:
    rows, columns = (
        slice(max(s.start - room, 0), min(s.stop + room, size))
        for s, size in zip(bounds_of(mask), mask.shape, strict=True)
    )
    return rows, columns


def _ends(mask: BoolArray) -> tuple[float, float, float, float]:
    rows, columns = bounds_of(mask)
    return rows.start, columns.start, rows.stop, columns.stop


def _cells(values: NDArray[np.generic], cell: int) -> FloatArray:
    """The means of blocks of `cell` x `cell` pixels; colours become their mean, the last pixels are repeated."""
    grey = values.astype(np.float64)
    grey = grey.mean(axis=2) if grey.ndim == 3 else grey
    if cell == 1:
        return grey
    padded = np.pad(grey, [(0, -size % cell) for size in grey.shape], mode="edge")
    rows, columns = (size // cell for size in padded.shape)
    return np.asarray(padded.reshape(rows, cell, columns, cell).mean(axis=(1, 3)))


def _carried(mask: BoolArray, before: FloatArray, now: FloatArray) -> BoolArray:
    """The mask moved by the optical flow; where it was, if it would vanish."""
    # for each cell of the slice that is now: how far away in the one before it was
    from skimage.registration import optical_flow_ilk  # brings much along that opening the window need not wait for

    flow = np.asarray(optical_flow_ilk(now / 255, before / 255, radius=RADIUS), dtype=np.float64)
    # by way of the distance to the border, so that it stays smooth
    depth = signed_distance(mask, CELLS)
    there = ndimage.map_coordinates(depth, np.indices(mask.shape) + flow, order=1, mode="nearest") > 0
    return np.asarray(there) if there.any() else mask


def _alike(mask: BoolArray, carried: BoolArray, before: FloatArray, now: FloatArray) -> BoolArray:
    """What is near the carried mask and looks like the object did; the carried mask itself, where nothing does."""
    old, new = (ndimage.gaussian_filter(values, 0.5) for values in (before, now))
    depth, place = signed_distance(mask, CELLS), signed_distance(carried, CELLS)
    inside, outside = _shares(old[mask]), _shares(old[(depth < 0) & (depth > -RING)])
    evidence = np.clip(np.log(inside) - np.log(outside), -MOST_EVIDENCE, MOST_EVIDENCE)
    seen = ndimage.gaussian_filter(evidence[_bin(new)], 0.8)
    found = (seen + STIFF * place > 0) & (place > -BAND) | (place > BAND)
    return found if found.any() else carried


def _in_pixels(mask: BoolArray, carried: BoolArray, near: tuple[slice, slice], cell: int) -> BoolArray:
    """The carried cells as pixels of the plane; the mask as it was, where nothing is left of them."""
    size = mask[near].shape
    if cell > 1:
        at = np.meshgrid(*[(np.arange(n) + 0.5) / cell - 0.5 for n in size], indexing="ij")
        carried = ndimage.map_coordinates(signed_distance(carried, CELLS), at, order=1, mode="nearest") > 0
    out = np.zeros_like(mask)
    out[near] = carried
    return out if out.any() else mask


def _shares(values: FloatArray) -> FloatArray:
    """How often each bin of grey values occurs, (256 / LEVELS,), smoothed; none occurs never."""
    counts = np.bincount(_bin(values), minlength=256 // LEVELS).astype(np.float64)
    counts = ndimage.gaussian_filter1d(counts, 1.5) + 0.02 * (values.size + 1) / len(counts)
    return np.asarray(counts / counts.sum())


def _bin(values: FloatArray) -> NDArray[np.intp]:
    return np.asarray(values // LEVELS, dtype=np.intp).clip(0, 256 // LEVELS - 1)
