"""All that belongs to one image layer in a viewer; put aside and taken up again as a whole."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from napari_medsam.errors import LabelsError, PromptError
from napari_medsam.geometry import Plane
from napari_medsam.labels import LabelStore
from napari_medsam.masks import BoolArray
from napari_medsam.models import registry
from napari_medsam.preparation import Readiness
from napari_medsam.prompts import MaskPrompt, Prompts
from napari_medsam.propagation.provenance import Kind, Reviewed
from napari_medsam.propagation.stack import Stack
from napari_medsam.session import Draft, Session
from napari_medsam.widgets.collect import Drawn, own_key
from napari_medsam.widgets.coordinates import layer_shape
from napari_medsam.widgets.layer_image import image_of
from napari_medsam.widgets.prompt_layers import Drawing
from napari_medsam.widgets.reach import Reaches
from napari_medsam.widgets.target import Target
from napari_medsam.widgets.windows import WindowChoice

SAME = 0.1
"""A proposal is of the object chosen if it shares this part of the smaller of the two: neighbours may touch."""


@dataclass(frozen=True)
class Start:
    """An object of the labels that was taken up to be refined: what it had on a slice then.

    Parameters
    ----------
    plane : Plane
    mask : MaskPrompt
    value : int
        Its label.
    labels : LabelStore
        Where it is; in others the label may be of another object.
    """

    plane: Plane
    mask: MaskPrompt
    value: int
    labels: LabelStore


@dataclass
class Workspace:
    """One image layer with its session, and the views of it."""

    layer: Any
    session: Session
    target: Target
    window_choice: WindowChoice
    selected: str = ""
    drawn: dict[str, Drawn] = field(default_factory=dict)
    """What was drawn when the prompt layers were last read, by draft key."""
    done: set[tuple[Plane, Prompts]] = field(default_factory=set)
    """What was accepted or cleared of the user's own layers, which are not emptied."""
    prompts: Drawing = field(default_factory=Drawing)
    """What was drawn in the plugin's layers when this was put aside."""

    reaches: Reaches = field(default_factory=Reaches)
    """How far runs may go."""

    readiness: Readiness = field(default_factory=Readiness)
    """Which slices are encoded, as far as that is known."""

    destined: dict[int, int] = field(default_factory=dict)
    """The object that prompts belong to which were copied on, by their number in the plugin's own layers."""

    starts: dict[int, Start] = field(default_factory=dict)
    """What proposals start from that refine an object, by their number in the plugin's own layers."""

    @property
    def draft(self) -> Draft | None:
        """The selected proposal."""
        return self.session.drafts.get(self.selected)

    @property
    def revised(self) -> dict[str, int]:
        """The object whose pixels on its slice a proposal is to replace, by draft key; others are added to the target.

        One that refines an object, one copied on for it, and one that overlaps the target where a run has found it.
        0 for the others.
        """
        return {d.key: self._replaced_by(d) for d in self.drawn.values()}

    def revise(self) -> None:
        """Say again what each proposal replaces: its mask, the labels or the object chosen may have changed."""
        self.session.revise(self.revised)

    def require_correction(self, draft: Draft, value: int, stack: Stack) -> None:
        """Make sure that a proposal on a slice of a stack can be meant for the object `value`, chosen or not.

        Raises
        ------
        PromptError
            It is of another object, or of none; or the user has given what is there, so it is not changed unasked.
        """
        name = self.session.names.get(value, f"object {value}")
        owner = draft.revises or self.session.target or value
        if owner != value:
            raise PromptError(f"The proposal here is not of {name}. Choose {name} under Object, or accept it first.")
        if draft.revises or self.session.target:
            return
        known = self._known(draft.plane, value, stack.axis)
        if known is None or known.empty:
            return
        if known.kind is not Kind.GROWN:
            raise PromptError(
                f"You have given or corrected {name} on this slice already, so the proposal does not replace it. Use "
                f"Refine to change {name} here, or choose {name} under Object to add the proposal to it."
            )
        if not self._overlaps(draft, value):
            raise PromptError(
                f"The proposal here does not touch {name}. Choose {name} under Object to add it, or accept it first."
            )

    def told(self, draft: Draft, seconds: float) -> str:
        """What is said of an answer: how long it took, what becomes of it, and what the model notes."""
        said, target = [f"Ready - {1e3 * seconds:.0f} ms"], self.session.target
        if draft.revises:
            name = self.session.names.get(draft.revises, draft.revises)
            said.append(f"Accept puts it in the place of {name} on this slice")
        elif target is not None:
            said.append(f"Accept adds it to {self.session.names.get(target, f'object {target}')}")
        if draft.prediction is not None and draft.prediction.note:
            said.append(draft.prediction.note)
        return ". ".join(said)

    def require_place(self, layers: Collection[Any]) -> None:
        """Make sure that what was found on the image can still be written; `layers` are those of the viewer.

        Raises
        ------
        LabelsError
            The image has another shape now, or it is gone and has no labels.
        """
        if layer_shape(self.layer) != self.session.image.grid.shape:
            raise LabelsError("The image has another shape now.")
        if self.layer not in layers and self.target.layer not in layers:
            raise LabelsError("The image was removed, and it had no labels.")

    def with_starts(self, drawn: Mapping[str, Drawn]) -> dict[str, Drawn]:
        """What is drawn, together with the masks to start from."""
        together = dict(drawn)
        for number, start in self.starts.items():
            key = own_key(number)
            marks = together.get(key, Drawn(key, start.plane, Prompts(), number))
            if marks.plane == start.plane:
                together[key] = replace(marks, prompts=replace(marks.prompts, mask=start.mask))
        return together

    def _replaced_by(self, drawn: Drawn) -> int:
        if drawn.prompts.mask is not None and drawn.own in self.starts:  # only starts give masks to what is drawn
            return self.starts[drawn.own].value
        if drawn.own in self.destined:
            return self.destined[drawn.own]
        target, draft = self.session.target, self.session.drafts.get(drawn.key)
        if target is not None and draft is not None and self._overlaps(draft, target):
            for axis, _ in drawn.plane.index:
                known = self._known(drawn.plane, target, axis)
                if known is not None and known.kind is Kind.GROWN:
                    return target
        return 0

    def _known(self, plane: Plane, value: int, axis: int) -> Reviewed | None:
        """What is known of an object on a slice, along an axis."""
        stack = Stack.through(plane, self.session.image.grid.shape, axis)
        return self.session.reviewed(value, stack, dict(plane.index)[axis])

    def _overlaps(self, draft: Draft, value: int) -> bool:
        """Whether the mask of a proposal is where the object is on its slice; one without a mask is not."""
        mask = draft.mask
        if mask is None:
            return False
        there: BoolArray = np.asarray(self.session.labels.read(draft.plane) == value)
        smaller = min(np.count_nonzero(mask), np.count_nonzero(there))
        return bool(smaller and np.count_nonzero(mask & there) >= SAME * smaller)

    def drop_lost_starts(self) -> bool:
        """Forget starts whose object has nothing on its slice now, or is in other labels; whether there were any."""
        labels = self.session.labels
        lost = [
            number
            for number, start in self.starts.items()
            if start.labels is not labels or not (labels.read(start.plane) == start.value).any()
        ]
        for number in lost:
            del self.starts[number]
        return bool(lost)


def open_workspace(viewer: Any, layer: Any, model: str = registry.DEFAULT) -> Workspace:
    """A new workspace on an image layer.

    Raises
    ------
    ImageError, GeometryError, IntensityError
        The layer cannot be segmented.
    """
    image = image_of(layer)
    choice = WindowChoice(layer, image)
    session = Session(image, window=choice.window, model=model)
    return Workspace(layer, session, Target(viewer, layer, session), choice)
