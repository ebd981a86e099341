"""Grids and planes: from array index to world millimetres to the rows and columns of one slice.

Frames
------
index
    Array order; the centre of a voxel is at the integer, voxel 0 covers -0.5 ... 0.5.
world
    The frame that the affine maps into, in the same axis order as the array (z, y, x).
    Millimetres and LPS+ for the files that this package reads.
plane
    (row, column) of one slice. Rows and columns are the two spanning axes in ascending order,
    so the frame does not depend on how a viewer transposes or rolls its display.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_medsam.errors import GeometryError

FloatArray = NDArray[np.float64]

VIEWS = {"axial": 0, "coronal": 1, "sagittal": 2}
"""The axis that each view looks along, of the last three (z, y, x)."""

SAME_GRID_VOXELS = 1e-3
"""Two grids are the same when no voxel centre differs by more than this part of a voxel."""


@dataclass(frozen=True, eq=False)
class Grid:
    """The spatial axes of an array, and where its voxels are.

    Parameters
    ----------
    shape : tuple of int
        Number of voxels along each axis, in array order; channels are not an axis of the grid.
    affine : (n + 1, n + 1) array
        Homogeneous matrix from index to world, axes in array order.

    Raises
    ------
    GeometryError
        The shape is empty, the matrix has the wrong size, is not finite, or cannot be inverted.
    """

    shape: tuple[int, ...]
    affine: FloatArray

    def __post_init__(self) -> None:
        n = len(self.shape)
        affine = np.array(self.affine, dtype=np.float64) + 0.0  # -0.0 becomes 0.0, so that equal grids hash alike
        if n < 2 or min(self.shape) < 1:
            raise GeometryError(f"A grid needs two axes or more of one voxel or more, not {self.shape}.")
        if affine.shape != (n + 1, n + 1):
            raise GeometryError(f"A {n}-dimensional grid needs a {n + 1} x {n + 1} affine, not {affine.shape}.")
        _require_invertible(affine)
        affine.flags.writeable = False
        object.__setattr__(self, "shape", tuple(int(s) for s in self.shape))
        object.__setattr__(self, "affine", affine)

    @classmethod
    def from_spacing(cls, shape: tuple[int, ...], spacing: ArrayLike, origin: ArrayLike | None = None) -> Grid:
        """Grid of positive `spacing` per axis whose voxel 0 lies at `origin` (zeros when None)."""
        n = len(shape)
        affine = np.eye(n + 1)
        steps = np.asarray(spacing, dtype=np.float64)
        at = np.zeros(n) if origin is None else np.asarray(origin, dtype=np.float64)
        if steps.shape != (n,) or at.shape != (n,):
            raise GeometryError(f"A grid of {n} axes needs {n} spacings and {n} origins, not {steps} and {at}.")
        affine[:n, :n] = np.diag(steps)
        affine[:n, n] = at
        return cls(shape, affine)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between neighbouring voxel centres along each axis, in world units."""
        return tuple(float(s) for s in np.linalg.norm(self.affine[:-1, :-1], axis=0))

    def to_world(self, index: ArrayLike) -> FloatArray:
        """World positions, (k, n), of `index` positions, (k, n)."""
        return _apply(self.affine, index)

    def to_index(self, world: ArrayLike) -> FloatArray:
        """Index positions, (k, n), of `world` positions, (k, n)."""
        return _apply(np.asarray(np.linalg.inv(self.affine), dtype=np.float64), world)

    def same_as(self, other: Grid) -> bool:
        """Whether both grids have the same voxels in the same places (to SAME_GRID_VOXELS)."""
        if self.shape != other.shape:
            return False
        corners = _corners(self.shape)
        return bool(np.abs(self.to_index(other.to_world(corners)) - corners).max() <= SAME_GRID_VOXELS)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grid) and self.shape == other.shape and np.array_equal(self.affine, other.affine)

    def __hash__(self) -> int:
        return hash((self.shape, self.affine.tobytes()))


@dataclass(frozen=True)
class Plane:
    """One slice of a grid.

    Parameters
    ----------
    axes : (int, int)
        The two array axes that span the slice, ascending: rows, then columns.
    index : tuple of (axis, voxel index)
        Where the slice lies along each of the other axes, ascending by axis.
    """

    axes: tuple[int, int]
    index: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", tuple(sorted(self.index)))
        used = [*self.axes, *(axis for axis, _ in self.index)]
        if self.axes[0] >= self.axes[1] or sorted(used) != list(range(len(used))):
            raise GeometryError(f"A plane names each axis once and its own two in order, not {self}.")

    @classmethod
    def across(cls, axis: int, position: int) -> Plane:
        """The plane of a 3D grid at `position` along `axis` (0 axial, 1 coronal, 2 sagittal)."""
        if axis not in (0, 1, 2):
            raise GeometryError(f"A 3D grid has the axes 0, 1 and 2, not {axis}.")
        rows, columns = (a for a in range(3) if a != axis)
        return cls((rows, columns), ((axis, position),))

    @property
    def ndim(self) -> int:
        """Number of axes of the grid that the plane cuts."""
        return 2 + len(self.index)

    @property
    def key(self) -> tuple[int | slice, ...]:
        """What selects the slice from an array: `array[plane.key]` has shape (rows, columns)."""
        at = dict(self.index)
        return tuple(at.get(axis, slice(None)) for axis in range(self.ndim))

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise GeometryError unless the plane lies in an array of `shape`."""
        if self.ndim != len(shape):
            raise GeometryError(f"A plane of {self.ndim} axes does not cut an image of {len(shape)} axes.")
        for axis, i in self.index:
            if not 0 <= i < shape[axis]:
                raise GeometryError(f"Slice {i} is outside axis {axis}, whose slices are 0 to {shape[axis] - 1}.")

    def shape_in(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """(rows, columns) of the slice of an array of `shape`."""
        return shape[self.axes[0]], shape[self.axes[1]]

    def to_index(self, plane_points: ArrayLike) -> FloatArray:
        """Index positions, (k, n), of plane positions, (k, 2)."""
        points = np.atleast_2d(np.asarray(plane_points, dtype=np.float64))
        out = np.empty((len(points), self.ndim))
        out[:, list(self.axes)] = points
        for axis, i in self.index:
            out[:, axis] = i
        return out

    def from_index(self, index: ArrayLike) -> FloatArray:
        """Plane positions, (k, 2), of index positions, (k, n); the distance to the plane is dropped."""
        return np.atleast_2d(np.asarray(index, dtype=np.float64))[:, list(self.axes)]

    def contains(self, index: ArrayLike) -> NDArray[np.bool_]:
        """For each of the index positions, (k, n), whether the voxel it lies in belongs to the slice."""
        points = np.atleast_2d(np.asarray(index, dtype=np.float64))
        near = np.ones(len(points), dtype=bool)
        for axis, i in self.index:
            near &= np.abs(points[:, axis] - i) <= 0.5 + SAME_GRID_VOXELS
        return near


def _require_invertible(affine: FloatArray) -> None:
    linear = affine[:-1, :-1]
    if not np.isfinite(affine).all():
        raise GeometryError("The affine holds NaN or infinity; the image has no usable position in space.")
    lengths = np.linalg.norm(linear, axis=0)
    if lengths.min() == 0 or abs(np.linalg.det(linear / lengths)) < 1e-9:
        raise GeometryError("The affine is singular: two axes coincide or a spacing is zero. Set a valid scale.")


def _apply(matrix: FloatArray, points: ArrayLike) -> FloatArray:
    at = np.atleast_2d(np.asarray(points, dtype=np.float64))
    return np.asarray(at @ matrix[:-1, :-1].T + matrix[:-1, -1])


def _corners(shape: tuple[int, ...]) -> FloatArray:
    grids = np.meshgrid(*[(0.0, float(s - 1)) for s in shape], indexing="ij")
    return np.stack([g.ravel() for g in grids], axis=1)
