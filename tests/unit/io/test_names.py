"""The table of label names."""

import pytest

from napari_medsam.errors import LabelsError, ReadError, WriteError
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


MERGED = {
    "columns of others stay": (
        "volume\tname\tindex\tmapping\n3.5\tliver\t6\tR\n1\tspleen\t1\tL\n",
        {6: "Leber", 1: "spleen", 2: "new"},
        None,
        "volume\tname\tindex\tmapping\n3.5\tLeber\t6\tR\n1\tspleen\t1\tL\nn/a\tnew\t2\tn/a\n",
    ),
    "rows of values without a name go, but for the background's": (
        "index\tname\tnote\n0\tair\tdark\n3\tspleen\tgone\n1\tliver\tlarge\n 02\tkidney\tgone\n",
        {1: "Leber", 4: "new"},
        None,
        "index\tname\tnote\n0\tair\tdark\n1\tLeber\tlarge\n4\tnew\tn/a\n",
    ),
    "colours stay where none is given": (
        "index\tname\tcolor\n1\ta\t#111111\n2\tb\t#222222\n",
        {1: "A", 2: "B", 3: "C"},
        {2: "#ffffff"},
        "index\tname\tcolor\n1\tA\t#111111\n2\tB\t#ffffff\n3\tC\tn/a\n",
    ),
    "a column for colours is added": (
        "index\tname\n1\ta\n2\tb\textra\n",
        {1: "a", 2: "b"},
        {1: "#ffffff"},
        "index\tname\tcolor\n1\ta\t#ffffff\n2\tb\tn/a\textra\n",
    ),
    "short rows, blank lines, doubled and padded numbers": (
        "index\tname\tvolume\r\n01\ta\r\n\r\n 1\tb\t4\r\n",
        {1: "c", 2: "d"},
        None,
        "index\tname\tvolume\n01\tc\n 1\tc\t4\n2\td\tn/a\n",
    ),
    "quotes and odd spaces of others": (
        'index\tname\tnote\n1\ta\t"x\u2028 y\n',
        {1: "b"},
        None,
        'index\tname\tnote\n1\tb\t"x\u2028 y\n',
    ),
}


@pytest.mark.parametrize("case", MERGED)
def test_the_table_that_is_there_is_continued(tmp_path, case):
    before, names, colors, after = MERGED[case]
    (tmp_path / "a.tsv").write_bytes(before.encode())
    table = write_names(tmp_path / "a.nii", names, colors)
    assert table.read_bytes().decode() == after
    assert read_names(table).items() >= names.items()


def test_a_new_table_is_sorted(tmp_path):
    table = write_names(tmp_path / "a.nii", {3: "c", 1: "a"}, {3: "#ffffff"})
    assert table.read_bytes() == b"index\tname\tcolor\n1\ta\tn/a\n3\tc\t#ffffff\n"


def test_no_names_write_nothing(tmp_path):
    assert write_names(tmp_path / "a.nii", {}) == tmp_path / "a.tsv"
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.tsv").write_bytes(b"index\tname\r\n2\tb")
    write_names(tmp_path / "a.nii", {})
    assert (tmp_path / "a.tsv").read_bytes() == b"index\tname\r\n2\tb"


def test_a_table_of_something_else_is_refused(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"onset\tduration\n1\t2\n")
    with pytest.raises(WriteError, match=r"a\.tsv is in the way"):
        write_names(tmp_path / "a.nii", {1: "a"})
    assert (tmp_path / "a.tsv").read_bytes() == b"onset\tduration\n1\t2\n"
    (tmp_path / "b.tsv").mkdir()
    with pytest.raises(WriteError, match=r"b\.tsv is in the way"):
        write_names(tmp_path / "b.nii", {1: "a"})
