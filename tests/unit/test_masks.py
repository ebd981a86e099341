"""Where a mask may be written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_medsam.errors import LabelsError
from napari_medsam.masks import Overlap, merged, paintable, revised

SHAPE = (3, 4)
LABELS = hnp.arrays(np.uint16, SHAPE, elements=st.sampled_from([0, 1, 2, 300]))
MASKS = hnp.arrays(np.bool_, SHAPE)


@given(LABELS, MASKS, st.sampled_from([1, 2, 5]))
def test_keeping_writes_free_pixels_of_the_mask_only(current: np.ndarray, mask: np.ndarray, value: int) -> None:
    where = paintable(current, mask, value, Overlap.KEEP)
    for pixel in np.ndindex(SHAPE):
        assert where[pixel] == (mask[pixel] and current[pixel] == 0)


@given(LABELS, MASKS, st.sampled_from([1, 2, 5]))
def test_overwriting_writes_every_pixel_of_the_mask_that_differs(
    current: np.ndarray, mask: np.ndarray, value: int
) -> None:
    where = paintable(current, mask, value, Overlap.OVERWRITE)
    for pixel in np.ndindex(SHAPE):
        assert where[pixel] == (mask[pixel] and current[pixel] != value)


@given(LABELS, LABELS, st.sampled_from(Overlap))
def test_labels_laid_over_others_take_free_pixels_or_all(
    current: np.ndarray, new: np.ndarray, overlap: Overlap
) -> None:
    after = merged(current, new, overlap)
    for pixel in np.ndindex(SHAPE):
        laid = new[pixel] and (current[pixel] == 0 or overlap is Overlap.OVERWRITE)
        assert after[pixel] == (new[pixel] if laid else current[pixel])


@given(LABELS, MASKS, st.sampled_from([1, 2, 5]), st.sampled_from(Overlap))
def test_a_revised_object_has_the_mask_and_nothing_else(
    current: np.ndarray, mask: np.ndarray, value: int, overlap: Overlap
) -> None:
    after = revised(current, mask, value, overlap)
    for pixel in np.ndindex(SHAPE):
        other = current[pixel] not in (0, value)
        if mask[pixel] and not (other and overlap is Overlap.KEEP):
            assert after[pixel] == value
        else:
            assert after[pixel] == (current[pixel] if other else 0)


def test_a_label_beyond_uint8_is_not_taken_for_its_remainder() -> None:
    """Crick: 300 becomes 44."""
    current = np.array([[44, 300]], dtype=np.uint16)
    mask = np.ones((1, 2), dtype=bool)
    assert paintable(current, mask, 300, Overlap.OVERWRITE).tolist() == [[True, False]]


def test_neither_array_is_written_to() -> None:
    current, mask = np.zeros(SHAPE, dtype=np.uint8), np.ones(SHAPE, dtype=bool)
    current.flags.writeable = mask.flags.writeable = False
    where = paintable(current, mask, 1, Overlap.KEEP)
    assert where.dtype == bool
    assert where.all()


@pytest.mark.parametrize("shape", [(4, 3), (3, 5), (1, 4), (12,)])
def test_a_mask_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(LabelsError, match="pixels"):
        paintable(np.zeros(SHAPE, dtype=np.uint8), np.ones(shape, dtype=bool), 1, Overlap.KEEP)
    with pytest.raises(LabelsError, match="pixels"):
        revised(np.zeros(SHAPE, dtype=np.uint8), np.ones(shape, dtype=bool), 1, Overlap.KEEP)
