"""Where weights are, whose they are, and what is remembered of them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from napari_medsam.errors import AmbiguousCheckpointError, CheckpointError
from napari_medsam.models.checkpoints import hashes, jsonfile, places
from napari_medsam.models.checkpoints.choices import HINTS, NAMELESS, Remembered, check_content, decide
from napari_medsam.models.checkpoints.parts import amount, part_of
from napari_medsam.models.checkpoints.places import Kind, Places, find, state, states
from napari_medsam.models.registry import TABLE
from napari_medsam.models.row import Row, WeightFile

CONTENT = b"weights of a network"
SHA = hashlib.sha256(CONTENT).hexdigest()
NET = WeightFile("net.pth", size=len(CONTENT), sha256=SHA, url="http://127.0.0.1/net.pth")


def a_row(*files, name="net", **more):
    return Row(name, name.title(), "a:b", layout="a-layout", files=files, **more)


@pytest.fixture(autouse=True)
def apart(monkeypatch, tmp_path):
    """Nothing of the user who runs the tests is read or written."""
    monkeypatch.setattr(hashes, "store", lambda: tmp_path / "cache" / "digests.json")
    for name in (places.ENVIRONMENT, "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def there(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    return Places((folder,))


@pytest.fixture
def remembered(tmp_path):
    return Remembered(tmp_path / "data" / "weights.json")


def put(path, content=CONTENT):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# --- places


def test_order_of_the_folders(monkeypatch, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    monkeypatch.setenv(places.ENVIRONMENT, f"{one}{os.pathsep}{two}{os.pathsep}")
    found = Places.from_environment(setting=str(tmp_path / "set"), option=tmp_path / "option")
    assert found.folders[:-1] == (tmp_path / "option", tmp_path / "set", one, two)
    assert found.folder == tmp_path / "option"
    assert found.folders[-1].name == "weights"
    assert "napari-medsam" in found.folders[-1].parts
    assert not found.offline


def test_without_anything_named_there_is_the_users_folder():
    found = Places.from_environment(setting="  ")
    assert len(found.folders) == 1
    assert found.folder.is_absolute()


def test_a_folder_named_twice_is_looked_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv(places.ENVIRONMENT, str(tmp_path))
    assert Places.from_environment(setting=str(tmp_path)).folders[:-1] == (tmp_path,)


def test_home_is_understood(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert Places.from_environment(setting="~/nets").folder == tmp_path / "nets"


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("yes", True), ("True", True), ("0", False), ("", False)])
@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline(monkeypatch, name, value, offline):
    monkeypatch.setenv(name, value)
    assert Places.from_environment().offline is offline


def test_the_folder_of_torch(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert places.torch_checkpoints() == tmp_path / "cache" / "torch" / "hub" / "checkpoints"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    assert places.torch_checkpoints() == tmp_path / "torch" / "hub" / "checkpoints"


# --- find


@pytest.mark.parametrize("where", ["net.pth", "a/net.pth", "a/b/net.pth"])
def test_files_are_found_two_levels_deep(there, where):
    path = put(there.folder / where)
    found = find(a_row(NET), there)
    assert found is not None
    assert (found.path, found.file) == (path, NET)


@pytest.mark.parametrize("where", ["a/b/c/net.pth", ".hidden/net.pth", "net.pth/other"])
def test_deeper_hidden_and_folders_of_that_name_are_not(there, where):
    put(there.folder / where)
    assert find(a_row(NET), there) is None


def test_the_first_folder_and_the_best_file_come_first(tmp_path):
    first, second, cache = tmp_path / "1", tmp_path / "2", tmp_path / "3"
    looking = Places((first, second), caches=(cache,))
    other = WeightFile("net.safetensors")
    row = a_row(other, NET)
    assert find(row, looking) is None
    for folder in (cache, second, first):
        path = put(folder / "net.pth")
        assert find(row, looking).path == path
    path = put(cache / "net.safetensors")
    assert find(row, looking).path == path
    assert find(row, looking).file == other


def test_caches_of_others_are_not_searched_below(tmp_path):
    put(tmp_path / "cache" / "a" / "net.pth")
    assert find(a_row(NET), Places((tmp_path / "none",), caches=(tmp_path / "cache",))) is None


def test_another_size_counts_only_where_the_size_is_exact(there):
    put(there.folder / "net.pth", b"short")
    assert find(a_row(NET), there) is None
    for lax in (replace(NET, exact=False), replace(NET, size=0)):
        assert find(a_row(lax), there) is not None
    put(there.folder / "net.pth", b"")
    assert find(a_row(replace(NET, size=0)), there) is None


def test_a_good_copy_is_found_behind_a_wrong_one(there):
    put(there.folder / "net.pth", b"short")
    good = put(there.folder / "older" / "net.pth")
    assert find(a_row(NET), there).path == good


def test_another_content_is_left_out_once_it_is_known(there):
    path = put(there.folder / "net.pth", CONTENT[::-1])
    row = a_row(NET)
    assert find(row, there) is not None  # nothing was read yet
    hashes.digest_of(path)
    assert find(row, there) is None
    assert state(row, there).kind is Kind.WRONG


def test_links_are_followed_and_dead_ones_are_not_there(there, tmp_path):
    try:
        (there.folder / "net.pth").symlink_to(put(tmp_path / "elsewhere" / "blob"))
        (there.folder / "dead.pth").symlink_to(tmp_path / "nothing")
    except OSError:
        pytest.skip("this system makes no links")
    assert find(a_row(NET), there) is not None
    assert find(a_row(replace(NET, name="dead.pth")), there) is None


def test_the_cache_of_the_hub_is_searched_too(tmp_path):
    hub = tmp_path / "hub"
    file = WeightFile("sam.safetensors", size=len(CONTENT), repository="owner/name", inside="model.safetensors")
    looking = Places((tmp_path / "weights",), hub=hub)
    assert find(a_row(file), looking) is None
    (hub / "models--owner--name").mkdir(parents=True)
    assert find(a_row(file), looking) is None
    put(hub / "models--owner--name" / "refs" / "main", b"c0ffee")
    path = put(hub / "models--owner--name" / "snapshots" / "c0ffee" / "model.safetensors")
    assert find(a_row(file), looking).path == path


def test_folders_that_are_not_there_or_are_files_are_passed_over(tmp_path):
    put(tmp_path / "file")
    good = put(tmp_path / "good" / "net.pth")
    assert find(a_row(NET), Places((tmp_path / "none", tmp_path / "file", tmp_path / "good"))).path == good


def test_a_huge_folder_costs_a_bounded_look(there, monkeypatch):
    monkeypatch.setattr(places, "ENTRIES", 10)
    for number in range(50):
        put(there.folder / f"{number:03}.dcm")
    assert sum(len(paths) for paths in places.shelf(there).values()) == 10


# --- state


def test_every_state(there):
    by_hand = WeightFile("hand.pth", size=39_300_000, page="https://drive.example/x", exact=False)
    big = WeightFile("big.pth", size=375_042_383, url="http://127.0.0.1/big.pth")
    base, ready = a_row(big, name="base"), a_row(NET, name="ready")
    put(there.folder / "net.pth")
    put(there.folder / "wrong.pth", b"1234")
    rows = (
        Row("contour", "Contour", "a:b", built_in=True),
        ready,
        base,
        a_row(by_hand, name="hand"),
        a_row(name="own"),
        a_row(replace(big, name="wrong.pth"), name="wrong"),
        a_row(NET, name="lora", base="base"),
        a_row(replace(big, name="adapter.pth"), name="adapter", base="base"),
        a_row(NET, name="complete", base="ready"),
    )
    found = states(rows, there)
    assert {name: (s.kind, s.text) for name, s in found.items() if name != "wrong"} == {
        "contour": (Kind.BUILT_IN, "built in"),
        "ready": (Kind.ON_DISK, "on disk"),
        "base": (Kind.NEEDS_DOWNLOAD, "needs 375 MB"),
        "hand": (Kind.NEEDS_PERSON, "get it by hand (39 MB)"),
        "own": (Kind.NEEDS_PERSON, "choose a file of your own"),
        "lora": (Kind.BASE_MISSING, "needs base beside"),
        "adapter": (Kind.NEEDS_DOWNLOAD, "needs 375 MB, and base"),
        "complete": (Kind.ON_DISK, "on disk"),
    }
    assert found["wrong"].kind is Kind.WRONG
    assert "wrong.pth has 4 bytes instead of 375,042,383; remove it" in found["wrong"].text
    assert [name for name, s in found.items() if s.ready] == ["contour", "ready", "complete"]
    assert found["hand"].page == "https://drive.example/x"
    assert (found["base"].missing, found["base"].file) == (375_042_383, big)
    assert found["lora"].base == found["adapter"].base == "base"
    assert found["ready"].found.path == there.folder / "net.pth"
    for row in rows:
        assert state(row, there, {"base": base, "ready": ready}.get(row.base)) == found[row.name]


def test_a_wrong_file_in_another_folder_does_not_hinder_a_download(there, tmp_path):
    put(tmp_path / "other" / "net.pth", b"short")
    put(tmp_path / "other" / "hand.pth", b"short")
    both = replace(there, folders=(*there.folders, tmp_path / "other"))
    assert state(a_row(NET), both).kind is Kind.NEEDS_DOWNLOAD
    assert state(a_row(WeightFile("hand.pth", size=20, page="https://drive.example/x")), both).kind is Kind.WRONG


def test_an_incomplete_download(there):
    big = WeightFile("big.pth", size=375_042_383, url="http://127.0.0.1/big.pth")
    better = WeightFile("big.safetensors", repository="a/b")
    put(part_of(there.folder / "big.pth"), b"x" * 1_500_000)
    for files in ((big,), (better, big)):
        found = state(a_row(*files), there)
        assert (found.kind, found.text) == (Kind.INCOMPLETE, "incomplete: 1.5 MB of 375 MB")
        assert (found.file, found.here, found.missing) == (big, 1_500_000, 373_542_383)


def test_a_state_says_that_nothing_may_be_fetched(there):
    offline = replace(there, offline=True)
    assert state(a_row(NET), offline).text == "needs 20 bytes; offline now"
    assert state(a_row(replace(NET, size=0)), offline).text == "needs a download; offline now"
    put(there.folder / "net.pth")
    assert state(a_row(NET), offline).ready


def test_the_states_of_all_models_are_there_at_once(there, monkeypatch):
    """Neither a file of weights nor a library is opened, so the chooser opens at once."""
    rows = [a_row(replace(NET, name=f"{n}.pth", repository=f"a/{n}"), name=f"net{n}") for n in range(40)]
    for number in range(40):
        put(there.folder / f"{number}.pth")
    looking = replace(there, hub=there.folder / "hub")
    monkeypatch.setattr(hashes, "digest_of", None)
    began = time.perf_counter()
    found = states(rows, looking)
    assert time.perf_counter() - began < 0.5
    assert all(s.ready for s in found.values())


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (39_300_000, "39 MB"), (2_564_550_879, "2.6 GB")],
)
def test_amounts(count, words):
    assert amount(count) == words


# --- hashes


def test_a_digest_is_computed_once(there, monkeypatch):
    path = put(there.folder / "net.pth")
    assert hashes.remembered(path) == ""
    assert hashes.digest_of(path) == SHA
    assert hashes.remembered(path) == SHA
    with monkeypatch.context() as patch:
        patch.setattr(hashes.hashlib, "file_digest", None)
        assert hashes.digest_of(path) == SHA
    put(path, CONTENT[::-1])
    os.utime(path, ns=(1, 1))
    assert hashes.remembered(path) == ""
    assert hashes.digest_of(path) == hashlib.sha256(CONTENT[::-1]).hexdigest()


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b"\xff", b'{"%s": 3}', b'{"%s": {"stamp": "x"}}'])
def test_a_damaged_store_counts_as_empty_and_is_mended(there, damage):
    path = put(there.folder / "net.pth")
    key = os.path.realpath(path).replace("\\", "\\\\").encode()
    put(hashes.store(), damage.replace(b"%s", key))
    assert hashes.digest_of(path) == SHA
    assert hashes.remembered(path) == SHA


def test_a_store_that_cannot_be_written_costs_only_time(there, monkeypatch):
    path = put(there.folder / "net.pth")
    put(hashes.store().parent)  # a file where the folder should be
    assert hashes.digest_of(path) == SHA
    assert hashes.digest_of(path) == SHA


def test_the_store_does_not_grow_for_ever(there, monkeypatch):
    monkeypatch.setattr(hashes, "KEPT", 3)
    paths = [put(there.folder / f"{n}.pth", bytes([n])) for n in range(5)]
    for path in paths:
        hashes.digest_of(path)
    assert [bool(hashes.remembered(path)) for path in paths] == [False, False, True, True, True]


def test_what_cannot_be_read_is_said(there, monkeypatch):
    with pytest.raises(CheckpointError, match=r"no file .*none.pth"):
        hashes.digest_of(there.folder / "none.pth")
    with pytest.raises(CheckpointError, match=r"is a folder\. Choose the file"):
        hashes.digest_of(there.folder)
    path = put(there.folder / "net.pth")

    def deny(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(CheckpointError, match=r"net\.pth may not be read"):
        hashes.digest_of(path)


def test_a_file_that_grows_while_it_is_read_is_refused(there, monkeypatch):
    path = put(there.folder / "net.pth")
    whole = hashlib.file_digest

    def growing(file, name):
        with path.open("ab") as more:
            more.write(b"more")
        return whole(file, name)

    monkeypatch.setattr(hashes.hashlib, "file_digest", growing)
    with pytest.raises(CheckpointError, match="changed while"):
        hashes.digest_of(path)
    assert hashes.remembered(path) == ""


# --- jsonfile


def test_edits_of_many_threads_all_stay(tmp_path):
    path = tmp_path / "notes.json"
    threads = [
        threading.Thread(target=jsonfile.change, args=(path, lambda content, n=n: content.update({str(n): n})))
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert jsonfile.read(path) == {str(n): n for n in range(20)}
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")) == ["notes.json"]


def test_edits_of_two_processes_all_stay(tmp_path):
    path = tmp_path / "notes.json"
    code = (
        "import sys; from pathlib import Path; from napari_medsam.models.checkpoints import jsonfile\n"
        "for n in range(30): jsonfile.change(Path(sys.argv[1]), lambda c: c.update({sys.argv[2] + str(n): n}))\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in "ab"]
    assert [process.wait(30) for process in both] == [0, 0]
    assert jsonfile.read(path) == {f"{name}{n}": n for name in "ab" for n in range(30)}


def test_a_failed_edit_leaves_the_file(tmp_path):
    path = put(tmp_path / "notes.json", b'{"a": 1}')
    with pytest.raises(TypeError):
        jsonfile.change(path, lambda content: content.update(b=object()))
    assert jsonfile.read(path) == {"a": 1}
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")) == ["notes.json"]


# --- choices


def of(name, layout, backend, *files):
    return Row(name, name.upper(), f"napari_medsam.models.{backend}", layout=layout, files=files)


SAM = WeightFile("sam_vit_b_01ec64.pth", sha256="5a" * 32)
MEDSAM = WeightFile("medsam_vit_b.pth", seen_sha256="ed" * 32)
HF_SAM = WeightFile("model.safetensors", repository="facebook/sam-vit-base")
HF_MEDSAM = WeightFile("pytorch_model.bin", repository="wanglab/medsam-vit-base")
ROWS = (
    Row("contour", "Contour", "a:b", built_in=True),
    of("sam-vit-b", "sam-vit-b", "sam:make", SAM, HF_SAM),
    of("sam-vit-l", "sam-vit-l", "sam:make", WeightFile("sam_vit_l_0b3195.pth")),
    of("medsam", "sam-vit-b", "medsam:make", MEDSAM, HF_MEDSAM),
    of("litemedsam", "litemedsam", "litemedsam:make", WeightFile("lite_medsam.pth")),
    of("litemedsam-scribble", "litemedsam", "litemedsam:make_scribble", WeightFile("medsam_lite_scribble.pth")),
    of("sam2.1-tiny", "sam2.1-tiny", "sam2:make", WeightFile("sam2.1_hiera_tiny.pt", sha256="74" * 32)),
    of("medsam2", "sam2.1-tiny", "medsam2:make", WeightFile("MedSAM2_latest.pt")),
    of("medsam2-ct-lesion", "sam2.1-tiny", "medsam2:make", WeightFile("MedSAM2_CTLesion.pt", sha256="c1" * 32)),
    of("msa-lung", "msa-adapters", "msa:make", WeightFile("LungNodule_CT_SAM_1024.pth")),
    of("msa-cup", "msa-adapters", "msa:make", WeightFile("OpticCup_Fundus_SAM_1024.pth")),
)


@pytest.mark.parametrize(
    ("layout", "path", "row"),
    [
        # published names
        ("sam-vit-b", "sam_vit_b_01ec64.pth", "sam-vit-b"),
        ("sam-vit-b", "medsam_vit_b.pth", "medsam"),
        ("litemedsam", "lite_medsam.pth", "litemedsam"),
        ("litemedsam", "medsam_lite_scribble.pth", "litemedsam-scribble"),
        ("sam2.1-tiny", "sam2.1_hiera_tiny.pt", "sam2.1-tiny"),
        ("sam2.1-tiny", "MedSAM2_latest.pt", "medsam2"),
        ("sam2.1-tiny", "medsam2_ctlesion.pt", "medsam2-ct-lesion"),
        ("msa-adapters", "LungNodule_CT_SAM_1024.pth", "msa-lung"),
        # hints
        ("sam-vit-b", "SAM_ViT_B.pth", "sam-vit-b"),
        ("sam-vit-b", "my-sam-vit-b-2024.pth", "sam-vit-b"),
        ("sam-vit-b", "medsam_20240103_best.pth", "medsam"),
        ("sam-vit-b", "MedSAM-point.pth", "medsam"),
        ("litemedsam", "liteMedSAM_epoch3.pth", "litemedsam"),
        ("litemedsam", "lite_medsam_scribble_v2.pth", "litemedsam-scribble"),
        ("sam2.1-tiny", "sam2_1_hiera_t_mine.pt", "sam2.1-tiny"),
        ("sam2.1-tiny", "my_MedSAM2.pt", "medsam2"),
        ("sam2.1-tiny", "MedSAM2.1.pt", "medsam2"),
        # folders of repositories
        ("sam-vit-b", "hub/models--wanglab--medsam-vit-base/snapshots/c0ffee/model.safetensors", "medsam"),
        ("sam-vit-b", "hub/models--facebook--sam-vit-base/snapshots/c0ffee/pytorch_model.bin", "sam-vit-b"),
        ("sam-vit-b", "clones/medsam-vit-base/pytorch_model.bin", "medsam"),
        ("sam2.1-tiny", "models--facebook--sam2.1-hiera-tiny/snapshots/1/model.safetensors", "sam2.1-tiny"),
        # nothing to decide
        ("sam-vit-l", "anything.pth", "sam-vit-l"),
    ],
)
def test_names_decide(remembered, layout, path, row):
    assert decide(layout, ROWS, Path(path), "00" * 32, remembered).name == row


@pytest.mark.parametrize(
    ("layout", "path", "candidates"),
    [
        ("sam-vit-b", "best.pth", ("sam-vit-b", "medsam")),
        ("sam-vit-b", "medsam_from_sam_vit_b.pth", ("sam-vit-b", "medsam")),
        ("sam-vit-b", "medsam/best.pth", ("sam-vit-b", "medsam")),
        ("sam-vit-b", "model.safetensors", ("sam-vit-b", "medsam")),
        ("sam-vit-b", "downloads/pytorch_model.bin", ("sam-vit-b", "medsam")),
        ("litemedsam", "lite.pth", ("litemedsam", "litemedsam-scribble")),
        ("sam2.1-tiny", "checkpoint.pt", ("sam2.1-tiny", "medsam2")),
        ("sam2.1-tiny", "sam2.1_hiera_t512_tuned.pt", ("sam2.1-tiny", "medsam2")),
        ("sam2.1-tiny", "MedSAM2_from_sam2.1_hiera_tiny.pt", ("sam2.1-tiny", "medsam2")),
        ("msa-adapters", "mine.pth", ("msa-lung", "msa-cup")),
    ],
)
def test_what_nothing_decides_is_asked_once(remembered, layout, path, candidates):
    with pytest.raises(AmbiguousCheckpointError) as caught:
        decide(layout, ROWS, Path(path), "00" * 32, remembered)
    assert caught.value.candidates == candidates
    assert Path(path).name in str(caught.value)
    assert f"{candidates[0]}@" in str(caught.value)
    assert f"--model {candidates[0]} " in str(caught.value)
    remembered.keep_answer("00" * 32, candidates[1])
    assert decide(layout, ROWS, Path("renamed.pth"), "00" * 32, remembered).name == candidates[1]
    with pytest.raises(AmbiguousCheckpointError):
        decide(layout, ROWS, Path("renamed.pth"), "11" * 32, remembered)


def test_content_comes_before_name_and_name_before_the_answer(remembered):
    remembered.keep_answer("ed" * 32, "sam-vit-b")
    remembered.keep_answer("00" * 32, "sam-vit-b")
    assert decide("sam-vit-b", ROWS, Path("sam_vit_b_01ec64.pth"), "ed" * 32, remembered).name == "medsam"
    assert decide("sam-vit-b", ROWS, Path("medsam_vit_b.pth"), "00" * 32, remembered).name == "medsam"
    assert decide("sam2.1-tiny", ROWS, Path("a.pt"), "c1" * 32, remembered).name == "medsam2-ct-lesion"


def test_an_answer_for_another_layout_is_no_answer(remembered):
    remembered.keep_answer("00" * 32, "litemedsam")
    with pytest.raises(AmbiguousCheckpointError):
        decide("sam-vit-b", ROWS, Path("a.pth"), "00" * 32, remembered)


def test_rows_that_see_alike_are_no_question(remembered):
    """Of several MedSAM2 a file of unknown name goes to the generic one."""
    only = [row for row in ROWS if row.name != "sam2.1-tiny"]
    assert decide("sam2.1-tiny", only, Path("a.pt"), "00" * 32, remembered).name == "medsam2"


def test_a_layout_without_a_model(remembered):
    with pytest.raises(CheckpointError, match=r"a\.pth holds weights of the layout sam-hq"):
        decide("sam-hq", ROWS, Path("a.pth"), "00" * 32, remembered)


def test_memory_that_cannot_be_kept_or_is_damaged(remembered, tmp_path):
    put(remembered.path, b'{"answers": 3, "first": []}')
    assert remembered.answer("00") == remembered.first(NET) == ""
    remembered.keep_answer("00", "medsam")
    remembered.keep_first(NET, SHA)
    assert (remembered.answer("00"), remembered.first(NET)) == ("medsam", SHA)
    nowhere = Remembered(put(tmp_path / "file") / "weights.json")
    nowhere.keep_answer("00", "medsam")
    assert nowhere.answer("00") == ""


def test_files_of_two_repositories_with_one_name_are_two(remembered):
    remembered.keep_first(HF_SAM, "11")
    assert remembered.first(replace(HF_SAM, repository="other/one")) == ""
    assert remembered.first(HF_SAM) == "11"


def test_another_content_under_a_known_name_is_refused(remembered):
    path = Path("net.pth")
    check_content(NET, path, SHA, remembered)
    with pytest.raises(CheckpointError, match=rf"published under that name: .*{'0' * 64}, expected {SHA}.*by hand"):
        check_content(NET, path, "0" * 64, remembered)
    unknown = replace(NET, sha256="")
    check_content(unknown, path, "0" * 64, remembered)
    remembered.keep_first(unknown, SHA)
    check_content(unknown, path, SHA, remembered)
    with pytest.raises(CheckpointError, match=rf"fetched first under that name.*{'0' * 64}, expected {SHA}.*by hand"):
        check_content(unknown, path, "0" * 64, remembered)
    remembered.keep_first(unknown, "0" * 64)  # the user chose it by hand
    check_content(unknown, path, "0" * 64, remembered)


def test_every_published_name_leads_to_its_own_model(remembered):
    published = [(row, file) for row in TABLE for file in row.files if file.name not in NAMELESS]
    assert len(published) > 20
    for row, file in published:
        assert decide(row.layout, TABLE, Path(file.name), "00" * 32, remembered).name == row.name
    assert set(HINTS) <= {row.name for row in TABLE}


def test_no_two_models_share_a_published_name():
    """A file is found by its name, so one name stands for one content."""
    names = [name for row in TABLE for name in {file.name.lower() for file in row.files}]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("module", ["places", "hashes", "choices", "fetch"])
def test_no_torch(module):
    code = f"import sys, napari_medsam.models.checkpoints.{module}; assert not {{'torch', 'qtpy'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_adapters_of_unknown_name_are_those_of_no_publisher(remembered):
    """All rows of the zoo see images alike, so nothing is at stake and nobody is asked."""
    from napari_medsam.models import registry

    assert decide("msa-adapters", registry.TABLE, Path("mine.pth"), "00" * 32, remembered).name == "msa-own-adapters"
