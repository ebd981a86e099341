"""Adapt the `starter` to examples: all of its weights, in minutes on a CPU."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_medsam.models.finetune.examples import Example, require_some
from napari_medsam.models.finetune.objective import Samples, rounds
from napari_medsam.models.finetune.people import Rng
from napari_medsam.models.finetune.samples import Batch, Shares, sample
from napari_medsam.models.finetune.settings import Report, Settings, silent
from napari_medsam.models.frame import as_grey
from napari_medsam.models.starter import one_thread
from napari_medsam.models.starter_weights import WEIGHTS, read_weights, write_weights

if TYPE_CHECKING:
    from napari_medsam.models.starter_network import StarterNetwork

AVERAGE = 0.95
"""Of the exponential moving average of the weights, which is what is kept."""

SHARES = Shares(without_box=0.1, with_mask=0.12)
"""Prompts that the examples are shown with."""


def tune(
    examples: Sequence[Example],
    out: Path,
    *,
    settings: Settings,
    weights: Path = WEIGHTS,
    facts: Mapping[str, str] | None = None,
    report: Report = silent,
) -> Path:
    """Train all weights on examples and write them.

    Parameters
    ----------
    examples : sequence of Example
    out : Path
        The file to write, safetensors; it is written at the end, whole or not at all.
    settings : Settings
    weights : Path
        Weights to start from.
    facts : mapping of str to str, optional
        For the file's metadata.
    report : Report

    Raises
    ------
    LabelsError
        There are no examples.
    CheckpointError
        `weights` are not the starter's.
    """
    require_some(examples)
    read = read_weights(weights)
    with one_thread():
        trained = train(read.network, examples, settings, report)
    write_weights(out, trained.state_dict(), trained.config, {"source": read.digest, **(facts or {})})
    return out


def train(network: StarterNetwork, examples: Sequence[Example], settings: Settings, report: Report) -> StarterNetwork:
    """The moving average of the network's weights over all steps; `network` itself is trained in place.

    Normalisation keeps its statistics: those of a few slices would be worse.
    """
    rng, random = np.random.default_rng(settings.seed), torch.Generator().manual_seed(settings.seed)
    average = copy.deepcopy(network).requires_grad_(False)
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.rate, betas=(0.9, 0.98), weight_decay=0.01)
    network.eval()
    smooth = 0.0
    for step in range(settings.steps):
        samples = Samples.of(batch_of(examples, rng, settings.batch), "cpu")
        loss, _ = rounds(network, samples, random)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        for group in optimiser.param_groups:
            group["lr"] = settings.rate_at(step)
        optimiser.step()
        _follow(average, network, min(AVERAGE, (1 + step) / (10 + step)))
        now = float(loss.detach())
        smooth = now if step == 0 else 0.9 * smooth + 0.1 * now
        report(step + 1, settings.steps, smooth)
    return average.eval()


def batch_of(examples: Sequence[Example], rng: Rng, count: int) -> Batch:
    """Some examples with new prompts, contrast and place."""
    chosen = rng.integers(len(examples), size=count)
    return Batch.of([sample(varied(examples[i].plane, rng), examples[i].mask, rng, SHARES) for i in chosen])


def varied(plane: NDArray[np.uint8], rng: Rng) -> NDArray[np.uint8]:
    """The plane in another window, with another gamma and a little noise."""
    grey = as_grey(plane).astype(np.float32) / 255
    low, high = rng.normal(0, 0.06), 1 + rng.normal(0, 0.1)
    grey = np.clip((grey - low) / max(high - low, 0.3), 0, 1) ** np.float32(np.exp(rng.normal(0, 0.2)))
    grey = grey + rng.uniform(0, 0.04) * rng.standard_normal(grey.shape, dtype=np.float32)
    return np.asarray(np.rint(np.clip(grey, 0, 1) * 255), dtype=np.uint8)


@torch.no_grad()
def _follow(average: Any, live: Any, keep: float) -> None:
    now = live.state_dict()
    for name, value in average.state_dict().items():
        if value.dtype.is_floating_point:
            value.lerp_(now[name], 1 - keep)
