"""Processes that may never answer: how long they are waited for, and how they are ended."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from typing import Any

import psutil

LONGEST = 3600
"""Seconds that a script may take: a window that is never drawn, as a covered one may be, is waited for without end."""

LONGEST_ANSWER = 900
"""Seconds from a question to a worker's answer, an encode and a few decodes, or until its model is built."""


def end(process: subprocess.Popen[Any]) -> None:
    """End a process and those that it started, which may hold its pipes."""
    with suppress(psutil.Error):
        for one in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):
                one.kill()
    process.kill()
