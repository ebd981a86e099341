"""Let triton, which torchvision and transformers import by way of torch, live beside a graphics driver.

napari draws with OpenGL, and many of Mesa's drivers for Linux load an LLVM whose symbols are then everybody's. triton
brings another LLVM inside its library; its calls end up in Mesa's, and the import kills the process without a message
(measured with Mesa 22.3 and triton 3.9). RTLD_DEEPBIND makes that one library look for symbols in itself first.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys

DRIVER = "libLLVM"
"""What Mesa loads."""


def import_triton() -> None:
    """Import triton with symbols of its own, if it is there to be imported and an LLVM is in the process."""
    if "triton" in sys.modules or not _has_driver() or importlib.util.find_spec("triton") is None:
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | os.RTLD_DEEPBIND)
    try:
        with contextlib.suppress(Exception):  # a broken one is torch's to notice, and it does without
            importlib.import_module("triton")
    finally:
        sys.setdlopenflags(flags)


def _has_driver() -> bool:
    """Whether an LLVM was loaded for the graphics; elsewhere than on Linux this does no harm."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            return any(DRIVER in line for line in maps)
    except OSError:
        return False
