"""The short Python API, with the model that is always there."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medsam import api
from napari_medsam.errors import (
    GeometryError,
    ImageError,
    IntensityError,
    LabelsError,
    MedsamError,
    ModelError,
    PromptError,
)
from napari_medsam.geometry import Plane
from napari_medsam.intensity import Window
from napari_medsam.masks import Overlap
from napari_medsam.prompts import Box, Point, Prompts

from .fakes import SHAPE, LazyArray, axial, image

ROWS, COLUMNS = 48, 64


def ell() -> np.ndarray:
    """(48, 64) bool: an L, so that its mirror images and its transpose are other shapes."""
    mask = np.zeros((ROWS, COLUMNS), dtype=bool)
    mask[10:34, 16:28] = True
    mask[24:34, 16:50] = True
    return mask


def scan(dtype: str = "int16") -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 6, (ROWS, COLUMNS))
    return np.rint(np.where(ell(), 120, 30) + noise).astype(dtype)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


BOX = (10, 16, 34, 50)


@pytest.mark.parametrize("dtype", ["int16", "uint8", "uint16", ">i2", "int32", "float32", "float64"])
def test_a_box_gives_the_object_for_every_type_of_image(dtype: str) -> None:
    """SAM4IS: int16 raises TypeError."""
    prediction = api.segment_plane(scan(dtype), box=BOX, window=(-20, 180))
    assert prediction.mask.dtype == bool
    assert prediction.mask.shape == (ROWS, COLUMNS)
    assert 0 <= prediction.score <= 1
    assert dice(prediction.mask, ell()) > 0.85


def test_the_box_is_half_open_in_rows_and_columns() -> None:
    mask = api.segment_plane(scan(), box=BOX, window=(-20, 180)).mask
    rows, columns = np.nonzero(mask)
    assert rows.min() >= 10
    assert rows.max() <= 33
    assert columns.min() >= 16
    assert columns.max() <= 49


def test_every_positive_and_no_negative_point_is_in_the_mask() -> None:
    points = [(30, 45, 1), (12, 40, -1), (20.4, 17.6, +1)]
    mask = api.segment_plane(scan(), box=BOX, points=points).mask
    assert mask[30, 45]
    assert mask[20, 18]
    assert not mask[12, 40]


def test_a_point_alone_is_enough_and_any_iterable_will_do() -> None:
    assert api.segment_plane(scan(), points=iter([(28, 22, 1)])).mask[28, 22]
    assert api.segment_plane(scan(), points=np.array([[28, 22, 1.0]]), box=np.array(BOX)).mask[28, 22]


def test_the_answer_of_a_round_is_the_start_of_the_next() -> None:
    first = api.segment_plane(scan(), box=BOX, window=(-20, 180))
    assert api.make_prompts(mask=first.prompt).mask == first.prompt
    off = (*np.argwhere(first.mask & ~ell()).tolist(), [28, 45])[0]
    again = api.segment_plane(scan(), mask=first.prompt, points=[(*off, -1)], window=(-20, 180), model="starter")
    assert not again.mask[tuple(off)]
    assert again.mask.any()


def test_the_image_is_not_written_to() -> None:
    data = scan("float64")
    data[0, 0] = np.nan
    before = data.tobytes()
    data.flags.writeable = False
    api.segment_plane(data, box=BOX)
    assert data.tobytes() == before


def test_one_bright_voxel_does_not_change_the_mask_under_a_window() -> None:
    """micro-sam: one 3071 HU voxel moves 40 HU from grey 204 to 65."""
    plain, metal = scan(), scan()
    metal[0, 0] = 3071
    masks = [api.segment_plane(data, box=BOX, window=(-160, 240)).mask for data in (plain, metal)]
    assert np.array_equal(*masks)


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_is_segmented_and_alpha_has_no_say(channels: int) -> None:
    colour = np.repeat(scan("uint8")[..., None], channels, axis=-1)
    if channels == 4:
        colour[..., 3] = np.random.default_rng(1).integers(0, 256, (ROWS, COLUMNS))
    mask = api.segment_plane(colour, box=BOX).mask
    assert np.array_equal(mask, api.segment_plane(colour[..., :3], box=BOX).mask)
    assert dice(mask, ell()) > 0.85


@pytest.mark.parametrize("shape", [(8,), (4, 6, 8), (4, 6, 8, 3), (6, 8, 2), ()])
def test_what_is_no_plane_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="plane"):
        api.segment_plane(np.zeros(shape), box=(0, 0, 2, 2))


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        ({}, PromptError, "box or a positive point"),
        ({"points": [(3, 4, -1)]}, PromptError, "Only negative"),
        ({"box": (1, 2, 3)}, PromptError, "four whole numbers"),
        ({"box": (1, 2, 3, 4, 5)}, PromptError, "four whole numbers"),
        ({"box": (1.5, 2, 9, 9)}, PromptError, "four whole numbers"),
        ({"box": (1, 2, np.nan, 9)}, PromptError, "four whole numbers"),
        ({"box": (9, 9, 2, 2)}, PromptError, "0 x 0"),
        ({"box": (5, 5, 6, 6)}, PromptError, "1 x 1"),
        ({"box": (100, 100, 120, 120)}, PromptError, "outside"),
        ({"points": [(3, 4)]}, PromptError, "sign"),
        ({"points": [(3, 4, 0)]}, PromptError, "sign"),
        ({"points": [(3, 64, 1)]}, PromptError, "outside"),
        ({"points": [(np.nan, 4, 1)]}, PromptError, "NaN"),
        ({"box": BOX, "points": [(3, 4, 1), (3, 4, -1)]}, PromptError, "both positive and negative"),
        ({"box": BOX, "window": (200, 100)}, IntensityError, "lower bound"),
        ({"box": BOX, "window": (np.nan, 100)}, IntensityError, "finite"),
        ({"box": BOX, "model": "sam9"}, ModelError, "contour"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(call: dict, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        api.segment_plane(scan(), **call)


@pytest.mark.parametrize(
    "call",
    [
        {"points": (3, 4, 1)},
        {"box": 5},
        {"box": "none"},
        {"box": (1, 2, None, "x")},
        {"points": [("a", "b", 1)]},
        {"points": [(10**400, 1, 1)]},
        {"strokes": 5},
        {"strokes": [[(0, 0), (1e12, 0)]]},
        {"box": BOX, "window": (1,)},
        {"box": BOX, "window": ("a", "b")},
    ],
    ids=[
        *("one point, not a list", "a number", "a word", "no numbers", "words", "beyond floats", "no strokes"),
        *("a stroke without end", "one bound", "bounds in words"),
    ],
)
def test_input_of_the_wrong_kind_is_refused_without_a_foreign_exception(call: dict) -> None:
    with pytest.raises(MedsamError):
        api.segment_plane(scan(), **call)


@pytest.mark.parametrize("name", ["contour", "starter"])
@pytest.mark.parametrize(
    ("compute", "words"),
    [
        ({"device": "banana"}, "no device 'banana'"),
        ({"device": "cuda:"}, "no device"),
        ({"device": ""}, "no device"),
        ({"precision": "float8"}, "no precision 'float8'"),
    ],
)
def test_a_built_in_model_too_refuses_names_that_are_no_device_or_precision(
    name: str, compute: dict, words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        api.load_model(name, **compute)


@pytest.mark.parametrize("compute", [{"device": "cuda:7"}, {"device": "mps"}, {"precision": "float16"}])
def test_a_built_in_model_runs_on_the_cpu_whatever_device_is_named(compute: dict) -> None:
    assert api.segment_plane(scan(), box=BOX, model=api.load_model("contour", **compute)).mask.any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_plane_without_a_finite_value_is_refused(value: float) -> None:
    with pytest.raises(IntensityError, match="no finite value"):
        api.segment_plane(np.full((ROWS, COLUMNS), value), box=BOX)


def test_a_constant_plane_and_one_with_nan_give_a_mask() -> None:
    spotted = scan("float32")
    spotted[12:16, 20:24] = np.nan
    spotted[30, 30] = np.inf
    for data in (np.zeros((ROWS, COLUMNS)), np.full((ROWS, COLUMNS), 40), spotted):
        assert api.segment_plane(data, box=BOX).mask.any()


# -- volumes ---------------------------------------------------------------------------------------------------


def tasks() -> list[api.Task]:
    return [
        api.Task(axial(1), Prompts(Box(1, 2, 5, 6)), name="liver"),
        api.Task(Plane.across(1, 4), Prompts(Box(1, 2, 3, 7)), value=9),
        api.Task(axial(2), Prompts(Box(1, 2, 5, 6)), value=1),
        api.Task(axial(3), Prompts(points=(Point(2, 2),))),
    ]


def test_tasks_become_labels_names_and_results_in_their_order() -> None:
    labels, names, results = api.segment_image(image(), tasks())
    assert labels.shape == SHAPE
    assert [accepted.value for accepted, _ in results] == [1, 9, 1, 10]
    assert names == {1: "liver", 9: "object 9", 10: "object 10"}
    for (accepted, prediction), task in zip(results, tasks(), strict=True):
        assert accepted.plane == task.plane
        assert np.count_nonzero(prediction.mask) >= accepted.pixels > 0
        written = labels[task.plane.key] == accepted.value
        assert (written <= prediction.mask).all() or accepted.value == 1
    assert np.unique(labels).tolist() == [0, 1, 9, 10]
    assert not labels[0].any()


def test_earlier_objects_are_kept_or_overwritten_as_chosen() -> None:
    two = [api.Task(axial(1), Prompts(Box(1, 1, 5, 5))), api.Task(axial(1), Prompts(Box(1, 1, 5, 7)))]
    kept, _, ((_, first), (_, second)) = api.segment_image(image(), two)
    assert (first.mask & second.mask).any()
    assert np.array_equal(kept[1] == 1, first.mask)
    over, _, _ = api.segment_image(image(), two, overlap=Overlap.OVERWRITE)
    assert np.array_equal(over[1] == 2, second.mask)


def test_a_lazy_image_is_read_slice_by_slice() -> None:
    lazy = LazyArray(np.zeros(SHAPE, dtype=np.int16))
    api.segment_image(image(lazy), tasks(), window=Window(0, 1))
    assert {size for _, size in lazy.reads} == {(6, 8), (4, 8)}


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        (api.Task(axial(4), Prompts(Box(1, 2, 5, 6))), GeometryError),
        (api.Task(Plane((0, 1)), Prompts(Box(1, 2, 5, 6))), GeometryError),
        (api.Task(axial(1), Prompts()), PromptError),
        (api.Task(axial(1), Prompts(Box(20, 20, 25, 25))), PromptError),
        (api.Task(axial(1), Prompts(Box(1, 2, 5, 6)), value=2**32), LabelsError),
    ],
)
def test_a_task_that_cannot_be_done_is_refused(task: api.Task, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        api.segment_image(image(), [*tasks()[:1], task])


def test_no_tasks_make_empty_labels() -> None:
    labels, names, results = api.segment_image(image(), [])
    assert not labels.any()
    assert (names, results) == ({}, [])
