"""What all readers share: file kinds by suffix, names, and the guard that turns foreign exceptions into ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_medsam.errors import MedsamError, ReadError

NIFTI = (".nii.gz", ".nii")
ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
DICOM = (".dcm", ".ima")
TIFF = (".tif", ".tiff")
RASTER = (".png", ".jpg", ".jpeg", ".bmp")
NUMPY = (".npy",)
SUFFIXES = (*NIFTI, *ITK, *DICOM, *TIFF, *RASTER, *NUMPY)
"""The suffixes that can be read, in lower case; a DICOM folder has none."""


def suffix_of(path: Path) -> str:
    """The known suffix of `path` in lower case ('.nii.gz' counts as one), or what follows its last dot."""
    name = path.name.lower()
    return next((s for s in SUFFIXES if name.endswith(s)), path.suffix.lower())


def stem_of(path: Path) -> str:
    """The name of `path` without its known suffix; other dots stay."""
    suffix = suffix_of(path)
    return path.name[: -len(suffix)] if suffix else path.name


def location(path: Path) -> str:
    """Where `path` is, whatever the current folder becomes; links are not followed. For the source entry."""
    return str(path.absolute())


def require_file(path: Path) -> None:
    """Raise ReadError unless `path` is a file with something in it."""
    if not path.exists():
        raise ReadError(f"There is no file {path}. Check the name and whether the drive is connected.")
    if not path.is_file():
        raise ReadError(f"{path} is not a file. Choose an image file or a folder with one DICOM series.")
    if path.stat().st_size == 0:
        raise ReadError(f"{path.name} is empty (0 bytes). Copy or download it again.")


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever goes wrong while `path` is read as `kind` into a ReadError with the file's name."""
    try:
        yield
    except ReadError:
        raise
    except MedsamError as error:
        raise ReadError(f"{path.name}: {error}") from error
    except MemoryError as error:
        raise ReadError(
            f"{path.name} does not fit into memory. Close other programs, or crop the image and open that."
        ) from error
    except PermissionError as error:
        raise ReadError(f"{path.name} may not be read by this user. Change its permissions or copy it.") from error
    except Exception as error:
        raise ReadError(
            f"{path.name} could not be read as {kind}: {_reason(error)}. "
            "It may be damaged or cut off: copy or download it again, or open it in the program that made it."
        ) from error


def _reason(error: Exception) -> str:
    """The last line of what the library says, without its source paths; never empty."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = lines[-1].removeprefix("sitk::ERROR:").strip() if lines else type(error).__name__
    return last[:200].rstrip(".")
