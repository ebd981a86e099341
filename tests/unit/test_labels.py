"""Labels with one undo history, that grow rather than overflow."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from napari_medsam.errors import GeometryError, LabelsError
from napari_medsam.geometry import Plane
from napari_medsam.labels import ArrayLabels, Packed, Standing, grown_dtype, indices_of

from .fakes import SHAPE, axial

SMALL = (2, 3, 4)
VALUES = st.sampled_from([0, 1, 300, 70_000])
PLANES = [Plane.across(axis, i) for axis in range(3) for i in range(SMALL[axis])]


def box_mask(shape: tuple[int, int], rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[rows, columns] = True
    return mask


class History(RuleBasedStateMachine):
    """Any mix of writes, undos and redos, against a list of copies of the whole array."""

    def __init__(self) -> None:
        super().__init__()
        self.labels = ArrayLabels(np.zeros(SMALL, dtype=np.uint8))
        self.copies = [np.zeros(SMALL, dtype=np.int64)]
        self.at = 0

    @rule(plane=st.sampled_from(PLANES), value=st.sampled_from([0, 1, 2, 44, 255, 300, 70_000]), data=st.data())
    def write(self, plane: Plane, value: int, data: st.DataObject) -> None:
        where = data.draw(hnp.arrays(np.bool_, plane.shape_in(SMALL)))
        after = self.copies[self.at].copy()
        after[plane.key][where] = value
        self.labels.write(plane, where, value)
        if not np.array_equal(after, self.copies[self.at]):
            self.copies = [*self.copies[: self.at + 1], after]
            self.at += 1

    @rule(planes=st.lists(st.sampled_from(PLANES), max_size=3), data=st.data())
    def put(self, planes: list[Plane], data: st.DataObject) -> None:
        """Whole slices, which may cross each other or come twice, as one step."""
        after = [self.copies[self.at]]
        slices = [(p, data.draw(hnp.arrays(np.int64, p.shape_in(SMALL), elements=VALUES))) for p in planes]
        for plane, values in slices:
            after.append(after[-1].copy())
            after[-1][plane.key] = values
        self.labels.put(iter(slices))
        if any(not np.array_equal(a, b) for a, b in itertools.pairwise(after)):
            self.copies = [*self.copies[: self.at + 1], after[-1]]
            self.at += 1

    @rule()
    def undo(self) -> None:
        self.labels.undo()
        self.at = max(self.at - 1, 0)

    @rule()
    def redo(self) -> None:
        self.labels.redo()
        self.at = min(self.at + 1, len(self.copies) - 1)

    @invariant()
    def voxels_are_those_of_the_copy(self) -> None:
        now = self.copies[self.at]
        assert np.array_equal(self.labels.data, now)
        assert self.labels.highest() == now.max()
        for plane in PLANES[:3]:
            assert np.array_equal(self.labels.read(plane), now[plane.key])


class EmptyHistory(History):
    """The same laws for labels that start without an array; reads of `data` would make one, so they are left out."""

    def __init__(self) -> None:
        super().__init__()
        self.labels = ArrayLabels.empty(SMALL)

    @invariant()
    def voxels_are_those_of_the_copy(self) -> None:
        now = self.copies[self.at]
        assert self.labels.shape == SMALL
        assert self.labels.highest() == now.max()
        for plane in PLANES:
            assert np.array_equal(self.labels.read(plane), now[plane.key])

    def teardown(self) -> None:
        assert np.array_equal(self.labels.data, self.copies[self.at])


TestHistory = History.TestCase
TestEmptyHistory = EmptyHistory.TestCase
TestHistory.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestEmptyHistory.settings = TestHistory.settings


def test_a_write_changes_the_pixels_of_its_own_slice_only() -> None:
    for axis in range(3):
        labels = ArrayLabels.empty(SHAPE)
        plane = Plane.across(axis, 2)
        expected = np.zeros(SHAPE, dtype=int)
        expected[plane.key][1:3, 2:4] = 5
        labels.write(plane, box_mask(plane.shape_in(SHAPE), slice(1, 3), slice(2, 4)), 5)
        assert np.array_equal(labels.data, expected)


def test_slices_put_before_one_that_fails_stay_and_are_one_step() -> None:
    labels = ArrayLabels.empty(SHAPE)
    ones = np.ones((6, 8), dtype=int)
    labels.write(axial(3), ones > 0, 7)

    def slices():
        yield axial(0), ones * 4
        yield axial(1), ones * 5
        yield axial(2), -ones

    with pytest.raises(LabelsError, match="-1"):
        labels.put(slices())
    assert [np.unique(labels.read(axial(z))).tolist() for z in range(4)] == [[4], [5], [0], [7]]
    labels.undo()
    assert [np.unique(labels.read(axial(z))).tolist() for z in range(4)] == [[0], [0], [0], [7]]


def test_a_write_that_changes_nothing_is_no_step() -> None:
    labels = ArrayLabels.empty(SHAPE)
    mask = box_mask((6, 8), slice(1, 3), slice(2, 4))
    labels.write(axial(1), mask, 3)
    labels.write(axial(1), mask, 3)
    labels.write(axial(2), np.zeros((6, 8), dtype=bool), 4)
    labels.undo()
    assert not labels.data.any()


def test_undo_and_redo_at_the_ends_do_nothing() -> None:
    labels = ArrayLabels.empty(SHAPE)
    labels.undo()
    labels.redo()
    assert not labels.data.any()


def test_undo_loses_no_pixels_that_were_there_before() -> None:
    """napari-sam: undo loses pixels, and the first click erases what was there."""
    before = np.zeros(SHAPE, dtype=np.uint16)
    before[1, 1:5, 2], before[1, 4, 2:6] = 7, 9
    labels = ArrayLabels(before.copy())
    labels.write(axial(1), box_mask((6, 8), slice(0, 6), slice(0, 8)), 3)
    labels.undo()
    assert np.array_equal(labels.data, before)


def test_an_array_is_written_in_place_while_its_type_suffices() -> None:
    data = np.zeros(SHAPE, dtype=np.uint8)
    labels = ArrayLabels(data)
    labels.write(axial(0), np.ones((6, 8), dtype=bool), 255)
    assert labels.data is data
    assert (data[0] == 255).all()


def test_the_256th_instance_does_not_overflow_uint8() -> None:
    """nnInteractive: the 256th instance overflows uint8."""
    labels = ArrayLabels(np.zeros(SHAPE, dtype=np.uint8))
    for value in (255, 256):
        labels.write(axial(value - 255), np.ones((6, 8), dtype=bool), value)
    assert labels.data.dtype == np.uint16
    assert [np.unique(labels.read(axial(z))).tolist() for z in range(4)] == [[255], [256], [0], [0]]
    labels.undo()
    labels.undo()
    assert not labels.data.any()


def test_300_does_not_become_44() -> None:
    """Crick: 300 becomes 44."""
    labels = ArrayLabels(np.zeros(SHAPE, dtype=np.uint8))
    labels.write(axial(0), np.ones((6, 8), dtype=bool), 300)
    assert labels.highest() == 300
    assert labels.read(axial(0)).max() == 300


def test_the_65536th_instance_is_kept_too() -> None:
    labels = ArrayLabels.empty(SHAPE)
    assert labels.data.dtype == np.uint16
    labels.write(axial(0), np.ones((6, 8), dtype=bool), 65_536)
    assert labels.highest() == 65_536


@pytest.mark.parametrize("value", [-1, 2**32])
def test_a_value_that_no_type_holds_is_refused_and_nothing_changes(value: int) -> None:
    labels = ArrayLabels.empty(SHAPE)
    labels.write(axial(0), np.ones((6, 8), dtype=bool), 2)
    with pytest.raises(LabelsError, match=str(value)):
        labels.write(axial(1), np.ones((6, 8), dtype=bool), value)
    assert labels.data.dtype == np.uint16
    assert labels.highest() == 2
    assert not labels.data[1].any()
    labels.undo()
    assert not labels.data.any()


@pytest.mark.parametrize(
    ("dtype", "value", "grown"),
    [
        ("uint8", 255, "uint8"),
        ("uint8", 256, "uint16"),
        ("int8", 128, "int32"),
        ("uint16", 65_535, "uint16"),
        ("uint16", 65_536, "uint32"),
        ("int16", 40_000, "int32"),
        ("int32", 2**31, "int64"),
        ("int64", 2**31, "int64"),
        ("uint32", 2**32 - 1, "uint32"),
    ],
)
def test_types_grow_to_the_smallest_that_holds_the_value(dtype: str, value: int, grown: str) -> None:
    assert grown_dtype(np.dtype(dtype), value) == np.dtype(grown)


def test_growing_does_not_turn_a_negative_label_into_a_large_one() -> None:
    """Some tools mark voxels to ignore with -1; no type of GROWTH holds it."""
    data = np.zeros(SHAPE, dtype=np.int16)
    data[3, 5, 7] = -1
    try:
        labels = ArrayLabels(data)
        labels.write(axial(0), np.ones((6, 8), dtype=bool), 40_000)
    except LabelsError:
        return
    assert labels.data[3, 5, 7] == -1


# -- steps, and the memory that they take ----------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 11))))
def test_a_mask_is_packed_without_loss(pixels: np.ndarray) -> None:
    assert np.array_equal(Packed(pixels).mask(), pixels)


def test_a_small_object_on_a_large_slice_takes_little_memory() -> None:
    pixels = np.zeros((512, 512), dtype=bool)
    pixels[100:140, 200:260] = True
    assert Packed(pixels).nbytes == 40 * 60 / 8


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_undo_and_redo_are_exact_whatever_was_there_and_comes(data: st.DataObject) -> None:
    """One value or many, before and after; some slices cross; the type grows on the way."""
    before = data.draw(hnp.arrays(np.uint8, (5, 6, 4), elements=st.sampled_from([0, 3]) | st.integers(0, 255)))
    labels = ArrayLabels(before.copy())
    states = [before.astype(np.int64)]
    for _ in range(data.draw(st.integers(1, 3))):
        after = states[-1].copy()
        slices = []
        for axis, i in data.draw(st.lists(st.sampled_from([(0, 2), (0, 3), (1, 5), (2, 0)]), min_size=1, max_size=3)):
            plane = Plane.across(axis, i)
            block = after[plane.key].copy()
            ends = [data.draw(st.tuples(st.integers(0, n), st.integers(0, n))) for n in block.shape]
            where = tuple(slice(min(pair), max(pair)) for pair in ends)
            values = data.draw(st.just(7) | hnp.arrays(np.int64, block[where].shape, elements=st.integers(0, 70_000)))
            block[where] = values
            slices.append((plane, block))
            after[plane.key] = block
        labels.put(slices)
        if not np.array_equal(after, states[-1]):
            states.append(after)
    for state in states[-2::-1]:
        labels.undo()
        assert np.array_equal(labels.data, state)
    for state in states[1:]:
        labels.redo()
        assert np.array_equal(labels.data, state)


def test_a_step_through_large_slices_is_kept_in_little_memory() -> None:
    labels = ArrayLabels(np.zeros((20, 512, 512), dtype=np.uint16))
    after = np.zeros((512, 512), dtype=np.int64)
    after[100:300, 150:350] = 4
    tracemalloc.start()
    labels.put((axial(z), after) for z in range(20))
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < 20 * 7_000, "a bit for each of 40,000 pixels"
    labels.undo()
    assert not labels.data.any()


def test_a_step_knows_whether_it_is_done() -> None:
    labels = ArrayLabels.empty(SHAPE)
    nothing = labels.latest()
    ones = np.ones((6, 8), dtype=int)
    labels.put([(axial(0), ones)])
    first = labels.latest()
    labels.write(axial(1), ones > 0, 5)
    second = labels.latest()

    def standing() -> list[Standing]:
        return [nothing.standing, first.standing, second.standing]

    done, undone = Standing.DONE, Standing.UNDONE
    assert standing() == [done, done, done]
    labels.undo()
    labels.undo()
    assert standing() == [done, undone, undone]
    assert labels.latest() is nothing
    labels.redo()
    assert standing() == [done, done, undone]
    assert labels.latest() is first
    labels.write(axial(2), ones > 0, 5)
    labels.redo()
    assert standing() == [done, done, undone], "what was drawn over cannot come back"
    labels.put([(axial(0), labels.read(axial(0)))])
    assert labels.latest() not in (first, second), "the one before, for nothing was changed"


def test_what_is_read_is_a_copy() -> None:
    labels = ArrayLabels.empty(SHAPE)
    labels.read(axial(0))[...] = 9
    assert labels.highest() == 0


# -- labels of images that are larger than the memory ---------------------------------------------------------

HUGE = (2**46, 4, 4)
BEYOND_NUMPY = (2**60, 4, 4)


@pytest.mark.parametrize("shape", [HUGE, BEYOND_NUMPY])
def test_empty_labels_need_no_memory_until_something_is_written(shape: tuple[int, ...]) -> None:
    labels = ArrayLabels.empty(shape)
    assert labels.shape == shape
    assert labels.highest() == 0
    voxels = labels.read(axial(2**40))
    assert (voxels.shape, voxels.dtype, voxels.any()) == ((4, 4), np.uint16, False)
    labels.undo()
    labels.redo()
    labels.write(axial(0), np.zeros((4, 4), dtype=bool), 3)
    labels.write(axial(0), np.ones((4, 4), dtype=bool), 0)
    labels.undo()
    with pytest.raises(GeometryError):
        labels.read(axial(2**60))


@pytest.mark.parametrize("shape", [HUGE, BEYOND_NUMPY])
def test_labels_without_enough_memory_say_how_much_and_what_to_do(shape: tuple[int, ...]) -> None:
    labels = ArrayLabels.empty(shape)
    for needs in (lambda: labels.write(axial(1), np.ones((4, 4), dtype=bool), 1), lambda: labels.data):
        with pytest.raises(LabelsError, match=r"\d GB.*crop.*disk \(zarr\)"):
            needs()
    assert labels.highest() == 0
    labels.undo()
    with pytest.raises(LabelsError, match="-1"):
        labels.write(axial(1), np.ones((4, 4), dtype=bool), -1)


def test_labels_that_cannot_grow_for_want_of_memory_stay_as_they_are() -> None:
    repeated = np.lib.stride_tricks.as_strided(np.zeros(1, dtype=np.uint8), (2**47, 1, 1), (0, 0, 0))
    labels = ArrayLabels(repeated)
    with pytest.raises(LabelsError, match=r"562,950\.0 GB.*crop.*disk"):
        labels.write(axial(0), np.ones((1, 1), dtype=bool), 2**16)
    assert labels.data is repeated
    assert not labels.read(axial(5)).any()


def test_reading_many_slices_of_empty_labels_allocates_slices_only() -> None:
    tracemalloc.start()
    labels = ArrayLabels.empty((4, 1000, 1000))
    for z in range(4):
        labels.read(axial(z))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


@pytest.mark.parametrize("dtype", ["float32", "bool", "complex64"])
def test_labels_are_whole_numbers(dtype: str) -> None:
    with pytest.raises(LabelsError, match="whole numbers"):
        ArrayLabels(np.zeros(SHAPE, dtype=dtype))


def test_an_array_that_cannot_be_written_is_refused_and_says_so() -> None:
    """A file opened with mmap_mode="r", for example."""
    data = np.zeros(SHAPE, dtype=np.uint16)
    data.flags.writeable = False
    with pytest.raises(LabelsError):
        ArrayLabels(data).write(axial(0), np.ones((6, 8), dtype=bool), 1)


def test_slices_outside_the_labels_are_refused() -> None:
    labels = ArrayLabels.empty(SHAPE)
    with pytest.raises(GeometryError):
        labels.read(axial(4))
    with pytest.raises(GeometryError):
        labels.write(axial(4), np.ones((6, 8), dtype=bool), 1)


@given(st.data())
def test_indices_pick_the_pixels_of_the_slice(data: st.DataObject) -> None:
    plane = data.draw(st.sampled_from(PLANES))
    where = data.draw(hnp.arrays(np.bool_, plane.shape_in(SMALL)))
    volume = np.zeros(SMALL, dtype=bool)
    volume[indices_of(plane, where)] = True
    assert np.array_equal(volume[plane.key], where)
    assert volume.sum() == where.sum()


def test_indices_of_a_slice_of_four_axes() -> None:
    volume = np.zeros((2, *SHAPE), dtype=bool)
    where = box_mask((4, 8), slice(1, 3), slice(2, 7))
    volume[indices_of(Plane((1, 3), ((0, 1), (2, 4))), where)] = True
    assert np.array_equal(volume[1, :, 4, :], where)
    assert volume.sum() == where.sum()
