"""All that belongs to one image layer in a viewer; put aside and taken up again as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from napari_medsam.geometry import Plane
from napari_medsam.models import registry
from napari_medsam.prompts import Prompts
from napari_medsam.session import Draft, Session
from napari_medsam.widgets.collect import Drawn
from napari_medsam.widgets.layer_image import image_of
from napari_medsam.widgets.prompt_layers import Drawing
from napari_medsam.widgets.target import Target
from napari_medsam.widgets.windows import WindowChoice


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

    @property
    def draft(self) -> Draft | None:
        """The selected proposal."""
        return self.session.drafts.get(self.selected)


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
