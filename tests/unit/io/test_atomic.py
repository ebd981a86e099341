"""A file is there whole or not at all."""

import errno
import io
import os
import stat

import numpy as np
import pytest

from napari_medsam.errors import WriteError
from napari_medsam.geometry import Grid
from napari_medsam.io import atomic, write_labels
from napari_medsam.io.atomic import replacing, require_replaceable


def fail_with(number):
    def fail(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    return fail


def test_bytes_take_the_place_of_the_old(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError])
def test_interrupts_and_errors_pass_and_leave_the_old_file(tmp_path, error):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def write_half():
        with replacing(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("number", "word"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "may not write"), (errno.EIO, "rror")]
)
def test_refusals_say_path_reason_and_advice(tmp_path, monkeypatch, step, number, word):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    monkeypatch.setattr(atomic.os, step, fail_with(number))
    with pytest.raises(WriteError, match=word) as caught, replacing(path) as file:
        file.write(b"new")
    assert str(path) in str(caught.value)
    assert "save again" in str(caught.value)
    assert "unchanged" in str(caught.value)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("name", ["o.nii", "o.nii.gz"])
def test_full_disk_in_the_middle_of_labels(tmp_path, monkeypatch, name):
    grid = Grid.from_spacing((40, 64, 64), (3, 1, 2))
    noise = np.random.default_rng(0).integers(0, 200, grid.shape)
    path = write_labels(tmp_path / name, noise, grid=grid, names={1: "a"})
    before = path.read_bytes()

    class Full(io.FileIO):
        def write(self, data):
            if self.tell() > 10_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    def open_full(self, mode="r", *args, **kwargs):
        return Full(self, "x") if mode == "xb" else path_open(self, mode, *args, **kwargs)

    path_open = atomic.Path.open
    monkeypatch.setattr(atomic.Path, "open", open_full)
    with pytest.raises(WriteError, match="disk is full"):
        write_labels(path, noise[::-1], grid=grid, names={1: "b"})
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [name, "o.tsv"]
    assert "a" in (tmp_path / "o.tsv").read_text()


def test_missing_folder_and_folder_as_a_name(tmp_path):
    with pytest.raises(WriteError, match="folder does not exist"), replacing(tmp_path / "no" / "a"):
        pass
    with pytest.raises(WriteError, match="is a folder"), replacing(tmp_path):
        pass
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WriteError, match="not a folder"), replacing(tmp_path / "file" / "a"):
        pass


@pytest.mark.parametrize(
    ("name", "word"),
    [("no/a", "folder does not exist"), (".", "is a folder"), ("file/a", "not a folder"), ("a" * 300, "too long")],
)
def test_what_would_be_refused_can_be_asked_before(tmp_path, name, word):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(WriteError, match=word):
        require_replaceable(tmp_path / name)
    require_replaceable(tmp_path / "fresh")
    require_replaceable(tmp_path / "file")
    assert ([p.name for p in tmp_path.iterdir()], (tmp_path / "file").read_bytes()) == (["file"], b"old")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_takes_no_file_is_told_before(tmp_path, monkeypatch, number):
    monkeypatch.setattr(atomic.Path, "open", fail_with(number))
    with pytest.raises(WriteError, match=r"may not write|read-only"):
        require_replaceable(tmp_path / "a")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt" or getattr(os, "geteuid", lambda: 1)() == 0, reason="permissions do not bind root")
def test_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(WriteError, match="may not write"), replacing(tmp_path / "a"):
            pass
    finally:
        tmp_path.chmod(0o700)


def test_longest_name_that_the_system_takes(tmp_path):
    path = tmp_path / ("ü" * 123 + "a" + ".nii.gz")
    assert len(path.name.encode()) == 254
    grid = Grid.from_spacing((2, 3, 4), (1, 1, 1))
    assert write_labels(path, np.ones(grid.shape, int), grid=grid).is_file()
    with pytest.raises(WriteError, match="too long"), replacing(tmp_path / ("a" * 300)):
        pass


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions and links")
def test_permissions_and_links_stay(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    real.chmod(0o640)
    link.symlink_to(real)
    with replacing(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    with replacing(tmp_path / "fresh") as file:
        file.write(b"new")
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "fresh").stat().st_mode == (tmp_path / "plain").stat().st_mode
