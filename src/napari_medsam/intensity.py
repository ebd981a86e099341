"""Intensity windows, and the uint8 plane that a model sees. numpy only.

A window is mapped with its own bounds, `clip(v, low, high)`, then `(v - low) / (high - low) * 255`, truncated to
uint8 as MedSAM's own pre-processing does. NaN and minus infinity become 0, infinity 255.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import IntensityError

PERCENTILES = (0.5, 99.5)
"""MedSAM's percentiles for MR, ultrasound and other images without units, over the voxels above 0."""

SAMPLE = 2_000_000
MOST_SLICES = 64
LAZY_SLICES = 8
"""How much is looked at to suggest a window: values in all, slices in memory, slices that must be read first."""

BLOCK = 1 << 16
"""How many values are mapped at a time: what float64 needs for them stays in the processor's cache."""


class ArrayLike3(Protocol):
    """What is needed of an image array: numpy, memmap, dask, zarr and h5py arrays have it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        ...

    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True)
class Window:
    """The intensities shown: `low` becomes 0, `high` becomes 255."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high)) or self.high <= self.low:
            raise IntensityError(
                f"A window needs a lower bound below its upper bound, both finite, not {self.low:g} to {self.high:g}."
            )

    @classmethod
    def from_width_level(cls, width: float, level: float) -> Window:
        """The radiologist's window: `width` intensities around `level`."""
        if not width > 0:
            raise IntensityError(f"The window's width must be above 0, not {width:g}.")
        return cls(level - width / 2, level + width / 2)

    @property
    def width(self) -> float:
        """high - low."""
        return self.high - self.low

    @property
    def level(self) -> float:
        """The middle of the window."""
        return (self.low + self.high) / 2


CT_PRESETS: dict[str, Window] = {
    "CT abdomen": Window.from_width_level(400, 40),
    "CT lung": Window.from_width_level(1500, -600),
    "CT mediastinum": Window.from_width_level(350, 50),
    "CT brain": Window.from_width_level(80, 40),
    "CT bone": Window.from_width_level(1800, 400),
    "CT liver": Window.from_width_level(150, 30),
}
"""CT presets in HU: abdomen, lung, brain and mediastinum as MedSAM uses them, the others in common use."""

PERCENTILE = "Percentiles"
CONTRAST = "Layer contrast"
TYPED = "Typed"


def to_uint8(values: NDArray[Any], window: Window) -> NDArray[np.uint8]:
    """`values` of any real type as the model sees them through `window`; same shape, a new array.

    Equal to the formula on the whole array, but quick and with little memory beside the result: whole numbers of 8 and
    16 bits are looked up in a table, others are mapped a block at a time.
    """
    if values.dtype == np.uint8 and window == Window(0, 255):
        return np.array(values, order="C")
    flat = values.astype(values.dtype.newbyteorder("="), copy=False).ravel()
    shown = np.empty(flat.size, dtype=np.uint8)
    short = flat.dtype.kind in "biu" and flat.itemsize <= 2
    for start in range(0, flat.size, BLOCK):
        part = flat[start : start + BLOCK]
        shown[start : start + BLOCK] = _looked_up(part, window) if short else _mapped(part, window)
    return shown.reshape(values.shape)


def _mapped(values: NDArray[Any], window: Window) -> NDArray[np.uint8]:
    """The formula, step by step in place."""
    shown = values.astype(np.float64)
    if values.dtype.kind == "f":
        np.copyto(shown, window.low, where=np.isnan(shown))
    np.clip(shown, window.low, window.high, out=shown)
    shown -= window.low
    shown /= window.width
    shown *= 255
    return shown.astype(np.uint8)


def _looked_up(values: NDArray[Any], window: Window) -> NDArray[np.uint8]:
    at = values.view(f"u{values.itemsize}")
    return _table(values.dtype, window).take(at, mode="wrap")  # never out of bounds, and not asked about each


@lru_cache(maxsize=8)
def _table(dtype: np.dtype[Any], window: Window) -> NDArray[np.uint8]:
    """What each value of a type of 8 or 16 bits is shown as, at its bits read as an unsigned number."""
    bits = np.arange(256**dtype.itemsize).astype(f"u{dtype.itemsize}")
    return _mapped(bits.astype(bool) if dtype.kind == "b" else bits.view(dtype), window)


def percentile_window(values: NDArray[Any]) -> Window:
    """The PERCENTILES of the finite values above 0 (of all finite values when none are above 0).

    A constant image gets a window of width 1 around its value, so that it can still be shown.
    """
    finite = np.asarray(values, dtype=np.float64).ravel()
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        raise IntensityError("The image holds no finite value, so there is nothing to segment. Check the file.")
    positive = finite[finite > 0]
    low, high = np.percentile(positive if positive.size else finite, PERCENTILES)
    return Window(float(low), float(high)) if high > low else Window(float(low) - 0.5, float(low) + 0.5)


def sample(array: ArrayLike3, *, rgb: bool = False) -> NDArray[Any]:
    """A regular sample of at most about SAMPLE values: some slices of the last two axes, thinned.

    Arrays in memory give up to MOST_SLICES slices, others up to LAZY_SLICES, which are read one by one. With `rgb`
    the last axis is colour; alpha is left out.
    """
    shape = tuple(int(s) for s in array.shape)
    if rgb:
        shape = shape[:-1]
    outer = shape[:-2]
    leading = int(np.prod(outer, dtype=np.int64))
    in_memory = isinstance(array, np.ndarray) and not isinstance(array, np.memmap)
    count = min(leading, MOST_SLICES if in_memory else LAZY_SLICES)
    chosen = ((np.arange(count) + 0.5) * leading / count).astype(int)
    step = max(1, int(np.ceil(np.sqrt(count * shape[-2] * shape[-1] / SAMPLE))))
    planes = (np.asarray(array[tuple(int(i) for i in np.unravel_index(at, outer))]) for at in chosen)
    return np.stack([plane[::step, ::step, ..., :3] if rgb else plane[::step, ::step] for plane in planes])


def looks_like_ct(values: NDArray[Any]) -> bool:
    """Whether `values` look like Hounsfield units: air near -1000 and below, water and tissue near 0.

    A CT has many voxels at air (-1100 to -800) or, cropped to the body, values on both sides of zero in tissue's
    range and nothing below -5000 or above 35000.
    """
    v = np.asarray(values, dtype=np.float64).ravel()
    v = v[np.isfinite(v)]
    if not v.size or v.min() >= 0 or v.min() < -5000 or v.max() > 35000 or v.max() < 30:
        return False
    air = np.mean(v < -150)
    tissue = np.mean((v > -150) & (v < 300))
    return bool(air > 0.01 and tissue > 0.02 and v.min() <= -200)


def suggest_window(values: NDArray[Any]) -> tuple[str, Window]:
    """(preset name, window) that suits a sample of the image.

    A CT preset for HU, the full range for uint8 and bool, else PERCENTILE.
    """
    if values.dtype == np.uint8:
        return TYPED, Window(0, 255)
    if values.dtype == np.bool_:
        return TYPED, Window(0, 1)
    if looks_like_ct(values):
        return "CT abdomen", CT_PRESETS["CT abdomen"]
    return PERCENTILE, percentile_window(values)


class WindowedArray:
    """A read-only view of an array as the model sees it: uint8 through a window, computed when indexed.

    It has what napari asks of an image array, so the same pixels can be shown and fed to the model.

    Parameters
    ----------
    array, window : callable
        Give the array and the window in use, asked anew at each indexing, so that the view is never stale. Arrays
        that follow one another have the same axes.
    rgb : bool
        Whether the last axis is colour; alpha is left out.
    """

    def __init__(self, array: Callable[[], ArrayLike3], window: Callable[[], Window], *, rgb: bool = False) -> None:
        self._array = array
        self._window = window
        self._rgb = rgb
        shape = tuple(int(s) for s in array().shape)
        self.shape = (*shape[:-1], 3) if rgb else shape
        self.ndim = len(self.shape)
        self.size = int(np.prod(self.shape, dtype=np.int64))
        self.dtype = np.dtype(np.uint8)

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        array = self._array()
        values = np.asarray(array[key])
        opaque = self._rgb and int(array.shape[-1]) == 4
        return to_uint8(values[..., :3] if opaque else values, self._window())

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype=dtype)
