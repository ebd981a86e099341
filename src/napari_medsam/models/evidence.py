"""What speaks for a cell to belong to the object: where it lies in the box, its intensity, its neighbours, the clicks.

All evidence is in log-odds (natural logarithm of inside against outside), so it adds up. The weights PLACE, INTENSITY
and SPREAD, and those of ALONE, are fitted to data: logistic regressions over cells, each image counting the same. The
other constants are round numbers in units of cells, bins or parts of the box.

References
----------
L. Grady, "Multilabel random walker image segmentation using prior models", CVPR 2005.
C. Rother, V. Kolmogorov, A. Blake, "GrabCut: interactive foreground extraction using iterated graph cuts", SIGGRAPH
2004 (the box and its surroundings as the source of the two histograms).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse import linalg
from scipy.special import expit

from napari_medsam.models.workframe import WorkFrame

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

PLACE = (0.05, 1.25, -0.7, -1.45)
"""Log-odds from the place in the box: weights of 1, r, r^2 and m^4, with r the distance from the centre in which the
ellipse that fills the box is 1, and m the same for the box itself."""

INTENSITY = 0.33
"""Weight of the intensities' log-likelihood ratio."""

SPREAD = 1.2
"""Weight of the log-odds after spreading."""

ALONE = ((-0.1, 1.6, -2.0, -2.5), 1.4)
"""PLACE and INTENSITY where they are all there is: for the probability that is spread."""

INTENSITY_SIGMA = 1.0
"""Smoothing of the log-likelihood ratio, in cells."""

BINS = 64
"""Intensity bins."""

BIN_SIGMA = 2.0
"""Smoothing of a histogram, in bins."""

BIN_FLOOR = 0.02
"""Part of a histogram spread over all bins, so that an intensity never seen decides nothing by itself."""

FLAT = 1.0
"""A box whose contrast is below this, in grey values, shows nothing: the answer is the ellipse."""

ELLIPSE = 4.0
"""Log-odds at the centre of that ellipse."""

CORE = 0.5
"""The object's histogram is taken with weights exp(-(r / CORE)^2): what lies near the centre counts most."""

RIM = 0.3
"""Weight, in the background's histogram, of the box's corners (r > 1) against the surroundings (1)."""

STIFFNESS = 25.0
"""Neighbours that differ by d times the contrast of the box are joined with exp(-STIFFNESS d^2)."""

LEAST_JOINT = 1e-4
"""Neighbours are joined at least this much."""

HOLD = 0.02
"""How firmly a cell holds to its own probability against its neighbours': it averages over 1 / sqrt(HOLD) cells."""

SURE = 0.02
"""Probabilities are taken SURE away from 0 and 1 before their log-odds."""

CLICK = 5.0
"""Log-odds at a click."""

CLICK_SHARE = 0.05
"""Part of a histogram that each click contributes."""


@dataclass(frozen=True)
class Click:
    """One point or stroke on the cells: where it is, what it says, and how far it reaches (in cells)."""

    cells: NDArray[np.intp]
    positive: bool
    reach: float


@dataclass(frozen=True)
class Scene:
    """A frame and all that is computed once for it, whatever is clicked.

    Parameters
    ----------
    frame : WorkFrame
    terms : (4, n, m) array
        What PLACE weighs.
    bins : (channels, n, m) array
        The intensity bin of each cell.
    relative : (n, m, channels) array
        Slightly smoothed intensities, over the contrast of the box.
    spread : callable
        See `spreading`.
    flat : bool
        Whether the intensities say nothing: see FLAT.
    """

    frame: WorkFrame
    terms: FloatArray
    bins: NDArray[np.intp]
    relative: FloatArray
    spread: Callable[[FloatArray], FloatArray]
    flat: bool

    @classmethod
    def of(cls, frame: WorkFrame, terms: FloatArray) -> Scene:
        """Compute the rest."""
        bins = np.stack([_binned(channel, frame.inside) for channel in np.moveaxis(frame.values, 2, 0)])
        smooth = ndimage.gaussian_filter(frame.values, (0.5, 0.5, 0), mode="nearest")
        contrast = float(np.sqrt(frame.values[frame.inside].var(axis=0).sum()))
        relative = smooth / max(contrast, FLAT)
        return cls(frame, terms, bins, relative, spreading(frame.inside, relative), contrast < FLAT)


def centre(frame: WorkFrame, size: float) -> FloatArray:
    """Weights, (n, m), of the histogram of an object of `size` times the box: see CORE."""
    rows, columns = (offset / size for offset in frame.offset)
    return near_to(frame, np.hypot(rows, columns))


def near_to(frame: WorkFrame, distance: FloatArray) -> FloatArray:
    """exp(-(distance / CORE)^2) in the box, 0 outside, (n, m)."""
    return np.where(frame.inside, np.exp(-((distance / CORE) ** 2)), 0.0)


def distance_to(frame: WorkFrame, cells: NDArray[np.intp]) -> FloatArray:
    """Distance, (n, m), in pixels, from each cell to the nearest of `cells`, (k, 2)."""
    away = np.ones(frame.shape, dtype=bool)
    away[tuple(cells.T)] = False
    return np.asarray(ndimage.distance_transform_edt(away, sampling=frame.steps))


def surroundings(frame: WorkFrame) -> FloatArray:
    """Weights, (n, m), of the background's histogram when nothing but the box is known: see RIM."""
    rows, columns = frame.offset
    return np.where(frame.inside, RIM * (rows**2 + columns**2 > 1), 1.0)


def log_odds(scene: Scene, core: FloatArray, rim: FloatArray, clicks: Sequence[Click]) -> FloatArray:
    """All evidence together, (n, m); it means nothing beyond the box.

    Parameters
    ----------
    scene : Scene
    core, rim : (n, m) arrays
        How much each cell counts in the object's and in the background's histogram.
    clicks : sequence of Click
    """
    near = [_near(scene, click) for click in clicks]
    said = np.zeros(core.shape)
    for click, weights in zip(clicks, near, strict=True):
        said += CLICK * weights if click.positive else -CLICK * weights
        share = CLICK_SHARE * weights / weights.sum()
        if click.positive:
            core = core + core.sum() * share
        else:
            rim = rim + rim.sum() * share
    if scene.flat:
        return np.asarray(ELLIPSE * (1 - scene.terms[1]) + said)
    seen = _intensity(scene.bins, core, rim)
    alone = np.tensordot(ALONE[0], scene.terms, axes=1) + ALONE[1] * seen + said
    spread_odds = _logit(scene.spread(expit(alone)))
    return np.asarray(np.tensordot(PLACE, scene.terms, axes=1) + INTENSITY * seen + SPREAD * spread_odds + said)


def spreading(inside: BoolArray, relative: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """Make what lets each cell's probability, (n, m), follow its neighbours of like intensity; 0 outside the box.

    The random walker with priors: the x that minimises

        sum over neighbours w (x_i - x_j)^2 + HOLD sum over cells (x_i - p_i)^2,    w = exp(-STIFFNESS d^2)

    with d the neighbours' difference in `relative`, and x = 0 outside the box.
    """
    index = np.full(inside.shape, -1)
    index[inside] = np.arange(np.count_nonzero(inside))
    degree = np.full(inside.shape, HOLD)
    low, high, joint = [], [], []
    for axis in (0, 1):
        difference2 = (np.diff(relative, axis=axis) ** 2).sum(axis=2)
        w = np.exp(-STIFFNESS * difference2) + LEAST_JOINT
        here, there = _neighbours(inside.shape, axis)
        degree[here] += w
        degree[there] += w
        both = inside[here] & inside[there]
        low.append(index[here][both])
        high.append(index[there][both])
        joint.append(w[both])
    ends = np.concatenate([*low, *high]), np.concatenate([*high, *low])
    joints = sparse.coo_matrix((np.concatenate([*joint, *joint]), ends), shape=(index.max() + 1,) * 2)
    system = (sparse.diags(degree[inside]) - joints).tocsc()
    # symmetric and diagonally dominant: no pivoting is needed
    options = {"SymmetricMode": True}
    factors = linalg.splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)

    def spread(probability: FloatArray) -> FloatArray:
        out = np.zeros(inside.shape)
        out[inside] = factors.solve(HOLD * probability[inside])
        return out

    return spread


def place_terms(frame: WorkFrame, size: float) -> FloatArray:
    """What PLACE weighs, (4, n, m), for an object of `size` times the box."""
    rows, columns = (offset / size for offset in frame.offset)
    radius2 = rows**2 + columns**2
    reach = np.minimum(np.maximum(np.abs(rows), np.abs(columns)), 1.0 / size)
    return np.stack([np.ones(frame.shape), np.sqrt(radius2), radius2, reach**4])


def round_terms(distance: FloatArray) -> FloatArray:
    """What PLACE weighs, (4, n, m), for an object that reaches as far as `distance` 1 from its points."""
    return np.stack([np.ones(distance.shape), distance, distance**2, np.minimum(distance, 1.0) ** 4])


def _near(scene: Scene, click: Click) -> FloatArray:
    """1 at a click, less with distance from it and with unlike intensity, (n, m)."""
    away = np.ones(scene.frame.shape, dtype=bool)
    away[tuple(click.cells.T)] = False
    distance, nearest = ndimage.distance_transform_edt(away, return_indices=True)
    unlike2 = ((scene.relative - scene.relative[tuple(nearest)]) ** 2).sum(axis=2)
    return np.asarray(np.exp(-((distance / click.reach) ** 2) / 2 - unlike2))


def _intensity(bins: NDArray[np.intp], core: FloatArray, rim: FloatArray) -> FloatArray:
    """Smoothed log-likelihood ratio, (n, m); the channels' are added, as if they were independent."""
    ratio = np.zeros(core.shape)
    for channel in bins:
        ratio += _ratio(channel, core, rim)
    return np.asarray(ndimage.gaussian_filter(ratio, INTENSITY_SIGMA, mode="nearest"))


def _binned(channel: FloatArray, inside: BoolArray) -> NDArray[np.intp]:
    """Bins, (n, m), halfway between equal steps of intensity and equal shares of the box's cells.

    Equal steps alone lose a faint object beside bone or metal; equal shares alone tear noise apart.
    """
    low, high = np.percentile(channel, (1, 99))
    steps = np.clip((channel - low) / max(high - low, 1.0), 0, 1)
    ordered = np.sort(channel[inside])
    shares = (np.searchsorted(ordered, channel, "left") + np.searchsorted(ordered, channel, "right")) / 2 / len(ordered)
    return np.asarray(np.minimum((steps + shares) / 2 * BINS, BINS - 1).astype(np.intp))


def _ratio(bins: NDArray[np.intp], core: FloatArray, rim: FloatArray) -> FloatArray:
    histograms = []
    for weights in (core, rim):
        counts = np.bincount(bins.ravel(), weights.ravel(), BINS)
        counts = ndimage.gaussian_filter1d(counts, BIN_SIGMA, mode="nearest")
        # a box that fills the plane has no surroundings: an even histogram then
        counts = counts / counts.sum() if counts.sum() > 0 else np.full(BINS, 1 / BINS)
        histograms.append(counts * (1 - BIN_FLOOR) + BIN_FLOOR / BINS)
    return np.asarray(np.log(histograms[0] / histograms[1])[bins])


def _neighbours(shape: tuple[int, ...], axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """What selects the cells that have a following neighbour along `axis`, and what selects those neighbours."""
    here, there = [slice(None)] * len(shape), [slice(None)] * len(shape)
    here[axis], there[axis] = slice(None, -1), slice(1, None)
    return tuple(here), tuple(there)


def _logit(probability: FloatArray) -> FloatArray:
    return np.asarray(np.log((probability + SURE) / (1 + SURE - probability)))
