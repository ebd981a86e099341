"""What speaks for a cell to belong to the object: where it lies in the box, its intensity, and the clicks near it.

All evidence is in log-odds (natural logarithm of inside against outside), so it adds up. The few weights are the
fit of a logistic regression; they are the only thing learnt here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_medsam.models.workframe import WorkFrame

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

PLACE = (-0.1, 1.5, -2.0, -2.5)
"""Log-odds from the place in the box: weights of 1, r, r^2 and m^4, with r the distance from the centre in which the
ellipse that fills the box is 1, and m the same for the box itself."""

INTENSITY = 1.45
"""Weight of the intensities' log-likelihood ratio, smoothed with INTENSITY_SIGMA cells."""

INTENSITY_SIGMA = 1.5

BINS = 64
"""Intensity bins between the first and the last percentile of the frame."""

BIN_SIGMA = 2.0
"""Smoothing of a histogram, in bins."""

BIN_FLOOR = 0.02
"""Part of a histogram spread over all bins, so that an intensity never seen decides nothing by itself."""

CORE = 0.5
"""The object's histogram is taken with weights exp(-(r / CORE)^2): what lies near the centre counts most."""

RIM = 0.3
"""Weight, in the background's histogram, of the box's corners (r > 1) against the surroundings (1)."""

CLICK = 8.0
"""Log-odds at a click."""

CLICK_SHARE = 0.3
"""Part of a histogram that the clicks contribute, when there are any."""


@dataclass(frozen=True)
class Click:
    """One point or stroke on the cells: where it is, what it says, and how far it reaches (in cells)."""

    cells: NDArray[np.intp]
    positive: bool
    reach: float


def decorrelated(values: FloatArray) -> FloatArray:
    """Grey and two colour differences of RGB values, (n, m, 3), which add up as evidence; grey values as they are."""
    if values.shape[2] == 1:
        return values
    red, green, blue = np.moveaxis(values, 2, 0)
    return np.stack([(red + green + blue) / 3, red - blue, green - (red + blue) / 2], axis=2)


def place(frame: WorkFrame) -> FloatArray:
    """Log-odds, (n, m), from the place in the box alone."""
    rows, columns = frame.offset
    radius2 = rows**2 + columns**2
    reach = np.maximum(np.abs(rows), np.abs(columns))
    return PLACE[0] + PLACE[1] * np.sqrt(radius2) + PLACE[2] * radius2 + PLACE[3] * reach**4


def intensity(frame: WorkFrame, clicks: list[Click]) -> FloatArray:
    """Smoothed log-likelihood ratio, (n, m), of the intensities: the box's centre against its surroundings."""
    rows, columns = frame.offset
    radius2 = rows**2 + columns**2
    inside = frame.inside
    core = np.where(inside, np.exp(-radius2 / CORE**2), 0.0)
    rim = np.where(inside, RIM * (radius2 > 1), 1.0)
    for click in clicks:
        near = _near(frame, click)
        share = CLICK_SHARE / (1 - CLICK_SHARE) * near / max(near.sum(), 1e-9)
        if click.positive:
            core = core + share * core.sum()
        else:
            rim = rim + share * rim.sum()
    channels = np.moveaxis(decorrelated(frame.values), 2, 0)
    ratio = sum((_ratio(_binned(channel), core, rim) for channel in channels), np.zeros(frame.shape))
    return np.asarray(ndimage.gaussian_filter(ratio, INTENSITY_SIGMA, mode="nearest"))


def clicked(frame: WorkFrame, clicks: list[Click]) -> FloatArray:
    """Log-odds, (n, m), around the clicks: CLICK at a click, less with distance and with unlike intensity."""
    total = np.zeros(frame.shape)
    for click in clicks:
        total += (CLICK if click.positive else -CLICK) * _near(frame, click)
    return total


def contrast(frame: WorkFrame) -> FloatArray:
    """Spread of each channel in the frame, (channels,), at least 1 grey value."""
    spread = decorrelated(frame.values).reshape(-1, frame.values.shape[2]).std(axis=0)
    return np.maximum(spread, 1.0)


def _near(frame: WorkFrame, click: Click) -> FloatArray:
    away = np.ones(frame.shape, dtype=bool)
    away[tuple(click.cells.T)] = False
    distance, nearest = ndimage.distance_transform_edt(away, return_indices=True)
    values = decorrelated(frame.values)
    values = ndimage.gaussian_filter(values, (1, 1, 0), mode="nearest") / contrast(frame)
    unlike = ((values - values[tuple(nearest)]) ** 2).sum(axis=2)
    return np.asarray(np.exp(-((distance / click.reach) ** 2) / 2 - unlike / 2))


def _binned(channel: FloatArray) -> NDArray[np.intp]:
    low, high = np.percentile(channel, (1, 99))
    scale = BINS / max(high - low, 1.0)
    return np.clip((channel - low) * scale, 0, BINS - 1).astype(np.intp)


def _ratio(bins: NDArray[np.intp], core: FloatArray, rim: FloatArray) -> FloatArray:
    histograms = []
    for weights in (core, rim):
        counts = np.bincount(bins.ravel(), weights.ravel(), BINS)
        counts = ndimage.gaussian_filter1d(counts, BIN_SIGMA, mode="nearest")
        histograms.append(counts / max(counts.sum(), 1e-9) * (1 - BIN_FLOOR) + BIN_FLOOR / BINS)
    return np.asarray(np.log(histograms[0] / histograms[1])[bins])
