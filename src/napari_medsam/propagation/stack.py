"""The slices that lie behind one another along one axis of an image: what an object is followed through."""

from __future__ import annotations

from dataclasses import dataclass

from napari_medsam.errors import GeometryError
from napari_medsam.geometry import Grid, Plane


@dataclass(frozen=True)
class Stack:
    """All slices of an image along one axis; where there are more axes (time), at one place along those.

    Parameters
    ----------
    axes : (int, int)
        The two array axes that span every slice, ascending: rows, then columns.
    axis : int
        The array axis along which the slices lie behind one another: depth, or time.
    size : int
        How many slices there are; positions are 0 to `size` - 1.
    fixed : tuple of (axis, voxel index)
        Where the stack lies along each of the other axes, ascending by axis.
    """

    axes: tuple[int, int]
    axis: int
    size: int
    fixed: tuple[tuple[int, int], ...] = ()

    @classmethod
    def through(cls, plane: Plane, shape: tuple[int, ...], axis: int | None = None) -> Stack:
        """The stack in which `plane` lies, in an image of `shape`.

        Parameters
        ----------
        plane : Plane
        shape : tuple of int
            Voxels along each axis.
        axis : int, optional
            One of those that the plane hides; the last of them (depth before time) when left out.

        Raises
        ------
        GeometryError
            The image is a single slice, the plane lies outside it, or the plane shows `axis`.
        """
        plane.check(shape)
        hidden = [a for a, _ in plane.index]
        if not hidden:
            raise GeometryError("This image is a single slice: there is nothing to go through. Open a volume.")
        along = hidden[-1] if axis is None else axis
        if along not in hidden:
            raise GeometryError(f"The slice shows axis {along}, so there is no way along it; choose one of {hidden}.")
        fixed = tuple((a, i) for a, i in plane.index if a != along)
        return cls(plane.axes, along, shape[along], fixed)

    def plane(self, position: int) -> Plane:
        """The slice at a position."""
        return Plane(self.axes, (*self.fixed, (self.axis, position)))

    def position(self, plane: Plane) -> int | None:
        """Where a slice lies in the stack; None when it is no slice of it."""
        at = dict(plane.index).get(self.axis)
        return at if at is not None and self.plane(at) == plane else None

    def pitch(self, grid: Grid) -> float:
        """Distance between neighbouring slices: mm for depth, one frame's own unit for time."""
        return grid.spacing[self.axis]

    def pixel(self, grid: Grid) -> tuple[float, float]:
        """(row, column) size of a pixel of a slice, in mm."""
        return grid.spacing[self.axes[0]], grid.spacing[self.axes[1]]
