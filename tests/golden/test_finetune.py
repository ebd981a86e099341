"""Fine-tuning: labels on five slices make the held-out slices better, and the file is one that the chooser loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_medsam.intensity import percentile_window
from napari_medsam.io import read_image, read_labels
from napari_medsam.models import registry
from napari_medsam.models.base import Segmenter
from napari_medsam.models.checkpoints.places import Places
from napari_medsam.models.compute import Compute
from napari_medsam.models.finetune.examples import Example, examples_of
from napari_medsam.models.finetune.people import box_about
from napari_medsam.models.finetune.tuning import Order, tune
from napari_medsam.models.loading import Loader
from napari_medsam.models.starter import Starter
from napari_medsam.prompts import Box, Prompts

STEPS = 50
LEARNT = 5
"""Labelled slices, spread evenly over the cord."""


@pytest.fixture(scope="module")
def cord(shared: Path) -> tuple[list[Example], list[Example]]:
    """Examples on the slices to learn from, and on all others."""
    path = shared / "data" / "volumes" / "cord_t2.nii.gz"
    if not path.exists():
        pytest.skip(f"no volume at {path}")
    values = np.asarray(read_image(path).data)
    labels = read_labels(path.with_name("cord_t2_labels.nii.gz")).array
    window = percentile_window(values)
    labelled = [z for z in range(len(labels)) if labels[z].any()]
    learnt = {labelled[int(i)] for i in np.linspace(0, len(labelled) - 1, LEARNT + 2)[1:-1]}
    sparse = np.where(np.isin(np.arange(len(labels)), list(learnt))[:, None, None], labels, 0)
    rest = labels - sparse
    return examples_of(values, sparse, window), examples_of(values, rest, window)


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def mean_dice(model: Segmenter, examples: list[Example]) -> float:
    found = []
    for example in examples:
        box = Box(*(int(v) for v in box_about(example.mask)))
        found.append(dice(model.decode(model.encode(example.plane), Prompts(box)).mask, example.mask))
    return float(np.mean(found))


def test_five_labelled_slices_make_the_others_better(cord: tuple[list[Example], list[Example]], tmp_path: Path) -> None:
    learnt, held = cord
    assert len(learnt) == LEARNT
    out = tmp_path / "cord.safetensors"
    told: list[tuple[int, int]] = []
    reference = tune(Order("starter", steps=STEPS), learnt, out, lambda step, steps, _: told.append((step, steps)))
    assert told[-1] == (STEPS, STEPS)
    assert reference == registry.reference("starter", out)
    tuned: Segmenter = Loader(Places((tmp_path,)), Compute("cpu"))(reference)  # type: ignore[assignment]
    before, after = mean_dice(Starter(), held), mean_dice(tuned, held)
    assert after > before + 0.003, f"{before:.4f} to {after:.4f} on {len(held)} held-out slices"
