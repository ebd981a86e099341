"""A GPU that is not there: tensors that say they lie on cuda:0, and whose values lie on the CPU.

What a GPU refuses is refused here as well: tensors of both sides in one operation, and a NumPy array of a tensor that
lies there. Precision is chosen as on a GPU. What is told apart from the CPU by a test of the device takes the GPU's
way. Speed, kernels and rounding of a real one are not shown.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map

FAR = torch.device("cuda", 0)
NEAR = torch.device("cpu")
GIB = 1 << 30

aten: Any = torch.ops.aten
COPIES = (aten._to_copy, aten.copy_)
BY_INDEX = (aten.index, aten.index_put, aten.index_put_, aten._unsafe_index, aten._index_put_impl_)
"""Indices may lie on the CPU."""

NOT_THERE = ("mkldnn", "onednn", "quantized")
"""Namespaces of operations that no GPU has."""

REAL_GPU = pytest.mark.skipif(
    not torch.cuda.is_available() and not os.environ.get("NAPARI_MEDSAM_TEST_ALL_ON_FAR"),
    reason="no CUDA device, and a made-up one takes long (NAPARI_MEDSAM_TEST_ALL_ON_FAR=1 runs it there)",
)
"""For tests that a made-up device is too slow for."""

NOTHING_TO_DO = ("empty", "new_empty", "empty_strided", "new_empty_strided", "_unsafe_view", "detach", "lift_fresh")
"""What a GPU is not told about, besides views."""

WAITS = (aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.is_nonzero, aten.equal)
"""Operations for which the CPU waits until the GPU has done all before them."""


class Mixed(RuntimeError):
    """Tensors on the CPU and on the GPU in one operation."""


PRODUCTS = (aten.mm, aten.addmm, aten.bmm, aten.baddbmm, aten.convolution, aten._softmax)
"""What a CPU computes in float16 slowly or not at all. A GPU adds up in float32, and rounds at the end."""


@dataclass
class Traffic:
    """How often the CPU and the GPU had to do with each other.

    Attributes
    ----------
    brought, fetched : int
        Copies to the GPU and from it.
    nbytes : int
        What was brought.
    waits : int
        Values that were asked for, and results whose size depends on values.
    launches : int
        Operations that a GPU would be told to do, copies and casts among them; torch's fused attention is one.
    """

    brought: int = 0
    fetched: int = 0
    nbytes: int = 0
    waits: int = 0
    launches: int = 0

    def bring(self, one: torch.Tensor, really: bool) -> None:
        """Count a tensor, if it is really brought."""
        self.brought += really
        self.nbytes += one.nbytes if really else 0

    @property
    def stops(self) -> int:
        """How often the CPU waited for the GPU."""
        return self.fetched + self.waits


class FarTensor(torch.Tensor):
    """A tensor on the GPU; `near` holds its values."""

    near: torch.Tensor

    @staticmethod
    def __new__(cls, near: torch.Tensor) -> FarTensor:
        """Make one that has the form of `near` and no memory of its own."""
        with torch._C._DisableTorchDispatch(), _disable_current_modes():
            shell = torch.empty_strided(near.size(), near.stride(), dtype=near.dtype, device="meta")
        made: FarTensor = torch.Tensor._make_subclass(
            cls, shell, near.requires_grad, dispatch_device=True, device_for_backend_keys=FAR
        )
        return made

    def __init__(self, near: torch.Tensor) -> None:
        self.near = near

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"FarTensor({self.near!r})"

    @property
    def device(self) -> torch.device:
        """Where it says it lies."""
        return FAR

    def tolist(self) -> Any:
        """Its values; torch asks for them behind the back of what is counted here."""
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Act where no mode is on, as between the calls of a test."""
        return _done(func, args, kwargs or {}, Traffic())


class _There(TorchDispatchMode):
    """Makes what is asked for on the GPU, and counts."""

    def __init__(self, traffic: Traffic) -> None:
        super().__init__()
        self.traffic = traffic

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _done(func, args, kwargs or {}, self.traffic)


def _done(func: Any, args: Any, kwargs: dict[str, Any], traffic: Traffic) -> Any:
    """What an operation gives: far, where it is told so or something of it was."""
    if func is torch.ops.prim.device.default:
        return args[0].device
    tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, torch.Tensor)]
    was_far = any(isinstance(one, FarTensor) for one in tensors)
    told = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, torch.device)]
    is_far = any(one.type == FAR.type for one in told) if told else was_far
    if was_far:
        _check(func, args, tensors)
    _count(func, args, traffic, was_far=was_far, is_far=is_far)
    found = _computed(func, tree_map(_near, args), tree_map(_near, kwargs))
    if func.overloadpacket is aten._to_copy and found is not None and was_far != is_far:
        found = found.clone() if found.data_ptr() == _near(args[0]).data_ptr() else found
    return tree_map(_far, found) if is_far else found


def _computed(func: Any, args: Any, kwargs: Any) -> Any:
    halves = [one for one in tree_flatten(args)[0] if isinstance(one, torch.Tensor) and one.dtype == torch.float16]
    if not halves or (func.overloadpacket not in PRODUCTS and "scaled_dot_product" not in str(func)):
        return func(*args, **kwargs)
    wide = func.overloadpacket is aten._softmax and args[2]  # float32 of float16 in one step
    found = func(*tree_map(_single, (*args[:2], False) if wide else args), **kwargs)
    return found if wide else tree_map(_half, found)


def _single(one: Any) -> Any:
    return one.float() if isinstance(one, torch.Tensor) and one.dtype == torch.float16 else one


def _half(one: Any) -> Any:
    return one.half() if isinstance(one, torch.Tensor) and one.dtype == torch.float32 else one


def _near(one: Any) -> Any:
    if isinstance(one, torch.device) and one.type == FAR.type:
        return NEAR
    return one.near if isinstance(one, FarTensor) else one


def _far(one: Any) -> Any:
    return FarTensor(one) if isinstance(one, torch.Tensor) and not isinstance(one, FarTensor) else one


def _check(func: Any, args: Any, tensors: list[torch.Tensor]) -> None:
    """Refuse what a GPU refuses: single numbers on the CPU are taken, and indices."""
    kind = func.overloadpacket
    if func.namespace in NOT_THERE:
        raise Mixed(f"Could not run {func} with arguments from the 'CUDA' backend")
    if kind in COPIES:
        return
    if kind in BY_INDEX:
        tensors = [one for one in (args[0], *args[2:3]) if isinstance(one, torch.Tensor)]
    strangers = [one for one in tensors if not isinstance(one, FarTensor) and one.dim()]
    if strangers:
        shapes = ", ".join(f"{tuple(one.shape)} on {one.device.type}" for one in tensors)
        raise Mixed(f"Expected all tensors to be on the same device: {func} got {shapes}")


def _count(func: Any, args: Any, traffic: Traffic, *, was_far: bool, is_far: bool) -> None:
    kind = func.overloadpacket
    if kind is aten.copy_:
        to, of = (isinstance(one, FarTensor) for one in args[:2])
        traffic.bring(args[1], to and not of)
        traffic.fetched += of and not to
    elif kind is aten._to_copy:
        traffic.bring(args[0], is_far and not was_far)
        traffic.fetched += was_far and not is_far
    elif was_far and kind in BY_INDEX:
        indices = [one for one in args[1] if isinstance(one, torch.Tensor)]
        for one in indices:
            traffic.bring(one, not isinstance(one, FarTensor))
        traffic.waits += _by_truth(indices)
    else:
        traffic.waits += was_far and kind in WAITS
    traffic.launches += (is_far or was_far) and not _is_view(func) and kind.__name__ not in NOTHING_TO_DO


def _is_view(func: Any) -> bool:
    """Whether it gives the memory that it was given, unchanged."""
    told = [one.alias_info for one in func._schema.returns]
    return any(one is not None and not one.is_write for one in told)


def _by_truth(indices: Any) -> bool:
    """Whether some index is a mask, so that the result's size must be known first."""
    return any(isinstance(one, FarTensor) and one.dtype in (torch.bool, torch.uint8) for one in indices)


def _attention(traffic: Traffic, stock: Any) -> Any:
    """torch's attention, on a GPU a single operation; on a CPU torch takes it apart before anything here sees it."""

    def attention(*args: Any, **options: Any) -> Any:
        tensors = [one for one in (*args, *options.values()) if isinstance(one, torch.Tensor)]
        if not any(isinstance(one, FarTensor) for one in tensors) or torch.is_grad_enabled():
            return stock(*args, **options)
        _check(aten._scaled_dot_product_flash_attention.default, args, tensors)
        dtype = torch.get_autocast_dtype(FAR.type) if torch.is_autocast_enabled(FAR.type) else args[0].dtype
        wide = [_wide(one, dtype) for one in args]
        found = stock(*wide, **{name: _wide(one, dtype) for name, one in options.items()})
        traffic.launches += 1
        return FarTensor(found.to(dtype))

    return attention


def _wide(one: Any, dtype: torch.dtype) -> Any:
    """Rounded as it comes in, and wide enough to add up in."""
    if isinstance(one, FarTensor) and one.is_floating_point():
        return one.near.to(dtype).float()
    return _near(one)


@contextmanager
def far_device(traffic: Traffic | None = None) -> Iterator[Traffic]:
    """A machine that has a GPU with 8 GiB, for the calls of this thread within."""
    counted = traffic or Traffic()
    was = torch.__future__.get_overwrite_module_params_on_conversion()
    lifted = torch._C._only_lift_cpu_tensors()
    torch._C._ensureCUDADeviceGuardSet()
    with pytest.MonkeyPatch.context() as patch, _There(counted):
        for name, value in {
            "is_available": True,
            "device_count": 1,
            "is_bf16_supported": True,
            "mem_get_info": (8 * GIB, 8 * GIB),
            "memory_reserved": 0,
            "memory_allocated": 0,
            "max_memory_allocated": GIB,
            "max_memory_reserved": GIB,
            "reset_peak_memory_stats": None,
            "synchronize": None,
            "empty_cache": None,
            "_lazy_init": None,
        }.items():
            patch.setattr(torch.cuda, name, lambda *_, value=value, **__: value)
        for when in ("__enter__", "__exit__"):  # views of tensors of our own are not taken in inference mode
            patch.setattr(torch.inference_mode, when, getattr(torch.no_grad, when))
        stock = torch.nn.functional.scaled_dot_product_attention
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", _attention(counted, stock))
        try:
            torch.__future__.set_overwrite_module_params_on_conversion(True)
            torch._C._set_only_lift_cpu_tensors(True)
            yield counted
        finally:
            torch._C._set_only_lift_cpu_tensors(lifted)
            torch.__future__.set_overwrite_module_params_on_conversion(was)
