"""The image of a session: an array that is only read, where it lies, and how to cut a slice from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import ImageError
from napari_medsam.geometry import Grid, Plane
from napari_medsam.intensity import ArrayLike3, sample

KEY = "napari-medsam"
"""The key under which a layer's metadata holds what `Image.source` holds."""


@dataclass(frozen=True)
class Image:
    """An image with its grid. The array is never written to.

    Parameters
    ----------
    data : array
        Shape `grid.shape`, or `grid.shape + (3 | 4,)` when `rgb`. Any real type; numpy, memmap, dask or zarr.
    grid : Grid
        Where the voxels are.
    rgb : bool
        Whether the last axis of `data` is colour.
    name : str
    source : mapping
        What a writer needs to give labels the source's own geometry (affine, header ...); plain values only.
    axis_labels, units : tuple of str
        One per axis of the grid, e.g. ("z", "y", "x") and ("mm", "mm", "mm"); empty when not known.
    """

    data: ArrayLike3
    grid: Grid
    rgb: bool = False
    name: str = "image"
    source: Mapping[str, Any] = field(default_factory=dict)
    axis_labels: tuple[str, ...] = ()
    units: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = tuple(int(s) for s in self.data.shape)
        spatial = shape[:-1] if self.rgb else shape
        if spatial != self.grid.shape:
            raise ImageError(f"The image has {spatial} voxels, but its grid says {self.grid.shape}.")
        if self.rgb and shape[-1] not in (3, 4):
            raise ImageError(f"A colour image has 3 or 4 channels in its last axis, not {shape[-1]}.")
        if np.dtype(self.data.dtype).kind not in "biuf":
            raise ImageError(f"Voxels of type {self.data.dtype} cannot be segmented; convert them to real numbers.")

    @property
    def lazy(self) -> bool:
        """Whether reading a slice may be slow (anything but numpy in memory)."""
        return not isinstance(self.data, np.ndarray) or isinstance(self.data, np.memmap)

    def sample(self) -> NDArray[Any]:
        """Some values of the image, to suggest a window from; see `intensity.sample`.

        Raises
        ------
        ImageError
            The array cannot be read.
        """
        try:
            return sample(self.data, rgb=self.rgb)
        except MemoryError:
            raise
        except Exception as error:
            raise ImageError(f"{self.name!r} could not be read: {error}. Check the file and open it again.") from error

    def plane(self, plane: Plane) -> NDArray[Any]:
        """A copy of one slice, (rows, columns) or (rows, columns, 3)."""
        plane.check(self.grid.shape)
        values = np.asarray(self.data[plane.key])
        return np.array(values[..., :3] if self.rgb else values, order="C")
