"""Where a network runs and with what precision. torch is imported when asked, not before."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import ModelError

if TYPE_CHECKING:
    import torch

AUTO = "auto"
DEVICE = re.compile(r"auto|cpu|mps|cuda(:[0-9]+)?")
PRECISIONS = (AUTO, "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Compute:
    """What the user asks for.

    Parameters
    ----------
    device : str
        auto, cpu, mps, cuda or cuda:N.
    precision : str
        auto, float32, bfloat16 or float16: of the encoder. Decoders always run in float32: they are small, and their
        logits decide the outline.
    """

    device: str = AUTO
    precision: str = AUTO


def require_names(compute: Compute) -> None:
    """Raise ModelError for a device or a precision whose name is none, without a look at the machine or at torch."""
    if not DEVICE.fullmatch(compute.device):
        raise ModelError(f"There is no device {compute.device!r}; devices are auto, cpu, mps, cuda and cuda:N.")
    if compute.precision not in PRECISIONS:
        raise ModelError(f"There is no precision {compute.precision!r}; there are: {', '.join(PRECISIONS)}.")


def device_of(compute: Compute) -> torch.device:
    """The device to use.

    Raises
    ------
    ModelError
        It is not on this machine; the message says which are.
    """
    import torch

    there = available()
    if compute.device == AUTO:
        return torch.device(there[0])
    name = "cuda:0" if compute.device == "cuda" else compute.device
    if name not in there:
        raise ModelError(
            f"There is no device {compute.device!r} here; there are: {', '.join(there)}. Choose one, or auto."
        )
    return torch.device(name)


def available() -> tuple[str, ...]:
    """Names of the devices of this machine, the fastest first."""
    import torch

    found = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        found.append("mps")
    return (*found, "cpu")


def precision_of(compute: Compute, device: torch.device) -> torch.dtype:
    """The encoder's precision on a device: bfloat16 where the hardware has it, float16 on other GPUs, else float32.

    Raises
    ------
    ModelError
        The precision has no such name.
    """
    import torch

    require_names(compute)
    if compute.precision != AUTO:
        chosen: torch.dtype = getattr(torch, compute.precision)
        return chosen
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if device.type == "cpu" and cpu_has_bfloat16() else torch.float32


def kept_of(compute: Compute) -> torch.dtype:
    """The type in which features are kept: float16, which is half the memory; float32 only where that was asked for.

    Measured as the largest difference of mask logits from the originals', over the largest logit, with the features of
    a float32 encode rounded to float16: SAM ViT-B 2.8e-4, SAM 2.1 tiny 3.3e-4.
    """
    import torch

    return torch.float32 if compute.precision == "float32" else torch.float16


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself; emulated, it is slower than float32."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            return any(
                word in line for line in file if line.startswith("flags") for word in ("avx512_bf16", "amx_bf16")
            )
    except OSError:
        return False


def tensor_of(values: NDArray[Any]) -> torch.Tensor:
    """A tensor of an array, without a copy unless the array may not be written to: torch has no such tensors."""
    import torch

    return torch.from_numpy(np.require(values, requirements="W"))
