"""Where accepted masks go: the Labels layer in use, its grid, and the names of its objects."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from napari_medsam.errors import LabelsError
from napari_medsam.geometry import Plane
from napari_medsam.labelling import Findings, Labelled
from napari_medsam.labels import ArrayLabels, values_of
from napari_medsam.propagation.gathering import NEW
from napari_medsam.propagation.growth import Growth, Written
from napari_medsam.session import Accepted, Session
from napari_medsam.widgets.compat import is_closing
from napari_medsam.widgets.coordinates import insert_above
from napari_medsam.widgets.layer_labels import (
    LayerLabels,
    empty_labels,
    names_of,
    new_labels_kwargs,
    require_same_grid,
    show_names,
    values_in,
)


class Target:
    """The Labels layer that a session's accepts go to; made at the first accept unless one was chosen."""

    def __init__(self, viewer: Any, image: Any, session: Session) -> None:
        self.on_voxels: Callable[[], None] | None = None
        """Called when voxels may have changed, also by napari's own undo; often, so it should only note it."""
        self._viewer = viewer
        self._image = image
        self._session = session
        self._at: tuple[float, ...] = ()
        self.layer: Any = None

    def choose(self, layer: Any) -> None:
        """Continue an existing Labels layer, or make a new one at the next accept (None).

        Raises
        ------
        LabelsError
            The layer lies on another grid or cannot be written; the target in use stays.
        """
        self.require(layer)
        if layer is None:
            self.forget()
            return
        self._session.labels = LayerLabels(layer)
        self._session.names = {v: f"object {v}" for v in values_in(layer)} | names_of(layer)
        self._session.target = None
        self._follow(layer)

    def require(self, layer: Any) -> None:
        """Raise what `choose` would raise; nothing changes."""
        if layer is not None:
            require_same_grid(layer, self._image)
            LayerLabels.require_plain(layer)

    def forget(self) -> None:
        """Let go of the layer, as when it was deleted."""
        self._follow(None)
        self._session.labels = ArrayLabels.empty(self._session.image.grid.shape)
        self._session.names = {}
        self._session.target = None

    def accept(self, key: str) -> Accepted | None:
        """Accept a draft of the session into the layer, which is made if there is none; see `Session.accept`.

        Raises
        ------
        LabelsError
            The labels have been moved or replaced since they were chosen, or the mask cannot be written.
        """
        self.check()
        if self.layer is None:
            self._session.check_accept(key)
            draft = self._session.drafts[key]
            if draft.mask is not None and not draft.pending:
                self._make()
        accepted = self._session.accept(key)
        self.show_names()
        if accepted is not None:
            self.layer.selected_label = accepted.value  # so that the brush corrects the same object
        return accepted

    def check(self) -> None:
        """Make sure that the layer, if one was chosen and is still there, can take what is found on the image.

        Raises
        ------
        LabelsError
            The labels have been moved or replaced since they were chosen.
        """
        if self.layer is not None and self.layer not in self._viewer.layers:
            self.forget()
        if self.layer is not None:
            require_same_grid(self.layer, self._image)

    def require_room(self, growth: Growth) -> None:
        """Make sure, as far as that can be known before, that what a run finds can be written into the layer.

        Raises
        ------
        LabelsError
            As `check`; or the layer cannot be written to, or has no room for the label of a new object.
        """
        self.check()
        if isinstance(self._session.labels, LayerLabels):
            new = sum(each.value == NEW for each in growth.objects)
            self._session.labels.require_writable(self._session.next_value() - 1 + new if new else 0)

    @property
    def lasts(self) -> bool:
        """Whether what is written now stays anywhere: a viewer that closes takes no new layer."""
        return self.layer is not None or not is_closing(self._viewer)

    def write(self, findings: Findings) -> Labelled:
        """Write what was found without prompts into the layer, which is made if there is none.

        Raises
        ------
        LabelsError
            The labels have been moved or replaced, or cannot be written to.
        """
        with self._layer_to_write():
            return self._session.write_labels(findings)

    def write_growth(self, growth: Growth) -> Written:
        """Write what a run has found into the layer, which is made if there is none; see `Session.write_growth`.

        Raises
        ------
        LabelsError
            The labels have been moved or replaced, or cannot be written to.
        """
        with self._layer_to_write():
            written = self._session.write_growth(growth)
        if written.pixels:
            self.layer.selected_label = max(written.pixels)  # so that the brush corrects the same object
        return written

    def anew(self) -> None:
        """Go on in new labels; those in use stay as they are, beside."""
        self._make()
        self._session.names = {}
        self._session.target = None

    def to_refine(self) -> int:
        """The object to refine: the one that accepts go to, else the one that the layer's brush paints.

        That is the one that was accepted last, unless the user picked another.

        Raises
        ------
        LabelsError
            There are no labels, or it is not said which object.
        """
        if self.layer is None or not self._session.names:
            raise LabelsError("There is no object to refine yet. Accept a mask first, or choose Labels under More.")
        value = self.layer.selected_label if self._session.target is None else self._session.target
        if value not in self._session.names:
            raise LabelsError("Choose the object to refine under Object first.")
        return int(value)

    def notice(self, plane: Plane) -> bool:
        """Name values that the brush has made on a slice; whether there were any."""
        if self.layer is None:
            return False
        new = [v for v in values_of(self._session.labels.read(plane)) if v not in self._session.names]
        for value in new:
            self._session.rename(value, f"object {value}")
        return bool(new)

    def show_names(self) -> None:
        """Put the session's object names into the layer."""
        if self.layer is not None and names_of(self.layer) != self._session.names:
            show_names(self.layer, self._session.names)

    @contextlib.contextmanager
    def _layer_to_write(self) -> Iterator[None]:
        """The layer, checked, and made if there is none; the names in it follow, also where writing fails half way."""
        self.check()
        if self.layer is None:
            self._make()
        try:
            yield
        finally:
            self.show_names()

    def _make(self) -> None:
        from napari.layers import Labels

        layer = Labels(empty_labels(self._image), **new_labels_kwargs(self._image))
        insert_above(self._viewer, self._image, layer)
        self._session.labels = labels = LayerLabels(layer)
        self._follow(layer)
        labels.know_empty()

    def _follow(self, layer: Any) -> None:
        if self.layer is not None:
            self.layer.events.set_data.disconnect(self._on_set_data)
        self.layer = layer
        if layer is not None:
            layer.events.set_data.connect(self._on_set_data)
        self._on_set_data()

    def _on_set_data(self, event: Any = None) -> None:
        at, self._at = self._at, tuple(self._viewer.dims.point)
        labels = self._session.labels
        if at == self._at and isinstance(labels, LayerLabels):  # drawn again without a move: somebody has changed it
            labels.doubt()
        if self.on_voxels is not None:
            self.on_voxels()
