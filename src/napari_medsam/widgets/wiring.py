"""Listening to napari's layers: many events to one slot, and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

TRANSFORM_EVENTS = ("scale", "translate", "rotate", "shear", "affine", "units")
"""Of a layer that was moved."""


def wire(pairs: Iterable[tuple[Any, Callable[..., None]]], *, connect: bool) -> None:
    """Connect or disconnect (emitter, slot) pairs."""
    for emitter, slot in pairs:
        emitter.connect(slot) if connect else emitter.disconnect(slot)
