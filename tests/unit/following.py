"""A small volume with two objects to follow, and a model that finds what is bright in its box, for tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.embeddings import EmbeddingStore
from napari_medsam.geometry import Grid, Plane
from napari_medsam.image import Image
from napari_medsam.intensity import Window
from napari_medsam.models.base import Embedding, Prediction
from napari_medsam.prompts import Box, Prompts
from napari_medsam.propagation.growth import Growth
from napari_medsam.propagation.plan import Way
from napari_medsam.propagation.prompting import Prompting
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.stopping import StopRules
from napari_medsam.propagation.walk import walk
from napari_medsam.session import Session

from ..contract.fakes import BoxFake

SHAPE = (9, 12, 14)
SPACING = (3.0, 1.0, 2.0)
ORIGIN = (-20.5, 7.25, 100.0)
WINDOW = Window(0, 255)
STACK = Stack((1, 2), 0, SHAPE[0])
HOW: dict[str, Any] = {"way": Way.SLICES, "rules": StopRules(growth=9, shrinkage=0, overlap=0, score=0, look=99)}
WIDE = Prompting(margin=2.0)

BAR = slice(1, 8)
"""Slices of the L; none of it is on the first slice, nor on the last."""


class BrightFake(BoxFake):
    """Finds the pixels above 128 in its box; its score falls from slice to slice with their mean."""

    spec = dataclasses.replace(BoxFake.spec, name="bright-fake", title="Bright (a fake)", digest="bright-fake-1")

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        """Keep the plane."""
        self.encoded += 1
        return Embedding(self.spec.digest, (plane.shape[0], plane.shape[1]), {"plane": np.array(plane)})

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        """Answer with what is bright in the box; as the second candidate with the box."""
        self.spec.check(prompts)
        box = prompts.fitted(embedding.shape).box
        assert box is not None
        plane = np.asarray(embedding.arrays["plane"])
        grey = plane if plane.ndim == 2 else plane[..., 0]
        inside = np.zeros(grey.shape, dtype=bool)
        inside[box.slices] = True
        bright = inside & (grey > 128)
        score = float(grey[bright].mean()) / 255 if bright.any() else 0.0
        return Prediction(np.stack([bright, inside]), np.array([score, 0.1]))


def truth() -> NDArray[np.uint8]:
    """An L on slices 1 to 7, whose foot grows, is 1; a block on slices 3 to 5 is 2."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    for z in range(BAR.start, BAR.stop):
        labels[z, 2:8, 3] = 1
        labels[z, 7, 3 : 5 + z // 3] = 1
    labels[3:6, 1:4, 9:13] = 2
    return labels


def volume() -> NDArray[np.uint8]:
    """The objects, brighter on lower slices, on grey."""
    out = np.full(SHAPE, 40, dtype=np.uint8)
    for z in range(SHAPE[0]):
        out[z][truth()[z] > 0] = 240 - 10 * z
    return out


def document(data: Any = None, **more: Any) -> Session:
    """A session on the volume."""
    image = Image(volume() if data is None else data, Grid.from_spacing(SHAPE, SPACING, ORIGIN))
    return Session(image, window=WINDOW, **more)


def box_of(value: int, plane: Plane) -> Prompts:
    """A box one pixel wider than an object on a slice."""
    rows, columns = np.nonzero(truth()[plane.key] == value)
    return Prompts(Box(int(rows.min()) - 1, int(columns.min()) - 1, int(rows.max()) + 2, int(columns.max()) + 2))


def propose(session: Session, position: int, value: int = 1, key: str = "0", stack: Stack = STACK) -> None:
    """Draw the box of an object on a slice."""
    plane = stack.plane(position)
    session.ask(plane, box_of(value, plane), key)


def walked(growth: Growth, model: Any = None, most: int | None = None) -> Growth:
    """Walk a plan to its end, or stop after `most` results."""
    if growth.idle:
        growth.finish()
        return growth
    results: Iterable[Any] = walk(growth.plan, model or BrightFake(), EmbeddingStore())
    for count, result in enumerate(results):
        if count == most:
            return growth
        growth.add(result)
    growth.finish()
    return growth


def follow(session: Session, most: int | None = None, **more: Any) -> Growth:
    """Plan and walk."""
    return walked(session.plan_propagation(STACK, **(HOW | {"prompting": WIDE} | more)), most=most)


def grown(session: Session, **more: Any) -> Any:
    """Plan, walk and write."""
    return session.write_growth(follow(session, **more))
