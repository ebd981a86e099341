"""Files that are no weights are told by their first bytes, without torch."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from napari_medsam.errors import CheckpointError
from napari_medsam.models.checkpoints.sniffing import kind_of, weights_at

TORCH_ZIP = ("archive/data.pkl", "archive/data/0", "archive/version")


def zipped(*names: str, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name in names:
            archive.writestr(name, b"0" * 1000)
    return buffer.getvalue()


STRANGE = {
    "empty": (b"", "an empty file", "Download"),
    "gzip": (gzip.compress(b"weights"), "a gzip archive", "Unpack"),
    "zip around": (zipped("folder/medsam_vit_b.pth"), "around folder/medsam_vit_b.pth", "Unpack"),
    "zip of notes": (zipped("notes.txt"), "notes.txt", "Choose"),
    "zip without entries": (zipped(), "an empty zip archive", "Download"),
    "numpy": (zipped("a.npy", "b.npy"), "NumPy", "Choose"),
    "compressed": (zipped(*TORCH_ZIP, compression=zipfile.ZIP_DEFLATED), "compressed afterwards", "torch.save"),
    "torchscript": (zipped(*TORCH_ZIP, "archive/constants.pkl"), "TorchScript", "state dict"),
    "truncated zip": (zipped(*TORCH_ZIP)[:-400], "its end is missing", "Download"),
    "web page": (b"\n<!DOCTYPE html><html><head><title>Google Drive", "a web page", "download the file there yourself"),
    "web page without doctype": (b"<!-- x --><HTML>", "a web page", "yourself"),
    "xml": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a server's answer", "yourself"),
    "json": (b'{"error": "not found"}', "JSON", "yourself"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git-lfs pointer", "git lfs pull"),
    "text": ("Gewichte für MedSAM\n".encode(), "a text", "Choose"),
    "onnx": (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0", "ONNX", "PyTorch version"),
    "hdf5": (b"\x89HDF\r\n\x1a\n", "HDF5", "PyTorch version"),
    "png": (b"\x89PNG\r\n\x1a\n", "an image (PNG)", "Choose"),
    "dicom": (b"\0" * 128 + b"DICM", "an image (DICOM)", "Choose"),
    "tar": (b"\0" * 257 + b"ustar\x0000", "a tar archive", "Unpack"),
    "pickle": (b"\x80\x04}.", "a pickle that torch.save did not write", "state dict"),
    "noise": (bytes(range(200, 256)), "an unknown kind of file", "Choose"),
    "safetensors cut": ((1000).to_bytes(8, "little") + b'{"a":', "end within their header", "Download"),
}


@pytest.mark.parametrize("case", STRANGE)
def test_what_is_no_weights_is_named_with_the_next_step(case: str, tmp_path: Path) -> None:
    content, found, step = STRANGE[case]
    path = tmp_path / "medsam_vit_b.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        kind_of(path)
    message = str(caught.value)
    assert str(path) in message
    assert "expected a checkpoint of PyTorch" in message
    assert found in message
    assert step in message


def test_a_torch_archive_and_safetensors_are_told_apart_whatever_their_names(tmp_path: Path) -> None:
    archive, safe = tmp_path / "a.safetensors", tmp_path / "a.pth"
    archive.write_bytes(zipped(*TORCH_ZIP))
    safe.write_bytes((2).to_bytes(8, "little") + b"{}")
    assert kind_of(archive) == "zip"
    assert kind_of(safe) == "safetensors"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.pth.*no such file"):
        kind_of(tmp_path / "gone.pth")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of POSIX")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(b"weights")
    path.chmod(0)
    if os.geteuid() == 0:  # root may read all files

        def closed(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", closed)
    with pytest.raises(CheckpointError, match=r"a\.pth.*may not read.*permissions"):
        kind_of(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    path = tmp_path / "pipe.pth"
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="a device or pipe"):
        kind_of(path)


def test_the_safer_file_of_a_transformers_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"weights")
    assert weights_at(tmp_path) == tmp_path / "pytorch_model.bin"
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert weights_at(tmp_path) == tmp_path / "model.safetensors"


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((), "a folder without weights"),
        (("readme.txt",), "a folder without weights"),
        (("medsam.pth", "sam.pth"), "a folder with medsam.pth, sam.pth"),
        (("model-00001-of-00002.safetensors",), "a folder with model-00001"),
        (("plans.json", "dataset.json", "checkpoint_final.pth"), "nnU-Net or nnInteractive"),
    ],
)
def test_another_folder_is_refused_by_what_is_in_it(names: tuple[str, ...], found: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"or a folder with model\.safetensors") as caught:
        weights_at(tmp_path)
    assert found in str(caught.value)


def test_telling_files_and_networks_apart_loads_no_torch() -> None:
    code = (
        "import sys; import napari_medsam.models.checkpoints.sniffing, napari_medsam.models.checkpoints.identify;"
        "import napari_medsam.models.checkpoints.reading, napari_medsam.models.checkpoints.fitting;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
