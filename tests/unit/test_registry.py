"""The table of models."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_medsam.errors import ModelError
from napari_medsam.models import loading, registry
from napari_medsam.models.base import ModelSpec
from napari_medsam.models.row import Row, WeightFile
from napari_medsam.prompts import Box, Point, PromptKind, Prompts

from ..contract.fakes import BoxFake


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let a test add a row whose backend is `module:attribute`."""

    def add(backend: str) -> None:
        monkeypatch.setattr(registry, "TABLE", (*registry.TABLE, Row("broken", "Broken", backend, built_in=True)))

    return add


BUILT_IN = [row for row in registry.TABLE if row.built_in]


@pytest.mark.parametrize("row", BUILT_IN, ids=lambda row: row.name)
def test_what_is_built_in_loads_and_is_what_its_row_says(row: Row) -> None:
    spec = loading.load(row.name).spec
    assert isinstance(spec, ModelSpec)
    assert spec.name == row.name
    assert spec.prompts == row.prompts
    assert spec.licence == row.licence


@pytest.mark.parametrize("row", registry.TABLE, ids=lambda row: row.name)
def test_a_row_tells_all_that_a_user_asks(row: Row) -> None:
    module, _, attribute = row.backend.partition(":")
    assert attribute
    assert importlib.util.find_spec(module) is not None
    assert all((row.title, row.family, row.about, row.licence))
    assert bool(row.prompts) != row.automatic
    assert not row.prompts & set(row.stand_ins)
    assert row.built_in or (row.layout and row.source.startswith("https://") and row.input_size)
    assert not row.base or registry.row(row.base).layout
    assert row.built_in or row.memory_mb > 0, "not measured"
    assert row.built_in or row.speed > 0, "not measured"


@pytest.mark.parametrize("file", [f for row in registry.TABLE for f in row.files], ids=lambda file: file.name)
def test_a_file_says_where_it_comes_from(file: WeightFile) -> None:
    assert file.url.startswith("https://") or file.repository.count("/") == 1 or file.page.startswith("https://")
    assert file.sha256 == "" or re.fullmatch("[0-9a-f]{64}", file.sha256)
    assert "/" not in file.name


def test_files_of_one_name_are_one_file() -> None:
    owners = Counter(name for row in registry.TABLE for name in {file.name for file in row.files})
    assert max(owners.values()) == 1


def test_names_are_unique_and_hold_the_default() -> None:
    assert len(set(registry.names())) == len(registry.names())
    assert registry.DEFAULT in registry.names()


def test_the_default_needs_no_weights_and_takes_boxes_and_points() -> None:
    row = registry.row(registry.DEFAULT)
    assert row.built_in
    assert row.prompts >= {PromptKind.BOX, PromptKind.POINT}


def test_a_reference_names_a_row_and_maybe_a_file(tmp_path: Path) -> None:
    assert registry.parse("medsam") == (registry.row("medsam"), None)
    own = registry.reference("medsam", tmp_path / "my@own.pth")
    assert registry.parse(own) == (registry.row("medsam"), tmp_path / "my@own.pth")
    assert registry.title(own) == "MedSAM (my@own.pth)"


def test_an_unknown_model_is_refused_with_the_names_that_exist() -> None:
    for ask in (registry.row, registry.parse, loading.load):
        with pytest.raises(ModelError, match=r"'sam9'.*contour"):
            ask("sam9")


@pytest.mark.parametrize(
    "backend", ["napari_medsam.nowhere:Model", "napari_medsam.errors:Nothing", "builtins:iter", "nonsense"]
)
def test_a_backend_that_cannot_be_made_is_a_model_error_with_its_cause(
    table: Callable[[str], None], backend: str
) -> None:
    table(backend)
    with pytest.raises(ModelError, match="Broken could not be loaded") as caught:
        loading.load("broken")
    assert caught.value.__cause__ is not None


def test_a_model_error_of_a_backend_passes_unchanged(
    table: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ModelError("The weights are not there. Download them.")

    def refuse() -> None:
        raise error

    monkeypatch.setattr(registry, "refuse_for_test", refuse, raising=False)
    table("napari_medsam.models.registry:refuse_for_test")
    with pytest.raises(ModelError) as caught:
        loading.load("broken")
    assert caught.value is error


def test_prompts_that_a_model_does_not_take_are_named_with_those_it_takes() -> None:
    spec = BoxFake.spec
    spec.check(Prompts(Box(0, 0, 2, 2), (Point(1, 1),)))
    boxes_only = ModelSpec("b", "Boxes", "b-1", frozenset({PromptKind.BOX}), False, "MIT", "Boxes.")
    with pytest.raises(ValueError, match="Boxes does not take a point; it takes: box"):
        boxes_only.check(Prompts(Box(0, 0, 2, 2), (Point(1, 1),)))
