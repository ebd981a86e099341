"""The store of encoded slices by the settings of the user: how much memory and disk it takes, and how full it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_medsam.embeddings import DiskTier, EmbeddingStore, Level, Usage, Worth, cache_folder
from napari_medsam.models import resident
from napari_medsam.widgets.compat import follow_settings, setting, store_setting
from napari_medsam.widgets.model_work import Backstage
from napari_medsam.widgets.soon import timer

MIB, GIB = 1 << 20, 1 << 30
PREPARED, ALL, NOTHING = "what is prepared", "all that is encoded", "nothing"
KEPT = (PREPARED, ALL, NOTHING)
"""What goes to the disk; the values are those of the setting."""
REST_MS = 1000
"""Preferences tell of every key that is typed, and the first digit of a budget would drop nearly all that is held."""


@dataclass(frozen=True)
class Choice:
    """What the user has set; 0 and "" leave it to the store.

    Parameters
    ----------
    memory_mb : int
    disk : str
        One of KEPT.
    disk_gb : int
    folder : str
    device_mb : int
        On each GPU, for all viewers together.
    """

    memory_mb: int = 0
    disk: str = PREPARED
    disk_gb: int = 0
    folder: str = ""
    device_mb: int = 0


@dataclass(frozen=True)
class Filled:
    """How full the store is: memory and disk, the device (None while no model is on one), and where the disk is."""

    usage: Usage
    device: Level | None
    folder: str


class Storage(QObject):
    """The store of one viewer, and what the user says about it."""

    measured = Signal(object)
    """A `Filled`, after `look`."""
    changed = Signal()
    """Another choice counts from now on."""

    def __init__(self) -> None:
        super().__init__()
        choice = self._choice = chosen()
        self.store = EmbeddingStore(choice.memory_mb * MIB or None, _disk(choice), _disk_from(choice))
        if choice.device_mb:
            resident.set_budget(choice.device_mb * MIB)
        self._stage = Backstage()
        self._stage.came.connect(self._take)
        self._rested = timer(self, REST_MS, self._follow)
        follow_settings("embeddings", self._on_setting)

    def choose(self, choice: Choice) -> None:
        """Keep a choice in the settings, and go by it from now on."""
        for name, value in asdict(choice).items():
            store_setting(f"embeddings.{name}", value)
        self._go_by(choice)

    def look(self) -> None:
        """Find out how full it is; on a thread, for it looks at every file."""
        self._after(lambda: None)

    def clear_memory(self) -> None:
        """Drop what is in memory."""
        self.store.clear()
        self.look()

    def clear_device(self) -> None:
        """Drop what is kept on devices; what is in memory stays."""
        resident.clear()
        self._after(resident.give_back)

    def clear_disk(self) -> None:
        """Remove what is on disk."""
        self._after(self.store.clear_disk)

    # -- inside ------------------------------------------------------------------------------------------------

    def _go_by(self, choice: Choice) -> None:
        self._rested.stop()
        before, self._choice = self._choice, choice
        if choice.memory_mb != before.memory_mb:
            self.store.max_bytes = choice.memory_mb * MIB or EmbeddingStore().max_bytes
        if (choice.disk, choice.disk_gb, choice.folder) != (before.disk, before.disk_gb, before.folder):
            self.store.disk, self.store.disk_from = _disk(choice), _disk_from(choice)
        self.changed.emit()
        if choice.device_mb != before.device_mb:
            resident.set_budget(choice.device_mb * MIB or None)
            self._after(resident.give_back)
        else:
            self.look()

    def _follow(self) -> None:
        """Go by the settings as they are now."""
        self._go_by(chosen())

    def _after(self, act: Callable[[], object]) -> None:
        """Do something on a thread, then find out how full the store is."""
        self._stage.start(partial(_filled, self.store, act))

    def _on_setting(self, event: Any = None) -> None:
        self._rested.start()

    def _take(self, message: object) -> None:
        if isinstance(message, Filled):
            self.measured.emit(message)


def chosen() -> Choice:
    """What the user has set."""
    disk = str(setting("embeddings.disk", PREPARED))
    return Choice(
        int(setting("embeddings.memory_mb", 0)),
        disk if disk in KEPT else PREPARED,
        int(setting("embeddings.disk_gb", 0)),
        str(setting("embeddings.folder", "")),
        int(setting("embeddings.device_mb", 0)),
    )


def _disk(choice: Choice) -> DiskTier | None:
    if choice.disk == NOTHING:
        return None
    return DiskTier(cache_folder(choice.folder), choice.disk_gb * GIB or None)


def _disk_from(choice: Choice) -> Worth:
    return Worth.USED if choice.disk == ALL else Worth.PREPARED


def _filled(store: EmbeddingStore, act: Callable[[], object]) -> Filled:
    act()
    held = resident.usage()
    device = None if held is None else Level(held.used, held.budget, 0)
    return Filled(store.usage(), device, "" if store.disk is None else str(store.disk.folder))
