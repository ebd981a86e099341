"""Checkpoints are read without running them; what cannot be read is refused with the file's name and the next step."""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import random
import shutil
import tarfile
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_medsam.errors import CheckpointError
from napari_medsam.models.checkpoints import reading, restricted
from napari_medsam.models.checkpoints.reading import read, shapes, steady

WEIGHT, BIAS = torch.arange(12.0).reshape(4, 3), torch.tensor([0.5, -1.5, 2.0, 1e-3])
STATE = {"head.weight": WEIGHT, "head.bias": BIAS}


def same(path: Path) -> bool:
    """Whether a file holds exactly STATE."""
    tensors = read(path).tensors
    return tensors.keys() == STATE.keys() and all(torch.equal(tensors[name], STATE[name]) for name in STATE)


def save(content: Any, path: Path, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def prefixed(*prefixes: str) -> dict[str, torch.Tensor]:
    return {"".join(prefixes) + name: values for name, values in STATE.items()}


def trained() -> torch.optim.Adam:
    """An optimiser with a state, as SAM-Med2D saves it."""
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return optimizer


CONTAINERS: dict[str, Callable[[], Any]] = {
    "flat": lambda: STATE,
    "ordered, with metadata": lambda: torch.nn.ModuleDict({"head": torch.nn.Linear(3, 4)}).state_dict() | STATE,
    "parameters": lambda: {name: torch.nn.Parameter(values) for name, values in STATE.items()},
    "model": lambda: {"model": STATE, "epoch": 7},
    "state_dict beside a text called model": lambda: {"model": "sam", "state_dict": STATE, "best_tol": np.float64(0.5)},
    "network_weights": lambda: {"network_weights": STATE, "init_args": {"a": [1]}, "trainer_name": "x"},
    "a container of another name": lambda: {"net": STATE, "epoch": 7, "optimizer": trained().state_dict()},
    "optimiser object": lambda: {"model": STATE, "optimizer": trained()},
    "optimiser state": lambda: {"model": STATE, "optimizer": trained().state_dict()},
    "DataParallel": lambda: {"model": prefixed("module.")},
    "compiled and distributed": lambda: prefixed("module.", "_orig_mod."),
    "wrapper of SAM 2": lambda: prefixed("sam2_model."),
    "other things between the tensors": lambda: STATE | {"epoch": 3, "names": ["a"], 5: WEIGHT},
    "defaultdict": lambda: {"model": defaultdict(trained, STATE), "optimizer": trained()},
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("case", CONTAINERS)
def test_weights_come_out_of_every_container(case: str, zipped: bool, tmp_path: Path) -> None:
    path = save(CONTAINERS[case](), tmp_path / "a.pth", zipped)
    assert same(path)
    assert read(path).kind == ("zip" if zipped else "legacy")


def test_a_prefix_of_some_names_only_stays(tmp_path: Path) -> None:
    path = save({"module.a": WEIGHT, "b": BIAS}, tmp_path / "a.pth")
    assert set(read(path).tensors) == {"module.a", "b"}


def test_safetensors_are_read_with_their_metadata(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(prefixed("module."), path, {"config": "{}"})
    assert same(path)
    assert read(path).kind == "safetensors"
    assert read(path).metadata == {"config": "{}"}


def test_a_transformers_folder_is_read_and_its_file_named(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "model.safetensors")
    assert same(tmp_path)
    assert read(tmp_path).path == tmp_path / "model.safetensors"
    (tmp_path / "model.safetensors").unlink()
    save(STATE, tmp_path / "pytorch_model.bin")
    assert same(tmp_path)


def test_short_values_beside_the_weights_are_kept_as_metadata(tmp_path: Path) -> None:
    content = {"model": STATE, "epoch": 7, "name": "b", "path_helper": {"a": 1}, "huge": 1 << 99999, "log": "x" * 999}
    path = save(content, tmp_path / "a.pth")
    assert read(path).metadata == {"epoch": "7", "name": "b"}


def test_a_file_keeps_its_types_and_shapes(tmp_path: Path) -> None:
    types = {"a": torch.float16, "b": torch.bfloat16, "c": torch.float64, "d": torch.int64}
    path = save({name: WEIGHT.to(kind) for name, kind in types.items()}, tmp_path / "a.pth")
    checkpoint = read(path)
    assert {name: values.dtype for name, values in checkpoint.tensors.items()} == types
    assert set(checkpoint.shapes.values()) == {(4, 3)}


def test_views_transposes_and_shared_storages_survive_both_readings(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    content = {"a": base.T, "b": base[1:3, ::2], "c": base[0], "d": torch.tensor(5.0), "e": torch.zeros(0, 3)}
    for name, whole in (("plain", content), ("foreign", {"model": content, "optimizer": trained()})):
        tensors = read(save(whole, tmp_path / f"{name}.pth")).tensors
        assert all(torch.equal(tensors[one], values) for one, values in content.items())


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_weights_are_mapped_not_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    save_file(STATE, path) if path.suffix == ".safetensors" else save(STATE, path)
    assert not any(values.untyped_storage().resizable() for values in read(path).tensors.values())


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_shapes_are_told_without_reading_numbers(zipped: bool, tmp_path: Path) -> None:
    for name, content in (("plain", STATE), ("foreign", {"model": STATE, "optimizer": trained()})):
        path = save(content, tmp_path / name, zipped)
        assert shapes(path) == read(path).shapes == {"head.weight": (4, 3), "head.bias": (4,)}
        assert same(path), "the next reading reads numbers again"


# malicious files


class Bomb:
    """Writes a file when a pickle of it is loaded by the ordinary means."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({str(self.marker)!r}, 'w').close()",)


PLACES: dict[str, Callable[[Bomb], Any]] = {
    "top": lambda bomb: bomb,
    "list": lambda bomb: [STATE, bomb],
    "optimizer": lambda bomb: {"model": STATE, "optimizer": bomb},
    "deep": lambda bomb: {"model": STATE, "extra": {"a": [({"b": bomb},)]}},
    "among the tensors": lambda bomb: STATE | {"hook": bomb},
    "model": lambda bomb: {"model": bomb},
    "attribute of the state dict": lambda bomb: with_attribute(OrderedDict(STATE), bomb),
    "default of a defaultdict": lambda bomb: {"model": STATE, "optimizer": defaultdict(Factory(bomb.marker), {"a": 1})},
    "nested pickle": lambda bomb: {"model": STATE, "x": Nested(pickle.dumps(bomb))},
    "object array": lambda bomb: {"model": STATE, "x": np.array([bomb, 1], dtype=object)},
    "hook of a tensor": lambda bomb: {"model": STATE, "x": Hooked(bomb)},
}


def with_attribute(state: Any, bomb: Bomb) -> Any:
    state._metadata = bomb
    return state


class Factory(Bomb):
    """A callable bomb."""

    def __call__(self) -> None:
        """For defaultdict."""


class Nested:
    """A pickle in a pickle, which torch unpacks with the ordinary unpickler."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __reduce__(self) -> tuple[Any, ...]:
        return torch.storage._load_from_bytes, (self.content,)


class Hooked:
    """A tensor with a bomb as its hook."""

    def __init__(self, bomb: Bomb) -> None:
        self.bomb = bomb

    def __reduce__(self) -> tuple[Any, ...]:
        return torch._utils._rebuild_parameter, (WEIGHT, False, OrderedDict({0: self.bomb}))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("place", PLACES)
def test_a_malicious_pickle_runs_nowhere(place: str, zipped: bool, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    path = save(PLACES[place](Bomb(marker)), tmp_path / "a.pth", zipped)
    if place in ("top", "list", "model"):
        with pytest.raises(CheckpointError, match="expected the tensors of a network"):
            read(path)
    else:
        assert same(path)
    assert not marker.exists()
    if place not in ("nested pickle", "hook of a tensor"):
        torch.load(path, weights_only=False)
        assert marker.exists(), "the trap itself must work"


def with_pickle(program: bytes, path: Path) -> Path:
    """A checkpoint of torch.save whose pickle is replaced."""
    save(STATE, path)
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, program if name.endswith("data.pkl") else content)
    return path


def call(target: bytes, marker: Path) -> bytes:
    """A pickle that calls `target` with a shell command, and returns an empty dict."""
    return b"\x80\x04" + target + b"(V" + f"touch {marker}".encode() + b"\ntR0}."


SYSTEM = b"c" + os.system.__module__.encode() + b"\nsystem\n"
PROGRAMS: dict[str, Callable[[Path], bytes]] = {
    "a plain call": lambda marker: call(SYSTEM, marker),
    "a dotted name": lambda marker: call(b"\x8c\x05torch\x8c\x17serialization.os.system\x93", marker),
    "getattr": lambda marker: call(b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(Vos\ntRVsystem\ntR", marker),
    "instance": lambda marker: b"\x80\x02(V" + f"touch {marker}".encode() + b"\niposix\nsystem\n.",
    "object": lambda marker: b"\x80\x02(" + SYSTEM + b"V" + f"touch {marker}".encode() + b"\no.",
    "an extension": lambda marker: call(b"\x82\xf0", marker),
    "as the type of a storage": lambda marker: b"\x80\x02(Vstorage\n" + SYSTEM + b"V0\nVcpu\nK\x01tQ.",
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("case", PROGRAMS)
def test_a_pickle_written_by_hand_runs_nowhere(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(copyreg._extension_registry, ("os", "system"), 0xF0)  # type: ignore[attr-defined]
    monkeypatch.setitem(copyreg._inverted_registry, 0xF0, ("os", "system"))  # type: ignore[attr-defined]
    monkeypatch.setitem(copyreg._extension_cache, 0xF0, os.system)  # type: ignore[attr-defined]
    marker = tmp_path / "marker"
    program = PROGRAMS[case](marker)
    with pytest.raises(CheckpointError):
        read(with_pickle(program, tmp_path / "a.pth"))
    for number in range(4):
        with suppress(CheckpointError):
            assert same(legacy_with(program, number, tmp_path / "b.pth"))
    with suppress(pickle.UnpicklingError):
        restricted.load(io.BytesIO(program))
    assert not marker.exists()
    with suppress(pickle.UnpicklingError):  # persistent names are torch's own matter
        pickle.loads(program)
    assert marker.exists() or case == "as the type of a storage", "the trap itself must work"


def legacy_with(program: bytes, number: int, path: Path) -> Path:
    """A file of the old format, one of whose leading pickles is replaced: number, version, machine, weights."""
    content = save({"model": STATE, "optimizer": trained()}, path, zipped=False).read_bytes()
    file = io.BytesIO(content)
    for _ in range(number):
        pickle.load(file)
    start = file.tell()
    restricted.Unpickler(file).load() if number < 3 else Skipping(file).load()
    path.write_bytes(content[:start] + program + content[file.tell() :])
    return path


class Skipping(restricted.Unpickler):
    """Passes over tensors."""

    def persistent_load(self, pid: Any) -> Any:
        return None

    def find_class(self, module: str, name: str) -> Any:
        return restricted.Inert


def test_a_program_of_torchscript_and_an_old_tar_are_refused_before_torch_sees_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was called"))
    script = tmp_path / "a.pt"
    with zipfile.ZipFile(script, "w") as archive:
        for name in ("a/data.pkl", "a/constants.pkl", "a/code/__torch__.py"):
            archive.writestr(name, b"x")
    tar = tmp_path / "b.pth"
    with tarfile.open(tar, "w") as archive_of_2016:
        archive_of_2016.add(script, "pickle")
    for path in (script, tar):
        with pytest.raises(CheckpointError, match=r"TorchScript|a tar archive"):
            read(path)


def test_a_file_leaves_nothing_behind_for_the_next_one(tmp_path: Path) -> None:
    """Neither in our builders nor in torch's: no attribute is set, though the pickle asks for it."""
    state = b"N}(V__defaults__\n(K\x01tVtouched\nK\x01u\x86b"
    for name in (b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b"ccollections\ndeque\n"):
        restricted.load(io.BytesIO(b"\x80\x02" + name + state + b"."))
    assert restricted.tensor.__defaults__ is None
    assert not any(hasattr(one, "touched") for one in (restricted.tensor, OrderedDict, restricted.Inert))
    assert same(save({"model": STATE, "optimizer": trained()}, tmp_path / "a.pth"))


# sizes


def test_a_tensor_larger_than_its_data_is_refused(tmp_path: Path) -> None:
    """torch itself would enlarge the storage with whatever is in memory."""
    storage = torch.storage.TypedStorage(
        wrap_storage=torch.zeros(4).untyped_storage(), dtype=torch.float32, _internal=True
    )
    assert restricted.tensor(storage, 0, (2, 2), (2, 1)).shape == (2, 2)
    assert restricted.tensor(storage, 4, (0, 9), (9, 1)).shape == (0, 9)
    for offset, size, stride in (
        (0, (5,), (1,)),
        (1, (4,), (1,)),
        (0, (2, 2), (4, 1)),
        (0, (-1,), (1,)),
        (-1, (1,), (1,)),
    ):
        with pytest.raises(pickle.UnpicklingError):
            restricted.tensor(storage, offset, size, stride)
    with pytest.raises(pickle.UnpicklingError):
        restricted.tensor(restricted.Inert(), 0, (1,), (1,))


def test_a_few_numbers_repeated_to_fill_the_memory_are_refused(tmp_path: Path) -> None:
    path = save({"a": torch.zeros(1).expand(1 << 20, 1 << 20)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a of shape \[1048576, 1048576\] in a file of"):
        read(path)


def test_a_pickle_that_asks_for_memory_gets_none() -> None:
    for program in (b"\x96" + (1 << 40).to_bytes(8, "little"), b"Nr\xff\xff\xff\xff."):
        if program.endswith(b"."):
            assert restricted.load(io.BytesIO(b"\x80\x05" + program)) is None
        else:
            with pytest.raises(pickle.UnpicklingError):
                restricted.load(io.BytesIO(b"\x80\x05" + program))


# damage


def written(tmp_path: Path) -> dict[str, bytes]:
    """One file of each kind."""
    save_file(STATE, tmp_path / "safe")
    paths = {
        "zip": save(STATE, tmp_path / "zip"),
        "legacy": save(STATE, tmp_path / "legacy", zipped=False),
        "foreign": save({"model": STATE, "optimizer": trained()}, tmp_path / "foreign"),
        "safetensors": tmp_path / "safe",
    }
    return {name: path.read_bytes() for name, path in paths.items()}


def test_a_truncated_file_of_each_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.pth"
    for kind, content in written(tmp_path).items():
        for length in (0, 1, 9, 100, len(content) // 2, len(content) - 3):
            path.write_bytes(content[:length])
            with pytest.raises(CheckpointError, match=r"cut\.pth: expected .*, found .*\. .*\."):
                read(path)
            assert kind


@pytest.mark.filterwarnings("ignore:Detected pickle protocol", "ignore:TypedStorage is deprecated")
def test_a_damaged_file_gives_weights_or_our_own_error(tmp_path: Path) -> None:
    dice = random.Random(4)
    path = tmp_path / "damaged.pth"
    for content in written(tmp_path).values():
        for _ in range(60):
            damaged = bytearray(content)
            for _ in range(dice.choice((1, 3, 10))):
                damaged[dice.randrange(min(len(damaged), 1500))] = dice.randrange(256)
            path.write_bytes(damaged)
            with suppress(CheckpointError):
                read(path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({}, "nothing in it"),
        ({"epoch": 3, (1, 2): ["a"]}, "no tensors, or several sets of them, in the entries epoch, tuple"),
        ({"net": STATE, "ema": STATE}, "in the entries net, ema"),
        ({"x" * 1000: 1}, "x" * 80 + r"\.\.\."),
        ([1, 2], "a list in it"),
        (WEIGHT, "a Tensor in it"),
    ],
)
def test_a_file_without_a_network_is_refused(content: Any, found: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=found):
        read(save(content, tmp_path / "a.pth"))


def test_a_whole_pickled_network_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"an object of other code.*state_dict\(\)"):
        read(save(torch.nn.Linear(3, 4), tmp_path / "a.pth"))


STRANGE: dict[str, Callable[[], torch.Tensor]] = {
    "qint8": lambda: torch.quantize_per_tensor(WEIGHT, 0.1, 0, torch.qint8),
    "int8": lambda: WEIGHT.to(torch.int8),
    "complex64": lambda: WEIGHT.to(torch.complex64),
    "sparse": WEIGHT.to_sparse,
    "float8": lambda: WEIGHT.to(torch.float8_e4m3fn),
}


@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.filterwarnings("ignore")
def test_quantised_and_odd_tensors_are_refused(strange: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected tensors of float32"):
        read(save({"head.bias": BIAS, "head.weight": STRANGE[strange]()}, tmp_path / "a.pth"))


# files that change


def test_a_file_that_is_replaced_while_it_is_used_is_noticed(tmp_path: Path) -> None:
    path, other = save(STATE, tmp_path / "a.pth"), save(prefixed("b."), tmp_path / "b.pth")
    with steady(path):
        read(path)
    for change in (
        lambda: os.replace(shutil.copy(other, tmp_path / "c.pth"), path),  # as a download ends
        lambda: path.write_bytes(path.read_bytes()[:-1]),  # as a training run overwrites
        path.unlink,
    ):
        with pytest.raises(CheckpointError, match=r"a\.pth.*replaced while it was read.*load it again"), steady(path):
            change()


def test_a_file_that_is_replaced_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other = save(STATE, tmp_path / "a.pth"), save(prefixed("b."), tmp_path / "b.pth")
    true = reading._pickled

    def slow(file: Path, kind: reading.Kind) -> Any:
        found = true(file, kind)
        os.replace(other, path)
        return found

    monkeypatch.setattr(reading, "_pickled", slow)
    with pytest.raises(CheckpointError, match="replaced while it was read"):
        read(path)


def test_mapped_weights_outlive_a_file_that_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path, other = save(STATE, tmp_path / "a.pth"), save({"head.weight": WEIGHT * 0}, tmp_path / "b.pth")
    tensors = read(path).tensors
    os.replace(other, path)
    assert all(torch.equal(tensors[name], values) for name, values in STATE.items())


class Calls:
    """Pickles as a call of the shell."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("true",)


def test_a_file_of_nothing_but_code_is_refused_with_its_name(tmp_path: Path) -> None:
    torch.save({"model": Calls()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match=r"names code \((posix|nt)\.system\).*Nothing of it was run"):
        read(tmp_path / "evil.pth")
