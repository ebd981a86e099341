"""What a file is, by its first bytes: weights, or what else, in words that a person understands. No torch here."""

from __future__ import annotations

import codecs
import os
import stat
import zipfile
from pathlib import Path
from typing import Literal

from napari_medsam.errors import CheckpointError
from napari_medsam.models.checkpoints.refusal import refused, some

Kind = Literal["safetensors", "zip", "legacy"]

WEIGHTS = "a checkpoint of PyTorch (.pth, .pt, .bin) or safetensors"
AGAIN = "Download or copy it again."
OTHER = "Choose a file of weights."
UNPACK = "Unpack it, and choose the file inside."
BY_HAND = "Open the model's page, download the file there yourself, and choose it here."

IN_FOLDERS = ("model.safetensors", "pytorch_model.bin")
"""Names of weights in a folder of the transformers format, the safer first."""

SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")

TORCH_NUMBER = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The first object in a file of torch.save before 1.6, the number 0x1950a86a20f9469cfc6c, as pickle writes it."""

BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "a gzip archive", UNPACK),
    (b"BZh", "a bzip2 archive", UNPACK),
    (b"\xfd7zXZ\x00", "an xz archive", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!", "a rar archive", UNPACK),
    (b"PK\x05\x06", "an empty zip archive", AGAIN),
    (b"\x89HDF", "an HDF5 file (of Keras or TensorFlow?)", "Choose the PyTorch version of these weights."),
    (b"GGUF", "a GGUF file", "Choose the PyTorch version of these weights."),
    (b"TFL3", "a TensorFlow Lite file", "Choose the PyTorch version of these weights."),
    (b"\x93NUMPY", "a NumPy array", OTHER),
    (b"\x89PNG", "an image (PNG)", OTHER),
    (b"\xff\xd8\xff", "an image (JPEG)", OTHER),
    (b"II*\x00", "an image (TIFF)", OTHER),
    (b"MM\x00*", "an image (TIFF)", OTHER),
    (b"%PDF", "a PDF document", OTHER),
    (b"NRRD", "an image (NRRD)", OTHER),
    (b"\x5c\x01\x00\x00", "an image (NIfTI)", OTHER),
    (b"version https://git-lfs", "a git-lfs pointer in place of the file", "Fetch the file itself: git lfs pull."),
)
"""First bytes, what they mean, and the next step."""


def weights_at(path: Path) -> Path:
    """The file of weights: `path` itself, or the one in a folder of the transformers format.

    Raises
    ------
    CheckpointError
        There is no such file, or none in the folder.
    """
    if not path.is_dir():
        return path
    found = [path / name for name in IN_FOLDERS if (path / name).is_file()]
    if found:
        return found[0]
    names = sorted(child.name for child in path.iterdir()) if os.access(path, os.R_OK | os.X_OK) else []
    expected = f"a file of weights, or a folder with {' or '.join(IN_FOLDERS)}"
    if "plans.json" in names and "dataset.json" in names:
        raise refused(path, expected, "a folder of nnU-Net or nnInteractive", "Use it with its own program.")
    candidates = [name for name in names if name.endswith(SUFFIXES)]
    if candidates:
        raise refused(path, expected, f"a folder with {some(candidates)}", "Choose the file itself.")
    raise refused(path, expected, "a folder without weights", OTHER)


def kind_of(path: Path) -> Kind:
    """How the weights are stored.

    Raises
    ------
    CheckpointError
        The file cannot be read, or is no checkpoint. The message says what it is.
    """
    size, start = _start(path)
    if size == 0:
        raise refused(path, WEIGHTS, "an empty file", AGAIN)
    if start.startswith(b"PK\x03\x04"):
        _check_zip(path)
        return "zip"
    if TORCH_NUMBER in start[:32]:
        return "legacy"
    header = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and header < 1 << 32:
        _check_safetensors(path, header, size)
        return "safetensors"
    raise refused(path, WEIGHTS, *_description(start))


def _start(path: Path) -> tuple[int, bytes]:
    """Size and first bytes."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):  # opening a pipe would wait for ever
            raise refused(path, WEIGHTS, "a folder" if path.is_dir() else "a device or pipe", OTHER)
        with path.open("rb") as file:
            return about.st_size, file.read(4096)
    except FileNotFoundError as error:
        raise refused(path, WEIGHTS, "no such file", "Choose it again where it is now, or fetch it.") from error
    except PermissionError as error:
        raise refused(path, WEIGHTS, "a file that you may not read", "Change its permissions, or copy it.") from error
    except OSError as error:
        found = f"one that cannot be read ({error.strerror or error})"
        raise refused(path, WEIGHTS, found, "Copy it to a local disk, and choose it there.") from error


def _check_safetensors(path: Path, header: int, size: int) -> None:
    if 8 + header > size:
        raise refused(path, WEIGHTS, "safetensors that end within their header", AGAIN)


def _check_zip(path: Path) -> None:
    """See to it that a zip archive is what torch.save writes, before anything of it is unpickled."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as error:
        raise refused(path, WEIGHTS, "the beginning of one: its end is missing or damaged", AGAIN) from error
    except OSError as error:
        raise refused(path, WEIGHTS, f"one that cannot be read ({error.strerror or error})", AGAIN) from error
    names = [member.filename for member in members]
    last = {name.rsplit("/", 1)[-1] for name in names}
    if "constants.pkl" in last:
        step = "Choose its state dict; a program is not run."
        raise refused(path, WEIGHTS, "a TorchScript program", step)
    if "data.pkl" not in last:
        raise _other_zip(path, names)
    if any(member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 for member in members):
        found = "one that was compressed afterwards"
        raise refused(path, WEIGHTS, found, "Load and save it again with torch.save, or get the original file.")


def _other_zip(path: Path, names: list[str]) -> CheckpointError:
    inside = [name for name in names if name.endswith((*SUFFIXES, ".zip"))]
    if inside:
        return refused(path, WEIGHTS, f"a zip archive around {some(inside)}", UNPACK)
    if any(name.endswith(".npy") for name in names):
        return refused(path, WEIGHTS, "an archive of NumPy arrays", OTHER)
    return refused(path, WEIGHTS, f"a zip archive of something else ({some(names)})", OTHER)


def _description(start: bytes) -> tuple[str, str]:
    """What a file that is no checkpoint is, and the next step."""
    for beginning, name, step in BEGINNINGS:
        if start.startswith(beginning):
            return name, step
    if start[257:262] == b"ustar":
        return "a tar archive", UNPACK
    if start[128:132] == b"DICM":
        return "an image (DICOM)", OTHER
    if start.startswith(b"\x80"):
        return "a pickle that torch.save did not write", "Ask its author for the state dict, saved by torch.save."
    if b"onnx" in start.lower() or b"pytorch" in start[:64]:
        return "an ONNX model", "Choose the PyTorch version of these weights."
    return _text(start)


def _text(start: bytes) -> tuple[str, str]:
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")) or b"<html" in text[:1024]:
        return "a web page: the download asks a person something, or its link has expired", BY_HAND
    if text.startswith(b"<?xml") or text.startswith(b"<error"):
        return "a server's answer (XML), probably an error", BY_HAND
    if text.startswith((b"{", b"[")):
        return "JSON: a configuration, or a server's answer", BY_HAND
    return ("a text" if _is_readable(text[:512]) else "an unknown kind of file"), OTHER


def _is_readable(text: bytes) -> bool:
    """Whether bytes, whose last character may be cut, are a text."""
    try:
        characters = codecs.getincrementaldecoder("utf-8")().decode(text)
    except UnicodeDecodeError:
        return False
    return bool(characters) and all(one.isprintable() or one.isspace() for one in characters)
