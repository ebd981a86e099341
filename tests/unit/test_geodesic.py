"""The thresholding method does what its papers promise: the energy never increases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from napari_medsam.models import geodesic

FloatArray = NDArray[np.float64]


def random_problem(seed: int, shape: tuple[int, int], scale: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Make a region, the root of an edge weight and a linear term, all random, some of it smooth."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(0, 3))
    g = geodesic.edge_weight(np.abs(smooth), scale)
    linear = rng.uniform(-0.2, 0.2) * g + rng.uniform(0, 0.5) * rng.normal(size=shape)
    return (rng.random(shape) < 0.5).astype(float), np.sqrt(g), linear


def is_close_or_below(after: float, before: float) -> bool:
    return after <= before + 1e-9 * max(1.0, abs(before))


problems = st.tuples(st.integers(0, 2**32 - 1), st.tuples(st.integers(1, 24), st.integers(1, 24)), st.floats(1e-3, 10))


@given(problems, st.floats(0.01, 30))
def test_a_step_never_increases_the_energy(problem: tuple[int, tuple[int, int], float], tau: float) -> None:
    u, root_g, linear = random_problem(*problem)
    for _ in range(8):
        after = geodesic.threshold_step(u, root_g, tau, linear)
        before_energy, after_energy = (geodesic.energy(v, root_g, tau, linear) for v in (u, after))
        assert is_close_or_below(after_energy, before_energy)
        u = after


@given(problems, st.floats(0.1, 10))
def test_points_that_hold_cells_are_obeyed_and_the_energy_still_never_increases(
    problem: tuple[int, tuple[int, int], float], tau: float
) -> None:
    u, root_g, linear = random_problem(*problem)
    rng = np.random.default_rng(problem[0])
    inside, outside = rng.random((2, *u.shape)) < 0.05
    outside &= ~inside
    linear[inside], linear[outside] = -geodesic.HARD, geodesic.HARD
    u[inside], u[outside] = 1, 0
    for _ in range(8):
        after = geodesic.threshold_step(u, root_g, tau, linear)
        assert (after[inside] == 1).all()
        assert (after[outside] == 0).all()
        before_energy, after_energy = (geodesic.energy(v, root_g, tau, linear) for v in (u, after))
        assert is_close_or_below(after_energy, before_energy)
        u = after


def test_phi_is_the_derivative_of_the_energy() -> None:
    u, root_g, linear = random_problem(5, (9, 7), 0.1)
    phi = root_g * geodesic.heat(root_g * (1 - 2 * u), 1.3) + linear
    for cell in [(0, 0), (4, 3), (8, 6)]:
        step = np.zeros(u.shape)
        step[cell] = 1e-5
        up, down = (geodesic.energy(v, root_g, 1.3, linear) for v in (u + step, u - step))
        assert (up - down) / 2e-5 == pytest.approx(phi[cell], abs=1e-8)


def test_minimise_ends_where_a_step_changes_nothing() -> None:
    u, root_g, linear = random_problem(2, (40, 50), 0.2)
    end = geodesic.minimise(u, root_g, 2.0, linear)
    np.testing.assert_array_equal(geodesic.threshold_step(end, root_g, 2.0, linear), end)
    assert geodesic.energy(end, root_g, 2.0, linear) < geodesic.energy(u, root_g, 2.0, linear)


@given(st.integers(1, 20), st.integers(1, 20), st.floats(0.05, 20))
def test_heat_keeps_the_sum_and_the_bounds(rows: int, columns: int, tau: float) -> None:
    values = np.random.default_rng(rows * 31 + columns).random((rows, columns))
    warm = geodesic.heat(values, tau)
    assert warm.sum() == pytest.approx(values.sum())
    assert warm.min() >= values.min() - 1e-12
    assert warm.max() <= values.max() + 1e-12


def test_heat_is_symmetric_and_positive_definite() -> None:
    unit = np.eye(30).reshape(30, 5, 6)
    matrix = np.stack([geodesic.heat(cell, 0.7).ravel() for cell in unit])
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-14)
    assert np.linalg.eigvalsh(matrix).min() > 0
    assert matrix.min() > 0


def test_heat_spreads_like_a_gaussian_of_variance_two_tau() -> None:
    spot = np.zeros((81, 81))
    spot[40, 40] = 1
    np.testing.assert_allclose(
        geodesic.heat(spot, 8.0), ndimage.gaussian_filter(spot, np.sqrt(16.0), truncate=9), atol=2e-4
    )


def test_without_edges_a_disc_shrinks_and_an_edge_holds_it() -> None:
    rows, columns = np.mgrid[:60, :60]
    radius = np.hypot(rows - 30, columns - 29)
    disc = (radius < 12).astype(float)
    flat = np.ones(disc.shape)
    shrunk = geodesic.threshold_step(disc, flat, 8.0, np.zeros(disc.shape))
    assert shrunk.sum() < disc.sum()
    edge = np.sqrt(geodesic.edge_weight(np.exp(-((radius - 12) ** 2) / 2), 0.05))
    held = geodesic.minimise(disc, edge, 2.0, np.zeros(disc.shape))
    assert held.sum() > 0.9 * disc.sum()
