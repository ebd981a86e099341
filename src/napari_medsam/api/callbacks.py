"""Functions that a caller gives to a run: a mistake in one must not cost what was found."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from napari_medsam.errors import InputError

Value = TypeVar("Value")


def call_back(name: str, act: Callable[[], Value]) -> Value:
    """Call what the caller has given; InputError where it fails, so that a mistake in it does not cost the run."""
    try:
        return act()
    except Exception as error:
        raise InputError(f"The callback {name!r} failed: {type(error).__name__}: {error}. Mend it.") from error
