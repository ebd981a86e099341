"""Reading TIFF: axes, and the spacing that ImageJ and OME write."""

import numpy as np
import pytest
import tifffile

from napari_medsam.errors import ReadError
from napari_medsam.io import read_image, read_labels, write_labels

MICRON = 1e-3


@pytest.fixture
def stack(voxels):
    """(z, y, x) = (4, 6, 8)."""
    return np.ascontiguousarray(voxels.transpose())


@pytest.mark.parametrize("unit", ["micron", "um", "\\u00B5m"])
def test_imagej_microns(tmp_path, stack, unit):
    tifffile.imwrite(
        *(tmp_path / "i.tif", stack),
        **{"imagej": True, "resolution": (1 / 0.5, 1 / 0.25), "metadata": {"axes": "ZYX", "spacing": 2, "unit": unit}},
    )
    image = read_image(tmp_path / "i.tif")
    assert np.array_equal(image.data, stack)
    assert image.grid.spacing == pytest.approx((2 * MICRON, 0.25 * MICRON, 0.5 * MICRON))
    assert (image.axis_labels, image.units) == (("z", "y", "x"), ("mm",) * 3)


def test_imagej_time_channels_and_millimetres(tmp_path, stack):
    data = np.stack([stack + 100 * t for t in range(3)])
    data = np.stack([data, data + 1], axis=2)
    meta = {"axes": "TZCYX", "spacing": 3, "unit": "mm", "finterval": 0.5}
    tifffile.imwrite(tmp_path / "i.tif", data, imagej=True, resolution=(0.5, 1), metadata=meta)
    image = read_image(tmp_path / "i.tif")
    assert image.axis_labels == ("c", "t", "z", "y", "x")
    assert image.data.shape == (2, 3, 4, 6, 8)
    assert np.array_equal(image.data[1], data[:, :, 1])
    assert image.data.flags.c_contiguous
    assert image.grid.spacing == pytest.approx((1, 0.5, 3, 1, 2))
    assert image.units == ("pixel", "s", "mm", "mm", "mm")


@pytest.mark.parametrize(
    ("units", "factor"), [({}, MICRON), (dict.fromkeys("XYZ", "mm"), 1), (dict.fromkeys("XYZ", "nm"), 1e-6)]
)
def test_ome(tmp_path, stack, units, factor):
    meta = {"axes": "ZYX", "PhysicalSizeX": 2, "PhysicalSizeY": 1, "PhysicalSizeZ": 3}
    meta |= {f"PhysicalSize{axis}Unit": unit for axis, unit in units.items()}
    tifffile.imwrite(tmp_path / "i.ome.tif", stack, metadata=meta)
    image = read_image(tmp_path / "i.ome.tif")
    assert np.array_equal(image.data, stack)
    assert image.grid.spacing == pytest.approx((3 * factor, factor, 2 * factor))
    assert image.units == ("mm",) * 3


def test_ome_time(tmp_path, stack):
    meta = {"axes": "TZYX", "TimeIncrement": 250, "TimeIncrementUnit": "ms"}
    meta |= {f"PhysicalSize{axis}": 1.0 for axis in "XYZ"}
    tifffile.imwrite(tmp_path / "i.ome.tif", np.stack([stack, stack]), metadata=meta)
    image = read_image(tmp_path / "i.ome.tif")
    assert image.grid.spacing == pytest.approx((0.25, MICRON, MICRON, MICRON))
    assert image.units[0] == "s"


def test_a_length_that_is_missing_leaves_all_unknown(tmp_path, stack):
    meta = {"axes": "ZYX", "PhysicalSizeX": 2, "PhysicalSizeY": 1}
    tifffile.imwrite(tmp_path / "i.ome.tif", stack, metadata=meta)
    image = read_image(tmp_path / "i.ome.tif")
    assert (image.grid.spacing, image.units) == ((1, 1, 1), ("pixel",) * 3)


def test_print_resolution_is_no_size(tmp_path, stack):
    tifffile.imwrite(tmp_path / "i.tif", stack[0], resolution=(300, 300), resolutionunit="INCH")
    image = read_image(tmp_path / "i.tif")
    assert (image.grid.spacing, image.units, image.axis_labels) == ((1, 1), ("pixel",) * 2, ("y", "x"))


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour(tmp_path, planar):
    colour = np.random.default_rng(0).integers(0, 255, (6, 8, 3)).astype(np.uint8)
    stored = colour if planar == "contig" else colour.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "i.tif", stored, photometric="rgb", planarconfig=planar)
    image = read_image(tmp_path / "i.tif")
    assert image.rgb
    assert np.array_equal(image.data, colour)
    assert image.grid.shape == (6, 8)


def test_stack_of_colour(tmp_path):
    colour = np.random.default_rng(0).integers(0, 255, (4, 6, 8, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "i.tif", colour, photometric="rgb")
    image = read_image(tmp_path / "i.tif")
    assert image.rgb
    assert np.array_equal(image.data, colour)
    assert image.axis_labels == ("z", "y", "x")


def test_plain_pages_are_slices_and_big_endian_is_turned(tmp_path, stack):
    tifffile.imwrite(
        tmp_path / "i.tiff", stack.astype(np.uint16), byteorder=">", metadata=None, photometric="minisblack"
    )
    image = read_image(tmp_path / "i.tiff")
    assert image.data.dtype == np.dtype("=u2")
    assert image.axis_labels == ("z", "y", "x")


def test_labels_are_saved_through_the_grid(tmp_path, stack):
    meta = {"axes": "ZYX", "spacing": 3, "unit": "mm"}
    tifffile.imwrite(tmp_path / "i.tif", stack, imagej=True, resolution=(0.5, 1), metadata=meta)
    image = read_image(tmp_path / "i.tif")
    path = write_labels(tmp_path / "o", stack > 500, grid=image.grid, source=image.source)
    again = read_labels(path)
    assert np.array_equal(again.array, stack > 500)
    assert again.image.grid.same_as(image.grid)


def test_label_tiff(tmp_path, labels):
    tifffile.imwrite(tmp_path / "i.tif", labels.astype(np.uint16), photometric="minisblack")
    assert np.array_equal(read_labels(tmp_path / "i.tif").array, labels)


@pytest.mark.parametrize("kept", [0.5, 0.01])
def test_cut_off(tmp_path, kept):
    noise = np.random.default_rng(0).integers(0, 2000, (12, 20, 30)).astype(np.int16)
    tifffile.imwrite(tmp_path / "i.tif", noise, compression="zlib")
    path = tmp_path / "i.tif"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(ReadError, match=r"i\.tif"):
        read_image(path)


def test_text_named_tif(tmp_path):
    (tmp_path / "i.tif").write_text("no image")
    with pytest.raises(ReadError, match=r"i\.tif could not be read as TIFF"):
        read_image(tmp_path / "i.tif")


def test_complex_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "i.tif", np.ones((4, 6, 8), np.complex64), photometric="minisblack")
    with pytest.raises(ReadError, match=r"i\.tif.*complex"):
        read_image(tmp_path / "i.tif")
