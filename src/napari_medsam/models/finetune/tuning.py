"""Adapt any model that can be adapted: which way, from which weights, and the file that comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medsam.errors import CheckpointError, UnsupportedError
from napari_medsam.models import registry
from napari_medsam.models.checkpoints.refusal import refused
from napari_medsam.models.checkpoints.writing import write
from napari_medsam.models.finetune.examples import Example, digest_of, require_some
from napari_medsam.models.finetune.settings import Report, Settings, silent
from napari_medsam.models.loading import Loader, backend_of
from napari_medsam.models.row import Row
from napari_medsam.models.sources import Sources

if TYPE_CHECKING:
    import torch

STARTER = "starter"
LORA_ROW, LORA_BASE = "sam-lora", "sam-vit-b"
"""The row whose files are plain LoRA, and the row that they are added to."""


class Method(Enum):
    """What is trained."""

    ALL = "all"
    DECODER = "decoder"
    LORA = "lora"


SETTINGS: Mapping[Method, Settings] = {
    Method.ALL: Settings(steps=150, batch=12, rate=5e-4),
    Method.DECODER: Settings(steps=150, batch=4, rate=1e-4),
    Method.LORA: Settings(steps=200, batch=2, rate=3e-4),
}
"""What suits a handful of labelled slices."""


@dataclass(frozen=True)
class Order:
    """What to adapt and how.

    Parameters
    ----------
    reference : str
        A model of the registry, or one with weights of one's own: "starter", "medsam@/data/medsam.pth".
    method : Method, optional
        All weights of the starter, which knows nothing else; of other models the decoder when left out.
    steps : int, optional
        In place of those of SETTINGS.
    seed : int
        Of all that is drawn by chance.
    loader : Loader
        Where weights are looked for, and where the training runs.
    """

    reference: str
    method: Method | None = None
    steps: int | None = None
    seed: int = 0
    loader: Loader = field(default_factory=Loader)

    def settings(self, method: Method) -> Settings:
        """How to train in this way."""
        steps = SETTINGS[method].steps if self.steps is None else self.steps
        return replace(SETTINGS[method], steps=steps, seed=self.seed)


def tune(order: Order, examples: Sequence[Example], out: Path, report: Report = silent) -> str:
    """Train a model on examples and write a file of safetensors; the reference by which the result is loaded.

    Raises
    ------
    LabelsError
        There are no examples.
    UnsupportedError
        The model cannot be trained in this way.
    CheckpointError
        Its weights are missing, or cannot be used for this.
    WriteError
        The file could not be written.
    """
    require_some(examples)
    row, path = registry.parse(order.reference)
    method = order.method or (Method.ALL if row.name == STARTER else Method.DECODER)
    if (row.name == STARTER) != (method is Method.ALL):
        raise UnsupportedError(
            f"{row.title} is not fine-tuned with {method.value!r}: the starter takes 'all', other models 'decoder' or "
            "'lora'."
        )
    settings = order.settings(method)
    facts = _facts(row, method, settings, examples)
    if row.name == STARTER:
        from napari_medsam.models.finetune import starter_tuning

        weights = {} if path is None else {"weights": path}
        starter_tuning.tune(examples, out, settings=settings, facts=facts, report=report, **weights)
        return registry.reference(row.name, out)
    return _tune_sam(order, method, examples, out, facts, report)


def _tune_sam(
    order: Order, method: Method, examples: Sequence[Example], out: Path, facts: Mapping[str, str], report: Report
) -> str:
    from napari_medsam.models.finetune import lora, sam_tuning

    row, path = registry.parse(order.reference)
    if row.automatic or row.built_in or row.base:
        raise UnsupportedError(f"{row.title} cannot be fine-tuned; choose starter or a model of the SAM family.")
    sources = order.loader.sources(row, path)
    sources = replace(sources, compute=replace(sources.compute, precision="float32"))
    segmenter = backend_of(row)(sources)
    facts = {**facts, "source": sources.digest}
    if method is Method.DECODER:
        changed = sam_tuning.tune_decoder(segmenter, examples, order.settings(method), report)
        return _write_whole(row, sources, changed, out, facts)
    changes = sam_tuning.tune_lora(segmenter, examples, order.settings(method), report)
    if row.name == LORA_BASE and path is None:
        write(out, lora.lora_tensors(changes), facts)
        return registry.reference(LORA_ROW, out)
    return _write_whole(row, sources, lora.merged_weights(changes), out, facts)


def _write_whole(
    row: Row, sources: Sources, changed: Mapping[str, torch.Tensor], out: Path, facts: Mapping[str, str]
) -> str:
    """All tensors of the source, some of them changed, under the names that they have there."""
    from napari_medsam.models.checkpoints.reading import read

    source = read(sources.weights)
    unknown = [name for name in changed if name not in source.tensors]
    if unknown:
        raise _other_names(source.path)
    write(out, {**source.tensors, **changed}, facts)
    return registry.reference(row.name, out)


def _facts(row: Row, method: Method, settings: Settings, examples: Sequence[Example]) -> dict[str, str]:
    """What the file says of itself. No dates: the same training gives the same file."""
    return {
        "model": row.name,
        "method": method.value,
        "examples": str(len(examples)),
        "data": digest_of(examples),
        "steps": str(settings.steps),
        "batch": str(settings.batch),
        "rate": str(settings.rate),
        "seed": str(settings.seed),
    }


def _other_names(path: Path) -> CheckpointError:
    return refused(
        path,
        "a file with the names of the authors' own code",
        "other names, as of transformers",
        "Choose the original file of this model, and fine-tune that.",
    )
