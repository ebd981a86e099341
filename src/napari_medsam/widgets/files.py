"""What napari calls for File > Open, Open Sample and Save: layer tuples from and to `io`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from napari.utils.notifications import show_info

from napari_medsam.image import KEY, Image
from napari_medsam.intensity import suggest_window
from napari_medsam.io import is_dicom, labels_from, read_image
from napari_medsam.io.files import DICOM, ITK, NIFTI, TIFF
from napari_medsam.widgets.layer_labels import INDEX, NAME

LayerData = tuple[Any, dict[str, Any], str]

SUFFIXES = (*NIFTI, *ITK, *DICOM, *TIFF)
OBLIQUE = (
    "{name} is oblique. It is shown on its own voxel grid, so positions shown are not the patient's; labels are saved "
    "with its true position."
)
LABEL_NAME = re.compile(r"(^|[^a-z])(labels?|labelmap|seg|dseg|segmentation|mask)([^a-z]|$)", re.IGNORECASE)
"""A whole-number file with one of these words in its name opens as labels."""


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[LayerData]] | None:
    """The reader for a file that `io` takes or a folder of DICOM files; None leaves it to other plugins."""
    paths = [path] if isinstance(path, str) else list(path)
    return read if all(_ours(Path(p)) for p in paths) else None


def read(path: str | Sequence[str]) -> list[LayerData]:
    """Read files into layers; whole numbers named like labels, or marked as such, become Labels layers."""
    paths = [path] if isinstance(path, str) else list(path)
    return [layer for p in paths for layer in _read_one(Path(p))]


def write_labels_layer(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Save one Labels layer as NIfTI, and its names beside it; returns the path really written."""
    from napari.layers import Labels

    from napari_medsam.widgets.saving import save

    keep = ("affine", "axis_labels", "features", "metadata", "name", "rotate", "scale", "shear", "translate", "units")
    layer = Labels(data, multiscale=bool(meta.get("multiscale", False)), **{k: meta[k] for k in keep if k in meta})
    return [str(save(layer, path))]


def sample_phantom() -> list[LayerData]:
    """The CT phantom, made on demand."""
    from napari_medsam.phantom import ct_phantom

    image, _, _ = ct_phantom()
    return [layer_of(image)]


def layer_of(image: Image) -> LayerData:
    """An image as a napari layer tuple: its grid as scale and translate, its source in the metadata."""
    kwargs: dict[str, Any] = {
        "name": image.name,
        "rgb": image.rgb,
        "metadata": {KEY: dict(image.source)},
        **_place(image),
    }
    if not image.rgb:
        # a CT opened at its full range shows no organ
        window = suggest_window(image.sample())[1]
        kwargs["contrast_limits"] = (window.low, window.high)
    return image.data, kwargs, "image"


def _read_one(path: Path) -> list[LayerData]:
    image = read_image(path)
    if image.source.get("oblique"):
        show_info(OBLIQUE.format(name=path.name))
    if not _is_labels(path, image):
        return [layer_of(image)]
    saved = labels_from(path, image)
    names = {0: "background", **saved.names}
    features = pd.DataFrame({INDEX: list(names), NAME: list(names.values())})
    kwargs = {"name": image.name, "features": features, "metadata": {KEY: dict(saved.image.source)}, **_place(image)}
    return [(saved.array, kwargs, "labels")]


def _is_labels(path: Path, image: Image) -> bool:
    if image.rgb or np.dtype(image.data.dtype).kind not in "iu":
        return False
    return bool(image.source.get("is_labels")) or bool(LABEL_NAME.search(path.name))


def _place(image: Image) -> dict[str, Any]:
    n = image.grid.ndim
    place: dict[str, Any] = {"scale": image.grid.spacing, "translate": tuple(image.grid.affine[:n, n])}
    if image.units:
        place["units"] = image.units
    if image.axis_labels:
        place["axis_labels"] = image.axis_labels
    return place


def _ours(path: Path) -> bool:
    if path.is_dir():
        return not path.name.lower().endswith(".zarr") and any(is_dicom(p) for p in _some_files(path))
    return path.name.lower().endswith(SUFFIXES) or (path.suffix == "" and is_dicom(path))


def _some_files(folder: Path) -> list[Path]:
    """A few files of a folder and its folders: enough to tell whether it holds DICOM."""
    files: list[Path] = []
    for entry in sorted(folder.iterdir()):
        files += [entry] if entry.is_file() else sorted(p for p in entry.iterdir() if p.is_file())[:3]
        if len(files) >= 30:
            break
    return files
