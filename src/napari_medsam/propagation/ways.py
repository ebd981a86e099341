"""Which ways through a volume a model offers, the best first."""

from __future__ import annotations

from napari_medsam.models.base import Model, Propagator, Segmenter
from napari_medsam.models.row import Row
from napari_medsam.prompts import PromptKind
from napari_medsam.propagation.plan import Way


def ways_of(model: Model | Propagator | Row) -> tuple[Way, ...]:
    """The ways that a model offers, the best first; of one that is not loaded, those that its row promises.

    Interpolation needs no model, so it is always among them. A row of SAM 2 promises its memory, which a checkpoint
    without the memory's weights does not keep: ask again once the model is loaded.
    """
    if isinstance(model, Row):
        memory, asked, takes = model.layout.startswith("sam2"), not model.automatic, model.takes
    else:
        memory, asked, takes = isinstance(model, Propagator), isinstance(model, Segmenter), model.spec.takes
    offered = {Way.MEMORY: memory, Way.SLICES: asked, Way.BOX: asked and PromptKind.BOX in takes, Way.SHAPES: True}
    return tuple(way for way, there in offered.items() if there)


def default_way(model: Model | Propagator | Row) -> Way:
    """The best way that a model offers."""
    return ways_of(model)[0]
