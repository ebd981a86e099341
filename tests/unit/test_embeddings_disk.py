"""The disk tier: whole files or none, nothing damaged is served, the budget holds for all processes together."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_medsam.embeddings import DiskTier, EmbeddingStore, Worth, budgets, cache_folder, disk, filed
from napari_medsam.models.base import Embedding

MIB = 1 << 20


def embedding(mark: int = 0, nbytes: int = 1000) -> Embedding:
    values = (np.arange(nbytes) * 7 + mark).astype(np.uint8)
    return Embedding("model-1", (6, 8), {"a": values, "b": np.full((2, 1, 3), mark / 7, np.float16)})


def same(one: Embedding, other: Embedding) -> bool:
    return (one.model, one.shape, list(one.arrays)) == (other.model, other.shape, list(other.arrays)) and all(
        one.arrays[name].dtype == other.arrays[name].dtype and np.array_equal(one.arrays[name], other.arrays[name])
        for name in one.arrays
    )


@pytest.fixture
def tier(tmp_path: Path) -> DiskTier:
    return DiskTier(tmp_path / "cache" / "embeddings", 10 * MIB)


def only_file(tier: DiskTier) -> Path:
    (path,) = tier.folder.glob("*.embedding")
    return path


# -- what is written comes back --------------------------------------------------------------------------------------


def test_an_embedding_comes_back_as_it_was(tier: DiskTier) -> None:
    assert tier.read("k") is None
    assert not tier.holds("k")
    assert tier.write("k", embedding(3))
    found = DiskTier(tier.folder).read("k")
    assert found is not None
    assert same(found, embedding(3))
    assert tier.holds("k")


def test_arrays_of_every_kind_and_shape_come_back(tier: DiskTier) -> None:
    values = np.arange(24).reshape(2, 3, 4)
    arrays = {kind: values.astype(kind) for kind in ("bool", "uint8", "int64", "float16", ">f4", "float64")}
    arrays |= {"transposed": values.T, "empty": np.zeros((0, 3), np.float32), "scalar": np.float32(2.5) * np.ones(())}
    tier.write("k", Embedding("m", (2, 3), arrays))
    found = tier.read("k")
    assert found is not None
    assert same(found, Embedding("m", (2, 3), arrays))


def test_what_is_read_may_be_handed_to_torch_without_a_copy_and_holds_no_more_than_it_says(tier: DiskTier) -> None:
    tier.write("k", embedding())
    found = tier.read("k")
    assert found is not None
    assert all(array.flags.writeable for array in found.arrays.values())
    (held,) = {id(array.base): array.base for array in found.arrays.values()}.values()
    assert held is not None
    assert held.nbytes == found.nbytes == embedding().nbytes


def test_nothing_of_the_key_the_model_or_the_patient_is_in_a_file_name(tier: DiskTier) -> None:
    tier.write("Doe^Jane", embedding())
    assert not {"Doe", "Jane", "model"} & set(only_file(tier).name.replace(".", "^").split("^"))
    assert len(only_file(tier).stem) == 40


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_other_users_cannot_read_it(tier: DiskTier) -> None:
    tier.write("k", embedding())
    assert stat.S_IMODE(only_file(tier).stat().st_mode) == 0o600
    assert stat.S_IMODE(tier.folder.stat().st_mode) == 0o700


def test_another_version_of_the_package_does_not_use_it(tier: DiskTier, monkeypatch: pytest.MonkeyPatch) -> None:
    tier.write("k", embedding())
    monkeypatch.setattr(disk, "__version__", "0.0.0")
    assert tier.read("k") is None
    assert tier.usage().entries == 1, "it counts, and goes when it is the oldest"


# -- damage ----------------------------------------------------------------------------------------------------------


def flipped(at: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def with_header(change: Callable[[dict], object]) -> Callable[[bytes], bytes]:
    """Another header, with the length and the digest that belong to it."""

    def make(content: bytes) -> bytes:
        start = len(filed.MAGIC) + filed.LENGTH.size
        (length,) = filed.LENGTH.unpack(content[len(filed.MAGIC) : start])
        header = json.loads(content[start : start + length])
        change(header)
        new = json.dumps(header).encode()
        whole = filed.MAGIC + filed.LENGTH.pack(len(new)) + new + content[start + length : -filed.DIGEST]
        return whole + filed.hashlib.blake2b(whole, digest_size=filed.DIGEST).digest()

    return make


DAMAGE = {
    "empty": lambda content: b"",
    "cut in the magic": lambda content: content[:5],
    "cut in the header": lambda content: content[:60],
    "cut in the arrays": lambda content: content[:-500],
    "cut in the digest": lambda content: content[:-1],
    "longer": lambda content: content + b"x",
    "one bit of the format": flipped(20),
    "one bit of the header's length": flipped(len(filed.MAGIC) + 3),
    "one bit of the header": flipped(50),
    "one bit of an array": flipped(-100),
    "one bit of the digest": flipped(-1),
    "something else": lambda content: b"PK\x03\x04" + bytes(2000),
    "a pickle": lambda content: b"\x80\x04cos\nsystem\n(S'touch /tmp/owned'\ntR.",
    "another key": with_header(lambda said: said.update(key="other")),
    "objects": with_header(lambda said: said["arrays"][0].__setitem__(1, "|O")),
    "a record": with_header(lambda said: said["arrays"][0].__setitem__(1, "i4,i4")),
    "a negative length": with_header(lambda said: said["arrays"][0].__setitem__(2, [-1, -1000])),
    "a length that is huge": with_header(lambda said: said["arrays"][0].__setitem__(2, [1 << 60, 1 << 60])),
    "no arrays": with_header(lambda said: said.pop("arrays")),
    "a list": with_header(lambda said: said.update(shape=[1])),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_or_foreign_file_is_not_served_and_is_removed(tier: DiskTier, damage: Callable) -> None:
    tier.write("k", embedding())
    path = only_file(tier)
    path.write_bytes(damage(path.read_bytes()))
    assert tier.read("k") is None
    assert not path.exists()
    assert tier.write("k", embedding())
    assert tier.read("k") is not None


def test_a_file_in_the_place_of_another_is_not_served(tier: DiskTier) -> None:
    tier.write("a", embedding(1))
    first = only_file(tier)
    content = first.read_bytes()
    tier.clear()
    tier.write("b", embedding(2))
    only_file(tier).write_bytes(content)
    assert tier.read("b") is None


def test_an_interrupted_write_leaves_nothing_and_the_next_succeeds(
    tier: DiskTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    tier.write("a", embedding(1))
    with monkeypatch.context() as patched:

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            tier.write("b", embedding(2))
    assert {path.suffix for path in tier.folder.iterdir()} <= {".embedding", ""}
    assert not tier.holds("b")
    assert tier.write("b", embedding(2))


def test_what_a_dead_process_left_behind_is_removed_and_what_a_living_one_writes_is_not(tier: DiskTier) -> None:
    tier.write("a", embedding())
    old, new = tier.folder / "0123.part", tier.folder / "4567.part"
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (0, 0))
    tier.write("b", embedding())
    assert not old.exists()
    assert new.exists()


# -- the budget ------------------------------------------------------------------------------------------------------


def aged(tier: DiskTier, *keys: str) -> None:
    """Make files be used in this order, long ago."""
    for second, key in enumerate(keys):
        os.utime(tier._path(key), (1000 + second, 1000 + second))


def test_the_budget_counts_whole_files_and_the_least_recently_used_goes_first(tier: DiskTier) -> None:
    tier.write("a", embedding())
    size = only_file(tier).stat().st_size
    assert size == filed.size_of("a", embedding())
    assert tier.usage().used == size
    tier.max_bytes = 3 * size
    for key in "bc":
        tier.write(key, embedding())
    aged(tier, "a", "b", "c")
    assert tier.read("a") is not None
    tier.write("d", embedding())
    assert [key for key in "abcd" if tier.holds(key)] == ["a", "c", "d"]
    assert tier.usage().used == 3 * size == tier.max_bytes
    tier.max_bytes = size
    assert tier.usage().entries == 1


def test_an_embedding_larger_than_the_budget_is_not_written_and_drops_nothing(tier: DiskTier) -> None:
    tier.write("a", embedding())
    tier.max_bytes = 5000
    assert not tier.write("b", embedding(nbytes=6000))
    assert tier.holds("a")
    assert "larger than the budget" in tier.trouble


def test_the_default_is_a_part_of_the_free_disk_and_does_not_shrink_by_what_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budgets, "free_on_disk", lambda folder: 50 * MIB)
    monkeypatch.setattr(disk, "free_on_disk", lambda folder: 500 * MIB)
    first = DiskTier(tmp_path / "c")
    assert first.max_bytes == 10 * MIB
    first.write("k", embedding(nbytes=MIB))
    assert DiskTier(tmp_path / "c").max_bytes == 10 * MIB + first.usage().used


def test_clearing_removes_everything_of_ours_and_nothing_else(tier: DiskTier) -> None:
    tier.write("a", embedding())
    (tier.folder / "1.part").write_bytes(b"1234")
    (tier.folder / "notes.txt").write_text("mine")
    size = only_file(tier).stat().st_size
    assert tier.clear() == size + 4
    assert tier.usage().entries == 0
    assert (tier.folder / "notes.txt").exists()
    assert DiskTier(tier.folder / "never made").clear() == 0


# -- trouble ---------------------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_made_is_said_once_and_the_store_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = EmbeddingStore(MIB, DiskTier(tmp_path / "file" / "cache", MIB))
    for mark in range(3):
        assert store.put(str(mark), embedding(mark), Worth.PREPARED)
        assert store.flush(10)
    assert store.get("2") is not None
    assert not store.lasting("2")
    trouble = store.usage().trouble
    assert str(tmp_path / "file" / "cache") in trouble
    assert "kept in memory only" in trouble
    assert not store.writes(Worth.PREPARED)


def test_a_disk_that_fills_up_loses_old_embeddings_first_and_then_is_said(
    tier: DiskTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    tier.write("a", embedding(nbytes=MIB))
    monkeypatch.setattr(disk, "free_on_disk", lambda folder: disk.RESERVE)
    assert tier.write("b", embedding(nbytes=MIB - 10))
    assert not tier.holds("a")
    monkeypatch.setattr(disk, "free_on_disk", lambda folder: 0)
    assert not tier.write("c", embedding(nbytes=MIB - 10))
    assert "are left" in tier.trouble
    assert tier.holds("b")
    assert not list(tier.folder.glob("*.part"))
    tier.clear()
    assert tier.trouble == "", "there may be room now"


def test_a_write_that_the_system_cuts_short_leaves_no_file(tier: DiskTier) -> None:
    """The limit of the process on the size of files fails a write in its midst, as a full disk does."""
    resource: Any = pytest.importorskip("resource", reason="Windows has no such limits")
    tier.write("small", embedding())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        assert not tier.write("k", embedding(nbytes=MIB))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "too large" in tier.trouble
    assert not tier.holds("k")
    assert not list(tier.folder.glob("*.part"))
    assert tier.read("small") is not None


# -- several processes -----------------------------------------------------------------------------------------------

WORKER = """
import sys
from pathlib import Path
import numpy as np
from napari_medsam.embeddings import DiskTier
from napari_medsam.models.base import Embedding

folder, seed, budget = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
tier, random, served, most = DiskTier(folder, budget), np.random.default_rng(seed), 0, 0
for step in range(150):
    mark = int(random.integers(40))
    made = Embedding("m", (6, 8), {"a": np.full(2000 + 37 * mark, mark, np.uint8)})
    if random.integers(2):
        assert tier.write(str(mark), made), tier.trouble
    found = tier.read(str(mark))
    if found is not None:
        served += 1
        assert found.arrays["a"].nbytes == made.nbytes and (found.arrays["a"] == mark).all()
    most = max(most, tier.usage().used)
    if step == 75 and seed == 1:
        tier.clear()
print(served, most)
"""


def test_two_processes_write_read_evict_and_clear_in_one_folder(tmp_path: Path) -> None:
    budget = 40_000
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path / "shared"), str(seed), str(budget)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in (1, 2)
    ]
    for worker in workers:
        said, error = worker.communicate(timeout=100)
        assert worker.returncode == 0, error
        served, most = map(int, said.split())
        assert served > 20
        assert most <= budget
    left = DiskTier(tmp_path / "shared", budget)
    assert 0 < left.usage().used <= budget
    assert not list(left.folder.glob("*.part"))


# -- where -----------------------------------------------------------------------------------------------------------


def test_the_folder_is_the_setting_else_the_environment_else_the_user_s_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(budgets.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder().parts[-2:] == ("napari-medsam", "embeddings")
    if sys.platform == "linux":
        assert cache_folder() == tmp_path / "napari-medsam" / "embeddings"
    monkeypatch.setenv(budgets.VARIABLE, str(tmp_path / "elsewhere"))
    assert cache_folder() == tmp_path / "elsewhere"
    assert cache_folder(str(tmp_path / "chosen")) == tmp_path / "chosen"
