"""Files as hospitals and public sets have them; skipped where they are not at hand."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from napari_medsam.errors import ReadError
from napari_medsam.io import find_series, read_image, read_labels, write_labels
from napari_medsam.io.labels import AFFINE_FIELDS

PAIRS = {
    "torso_ct_crop.nii.gz": "torso_ct_crop_labels.nii.gz",
    "abdomen_mr.nii.gz": "abdomen_mr_labels.nii.gz",
    "cord_t2.nii.gz": "cord_t2_labels.nii.gz",
    "cord_t1w.nii.gz": "cord_t1w_labels.nii.gz",
    "cord_t2s.nii.gz": "cord_t2s_gm_labels.nii.gz",
    "brain1.nrrd": "brain1_labels.nrrd",
    "brain2.nrrd": "brain2_labels.nrrd",
    "breast1.nrrd": "breast1_labels.nrrd",
}


@pytest.mark.parametrize("name", PAIRS)
def test_labels_lie_on_their_image_and_go_back_unchanged(shared, tmp_path, name):
    folder = shared / "data" / "volumes"
    image, labels = read_image(folder / name), read_labels(folder / PAIRS[name])
    assert labels.image.grid.same_as(image.grid)
    path = write_labels(tmp_path / "o.nii.gz", labels.array, grid=image.grid, source=image.source)
    assert np.array_equal(read_labels(path).array, labels.array)
    written, source = sitk.ReadImage(path), sitk.ReadImage(folder / name)
    original = sitk.GetArrayFromImage(sitk.ReadImage(folder / PAIRS[name]))
    assert np.array_equal(sitk.GetArrayFromImage(written), original)
    for geometry in ("GetOrigin", "GetDirection", "GetSpacing"):
        assert getattr(written, geometry)() == pytest.approx(getattr(source, geometry)(), abs=1e-4)


@pytest.mark.parametrize("name", [*(n for n in PAIRS if ".nii" in n), "torso_ct.nii.gz", "mni152_t1.nii.gz"])
def test_nifti_header_field_by_field(shared, tmp_path, name):
    path = shared / "data" / "volumes" / name
    image = read_image(path)
    mask = image.data > np.median(image.data)
    written = nib.load(write_labels(tmp_path / "o.nii.gz", mask, grid=image.grid, source=image.source))
    source = nib.load(path)
    for field in (*AFFINE_FIELDS, "xyzt_units", "descrip", "dim_info", "slice_code"):
        assert np.array_equal(written.header[field], source.header[field]), field
    assert np.array_equal(written.header["pixdim"][:4], source.header["pixdim"][:4])
    assert np.array_equal(written.affine, source.affine)
    assert np.array_equal(np.asarray(written.dataobj) > 0, np.asarray(source.dataobj) > np.median(image.data))


def test_names_inside_the_label_files(shared):
    names = read_labels(shared / "data" / "volumes" / "torso_ct_crop_labels.nii.gz").names
    assert (len(names), names[1], names[117]) == (117, "spleen", "costal_cartilages")


def test_liver_is_on_the_patients_right(shared):
    """An anchor outside the code: left is where x is larger, and the spleen is on the left."""
    read = read_labels(shared / "data" / "volumes" / "torso_ct_crop_labels.nii.gz")
    value = {name: label for label, name in read.names.items()}
    where = {n: np.argwhere(read.array == value[n]).mean(axis=0) for n in ("liver", "spleen", "aorta", "spinal_cord")}
    assert where["liver"][2] < where["spleen"][2]
    assert where["aorta"][1] < where["spinal_cord"][1]


def test_dicom_slice_and_segmentations(shared):
    folder = shared / "data" / "dicom"
    image = read_image(folder)
    assert np.array_equal(image.data, read_image(folder / "ct_image.dcm").data)
    assert (image.grid.shape, image.data.dtype) == ((1, 128, 128), np.int16)
    assert image.grid.affine[:3, 3] == pytest.approx((-75.699997, -179.035797, -158.135803))
    assert len(find_series(folder)) == 1
    for file in folder.glob("seg_*.dcm"):
        with pytest.raises(ReadError, match="SEG"):
            read_image(file)


@pytest.mark.parametrize("name", ["medsam_img_demo.png", "s0114_111.png", "truck.jpg"])
def test_photos(shared, name):
    image = read_image(shared / "data" / "photos" / name)
    assert image.data.dtype == np.uint8
