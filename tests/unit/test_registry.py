"""The table of models."""

from __future__ import annotations

import pytest

from napari_medsam.errors import ModelError
from napari_medsam.models import registry
from napari_medsam.models.base import ModelSpec
from napari_medsam.prompts import Box, Point, PromptKind, Prompts

from ..contract.fakes import BoxFake


@pytest.fixture
def table(monkeypatch):
    """Let a test add a row whose backend is `module:attribute`."""

    def add(backend: str) -> None:
        monkeypatch.setattr(registry, "TABLE", (*registry.TABLE, registry.Row("broken", "Broken", backend)))

    return add


@pytest.mark.parametrize("row", registry.TABLE, ids=lambda row: row.name)
def test_every_row_loads_what_it_promises(row: registry.Row) -> None:
    spec = registry.load(row.name).spec
    assert isinstance(spec, ModelSpec)
    assert spec.name == row.name


def test_names_are_unique_and_hold_the_default() -> None:
    assert len(set(registry.names())) == len(registry.names())
    assert registry.DEFAULT in registry.names()


def test_the_default_needs_no_network_and_takes_boxes_and_points() -> None:
    spec = registry.load(registry.DEFAULT).spec
    assert not spec.needs_network
    assert spec.prompts >= {PromptKind.BOX, PromptKind.POINT}


def test_an_unknown_model_is_refused_with_the_names_that_exist() -> None:
    for ask in (registry.row, registry.load):
        with pytest.raises(ModelError, match=r"'sam9'.*contour"):
            ask("sam9")


@pytest.mark.parametrize(
    "backend", ["napari_medsam.nowhere:Model", "napari_medsam.errors:Nothing", "builtins:iter", "nonsense"]
)
def test_a_backend_that_cannot_be_made_is_a_model_error_with_its_cause(table, backend: str) -> None:
    table(backend)
    with pytest.raises(ModelError, match="'broken' could not be loaded") as caught:
        registry.load("broken")
    assert caught.value.__cause__ is not None


def test_a_model_error_of_a_backend_passes_unchanged(table, monkeypatch) -> None:
    error = ModelError("The weights are not there. Download them.")

    def refuse() -> None:
        raise error

    monkeypatch.setattr(registry, "refuse_for_test", refuse, raising=False)
    table("napari_medsam.models.registry:refuse_for_test")
    with pytest.raises(ModelError) as caught:
        registry.load("broken")
    assert caught.value is error


def test_prompts_that_a_model_does_not_take_are_named_with_those_it_takes() -> None:
    spec = BoxFake.spec
    spec.check(Prompts(Box(0, 0, 2, 2), (Point(1, 1),)))
    boxes_only = ModelSpec("b", "Boxes", "b-1", frozenset({PromptKind.BOX}), False, "MIT", "Boxes.")
    with pytest.raises(ValueError, match="Boxes does not take a point; it takes: box"):
        boxes_only.check(Prompts(Box(0, 0, 2, 2), (Point(1, 1),)))
