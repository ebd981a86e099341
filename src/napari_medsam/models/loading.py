"""From a reference to a model that can be used: find the weights, make sure of them, and call the backend.

Imports heavy libraries when a model is loaded, so call it off the GUI thread.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_medsam.errors import CheckpointError, MedsamError, MemoryShortError, ModelError
from napari_medsam.models import beside_mesa, registry, torch_libraries
from napari_medsam.models.base import Model
from napari_medsam.models.checkpoints import hashes, identify, places, reading
from napari_medsam.models.checkpoints.choices import Remembered, check_content, decide
from napari_medsam.models.checkpoints.places import Kind, Places
from napari_medsam.models.checkpoints.sniffing import weights_at
from napari_medsam.models.compute import Compute, device_of, precision_of
from napari_medsam.models.row import Row
from napari_medsam.models.sources import Sources
from napari_medsam.models.threads import THREADS


@dataclass(frozen=True)
class Loader:
    """Makes models from references.

    Parameters
    ----------
    places : Places
        Where weights are looked for.
    compute : Compute
        Where models run, and how precisely.
    remembered : Remembered
        What the user said of files, and what was fetched first.
    """

    places: Places = field(default_factory=Places.from_environment)
    compute: Compute = field(default_factory=Compute)
    remembered: Remembered = field(default_factory=Remembered.of_user)

    def __call__(self, reference: str) -> Model:
        """Make the model of a reference.

        Raises
        ------
        ModelError
            There is no such model, or it cannot be made; CheckpointError when its weights are missing or wrong, and
            MemoryShortError when there is too little memory.
        """
        row, path = registry.parse(reference)
        if row.built_in and path is None:
            return _made(row, backend_of(row))
        precision_of(self.compute, device_of(self.compute))  # refused before gigabytes are read
        sources = self.sources(row, path)
        make = backend_of(row)
        THREADS.settle()
        return self._remade(row, make, sources)

    def sources(self, row: Row, path: Path | None = None) -> Sources:
        """What the backend of a row needs: its weights, made sure of, and those beside it."""
        weights = self.weights_of(row) if path is None else weights_at(path)
        _check_layout(row, weights)
        base = None
        if row.base:
            base = self.weights_of(registry.row(row.base), needed_by=row.title)
        digest = hashes.digest_of(weights)
        if path is not None:  # chosen by hand, so trusted under that name from now on
            self.remembered.keep_answer(digest, row.name)
            for file in row.files:
                if file.name == weights.name:
                    self.remembered.keep_first(file, digest)
        return Sources(row, weights, digest, base, self.compute)

    def weights_of(self, row: Row, needed_by: str = "") -> Path:
        """The published weights of a row on this machine, their content checked.

        Raises
        ------
        CheckpointError
            They are not here, or not what was published.
        """
        found = places.find(row, self.places)
        if found is None:
            raise CheckpointError(_missing(row, self.places, needed_by))
        digest = hashes.digest_of(found.path)
        check_content(found.file, found.path, digest, self.remembered)
        owner = _published_by(digest)
        if owner is not None and found.file not in owner.files:
            raise CheckpointError(
                f"{found.path} is not {row.title}: it holds the published weights of {owner.title}. Give the file its "
                f"own name, {owner.files[-1].name}, and fetch or choose that of {row.title}."
            )
        return found.path

    def recognise(self, path: Path) -> str:
        """The reference of a file of weights, by its content, its name, or what the user said of it before.

        Raises
        ------
        AmbiguousCheckpointError
            It fits several models, and only the user can say which it is.
        CheckpointError
            It is no file of weights that any model here can use.
        """
        file = weights_at(path)
        chosen = decide(_layout_of(file), registry.TABLE, file, hashes.digest_of(file), self.remembered)
        return registry.reference(chosen.name, path)

    def remember(self, path: Path, name: str) -> str:
        """Keep what the user said of a file that fits several models; the reference of that model with the file."""
        self.remembered.keep_answer(hashes.digest_of(weights_at(path)), name)
        return registry.reference(name, path)

    def _remade(self, row: Row, make: Callable[..., Model], sources: Sources) -> Model:
        from napari_medsam.models.fallback import LabellerFallback, fallback_of
        from napari_medsam.models.stand_in import stand_in_of

        def made(compute: Compute) -> Any:
            # mapped weights would be mixed if their file were overwritten meanwhile
            with reading.steady(sources.weights):
                return _made(row, lambda: make(self._settled(replace(sources, compute=compute))))

        if row.automatic:
            return LabellerFallback(made, self.compute)
        segmenter = fallback_of(made, self.compute)
        return stand_in_of(segmenter) if row.stand_ins else segmenter

    @staticmethod
    def _settled(sources: Sources) -> Sources:
        """With the precision in the digest: features of another precision are other features."""
        precision = str(precision_of(sources.compute, device_of(sources.compute))).removeprefix("torch.")
        rounded = "" if precision != "float32" or sources.compute.precision == precision else "-kept-float16"
        return replace(sources, digest=f"{sources.digest[:16]}-{precision}{rounded}")


def load(reference: str) -> Model:
    """Make a model with the places and the device of the environment; see `Loader`."""
    return Loader()(reference)


def backend_of(row: Row) -> Callable[..., Model]:
    """What makes a row's model."""
    module, _, attribute = row.backend.partition(":")
    if row.layout:  # a network's, so torch is about to be imported
        torch_libraries.load()
        beside_mesa.import_triton()
    try:
        made: Callable[..., Model] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, OSError, ValueError) as error:
        raise ModelError(f"{row.title} could not be loaded: {error}. Reinstall napari-medsam.") from error
    return made


def _layout_of(file: Path) -> str:
    return identify.identify(reading.shapes(file), file).name


def _check_layout(row: Row, file: Path) -> None:
    layout = _layout_of(file)
    if layout != row.layout:
        fitting = ", ".join(one.title for one in registry.of_layout(layout)) or layout
        raise CheckpointError(
            f"{file} does not hold weights of {row.title}: its layout is that of {fitting}. Choose that model, or "
            "another file."
        )


def _made(row: Row, make: Callable[[], Model]) -> Model:
    from napari_medsam.models.fallback import is_memory_short

    try:
        return make()
    except MedsamError:
        raise
    except Exception as error:
        if not row.built_in and is_memory_short(error):
            raise MemoryShortError(f"There is not enough memory for {row.title}. Choose a smaller model.") from error
        raise ModelError(f"{row.title} could not be loaded: {error}. Please report it.") from error


def _published_by(digest: str) -> Row | None:
    """The row that publishes a content."""
    known = ((row, file) for row in registry.TABLE for file in row.files)
    return next((row for row, file in known if digest in (file.sha256, file.seen_sha256)), None)


def _missing(row: Row, where: Places, needed_by: str) -> str:
    state = places.state(row, where)
    what = f"{row.title}, which {needed_by} needs beside its own file," if needed_by else row.title
    if state.kind is Kind.WRONG:
        return f"{what} cannot be used: {state.text}."
    ways = []
    if state.file is not None and state.file.fetchable:
        ways.append(f"fetch it (napari-medsam fetch {row.name})")
    page = next((file.page for file in row.files if file.page), "")
    if page:
        ways.append(f"get it from {page}")
    ways.append(f"put the file into {where.folder}, or choose it")
    names = " or ".join(file.name for file in row.files) or "a file of your own"
    return f"{what} needs {names}, which is not on this machine: " + ", or ".join(ways) + "."
