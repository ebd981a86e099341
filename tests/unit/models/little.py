"""Little files of weights in the layout of real networks, and models made from them that answer with the box."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tests.contract.fakes import BoxFake

from napari_medsam.models import registry
from napari_medsam.models.row import Row, WeightFile
from napari_medsam.models.sources import Sources

LAYOUTS = {
    "litemedsam": ("image_encoder.patch_embed.seq.0.c.weight", (32, 3, 1, 1)),
    "mobile-sam": ("image_encoder.patch_embed.seq.0.c.weight", (32, 3, 3, 3)),
    "samus": ("image_encoder.cnn_embed.inc.conv.0.weight", (64, 3, 3, 3)),
    "msa-adapters": ("image_encoder.blocks.0.Space_Adapter.D_fc1.weight", (192, 768)),
}
"""A tensor by which each is told."""

HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"

before: Callable[[Sources], None] = lambda sources: None  # noqa: E731 - tests put a gate or an error in its place
"""Called at the beginning of each load."""


class Little(BoxFake):
    """A BoxFake that is a model of its row."""

    def __init__(self, sources: Sources) -> None:
        super().__init__()
        self.sources = sources
        self.spec = sources.row.spec(sources.digest)


def make(sources: Sources) -> Little:
    before(sources)
    return Little(sources)


def __getattr__(name: str) -> Callable[[Sources], Little]:
    """The backends of `a_row`, all the same."""
    if name.startswith("__"):
        raise AttributeError(name)
    return make


def write(path: Path, layout: str = "litemedsam", value: float = 0.0) -> Path:
    """A file of weights; another `value` makes another content."""
    name, shape = LAYOUTS[layout]
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.full(shape, value, np.float16)}, path)
    return path


def a_row(name: str, *files: WeightFile) -> Row:
    """A row of the table, of which `make` makes the model; with these files, if any, in place of its own."""
    row = registry.row(name)
    # a name of its own for each backend: rows with one backend are taken to see images alike
    attribute = row.backend.rpartition(".")[2].replace(":", "_")
    return replace(row, backend=f"tests.unit.models.little:{attribute}", files=files or row.files)


def table(*changed: Row) -> tuple[Row, ...]:
    """The table with these rows in place of those of their names."""
    named = {row.name: row for row in changed}
    return tuple(named.get(row.name, row) for row in registry.TABLE)
