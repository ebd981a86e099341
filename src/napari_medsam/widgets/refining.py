"""An object of the labels taken up as a proposal, to be changed."""

from __future__ import annotations

from napari_medsam.errors import LabelsError
from napari_medsam.prompts import MaskPrompt
from napari_medsam.widgets.collect import UNSET
from napari_medsam.widgets.coordinates import View
from napari_medsam.widgets.proposals import Proposals
from napari_medsam.widgets.workspace import Start


def take_up(proposals: Proposals, tool: str) -> None:
    """Propose what an object has on the shown slice, to be changed; accepted, it takes the object's place there.

    Other proposals are accepted first, as by the next box. `tool` is made ready, "" for none.

    Raises
    ------
    LabelsError
        It is not said which object, or it has nothing there; see `Target.to_refine`.
    GeometryError
        No slice is shown.
    PromptError
        A prompt is being dragged.
    """
    work = proposals.work
    if work is None:
        return
    proposals.catch_up()
    plane = View(proposals.viewer, work.layer).plane()
    for key in [d.key for d in work.drawn.values() if d.own != UNSET and d.prompts.mask is None]:
        if key not in proposals.held:
            proposals.accept(key)
    value = work.target.to_refine()
    labels = work.session.labels
    pixels = labels.read(plane) == value
    if not pixels.any():
        name = work.session.names.get(value, f"object {value}")
        raise LabelsError(f"{name} has nothing on this slice. Turn to one that shows it, or choose another Object.")
    taken = (n for n, start in work.starts.items() if (start.plane, start.value) == (plane, value))
    number = next(taken, None) or proposals.layers.new_number()
    work.starts[number] = Start(plane, MaskPrompt(pixels), value, labels)
    if tool:
        proposals.use(tool)
    proposals.read()
