"""What a measurement was made on: the machine, its load, and the versions of what ran."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from napari_medsam.errors import ModelError
from napari_medsam.models.compute import Compute, cpu_has_bfloat16, device_of

PACKAGES = (
    "napari-medsam",
    "napari",
    "PyQt6",
    "PySide6",
    "numpy",
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "segment-anything",
)


def machine() -> dict[str, Any]:
    """The processor, its cores, the memory and the system."""
    return {
        "processor": processor(),
        "bfloat16": cpu_has_bfloat16(),
        "cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def processor() -> str:
    """The processor's name; its kind where the system does not tell."""
    name = ""
    if sys.platform == "linux":
        about = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in about if line.startswith("model name")), "")
    elif sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        name = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return name or platform.processor() or platform.machine()


def gpu(device: str) -> dict[str, Any]:
    """Name and memory of a CUDA device; nothing for the CPU, and torch is not imported.

    Raises
    ------
    ModelError
        It is not here, or is of another kind.
    """
    if device == "cpu":
        return {}
    import torch

    found = device_of(Compute(device))
    if not device.startswith("cuda"):
        raise ModelError(f"Measured are cpu, cuda and cuda:N, not {device}.")
    about = torch.cuda.get_device_properties(found)
    return {"gpu": about.name, "gpu_memory_gb": round(about.total_memory / 1e9, 1), "cuda": torch.version.cuda}


def load() -> list[float]:
    """Processes that wanted a core, on average over the last 1, 5 and 15 minutes."""
    return [round(one, 2) for one in psutil.getloadavg()]


def versions() -> dict[str, str]:
    """Of Python and the packages that are here."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
