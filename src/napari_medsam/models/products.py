"""Linear layers that a CPU computes with oneDNN, in float32 too, and with the GELU that follows them in the same pass.

torch gives float32 products to MKL, which runs at half the speed of oneDNN on AMD's processors (measured: 94 and 200
GFLOP/s on one core of an EPYC with AVX-512), and makes a pass of its own over four times the tokens for a GELU. The
operation used here is the one that torch's own compiler emits. Where it is not there, on GPUs, and where gradients are
wanted, torch's usual way is taken; the result differs by rounding only.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from napari_medsam.models.compute import cpu_has_bfloat16


class Product(nn.Linear):
    """A linear layer that takes over another's parameters, under the same names.

    Parameters
    ----------
    taken : nn.Linear
    gelu : bool
        Whether a GELU follows.
    """

    def __init__(self, taken: nn.Linear, *, gelu: bool = False) -> None:
        nn.Module.__init__(self)  # no parameters of its own
        self.in_features, self.out_features = taken.in_features, taken.out_features
        self.weight, self.bias = taken.weight, taken.bias
        self.gelu = gelu

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out), in the precision of the weights, or in that of an autocast around."""
        if can_fuse(values, self.weight):
            given, weight, bias = _in_one_type(values, self.weight, self.bias)
            found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(given, weight, bias, *_then(gelu=self.gelu))
            return found
        plain = super().forward(values.to(self.weight.dtype))
        return functional.gelu(plain) if self.gelu else plain


class Convolution(nn.Conv2d):
    """A convolution that takes over another's parameters, under the same names.

    Parameters
    ----------
    taken : nn.Conv2d
        Padded with zeros.
    gelu : bool
        Whether a GELU follows.
    """

    def __init__(self, taken: nn.Conv2d, *, gelu: bool = False) -> None:
        super().__init__(
            taken.in_channels,
            taken.out_channels,
            taken.kernel_size,  # type: ignore[arg-type]
            taken.stride,  # type: ignore[arg-type]
            taken.padding,  # type: ignore[arg-type]
            taken.dilation,  # type: ignore[arg-type]
            taken.groups,
            device="meta",
        )
        self.weight, self.bias = taken.weight, taken.bias
        self.gelu = gelu

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(n, channels, rows, columns) to (n, out, rows, columns), in the precision of an autocast around."""
        return self.padded(maps, self.padding)

    def padded(self, maps: torch.Tensor, padding: Any) -> torch.Tensor:
        """The same with another padding, of rows and of columns."""
        where = self.stride, padding, self.dilation, self.groups
        if can_fuse(maps, self.weight):
            given, weight, bias = _in_one_type(maps, self.weight, self.bias)
            found: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
                given, weight, bias, padding, self.stride, self.dilation, self.groups, *_then(gelu=self.gelu)
            )
            return found
        plain = functional.conv2d(maps, self.weight, self.bias, *where)
        return functional.gelu(plain) if self.gelu else plain


def can_fuse(values: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether the fast way can be taken."""
    if values.device.type != "cpu" or torch.is_grad_enabled() or not values.numel():
        return False
    return _type_of(weight) in _types()


def _type_of(weight: torch.Tensor) -> torch.dtype:
    """What torch's own layers would compute in."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weight.dtype


def _in_one_type(
    values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    kind = _type_of(weight)
    return values.to(kind), weight.to(kind), None if bias is None else bias.to(kind)


def _then(*, gelu: bool) -> tuple[str, list[float], str]:
    """What follows, as the operations are told it: an exact GELU, or nothing."""
    return ("gelu", [], "none") if gelu else ("none", [], "")


@lru_cache(maxsize=1)
def _types() -> tuple[torch.dtype, ...]:
    """What the operations can compute on this machine, tried once; nothing where they are not there."""
    good = []
    for kind in (torch.float32, torch.bfloat16) if cpu_has_bfloat16() else (torch.float32,):
        one = torch.ones(1, 1, dtype=kind)
        try:
            torch.ops.mkldnn._linear_pointwise(one, one, one[0], *_then(gelu=True))
            maps = one[:, :, None, None]
            torch.ops.mkldnn._convolution_pointwise(maps, maps, one[0], (0, 0), (1, 1), (1, 1), 1, *_then(gelu=True))
        except (AttributeError, RuntimeError, TypeError):  # not built in, or of another form in this torch
            return ()
        good.append(kind)
    return tuple(good)


GELU_AFTER = (("conv1", "act"), ("conv1", "act1"), ("conv2", "act2"), ("fc1", "act"), ("lin1", "act"))
"""Names of layers, and of the GELUs that follow them, in TinyViT's and SAM's modules."""


def make_products(module: Any) -> Any:
    """The module itself, its linear layers and convolutions made so; those of GELU_AFTER with their GELU in them."""
    followed = {
        layer: after for layer, after in GELU_AFTER if hasattr(module, layer) and is_gelu(getattr(module, after, None))
    }
    for name, child in module.named_children():
        kind = {nn.Linear: Product, nn.Conv2d: Convolution}.get(type(child))
        if kind is not None:
            setattr(module, name, kind(child, gelu=name in followed))
        elif not isinstance(child, Product | Convolution):
            make_products(child)
    for layer, after in followed.items():
        if isinstance(getattr(module, layer), Product | Convolution):
            setattr(module, after, nn.Identity())
    return module


def is_gelu(module: Any) -> bool:
    """Whether it is the exact GELU, torch's own or that of timm."""
    return type(module).__name__ == "GELU" and getattr(module, "approximate", "none") == "none"
