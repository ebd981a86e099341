"""Many slices into a Labels layer as one step, and which slices a run takes; with layers, but without a window."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from napari.components import ViewerModel
from napari.layers import Labels
from tests.contract.fakes import BoxFake
from tests.unit.following import SHAPE as VOLUME
from tests.unit.following import document, grown, propose

from napari_medsam.embeddings import EmbeddingStore
from napari_medsam.errors import GeometryError, ImageError, LabelsError, PromptError
from napari_medsam.geometry import Plane
from napari_medsam.inference import run
from napari_medsam.labels import Standing, values_of
from napari_medsam.prompts import Box, Prompts
from napari_medsam.propagation.subject import Span
from napari_medsam.widgets.compat import latest_step
from napari_medsam.widgets.labelling import planes_at
from napari_medsam.widgets.layer_labels import LayerLabels
from napari_medsam.widgets.workspace import open_workspace

SHAPE = (4, 6, 8)
PLANES = [Plane.across(0, 1), Plane.across(2, 5), Plane.across(0, 3)]
"""Two of them cross."""


def before() -> np.ndarray:
    """Labels with something on every slice."""
    return (np.arange(np.prod(SHAPE)).reshape(SHAPE) % 5 == 0).astype(np.uint8) * 9


def values_for(plane: Plane, highest: int) -> np.ndarray:
    """A slice that no other plane's equals."""
    rows, columns = plane.shape_in(SHAPE)
    return (np.arange(rows * columns).reshape(rows, columns) * (1 + sum(i for _, i in plane.index))) % (highest + 1)


@pytest.mark.parametrize("kind", ["numpy", "zarr"])
def test_slices_are_one_step_of_naparis_own_history(kind: str, tmp_path: Path) -> None:
    data: Any = before()
    if kind == "zarr":
        data = zarr.array(before(), store=str(tmp_path / "labels.zarr"), chunks=(1, 6, 8))
    layer = Labels(data)
    store = LayerLabels(layer)
    store.write(Plane.across(0, 0), np.ones((6, 8), bool), 2)
    first = np.array(layer.data[:])
    highest = 255 if kind == "zarr" else 300
    expected = first.astype(int)
    for plane in PLANES:
        expected[plane.key] = values_for(plane, highest)
    store.put((plane, values_for(plane, highest)) for plane in PLANES)
    assert np.array_equal(layer.data[:], expected)
    layer.undo()
    assert np.array_equal(layer.data[:], first)
    layer.redo()
    assert np.array_equal(layer.data[:], expected)
    store.put([(plane, layer.data[plane.key]) for plane in PLANES])
    layer.undo()
    layer.undo()
    assert np.array_equal(layer.data[:], before()), "what changes nothing is no step"


def test_an_error_half_way_leaves_one_step_and_the_next_one_alone() -> None:
    layer = Labels(before())
    store = LayerLabels(layer)

    def slices() -> Iterator[tuple[Plane, np.ndarray]]:
        for plane in PLANES[:2]:
            yield plane, values_for(plane, 7)
        raise LabelsError("the disk is full")

    with pytest.raises(LabelsError, match="full"):
        store.put(slices())
    done = np.array(layer.data)
    assert not np.array_equal(done, before())
    store.write(Plane.across(0, 0), np.ones((6, 8), bool), 2)
    layer.undo()
    assert np.array_equal(layer.data, done)
    layer.undo()
    assert np.array_equal(layer.data, before())


def on(viewer: ViewerModel, image: Any, scope: str) -> list[tuple[int, ...]]:
    planes = planes_at(open_workspace(viewer, image), viewer, scope)
    assert all(plane.axes == (image.ndim - 2, image.ndim - 1) for plane in planes)
    return [tuple(i for _, i in plane.index) for plane in planes]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_axial_slice_at_the_sliders_whatever_is_shown(order: tuple[int, ...]) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros(SHAPE, np.int16), scale=(3, 1, 2), translate=(-20, 7, 100), units="mm")
    viewer.add_image(np.zeros((9, 9, 9)), scale=(700, 700, 700), units="um")
    viewer.dims.order = order
    viewer.dims.point = tuple(np.array([-20 + 3 * 2, 9, 104]) * 1000)  # the finer unit is the viewer's
    assert on(viewer, image, "slice") == [(2,)]
    assert on(viewer, image, "volume") == [(0,), (1,), (2,), (3,)]
    viewer.dims.ndisplay = 3
    assert on(viewer, image, "slice") == [(2,)]


def test_a_time_series_is_labelled_at_its_time_and_a_single_slice_as_it_is() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((3, *SHAPE), np.int16))
    viewer.dims.point = (1, 2, 0, 0)
    assert on(viewer, image, "slice") == [(1, 2)]
    assert on(viewer, image, "volume") == [(1, z) for z in range(4)]
    flat = ViewerModel()
    image = flat.add_image(np.zeros(SHAPE[1:], np.int16))
    assert on(flat, image, "slice") == on(flat, image, "volume") == [()]


def test_sliders_off_the_image_and_colour_are_refused() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros(SHAPE, np.int16))
    viewer.add_image(np.zeros((9, 9, 9)))
    viewer.dims.point = (8, 0, 0)
    with pytest.raises(GeometryError, match="sliders"):
        on(viewer, image, "slice")
    assert len(on(viewer, image, "volume")) == 4
    colour = viewer.add_image(np.zeros((*SHAPE, 3), np.uint8), rgb=True)
    with pytest.raises(ImageError, match="colour"):
        on(viewer, colour, "volume")


def test_the_highest_value_follows_what_is_accepted_painted_taken_back_and_replaced() -> None:
    layer = Labels(np.zeros((4, 6, 8), np.uint16))
    labels = LayerLabels(layer)
    plane, where = Plane.across(0, 2), np.zeros((6, 8), dtype=bool)
    where[1:3, 2] = True
    seen = [labels.highest()]
    labels.write(plane, where, 3)
    seen.append(labels.highest())
    layer.data_setitem((np.array([0]), np.array([5]), np.array([7])), 9)
    seen.append(labels.highest())
    layer.paint((3, 3, 3), 40)
    seen.append(labels.highest())
    layer.undo()
    labels.doubt()
    labels.put([(Plane.across(0, 1), np.full((6, 8), 300))])
    seen.append(labels.highest())
    labels.undo()
    labels.undo()
    seen.append(labels.highest())
    layer.data[3, 0, 0] = 11  # as a script does, which then has it drawn
    labels.doubt()
    seen.append(labels.highest())
    layer.data = np.full((4, 6, 8), 2, np.uint16)
    seen.append(labels.highest())
    assert seen == [0, 3, 9, 40, 300, 3, 11, 2]


def test_a_step_is_known_for_done_or_undone_whatever_is_drawn_after_it() -> None:
    layer = Labels(np.zeros(SHAPE, np.uint8))
    store = LayerLabels(layer)
    beginning = store.latest()
    store.put((plane, values_for(plane, 7)) for plane in PLANES)
    first = store.latest()
    layer.paint((2, 3, 3), 9)
    stroke = store.latest()
    store.put([(Plane.across(0, 0), np.full((6, 8), 300))])  # the type grows
    last = store.latest()

    def undone() -> list[bool]:
        return [step.standing is Standing.UNDONE for step in (beginning, first, stroke, last)]

    assert undone() == [False, False, False, False]
    layer.undo()
    store.undo()
    assert undone() == [False, False, True, True]
    assert store.latest().standing is Standing.DONE
    layer.undo()
    assert undone() == [False, True, True, True]
    layer.redo()
    store.redo()
    assert undone() == [False, False, False, True]
    layer.undo()
    layer.paint((2, 3, 4), 8)
    layer.redo()
    assert undone() == [False, False, True, True]
    layer.undo()
    layer.undo()
    layer.fill((2, 3, 4), 4)
    assert undone() == [False, True, True, True]


def test_a_step_that_a_hundred_later_ones_have_pushed_out_stays_done() -> None:
    layer = Labels(np.zeros(SHAPE, np.uint8))
    store = LayerLabels(layer)
    steps = []
    for i in range(103):
        layer.paint((i % 4, 3, 4), 1 + i)
        steps.append(store.latest())
    for _ in range(200):
        layer.undo()
    undone = [step.standing is Standing.UNDONE for step in steps]
    assert undone == [False] * 3 + [True] * 100
    layer.paint((2, 1, 1), 7)
    assert [step.standing is Standing.UNDONE for step in steps] == undone


def test_a_step_is_as_it_was_last_when_napari_forgets_its_history() -> None:
    layer = Labels(np.zeros(SHAPE, np.uint8))
    layer.brush_size = 1
    store = LayerLabels(layer)
    steps = []
    for row in range(4):
        layer.paint((1, row, 4), 3)
        steps.append(store.latest())
    layer.undo()
    layer.editable = False
    layer.editable = True
    for row in range(3):
        layer.paint((2, row, 4), 3)
        layer.undo()
        assert [step.standing for step in steps] == [Standing.DONE] * 3 + [Standing.UNDONE]
    assert store.latest().standing is Standing.DONE
    assert latest_step(object()).standing is Standing.UNKNOWN, "a napari that keeps its history in another way"


def test_what_the_user_has_emptied_stays_so_in_a_layer_too() -> None:
    session = document(labels=LayerLabels(Labels(np.zeros(VOLUME, np.uint8))))
    layer = session.labels.layer
    propose(session, 4)
    grown(session, span=Span(4, 5))
    session.target = 1
    _, rows, columns = np.nonzero(layer.data[5:6])
    layer.data_setitem((np.full_like(rows, 5), rows, columns), 0)
    with pytest.raises(PromptError, match="nothing to do"):
        grown(session, span=Span(4, 8))
    layer.undo()
    grown(session, span=Span(4, 8))
    assert [z for z in range(9) if layer.data[z].any()] == [4, 5, 6, 7]


def test_values_are_found_as_by_sorting() -> None:
    rng = np.random.default_rng(2)
    for dtype, low, high in ((np.uint8, 0, 9), (np.uint16, 0, 60000), (np.int32, -5, 70), (np.int64, 0, 1 << 40)):
        some = rng.integers(low, high, (6, 8)).astype(dtype)
        assert values_of(some) == [v for v in np.unique(some).tolist() if v > 0]


def test_labels_that_the_plugin_made_are_never_looked_through_for_the_highest(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Any] = []
    monkeypatch.setattr("napari_medsam.widgets.layer_labels._highest", looked.append)
    viewer = ViewerModel()
    work = open_workspace(viewer, viewer.add_image(np.zeros(SHAPE, np.int16)))
    for value, box in ((1, Box(1, 1, 3, 3)), (2, Box(4, 4, 6, 8))):
        request = work.session.ask(Plane.across(0, 2), Prompts(box), str(value))
        assert work.session.receive(run(request, BoxFake(), EmbeddingStore()))
        accepted = work.target.accept(str(value))
        assert accepted is not None
        assert accepted.value == value
    assert not looked
    work.target.layer.data = np.full(SHAPE, 7, np.uint16)
    work.session.labels.highest()
    assert len(looked) == 1, "others that take their place are"
