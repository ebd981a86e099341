"""Small JSON files that several processes keep between runs: what cannot be read counts as empty, writing is atomic."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

PATIENCE = 2.0
"""Seconds to wait for another process, which holds the lock for milliseconds."""


def read(path: Path) -> dict[str, Any]:
    """The object in the file; empty when there is none, or when it is damaged."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):  # ValueError: neither JSON nor text
        return {}
    return content if isinstance(content, dict) else {}


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Read, edit and write back, so that neither another process's edit nor the file is lost.

    Raises
    ------
    OSError
        The file cannot be written, or another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(path.name + ".lock"), timeout=PATIENCE):
        content = read(path)
        edit(content)
        write(path, content)


def write(path: Path, content: dict[str, Any]) -> None:
    """Put the content in the place of the file, whole or not at all; OSError when it cannot be."""
    temporary = path.with_name(f".{secrets.token_hex(6)}.tmp")
    try:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
