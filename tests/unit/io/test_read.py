"""The one door: pictures and arrays, and every kind of file that cannot be opened."""

import gzip
import subprocess
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image as Pictures

from napari_medsam.errors import ReadError
from napari_medsam.geometry import Grid
from napari_medsam.image import Image
from napari_medsam.io import labels_from, read_image, read_labels


def noise_nifti(path):
    noise = np.random.default_rng(0).integers(0, 2000, (12, 20, 30)).astype(np.int16)
    nib.Nifti1Image(noise, np.eye(4)).to_filename(path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kept", [0.99, 0.5, 0.01, 10])
def test_cut_off_nifti(tmp_path, suffix, kept):
    path = noise_nifti(tmp_path / f"i{suffix}")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept if kept > 1 else len(whole) * kept)])
    with pytest.raises(ReadError, match=f"i{suffix}"):
        read_image(path)


def test_flipped_bits_in_gzip(tmp_path):
    path = noise_nifti(tmp_path / "i.nii.gz")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 200] = bytes(200)
    path.write_bytes(raw)
    with pytest.raises(ReadError, match=r"i\.nii\.gz could not be read as NIfTI"):
        read_image(path)


PAGE = b"<!DOCTYPE html><html><body>404 not found</body></html>"
NOT_NIFTI = {
    "page.nii.gz": (PAGE, "web page"),
    "page.nii": (PAGE, "not NIfTI but a web page.*download may have failed"),
    "packedpage.nii.gz": (gzip.compress(PAGE), "not NIfTI but a web page.*download may have failed"),
    "text.nii.gz": (gzip.compress(b"hello " * 100), "not NIfTI but text.*download may have failed"),
    "plain.nii.gz": ("Zugriff verweigert für Gäste\n".encode() * 50, "not NIfTI but text.*download may have failed"),
    "pointer.nii": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "not NIfTI but text"),
    "packed.nii": (gzip.compress(b"hello " * 100), "not NIfTI but text"),
    "dots.nii.gz": (bytes(range(256)), "NIfTI header"),
    "nothing.nii.gz": (gzip.compress(b""), "NIfTI header"),
    "short.nii": (b"\x5c\x01\0\0" + bytes(20), "NIfTI"),
    "zeros.nii": (bytes(1000), "NIfTI header"),
    "zipped.nii": (gzip.compress(b"\x5c\x01\0\0" + bytes(400)), "Rename it to end in .nii.gz"),
    "bare.nii.gz": (b"\x5c\x01\0\0" + bytes(400), r"Rename it to end in \.nii\."),
    "big.nii.gz": (b"\0\0\x01\x5c" + bytes(400), r"Rename it to end in \.nii\."),
    "two.nii.gz": (b"\x1c\x02\0\0" + bytes(600), r"Rename it to end in \.nii\."),
    "twobig.nii": (gzip.compress(b"\0\0\x02\x1c" + bytes(600)), "Rename it to end in .nii.gz"),
    "header.nii": (b"\x5c\x01\0\0" + bytes(400), "NIfTI"),
    "empty.nii": (b"", "empty"),
    "empty.nrrd": (b"", "empty"),
    "empty.tif": (b"", "empty"),
    "empty.dcm": (b"", "empty"),
    "empty.png": (b"", "empty"),
    "text.png": (b"hello", "picture"),
    "text.npy": (b"hello", "NumPy"),
    "table.csv": (b"a,b", "cannot be opened"),
    "noname": (b"hello", "cannot be opened"),
    "image.gz": (gzip.compress(b"hello"), "cannot be opened"),
}


@pytest.mark.parametrize("reader", [read_image, read_labels])
@pytest.mark.parametrize("name", NOT_NIFTI)
def test_files_that_are_not_what_their_name_says(tmp_path, name, reader):
    content, word = NOT_NIFTI[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ReadError, match=word) as caught:
        reader(tmp_path / name)
    assert name in str(caught.value)
    assert ("Rename" in str(caught.value)) == ("Rename" in word)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.dcm", "a.tif", "a.png", "a.npy", "a", "folder/a.nii"])
def test_missing_files(tmp_path, name):
    with pytest.raises(ReadError, match="There is no file"):
        read_image(tmp_path / name)


def test_a_name_that_no_system_takes(tmp_path):
    with pytest.raises(ReadError):
        read_image(tmp_path / ("a" * 400 + ".nii"))


@pytest.mark.parametrize("mode", ["L", "I;16", "1", "LA", "RGB", "RGBA", "P", "CMYK"])
def test_pictures(tmp_path, mode):
    colour = np.random.default_rng(0).integers(0, 255, (6, 8, 3)).astype(np.uint8)
    picture = Pictures.fromarray(colour)
    path = tmp_path / ("i.jpg" if mode == "CMYK" else "i.png")
    if mode == "I;16":
        Pictures.fromarray(colour[..., 0].astype(np.uint16) * 257).save(path)
    elif mode == "P":
        picture.quantize(5).save(path)
    else:
        picture.convert(mode).save(path)
    image = read_image(path)
    assert image.rgb == (mode in ("RGB", "RGBA", "P", "CMYK"))
    assert image.data.shape == (6, 8, *((4,) if mode == "RGBA" else (3,) if image.rgb else ()))
    assert image.data.dtype == (np.uint16 if mode == "I;16" else np.uint8)
    assert (image.grid.spacing, image.units) == ((1, 1), ("pixel",) * 2)
    if mode == "RGB":
        assert np.array_equal(image.data, colour)


def test_label_picture_with_a_palette(tmp_path):
    numbers = np.arange(48, dtype=np.uint8).reshape(6, 8) % 5
    picture = Pictures.fromarray(numbers, mode="P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    picture.save(tmp_path / "i.png")
    assert np.array_equal(read_labels(tmp_path / "i.png").array, numbers)
    assert read_image(tmp_path / "i.png").rgb


def test_colour_and_fractions_are_no_labels(tmp_path):
    Pictures.fromarray(np.zeros((6, 8, 3), np.uint8)).save(tmp_path / "i.png")
    with pytest.raises(ReadError, match="colour picture"):
        read_labels(tmp_path / "i.png")
    for value in (0.5, np.nan, 1e20):
        nib.Nifti1Image(np.full((3, 4, 5), value, np.float32), np.eye(4)).to_filename(tmp_path / "i.nii")
        with pytest.raises(ReadError, match="no label file"):
            read_labels(tmp_path / "i.nii")


def test_whole_numbers_in_a_float_file_are_labels(tmp_path, labels):
    nib.Nifti1Image(labels.transpose().astype(np.float64), np.diag([-1.0, -1, 1, 1])).to_filename(tmp_path / "i.nii")
    read = read_labels(tmp_path / "i.nii")
    assert np.array_equal(read.array, labels)
    assert read.array.dtype == np.int32
    assert read.image.data is read.array


def test_labels_from_an_image_already_read(tmp_path, labels):
    nib.Nifti1Image(labels.transpose().astype(np.int16), np.eye(4)).to_filename(tmp_path / "i.nii")
    (tmp_path / "i.tsv").write_text("index\tname\n3\tarm\n")
    image = read_image(tmp_path / "i.nii")
    (tmp_path / "i.nii").unlink()
    saved = labels_from(tmp_path / "i.nii", image)
    assert saved.array is image.data
    assert saved.names == {3: "arm"}
    assert (image.source["is_labels"], saved.image.source["is_labels"]) == (False, True)
    assert {**saved.image.source, "is_labels": False} == image.source
    with pytest.raises(ReadError, match=r"i\.nii holds fractions"):
        labels_from(str(tmp_path / "i.nii"), replace(image, data=image.data + 0.5))
    colour = Image(np.zeros((3, 4, 3), np.uint8), Grid.from_spacing((3, 4), (1, 1)), rgb=True)
    with pytest.raises(ReadError, match="colour picture"):
        labels_from(tmp_path / "i.png", colour)


def write_with_itk(path, voxels):
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))


WRITERS = {
    **dict.fromkeys(("i.nii", "i.nii.gz", "i.nrrd", "i.mha"), write_with_itk),
    "i.dcm": lambda path, voxels: write_with_itk(path, voxels[:1]),
    "i.tif": lambda path, voxels: tifffile.imwrite(path, voxels, photometric="minisblack"),
    "i.npy": np.save,
    "i.png": lambda path, voxels: Pictures.fromarray(voxels[0].astype(np.uint8)).save(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_source_says_where_it_was_read(tmp_path, voxels, monkeypatch, name):
    WRITERS[name](tmp_path / name, voxels)
    monkeypatch.chdir(tmp_path)
    assert read_image(name).source["path"] == str(tmp_path / name)
    assert type(read_labels(tmp_path / name).image.source["path"]) is str


def test_the_source_of_a_folder_is_the_folder(tmp_path, voxels):
    (tmp_path / "ct").mkdir()
    write_with_itk(tmp_path / "ct" / "i.dcm", voxels[:1])
    assert read_image(tmp_path / "ct").source["path"] == str(tmp_path / "ct")


def test_arrays(tmp_path, voxels):
    np.save(tmp_path / "i.npy", voxels)
    image = read_image(tmp_path / "i.npy")
    assert np.array_equal(image.data, voxels)
    assert image.axis_labels == ("z", "y", "x")
    np.save(tmp_path / "i.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    with pytest.raises(ReadError, match=r"i\.npy"):
        read_image(tmp_path / "i.npy")


def test_importing_io_is_cheap():
    heavy = "{'nibabel', 'SimpleITK', 'tifffile', 'PIL', 'pydicom', 'torch', 'napari', 'qtpy'}"
    code = f"import sys, napari_medsam.io; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
