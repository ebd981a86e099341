"""Reading DICOM: one series of a folder, its geometry, and what is wrong with a folder."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from napari_medsam.errors import ReadError
from napari_medsam.geometry import Grid
from napari_medsam.io import find_series, read_image, read_labels, write_labels

ORIGIN = (-50.5, 30.25, -700.125)
SPACING = (2.0, 1.0, 3.0)
AXIAL = ((1, 0, 0), (0, 1, 0))


def slice_dataset(pixels, position, directions, uid, number, **tags):
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.SeriesInstanceUID, data.StudyInstanceUID = uid, "1.2.3"
    data.Modality, data.InstanceNumber, data.PatientName, data.PatientID = "CT", number, "Nobody", "0"
    data.Rows, data.Columns = pixels.shape
    data.PixelSpacing, data.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
    data.ImageOrientationPatient = [*directions[0], *directions[1]]
    data.ImagePositionPatient = [float(f"{p:.6f}") for p in position]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.PixelData = pixels.astype("<u2").tobytes()
    for tag, value in tags.items():
        setattr(data, tag, value)
    return data


def make_series(
    folder, array, *, directions=AXIAL, uid="1.2.3.111111111111", skip=(), shift=None, origin=ORIGIN, **tags
):
    """Write `array`, (z, y, x) in HU, as slices with names in no useful order."""
    folder.mkdir(exist_ok=True, parents=True)
    rows, columns = np.array(directions, dtype=float)
    normal = np.cross(rows, columns)
    for k, plane in enumerate(array):
        if k not in skip:
            along = k * SPACING[2] + (shift or {}).get(k, 0)
            position = np.array(origin) + normal * along
            data = slice_dataset(plane.astype(int) + 1024, position, (rows, columns), uid, k + 1, **tags)
            data.save_as(folder / f"{uid[-3:]}_{(k * 7) % 11 + k // 11 * 11:03d}", enforce_file_format=True)
    return folder


@pytest.fixture
def array(voxels):
    """(z, y, x) = (8, 6, 4) with the L-shaped object."""
    return np.ascontiguousarray(voxels)


def test_series_is_stacked_by_position_in_hounsfield_units(tmp_path, array):
    image = read_image(make_series(tmp_path / "Ünï ct", array))
    assert np.array_equal(image.data, array)
    assert image.data.dtype == np.int16
    assert image.data.flags.owndata
    assert image.grid == Grid.from_spacing(array.shape, SPACING[::-1], ORIGIN[::-1])
    assert (image.name, image.units) == ("Ünï ct", ("mm",) * 3)
    assert not image.source["oblique"]


DIRECTIONS = {
    "axial": AXIAL,
    "axial, head down": ((1, 0, 0), (0, -1, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "oblique": ((1, 0, 0), (0, 0.96, 0.28)),
}


@pytest.mark.parametrize("name", DIRECTIONS)
def test_labels_of_a_series_have_its_geometry(tmp_path, array, name):
    folder = make_series(tmp_path / "ct", array, directions=DIRECTIONS[name])
    image = read_image(folder)
    assert image.source["oblique"] == (name == "oblique")
    path = write_labels(tmp_path / "o.nii.gz", image.data == 1000, grid=image.grid, source=image.source)
    written = sitk.ReadImage(path)
    rows, columns = np.array(DIRECTIONS[name], dtype=float)
    normal = np.cross(rows, columns)
    for k, j, i in np.argwhere(array == 1000):
        true = ORIGIN + rows * i * SPACING[0] + columns * j * SPACING[1] + normal * k * SPACING[2]
        at = written.TransformPhysicalPointToIndex(true.tolist())
        assert written[at] == 1
    assert sitk.GetArrayFromImage(written).sum() == (array == 1000).sum()


def test_gantry_tilt_is_kept_as_shear(tmp_path, array):
    folder = tmp_path / "ct"
    folder.mkdir()
    for k, plane in enumerate(array):
        position = np.add(ORIGIN, (0, 0.5 * k, SPACING[2] * k))
        data = slice_dataset(plane.astype(int) + 1024, position, AXIAL, "1.2.3.4", k)
        data.save_as(folder / f"{k}.dcm", enforce_file_format=True)
    image = read_image(folder)
    assert image.source["oblique"]
    affine = np.array(image.source["affine"])
    assert affine[:3, 2] == pytest.approx([0, -0.5, 3], abs=1e-5)
    assert image.grid.spacing[1:] == SPACING[1::-1]


def test_slices_shifted_sideways(tmp_path, array):
    folder = make_series(tmp_path / "ct", array, skip=(3,))
    make_series(folder, array, skip=(0, 1, 2, 4, 5, 6, 7), origin=np.add(ORIGIN, (0, 2, 0)))
    with pytest.raises(ReadError, match=r"sideways by up to 2\.00 mm"):
        read_image(folder)


def test_slopes_that_differ_keep_their_fractions(tmp_path, array):
    folder = make_series(tmp_path / "pet", array[:1], RescaleSlope=1, RescaleIntercept=0, Modality="PT")
    make_series(folder, array, skip=(0,), RescaleSlope=0.25, RescaleIntercept=0, Modality="PT")
    image = read_image(folder)
    assert image.data.dtype == np.float32
    assert np.array_equal(image.data[1:], (array[1:] + 1024) * np.float32(0.25))
    assert np.array_equal(image.data[0], array[0] + 1024)


def test_wide_values_stay_wide(tmp_path, array):
    image = read_image(make_series(tmp_path / "ct", array, RescaleSlope=40))
    assert image.data.dtype == np.int32
    assert np.array_equal(image.data, (array.astype(int) + 1024) * 40 - 1024)


def test_one_level_of_subfolders_and_other_files(tmp_path, array):
    make_series(tmp_path / "patient" / "ct", array)
    (tmp_path / "patient" / "readme.txt").write_text("nothing")
    (tmp_path / "patient" / "ct" / "notes.txt").write_text("nothing")
    (tmp_path / "patient" / "ct" / "empty").write_bytes(b"")
    assert np.array_equal(read_image(tmp_path / "patient").data, array)
    with pytest.raises(ReadError, match="holds no DICOM images"):
        read_image(tmp_path)


def test_single_files(tmp_path, array):
    folder = make_series(tmp_path / "ct", array)
    file = sorted(folder.iterdir())[0]
    image = read_image(file)
    assert np.array_equal(image.data, array[:1])
    file.rename(tmp_path / "one.DCM")
    assert read_image(tmp_path / "one.DCM").grid == image.grid
    assert read_image(tmp_path / "one.DCM").name == "one"


def test_two_series_are_named_and_can_be_chosen(tmp_path, array):
    folder = make_series(tmp_path / "ct", array, SeriesDescription="portal venous")
    make_series(folder, array[::-1, :, ::-1], uid="1.2.3.222222222222", SeriesDescription="native")
    with pytest.raises(ReadError, match="holds 2 series") as caught:
        read_image(folder)
    for said in ("111111111111", "portal venous", "native", "8 files", "--series", "series=", "folder of its own"):
        assert said in str(caught.value)
    assert np.array_equal(read_image(folder, series="222222222222").data, array[::-1, :, ::-1])
    assert np.array_equal(read_image(folder, series="1.2.3.111111111111").data, array)
    with pytest.raises(ReadError, match="no series whose UID ends in '333'"):
        read_image(folder, series="333")
    assert sorted(s.description for s in find_series(folder)) == ["native", "portal venous"]


def test_objects_that_are_no_images_are_passed_over(tmp_path, array):
    folder = make_series(tmp_path / "ct", array)
    make_series(folder, array[:1], uid="1.2.3.999999999999", Modality="SEG")
    assert np.array_equal(read_image(folder).data, array)
    only = make_series(tmp_path / "only", array[:1], uid="1.2.3.999999999999", Modality="SEG")
    with pytest.raises(ReadError, match="holds no DICOM images"):
        read_image(only)
    with pytest.raises(ReadError, match="of the kind SEG"):
        read_image(next(only.iterdir()))


def test_missing_slice(tmp_path, array):
    for skip in [(4,), (1,), (6,), (3, 4)]:
        folder = make_series(tmp_path / f"ct{skip}", array, skip=skip)
        with pytest.raises(ReadError, match="slices are missing") as caught:
            read_image(folder)
        assert f"the gap is {3.0 * (len(skip) + 1):.2f} mm, elsewhere 3.00 mm" in str(caught.value)
        assert f"about {len(skip)}" in str(caught.value)
        assert f"between {ORIGIN[2] + 3 * (skip[0] - 1):.2f}" in str(caught.value)


def test_uneven_spacing(tmp_path, array):
    with pytest.raises(ReadError, match="spacing is uneven"):
        read_image(make_series(tmp_path / "ct", array, shift={3: 0.8}))
    rounding = {k: 0.05 * (-1) ** k for k in range(8)}
    assert np.array_equal(read_image(make_series(tmp_path / "rounded", array, shift=rounding)).data, array)


def test_slices_that_do_not_belong_together(tmp_path, array):
    doubled = make_series(tmp_path / "doubled", array)
    for file in list(doubled.iterdir()):
        data = pydicom.dcmread(file)
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.save_as(doubled / f"copy{file.name}", enforce_file_format=True)
    with pytest.raises(ReadError, match="more than one slice at"):
        read_image(doubled)
    turned = make_series(tmp_path / "turned", array, skip=(7,))
    make_series(turned, array, skip=range(7), directions=DIRECTIONS["coronal"])
    with pytest.raises(ReadError, match="different directions"):
        read_image(turned)
    sizes = make_series(tmp_path / "sizes", array, skip=(7,))
    make_series(sizes, array[:, 1:], skip=range(7))
    with pytest.raises(ReadError, match="different sizes"):
        read_image(sizes)


def test_slices_without_a_position(tmp_path, array):
    folder = make_series(tmp_path / "xr", array)
    for file in folder.iterdir():
        data = pydicom.dcmread(file)
        del data.ImagePositionPatient
        data.save_as(file, enforce_file_format=True)
    with pytest.raises(ReadError, match="without a position"):
        read_image(folder)


def test_damaged_files(tmp_path, array):
    folder = make_series(tmp_path / "ct", array)
    file = sorted(folder.iterdir())[3]
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ReadError, match=file.name):
        read_image(folder)
    with pytest.raises(ReadError, match=file.name):
        read_image(file)
    (tmp_path / "text.dcm").write_text("no image")
    with pytest.raises(ReadError, match=r"text\.dcm"):
        read_image(tmp_path / "text.dcm")


def test_empty_folder(tmp_path):
    with pytest.raises(ReadError, match="holds no DICOM images"):
        read_image(tmp_path)
    with pytest.raises(ReadError, match="holds no DICOM images"):
        read_labels(tmp_path)
