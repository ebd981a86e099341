"""The laws of a run through a stack, for every segmenter: it finishes, masks are on the grid, and it answers again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_medsam.embeddings import EmbeddingStore
from napari_medsam.geometry import Grid, Plane
from napari_medsam.models import registry
from napari_medsam.models.base import Segmenter
from napari_medsam.models.contour import Contour
from napari_medsam.models.starter import Starter
from napari_medsam.prompts import Box, MaskPrompt, Point, PromptKind, Prompts, Stroke
from napari_medsam.propagation.plan import Ended, Grown, Plan, Way, steps_of
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.stopping import StopRules
from napari_medsam.propagation.subject import Key, Span, Subject
from napari_medsam.propagation.walk import walk
from napari_medsam.propagation.ways import ways_of

from .fakes import BoxFake, BrightFake, MaskFake
from .families import FAMILIES, Echo, Family, segmenter_of

SHAPE = (4, 40, 60)
KEY = 1
SPACING = (5.0, 0.8, 0.7)
BOX = Box(8, 14, 30, 50)
NONE = StopRules.none()
ASKED = (Prompts(BOX), Prompts(points=(Point(24, 40),)), Prompts(strokes=(Stroke(((24, 18), (24, 40))),)))

KNOWING: list[tuple[str, Callable[[], Segmenter]]] = [
    ("contour", Contour),
    ("starter", Starter),
    ("box-fake", BoxFake),
    ("mask-fake", MaskFake),
    ("bright-fake", BrightFake),
]
EXACT = [(name, make) for name, make in KNOWING if name != "starter"]  # it rounds otherwise across than along
EVERYONE = [*KNOWING, *((family.row, partial(segmenter_of, family.row)) for family in FAMILIES)]
BOXED = [family for family in FAMILIES if PromptKind.BOX in registry.row(family.row).takes]

_stores: dict[int, EmbeddingStore] = {}


def volume(*, still: bool = False) -> NDArray[np.uint8]:
    """Make noise and a bright L that moves once; or does not, so that a family encodes one plane only."""
    one = np.random.default_rng(3).integers(40, 80, SHAPE[1:])
    one[10:28, 16:28] += 110
    one[20:28, 16:48] += 60
    other = one if still else np.roll(one, (1, -1), axis=(0, 1))
    return np.stack([other, one, other, other]).clip(0, 255).astype(np.uint8)


def planned(data: NDArray[np.uint8], prompts: Prompts, way: Way, rules: StopRules, spacing: tuple[float, ...]) -> Plan:
    stack = Stack.through(Plane.across(0, 0), data.shape)
    subject = Subject(1, (Key(KEY, prompts),), Span(0, data.shape[0] - 1))
    return Plan(stack, (subject,), way, Grid.from_spacing(data.shape, spacing), lambda at: data[at], rules)


def native(segmenter: Segmenter) -> Prompts:
    return next(prompts for prompts in ASKED if prompts.kinds <= segmenter.spec.prompts)


def straight(segmenter: Segmenter, prompts: Prompts, way: Way = Way.SLICES) -> list[Grown | Ended]:
    """A run over the volume; what an encode gave is kept from run to run."""
    store = _stores.setdefault(id(segmenter), EmbeddingStore())
    still = segmenter.spec.name not in dict(KNOWING)
    events = walk(planned(volume(still=still), prompts, way, NONE, SPACING), segmenter, store)
    return [event for event in events if isinstance(event, Grown | Ended)]


def masks(events: list[Grown | Ended]) -> dict[int, NDArray[np.bool_]]:
    return {event.position: event.mask for event in events if isinstance(event, Grown)}


@pytest.mark.parametrize("make", [f for _, f in EVERYONE], ids=[i for i, _ in EVERYONE])
def test_a_run_finishes_on_the_grid_every_way_and_a_second_one_is_the_same(make: Callable[[], Segmenter]) -> None:
    segmenter = make()
    prompts = native(segmenter)
    for way in ways_of(segmenter)[:-1]:  # all but shapes, which needs no model
        first = straight(segmenter, prompts, way)
        for event in first:
            if isinstance(event, Grown):
                assert event.mask.shape == SHAPE[1:]
                assert event.mask.dtype == bool
                assert event.mask.any()
                assert 0 <= event.score <= 1
        done = sum(1 if isinstance(event, Grown) else event.left for event in first)
        assert done == steps_of(planned(volume(), prompts, way, NONE, SPACING)) == SHAPE[0]
        again = masks(straight(segmenter, prompts, way))
        assert sorted(again) == sorted(masks(first))
        assert all((again[at] == mask).all() for at, mask in masks(first).items())


@pytest.mark.parametrize("make", [f for _, f in EVERYONE], ids=[i for i, _ in EVERYONE])
def test_a_certain_mask_leads_every_model(make: Callable[[], Segmenter]) -> None:
    certain = Prompts(mask=MaskPrompt(volume()[KEY] > 100))
    assert KEY not in masks(straight(make(), certain))


@pytest.mark.parametrize("way", [Way.SLICES, Way.BOX])
@pytest.mark.parametrize("make", [f for _, f in KNOWING], ids=[i for i, _ in KNOWING])
def test_what_is_known_is_followed_to_both_ends(make: Callable[[], Segmenter], way: Way) -> None:
    assert sorted(masks(straight(make(), Prompts(BOX), way))) == [0, 1, 2, 3]


def transposed_too(segmenter: Segmenter, way: Way) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """What is found in a stack, and in the transposed stack, transposed back."""
    found = []
    data = volume()
    for image, prompts, spacing in (
        (data, Prompts(BOX), SPACING),
        (data.swapaxes(1, 2), Prompts(BOX).transposed(), (SPACING[0], SPACING[2], SPACING[1])),
    ):
        made = planned(np.ascontiguousarray(image), prompts, way, StopRules(), spacing)
        out = np.zeros(image.shape, dtype=bool)
        for event in walk(made, segmenter, EmbeddingStore()):
            if isinstance(event, Grown):
                out[event.position] = event.mask
        found.append(out)
    return found[0], found[1].swapaxes(1, 2)


@pytest.mark.parametrize("way", [Way.SLICES, Way.BOX])
@pytest.mark.parametrize(
    "make", [f for i, f in KNOWING if i != "starter"], ids=[i for i, _ in KNOWING if i != "starter"]
)
def test_transposing_the_stack_transposes_the_result(make: Callable[[], Segmenter], way: Way) -> None:
    one, other = transposed_too(make(), way)
    assert one.any()
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("family", BOXED, ids=[f.row for f in BOXED])
def test_every_family_transposes_a_run_up_to_the_rounding_of_its_frame(family: Family) -> None:
    segmenter = family.segmenter(Echo(family.size, family.logits, exchanged=family.exchanged))
    one, other = transposed_too(segmenter, Way.SLICES)
    assert one.any()
    assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.8  # discs of a few cells
