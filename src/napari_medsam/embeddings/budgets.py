"""How much the store may hold where nobody said: a part of what is free."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import platformdirs
import psutil

VARIABLE = "NAPARI_MEDSAM_CACHE"
"""Environment variable that names the folder of the disk tier."""

HOST_SHARE, HOST_LEAST, HOST_MOST = 4, 256 << 20, 4 << 30
"""By default the host tier takes a quarter of the free memory, within these bytes."""

DISK_SHARE, DISK_MOST = 5, 20 << 30
"""By default the disk tier takes a fifth of the free disk, and at most this."""


def default_host_bytes() -> int:
    """Budget for embeddings in memory, from what is free now."""
    return max(HOST_LEAST, min(int(psutil.virtual_memory().available) // HOST_SHARE, HOST_MOST))


def default_disk_bytes(folder: Path) -> int:
    """Budget for embeddings on the disk of a folder, which need not be there yet, from what is free now."""
    return min(free_on_disk(folder) // DISK_SHARE, DISK_MOST)


def free_on_disk(folder: Path) -> int:
    """Free bytes on the disk on which a folder is, or would be made; 0 where that cannot be told."""
    there = next((one for one in (folder, *folder.parents) if one.is_dir()), folder)
    try:
        return shutil.disk_usage(there).free
    except OSError:
        return 0


def cache_folder(setting: str = "") -> Path:
    """Where the disk tier is: as set by the user, else by the environment, else the user's cache folder.

    Parameters
    ----------
    setting : str
        The user's own choice; empty for none.
    """
    chosen = setting or os.environ.get(VARIABLE, "")
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_cache_path("napari-medsam", appauthor=False) / "embeddings"
