"""What is acted on is what is shown, also while a box is dragged and just after: a real mouse on a real canvas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from tests import gui
from tests.contract.fakes import BoxFake

from napari_medsam.geometry import Plane
from napari_medsam.prompts import Box

PLANE = Plane.across(0, 30)
BOX = Box(40, 60, 120, 150)
ROWS, COLUMNS = 30, 20


@pytest.fixture
def drawn(bench: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The plugin's box layer with one box, in hand to be moved."""
    monkeypatch.setattr("napari_medsam.widgets.live.PACE", 60.0)
    gui.use_model(bench.controller, "contour", BoxFake())
    gui.show_voxel(bench.viewer, bench.image, (30, 0, 0))
    bench.controller.draw("box")
    bench.draw(PLANE, BOX)
    bench.settle()
    layer = bench.controller.proposals.layers.boxes
    layer.mode = "select"
    layer.selected_data = {0}
    return layer


def moved(bench: Any, each: Callable[[], None]) -> None:
    """Take the box at its middle and carry it on; `each` is called after every step."""
    start, end = PLANE.to_index([(80, 100), (80 + ROWS, 100 + COLUMNS)])
    gui.drag(bench.viewer, bench.image, start, end, steps=8, each=each)


@pytest.mark.parametrize("key", [Qt.Key.Key_J, Qt.Key.Key_U], ids=["accept", "propagate"])
def test_nothing_is_written_while_the_mask_of_a_box_that_is_dragged_is_shown(bench: Any, drawn: Any, key: Any) -> None:
    said: list[tuple[str, str]] = []
    bench.controller.proposals.failed.connect(lambda error: said.append((str(error), "error")))
    steps = iter(range(100))

    def look() -> None:
        bench.settle()
        if next(steps) == 4:
            assert bench.controller.proposals.live.dragging
            before = bench.preview(PLANE)
            gui.press(bench.viewer, key)
            bench.settle()
            said.append(bench.controller.status)
            assert bench.labels is None
            assert np.array_equal(bench.preview(PLANE), before)

    moved(bench, look)
    bench.settle()
    assert "Let go of the mouse" in said[0][0]
    shown = bench.preview(PLANE)
    gui.press(bench.viewer, Qt.Key.Key_J)
    bench.settle()
    assert np.array_equal(np.asarray(bench.labels.data[PLANE.key]) > 0, shown), "then what is shown is written"
    assert not np.array_equal(shown[BOX.slices], np.ones_like(shown[BOX.slices])), "and that is not the box of before"


def test_accepted_at_once_after_a_drag_it_is_the_box_of_now_that_is_written(bench: Any, drawn: Any) -> None:
    """The key comes before the prompt layers were read anew."""
    proposals = bench.controller.proposals
    corners = PLANE.to_index([(60, 60), (60, 149), (139, 149), (139, 60)])
    drawn.data = [corners]
    assert proposals._read_soon.isActive()
    bench.controller.accept()
    bench.settle()
    written = np.asarray(bench.labels.data[PLANE.key]) > 0
    wanted = np.zeros_like(written)
    wanted[60:140, 60:150] = True
    assert np.array_equal(written, wanted)
