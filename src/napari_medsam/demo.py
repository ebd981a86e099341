"""The main job without a window, on the phantom: a file is opened, boxes become masks, labels are saved.

The phantom's labels are known, so each mask is measured against the truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.api import Task, segment_image
from napari_medsam.errors import WriteError
from napari_medsam.geometry import VIEWS, Plane
from napari_medsam.image import Image
from napari_medsam.intensity import CT_PRESETS, to_uint8
from napari_medsam.io import read_image, write_labels
from napari_medsam.phantom import ct_phantom
from napari_medsam.prompts import Box, Prompts

SHOWN = ("liver", "spleen", "left kidney")
"""One organ a view, in the order of VIEWS."""
LOOSE = 2
"""How many pixels the demo's boxes are larger than the organs, on each side."""
PIXELS = 3
"""Picture pixels per voxel of the finer spacing."""
COLOURS = ((255, 99, 71), (64, 200, 255), (124, 220, 80))


def run_demo(folder: Path) -> Iterator[str]:
    """Do the demo into `folder`, and say line by line what was done.

    Raises
    ------
    WriteError
        The folder cannot be written to.
    """
    phantom, truth, names = ct_phantom()
    source = folder / "ct_phantom.nii.gz"
    _write_image(source, phantom)
    yield f"made      {source}  {phantom.grid.shape} voxels of {_millimetres(phantom)} mm"
    image = read_image(source)
    value_of = {name: value for value, name in names.items()}
    tasks = [_task(truth, value_of[name], axis, name) for name, axis in zip(SHOWN, VIEWS.values(), strict=True)]
    labels, found, results = segment_image(image, tasks, window=CT_PRESETS["CT abdomen"])
    for view, task, (accepted, prediction) in zip(VIEWS, tasks, results, strict=True):
        wanted = truth[task.plane.key] == value_of[task.name]
        dice = 2 * (prediction.mask & wanted).sum() / (prediction.mask.sum() + wanted.sum())
        at = task.plane.index[0][1]
        yield (
            f"segmented {task.name:12s} {view:9s} slice {at:3d}  {accepted.pixels:5d} pixels  "
            f"score {prediction.score:.2f}  Dice against the truth {dice:.3f}"
        )
        picture = folder / f"{view}.png"
        _write_picture(picture, image, labels, task)
        yield f"drew      {picture}"
    written = write_labels(folder / "labels.nii.gz", labels, grid=image.grid, source=image.source, names=found)
    yield f"saved     {written}"


def _task(truth: NDArray[Any], value: int, axis: int, name: str) -> Task:
    """A loose box around an organ on the slice across `axis` where it is largest."""
    others = tuple(a for a in range(3) if a != axis)
    plane = Plane.across(axis, int((truth == value).sum(axis=others).argmax()))
    at = np.argwhere(truth[plane.key] == value)
    (row0, column0), (row1, column1) = at.min(axis=0) - LOOSE, at.max(axis=0) + 1 + LOOSE
    return Task(plane, Prompts(Box(int(row0), int(column0), int(row1), int(column1))), name=name)


def _write_image(path: Path, image: Image) -> None:
    import nibabel

    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    reverse = np.eye(4)[[2, 1, 0, 3]]
    affine = to_ras @ reverse @ image.grid.affine @ reverse
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(np.asarray(image.data).transpose(), affine), path)
    except OSError as error:
        raise WriteError(f"The demo cannot write to {path.parent}: {error}. Choose another --output.") from error


def _write_picture(path: Path, image: Image, labels: NDArray[Any], task: Task) -> None:
    """One slice with all labels over it and the box, its pixels stretched to square millimetres."""
    from skimage.io import imsave

    grey = to_uint8(image.plane(task.plane), CT_PRESETS["CT abdomen"])
    colour = np.stack([grey] * 3, axis=-1).astype(float)
    shown = labels[task.plane.key]
    for value, tint in enumerate(COLOURS, start=1):
        colour[shown == value] = colour[shown == value] * 0.5 + np.array(tint) * 0.5
    if task.prompts.box is not None:
        _outline(colour, task.prompts.box)
    spacing = [image.grid.spacing[axis] for axis in task.plane.axes]
    stretched = colour.astype(np.uint8)
    for axis in (0, 1):
        size = round(grey.shape[axis] * spacing[axis] / min(spacing) * PIXELS)
        stretched = stretched.take((np.arange(size) * grey.shape[axis]) // size, axis=axis)
    imsave(path, stretched, check_contrast=False)


def _outline(colour: NDArray[Any], box: Box) -> None:
    yellow = (255, 212, 0)
    rows, columns = box.slices
    for edge in (box.row0, box.row1 - 1):
        colour[edge, columns] = yellow
    for edge in (box.column0, box.column1 - 1):
        colour[rows, edge] = yellow


def _millimetres(image: Image) -> str:
    return " x ".join(f"{s:g}" for s in image.grid.spacing)
