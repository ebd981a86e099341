"""Stand-in weights and recorded outputs of the original models, as `shared/golden` holds them."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

LIMIT = 1e-3
"""Largest difference from the original, as a part of its largest value, in float32."""


@lru_cache(maxsize=1)
def fill_module(path: Path) -> ModuleType:
    """`fill.py` as a module: it makes weights, inputs and prompts from names alone."""
    spec = importlib.util.spec_from_file_location("golden_fill", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Originals:
    """Access to the recorded outputs; a test that lacks a file is skipped with its name."""

    def __init__(self, shared: Path) -> None:
        self.shared = shared
        self.fill = fill_module(self._file("golden/fill.py"))

    def weights(self, keys: str) -> dict[str, Any]:
        """Stand-in weights of `keys/<keys>.txt` as torch tensors."""
        import torch

        made = self.fill.state_dict(self._file(f"keys/{keys}.txt"))
        return {name: torch.from_numpy(values) for name, values in made.items()}

    def outputs(self, model: str) -> Mapping[str, NDArray[Any]]:
        """What the original answered."""
        with np.load(self._file(f"golden/{model}.npz")) as stored:
            return {name: stored[name] for name in stored.files}

    def difference(self, ours: Any, theirs: NDArray[Any]) -> float:
        """Largest difference as a part of the original's largest value; `ours` is thinned as theirs was."""
        found = self.fill.thin(np.asarray(ours))
        assert found.shape == theirs.shape, f"{found.shape} is not {theirs.shape}"
        return float(np.abs(found - theirs).max() / np.abs(theirs).max())

    def _file(self, name: str) -> Path:
        path = self.shared / name
        if not path.exists():
            pytest.skip(f"no recorded outputs at {path}")
        return path
