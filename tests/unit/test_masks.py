"""Where a mask may be written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_medsam.errors import LabelsError
from napari_medsam.masks import Overlap, paintable

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
