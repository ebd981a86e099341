"""Labels without prompts: slices of a CT through a model that names all that it knows.

A run is a sequence of slices, so to cancel is to stop asking. A window gives each slice to the engine as an errand that
calls `label_plane`; a script calls it for one slice after the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import (
    GeometryError,
    ImageError,
    LabelsError,
    MedsamError,
    MemoryShortError,
    ModelError,
    UnsupportedError,
)
from napari_medsam.geometry import Plane
from napari_medsam.image import Image
from napari_medsam.intensity import looks_like_ct
from napari_medsam.masks import Overlap, merged
from napari_medsam.models import registry
from napari_medsam.models.base import Labeller, Model

NO_CT = (
    "This image does not look like CT: its values are not Hounsfield units. The model knows CT only, so expect wrong "
    "labels, or none."
)


@dataclass(frozen=True)
class Labelled:
    """What a run has written into labels.

    Parameters
    ----------
    slices : int
        How many were labelled.
    pixels : mapping of int to int
        How many pixels became each object, by value; only those that changed count.
    """

    slices: int
    pixels: Mapping[int, int]


class Findings:
    """What a model has found on the slices of one image, until it is written into labels as one step.

    Parameters
    ----------
    classes : mapping of int to str
        Name of each value that the model gives; see `names_of`.
    """

    def __init__(self, classes: Mapping[int, str]) -> None:
        self.classes = dict(classes)
        self._found: dict[Plane, NDArray[np.uint8]] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, plane: Plane, found: NDArray[np.uint8]) -> None:
        """Take what was found on a slice, (rows, columns), in place of what was found there before."""
        self._found[plane] = found

    def values_among(self, names: Mapping[int, str], first: int) -> dict[int, int]:
        """The label of each class that was found: that of the object of the same name, else from `first` upward."""
        known = {_plain(name): value for value, name in sorted(names.items(), reverse=True)}
        there = np.zeros(256, dtype=np.int64)
        for found in self._found.values():
            there += np.bincount(found.ravel(), minlength=256)
        fresh = itertools.count(first)
        present = (c for c in np.flatnonzero(there).tolist() if c != 0)
        return {c: known.get(_plain(self.classes[c])) or next(fresh) for c in present}

    def laid_over(
        self, read: Callable[[Plane], NDArray[Any]], values: Mapping[int, int], overlap: Overlap
    ) -> Iterator[tuple[Plane, NDArray[np.int64]]]:
        """Each slice of labels as it is to be, (rows, columns); `read` gives it as it is, `values` are the labels."""
        table = np.zeros(256, dtype=np.int64)
        table[list(values)] = list(values.values())
        for plane, found in self._found.items():
            yield plane, merged(read(plane), table[found], overlap)


def require_automatic(reference: str) -> None:
    """Make sure, before it is loaded, that the model of a reference labels without prompts.

    Raises
    ------
    UnsupportedError
        It needs prompts.
    ModelError
        There is no such model.
    """
    row, _ = registry.parse(reference)
    if not row.automatic:
        raise _needs_prompts(row.title)


def require_labeller(model: Model) -> Labeller:
    """The model, if it labels without prompts; UnsupportedError when it needs them."""
    if isinstance(model, Labeller):
        return model
    raise _needs_prompts(model.spec.title)


def names_of(labeller: Labeller) -> dict[int, str]:
    """The name of each value that it writes."""
    return dict(enumerate(labeller.classes, start=1))


def doubt(image: Image) -> str:
    """What the user should know before an image is labelled; empty when it looks like CT.

    Raises
    ------
    ImageError
        The image cannot be read.
    """
    return "" if looks_like_ct(image.sample()) else NO_CT


def axial_planes(image: Image, slices: Iterable[int] | None = None) -> list[Plane]:
    """The axial slices of an image, in order; of every frame where there is a time axis.

    Parameters
    ----------
    image : Image
        (rows, columns), (z, rows, columns) or (t, z, rows, columns).
    slices : iterable of int, optional
        Numbers along z; all when left out.

    Raises
    ------
    ImageError
        The image is in colour, so its values are no Hounsfield units.
    GeometryError
        A slice lies outside the image, the image has one slice only, or there is none to label.
    """
    if image.rgb:
        raise ImageError("A colour image cannot be labelled: the model needs the Hounsfield units of a CT.")
    shape = image.grid.shape
    outer: list[Iterable[int]] = [range(n) for n in shape[:-2]]
    if slices is not None:
        if not outer:
            raise GeometryError("This image is a single slice; leave the slice numbers out.")
        outer[-1] = sorted(set(slices))
    rows = len(outer)
    planes = [Plane((rows, rows + 1), tuple(enumerate(at))) for at in itertools.product(*outer)]
    if not planes:
        raise GeometryError("There is no slice to label. Give at least one slice number, or leave them out.")
    for plane in planes:
        plane.check(shape)
    return planes


def label_plane(labeller: Labeller, image: Image, plane: Plane) -> NDArray[np.uint8]:
    """Label one slice, (rows, columns): 0 is background, other values are numbered as `names_of` says.

    May be called on any thread.

    Raises
    ------
    ImageError
        The slice cannot be read.
    LabelsError, ModelError, MemoryShortError
        The model failed on it.
    """
    where = ", ".join(str(i) for _, i in plane.index) or "the only one"
    values = _read(image, plane, where)
    try:
        found = labeller.label(values)
    except MedsamError:
        raise
    except MemoryError as error:
        raise MemoryShortError("Not enough memory for this slice. Close other data and try again.") from error
    except Exception as error:
        text = f"{labeller.spec.title} failed on slice {where} ({type(error).__name__}: {error}). Please report it."
        raise ModelError(text) from error
    if int(found.max(initial=0)) > len(labeller.classes):
        raise LabelsError(f"{labeller.spec.title} gave slice {where} a label without a name. Please report it.")
    return found


def _read(image: Image, plane: Plane, where: str) -> NDArray[Any]:
    try:
        return image.plane(plane)
    except (MedsamError, MemoryError):
        raise
    except Exception as error:
        text = f"Slice {where} of {image.name!r} could not be read: {error}. Check the file and open it again."
        raise ImageError(text) from error


def _plain(name: str) -> str:
    return name.strip().casefold()


def _needs_prompts(title: str) -> UnsupportedError:
    alone = ", ".join(row.name for row in registry.TABLE if row.automatic)
    return UnsupportedError(
        f"{title} needs prompts and cannot label by itself. Draw a box or click a point, or choose one of: {alone}."
    )
