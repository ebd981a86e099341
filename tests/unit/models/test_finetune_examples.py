"""What is learnt from: objects on labelled slices, and prompts for them as people give them."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medsam.errors import LabelsError, ModelError
from napari_medsam.intensity import Window
from napari_medsam.models.finetune.examples import Example, digest_of, examples_of, pieces, require_some
from napari_medsam.models.finetune.people import box_about, click_in, drawn_box, first_try
from napari_medsam.models.finetune.samples import Batch, Shares, sample
from napari_medsam.models.finetune.settings import Settings

WINDOW = Window(0, 1000)


def l_shape() -> np.ndarray:
    mask = np.zeros((30, 44), dtype=bool)
    mask[8:22, 10:15] = True
    mask[18:22, 10:31] = True
    return mask


def volume() -> tuple[np.ndarray, np.ndarray]:
    """Five slices, of which the second and the fourth are labelled."""
    values = np.random.default_rng(2).integers(0, 1000, (5, 30, 44)).astype(np.int16)
    labels = np.zeros(values.shape, np.uint8)
    labels[1][l_shape()] = 3
    labels[3, 2:7, 30:40] = 3
    labels[3, 20:26, 30:40] = 7
    return values, labels


def test_every_object_on_every_labelled_slice_and_no_other_slice() -> None:
    values, labels = volume()
    found = examples_of(values, labels, WINDOW)
    assert [int(e.mask.sum()) for e in found] == [int(l_shape().sum()), 50, 60]
    np.testing.assert_array_equal(found[0].plane, values[1].astype(np.int64) * 255 // 1000)


def test_slices_are_cut_across_the_axis_that_was_labelled() -> None:
    values, labels = volume()
    turned = examples_of(np.moveaxis(values, 0, 2), np.moveaxis(labels, 0, 2), WINDOW, axis=2)
    for one, other in zip(examples_of(values, labels, WINDOW), turned, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
        np.testing.assert_array_equal(one.plane, other.plane)


def test_images_of_two_and_four_axes_and_in_colour() -> None:
    values, labels = volume()
    assert len(examples_of(values[3], labels[3], WINDOW)) == 2
    assert len(examples_of(np.stack([values] * 2), np.stack([labels] * 2), WINDOW)) == 6
    colour = examples_of(np.repeat(values[..., None], 3, -1), labels, WINDOW)
    assert [e.plane.shape for e in colour] == [(30, 44, 3)] * 3


def test_labels_of_another_shape_are_refused_in_words() -> None:
    values, labels = volume()
    with pytest.raises(LabelsError, match="must be the same"):
        examples_of(values[:4], labels, WINDOW)


def test_far_pieces_are_objects_by_themselves_and_slips_are_none() -> None:
    mask = np.zeros((30, 44), dtype=bool)
    mask[2:8, 3:9] = mask[20:26, 30:36] = True
    mask[15, 20] = True
    assert [int(p.sum()) for p in pieces(mask)] == [36, 36]
    with pytest.raises(LabelsError, match="Label some slices"):
        require_some([])


def test_the_digest_sees_pixels_and_masks() -> None:
    plane, mask = np.zeros((30, 44), np.uint8), l_shape()
    one = digest_of([Example(plane, mask)])
    assert one == digest_of([Example(plane.copy(), mask.copy())])
    assert one != digest_of([Example(plane + 1, mask)])
    assert one != digest_of([Example(plane, ~mask)])


def test_boxes_and_clicks_lie_about_the_object() -> None:
    rng, mask = np.random.default_rng(0), l_shape()
    assert box_about(mask) == (7, 9, 23, 32)
    for _ in range(40):
        row0, column0, row1, column1 = drawn_box(mask, rng)
        assert 0 <= row0 < 15 < row1 <= 30
        assert 0 <= column0 < 20 < column1 <= 44
        assert mask[click_in(mask, rng)]
        assert (first_try(mask, rng) & mask).sum() > 4


def test_a_sample_lies_across_and_holds_what_was_asked_for() -> None:
    rng, mask = np.random.default_rng(0), l_shape()
    plane = np.where(mask, 200, 50).astype(np.uint8)
    batch = Batch.of([sample(plane.T, mask.T, rng, Shares(with_mask=0.5)) for _ in range(40)])
    assert batch.views.shape == (40, 64, 64)
    assert 10 < batch.has_mask.sum() < 30
    for box, there in zip(batch.boxes, batch.has_box, strict=True):
        assert bool(box.any()) == there
        if there:
            assert np.ptp(np.flatnonzero(box.any(0))) >= np.ptp(np.flatnonzero(box.any(1)))
    inside = batch.views[batch.targets > 250]
    assert np.median(inside) > 150


def test_the_rate_rises_and_falls() -> None:
    settings = Settings(steps=50, batch=4, rate=1e-3)
    rates = [settings.rate_at(step) for step in range(50)]
    assert np.argmax(rates) in (4, 5)
    assert max(rates) == pytest.approx(1e-3)
    assert rates[-1] < 1e-5
    with pytest.raises(ModelError):
        Settings(steps=0, batch=4, rate=1e-3)
