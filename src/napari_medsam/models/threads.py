"""How many threads torch takes for a model on a CPU: the cores that are free now, less one for a window.

A team of threads waits at every barrier for its slowest, so one thread more than there are free cores costs more than
it brings; `docs/speed.md` has what was measured. The number of the environment decides where it is set:
NAPARI_MEDSAM_THREADS (a number, or auto), else torch's own OMP_NUM_THREADS. torch is imported when used.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "NAPARI_MEDSAM_THREADS"

AUTO = "auto"

EVERY = 20.0
"""Seconds between two looks at the load. The load that the system tells is a mean over a minute."""


def choose(cores: int, others: float, *, window: bool) -> int:
    """Threads to take.

    Parameters
    ----------
    cores : int
        That this process may use.
    others : float
        Cores that other programs keep busy, on average.
    window : bool
        Whether this process draws a window meanwhile.
    """
    taken = round(others) + (1 if window else 0)
    return max(1, cores - taken)


def asked_for() -> int | None:
    """The number that the user set, in the environment; None where it is to be found."""
    own = os.environ.get(VARIABLE, AUTO)
    if own.isdecimal() and int(own) > 0:
        return int(own)
    openmp = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(openmp) if openmp.isdecimal() and int(openmp) > 0 else None


class Threads:
    """Sets the number of threads before a model works, anew from time to time. Call it on the thread that works.

    Parameters
    ----------
    every : float
        Seconds between two looks at the load.
    """

    def __init__(self, every: float = EVERY) -> None:
        self.every = every
        self.set_to: int | None = None
        """A number that does not follow the load; None: it does, unless the environment says otherwise."""
        self._looked: tuple[float, float] | None = None
        """When, and the processor time that this process had used."""
        self._others = 0.0
        """Cores that other programs kept busy then."""
        self._now = threading.local()

    def settle(self) -> int:
        """Tell torch, and say how many."""
        import torch

        count = self.number()
        if torch.get_num_threads() != count:
            torch.set_num_threads(count)
        return count

    def number(self) -> int:
        """How many there are to be now: as set, else as the environment says, else what fits the load."""
        return self.set_to or asked_for() or self._fitting()

    @contextmanager
    def undisturbed(self, *, awaited: bool = True) -> Iterator[None]:
        """What this thread does within is `awaited` by the window, which draws nothing: its core is free as well."""
        before, self._now.awaited = self._is_awaited, awaited
        try:
            yield
        finally:
            self._now.awaited = before

    @property
    def _is_awaited(self) -> bool:
        return getattr(self._now, "awaited", False)

    def _fitting(self) -> int:
        self._look()
        return choose(cores(), self._others, window=window_is_open() and not self._is_awaited)

    def _look(self) -> None:
        now, used = time.monotonic(), time.process_time()
        if self._looked is not None and now - self._looked[0] < self.every:
            return
        mine = used / 60  # at most that, of a mean over a minute
        if self._looked is not None:
            mine = (used - self._looked[1]) / (now - self._looked[0])
        self._looked = now, used
        self._others = max(0.0, load() - mine)


THREADS = Threads()
"""Those of this process, as torch's own."""


def window_is_open() -> bool:
    """Whether this process draws, as far as can be told without Qt."""
    return "napari.qt" in sys.modules


def cores() -> int:
    """Cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load() -> float:
    """Cores that were busy in the last minute; 0 where the system does not tell."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return 0.0
