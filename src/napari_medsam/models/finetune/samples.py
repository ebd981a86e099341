"""One object of a plane as the network of the `starter` sees it in training: views, targets and prompts. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_medsam.models.finetune.people import BoolArray, Rng, bounds, box_about, drawn_box, first_try
from napari_medsam.models.starter_views import CONTEXT, View

Maps = tuple[NDArray[np.uint8], ...]
Sample = tuple[Maps, bool, bool]
"""View, target, inside, box and given mask, each (size, size); whether there is a box, and a given mask."""


@dataclass(frozen=True)
class Shares:
    """Which prompts samples begin with.

    Parameters
    ----------
    size : int
        Samples a side of a view.
    without_box : float
        Share of samples whose object is only pointed at.
    with_mask : float
        Share of samples that begin with a mask by another tool.
    """

    size: int = 64
    without_box: float = 0.08
    with_mask: float = 0.12


@dataclass(frozen=True)
class Batch:
    """Samples stacked: (n, size, size) uint8 views, targets, insides, boxes and given masks; (n,) which has which."""

    views: NDArray[np.uint8]
    targets: NDArray[np.uint8]
    inside: NDArray[np.uint8]
    boxes: NDArray[np.uint8]
    given: NDArray[np.uint8]
    has_box: NDArray[np.bool_]
    has_mask: NDArray[np.bool_]

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Batch:
        """Stack samples."""
        maps, has_box, has_mask = zip(*samples, strict=True)
        views, targets, inside, boxes, given = (np.stack(m) for m in zip(*maps, strict=True))
        return cls(views, targets, inside, boxes, given, np.array(has_box), np.array(has_mask))


def sample(plane: NDArray[np.uint8], mask: BoolArray, rng: Rng, shares: Shares) -> Sample:
    """One object of a plane; turned so that the box is not taller than wide, mirrored at random."""
    kind = rng.random()
    has_box, has_mask = bool(kind >= shares.without_box), bool(kind >= 1 - shares.with_mask)
    given = first_try(mask, rng) if has_mask else mask
    box = drawn_box(mask, rng)
    if has_mask and rng.random() < 0.7:
        box = box_about(given)
    if has_box and box[2] - box[0] > box[3] - box[1]:
        plane, mask, given, box = plane.T, mask.T, given.T, (box[1], box[0], box[3], box[2])
    context = CONTEXT * float(np.exp(rng.uniform(-0.2, 0.25))) if rng.random() < 0.5 else CONTEXT
    view = View.around(box, shares.size, context) if has_box else loose_view(mask, rng, shares.size)
    none = np.zeros((shares.size,) * 2, np.float32)
    cover = view.box_map(box) if has_box else none
    start = view.look(given) if has_mask else none
    shape = (plane.shape[0], plane.shape[1])
    maps = (view.look(plane), view.look(mask) * 255, view.inside(shape) * 255, cover * 255, start * 255)
    out = [np.rint(m).astype(np.uint8) for m in maps]
    for axis in (0, 1):
        if rng.random() < 0.5:
            out = [np.flip(m, axis) for m in out]
    return tuple(out), has_box, has_mask


def loose_view(mask: BoolArray, rng: Rng, size: int) -> View:
    """A square view of unknown scale about a point of the object: what there is before any box."""
    row0, column0, row1, column1 = bounds(mask)
    side = max(row1 - row0, column1 - column0, 5) * float(np.exp(rng.uniform(np.log(1.15), np.log(5))))
    at = np.argwhere(mask)[int(rng.integers(np.count_nonzero(mask)))]
    return View(at[0] + 0.5 - side / 2, at[1] + 0.5 - side / 2, side, side, size)
