"""Boxes and points that are there already, in the user's own layers, and images of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import zarr
from qtpy.QtWidgets import QApplication
from tests import gui
from tests.contract.fakes import BoxFake
from tests.journeys.conftest import Bench

from napari_medsam.geometry import Plane
from napari_medsam.intensity import CT_PRESETS, Window, to_uint8
from napari_medsam.prompts import Box
from napari_medsam.widgets.model_choice import ModelChoice


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> BoxFake:
    model = BoxFake()
    monkeypatch.setattr(ModelChoice, "load", lambda self, reference: model)
    return model


def volume(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16)


def work(open_dock: Callable[..., Any], data: Any, at: tuple[int, ...], **kwargs: Any) -> Bench:
    viewer, dock = open_dock()
    image = viewer.add_image(data, **kwargs)
    gui.show_voxel(viewer, image, at)
    made = Bench(viewer, dock, image)
    made.settle()
    return made


def test_several_boxes_on_several_slices_are_several_objects(open_dock: Any) -> None:
    bench = work(open_dock, volume((10, 30, 40)), (3, 15, 20), scale=(2.5, 1, 1))
    planes = [Plane.across(0, 3), Plane.across(0, 3), Plane.across(0, 7)]
    boxes = [Box(2, 3, 8, 9), Box(12, 13, 20, 25), Box(4, 4, 14, 24)]
    corners = [p.to_index(b.outline) for p, b in zip(planes, boxes, strict=True)]
    mine = bench.viewer.add_shapes(corners, scale=(2.5, 1, 1), name="mine")
    bench.controller.choose_prompts(mine)
    bench.settle()
    assert len(bench.controller.session.drafts) == 3
    bench.controller.accept()
    for value, (plane, box) in enumerate(zip(planes, boxes, strict=True), start=1):
        assert np.argwhere(bench.labels.data == value)[:, 0].tolist() == [plane.index[0][1]] * int(
            (box.row1 - box.row0) * (box.column1 - box.column0)
        )
    assert len(mine.data) == 3, "the user's layer is left as it is"
    bench.controller.proposals.read()
    assert not bench.controller.session.drafts, "what was accepted is not proposed again"
    mine.data = [*mine.data[:2], planes[2].to_index(Box(20, 20, 28, 30).outline)]
    bench.settle()
    assert len(bench.controller.session.drafts) == 1, "what was changed is"


def test_user_layers_in_other_units_and_of_fewer_axes(open_dock: Any) -> None:
    bench = work(open_dock, volume((10, 30, 40)), (3, 15, 20), scale=(2, 1, 1), units=("mm",) * 3)
    box = Box(5, 6, 15, 18)
    corners = Plane.across(0, 3).to_index(box.outline) * (2, 1, 1)
    micron = bench.viewer.add_shapes([corners * 1000], units=("um",) * 3, name="um")
    flat = bench.viewer.add_points([[10, 12]], ndim=2, scale=(1, 1), units=("mm",) * 2, name="flat")
    gui.show_voxel(bench.viewer, bench.image, (3, 15, 20))  # napari now counts in micrometres
    bench.controller.choose_prompts(micron, flat)
    bench.settle()
    (draft,) = bench.controller.session.drafts.values()
    assert (draft.plane, draft.prompts.box) == (Plane.across(0, 3), box)
    assert [p.pixel for p in draft.prompts.points] == [(10, 12)]


@pytest.mark.parametrize("kind", ["dask", "zarr", "multiscale", "rgb", "4d", "2d", "memmap"])
def test_images_of_every_kind(open_dock: Any, tmp_path: Path, kind: str, fake: BoxFake) -> None:
    data = volume((6, 40, 50))
    at: tuple[int, ...] = (2, 20, 25)
    plane, kwargs = Plane.across(0, 2), {}
    given: Any = data
    if kind == "dask":
        given = dask.array.from_array(data, chunks=(1, 40, 50))
    elif kind == "zarr":
        given = zarr.create_array(tmp_path / "i.zarr", shape=data.shape, chunks=(1, 40, 50), dtype="int16")
        given[:] = data
    elif kind == "multiscale":
        given, kwargs = [data, data[:, ::2, ::2]], {"multiscale": True}
    elif kind == "rgb":
        given, kwargs = np.repeat(data[..., None], 3, axis=-1).astype(np.uint8), {"rgb": True}
    elif kind == "4d":
        given, at, plane = np.stack([data] * 3), (1, 2, 20, 25), Plane((2, 3), ((0, 1), (1, 2)))
    elif kind == "2d":
        given, at, plane = data[2], (20, 25), Plane((0, 1))
    else:
        given = np.memmap(tmp_path / "i.raw", dtype=np.int16, mode="w+", shape=data.shape)
        given[:] = data
    bench = work(open_dock, given, at, **kwargs)
    bench.controller.draw("box")
    bench.draw(plane, Box(5, 6, 25, 36))
    bench.settle()
    assert bench.preview(plane).sum() == 20 * 30
    bench.controller.accept()
    assert bench.labels.data.shape == tuple(bench.controller.session.image.grid.shape)
    assert (bench.labels.data[plane.key] == 1).sum() == 20 * 30
    assert (bench.labels.data == 1).sum() == 20 * 30


def test_the_model_sees_what_the_toggle_shows(open_dock: Any, fake: BoxFake, monkeypatch: Any) -> None:
    seen: list[np.ndarray] = []
    encode = fake.encode
    monkeypatch.setattr(fake, "encode", lambda plane: (seen.append(plane), encode(plane))[1])
    data = volume((6, 40, 50))
    bench = work(open_dock, data, (2, 20, 25))
    limits = tuple(bench.image.contrast_limits)
    bench.controller.choose_window("CT lung")
    bench.controller.show_seen(visible=True)
    bench.controller.draw("box")
    bench.draw(Plane.across(0, 2), Box(5, 6, 25, 36))
    bench.settle()
    layer = bench.controller.seen.layer
    assert np.array_equal(seen[-1], np.asarray(layer.data[2]))
    assert np.array_equal(seen[-1], to_uint8(data[2], CT_PRESETS["CT lung"]))
    assert tuple(bench.image.contrast_limits) == limits, "the image layer is never changed"
    bench.controller.choose_window("Layer contrast")
    bench.image.contrast_limits = (-100, 300)
    bench.settle()
    assert np.array_equal(seen[-1], to_uint8(data[2], Window(-100, 300)))
    bench.controller.show_seen(visible=False)
    assert layer not in bench.viewer.layers
    assert bench.preview(Plane.across(0, 2)).any()


def test_every_choice_of_the_dock_reaches_the_session(open_dock: Any) -> None:
    bench = work(open_dock, volume((6, 40, 50)), (2, 20, 25))
    dock, controller = bench.dock, bench.controller
    assert dock.window_panel.value()[0] == "CT abdomen", "suggested from the data"
    dock.window_panel.width_box.setValue(1500)
    assert controller.session.window.width == 1500
    assert dock.window_panel.preset.currentText() == "Typed"
    dock.box_button.click()
    bench.draw(Plane.across(0, 2), Box(5, 6, 25, 36))
    bench.settle()
    assert dock.proposal.text.text() == "score 0.90, mask 1 of 2"
    dock.proposal.next.click()
    assert dock.proposal.text.text() == "score 0.80, mask 2 of 2"
    assert bench.preview(Plane.across(0, 2)).sum() == 18 * 28
    dock.objects.name.setText("cyst")
    dock.objects.name.editingFinished.emit()
    dock.accept_button.click()
    assert controller.session.names == {1: "cyst"}
    assert dock.objects.combo.itemText(1) == "1  cyst"
    dock.undo_button.click()
    assert not bench.labels.data.any()
    assert dock.objects.combo.count() == 1
    dock.redo_button.click()
    assert dock.objects.combo.itemText(1) == "1  cyst"
    dock.view_buttons[1].click()
    QApplication.processEvents()
    assert tuple(bench.viewer.dims.order) == (1, 0, 2)
    assert controller.proposals.layers.boxes in bench.viewer.layers
