"""The store of encoded slices by the settings of the user: how much memory and disk it takes, and how full it is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from qtpy.QtCore import QObject, Signal

from napari_medsam.embeddings import DiskTier, EmbeddingStore, Level, Usage, Worth, cache_folder
from napari_medsam.models.resident import Resident
from napari_medsam.widgets.compat import setting, store_setting
from napari_medsam.widgets.model_work import Backstage

MIB, GIB = 1 << 20, 1 << 30
PREPARED, ALL, NOTHING = "what is prepared", "all that is encoded", "nothing"
KEPT = (PREPARED, ALL, NOTHING)
"""What goes to the disk; the values are those of the setting."""


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
    """

    memory_mb: int = 0
    disk: str = PREPARED
    disk_gb: int = 0
    folder: str = ""


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

    def __init__(self) -> None:
        super().__init__()
        choice = chosen()
        self.store = EmbeddingStore(choice.memory_mb * MIB or None, _disk(choice), _disk_from(choice))
        self._stage = Backstage()
        self._stage.came.connect(self._take)

    def choose(self, choice: Choice) -> None:
        """Keep a choice in the settings, and go by it from now on."""
        before = chosen()
        for name in ("memory_mb", "disk", "disk_gb", "folder"):
            store_setting(f"embeddings.{name}", getattr(choice, name))
        if choice.memory_mb != before.memory_mb:
            self.store.max_bytes = choice.memory_mb * MIB or EmbeddingStore().max_bytes
        if (choice.disk, choice.disk_gb, choice.folder) != (before.disk, before.disk_gb, before.folder):
            self.store.disk, self.store.disk_from = _disk(choice), _disk_from(choice)
        self.look()

    def look(self) -> None:
        """Find out how full it is; on a thread, for it looks at every file."""
        self._stage.start(partial(_filled, self.store))

    def clear_memory(self) -> None:
        """Drop what is in memory."""
        self.store.clear()
        self.look()

    def clear_disk(self) -> None:
        """Remove what is on disk."""
        self._stage.start(partial(_cleared, self.store))

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
    )


def _disk(choice: Choice) -> DiskTier | None:
    if choice.disk == NOTHING:
        return None
    return DiskTier(cache_folder(choice.folder), choice.disk_gb * GIB or None)


def _disk_from(choice: Choice) -> Worth:
    return Worth.USED if choice.disk == ALL else Worth.PREPARED


def _filled(store: EmbeddingStore) -> Filled:
    devices = [one for one in Resident.living() if one.device.type != "cpu"]
    device = Level(sum(d.nbytes for d in devices), sum(d.max_bytes for d in devices), 0) if devices else None
    return Filled(store.usage(), device, "" if store.disk is None else str(store.disk.folder))


def _cleared(store: EmbeddingStore) -> Filled:
    store.clear_disk()
    return _filled(store)
