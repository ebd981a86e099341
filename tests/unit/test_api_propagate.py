"""`api.propagate_image`: what a script gives and gets, and what it keeps when a run is broken off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_medsam import api
from napari_medsam.errors import GeometryError, LabelsError, MedsamError, PromptError, UnsupportedError
from napari_medsam.geometry import Grid, Plane
from napari_medsam.image import Image
from napari_medsam.masks import Overlap
from napari_medsam.propagation.plan import Way
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.subject import Span
from napari_medsam.shapes import CleanUp, Operation

from ..contract.fakes import LabelFake
from .fakes import LazyArray
from .following import HOW, SHAPE, SPACING, STACK, WIDE, WINDOW, BrightFake, box_of, truth, volume


def image(data: Any = None) -> Image:
    return Image(volume() if data is None else data, Grid.from_spacing(SHAPE, SPACING))


def task(position: int, of: int = 1, **more: Any) -> api.Task:
    plane = STACK.plane(position)
    return api.Task(plane, box_of(of, plane), **more)


def propagated(*tasks: api.Task, **more: Any) -> api.Propagated:
    settings = HOW | {"prompting": WIDE, "model": BrightFake(), "window": WINDOW} | more
    return api.propagate_image(settings.pop("image", image()), tasks, **settings)


def test_objects_go_by_value_and_name_and_come_with_their_scores() -> None:
    done = propagated(task(2, value=7), task(4, 2, name="block"), task(6, value=7, name="bone"))
    assert np.array_equal(done.labels, np.array([0, 7, 8])[truth()])
    assert done.names == {7: "bone", 8: "block"}
    assert [(s.value, s.position, s.source) for s in done.slices if s.value == 8] == [(8, 3, 4), (8, 4, 4), (8, 5, 4)]
    assert {s.position: s.score for s in done.slices if s.value == 7}[5] == pytest.approx((240 - 50) / 255)
    assert [(e.source, e.direction, e.position, e.why) for e in done.ended if e.value == 8] == [
        (4, "down", 3, "nothing found"),
        (4, "up", 5, "nothing found"),
    ]
    assert (done.cancelled, done.error, done.kept) == (False, None, 0)


def test_each_object_may_have_a_range_of_its_own_within_that_of_the_run() -> None:
    done = propagated(task(4, value=1, span=Span(4, 6)), task(4, 2, value=2), span=Span(0, 5))
    assert [z for z in range(9) if (done.labels[z] == 1).any()] == [4, 5]
    assert [z for z in range(9) if (done.labels[z] == 2).any()] == [3, 4, 5]
    with pytest.raises(GeometryError, match="ranges 6 to 8 and 0 to 5 have no slice in common"):
        propagated(task(4, value=1, span=Span(6, 8)), span=Span(0, 5))


def covered(by: int) -> np.ndarray:
    """Labels that hide the bone altogether on slices 2 to 4."""
    labels = np.zeros(SHAPE, dtype=np.int16)
    labels[2:5] = np.where(truth()[2:5] == 1, by, 0)
    return labels


@pytest.mark.parametrize(("under", "said"), [(5, "other objects (full)"), (-1, "other objects (-1)")])
def test_what_was_found_and_could_not_be_written_is_no_slice_and_is_told_of(under: int, said: str) -> None:
    labels = covered(under)
    done = propagated(task(5, value=7, name="bone"), labels=labels, names={5: "full"}, span=Span(1, 6))
    assert [s.position for s in done.slices] == [1, 5, 6]
    assert [(s.value, s.position) for s in done.hidden] == [(7, 2), (7, 3), (7, 4)]
    (note,) = done.notes
    assert "'bone' was found on slices 2 to 4" in note
    assert said in note
    assert np.array_equal(done.labels[2:5], labels[2:5])
    all_of_it = propagated(task(3, value=7), labels=labels, span=Span(2, 4))
    assert all_of_it.slices == ()
    assert len(all_of_it.hidden) == 3


def test_where_others_may_be_overwritten_nothing_is_hidden() -> None:
    done = propagated(task(5, value=7), labels=covered(5), overlap=Overlap.OVERWRITE)
    assert (len(done.slices), done.hidden, done.notes) == (7, (), ())


def test_labels_to_start_from_are_not_written_to() -> None:
    labels = np.where(truth() == 1, 3, 0)
    labels[5:] = 0
    before = labels.copy()
    done = propagated(stack=STACK, labels=labels, names={3: "bone"}, values=[3])
    assert np.array_equal(labels, before)
    assert np.array_equal(done.labels, 3 * (truth() == 1))
    assert done.names == {3: "bone"}


def test_progress_counts_up_to_its_end() -> None:
    told: list[tuple[int, int]] = []
    propagated(task(4), progress=lambda done, total: told.append((done, total)))
    assert {total for _, total in told} == {9}
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (9, 9)


def test_a_callback_that_fails_ends_the_run_and_keeps_what_is_done() -> None:
    def failing(done: int, total: int) -> None:
        assert done < 3, "a bug of the caller"

    done = propagated(task(4), progress=failing)
    assert [z for z in range(9) if done.labels[z].any()] == [3, 4, 5]
    assert "'progress' failed: AssertionError: a bug of the caller" in str(done.error)
    assert isinstance(done.error.__cause__, AssertionError)
    assert not done.cancelled
    done = propagated(task(4), cancelled=lambda: 1 / 0)
    assert "'cancelled' failed: ZeroDivisionError" in str(done.error)
    assert not done.labels.any()


def test_an_interrupt_passes_unless_the_run_is_to_be_left_anyway() -> None:
    class Interrupted(BrightFake):
        def encode(self, plane):
            if self.encoded == 3:
                asked.append(1)
                raise KeyboardInterrupt
            return super().encode(plane)

    asked: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        propagated(task(4), model=Interrupted())
    asked.clear()
    done = propagated(task(4), model=Interrupted(), cancelled=lambda: bool(asked))
    assert (done.cancelled, done.error) == (True, None)
    assert [z for z in range(9) if done.labels[z].any()] == [3, 4, 5]


def test_a_cancelled_run_keeps_what_is_done() -> None:
    told: list[int] = []
    done = propagated(task(4), progress=lambda *_: told.append(1), cancelled=lambda: len(told) >= 2)
    assert done.cancelled
    assert [z for z in range(9) if done.labels[z].any()] == [4, 5]
    nothing = propagated(task(4), cancelled=lambda: True)
    assert nothing.cancelled
    assert not nothing.labels.any()


def test_a_slice_that_cannot_be_read_half_way_keeps_what_is_done_and_says_which() -> None:
    class Torn(LazyArray):
        def __getitem__(self, key):
            if key[0] == 6:
                raise OSError("stale file handle")
            return super().__getitem__(key)

    done = propagated(task(4), image=image(Torn(volume())))
    assert [z for z in range(9) if done.labels[z].any()] == [3, 4, 5], "as far both ways"
    assert isinstance(done.error, MedsamError)
    assert "6" in str(done.error)
    assert "stale file handle" in str(done.error)


def test_clean_ups_come_last() -> None:
    labels = np.where(truth() == 1, 1, 0)
    labels[4:] = 0
    labels[1, 11, 13] = 1
    done = propagated(stack=STACK, labels=labels, values=[1], clean_ups=[CleanUp(Operation.LARGEST)])
    assert np.array_equal(done.labels, truth() == 1)


def test_the_way_is_the_best_of_the_model_when_left_out() -> None:
    assert np.array_equal(propagated(task(4), way=None).labels, truth() == 1)


def test_shapes_between_labels_need_no_model() -> None:
    labels = np.where(truth() == 2, 1, 0)
    labels[4] = 0
    done = propagated(stack=STACK, labels=labels, values=[1], way=Way.SHAPES, model="no such model")
    assert np.array_equal(done.labels, truth() == 2)


def test_what_cannot_be_used_is_explained_before_anything_is_done() -> None:
    with pytest.raises(PromptError, match="which slices to go through"):
        propagated()
    with pytest.raises(PromptError, match="Nothing says what to follow"):
        propagated(stack=STACK)
    with pytest.raises(PromptError, match="does not lie in the stack"):
        propagated(api.Task(Plane.across(1, 3), box_of(1, Plane.across(1, 3))), stack=STACK)
    with pytest.raises(UnsupportedError, match="takes no prompts"):
        propagated(task(4), model=LabelFake())
    with pytest.raises(LabelsError, match="voxels"):
        propagated(task(4), labels=np.zeros((2, 2, 2), dtype=int))
    with pytest.raises(LabelsError, match="whole numbers"):
        propagated(task(4), labels=np.zeros(SHAPE))


@pytest.mark.parametrize("value", [0, -2, 1.5, True, "3", np.float64(2)])
def test_a_label_that_is_none_is_refused_at_once(value: Any) -> None:
    with pytest.raises(LabelsError, match="whole number from 1"):
        task(4, value=value)


def test_a_label_may_come_from_numpy() -> None:
    assert task(4, value=np.uint8(7)).value == 7


def test_what_cannot_be_stored_or_done_is_refused_before_anything_is_encoded() -> None:
    model = BrightFake()
    with pytest.raises(LabelsError, match="largest value that can be stored"):
        propagated(task(4, value=2**40), model=model)
    with pytest.raises(LabelsError, match="larger than the image"):
        propagated(task(4), model=model, clean_ups=[CleanUp(Operation.SMOOTH, 1e6)])
    with pytest.raises(GeometryError, match="axis 3"):
        propagated(task(4), model=model, clean_ups=[CleanUp(Operation.LARGEST, axis=3)])
    assert model.encoded == 0
    signed = np.zeros(SHAPE, dtype=np.int16)
    assert propagated(task(4, value=2**40), labels=signed).labels.max() == 2**40


def test_prompts_of_one_frame_are_drawn_on_others_for_the_same_object() -> None:
    series = Image(np.stack([volume()] * 3), Grid.from_spacing((3, *SHAPE), (1.0, *SPACING)))
    plane = Plane((2, 3), ((0, 0), (1, 4)))
    first = api.Task(plane, box_of(1, STACK.plane(4)), value=3, name="bone", span=Span(2, 5))
    (second,) = api.next_frame([first], series)
    assert second == api.Task(Plane((2, 3), ((0, 1), (1, 4))), first.prompts, 3, "bone", Span(2, 5))
    (third,) = api.next_frame([first], series, by=2)
    assert dict(third.plane.index)[0] == 2
    (back,) = api.next_frame([third], series, by=-2)
    assert back == first
    masked = api.Task(plane, api.make_prompts(mask=truth()[4] == 1))
    with pytest.raises(PromptError, match="mask"):
        api.next_frame([masked], series)
    with pytest.raises(GeometryError, match="no frame 3"):
        api.next_frame([third], series)
    with pytest.raises(GeometryError, match="no time"):
        api.next_frame([task(4)], image())


def test_a_series_goes_through_depth_unless_a_stack_says_time() -> None:
    series = Image(np.stack([volume()] * 2), Grid.from_spacing((2, *SHAPE), (1.0, *SPACING)))
    first = api.Task(Plane((2, 3), ((0, 1), (1, 4))), box_of(1, STACK.plane(4)))
    depth = propagated(first, image=series).labels
    assert np.array_equal(depth[1], truth() == 1)
    assert not depth[0].any()
    time = propagated(first, image=series, stack=Stack.through(first.plane, series.grid.shape, 0)).labels
    assert np.array_equal(time[:, 4], np.stack([truth()[4] == 1] * 2))
    assert not np.delete(time, 4, axis=1).any()
