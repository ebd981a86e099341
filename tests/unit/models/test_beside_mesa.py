"""Two LLVMs in one process: triton's is imported with symbols of its own. The crash itself: tests/journeys."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from napari_medsam.models import beside_mesa

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="RTLD_DEEPBIND is of Linux")


@pytest.fixture
def triton(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Put a triton in the place of the real one."""
    monkeypatch.delitem(sys.modules, "triton", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(beside_mesa, "_has_driver", lambda: True)

    def write(code: str) -> None:
        (tmp_path / "triton.py").write_text(code)

    yield write
    sys.modules.pop("triton", None)


def test_it_looks_for_symbols_in_itself_first_and_nothing_else_does(triton: Callable[[str], None]) -> None:
    before = sys.getdlopenflags()
    triton("import sys; flags = sys.getdlopenflags()")
    beside_mesa.import_triton()
    assert sys.modules["triton"].flags == before | os.RTLD_DEEPBIND
    assert sys.getdlopenflags() == before


def test_a_broken_one_is_left_to_torch(triton: Callable[[str], None]) -> None:
    before = sys.getdlopenflags()
    triton("raise RuntimeError('no libcuda')")
    beside_mesa.import_triton()
    assert "triton" not in sys.modules
    assert sys.getdlopenflags() == before


def test_without_the_driver_nothing_is_imported(triton: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    triton("")
    monkeypatch.setattr(beside_mesa, "_has_driver", lambda: False)
    beside_mesa.import_triton()
    assert "triton" not in sys.modules
