"""Reading NRRD and MetaImage, and saving labels for them with the true geometry."""

import itertools

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from napari_medsam.errors import ReadError
from napari_medsam.geometry import Grid
from napari_medsam.io import read_image, read_labels, write_labels

ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def itk_image(array, direction=None, spacing=(2, 1, 3)):
    image = sitk.GetImageFromArray(array, isVector=False)
    n = image.GetDimension()
    image.SetSpacing((*spacing, 1.5)[:n])
    image.SetOrigin((-50.5, 30.25, -700.125, 0)[:n])
    if direction is not None:
        image.SetDirection(np.asarray(direction, dtype=float).ravel())
    return image


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_straight_file_is_itks_own_array_and_geometry(tmp_path, voxels, suffix):
    array = np.ascontiguousarray(voxels.transpose())
    sitk.WriteImage(itk_image(array), tmp_path / f"Ünï{suffix}")
    image = read_image(tmp_path / f"Ünï{suffix}")
    assert np.array_equal(image.data, array)
    assert image.data.dtype == np.int16
    assert image.grid == Grid.from_spacing((4, 6, 8), (3, 1, 2), (-700.125, 30.25, -50.5))
    assert (image.name, image.units, image.axis_labels) == ("Ünï", ("mm",) * 3, ("z", "y", "x"))
    assert not image.source["oblique"]


@pytest.mark.parametrize("degrees", [0, 7])
@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_labels_keep_the_geometry_in_the_files_order(tmp_path, voxels, ras_affine, order, flips, degrees):
    direction = (ras_affine(order, flips, degrees)[:3, :3] / [2, 1, 3]).round(12)
    array = np.ascontiguousarray(voxels.transpose())
    sitk.WriteImage(itk_image(array, direction), tmp_path / "i.nrrd")
    image = read_image(tmp_path / "i.nrrd")
    assert image.source["oblique"] == bool(degrees)
    assert not image.grid.affine[:3, :3][~np.eye(3, dtype=bool)].any()
    path = write_labels(tmp_path / "o.nii.gz", image.data == 1000, grid=image.grid, source=image.source)
    written, source = sitk.ReadImage(path), sitk.ReadImage(tmp_path / "i.nrrd")
    assert np.array_equal(sitk.GetArrayFromImage(written), array == 1000)
    for geometry in ("GetOrigin", "GetDirection", "GetSpacing"):
        assert getattr(written, geometry)() == pytest.approx(getattr(source, geometry)(), abs=1e-4)
    assert read_image(path).grid.same_as(image.grid)


def test_the_same_volume_as_nifti_and_nrrd(tmp_path, voxels, ras_affine):
    nib.Nifti1Image(voxels, ras_affine((2, 0, 1), (1, -1, 1), 9)).to_filename(tmp_path / "i.nii")
    sitk.WriteImage(sitk.ReadImage(tmp_path / "i.nii"), tmp_path / "i.nrrd")
    a, b = read_image(tmp_path / "i.nii"), read_image(tmp_path / "i.nrrd")
    assert np.array_equal(a.data, b.data)
    assert a.grid.same_as(b.grid)


def test_sheared_direction(tmp_path, voxels):
    sheared = np.array([[1, 0, 0.1], [0, 1, 0], [0, 0, 1]])
    sitk.WriteImage(itk_image(np.ascontiguousarray(voxels.transpose()), sheared), tmp_path / "i.nrrd")
    image = read_image(tmp_path / "i.nrrd")
    path = write_labels(tmp_path / "o.nii", image.data == 1000, grid=image.grid, source=image.source)
    header = nib.load(path).header
    assert (header["qform_code"], header["sform_code"]) == (0, 1)
    assert nib.load(path).affine[0, 2] == pytest.approx(-0.3, abs=1e-3)


def test_two_dimensions(tmp_path, voxels):
    array = np.ascontiguousarray(voxels[:, :, 1].transpose())
    sitk.WriteImage(itk_image(array, [[1, 0], [0, -1]]), tmp_path / "i.mha")
    image = read_image(tmp_path / "i.mha")
    assert np.array_equal(image.data, array[::-1])
    assert (image.axis_labels, image.grid.spacing) == (("y", "x"), (1, 2))
    path = write_labels(tmp_path / "o.nii", image.data > 0, grid=image.grid, source=image.source)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(path)), array > 0)


def test_four_dimensions(tmp_path, voxels):
    array = np.stack([voxels.transpose(), voxels.transpose() + 1])
    sitk.WriteImage(itk_image(array), tmp_path / "i.mha")
    image = read_image(tmp_path / "i.mha")
    assert np.array_equal(image.data, array)
    assert (image.grid.spacing, image.units) == ((1.5, 3, 1, 2), ("s", "mm", "mm", "mm"))
    path = write_labels(tmp_path / "o.nii", image.data > 0, grid=image.grid, source=image.source)
    assert read_labels(path).image.grid.same_as(image.grid)


def test_colour_is_kept_and_vectors_are_refused(tmp_path):
    colour = np.random.default_rng(0).integers(0, 255, (4, 6, 8, 3)).astype(np.uint8)
    image = sitk.GetImageFromArray(colour, isVector=True)
    image.SetDirection((-1, 0, 0, 0, 1, 0, 0, 0, 1))
    sitk.WriteImage(image, tmp_path / "i.mha")
    read = read_image(tmp_path / "i.mha")
    assert read.rgb
    assert np.array_equal(read.data, colour[:, :, ::-1])
    sitk.WriteImage(sitk.GetImageFromArray(colour.astype(np.float32), isVector=True), tmp_path / "field.mha")
    with pytest.raises(ReadError, match=r"field\.mha holds 3 numbers"):
        read_image(tmp_path / "field.mha")


def test_complex_is_refused(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((4, 6, 8), np.complex64)), tmp_path / "i.nrrd")
    with pytest.raises(ReadError, match=r"i\.nrrd"):
        read_image(tmp_path / "i.nrrd")


def test_segment_names_of_slicer(tmp_path, labels):
    image = sitk.GetImageFromArray(labels.astype(np.uint8))
    for i, (value, name) in enumerate({7: "long arm", 3: "middle arm"}.items()):
        image.SetMetaData(f"Segment{i}_LabelValue", str(value))
        image.SetMetaData(f"Segment{i}_Name", name)
    sitk.WriteImage(image, tmp_path / "i.seg.nrrd")
    read = read_labels(tmp_path / "i.seg.nrrd")
    assert read.names == {7: "long arm", 3: "middle arm"}
    assert np.array_equal(read.array, labels)
    assert read.image.source["is_labels"]


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("kept", [0.7, 0.1, 0.01])
def test_cut_off_files(tmp_path, suffix, compressed, kept):
    noise = np.random.default_rng(0).integers(0, 2000, (12, 20, 30)).astype(np.int16)
    path = tmp_path / f"i{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(noise), path, useCompression=compressed)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(ReadError, match=f"i{suffix}"):
        read_image(path)


def test_header_without_its_voxels(tmp_path, voxels):
    sitk.WriteImage(sitk.GetImageFromArray(voxels), tmp_path / "i.mhd")
    (tmp_path / "i.raw").unlink()
    with pytest.raises(ReadError, match=r"i\.mhd"):
        read_image(tmp_path / "i.mhd")


def test_text_named_nrrd(tmp_path):
    (tmp_path / "i.nrrd").write_text("this is no image")
    with pytest.raises(ReadError, match=r"i\.nrrd could not be read as NRRD") as caught:
        read_image(tmp_path / "i.nrrd")
    assert ".cxx" not in str(caught.value)
