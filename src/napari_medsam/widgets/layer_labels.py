"""A Labels layer of the viewer as the session's label store, and how new ones are made.

Accepted masks go through `Labels.data_setitem`, so they share napari's undo history with painted strokes. `.data` is
assigned in one case only: to widen the type. The content stays the same then, so the history stays right.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import LabelsError, MedsamError
from napari_medsam.geometry import Grid, Plane
from napari_medsam.image import KEY
from napari_medsam.labels import FIRST_DTYPE, Step, dtype_for, indices_of, values_of
from napari_medsam.masks import BoolArray
from napari_medsam.widgets.compat import latest_step
from napari_medsam.widgets.coordinates import grid_of, layer_shape, spatial_kwargs

INDEX, NAME = "index", "name"
"""Columns of a Labels layer's features; napari takes `index` for the label value."""


ELSEWHERE = "Choose new labels under More."
"""What to do about labels that cannot be used."""

UNKNOWN = -1
"""In place of the highest label value while nobody has looked."""


class LayerLabels:
    """A LabelStore over a napari Labels layer.

    Raises
    ------
    LabelsError
        The layer is multiscale, or its array cannot be written by index (dask).
    """

    def __init__(self, layer: Any) -> None:
        self.require_plain(layer)
        self.layer = layer
        self._highest = UNKNOWN
        self._array: Any = None
        self._drawing = False
        layer.events.paint.connect(self._on_paint)

    @staticmethod
    def require_plain(layer: Any) -> None:
        """Raise LabelsError unless a Labels layer is one array that can be written by index."""
        if layer.multiscale or not hasattr(layer.data, "__setitem__") or type(layer.data).__module__.startswith("dask"):
            raise LabelsError(
                f"The labels {layer.name!r} cannot be written to (multiscale or dask). Choose new labels, or convert "
                "the layer to a plain array first."
            )

    def require_writable(self, highest: int) -> None:
        """Make sure that labels up to `highest` can be written, before there is anything to write.

        Raises
        ------
        LabelsError
            The array is read-only, or its type cannot hold so high a label.
        """
        data = self.layer.data
        self._require_writeable_array()
        self._wider(np.array([highest]))
        if not isinstance(data, np.ndarray) and data.ndim and all(data.shape):
            first = (0,) * data.ndim
            with self._explained("written to"):
                data[first] = data[first]  # no other way tells it for arrays of all kinds

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis."""
        return layer_shape(self.layer)

    def read(self, plane: Plane) -> NDArray[Any]:
        """A copy of the labels of one slice."""
        plane.check(self.shape)
        with self._explained("read"):
            return np.array(self.layer.data[plane.key])

    def write(self, plane: Plane, where: BoolArray, value: int) -> None:
        """Set the pixels `where` of one slice to `value`, as one step of napari's undo history."""
        if not (where & (self.read(plane) != value)).any():
            return
        self._prepare_for(np.array([value]))
        with self._explained("written to"):
            self.layer.data_setitem(indices_of(plane, where), value, refresh=False)
        self._draw()

    def put(self, slices: Iterable[tuple[Plane, NDArray[Any]]]) -> None:
        """Give whole slices new values, as one step of napari's undo history; see `LabelStore.put`."""
        failed: Exception | None = None
        with self.layer.block_history():
            try:
                for plane, values in slices:
                    self._put(plane, values)
            except Exception as error:  # raised in here, napari would count what is done to its next step
                failed = error
        self._draw()
        if failed is not None:
            raise failed

    def latest(self) -> Step:
        """The last step of the layer's history, painted or accepted: the one that `undo` would take back."""
        return latest_step(self.layer)

    def highest(self) -> int:
        """The highest label value in use, 0 when there is none.

        To look at a whole volume takes tens of milliseconds, so it is done once; what is painted or accepted then
        counts. What was erased meanwhile may still count.
        """
        data = self.layer.data
        if self._highest == UNKNOWN or data is not self._array:
            self._array, self._highest = data, _highest(data)
        return self._highest

    def know_empty(self) -> None:
        """The labels were made just now and hold nothing: they need not be looked at for the highest."""
        self._array, self._highest = self.layer.data, 0

    def doubt(self) -> None:
        """The voxels may have changed in another way than by painting: look at all of them when asked next."""
        if not self._drawing:
            self._highest = UNKNOWN

    def undo(self) -> None:
        """Take back the last step of the layer's history, painted or accepted."""
        with self._explained("written to"):
            self.layer.undo()
        self.doubt()

    def redo(self) -> None:
        """Do the last undone step again."""
        with self._explained("written to"):
            self.layer.redo()
        self.doubt()

    def _draw(self) -> None:
        self._drawing = True
        try:
            self.layer.refresh()
        finally:
            self._drawing = False

    def _on_paint(self, event: Any) -> None:
        """Something was painted: (indices, before, after) by index, in a form of napari's own by the brush."""
        for change in event.value if self._highest != UNKNOWN else ():
            if type(change) is tuple and len(change) == 3:
                self._highest = max(self._highest, int(np.max(change[2], initial=0)))
            else:
                self._highest = UNKNOWN
                return

    def _put(self, plane: Plane, values: NDArray[Any]) -> None:
        differs = values != self.read(plane)
        if differs.any():
            self._prepare_for(values[differs])
            with self._explained("written to"):
                self.layer.data_setitem(indices_of(plane, differs), values[differs], refresh=False)

    def _prepare_for(self, values: NDArray[Any]) -> None:
        """Widen the type for (k,) values if need be, and make sure that they can be written."""
        self._require_writeable_array()
        wider = self._wider(values)
        if wider != self.layer.data.dtype:
            self.layer.data = self.layer.data.astype(wider)

    def _wider(self, values: NDArray[Any]) -> np.dtype[Any]:
        """The type that the array needs for (k,) values, if it can have it."""
        dtype = np.dtype(self.layer.data.dtype)
        wider = dtype_for(dtype, values)
        if wider != dtype and not isinstance(self.layer.data, np.ndarray):
            where = f"{dtype}, the type of {self.layer.name!r} on disk"
            raise LabelsError(f"Label {values.max()} does not fit {where}. Choose new labels.")
        return wider

    def _require_writeable_array(self) -> None:
        if isinstance(self.layer.data, np.ndarray) and not self.layer.data.flags.writeable:
            raise LabelsError(f"The labels {self.layer.name!r} are read-only. Choose new labels, or a copy of these.")

    @contextlib.contextmanager
    def _explained(self, done: str) -> Iterator[None]:
        """What arrays of any kind raise becomes a LabelsError that says what could not be done."""
        try:
            yield
        except (MedsamError, MemoryError):
            raise
        except Exception as error:
            why = str(error).rstrip(".") or type(error).__name__
            raise LabelsError(f"The labels {self.layer.name!r} cannot be {done}: {why}. {ELSEWHERE}") from error


def require_same_grid(labels_layer: Any, image_layer: Any) -> None:
    """Raise LabelsError unless the Labels layer has the image's voxels in the image's places."""
    labels, image = grid_of(labels_layer), grid_of(image_layer)
    if labels.shape != image.shape:
        raise LabelsError(
            f"{labels_layer.name!r} has {labels.shape} voxels and {image_layer.name!r} {image.shape}. "
            "Choose labels made on this image, or new ones."
        )
    if not labels.same_as(image):
        raise LabelsError(
            f"{labels_layer.name!r} has the image's shape but lies elsewhere: {_place(labels)}, the image "
            f"{_place(image)}. Give it the image's scale and translate, or choose new labels."
        )


def _place(grid: Grid) -> str:
    spacing = ", ".join(f"{s:g}" for s in grid.spacing)
    return f"spacing {spacing} and origin {', '.join(f'{o:g}' for o in grid.affine[:-1, -1])}"


def new_labels_kwargs(image_layer: Any) -> dict[str, Any]:
    """What `viewer.add_labels(np.zeros(shape, FIRST_DTYPE), **kwargs)` needs to make labels on an image's grid.

    The source's geometry travels along, so that the labels are saved with it.
    """
    metadata = {KEY: dict(image_layer.metadata[KEY])} if KEY in image_layer.metadata else {}
    return {"name": f"{image_layer.name} labels", "metadata": metadata, "opacity": 0.5, **spatial_kwargs(image_layer)}


def empty_labels(image_layer: Any) -> NDArray[Any]:
    """No labels yet, on the voxels of an image."""
    return np.zeros(layer_shape(image_layer), dtype=FIRST_DTYPE)


def names_of(layer: Any) -> dict[int, str]:
    """The object names that a Labels layer holds in its features (columns `index` and `name`)."""
    features = layer.features
    if INDEX not in features or NAME not in features:
        return {}
    return {int(i): str(n) for i, n in zip(features[INDEX], features[NAME], strict=True) if int(i) > 0}


def show_names(layer: Any, names: Mapping[int, str]) -> None:
    """Put object names into the layer's features, beside what the user has there; napari shows them under the mouse.

    Rows of other values and all other columns stay; rows of names that are gone (undone) leave.
    """
    table = layer.features.copy()
    if INDEX not in table:
        table[INDEX] = np.arange(len(table))  # napari's own meaning of a table without it
    if NAME not in table:
        table[NAME] = ""
    table = table[~table[INDEX].isin(set(names_of(layer)) - set(names))].set_index(INDEX)
    table[NAME] = table[NAME].astype(object)
    for value, name in sorted(names.items()):
        table.loc[value, NAME] = name
    layer.features = table.reset_index()


def values_in(layer: Any) -> set[int]:
    """The values above 0 in a Labels layer, read slice by slice."""
    return {value for one in _slices(layer.data) for value in values_of(one)}


def _highest(data: Any) -> int:
    if isinstance(data, np.ndarray):
        return int(data.max(initial=0))
    return max((int(one.max(initial=0)) for one in _slices(data)), default=0)


def _slices(data: Any) -> Iterator[NDArray[Any]]:
    """An array of any kind, a part of it at a time."""
    return (np.asarray(data[i]) for i in range(data.shape[0])) if data.ndim > 2 else iter((np.asarray(data),))
