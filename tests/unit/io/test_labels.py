"""Writing labels: the source's own geometry back, or the grid's; types, times, failures."""

import gzip
import itertools
import json
import os

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from napari_medsam.errors import GeometryError, LabelsError, WriteError
from napari_medsam.geometry import Grid
from napari_medsam.io import read_image, read_labels, require_writable, write_labels
from napari_medsam.io.labels import AFFINE_FIELDS

ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
ITK_GEOMETRY = ("GetOrigin", "GetDirection", "GetSpacing")


def assert_same_affine_fields(written, source):
    for field in AFFINE_FIELDS:
        assert np.array_equal(written.header[field], source.header[field]), field
    assert np.array_equal(written.header["pixdim"][:4], source.header["pixdim"][:4])
    assert np.array_equal(written.affine, source.affine)


def assert_same_for_itk(path, other):
    a, b = sitk.ReadImage(path), sitk.ReadImage(other)
    for geometry in ITK_GEOMETRY:
        assert getattr(a, geometry)() == pytest.approx(getattr(b, geometry)(), abs=1e-4), geometry


@pytest.mark.parametrize("degrees", [0, 7])
@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_round_trip_in_every_orientation(tmp_path, voxels, ras_affine, order, flips, degrees):
    affine = ras_affine(order, flips, degrees)
    source = nib.Nifti1Image(voxels, affine)
    source.set_sform(affine, 1)
    source.set_qform(affine, 3)
    source.to_filename(tmp_path / "i.nii")
    image = read_image(tmp_path / "i.nii")
    path = write_labels(tmp_path / "o", image.data == 1000, grid=image.grid, source=image.source)
    assert path == tmp_path / "o.nii.gz"
    written = nib.load(path)
    assert written.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(written.dataobj), voxels == 1000)
    assert_same_affine_fields(written, nib.load(tmp_path / "i.nii"))
    assert_same_for_itk(path, tmp_path / "i.nii")
    again = read_labels(path)
    assert np.array_equal(again.array, image.data == 1000)
    assert again.image.grid == image.grid


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("qform", "sform"), [(1, 0), (0, 1), (1, 1), (0, 0), (3, 4), (2, 1)])
def test_header_stays_field_by_field(tmp_path, voxels, ras_affine, qform, sform, endian, version):
    kind = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    affine = ras_affine((0, 1, 2), (-1, 1, 1), 12)
    header = kind.header_class(endianness=endian)
    header.set_data_dtype(np.int16)
    source = kind(voxels, affine if qform or sform else None, header)
    if qform or sform:
        source.set_qform(affine if qform else None, qform)
        source.set_sform(affine if sform else None, sform)
    source.header.set_zooms((2, 1, 3))
    source.header.set_slope_inter(2, -5)
    source.header["descrip"] = b"kept"
    source.header["cal_max"] = 300
    source.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"also kept"))
    source.to_filename(tmp_path / "i.nii.gz")
    image = read_image(tmp_path / "i.nii.gz")
    path = write_labels(tmp_path / "o.nii.gz", (image.data > 500) * 300, grid=image.grid, source=image.source)
    written = nib.load(path)
    assert_same_affine_fields(written, nib.load(tmp_path / "i.nii.gz"))
    assert (int(written.header["qform_code"]), int(written.header["sform_code"])) == (qform, sform)
    assert (written.dataobj.slope, written.dataobj.inter) == (1, 0)
    assert np.array_equal(np.asarray(written.dataobj), (voxels > 500) * 300)
    assert written.get_data_dtype() == np.dtype(f"{endian}u2")
    assert written.header.endianness == endian
    assert bytes(written.header["descrip"])[:4] == b"kept"
    assert [e.text for e in written.header.extensions] == ["also kept"]
    assert written.header["cal_max"] == 0
    assert written.header.get_intent()[0] == "label"
    assert isinstance(written, nib.Nifti2Image) == (version == 2)
    if version == 1:  # SimpleITK does not read NIfTI 2
        assert_same_for_itk(path, tmp_path / "i.nii.gz")


def test_disagreeing_sform_and_sheared_sform_stay(tmp_path, voxels, ras_affine):
    sheared = ras_affine()
    sheared[0, 1] = 0.4
    source = nib.Nifti1Image(voxels, sheared)
    source.set_sform(sheared, 2)
    source.set_qform(ras_affine(degrees=3), 1)
    source.to_filename(tmp_path / "i.nii")
    image = read_image(tmp_path / "i.nii")
    assert image.source["oblique"]
    path = write_labels(tmp_path / "o.nii", image.data > 500, grid=image.grid, source=image.source)
    assert_same_affine_fields(nib.load(path), nib.load(tmp_path / "i.nii"))


def test_microns_stay_microns_in_the_file(tmp_path, voxels, ras_affine):
    source = nib.Nifti1Image(voxels, ras_affine())
    source.header.set_xyzt_units("micron")
    source.to_filename(tmp_path / "i.nii")
    image = read_image(tmp_path / "i.nii")
    path = write_labels(tmp_path / "o.nii", image.data > 500, grid=image.grid, source=image.source)
    assert nib.load(path).header.get_xyzt_units()[0] == "micron"
    assert read_image(path).grid == image.grid
    assert_same_for_itk(path, tmp_path / "i.nii")


def test_two_dimensional_source(tmp_path, voxels, ras_affine):
    for order in itertools.permutations(range(3)):
        nib.Nifti1Image(voxels[:, :, 0], ras_affine(order, (1, -1, 1))).to_filename(tmp_path / "i.nii")
        image = read_image(tmp_path / "i.nii")
        path = write_labels(tmp_path / "o.nii", image.data > 0, grid=image.grid, source=image.source)
        written = nib.load(path)
        assert written.shape == (8, 6)
        assert np.array_equal(np.asarray(written.dataobj), voxels[:, :, 0] > 0)
        assert_same_affine_fields(written, nib.load(tmp_path / "i.nii"))


@pytest.fixture
def series(tmp_path, voxels, ras_affine):
    image = nib.Nifti1Image(np.stack([voxels, voxels + 1, voxels + 2], axis=3), ras_affine((1, 2, 0), (1, -1, 1), 5))
    image.header.set_xyzt_units("mm", "msec")
    image.header["pixdim"][4] = 2500
    image.to_filename(tmp_path / "series.nii")
    return tmp_path / "series.nii"


def test_labels_of_every_frame(tmp_path, voxels, series):
    image = read_image(series)
    path = write_labels(tmp_path / "o.nii", image.data > 500, grid=image.grid, source=image.source)
    written = nib.load(path)
    assert np.array_equal(np.asarray(written.dataobj)[..., 2], voxels > 498)
    assert_same_affine_fields(written, nib.load(series))
    assert written.header["pixdim"][4] == 2500
    assert written.header.get_xyzt_units() == ("mm", "msec")
    assert read_labels(path).image.grid == image.grid


def test_labels_of_one_frame(tmp_path, voxels, series):
    image = read_image(series)
    space = Grid(image.grid.shape[1:], image.grid.affine[1:, 1:])
    path = write_labels(tmp_path / "o.nii", image.data[0] > 500, grid=space, source=image.source)
    written = nib.load(path)
    assert np.array_equal(np.asarray(written.dataobj), voxels > 500)
    assert_same_affine_fields(written, nib.load(series))


def test_another_time_step_is_written_in_seconds(tmp_path, series):
    image = read_image(series)
    affine = np.array(image.grid.affine)
    affine[0, 0] = 4
    path = write_labels(tmp_path / "o.nii", image.data > 5, grid=Grid(image.grid.shape, affine), source=image.source)
    assert read_image(path).grid.spacing[0] == 4


def test_time_mixed_with_space_is_refused(tmp_path):
    affine = np.eye(5)
    affine[0, 2] = 0.5
    with pytest.raises(GeometryError, match="time"):
        write_labels(tmp_path / "o.nii", np.zeros((2, 3, 4, 5), int), grid=Grid((2, 3, 4, 5), affine))


def turned(degrees):
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


LINEAR = {
    "straight": np.diag([3.0, 1, 2]),
    "flipped by negative spacing": np.diag([3.0, -1, 2]),
    "all flipped": np.diag([-3.0, -1, -2]),
    "turned in the plane": turned(25) @ np.diag([3.0, 1, 2]),
    "turned out of the plane": turned(25)[::-1, ::-1] @ turned(10) @ np.diag([3.0, 1, 2]),
    "axes exchanged": np.diag([3.0, 1, 2])[:, [2, 0, 1]],
    "sheared": np.array([[3.0, 0, 0], [0.2, 1, 0.5], [0, 0, 2]]),
}


@pytest.mark.parametrize("name", LINEAR)
def test_grid_without_a_source(tmp_path, labels, name):
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = LINEAR[name], (-700.25, 30, -50)
    grid = Grid(labels.shape, affine)
    path = write_labels(tmp_path / "o.nii.gz", labels, grid=grid)
    written = nib.load(path)
    index = np.argwhere(labels)
    lps = nib.affines.apply_affine(written.affine, index[:, ::-1]) * [-1, -1, 1]
    assert lps[:, ::-1] == pytest.approx(grid.to_world(index), abs=1e-4)
    assert np.array_equal(np.asarray(written.dataobj), labels.transpose())
    assert written.header["sform_code"] == 2
    assert written.header["qform_code"] == (0 if name == "sheared" else 2)
    assert written.header.get_xyzt_units()[0] == "mm"
    if name != "sheared":
        itk = sitk.ReadImage(path)
        for i in index[::3]:
            at = itk.TransformIndexToPhysicalPoint([int(n) for n in i[::-1]])
            assert at[::-1] == pytest.approx(grid.to_world(i)[0], abs=1e-4)


def test_a_moved_layer_is_written_where_it_is(tmp_path, voxels, ras_affine):
    nib.Nifti1Image(voxels, ras_affine()).to_filename(tmp_path / "i.nii")
    image = read_image(tmp_path / "i.nii")
    moved = np.array(image.grid.affine)
    moved[1, 3] += 5
    path = write_labels(tmp_path / "o.nii", image.data > 500, grid=Grid(image.grid.shape, moved), source=image.source)
    assert read_image(path).grid.affine == pytest.approx(moved, abs=1e-4)


def test_flat_grid(tmp_path, labels):
    grid = Grid.from_spacing((6, 8), (1, 2), (30, -50))
    path = write_labels(tmp_path / "o.nii", labels[1], grid=grid)
    again = read_labels(path)
    assert np.array_equal(again.array, labels[1])
    assert again.image.grid.same_as(grid)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(path)), labels[1])


def test_time_without_a_source(tmp_path, labels):
    grid = Grid.from_spacing((2, *labels.shape), (1.5, 3, 1, 2), (0, -9, 5, 7))
    path = write_labels(tmp_path / "o.nii", np.stack([labels, labels * 2]), grid=grid)
    again = read_labels(path)
    assert again.image.grid.same_as(grid)
    assert np.array_equal(again.array[1], labels * 2)


@pytest.mark.parametrize(
    ("largest", "kind"), [(1, "u1"), (255, "u1"), (256, "u2"), (65535, "u2"), (65536, "u4"), (2**32 - 1, "u4")]
)
def test_smallest_type_that_fits(tmp_path, labels, largest, kind):
    wide = labels.astype(np.int64)
    wide[0, 0, 0] = largest
    path = write_labels(tmp_path / "o.nii", wide, grid=Grid.from_spacing(labels.shape, (3, 1, 2)))
    assert nib.load(path).get_data_dtype() == kind
    assert np.array_equal(read_labels(path).array, np.maximum(wide, labels))
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(path)), read_labels(path).array)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda a: a - 1, "-1"),
        (lambda a: a.astype(np.int64) + 2**32, "too large"),
        (lambda a: a * 0.5, "whole numbers"),
        (lambda a: a[1:], "shape"),
    ],
)
def test_labels_that_cannot_be_saved(tmp_path, labels, change, word):
    with pytest.raises(LabelsError, match=word):
        write_labels(tmp_path / "o.nii", change(labels), grid=Grid.from_spacing(labels.shape, (3, 1, 2)))
    assert not list(tmp_path.iterdir())


def test_five_axes_are_refused(tmp_path):
    grid = Grid.from_spacing((2,) * 5, (1,) * 5)
    with pytest.raises(LabelsError, match="5 axes"):
        write_labels(tmp_path / "o.nii", np.zeros((2,) * 5, int), grid=grid)


@pytest.mark.parametrize(
    ("typed", "written"),
    [("a.nii", "a.nii"), ("a.NII.GZ", "a.NII.GZ"), ("a", "a.nii.gz"), ("a.tif", "a.tif.nii.gz"), ("1.2", "1.2.nii.gz")],
)
def test_name_that_is_really_written(tmp_path, labels, typed, written):
    path = write_labels(tmp_path / typed, labels, grid=Grid.from_spacing(labels.shape, (3, 1, 2)))
    assert [p.name for p in tmp_path.iterdir()] == [path.name] == [written]
    assert np.array_equal(read_labels(path).array, labels)


def test_saving_twice_gives_the_same_bytes(tmp_path, labels):
    grid = Grid.from_spacing(labels.shape, (3, 1, 2))
    a = write_labels(tmp_path / "a.nii.gz", labels, grid=grid)
    b = write_labels(tmp_path / "b.nii.gz", labels, grid=grid)
    assert a.read_bytes() == b.read_bytes()
    assert len(gzip.decompress(a.read_bytes())) == 352 + labels.size


def test_names_go_beside_and_come_back(tmp_path, labels):
    names = {1: "left kidney", 3: "tab\there\nand there", 7: "Läsion 图", 300: "not drawn"}
    grid = Grid.from_spacing(labels.shape, (3, 1, 2))
    path = write_labels(tmp_path / "o.nii.gz", labels, grid=grid, names=names, colors={1: "#ff8800"})
    assert read_labels(path).names == {**names, 3: "tab here and there"}
    text = (tmp_path / "o.tsv").read_text(encoding="utf-8")
    assert text.splitlines()[:2] == ["index\tname\tcolor", "1\tleft kidney\t#ff8800"]


def test_a_table_of_something_else_is_not_lost(tmp_path, labels):
    other = tmp_path / "events.tsv"
    other.write_text("onset\tduration\n1\t2\n")
    grid = Grid.from_spacing(labels.shape, (3, 1, 2))
    with pytest.raises(WriteError, match=r"events\.tsv is in the way"):
        write_labels(tmp_path / "events.nii.gz", labels, grid=grid, names={1: "a"})
    assert [p.name for p in tmp_path.iterdir()] == ["events.tsv"]
    assert other.read_text() == "onset\tduration\n1\t2\n"


@pytest.mark.parametrize("names", [None, {}])
@pytest.mark.parametrize("content", [b"index\tname\tvolume\n1\ta\t3.5\n", b"onset\tduration\n1\t2\n"])
def test_no_names_leave_the_table_alone(tmp_path, labels, names, content):
    (tmp_path / "o.tsv").write_bytes(content)
    write_labels(tmp_path / "o.nii", labels, grid=Grid.from_spacing(labels.shape, (3, 1, 2)), names=names)
    assert (tmp_path / "o.tsv").read_bytes() == content


def test_saving_over_labels_keeps_what_the_table_knows_of_these_besides(tmp_path, labels):
    grid = Grid.from_spacing(labels.shape, (3, 1, 2))
    (tmp_path / "o.tsv").write_text("index\tname\tcomment\n3\told\tseen twice\n9\tof the old labels\tgone\n")
    path = write_labels(tmp_path / "o.nii", labels, grid=grid, names={1: "a", 3: "b"})
    assert read_labels(path).names == {1: "a", 3: "b"}
    assert (tmp_path / "o.tsv").read_text() == "index\tname\tcomment\n3\tb\tseen twice\n1\ta\tn/a\n"


def in_the_way(folder, typed):
    """Something that labels must not replace, or cannot."""
    if typed in ("folder.nii", "table/o.nii"):
        (folder / typed).with_suffix(".tsv" if "/" in typed else ".nii").mkdir(parents=True)
    if typed == "there":
        (folder / "there.nii.gz").write_bytes(b"anything")
    if typed == "events.nii":
        (folder / "events.tsv").write_text("onset\tduration\n")


@pytest.mark.parametrize(
    ("typed", "word"),
    [
        ("folder.nii", "is a folder"),
        ("table/o.nii", "in the way"),
        ("there", "exists"),
        ("events.nii", "in the way"),
        ("none/o.nii", "folder does not exist"),
        ("a" * 300, "too long"),
    ],
)
def test_what_cannot_be_written_is_known_before_and_as_at_the_end(tmp_path, labels, typed, word):
    in_the_way(tmp_path, typed)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(WriteError, match=word) as early:
        require_writable(tmp_path / typed)
    with pytest.raises(WriteError) as late:
        write_labels(tmp_path / typed, labels, grid=Grid.from_spacing(labels.shape, (3, 1, 2)), names={1: "a"})
    assert str(late.value) == str(early.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_can_be_written_leaves_no_trace_when_asked_about(tmp_path, scan):
    before = scan.read_bytes(), sorted(os.listdir(tmp_path))
    assert require_writable(tmp_path / "o") == tmp_path / "o.nii.gz"
    assert require_writable(scan) == scan
    assert (scan.read_bytes(), sorted(os.listdir(tmp_path))) == before
    (tmp_path / "o.tsv").write_text("onset\n")
    assert require_writable(tmp_path / "o", named=False) == tmp_path / "o.nii.gz"
    with pytest.raises(WriteError, match="the image itself"):
        require_writable(scan, read_image(scan).source)


@pytest.fixture
def scan(tmp_path, voxels, ras_affine):
    nib.Nifti1Image(voxels, ras_affine()).to_filename(tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def linked(path):
    path.with_name("soft.nii.gz").symlink_to(path)
    path.with_name("hard.nii.gz").hardlink_to(path)
    (path.parent / "folder").symlink_to(path.parent)


@pytest.mark.parametrize(
    "typed", ["scan", "scan.nii.gz", "../{}/scan.nii.gz", "soft", "soft.nii.gz", "hard.nii.gz", "folder/scan.nii.gz"]
)
def test_the_image_itself_is_not_replaced(tmp_path, scan, typed):
    linked(scan)
    before = scan.read_bytes()
    image = read_image(scan)
    to = tmp_path / typed.format(tmp_path.name)
    with pytest.raises(WriteError, match=r"\.nii\.gz is the image itself.*another name"):
        write_labels(to, image.data > 500, grid=image.grid, source=image.source, names={1: "a"})
    assert scan.read_bytes() == before
    assert not list(tmp_path.glob("*.tsv"))


def test_the_image_is_known_by_where_it_was_when_read(tmp_path, scan, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = read_image("scan.nii.gz")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(WriteError, match="the image itself"):
        write_labels(scan, image.data > 500, grid=image.grid, source=image.source)
    assert write_labels("scan.nii.gz", image.data > 500, grid=image.grid, source=image.source).is_file()


@pytest.mark.parametrize("kept", ["gone", "a" * 400, "a\0b", "", None, 7])
def test_an_image_that_cannot_be_compared_does_not_hinder(tmp_path, scan, kept):
    image = read_image(scan)
    source = {**image.source, "path": kept}
    assert write_labels(tmp_path / "o.nii", image.data > 500, grid=image.grid, source=source).is_file()
    with pytest.raises(WriteError, match="too long"):
        write_labels(tmp_path / f"{'a' * 400}.nii", image.data > 500, grid=image.grid, source=image.source)


def test_a_label_file_is_saved_over_itself(tmp_path, labels):
    nib.Nifti1Image(labels.astype(np.int16).transpose(), np.eye(4)).to_filename(tmp_path / "bare.nii.gz")
    marked = write_labels(tmp_path / "o.nii", labels, grid=Grid.from_spacing(labels.shape, (3, 1, 2)))
    for path in (marked, tmp_path / "bare.nii.gz"):
        read = read_labels(path)
        write_labels(path, read.array * 2, grid=read.image.grid, source=read.image.source)
        assert np.array_equal(read_labels(path).array, read.array * 2)


def test_a_file_that_no_dialog_asked_about_is_not_replaced(tmp_path, labels):
    grid = Grid.from_spacing(labels.shape, (3, 1, 2))
    there = tmp_path / "scan.nii.gz"
    there.write_bytes(b"anything")
    with pytest.raises(
        WriteError, match=r"scan\.nii\.gz exists; nothing was written\. Type the full name scan\.nii\.gz"
    ):
        write_labels(tmp_path / "scan", labels, grid=grid, names={1: "a"})
    assert (there.read_bytes(), os.listdir(tmp_path)) == (b"anything", ["scan.nii.gz"])
    assert write_labels(there, labels, grid=grid) == there
    with pytest.raises(WriteError, match="too long"):
        write_labels(tmp_path / ("a" * 400), labels, grid=grid)


def test_table_inside_the_source_is_read_and_not_passed_on(tmp_path, labels):
    image = nib.Nifti1Image(labels.astype(np.uint8).transpose(), np.eye(4))
    table = b'<?xml version="1.0"?><C><LabelTable><Label Key="7"><![CDATA[colon]]></Label></LabelTable></C>\n  '
    image.header.extensions.append(nib.nifti1.Nifti1Extension(0, table))
    image.to_filename(tmp_path / "i.nii.gz")
    read = read_labels(tmp_path / "i.nii.gz")
    assert read.names == {7: "colon"}
    path = write_labels(tmp_path / "o.nii", read.array, grid=read.image.grid, source=read.image.source)
    assert not nib.load(path).header.extensions


def test_source_survives_being_stored_as_json_lists(tmp_path, voxels, ras_affine):
    nib.Nifti1Image(voxels, ras_affine((1, 0, 2), (1, -1, 1))).to_filename(tmp_path / "i.nii")
    image = read_image(tmp_path / "i.nii")
    plain = {k: v for k, v in image.source.items() if k != "header"}
    source = {**json.loads(json.dumps(plain)), "header": image.source["header"]}
    path = write_labels(tmp_path / "o.nii", image.data > 500, grid=image.grid, source=source)
    assert np.array_equal(np.asarray(nib.load(path).dataobj), voxels > 500)
