"""What commands share that go through many slices: how Ctrl-C ends them, and the line that says how far they are."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

SLICE_IN_HAND = "stopping after this slice; Ctrl-C again to stop at once"


class Interrupt:
    """What Ctrl-C does: first it ends the run after the slice in hand, then at once. What was found is written then.

    While that is written it has to be pressed twice more, in all three times, to end the program as ever.
    """

    def __init__(self) -> None:
        self._pressed = 0
        self._left = False

    def __call__(self, *signalled: object) -> None:
        """Count, say what happens next, and end the program at the last."""
        self._pressed += 1
        if self._pressed > 2 or (self._pressed == 2 and not self._left):
            raise KeyboardInterrupt
        line = "\n" if sys.stderr.isatty() else ""  # the one of the progress
        said = "writing what was found; Ctrl-C again to lose it" if self._left else SLICE_IN_HAND
        print(f"{line}napari-medsam: {said}", file=sys.stderr, flush=True)

    def cancelled(self) -> bool:
        """Whether the run is to end; once that was said, no slice is in hand any more."""
        self._left = self._pressed > 0
        return self._left

    def leave(self) -> None:
        """Say that the run is over and what it found is about to be written."""
        self._left = True

    @classmethod
    @contextmanager
    def caught(cls) -> Iterator[Interrupt]:
        """Catch Ctrl-C while the block runs."""
        mine = cls()
        before = signal.signal(signal.SIGINT, mine)
        try:
            yield mine
        finally:
            signal.signal(signal.SIGINT, before)


class Progress:
    """How much is done and how long it will still take: one line that changes, on a terminal only."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._open = False

    def __call__(self, done: int, total: int) -> None:
        """Tell."""
        if sys.stderr.isatty():
            left = (time.monotonic() - self._began) / max(done, 1) * (total - done)
            print(f"\r{done} of {total}, about {left:.0f} s left ", end="", file=sys.stderr, flush=True)
            self._open = True

    def end(self) -> None:
        """Go to the next line, if this one was begun."""
        if self._open:
            print(file=sys.stderr)
