"""Small asymmetric volumes, and where the real files are."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

SHAPE = (8, 6, 4)


@pytest.fixture(scope="session")
def voxels() -> NDArray[np.int16]:
    """(x, y, z) = (8, 6, 4): noise with an L-shaped object of 1000, arms of 5, 3 and 2 voxels from one corner."""
    volume = np.random.default_rng(0).integers(-100, 100, SHAPE).astype(np.int16)
    volume[1:6, 1, 1] = volume[1, 1:4, 1] = volume[1, 1, 1:3] = 1000
    return volume


@pytest.fixture(scope="session")
def labels() -> NDArray[np.int32]:
    """The L-shaped object as labels in array order, (z, y, x) = (4, 6, 8), each arm with a value of its own."""
    volume = np.zeros(SHAPE[::-1], dtype=np.int32)
    volume[1, 1, 1:6] = 7
    volume[1, 1:4, 1] = 3
    volume[1:3, 1, 1] = 1
    return volume


@pytest.fixture(scope="session")
def ras_affine() -> Callable[..., NDArray[np.float64]]:
    """Affines of x, y, z spacing 2, 1, 3 mm, off origin, with axes permuted, flipped, and turned out of all planes."""

    def make(order: tuple[int, ...] = (0, 1, 2), flips: tuple[int, ...] = (1, 1, 1), degrees: float = 0):
        angle = np.deg2rad(degrees)
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        affine = np.eye(4)
        affine[:3, :3] = turn @ np.eye(3)[:, order] @ np.diag(np.array(flips) * [2.0, 1.0, 3.0])
        affine[:3, 3] = [-50, 30, -700.25]
        return affine

    return make


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real files, which do not belong to the repository; the test is skipped where it is absent."""
    beside = Path(__file__).parents[3].parent / "shared"
    folder = Path(os.environ.get("NAPARI_MEDSAM_SHARED", beside))
    if not (folder / "data" / "volumes").is_dir():
        pytest.skip("real files are not here: set NAPARI_MEDSAM_SHARED to their folder")
    return folder
