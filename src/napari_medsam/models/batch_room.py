"""How many inputs to take at once: on a GPU as many as fit, by what one of them took. A CPU gains nothing from more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

MOST = 8
"""More at once gains no more, and a prompt would wait longer for the lane."""

SHARE = 0.5
"""The part of the free memory that a batch may take."""


class BatchRoom:
    """Remembers what the first encode took of a device.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._taken = 0
        """Bytes that one input took beside the weights; 0 while that is not known."""

    @property
    def size(self) -> int:
        """How many inputs to take at a time: 1 on a CPU, and before the first encode."""
        if self._device.type != "cuda" or not self._taken:
            return 1
        free, _ = torch.cuda.mem_get_info(self._device)
        unused = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return most_of(free + unused, self._taken)

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Run the encode of one input within this: the first time, its peak is noted."""
        if self._device.type != "cuda" or self._taken:
            yield
            return
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        yield
        self._taken = max(1, torch.cuda.max_memory_allocated(self._device) - before)


def most_of(free: int, taken: int) -> int:
    """How many inputs that take so many bytes each may share the free ones."""
    return max(1, min(MOST, int(SHARE * free / taken)))
