"""How SAMed sees a slice. Results of the original are in `tests/golden`; here are ranges, shapes and directions."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medsam.models.samed_view import LOW, SIZE, mirrored, network_input, on_slice


def ell(shape: tuple[int, int] = (90, 120)) -> np.ndarray:
    """HU: air, and an L of soft tissue in the upper left."""
    values = np.full(shape, -1000, dtype=np.int16)
    values[10:50, 12:30] = 60
    values[38:50, 12:80] = 60
    return values


def test_the_window_is_fixed_and_the_overshoot_is_kept() -> None:
    seen = network_input(ell())
    assert seen.shape == (3, SIZE, SIZE)
    assert seen.dtype == np.float32
    assert (seen == seen[0]).all()
    assert seen.min() < 0  # the splines overshoot, and nobody clips
    assert seen[0, 150, 80] == pytest.approx((60 + 125) / 400, abs=1e-3)


@pytest.mark.parametrize(("hu", "seen"), [(-3000, 0), (-125, 0), (75, 0.5), (275, 1), (3000, 1), (np.nan, 0)])
def test_hounsfield_units_become_0_to_1(hu: float, seen: float) -> None:
    np.testing.assert_allclose(network_input(np.full((30, 40), hu)), seen, atol=1e-6)


def test_rows_stay_rows() -> None:
    seen = network_input(ell())[0]
    rows, columns = np.nonzero(seen > 0.3)
    scale = np.array([SIZE / 90, SIZE / 120])
    np.testing.assert_allclose([rows.min(), columns.min()], np.array([10, 12]) * scale, atol=4)
    np.testing.assert_allclose([rows.max(), columns.max()], np.array([50, 80]) * scale, atol=4)


def test_classes_come_back_to_where_they_were() -> None:
    classes = (network_input(ell())[0] > 0.3).astype(np.uint8) * 7
    back = on_slice(classes, (90, 120))
    assert back.dtype == np.uint8
    assert set(np.unique(back)) == {0, 7}
    wrong = (back == 7) != (ell() > 0)
    assert wrong.sum() < 0.1 * (ell() > 0).sum()


def test_a_slice_of_the_networks_own_size_is_not_resampled() -> None:
    classes = np.random.default_rng(0).integers(0, 9, (SIZE, SIZE)).astype(np.uint8)
    np.testing.assert_array_equal(on_slice(classes, (SIZE, SIZE)), classes)


def test_the_patients_left_and_right_change_sides_and_nothing_else_does() -> None:
    plane = ell()
    np.testing.assert_array_equal(mirrored(plane)[:, 0], plane[:, -1])
    np.testing.assert_array_equal(mirrored(mirrored(plane)), plane)
    assert LOW == -125
