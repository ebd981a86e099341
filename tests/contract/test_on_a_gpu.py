"""Every family on a GPU, or on one that is not there: nothing is mixed up, and little goes to and fro.

On a made-up GPU (tests/far.py) the way that is taken is a GPU's, and so are the types; the kernels are the CPU's.
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
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.row)
def test_masks_are_the_cpus_and_little_goes_to_and_fro(family: Family, precision: str, traffic: Traffic) -> None:
    """What was encoded stays on the device: it is thousands of times as large as a prompt."""
    near, far = network_of(family, CPU), network_of(family, Compute("cuda", precision))
    assert all(one.is_cuda for one in _encoder_of(far).parameters())
    image = picture(family)
    features, there = near.embed(image), far.embed(image)
    assert all(isinstance(one, np.ndarray) for one in there.values())
    for name, prompts in questions(family).items():
        far.answer(there, prompts)  # the first one also prepares
        before = replace(traffic)
        answer = far.answer(there, prompts)
        assert traffic.brought - before.brought <= 3, f"{name}: points, their labels, a box or a mask"
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


def test_a_labeller_labels_there_too(traffic: Traffic) -> None:
    near, far = small_samed(CPU), small_samed(GPU)
    np.testing.assert_array_equal(far.label(hounsfield()), near.label(hounsfield()))


@pytest.mark.parametrize("objects", [1, 3])
def test_objects_are_followed_there_as_on_the_cpu(objects: int, traffic: Traffic) -> None:
    known = {i: Prompts(Box(8 + i, 14, 30, 50)) for i in range(objects)}
    found = []
    for compute in (CPU, GPU):
        model = remembering.made(compute=compute)
        seen = [model.encode(plane) for plane in remembering.planes(4)]
        tracker = model.tracker(4)
        tracker.condition(0, seen[0], known)
        found.append([tracker.follow(at, seen[at], list(known), Direction.UP) for at in (1, 2, 3)])
    for near, far in zip(*found, strict=True):
        assert near.keys() == far.keys() == known.keys()
        for one in known:
            assert (near[one].mask == far[one].mask).mean() > 0.999
            np.testing.assert_allclose(near[one].scores, far[one].scores, atol=1e-3)


def test_the_made_up_gpu_refuses_what_a_gpu_refuses(traffic: Traffic) -> None:
    """Else the tests above would show nothing."""
    here, there = torch.ones(2, 3), torch.ones(2, 3, device="cuda")
    with pytest.raises(Mixed, match="same device"):
        here + there
    with pytest.raises(Mixed, match="same device"):
        torch.nn.functional.linear(there, here)
    with pytest.raises((RuntimeError, TypeError)):
        there.numpy()
    assert (there + torch.tensor(1.0)).is_cuda, "a single number may come from the CPU"
    assert there[torch.tensor([1])].is_cuda, "and so may indices"
    np.testing.assert_array_equal(there.cpu().numpy(), here.numpy())


def _encoder_of(network: Any) -> Any:
    return network.encoder if hasattr(network, "encoder") else network.model
