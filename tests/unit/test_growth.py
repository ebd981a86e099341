"""What a run collects, in how much memory, how it is laid over labels; and whose a slice is, by digests alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medsam.geometry import Plane
from napari_medsam.labels import ArrayLabels
from napari_medsam.masks import Overlap
from napari_medsam.models.base import Direction
from napari_medsam.propagation.bystanders import touched
from napari_medsam.propagation.gathering import Followed
from napari_medsam.propagation.growth import Growth
from napari_medsam.propagation.plan import Ended, Grown
from napari_medsam.propagation.provenance import EMPTY, Entry, Kind, Provenance, digest
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.why import Why
from napari_medsam.shapes import bounds_of

from .following import HOW, SHAPE, STACK, document, propose

PLANE = SHAPE[1:]


def mask(*where: tuple) -> np.ndarray:
    out = np.zeros(PLANE, dtype=bool)
    for each in where:
        out[each] = True
    return out


def planned(*positions: int) -> Growth:
    session = document()
    for position in positions:
        propose(session, position, key=str(position))
    return session.plan_propagation(STACK, **HOW)


def found(position: int, pixels: np.ndarray, score: float = 0.5, number: int = 1) -> Grown:
    return Grown(number, position, pixels, score, 4, Direction.UP, "")


def test_results_are_given_back_by_slice_and_number() -> None:
    growth = planned(4)
    assert not growth
    growth.add(found(5, mask(np.s_[2:4, 3])))
    growth.add(found(3, mask(np.s_[1, 1]), 0.25))
    growth.add(found(3, mask(np.s_[1, 2]), 0.75))
    growth.add(Ended(1, 5, Direction.UP, 4, Why.EMPTY, 3))
    assert (len(growth), growth.positions, growth.steps) == (2, (3, 5), 5)
    assert np.array_equal(growth.masks(3)[1], mask(np.s_[1, 2])), "the later answer counts"
    assert growth.scores(3) == {1: 0.75}
    assert growth.masks(8) == {}
    assert [str(ended.why) for ended in growth.ended] == ["nothing found"]


def test_only_slices_with_a_result_are_laid_over_labels() -> None:
    growth = planned(4)
    growth.add(found(5, mask(np.s_[2:4, 3])))
    labels = ArrayLabels.empty(SHAPE)
    (laid,) = growth.laid_over(labels.read, [6], Overlap.KEEP)
    assert (laid.position, laid.plane) == (5, STACK.plane(5))
    assert np.array_equal(laid.after, 6 * mask(np.s_[2:4, 3]))
    assert laid.entries[6].before == EMPTY
    assert laid.entries[6].after == digest(mask(np.s_[2:4, 3]))


@pytest.mark.parametrize(("overlap", "shared"), [(Overlap.KEEP, 3), (Overlap.OVERWRITE, 8)])
def test_objects_of_one_run_meet_by_the_overlap_rule_in_their_order(overlap: Overlap, shared: int) -> None:
    plan = planned(4).plan
    one = Followed(0, "", (plan.subjects[0],))
    two = Followed(0, "", (type(plan.subjects[0])(2, plan.subjects[0].keys, plan.subjects[0].span),))
    growth = Growth(plan, [one, two], ArrayLabels.empty(SHAPE))
    growth.add(found(5, mask(np.s_[2, 2:6])))
    growth.add(found(5, mask(np.s_[2, 4:9]), number=2))
    (laid,) = growth.laid_over(growth.labels.read, [3, 8], overlap)
    assert laid.after[2].tolist() == [0, 0, 3, 3, shared, shared, 8, 8, 8, 0, 0, 0, 0, 0]
    assert laid.entries[3].after == digest(laid.after == 3), "what is noted is what is really there"


# -- whose a slice is ------------------------------------------------------------------------------------------


A, B, C = mask(np.s_[0, 0]), mask(np.s_[1, 1]), mask(np.s_[2, 2])
NONE = mask()


class Pixels(dict):
    """The object's masks by position, empty elsewhere."""

    def __missing__(self, position: int) -> np.ndarray:
        return NONE


def wrote(before: np.ndarray, after: np.ndarray, kind: Kind = Kind.GROWN) -> Entry:
    return Entry(kind, digest(before), digest(after), 0.5, 4)


def letters(provenance: Provenance, now: Pixels) -> str:
    trail = provenance.trail(1, STACK, now.__getitem__)
    seen = (trail.at(position) for position in range(SHAPE[0]))
    return "".join("." if s is None else "e" if s.empty else s.kind.name[0].lower() for s in seen)


def test_a_slice_without_a_run_is_the_users() -> None:
    assert letters(Provenance(), Pixels({2: A})) == "..k......"


def test_a_second_run_is_undone_to_the_first_and_the_first_to_nothing() -> None:
    provenance, now = Provenance(), Pixels({3: A, 4: A, 5: A})
    provenance.note(1, STACK, {3: wrote(NONE, A), 4: wrote(NONE, A, Kind.KEY), 5: wrote(NONE, A)}, now.__getitem__)
    now[4] = C
    assert letters(provenance, now) == "...gcg..."
    second = now | {3: B, 5: B}
    provenance.note(1, STACK, {3: wrote(A, B), 5: wrote(A, B)}, Pixels(second).__getitem__)
    assert letters(provenance, Pixels(second)) == "...gcg..."
    assert letters(provenance, now) == "...gcg...", "after undo of the second"
    assert letters(provenance, Pixels(now | {4: A})) == "...gkg..."
    assert letters(provenance, Pixels()) == ".........", "after undo of the first"


def test_a_slice_that_a_run_has_cleared_is_no_stop_and_one_that_the_user_has_is() -> None:
    provenance, now = Provenance(), Pixels({3: A, 4: A, 5: A})
    provenance.note(1, STACK, {p: wrote(NONE, A) for p in (3, 4, 5)}, now.__getitem__)
    now = Pixels({3: A, 4: B})
    provenance.note(1, STACK, {4: wrote(A, B), 5: wrote(A, NONE)}, now.__getitem__)
    assert letters(provenance, now) == "...gg...."
    del now[3]
    assert letters(provenance, now) == "...eg...."


def test_a_run_that_was_undone_is_forgotten_by_the_next() -> None:
    provenance, now = Provenance(), Pixels({3: A, 4: A, 5: A})
    provenance.note(1, STACK, {p: wrote(NONE, A) for p in (3, 4, 5)}, now.__getitem__)
    now = Pixels({3: A, 4: B})  # undone, and another run found the same on slice 3
    provenance.note(1, STACK, {3: wrote(NONE, A), 4: wrote(NONE, B)}, now.__getitem__)
    assert letters(provenance, now) == "...gg...."


def test_objects_and_stacks_are_told_apart() -> None:
    provenance, now = Provenance(), Pixels({3: A})
    provenance.note(2, STACK, {3: wrote(NONE, A)}, now.__getitem__)
    assert letters(provenance, now) == "...k....."
    provenance.forget(2)
    assert provenance.trail(2, STACK, now.__getitem__).entry(3) is None


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_the_slices_of_a_stack_that_a_write_touches_are_those_with_its_voxels(data: st.DataObject) -> None:
    """(time, z, row, column), stacks through time and depth from any side."""
    shape = (2, 3, 4, 5)
    axes = data.draw(st.lists(st.sampled_from(list(itertools.combinations(range(4), 2))), min_size=2, max_size=2))
    places = [data.draw(st.tuples(*(st.integers(0, n - 1) for n in shape))) for _ in axes]
    written, other = (
        Plane(pair, tuple((axis, at) for axis, at in enumerate(place) if axis not in pair))
        for pair, place in zip(axes, places, strict=True)
    )
    stack = Stack.through(other, shape, data.draw(st.sampled_from([axis for axis, _ in other.index])))
    rows, columns = (data.draw(st.integers(0, n - 1)) for n in written.shape_in(shape))
    region = slice(rows, rows + 2), slice(columns, columns + 1)
    voxels = np.zeros(shape, dtype=bool)
    voxels[written.key][region] = True
    region = bounds_of(voxels[written.key])
    expected = [at for at in range(stack.size) if voxels[stack.plane(at).key].any()]
    assert list(touched(stack, written, region)) == expected
