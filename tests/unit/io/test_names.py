"""The table of label names."""

import pytest

from napari_medsam.errors import LabelsError, ReadError
from napari_medsam.io import names_path, read_names, write_names


@pytest.mark.parametrize("label_file", ["a.nii.gz", "a.NII", "a.b.nii.gz", "a.nrrd"])
def test_round_trip(tmp_path, label_file):
    names = {2: "Läsion 图", 1: 'quoted "liver"', 70000: "x"}
    table = write_names(tmp_path / label_file, names)
    assert table == names_path(tmp_path / label_file)
    assert table.suffix == ".tsv"
    assert list(read_names(tmp_path / label_file).items()) == sorted(names.items())
    assert read_names(table) == names


def test_white_space_becomes_spaces(tmp_path):
    table = write_names(tmp_path / "a.nii", {1: "a\tb\r\nc\u2028d", 2: "", 3: " e "})
    assert read_names(table) == {1: "a b c d", 2: "", 3: "e"}


def test_tables_of_others(tmp_path):
    table = tmp_path / "a.tsv"
    table.write_bytes("\ufeffname\tabbreviation\tindex\r\nliver\tLI\t6\r\n\r\nspleen\tSP\t1\r\n".encode())
    assert read_names(tmp_path / "a.nii.gz") == {1: "spleen", 6: "liver"}


def test_no_table(tmp_path):
    assert read_names(tmp_path / "a.nii.gz") == {}
    with pytest.raises(ReadError, match=r"a\.tsv"):
        read_names(tmp_path / "a.tsv")


@pytest.mark.parametrize(
    "content", [b"", b"a\tb\n1\t2\n", b"index\tname\nx\ty\n", b"index\tname\n1\n", b"index\tname\n1\t\xff\n"]
)
def test_unusable_tables(tmp_path, content):
    (tmp_path / "a.tsv").write_bytes(content)
    with pytest.raises(ReadError, match=r"a\.tsv"):
        read_names(tmp_path / "a.nii")


@pytest.mark.parametrize("value", [-1, 1.5, True])
def test_values_that_are_no_labels(tmp_path, value):
    with pytest.raises(LabelsError, match="whole number"):
        write_names(tmp_path / "a.nii", {value: "a"})
    assert not list(tmp_path.iterdir())
