"""TIFF in, through tifffile, with the spacing that ImageJ and OME write.

A TIFF says nothing about the patient's directions: its axes stay as they are, and its origin is 0. The resolution of
a plain TIFF is meant for printing and is not taken as a size. Where one of the lengths is not known, none is used
(spacing 1, unit "pixel"), because a volume computed with a guess would look like a measurement.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import ReadError
from napari_medsam.geometry import Grid
from napari_medsam.image import Image
from napari_medsam.io.files import location, reading, require_file, stem_of

MILLIMETRES = {
    **dict.fromkeys(("\u00b5m", "\u03bcm", "um", "micron", "microns", "micrometer", "micrometre", "\\u00b5m"), 1e-3),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-6),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1.0),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 10.0),
    **dict.fromkeys(("m", "meter", "metre"), 1000.0),
    **dict.fromkeys(("inch", "in"), 25.4),
}
SECONDS = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "msec": 1e-3, "\u00b5s": 1e-6, "us": 1e-6, "min": 60.0, "h": 3600.0}
STACKED = "IQR"
"""tifffile's names for pages whose axis the file does not name: taken as slices."""


def read_tiff(path: Path) -> Image:
    """Read a TIFF file: its first series, at full resolution.

    Returns
    -------
    Image
        Axes ([c,] [t,] [z,] y, x[, 3 | 4 colour]); channels other than colour come first. Spacing in millimetres and
        seconds (units "mm", "s") where an ImageJ or OME header gives it, else 1 (unit "pixel").

    Raises
    ------
    ReadError
        Missing, empty, damaged, or axes other than these.
    """
    require_file(path)
    with reading(path, "TIFF"):
        import tifffile

        with _strictly(path), tifffile.TiffFile(path) as file:
            if not file.series:
                raise ReadError(f"{path.name} holds no image. Export it again.")
            series = file.series[0]
            array, axes = _ordered(path, series.asarray(), series.axes)
            sizes = _imagej_sizes(file) if file.is_imagej else _ome_sizes(file) if file.is_ome else {}
        return _image(path, array, axes, sizes)


@contextmanager
def _strictly(path: Path) -> Iterator[None]:
    """Raise ReadError for damage that tifffile only logs, giving back the pages that are left."""
    found: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("tifffile")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    if found:
        raise ReadError(f"{path.name} is damaged or cut off ({found[0][:120]}). Copy or export it again.")


def _ordered(path: Path, array: NDArray[Any], axes: str) -> tuple[NDArray[Any], str]:
    """(contiguous native array, its axes) with axes among "ctzyx" in this order and "s" for colour last."""
    names = axes.upper()
    for unnamed in STACKED:
        if "Z" not in names:
            names = names.replace(unnamed, "Z", 1)
    lone = [i for i, (name, n) in enumerate(zip(names, array.shape, strict=True)) if n == 1 and name not in "YX"]
    array, names = array.squeeze(axis=tuple(lone)), "".join(a for i, a in enumerate(names) if i not in lone)
    if "S" in names and array.shape[names.index("S")] not in (3, 4):
        names = names.replace("S", "C") if "C" not in names else names
    if not set(names) <= set("CTZYXS") or len(set(names)) < len(names) or not {"Y", "X"} <= set(names):
        raise ReadError(
            f"{path.name} has the axes {axes}, {array.shape}; of C, T, Z, Y, X and colour each may be there once."
        )
    order = sorted(range(len(names)), key=lambda i: "CTZYXS".index(names[i]))
    array = np.ascontiguousarray(array.transpose(order))
    return array.astype(array.dtype.newbyteorder("="), copy=False), "".join(names[i] for i in order).lower()


def _image(path: Path, array: NDArray[Any], axes: str, sizes: dict[str, float]) -> Image:
    rgb = axes.endswith("s")
    spatial = axes.removesuffix("s")
    known = all(sizes.get(a, 0) > 0 and np.isfinite(sizes[a]) for a in spatial if a in "zyx")
    scale = [sizes[a] if a in "zyx" and known else sizes.get(a, 0) or 1.0 if a == "t" else 1.0 for a in spatial]
    unit = {"t": "s" if sizes.get("t") else "pixel", "c": "pixel"}
    units = tuple(unit.get(a, "mm" if known else "pixel") for a in spatial)
    grid = Grid.from_spacing(array.shape[: len(spatial)], scale)
    source = {"format": "tiff", "path": location(path), "is_labels": False}
    return Image(array, grid, rgb, stem_of(path), source, tuple(spatial), units)


def _imagej_sizes(file: Any) -> dict[str, float]:
    """Millimetres per voxel (keys "z", "y", "x") and seconds per frame ("t"), those that ImageJ's header gives."""
    meta, tags = file.imagej_metadata or {}, file.pages[0].tags
    sizes = {}
    if interval := float(meta.get("finterval", 0) or 0):
        sizes["t"] = interval * SECONDS.get(str(meta.get("tunit", "s")), 1.0)
    unit = str(meta.get("unit", "")).lower()
    factor = MILLIMETRES.get(unit)
    if factor is None:
        return sizes
    for axis, tag in (("x", "XResolution"), ("y", "YResolution")):
        if tag in tags and tags[tag].value[0]:
            per_pixel = tags[tag].value[1] / tags[tag].value[0]
            sizes[axis] = per_pixel * MILLIMETRES.get(str(meta.get(f"{axis}unit", unit)).lower(), factor)
    if "spacing" in meta:
        sizes["z"] = abs(float(meta["spacing"])) * MILLIMETRES.get(str(meta.get("zunit", unit)).lower(), factor)
    return sizes


def _ome_sizes(file: Any) -> dict[str, float]:
    """As `_imagej_sizes`, from OME-XML, where lengths are in microns and times in seconds unless it says otherwise."""
    root = ElementTree.fromstring(file.ome_metadata)
    pixels = next((e for e in root.iter() if e.tag.rpartition("}")[2] == "Pixels"), None)
    if pixels is None:
        return {}
    sizes = {}
    for axis in "XYZ":
        factor = MILLIMETRES.get(pixels.get(f"PhysicalSize{axis}Unit", "\u00b5m").lower())
        if factor and pixels.get(f"PhysicalSize{axis}"):
            sizes[axis.lower()] = float(pixels.get(f"PhysicalSize{axis}", 0)) * factor
    factor = SECONDS.get(pixels.get("TimeIncrementUnit", "s"))
    if factor and pixels.get("TimeIncrement"):
        sizes["t"] = float(pixels.get("TimeIncrement", 0)) * factor
    return sizes
