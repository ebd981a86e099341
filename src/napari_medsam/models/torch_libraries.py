"""Load torch's libraries before torch is imported, so that the window does not stand still meanwhile.

Python keeps all its threads waiting while the system loads the hundreds of megabytes behind an import: half a second,
much more from a cold disk. Called as a function of C it keeps nobody waiting, and the import finds them there.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import sys
from pathlib import Path

LIBRARIES = (("libtorch_global_deps.so", "RTLD_GLOBAL"), ("libtorch_python.so", "RTLD_LOCAL"))
"""In the order and in the way in which torch's own import loads them."""


def load() -> None:
    """Load them, on Linux; elsewhere, or where torch is otherwise built, its import does."""
    if "torch" in sys.modules or not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(Exception):  # whatever is wrong, torch's import says it better
        found = importlib.util.find_spec("torch")
        folder = Path(str(found.origin)).parent / "lib" if found is not None else Path()
        system = ctypes.CDLL(None)
        system.dlopen.restype, system.dlopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
        for name, how in LIBRARIES:
            if (folder / name).is_file():
                system.dlopen(os.fsencode(folder / name), getattr(os, how) | os.RTLD_NOW)
