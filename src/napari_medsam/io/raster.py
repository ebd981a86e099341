"""Pictures (PNG, JPEG, BMP) and bare arrays (.npy) in: no geometry, so one pixel is one unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import ReadError
from napari_medsam.geometry import Grid
from napari_medsam.image import Image
from napari_medsam.io.files import location, reading, require_file, stem_of

GREY = {"1": "L", "L": "L", "LA": "L", "I;16": "I;16", "I;16B": "I;16", "I": "I", "F": "F"}
"""What Pillow's grey modes are read as; transparency of a grey picture is dropped."""


def read_picture(path: Path, *, indexed: bool = False) -> Image:
    """Read a PNG, JPEG or BMP picture.

    Parameters
    ----------
    path : Path
    indexed : bool
        Whether a picture with a palette is read as the numbers of its colours, as label pictures are stored.

    Returns
    -------
    Image
        (y, x), or (y, x, 3 | 4) for colour, as the pixels are stored: a camera's rotation note is not applied.

    Raises
    ------
    ReadError
        Missing, empty, damaged, or too large.
    """
    require_file(path)
    with reading(path, "a picture"):
        from PIL import Image as Pictures

        with Pictures.open(path) as picture:
            transparent = "A" in picture.mode or "transparency" in picture.info
            mode = GREY.get(picture.mode) or ("RGBA" if transparent else "RGB")
            keep = picture.mode == mode or (indexed and picture.mode == "P")
            array = np.array(picture if keep else picture.convert(mode))
        return _image(path, array.astype(array.dtype.newbyteorder("="), copy=False), rgb=array.ndim == 3)


def read_array(path: Path) -> Image:
    """Read a .npy file of 2 to 4 axes; one that holds Python objects is refused, because it could run code."""
    require_file(path)
    with reading(path, "a NumPy array"):
        array = np.load(path, allow_pickle=False)
        if not isinstance(array, np.ndarray) or array.ndim not in (2, 3, 4):
            raise ReadError(f"{path.name} is no array of 2 to 4 axes. Save one volume with numpy.save.")
        rgb = array.ndim > 2 and array.shape[-1] in (3, 4) and array.dtype == np.uint8
        return _image(path, np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False)), rgb=rgb)


def _image(path: Path, array: NDArray[Any], *, rgb: bool) -> Image:
    shape = array.shape[:-1] if rgb else array.shape
    axes = ("t", "z", "y", "x")[-len(shape) :]
    grid = Grid.from_spacing(shape, np.ones(len(shape)))
    source = {"format": path.suffix.lower().lstrip("."), "path": location(path), "is_labels": False}
    return Image(array, grid, rgb, stem_of(path), source, axes, ("pixel",) * len(shape))
