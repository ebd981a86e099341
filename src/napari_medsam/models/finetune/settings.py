"""How long and how boldly to train, and how it is told."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from napari_medsam.errors import ModelError

Report = Callable[[int, int, float], None]
"""Called with the step, all steps and the smoothed loss. It stops the training by raising: nothing is written then."""


@dataclass(frozen=True)
class Settings:
    """What a person may choose.

    Parameters
    ----------
    steps : int
    batch : int
        Objects a step.
    rate : float
        Highest learning rate; it rises over a tenth of the steps and falls to nothing along a cosine.
    seed : int
        Of all that is drawn by chance.
    """

    steps: int
    batch: int
    rate: float
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or not 0 < self.rate < 1:
            raise ModelError(
                f"{self.steps} steps of {self.batch} objects at a rate of {self.rate:g} cannot be trained: steps and "
                "objects start at 1, and the rate lies between 0 and 1."
            )

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rise = max(self.steps // 10, 1)
        if step < rise:
            return self.rate * (step + 1) / rise
        return self.rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(self.steps - rise, 1)))


def silent(step: int, steps: int, loss: float) -> None:
    """Say nothing."""
