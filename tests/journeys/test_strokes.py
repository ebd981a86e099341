"""The stroke tool with a real mouse: along an object, off it with Shift, and together with a box."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import Qt
from tests import gui

from napari_medsam.geometry import Plane
from napari_medsam.phantom import LIVER, ct_phantom
from napari_medsam.widgets.collect import collect
from napari_medsam.widgets.coordinates import View

_, TRUTH, _ = ct_phantom()
ALONG = np.array([0.0, 6.0])


def axial_of(value: int) -> Plane:
    """The slice that shows most of an object."""
    return Plane.across(0, int(np.argmax((value == TRUTH).sum(axis=(1, 2)))))


def at_the_liver(bench, key):
    """Show the slice with most of it and press the key of a tool: the plane, its rows and columns there, its middle."""
    plane = axial_of(LIVER.label)
    rows, columns = np.nonzero(TRUTH[plane.key] == LIVER.label)
    middle = np.array([np.median(rows), np.median(columns)])
    gui.show_voxel(bench.viewer, bench.image, plane.to_index([middle])[0])
    gui.press(bench.viewer, key)
    return plane, rows, columns, middle


def drawn(bench):
    c = bench.controller
    p = c.proposals
    found = collect(View(c.viewer, bench.image), p.shapes(), p.points(), "", p.layers.both())
    assert not found.problems
    return found.drawn


def test_a_stroke_makes_an_object_and_shift_takes_away(bench) -> None:
    plane, rows, _, middle = at_the_liver(bench, Qt.Key.Key_W)
    start, end = plane.to_index([middle - ALONG, middle + ALONG])
    gui.drag(bench.viewer, bench.image, start, end, steps=12)
    bench.settle()
    (one,) = drawn(bench)
    (stroke,) = one.prompts.strokes
    assert one.plane == plane
    assert stroke.positive
    np.testing.assert_allclose(stroke.points[0], middle - ALONG, atol=1)
    np.testing.assert_allclose(stroke.points[-1], middle + ALONG, atol=4)  # napari thins a path
    mask = bench.preview(plane)
    assert mask[tuple(np.round(middle).astype(int))]

    away_start, away_end = plane.to_index([(rows.min() - 4, middle[1] - 5), (rows.min() - 4, middle[1] + 5)])
    gui.drag(bench.viewer, bench.image, away_start, away_end, steps=12, keys=gui.SHIFT)
    bench.settle()
    (one,) = drawn(bench)
    assert [s.positive for s in one.prompts.strokes] == [True, False]
    assert not bench.preview(plane)[rows.min() - 4, int(middle[1])]

    gui.press(bench.viewer, Qt.Key.Key_J)
    bench.settle()
    assert bench.labels.data[plane.key][tuple(np.round(middle).astype(int))] == 1
    assert not drawn(bench)


def test_a_stroke_refines_the_box_that_is_selected(bench) -> None:
    plane, rows, columns, middle = at_the_liver(bench, Qt.Key.Key_G)
    corners = plane.to_index([(rows.min() - 2, columns.min() - 2), (rows.max() + 2, columns.max() + 2)])
    gui.drag(bench.viewer, bench.image, *corners)
    bench.settle()
    gui.press(bench.viewer, Qt.Key.Key_W)
    start, end = plane.to_index([middle - ALONG, middle + ALONG])
    gui.drag(bench.viewer, bench.image, start, end, steps=12)
    bench.settle()
    (one,) = drawn(bench)
    assert one.prompts.box is not None
    assert len(one.prompts.strokes) == 1


def test_a_stroke_after_a_click_and_one_off_the_image_is_of_its_own_object_and_sign(bench) -> None:
    """napari takes off a path that is too short and keeps its features, which the next one would get."""
    plane, *_, middle = at_the_liver(bench, Qt.Key.Key_W)
    start, end = plane.to_index([middle - ALONG, middle + ALONG])
    gui.drag(bench.viewer, bench.image, start, end, steps=12, keys=gui.SHIFT)
    bench.settle()
    (beside,) = plane.to_index([middle + np.array([10.0, 0.0])])
    gui.click(bench.viewer, bench.image, beside)
    bench.settle()
    off, further = plane.to_index([(-20, -20), (-10, -10)])
    gui.drag(bench.viewer, bench.image, off, further, steps=12)
    bench.settle()
    boxes = bench.controller.proposals.layers.boxes
    assert len(boxes.features) == len(boxes.data)
    gui.drag(bench.viewer, bench.image, start, end, steps=12)
    bench.settle()
    assert len(boxes.features) == len(boxes.data)
    assert list(boxes.features["positive"]) == ["0", "1"]
