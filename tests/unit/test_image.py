"""The image of a session: what is accepted, and that slices are copies of the right voxels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from napari_medsam.errors import GeometryError, ImageError
from napari_medsam.geometry import Grid, Plane
from napari_medsam.image import Image

from .fakes import SHAPE, LazyArray, grid, image, voxels

ALL_PLANES = [Plane.across(axis, i) for axis in range(3) for i in range(SHAPE[axis])]


@pytest.mark.parametrize("lazy", [False, True])
def test_every_slice_in_every_view_holds_the_voxels_of_the_volume(lazy: bool) -> None:
    volume = voxels()
    cut = image(LazyArray(volume) if lazy else volume)
    for plane in ALL_PLANES:
        values = cut.plane(plane)
        assert values.shape == plane.shape_in(SHAPE)
        for pixel in itertools.product(*map(range, values.shape)):
            index = [0, 0, 0]
            (axis, i), (rows, columns) = plane.index[0], plane.axes
            index[axis], index[rows], index[columns] = i, *pixel
            assert values[pixel] == volume[tuple(index)]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_is_a_contiguous_copy(order: str, axis: int) -> None:
    volume = np.array(voxels(), order=order)
    values = image(volume).plane(Plane.across(axis, 1))
    assert values.flags.c_contiguous
    assert not np.shares_memory(values, volume)
    values[...] = 7
    assert np.array_equal(volume, voxels())


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_has_three_channels_and_alpha_is_dropped(channels: int) -> None:
    volume = np.arange(192 * channels, dtype=np.uint16).reshape(*SHAPE, channels)
    values = image(volume, rgb=True).plane(Plane.across(1, 2))
    assert np.array_equal(values, volume[:, 2, :, :3])


def test_a_slice_of_four_axes() -> None:
    series = np.arange(2 * 192).reshape(2, *SHAPE)
    four = Image(series, Grid.from_spacing((2, *SHAPE), (1.5, 3, 1, 2)))
    plane = Plane((1, 3), ((0, 1), (2, 4)))
    assert np.array_equal(four.plane(plane), series[1, :, 4, :])


def test_a_plane_is_an_image_of_two_axes() -> None:
    flat = Image(voxels()[1], grid((6, 8)))
    assert np.array_equal(flat.plane(Plane((0, 1))), voxels()[1])


def test_dask_zarr_and_memmap_give_the_same_slices(tmp_path) -> None:
    da, zarr = pytest.importorskip("dask.array"), pytest.importorskip("zarr")
    volume = voxels()
    np.save(tmp_path / "a.npy", volume)
    stored = zarr.create_array(store=str(tmp_path / "a.zarr"), shape=SHAPE, chunks=(1, 6, 8), dtype=volume.dtype)
    stored[...] = volume
    for array in (da.from_array(volume, chunks=(1, 3, 8)), stored, np.load(tmp_path / "a.npy", mmap_mode="r")):
        cut = image(array)
        for plane in ALL_PLANES:
            assert np.array_equal(cut.plane(plane), volume[plane.key])
            assert type(cut.plane(plane)) is np.ndarray
    assert image(stored).lazy
    assert not image(volume).lazy


def test_a_slice_of_a_lazy_image_reads_that_slice_only() -> None:
    lazy = LazyArray(voxels())
    image(lazy).plane(Plane.across(1, 3))
    assert [size for _, size in lazy.reads] == [(4, 8)]


@pytest.mark.parametrize("plane", [Plane.across(0, 4), Plane.across(2, -1), Plane((0, 1))])
def test_slices_that_are_not_there_are_refused(plane: Plane) -> None:
    with pytest.raises(GeometryError):
        image().plane(plane)


def test_voxels_and_grid_must_agree() -> None:
    with pytest.raises(ImageError, match="grid"):
        Image(voxels(), grid((6, 8)))
    with pytest.raises(ImageError, match="grid"):
        Image(voxels().T, grid())


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_colour_of_another_number_of_channels_is_refused(channels: int) -> None:
    with pytest.raises(ImageError, match="3 or 4 channels"):
        image(np.zeros((*SHAPE, channels)), rgb=True)


@pytest.mark.parametrize("dtype", ["complex64", "U3", "object", "datetime64[s]"])
def test_voxels_that_are_no_real_numbers_are_refused(dtype: str) -> None:
    with pytest.raises(ImageError, match="convert"):
        image(np.zeros(SHAPE, dtype=dtype))
