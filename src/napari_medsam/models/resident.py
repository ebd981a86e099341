"""The device tier of the store: arrays of recent embeddings that networks keep on their device, bounded by bytes.

An array of an embedding is never written to, so the array itself is the key: its copy on the device is right for as
long as the array lives, and goes with it. So what the store drops leaves the device too. All networks on a device
share one budget. torch is imported when used.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from napari_medsam.errors import InputError
from napari_medsam.models.compute import tensor_of

if TYPE_CHECKING:
    import torch

SHARE = 8
"""By default it takes at most this part of the memory that is free on the device at first use, ..."""

MOST = 2 << 30
"""... and at most this, in bytes."""

WHERE_UNKNOWN = 256 << 20
"""What it takes on devices that do not say what is free, in bytes."""


@dataclass(frozen=True)
class Held:
    """Bytes of embeddings on devices, and how many there may be."""

    used: int
    budget: int


class Resident:
    """Copies of arrays on one device, least recently used out first. On the CPU there are none.

    Parameters
    ----------
    device : torch.device
    max_bytes : int, optional
        Budget; what `set_budget` has said when left out, else a part of what is free on the device at first use.
    """

    _living: ClassVar[weakref.WeakSet[Resident]] = weakref.WeakSet()
    _shared: ClassVar[weakref.WeakValueDictionary[str, Resident]] = weakref.WeakValueDictionary()
    """The one of each device, for as long as a network is there."""
    _said: ClassVar[int | None] = None
    """What `set_budget` has said."""
    _door: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, device: torch.device, max_bytes: int | None = None) -> None:
        self.device = device
        self._keeps = device.type != "cpu"
        self._max_bytes = self._said if max_bytes is None else max_bytes
        self._bytes = 0
        self._copies: OrderedDict[int, tuple[weakref.ref[Any], torch.Tensor]] = OrderedDict()
        self._dead: deque[int] = deque()
        self._lock = threading.Lock()
        self._living.add(self)

    @classmethod
    def on(cls, device: torch.device) -> Resident:
        """The one of a device, which all its networks share; on the CPU nothing is kept, so nothing is shared."""
        with cls._door:
            found = cls._shared.get(str(device))
            if found is None:
                found = cls(device)
                if found._keeps:
                    cls._shared[str(device)] = found
            return found

    @property
    def max_bytes(self) -> int:
        """Budget in bytes. Setting it drops what is too much at once."""
        with self._lock:
            return self._most()

    @max_bytes.setter
    def max_bytes(self, value: int) -> None:
        with self._lock:
            self._max_bytes = value
            self._make_room(0)

    @property
    def nbytes(self) -> int:
        """Device memory held, never above the budget."""
        return self._bytes

    def of(self, array: NDArray[Any]) -> torch.Tensor:
        """The array on the device, in its own type; the copy of before where there is one."""
        if not self._keeps:
            return tensor_of(array)
        with self._lock:
            self._bury()
            found = self._copies.get(id(array))
            if found is not None and found[0]() is array:
                self._copies.move_to_end(id(array))
                return found[1]
        copy = tensor_of(array).to(self.device)
        self.keep(array, copy)
        return copy

    def brought(self, copy: torch.Tensor) -> NDArray[Any]:
        """The array of what was made on the device, in memory of its own; the copy there is kept."""
        own = copy.contiguous()
        if own.untyped_storage().nbytes() > own.nbytes:  # a part of a batch, which would be kept whole
            own = own.clone()
        array: NDArray[Any] = own.to("cpu").numpy()
        self.keep(array, own)
        return array

    def keep(self, array: NDArray[Any], copy: torch.Tensor) -> None:
        """Keep a copy that is on the device already."""
        if not self._keeps:
            return
        with self._lock:  # the budget is looked at in here, or it might be lowered before the copy is kept
            self._drop(id(array))
            if copy.nbytes <= self._most():
                self._make_room(copy.nbytes)
                self._copies[id(array)] = weakref.ref(array, self._farewell(id(array))), copy
                self._bytes += copy.nbytes

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._copies.clear()
            self._bytes = 0

    @classmethod
    def living(cls) -> list[Resident]:
        """Those of all networks that there are."""
        with cls._door:
            return list(cls._living)

    def _farewell(self, key: int) -> Any:
        """What is called when an array dies, on any thread and perhaps in the midst of the methods above."""
        myself = weakref.ref(self)

        def bury(dead: Any) -> None:
            this = myself()
            if this is None:
                return
            this._dead.append(key)
            if this._lock.acquire(blocking=False):  # else who holds it is about to do so, or the next one will
                try:
                    this._bury()
                finally:
                    this._lock.release()

        return bury

    def _bury(self) -> None:
        while self._dead:
            key = self._dead.popleft()
            entry = self._copies.get(key)
            if entry is not None and entry[0]() is None:  # else another array lies where the dead one lay
                self._drop(key)

    def _most(self) -> int:
        """The budget. Hold the lock."""
        if self._max_bytes is None:
            self._max_bytes = default_bytes(self.device)
        return self._max_bytes

    def _make_room(self, size: int) -> None:
        while self._copies and self._bytes + size > self._most():
            self._drop(next(iter(self._copies)))

    def _drop(self, key: int) -> None:
        old = self._copies.pop(key, None)
        if old is not None:
            self._bytes -= old[1].nbytes


def usage() -> Held | None:
    """What is kept on devices; None while no network is on one, as all run on the CPU."""
    there = [one for one in Resident.living() if one._keeps]
    return Held(sum(one.nbytes for one in there), sum(one.max_bytes for one in there)) if there else None


def set_budget(max_bytes: int | None) -> None:
    """Say how much of recent embeddings may stay on each device, for networks of now and later.

    What is too much by now is dropped at once. torch is not imported.

    Parameters
    ----------
    max_bytes : int, optional
        In bytes; None for a part of what is free on the device.

    Raises
    ------
    InputError
        It is below 0.
    """
    if max_bytes is not None and max_bytes < 0:
        raise InputError(f"A budget is 0 bytes or more, not {max_bytes}; None takes a part of what is free.")
    with Resident._door:
        Resident._said = max_bytes
    for one in Resident.living():
        one.max_bytes = default_bytes(one.device) if max_bytes is None else max_bytes


def clear() -> None:
    """Drop all copies on devices."""
    for one in Resident.living():
        one.clear()


def give_back() -> None:
    """Give device memory back that torch holds for later and nobody uses."""
    if "torch" not in sys.modules:  # no network was loaded, so there is nothing on a device
        return
    import torch  # where another thread is about to, this waits for it

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def default_bytes(device: torch.device) -> int:
    """The budget for a device, from what is free there now."""
    import torch

    if device.type != "cuda":
        return WHERE_UNKNOWN
    free, _ = torch.cuda.mem_get_info(device)
    return min(free // SHARE, MOST)
