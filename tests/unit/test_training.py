"""The training recipe: its first batch is the recorded one, a seed gives its samples, a view goes there and back."""

from __future__ import annotations

import hashlib
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE.parent / "training"))

from generator import Recipe, batches, scene_samples  # noqa: E402

from napari_medsam.models.finetune.samples import Batch  # noqa: E402
from napari_medsam.models.starter_views import View  # noqa: E402

RECIPE = Recipe(size=64, shuffle=32)

RECORDED = {
    "targets": "f92b81c1815ece2f73446644dda2b66e872dfeff1c8da2348b25b105f8281a18",
    "inside": "e49cbc05a44c60d4317e4cec5e398fe760724fbb6550386e0eaacdf9e9f60343",
    "boxes": "4dcafa6e6593da6c34393b0d68418a89254f31152b224a12f8e060886bfc662c",
    "given": "e6fbfca08c416c50cce24c977d5a5ceb371ef8f3a80b51e2b14ec0b84c286faf",
    "has_box": "adc79297c7ebb442bef24b42b239904efa4722f7b7e8e4dd710893c87ef2a0f6",
    "has_mask": "51e51568e9290b172f55e4ef53fe93d5da3a3e56dd0e83b382c44e93e830d1b8",
}
VIEWS = "2f1015a744409e3e0aeebfaa98ce4c7e2c5733d56d55fdf6d47987da26c6940b"
VIEW_SUMS: tuple[int, ...] = (
    494446,
    507075,
    347984,
    748506,
    755383,
    470887,
    273513,
    884356,
    550308,
    577659,
    540697,
    287467,
    693933,
    534065,
    554977,
    583786,
)


def digest(values: NDArray[np.generic]) -> str:
    """SHA-256 of type, shape and bytes."""
    head = f"{values.dtype.str}{values.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(values).tobytes()).hexdigest()


@pytest.fixture(scope="module")
def first() -> Batch:
    return next(batches(RECIPE, 16))[0]


@pytest.mark.parametrize("name", RECORDED)
def test_what_is_drawn_is_the_recorded_first_batch_bit_by_bit(first: Batch, name: str) -> None:
    assert digest(getattr(first, name)) == RECORDED[name]


def test_what_is_seen_is_the_recorded_first_batch(first: Batch) -> None:
    """Bit by bit, or, where another library for linear algebra adds in another order, but for a rounding or two."""
    if digest(first.views) != VIEWS:
        np.testing.assert_allclose(first.views.sum((1, 2), dtype=np.int64), VIEW_SUMS, atol=3)


def test_a_scene_does_not_depend_on_those_before_it() -> None:
    alone = scene_samples(RECIPE, 41)
    for index in (3, 40):
        scene_samples(RECIPE, index)
    again = scene_samples(RECIPE, 41)
    assert all(np.array_equal(a, b) for x, y in zip(alone, again, strict=True) for a, b in zip(x[0], y[0], strict=True))


def test_another_seed_gives_other_samples(first: Batch) -> None:
    other, _ = next(batches(Recipe(seed=7, size=64, shuffle=32), 16))
    assert not np.array_equal(first.views, other.views)


def test_a_given_mask_is_there_where_it_is_said(first: Batch) -> None:
    assert first.has_mask.any()
    np.testing.assert_array_equal(first.given.any((1, 2)), first.has_mask)
    assert first.has_box[first.has_mask].all()


@pytest.mark.parametrize("box", [(5, 9, 30, 21), (0, 0, 50, 70), (40, 60, 48, 69)])
def test_a_mask_goes_into_the_view_and_back(box: tuple[int, int, int, int]) -> None:
    mask = np.zeros((50, 70), bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    view = View.around(box, 96)
    back = view.back(view.look(mask)[None], mask.shape, 0.0)[0] > 0.5
    assert np.count_nonzero(back != mask) <= 4


def test_positions_agree_with_samples() -> None:
    plane = np.zeros((40, 60), np.float32)
    plane[12, 33] = 1
    view = View.around((8, 25, 18, 45), 96)
    row, column = view.to_view(12, 33)
    found = np.unravel_index(int(view.look(plane).argmax()), (96, 96))
    assert abs(found[0] - row) <= 3
    assert abs(found[1] - column) <= 3


def test_a_step_can_be_asked_of_a_gpu_as_of_the_cpu(first: Batch) -> None:
    """Up to its loss: a GPU that is made up has no way back."""
    torch = pytest.importorskip("torch")
    import train
    from tests.far import far_device

    settings = tomllib.loads((HERE.parent / "training" / "config.toml").read_text()) | train.SMOKE

    def loss_on(device: str) -> float:
        run = train.Run(settings, train.Place(0, 1, device, 0))
        with torch.autocast(device, dtype=torch.bfloat16):
            loss, _ = train.rounds(run.network, train.Samples.of(first, device), torch.Generator().manual_seed(0))
        assert loss.device.type == device
        return float(loss.detach().cpu())

    with far_device():
        far = loss_on("cuda")
    assert far == pytest.approx(loss_on("cpu"), rel=0.02)
