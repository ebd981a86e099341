"""From a reference to a model: which file, made sure of, and what is said when there is none."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from napari_medsam.errors import AmbiguousCheckpointError, CheckpointError, MemoryShortError, ModelError
from napari_medsam.models import registry
from napari_medsam.models.checkpoints import hashes
from napari_medsam.models.checkpoints.choices import Remembered
from napari_medsam.models.checkpoints.places import Places
from napari_medsam.models.compute import Compute
from napari_medsam.models.fetching import needed
from napari_medsam.models.loading import Loader
from napari_medsam.models.row import WeightFile
from napari_medsam.models.stand_in import StandIn
from napari_medsam.prompts import PromptKind

from . import little

LITE = WeightFile("lite_medsam.pth", page="https://example.org/lite", exact=False)


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [little.a_row("litemedsam", LITE), little.a_row("litemedsam-scribble"), little.a_row("mobile-sam")]
    rows += [little.a_row("samus"), little.a_row("msa-melanoma")]
    monkeypatch.setattr(registry, "TABLE", little.table(*rows))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "weights"


@pytest.fixture
def loader(folder: Path, tmp_path: Path) -> Loader:
    return Loader(Places((folder,)), Compute("cpu", "float32"), Remembered(tmp_path / "answers.json"))


@pytest.fixture
def gate() -> Iterator[None]:
    held = little.before
    yield
    little.before = held


# --- what is made


def test_weights_in_the_folder_are_found_by_their_name_and_used_in_place(loader: Loader, folder: Path) -> None:
    path = little.write(folder / "lite_medsam.pth")
    model = loader("litemedsam")
    assert model.spec.name == "litemedsam"
    assert loader.sources(registry.row("litemedsam")).weights == path
    assert sorted(p.name for p in folder.iterdir()) == ["lite_medsam.pth"]


def test_a_chosen_file_needs_no_name(loader: Loader, tmp_path: Path) -> None:
    path = little.write(tmp_path / "my own.pth")
    for name in ("litemedsam", "litemedsam-scribble"):
        assert loader(registry.reference(name, path)).spec.name == name


def test_stand_ins_are_offered_where_the_row_names_them(loader: Loader, folder: Path) -> None:
    little.write(folder / "lite_medsam.pth")
    model = loader("litemedsam")
    assert isinstance(model, StandIn)
    assert PromptKind.POINT in model.spec.takes - model.spec.prompts
    scribble = loader(registry.reference("litemedsam-scribble", folder / "lite_medsam.pth"))
    assert not isinstance(scribble, StandIn)


def test_content_and_precision_tell_the_features_of_two_models_apart(loader: Loader, tmp_path: Path) -> None:
    """They are the digest under which embeddings are kept."""
    one, two = (little.write(tmp_path / f"{i}.pth", value=i) for i in (1, 2))
    half = replace(loader, compute=Compute("cpu", "bfloat16"))
    specs = [made(registry.reference("litemedsam", path)).spec for made in (loader, half) for path in (one, two)]
    specs.append(loader(registry.reference("litemedsam-scribble", one)).spec)
    assert len({spec.digest for spec in specs}) == 5


def test_a_folder_of_the_transformers_format_is_used_by_its_file(loader: Loader, tmp_path: Path) -> None:
    little.write(tmp_path / "lite_medsam" / "model.safetensors")
    reference = loader.recognise(tmp_path / "lite_medsam")
    assert registry.parse(reference) == (registry.row("litemedsam"), tmp_path / "lite_medsam")
    assert loader(reference).spec.name == "litemedsam"


def test_what_is_built_in_needs_no_weights() -> None:
    assert Loader()("starter").spec.name == "starter"


# --- whose it is


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lite_medsam.pth", "litemedsam"),
        ("medsam_lite_scribble.pth", "litemedsam-scribble"),
        ("LiteMedSAM_epoch_9.pth", "litemedsam"),
    ],
)
def test_a_name_tells_look_alikes_apart(loader: Loader, tmp_path: Path, name: str, expected: str) -> None:
    path = little.write(tmp_path / name)
    assert loader.recognise(path) == registry.reference(expected, path)


def test_where_nothing_tells_it_is_asked_once_and_the_answer_follows_the_content(
    loader: Loader, tmp_path: Path
) -> None:
    path = little.write(tmp_path / "epoch_7.pth")
    with pytest.raises(AmbiguousCheckpointError) as caught:
        loader.recognise(path)
    assert set(caught.value.candidates) == {"litemedsam", "litemedsam-scribble"}
    assert loader.remember(path, "litemedsam-scribble") == registry.reference("litemedsam-scribble", path)
    copy = tmp_path / "elsewhere.pth"
    copy.write_bytes(path.read_bytes())
    assert loader.recognise(copy) == registry.reference("litemedsam-scribble", copy)
    with pytest.raises(AmbiguousCheckpointError):
        loader.recognise(little.write(tmp_path / "epoch_8.pth", value=1))


# --- bad input


def _bad(path: Path, kind: str) -> Path:
    whole = little.write(path.with_name("whole")).read_bytes()
    contents = {"truncated": whole[:-20], "empty": b"", "html": little.HTML, "text": b"weights"}
    if kind == "folder":
        path.mkdir()
    elif kind == "zipped twice":
        with zipfile.ZipFile(path, "w") as outer:
            outer.writestr("lite_medsam.pth", whole)
    elif kind != "missing":
        path.write_bytes(contents[kind])
    return path


@pytest.mark.parametrize("kind", ["truncated", "empty", "html", "text", "folder", "zipped twice", "missing"])
def test_a_bad_file_is_refused_with_its_name_however_it_is_chosen(loader: Loader, tmp_path: Path, kind: str) -> None:
    path = _bad(tmp_path / "lite_medsam.pth", kind)
    for ask in (loader.recognise, lambda path: loader(registry.reference("litemedsam", path))):
        with pytest.raises(CheckpointError, match=r"lite_medsam\.pth"):
            ask(path)


@pytest.mark.skipif(os.name != "posix" or not os.getuid(), reason="root may read everything")
def test_a_file_that_may_not_be_read(loader: Loader, tmp_path: Path) -> None:
    path = little.write(tmp_path / "lite_medsam.pth")
    path.chmod(0)
    with pytest.raises(CheckpointError, match="may not be read"):
        loader.recognise(path)


def test_weights_of_another_family_are_named(loader: Loader, folder: Path) -> None:
    little.write(folder / "lite_medsam.pth", "mobile-sam")
    with pytest.raises(CheckpointError, match=r"lite_medsam\.pth does not hold .*LiteMedSAM.*MobileSAM.*Choose"):
        loader("litemedsam")


def test_missing_weights_are_told_with_every_way_to_get_them(loader: Loader, folder: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        loader("litemedsam")
    said = str(caught.value)
    assert all(part in said for part in ("LiteMedSAM", "lite_medsam.pth", "example.org/lite", str(folder)))
    with pytest.raises(CheckpointError, match="napari-medsam fetch mobile-sam"):
        loader("mobile-sam")


def test_a_missing_base_is_told_with_what_needs_it(loader: Loader, folder: Path) -> None:
    path = little.write(folder / "mine.pth", "msa-adapters")
    with pytest.raises(CheckpointError, match=r"SAM ViT-B, which .*melanoma.* needs beside"):
        loader(registry.reference("msa-melanoma", path))


def test_a_file_with_a_known_name_and_another_content_is_not_used_before_it_is_chosen(
    loader: Loader, folder: Path
) -> None:
    path = little.write(folder / "lite_medsam.pth")
    loader.remembered.keep_first(LITE, "0" * 64)
    with pytest.raises(CheckpointError, match="SHA-256"):
        loader("litemedsam")
    loader(registry.reference("litemedsam", path))
    assert loader("litemedsam").spec.name == "litemedsam", "chosen by hand once, it is trusted"
    assert loader.remembered.first(LITE) == hashes.digest_of(path)


def test_a_device_that_is_not_there_is_said_before_anything_is_read(loader: Loader) -> None:
    for compute, said in ((Compute("cuda:77"), "no device 'cuda:77' here.*cpu"), (Compute("cpu", "int4"), "int4")):
        with pytest.raises(ModelError, match=said):
            replace(loader, compute=compute)("litemedsam")


@pytest.mark.parametrize(
    ("error", "expected", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), MemoryShortError, "memory"),
        (CheckpointError("this file"), CheckpointError, "this file"),
        (RuntimeError("shape '[2]' is invalid"), ModelError, "LiteMedSAM could not be loaded: shape"),
    ],
)
@pytest.mark.usefixtures("gate")
def test_what_a_backend_raises_comes_out_in_words(
    loader: Loader, folder: Path, error: Exception, expected: type[Exception], said: str
) -> None:
    def fail(sources: object) -> None:
        raise error

    little.before = fail
    little.write(folder / "lite_medsam.pth")
    with pytest.raises(expected, match=said):
        loader("litemedsam")


def test_an_unknown_model_is_refused(loader: Loader) -> None:
    with pytest.raises(ModelError, match="sam9"):
        loader("sam9@/tmp/a.pth")


# --- what has to be fetched


def test_what_is_beside_comes_first_and_what_is_there_is_left_out(folder: Path) -> None:
    where = Places((folder,))
    assert [row.name for row in needed("msa-melanoma", where)] == ["sam-vit-b", "msa-melanoma"]
    little.write(folder / registry.row("msa-melanoma").files[0].name, "msa-adapters")
    assert [row.name for row in needed("msa-melanoma", where)] == ["sam-vit-b"]
    assert needed("contour", where) == []


def test_a_model_that_was_named_with_a_file_is_remembered_too(loader: Loader, tmp_path: Path) -> None:
    path = little.write(tmp_path / "mine.pth")
    loader(registry.reference("litemedsam-scribble", path))
    assert loader.recognise(path) == registry.reference("litemedsam-scribble", path)


def test_the_content_of_another_model_under_this_ones_name_is_refused(
    loader: Loader, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hash before name: the published weights of another row that see images differently."""
    path = little.write(folder / "lite_medsam.pth")
    published = WeightFile("medsam_lite_scribble.pth", sha256=hashes.digest_of(path), page="https://example.org/s")
    rows = little.table(little.a_row("litemedsam", LITE), little.a_row("litemedsam-scribble", published))
    monkeypatch.setattr(registry, "TABLE", rows)
    with pytest.raises(CheckpointError, match=r"published weights of .*cribble"):
        loader("litemedsam")
