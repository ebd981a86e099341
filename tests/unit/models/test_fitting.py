"""Tensors of a checkpoint are put into a network strictly, once, and independently of the file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from napari_medsam.errors import CheckpointError
from napari_medsam.models.checkpoints.fitting import load_into, skeleton
from napari_medsam.models.checkpoints.reading import read

PATH = Path("weights.pth")
WHAT = "the small network"


class Small(nn.Module):
    """A network with parameters, buffers of both kinds, and a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 5)
        self.norm = nn.BatchNorm2d(4)
        self.last = nn.Linear(4, 2)
        self.register_buffer("mean", torch.ones(3), persistent=False)


def state(kind: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    dice = torch.Generator().manual_seed(3)
    like = Small().state_dict()
    drawn = {name: 3 * torch.rand(values.shape, generator=dice) for name, values in like.items()}
    return {name: values.to(kind if like[name].is_floating_point() else torch.int64) for name, values in drawn.items()}


MAKERS: dict[str, Callable[[], Small]] = {"filled": Small, "skeleton": lambda: skeleton(Small)}
made = pytest.mark.parametrize("maker", MAKERS)


@made
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_every_tensor_arrives_in_the_networks_type(maker: str, kind: torch.dtype) -> None:
    module, tensors = MAKERS[maker](), state(kind)
    load_into(module, dict(tensors), PATH, what=WHAT)
    filled = module.state_dict()
    assert filled.keys() == tensors.keys()
    for name, values in filled.items():
        assert values.dtype == (torch.int64 if name.endswith("tracked") else torch.float32)
        assert not values.is_meta
        assert torch.equal(values, tensors[name].to(values.dtype))
    assert all(isinstance(one, nn.Parameter) for one in module.parameters())


def test_a_skeleton_has_no_numbers_and_runs_once_it_is_filled() -> None:
    module = skeleton(Small)
    assert all(values.is_meta for values in (*module.parameters(), *module.buffers()))
    load_into(module, state(), PATH, what=WHAT)
    assert module.mean.is_meta, "nobody but the caller knows what is not in the file"
    whole = Small()
    load_into(whole, state(), PATH, what=WHAT)
    image = torch.randn(1, 3, 8, 8)
    assert torch.equal(module.eval().norm(module.first(image)), whole.eval().norm(whole.first(image)))


@made
def test_a_missing_counter_is_no_matter(maker: str) -> None:
    module, tensors = MAKERS[maker](), state()
    del tensors["norm.num_batches_tracked"]
    load_into(module, tensors, PATH, what=WHAT)
    assert module.norm.num_batches_tracked == 0


@made
def test_missing_and_unknown_tensors_are_counted_and_some_are_named(maker: str) -> None:
    tensors = state()
    del tensors["last.weight"], tensors["norm.running_var"]
    tensors |= {f"more.{i}": torch.zeros(1) for i in range(9)}
    with pytest.raises(CheckpointError) as caught:
        load_into(MAKERS[maker](), tensors, PATH, what=WHAT)
    assert str(caught.value) == (
        "weights.pth: expected the 9 tensors of the small network, found 16 tensors; 2 missing (norm.running_var, "
        "last.weight); 9 unknown (more.0, more.1, more.2, more.3, more.4 and 4 more). Choose the file that belongs to "
        "this model, or the model that belongs to this file."
    )


@made
def test_wrong_shapes_are_named_and_the_network_stays_as_it_was(maker: str) -> None:
    module = MAKERS[maker]()
    before = {name: values.clone() for name, values in module.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"1 others: first\.weight \[4, 3, 3, 3\] for \[4, 3, 5, 5\]"):
        load_into(module, state() | {"first.weight": torch.zeros(4, 3, 3, 3)}, PATH, what=WHAT)
    assert all(values.is_meta or torch.equal(values, before[name]) for name, values in module.state_dict().items())


@made
def test_what_is_ignored_may_be_there(maker: str) -> None:
    tensors = state() | {"head.weight": torch.zeros(1000, 320)}
    with pytest.raises(CheckpointError, match=r"1 unknown \(head\.weight\)"):
        load_into(Small(), tensors, PATH, what=WHAT)
    load_into(MAKERS[maker](), tensors, PATH, what=WHAT, ignored=("head.",))


@made
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_loaded_network_does_not_depend_on_its_file(maker: str, suffix: str, tmp_path: Path) -> None:
    """A training run that overwrites its checkpoint in place must neither change nor end what is in use."""
    from safetensors.torch import save_file

    path = tmp_path / f"a{suffix}"
    save_file(state(), path) if suffix == ".safetensors" else torch.save(state(), path)
    module = MAKERS[maker]()
    load_into(module, read(path).tensors, path, what=WHAT)
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
        file.truncate(10)
    assert all(torch.equal(values, state()[name]) for name, values in module.state_dict().items())


def test_a_part_of_a_large_tensor_is_copied_and_does_not_keep_the_rest() -> None:
    tensors = state()
    tensors["last.weight"] = torch.arange(8000.0).reshape(1000, 8)[:2, :4]
    module = skeleton(Small)
    load_into(module, tensors, PATH, what=WHAT)
    assert module.last.weight.untyped_storage().nbytes() == 2 * 4 * 4


MEMORY = """
import sys, torch
from pathlib import Path
from napari_medsam.models.checkpoints.fitting import load_into, skeleton
from napari_medsam.models.checkpoints.reading import read
def own():
    lines = dict(line.split(":") for line in open("/proc/self/status") if line.startswith("Rss"))
    return int(lines["RssAnon"].split()[0]) * 1024
def load(path, side):
    module = skeleton(lambda: torch.nn.ModuleList(torch.nn.Linear(side, side) for _ in range(4)))
    load_into(module, read(path).tensors, path, what="a row of layers")
    return module
small, *large = (Path(one) for one in sys.argv[1:])
load(small, 10)
for path in large:
    before = own()
    module = load(path, 2000)
    print(own() - before)
    del module
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory by kind is told by Linux only")
def test_loading_takes_the_memory_of_the_weights_once(tmp_path: Path) -> None:
    def written(name: str, side: int, zipped: bool) -> Path:
        layers = nn.ModuleList(nn.Linear(side, side) for _ in range(4))
        torch.save(layers.state_dict(), tmp_path / name, _use_new_zipfile_serialization=zipped)
        return tmp_path / name

    paths = [written("small", 10, True), written("zip", 2000, True), written("legacy", 2000, False)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEMORY, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    taken = [int(line) / paths[-1].stat().st_size for line in done.stdout.split()]
    assert len(taken) == 2
    assert all(0.9 < part < 1.1 for part in taken), taken
