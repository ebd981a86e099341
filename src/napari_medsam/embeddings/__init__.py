"""The store of embeddings: keyed by content, in tiers, each bounded by bytes, least recently used first out.

A key is made of the pixels as the model sees them and of the model's digest. It holds no layer name, no id and no
version counter: the same slice is the same slice in another layer or on another day, and an edited image can never
meet a stale entry. The device tier is the networks' own (`models.resident`): what is dropped here leaves it too.
"""

from napari_medsam.embeddings.budgets import cache_folder, default_disk_bytes, default_host_bytes
from napari_medsam.embeddings.disk import DiskTier
from napari_medsam.embeddings.keys import content_key
from napari_medsam.embeddings.levels import Level, Usage, Worth
from napari_medsam.embeddings.store import EmbeddingStore

__all__ = [
    "DiskTier",
    "EmbeddingStore",
    "Level",
    "Usage",
    "Worth",
    "cache_folder",
    "content_key",
    "default_disk_bytes",
    "default_host_bytes",
]
