"""A stand-in for the module `pickle` that builds tensors and plain containers, and nothing else.

`torch.load(..., pickle_module=restricted)` reads files that its own `weights_only` refuses because an optimiser or a
NumPy number was pickled beside the weights. A pickle is a program: it names callables, calls them, and sets attributes.
Here a name leads to one of `BUILDERS` or to an inert class, and no attribute is ever set, so nothing of the file's
choice runs, and nothing is left behind for the files that come after it.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from typing import IO, Any

import torch

PythonUnpickler: Any = pickle._Unpickler  # the one in C cannot be told to leave out instructions


class Inert:
    """What stands for an object that is neither a tensor nor a plain container: it takes anything and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Nothing is kept."""

    def __new__(cls, *_: Any, **__: Any) -> Inert:
        """The same for any arguments."""
        return object.__new__(cls)

    def __call__(self, *_: Any, **__: Any) -> Inert:
        """Itself."""
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        """Nothing is kept."""

    def append(self, value: Any) -> None:
        """Nothing is kept."""

    extend = add = append


def tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> torch.Tensor:
    """In place of `torch._utils._rebuild_tensor_v2`: a view of the storage, without hooks.

    Raises
    ------
    UnpicklingError
        It would reach beyond the storage: torch would then enlarge the storage with whatever is in memory.
    """
    numbers = (offset, *size, *stride)
    if not isinstance(storage, torch.storage.TypedStorage) or len(size) != len(stride):
        raise pickle.UnpicklingError("something that is no tensor in the place of one")
    if any(type(number) is not int or number < 0 for number in numbers):
        raise pickle.UnpicklingError("a tensor of an impossible shape")
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    data = storage._untyped_storage
    made = torch.empty((0,), dtype=storage.dtype)
    if 0 not in size and (last + 1) * made.element_size() > data.nbytes():
        raise pickle.UnpicklingError("a tensor that is larger than its data")
    return made.set_(data, offset, size, stride)


def parameter(values: Any, *_: Any) -> Any:
    """In place of `torch._utils._rebuild_parameter`: the tensor itself."""
    return values


def plain_dict(*_: Any) -> dict[Any, Any]:
    """In place of `dict` and `defaultdict`, without what a defaultdict would call; the items follow."""
    return {}


BUILDERS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): plain_dict,
    ("builtins", "dict"): plain_dict,
    ("__builtin__", "dict"): plain_dict,
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_tensor_v2"): tensor,
    ("torch._utils", "_rebuild_parameter"): parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): parameter,
}


class Unpickler(PythonUnpickler):  # type: ignore[misc]
    """Finds nothing but `BUILDERS`, and sets nothing. torch derives from it, and adds the storages."""

    dispatch = dict(PythonUnpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        """A builder, or else an inert class."""
        return BUILDERS.get((module, name), Inert)

    def get_extension(self, code: int) -> None:
        """Refused: extensions are looked up in a table of the process, past `find_class`."""
        raise pickle.UnpicklingError("an object by number")

    def drop_state(self) -> None:
        """In place of setting attributes: no tensor needs any."""
        self.stack.pop()

    def refuse_buffer(self) -> None:
        """In place of making room for a bytearray: it takes as much memory as the file says, before any is read."""
        raise pickle.UnpicklingError("a bytearray")

    dispatch[pickle.BUILD[0]] = drop_state
    dispatch[pickle.BYTEARRAY8[0]] = refuse_buffer


def load(file: IO[bytes], **options: Any) -> Any:
    """One pickle from a file, as `pickle.load`."""
    return Unpickler(file, **options).load()
