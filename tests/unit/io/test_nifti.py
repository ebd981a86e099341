"""Reading NIfTI: order of axes, geometry, types."""

import itertools
import pickle

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from napari_medsam.errors import ReadError
from napari_medsam.geometry import Grid
from napari_medsam.io import read_image
from napari_medsam.io.orient import source_grid

ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
LPS_STRAIGHT = np.array([[-2.0, 0, 0, 50], [0, -1, 0, -30], [0, 0, 3, -700.25], [0, 0, 0, 1]])


def save(path, voxels, affine, **codes):
    image = nib.Nifti1Image(voxels, affine)
    image.set_sform(affine, codes.get("sform", 1))
    image.set_qform(affine, codes.get("qform", 1))
    image.to_filename(path)
    return path


def by_dominant_axis(voxels, affine):
    """Reorder by the world axis that each file axis follows most, by hand: (z, y, x) toward L, P, S."""
    lps = np.diag([-1, -1, 1]) @ affine[:3, :3]
    follows = np.abs(lps / np.linalg.norm(lps, axis=0)).argmax(axis=0)
    for axis in range(3):
        if lps[follows[axis], axis] < 0:
            voxels = np.flip(voxels, axis)
    return np.moveaxis(voxels, range(3), follows).transpose()


@pytest.mark.parametrize("degrees", [0, 7])
@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_every_orientation_comes_in_lps_order(tmp_path, voxels, ras_affine, order, flips, degrees):
    affine = ras_affine(order, flips, degrees)
    image = read_image(save(tmp_path / "i.nii", voxels, affine))
    assert np.array_equal(image.data, by_dominant_axis(voxels, affine))
    assert image.data.dtype == np.int16
    assert image.data.flags.c_contiguous
    assert (image.axis_labels, image.units) == (("z", "y", "x"), ("mm",) * 3)
    assert image.source["oblique"] == bool(degrees)
    off_diagonal = image.grid.affine[:3, :3][~np.eye(3, dtype=bool)]
    assert not off_diagonal.any()
    assert min(image.grid.spacing) == pytest.approx(1, abs=1e-6)
    middle_of_file = (affine @ [*(np.array(voxels.shape) - 1) / 2, 1])[:3] * [-1, -1, 1]
    middle_of_grid = image.grid.to_world((np.array(image.grid.shape) - 1) / 2)[0, ::-1]
    assert middle_of_grid == pytest.approx(middle_of_file, abs=1e-4)


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_world_position_of_every_voxel_is_the_files(tmp_path, voxels, ras_affine, order, flips):
    affine = ras_affine(order, flips)
    image = read_image(save(tmp_path / "i.nii", voxels, affine))
    index = np.argwhere(np.ones(image.grid.shape, dtype=bool))
    ras = image.grid.to_world(index)[:, ::-1] * [-1, -1, 1]
    at = np.rint(nib.affines.apply_affine(np.linalg.inv(affine), ras)).astype(int)
    assert np.array_equal(voxels[tuple(at.T)], image.data[tuple(index.T)])


def test_lps_file_equals_simpleitk(tmp_path, voxels):
    path = save(tmp_path / "i.nii.gz", voxels, LPS_STRAIGHT)
    ours, itk = read_image(path), sitk.ReadImage(path)
    assert np.array_equal(sitk.GetArrayFromImage(itk), ours.data)
    assert ours.grid == Grid.from_spacing((4, 6, 8), itk.GetSpacing()[::-1], itk.GetOrigin()[::-1])
    assert ours.name == "i"


def test_source_entry_is_plain_and_remembers_the_grid(tmp_path, voxels, ras_affine):
    image = read_image(save(tmp_path / "i.nii", voxels, ras_affine((2, 0, 1), (1, -1, 1), 20)))
    assert pickle.loads(pickle.dumps(image.source)) == image.source
    assert source_grid(image.source) == image.grid
    assert image.source["shape"] == voxels.shape


@pytest.mark.parametrize("endian", ["<", ">"])
def test_both_byte_orders_and_scaling(tmp_path, voxels, endian):
    header = nib.Nifti1Header(endianness=endian)
    header.set_data_dtype(np.int16)
    image = nib.Nifti1Image(voxels.astype(f"{endian}i2"), LPS_STRAIGHT, header)
    image.to_filename(tmp_path / "plain.nii")
    plain = read_image(tmp_path / "plain.nii")
    assert plain.data.dtype == np.dtype("=i2")
    assert np.array_equal(plain.data, voxels.transpose())
    image.header.set_slope_inter(2, -5)
    image.to_filename(tmp_path / "scaled.nii")
    scaled = read_image(tmp_path / "scaled.nii")
    assert scaled.data.dtype == np.float32
    assert np.array_equal(scaled.data, voxels.transpose() * 2.0 - 5)
    assert scaled.source["endian"] == endian


def test_nifti2_and_upper_case_suffix(tmp_path, voxels):
    nib.Nifti2Image(voxels, LPS_STRAIGHT).to_filename(tmp_path / "i.nii.gz")
    (tmp_path / "i.nii.gz").rename(tmp_path / "Ünï 图.a.NII.GZ")
    image = read_image(tmp_path / "Ünï 图.a.NII.GZ")
    assert np.array_equal(image.data, voxels.transpose())
    assert image.source["version"] == 2
    assert image.name == "Ünï 图.a"


def test_two_dimensions(tmp_path, voxels):
    nib.Nifti1Image(voxels[:, :, 0], LPS_STRAIGHT).to_filename(tmp_path / "i.nii")
    image = read_image(tmp_path / "i.nii")
    assert np.array_equal(image.data, voxels[:, :, 0].transpose())
    assert (image.grid.spacing, image.axis_labels) == ((1, 2), ("y", "x"))
    assert tuple(image.grid.affine[:2, 2]) == (30, -50)


def test_two_dimensions_of_a_sagittal_slice(tmp_path, voxels, ras_affine):
    nib.Nifti1Image(voxels[:, :, 0], ras_affine((1, 2, 0))).to_filename(tmp_path / "i.nii")
    image = read_image(tmp_path / "i.nii")
    assert image.axis_labels == ("z", "y")
    assert np.array_equal(image.data, voxels[::-1, :, 0].transpose())


@pytest.mark.parametrize(("unit", "seconds"), [("sec", 2.5), ("msec", 0.0025), ("usec", 2.5e-6)])
def test_four_dimensions(tmp_path, voxels, unit, seconds):
    series = np.stack([voxels, voxels + 1, voxels + 2], axis=3)
    image = nib.Nifti1Image(series, LPS_STRAIGHT)
    image.header.set_xyzt_units("mm", unit)
    image.header.set_zooms((2, 1, 3, 2.5))
    image.to_filename(tmp_path / "i.nii")
    read = read_image(tmp_path / "i.nii")
    assert np.array_equal(read.data, series.transpose())
    assert read.data.flags.c_contiguous
    assert (read.axis_labels, read.units) == (("t", "z", "y", "x"), ("s", "mm", "mm", "mm"))
    assert read.grid.spacing == pytest.approx((seconds, 3, 1, 2))


def test_one_frame_is_a_volume(tmp_path, voxels):
    nib.Nifti1Image(voxels[..., None], LPS_STRAIGHT).to_filename(tmp_path / "i.nii")
    assert np.array_equal(read_image(tmp_path / "i.nii").data, voxels.transpose())


@pytest.mark.parametrize(("unit", "factor"), [("micron", 1e-3), ("meter", 1000)])
def test_other_length_units_become_millimetres(tmp_path, voxels, unit, factor):
    image = nib.Nifti1Image(voxels, LPS_STRAIGHT)
    image.header.set_xyzt_units(unit)
    image.to_filename(tmp_path / "i.nii")
    read, itk = read_image(tmp_path / "i.nii"), sitk.ReadImage(tmp_path / "i.nii")
    assert read.grid.spacing == pytest.approx((3 * factor, factor, 2 * factor))
    assert read.grid.spacing[::-1] == pytest.approx(itk.GetSpacing())
    assert read.grid.affine[:3, 3][::-1] == pytest.approx(itk.GetOrigin())


@pytest.mark.parametrize("channels", [3, 4])
def test_colour(tmp_path, channels):
    colour = np.random.default_rng(0).integers(0, 255, (8, 6, 4, channels)).astype(np.uint8)
    kind = np.dtype([(c, np.uint8) for c in "RGBA"[:channels]])
    nib.Nifti1Image(colour.view(kind)[..., 0], LPS_STRAIGHT).to_filename(tmp_path / "i.nii")
    image = read_image(tmp_path / "i.nii")
    assert image.rgb
    assert np.array_equal(image.data, colour.transpose(2, 1, 0, 3))


def bad(tmp_path, name):
    """Files that cannot be used, each with a word that its message must contain."""
    path = tmp_path / f"{name}.nii"
    volume = np.ones((3, 4, 5), dtype=np.float32)
    broken = np.diag([1.0, 1, 1, 1])
    if name == "nan":
        broken[0, 0] = np.nan
    elif name == "singular":
        broken[:3, 0] = broken[:3, 1]
    elif name == "complex":
        volume = volume.astype(np.complex64)
    elif name == "five":
        volume = np.ones((3, 4, 5, 2, 3), dtype=np.float32)
    elif name == "one":
        volume = np.ones(3, dtype=np.float32)
    image = nib.Nifti1Image(volume, np.eye(4))
    image.set_sform(np.eye(4), 1)
    raw = bytearray(image.to_bytes())
    raw[280:328] = broken[:3].astype("<f4").tobytes()
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("nan", "NaN"),
        ("singular", "singular"),
        ("complex", "complex"),
        ("five", "5 dimensions"),
        ("one", "1 dimension"),
    ],
)
def test_unusable_content_is_refused(tmp_path, name, word):
    path = bad(tmp_path, name)
    with pytest.raises(ReadError, match=word) as caught:
        read_image(path)
    assert path.name in str(caught.value)


def test_a_zero_spacing_counts_as_one(tmp_path, voxels):
    path = save(tmp_path / "i.nii", voxels, LPS_STRAIGHT, sform=0, qform=0)
    raw = bytearray(path.read_bytes())
    raw[80:84] = np.float32(0).tobytes()
    path.write_bytes(raw)
    assert read_image(path).grid.spacing == (3, 1, 1)
