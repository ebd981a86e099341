"""All that belongs to one image layer in a viewer; put aside and taken up again as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from napari_medsam.geometry import Plane
from napari_medsam.labels import LabelStore
from napari_medsam.models import registry
from napari_medsam.prompts import MaskPrompt, Prompts
from napari_medsam.session import Draft, Session
from napari_medsam.widgets.collect import Drawn, own_key
from napari_medsam.widgets.layer_image import image_of
from napari_medsam.widgets.prompt_layers import Drawing
from napari_medsam.widgets.target import Target
from napari_medsam.widgets.windows import WindowChoice


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

    starts: dict[int, Start] = field(default_factory=dict)
    """What proposals start from that refine an object, by their number in the plugin's own layers."""

    @property
    def draft(self) -> Draft | None:
        """The selected proposal."""
        return self.session.drafts.get(self.selected)

    @property
    def revised(self) -> dict[str, int]:
        """The object that each refining proposal is for, by draft key; only starts give masks to what is drawn."""
        return {d.key: self.starts[d.own].value for d in self.drawn.values() if d.prompts.mask is not None}

    def with_starts(self, drawn: Mapping[str, Drawn]) -> dict[str, Drawn]:
        """What is drawn, together with the masks to start from."""
        together = dict(drawn)
        for number, start in self.starts.items():
            key = own_key(number)
            marks = together.get(key, Drawn(key, start.plane, Prompts(), number))
            if marks.plane == start.plane:
                together[key] = replace(marks, prompts=replace(marks.prompts, mask=start.mask))
        return together

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
