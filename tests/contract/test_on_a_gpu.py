"""Every family on a GPU that is not there (tests/far.py): nothing is mixed up, and little goes to and fro.

The way that is taken is a GPU's, and so are the types; the kernels are the CPU's. The golden tests run on real ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.far import Mixed, Traffic, far_device

from napari_medsam.models import registry, sam
from napari_medsam.models.base import Direction
from napari_medsam.models.channel_attention import by_kernel
from napari_medsam.models.compute import Compute, device_of, precision_of
from napari_medsam.models.frame import InputPrompts
from napari_medsam.prompts import Box, PromptKind, Prompts

from . import remembering
from .families import CPU, FAMILIES, Family, narrow
from .test_labeller_contract import hounsfield, small_samed

GPU = Compute("cuda", "float32")
NO_POINTS = np.empty((0, 2), np.float32), np.empty(0, np.int64)
CLICKS = np.array([[90, 40], [70, 66]], np.float32), np.array([1, 0])

LIMITS = {"float32": 1e-4, "auto": 5e-2}
"""Differences of masks' logits from the CPU's in float32, as parts of the largest. What whole networks lose, which even
more out than these narrow ones, is in tests/golden."""


DIFFERENT = [family for family in FAMILIES if family.row not in ("medsam", "litemedsam-scribble")]
"""Those two are the networks of others with other frames."""


@pytest.fixture
def traffic() -> Iterator[Traffic]:
    with far_device() as counted:
        yield counted


def picture(family: Family, seed: int = 0) -> Any:
    return np.random.default_rng(seed).random((3, family.size, family.size), dtype=np.float32)


def network_of(family: Family, compute: Compute) -> Any:
    """The same weights each time."""
    torch.manual_seed(5)
    return family.network(compute)


def questions(family: Family) -> dict[str, InputPrompts]:
    """One of each kind that the family takes."""
    box = np.array([0.2, 0.3, 0.7, 0.8], np.float32) * family.size
    asked = {"box": InputPrompts(*NO_POINTS, box), "points": InputPrompts(*CLICKS), "both": InputPrompts(*CLICKS, box)}
    if PromptKind.MASK in registry.row(family.row).prompts:
        shown = np.linspace(-4, 4, family.logits**2, dtype=np.float32).reshape(family.logits, family.logits)
        asked["mask"] = InputPrompts(*NO_POINTS, mask=shown)
    return asked


def apart(ours: Any, theirs: Any) -> float:
    return float(np.abs(ours.astype(np.float64) - theirs).max() / np.abs(theirs).max())


def test_the_device_is_the_gpu_and_halves_are_chosen(traffic: Traffic) -> None:
    assert device_of(Compute()) == torch.device("cuda", 0)
    assert precision_of(Compute(), torch.device("cuda", 0)) == torch.bfloat16


@pytest.mark.parametrize("precision", list(LIMITS))
@pytest.mark.parametrize("family", DIFFERENT, ids=lambda family: family.row)
def test_masks_are_the_cpus_and_little_goes_to_and_fro(family: Family, precision: str, traffic: Traffic) -> None:
    """What was encoded stays on the device: it is thousands of times as large as a prompt."""
    near, far = network_of(family, CPU), network_of(family, Compute("cuda", precision))
    assert all(one.is_cuda for one in _encoder_of(far).parameters())
    image = picture(family)
    before = replace(traffic)
    features, there = near.embed(image), far.embed(image)
    assert traffic.brought == before.brought + 1, "the picture, and nothing block by block"
    assert all(isinstance(one, np.ndarray) for one in there.values())
    asked = questions(family)
    stored = {name: one.copy() for name, one in there.items()}
    exact = near.answer(features, asked["box"]).logits
    assert apart(far.answer(stored, asked["box"]).logits, exact) <= LIMITS[precision], "from the computer's memory"
    most = 4 * family.logits**2 + 1000  # a mask, or some points
    for name, prompts in asked.items():
        before = replace(traffic)
        answer = far.answer(there, prompts)
        assert traffic.brought - before.brought <= 3, f"{name}: points, their labels, a box or a mask"
        assert traffic.nbytes - before.nbytes < most < min(one.nbytes for one in there.values()), name
        assert traffic.fetched - before.fetched <= 2, f"{name}: logits and scores"
        assert traffic.waits - before.waits <= 6, f"{name}: SAM's own prompt encoder looks for kinds of points"
        assert apart(answer.logits, near.answer(features, prompts).logits) <= LIMITS[precision], name


def test_a_batch_is_as_many_launches_as_one_input(traffic: Traffic) -> None:
    """What a GPU gains from batches: the processor tells it as little for eight slices as for one."""
    torch.manual_seed(5)
    network = sam.network(narrow(1024), Compute("cuda"))
    assert network.batch == 1, "not yet known what an input takes"
    images = [np.random.default_rng(i).random((3, 1024, 1024), dtype=np.float32) for i in range(3)]
    told = []
    for some in (images[:1], images):
        before = replace(traffic)
        found = network.embed_batch(some)
        told.append(traffic.launches - before.launches)
        assert traffic.stops == before.stops + len(some), "each is fetched once"
    assert told[1] <= told[0] + 3 * len(images), "a few for what each is kept by"
    alone = network.embed(images[2])
    assert apart(found[2]["image"], alone["image"]) < 1e-2
    assert network.batch > 1


@pytest.mark.parametrize("precision", list(LIMITS))
def test_a_labeller_labels_there_too(precision: str, traffic: Traffic) -> None:
    near, far = small_samed(CPU), small_samed(Compute("cuda", precision))
    assert (far.label(hounsfield()) == near.label(hounsfield())).mean() > (0.9999 if precision == "float32" else 0.97)


@pytest.mark.parametrize(("objects", "precision"), [(1, "float32"), (3, "float32"), (2, "auto")])
def test_objects_are_followed_there_as_on_the_cpu(objects: int, precision: str, traffic: Traffic) -> None:
    known = {i: Prompts(Box(8 + i, 14, 30, 50)) for i in range(objects)}
    found = []
    for compute in (CPU, Compute("cuda", precision)):
        model = remembering.made(compute=compute)
        seen = [model.encode(plane) for plane in remembering.planes(4)]
        tracker = model.tracker(4)
        tracker.condition(0, seen[0], known)
        found.append([tracker.follow(at, seen[at], list(known), Direction.UP) for at in (1, 2, 3)])
    for near, far in zip(*found, strict=True):
        assert near.keys() == far.keys() == known.keys()
        for one in known:
            exact = precision == "float32"
            assert (near[one].mask == far[one].mask).mean() > (0.999 if exact else 0.9)
            np.testing.assert_allclose(near[one].scores, far[one].scores, atol=1e-3 if exact else 0.1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_fused_kernel_takes_the_attention() -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fused = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
    with torch.inference_mode(), sdpa_kernel(fused):  # which fails where none of them can
        for rows, depth in ((64, 64), (14, 64), (64, 80)):
            parts = [torch.randn(1, 2, rows * rows, size, device="cuda") for size in [depth] * 3 + [rows] * 2]
            halves = [one.bfloat16() for one in parts[:3]]
            assert by_kernel(*halves, *parts[3:]).isfinite().all()


def test_the_made_up_gpu_refuses_what_a_gpu_refuses(traffic: Traffic) -> None:
    """Else the tests above would show nothing."""
    here, there = torch.ones(2, 3), torch.ones(2, 3, device="cuda")
    with pytest.raises(Mixed, match="same device"):
        here + there
    with pytest.raises(Mixed, match="same device"):
        torch.nn.functional.linear(there, here)
    with pytest.raises((RuntimeError, TypeError)):
        there.numpy()
    with pytest.raises(Mixed, match="CUDA"):
        torch.ops.mkldnn._linear_pointwise(there, there, None, "none", [], "")
    assert (there + torch.tensor(1.0)).is_cuda, "a single number may come from the CPU"
    assert there[torch.tensor([1])].is_cuda, "and so may indices"
    np.testing.assert_array_equal(there.cpu().numpy(), here.numpy())


def _encoder_of(network: Any) -> Any:
    return network.encoder if hasattr(network, "encoder") else network.model
