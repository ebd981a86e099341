"""The iterative convolution-thresholding method (ICTM) for geodesic active contours, as small pure functions.

A region is its characteristic function u (1 inside, 0 outside) on a grid of cells. Its energy is

    E(u) = sum( sqrt(g) u  G_tau * (sqrt(g) (1 - u)) ) + sum( linear u )

The first sum is small where u and 1 - u meet seldom, and cheap where the edge weight g is small: as tau goes to 0 it
tends to sqrt(tau / pi) times the contour's length weighted by g. `linear` gathers all that is linear in u: lambda g of
the original (area, weighted by the edges) and any region term. One step of the method is

    phi = sqrt(g) G_tau * (sqrt(g) (1 - 2 u)) + linear,        u <- 1 where phi <= 0, else 0.

phi is the derivative of E at u. G_tau is symmetric and positive semi-definite, so E is concave, lies below its tangent
at u, and the step, which minimises that tangent over all characteristic functions, cannot increase E.

References
----------
J. Ma, D. Wang, X.-P. Wang, X. Yang, "A characteristic function-based algorithm for geodesic active contours",
SIAM Journal on Imaging Sciences 14(3), 2021, 1184-1205.
V. Caselles, R. Kimmel, G. Sapiro, "Geodesic active contours", International Journal of Computer Vision 22, 1997.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

FloatArray = NDArray[np.float64]

HARD = 1e4
"""A linear term of this size, negative or positive, holds a cell inside or outside: |phi - linear| is at most 1."""

STEPS = 60
"""The method stops by itself, after 3 to 10 steps as a rule; this bounds it."""


def heat(values: FloatArray, tau: float) -> FloatArray:
    """`values`, (rows, columns), after the time `tau` of heat flow on the grid, with no flow through its border.

    The kernel is exp(tau L) with L the 5-point Laplacian (unit spacing, variance 2 tau per axis). Unlike a sampled and
    truncated Gaussian it is exactly symmetric and positive definite, which the decrease of the energy rests on.
    The cosine transform diagonalises it.
    """
    spectrum = fft.dctn(values, norm="ortho")
    spectrum *= _decay(values.shape[0], tau)[:, None]
    spectrum *= _decay(values.shape[1], tau)[None, :]
    return np.asarray(fft.idctn(spectrum, norm="ortho"))


def edge_weight(slope: FloatArray, scale: float) -> FloatArray:
    """g = 1 / (1 + (slope / scale)^2), (rows, columns): 1 in flat places, near 0 on edges steeper than `scale`."""
    return 1.0 / (1.0 + (slope / scale) ** 2)


def energy(u: FloatArray, root_g: FloatArray, tau: float, linear: FloatArray) -> float:
    """E(u) of the characteristic function `u`; all arrays (rows, columns), `root_g` the square root of g."""
    return float(np.sum(root_g * u * heat(root_g * (1.0 - u), tau)) + np.sum(linear * u))


def threshold_step(u: FloatArray, root_g: FloatArray, tau: float, linear: FloatArray) -> FloatArray:
    """One step of the method: 1 where phi <= 0, else 0."""
    phi = root_g * heat(root_g * (1.0 - 2.0 * u), tau) + linear
    return (phi <= 0).astype(np.float64)


def minimise(u: FloatArray, root_g: FloatArray, tau: float, linear: FloatArray) -> FloatArray:
    """Repeat `threshold_step` from `u` until nothing changes, at most STEPS times."""
    for _ in range(STEPS):
        following = threshold_step(u, root_g, tau, linear)
        if np.array_equal(following, u):
            break
        u = following
    return u


@lru_cache(maxsize=64)
def _decay(cells: int, tau: float) -> FloatArray:
    # the eigenvalues of the 1D Laplacian with reflecting ends are 2 cos(pi k / n) - 2
    decay = np.exp(tau * (2.0 * np.cos(np.pi * np.arange(cells) / cells) - 2.0))
    decay.flags.writeable = False
    return decay
