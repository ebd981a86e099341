"""The house rules: who may import whom, what an import costs, how long a module and a function may be."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "napari_medsam"
SOURCES = sorted(PACKAGE.rglob("*.py"))

MODULE_LINES = 400
FUNCTION_LINES = 45
"""Of code: the docstring is not counted."""
VAGUE_NAMES = {"utils", "util", "helpers", "misc", "common"}

CORE = ("session", "engine", "io", "api", "demo", "cli")
"""Each of these is imported on a machine without a window, and before a model is chosen."""
NOT_IN_CORE = {"torch", "torchvision", "segment_anything", "timm", "transformers"} | {
    "napari",
    "qtpy",
    "PyQt6",
    "PySide6",
    "magicgui",
    "superqt",
    "vispy",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef

each_source = pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


def imported_by(module: str) -> set[str]:
    """Top-level names that a fresh interpreter loads for `import module`, the standard library left out."""
    result = run_python(
        "import json, sys; before = set(sys.modules); "
        f"import {module}; print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    assert result.returncode == 0, result.stderr
    loaded = {name.partition(".")[0] for name in json.loads(result.stdout.splitlines()[-1])}
    return loaded - set(sys.stdlib_module_names) - {"napari_medsam"}


def tree_of(source: Path) -> ast.Module:
    return ast.parse(source.read_text(encoding="utf-8"), filename=str(source))


def functions_in(source: Path) -> Iterator[Function]:
    return (node for node in ast.walk(tree_of(source)) if isinstance(node, Function))


def code_lines(function: Function) -> int:
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        assert docstring.end_lineno is not None
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


def test_contracts_between_modules() -> None:
    result = run_python(
        "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_logo=True, no_cache=True))"
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_importing_the_package_costs_nothing() -> None:
    assert imported_by("napari_medsam") == set()


@pytest.mark.parametrize("name", CORE)
def test_core_needs_neither_torch_nor_a_window(name: str) -> None:
    assert imported_by(f"napari_medsam.{name}") & NOT_IN_CORE == set()


@each_source
def test_module_is_short(source: Path) -> None:
    lines = len(source.read_text(encoding="utf-8").splitlines())
    assert lines <= MODULE_LINES, f"{lines} lines: split it along a seam"


@each_source
def test_functions_are_short(source: Path) -> None:
    long = {f.name: code_lines(f) for f in functions_in(source) if code_lines(f) > FUNCTION_LINES}
    assert not long, f"more than {FUNCTION_LINES} lines of code"


@each_source
def test_module_name_says_what_it_holds(source: Path) -> None:
    assert source.stem.lstrip("_") not in VAGUE_NAMES
    assert source.parent.name not in VAGUE_NAMES


@each_source
def test_labels_are_never_replaced(source: Path) -> None:
    """`labels.data = ...` breaks napari's undo history; write through `Labels.data_setitem`."""
    targets = [
        target
        for node in ast.walk(tree_of(source))
        if isinstance(node, ast.Assign | ast.AugAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    assigned = [ast.unparse(target) for target in targets if isinstance(target, ast.Attribute)]
    assert not [name for name in assigned if name.endswith("labels.data")]


def test_manifest_at_the_top_is_the_packaged_one() -> None:
    manifest = PACKAGE / "napari.yaml"
    assert manifest.is_file()
    # a checkout without symbolic links (Windows) holds the target's path instead
    top = ROOT / "napari.yaml"
    assert top.resolve() == manifest or top.read_text(encoding="utf-8").strip() == "src/napari_medsam/napari.yaml"
