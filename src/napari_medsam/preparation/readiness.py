"""Which slices of an image are encoded, as far as that is known without reading a pixel."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from napari_medsam.embeddings import EmbeddingStore
from napari_medsam.geometry import Plane
from napari_medsam.inference import Response, next_ticket
from napari_medsam.propagation.stack import Stack


class Readiness:
    """Keys of the slices that were encoded or looked for. A key needs the pixels, so a slice never visited is unknown.

    One per session. Pixels that are edited in place make it say too much until it is told (`forget`), or the slice is
    looked at again; what a model gets is never taken from here.
    """

    def __init__(self) -> None:
        self._sight: Hashable = None
        self._since = 0
        self._keys: dict[Plane, str] = {}

    def turn_to(self, sight: Hashable) -> None:
        """Say what decides on the pixels and the key: the image, the window, the model. Another one forgets all."""
        if sight != self._sight:
            self._sight = sight
            self.forget()

    def forget(self) -> None:
        """Know of no slice any more; answers to what was asked before now are not taken."""
        self._keys.clear()
        self._since = next_ticket()

    def take(self, response: Response) -> bool:
        """Learn from an answer; whether it told of a slice."""
        request = response.request
        return self.note({request.plane: response.key}, request.ticket)

    def take_block(self, stack: Stack, keys: Mapping[int, str], ticket: int) -> bool:
        """Learn from a block of a preparation along a stack; `ticket` is that of its errand."""
        return self.note({stack.plane(position): key for position, key in keys.items()}, ticket)

    def note(self, keys: Mapping[Plane, str], ticket: int) -> bool:
        """Learn keys of slices from what was asked under `ticket`; whether that was news."""
        news = {plane: key for plane, key in keys.items() if key and self._keys.get(plane) != key}
        if ticket <= self._since or not news:
            return False
        self._keys.update(news)
        return True

    def ready(self, planes: Iterable[Plane] | Stack, store: EmbeddingStore) -> NDArray[np.bool_]:
        """Which slices need no encode, (n,)."""
        each = map(planes.plane, range(planes.size)) if isinstance(planes, Stack) else planes
        known = [self._keys.get(plane, "") for plane in each]
        return np.array([bool(key) and store.holds(key) for key in known], dtype=bool)
