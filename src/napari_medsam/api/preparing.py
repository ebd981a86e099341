"""Prepare a volume: encode its slices ahead, so that on any later day the first mask needs no encode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from napari_medsam.api.segmenting import segmenter_of
from napari_medsam.embeddings import DiskTier, EmbeddingStore, Worth, cache_folder
from napari_medsam.errors import UnsupportedError, WriteError
from napari_medsam.geometry import Plane
from napari_medsam.image import Image
from napari_medsam.intensity import Window, suggest_window
from napari_medsam.models.base import Model, Segmenter
from napari_medsam.models.registry import DEFAULT
from napari_medsam.preparation import Aim, Preparation, prepare
from napari_medsam.propagation.planning import pixels_along
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.subject import Span


@dataclass(frozen=True)
class Prepared:
    """What came of preparing a volume.

    Parameters
    ----------
    total : int
        Slices asked for.
    ready : int
        Those that need no encode any more.
    encoded : int
        Those that were encoded now; the rest was there.
    size : int
        Bytes of an embedding; 0 when none was made.
    """

    total: int
    ready: int
    encoded: int
    size: int


def user_store(folder: str | Path = "", *, memory: int | None = None, disk: int | None = None) -> EmbeddingStore:
    """The user's store: memory, and behind it the folder that the plugin, the command line and scripts share.

    Parameters
    ----------
    folder : path
        Where embeddings are kept; the environment's (NAPARI_MEDSAM_CACHE) or the user's cache folder when empty.
    memory, disk : int, optional
        Budgets in bytes; parts of what is free when left out. That of the GPU is for all stores: `set_device_budget`.
    """
    return EmbeddingStore(memory, DiskTier(cache_folder(str(folder)), disk))


def prepare_image(
    image: Image,
    *,
    model: str | Model = DEFAULT,
    window: Window | None = None,
    stack: Stack | None = None,
    shown: int | None = None,
    span: Span | None = None,
    store: EmbeddingStore | None = None,
    progress: Callable[[Preparation], object] = lambda preparation: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Prepared:
    """Encode the slices of a volume and keep them on disk. What was done before is skipped, also by another process.

    Parameters
    ----------
    image : Image
    model : str or model
        Short name of a model, or one from `load_model`.
    window : Window, optional
        Intensities that the model sees, as they will be when the volume is segmented; suggested when left out.
    stack : Stack, optional
        The slices; those along the depth when left out.
    shown : int, optional
        Position to begin at; the middle when left out.
    span : Span, optional
        Only slices in this range.
    store : EmbeddingStore, optional
        `user_store()` when left out.
    progress : callable
        Gets the preparation as far as it has come, after each block.
    cancelled : callable
        Asked before each block; what is done is kept.

    Raises
    ------
    UnsupportedError
        The model encodes as fast as a disk reads, or labels by itself: there is nothing to prepare.
    WriteError
        The disk refuses, or its budget is too small for so many slices.
    MedsamError
        A slice cannot be read or encoded; those before it are kept.
    """
    segmenter = _worth_it(segmenter_of(model))
    stack = stack or Stack.through(_first(image), image.grid.shape)
    kept = store or user_store()
    now = Preparation(stack, stack.size // 2 if shown is None else shown, aim=Aim.LASTING, span=span)
    pixels = pixels_along(image, stack, suggest_window(image.sample())[1] if window is None else window)
    steps = prepare(now, pixels, segmenter, kept)
    try:
        for now in steps:
            _check_room(now, kept)
            progress(now)
            if cancelled():
                break
    finally:
        kept.flush()
    _check_room(now, kept)
    return Prepared(now.total, now.checked(kept).done, now.encoded, now.size)


def _worth_it(segmenter: Segmenter) -> Segmenter:
    """The model; UnsupportedError where it encodes as fast as a disk reads."""
    if segmenter.spec.quick:
        raise UnsupportedError(
            f"{segmenter.spec.title} encodes a slice as fast as a disk reads it: there is nothing to prepare. Choose "
            "another model."
        )
    return segmenter


def _first(image: Image) -> Plane:
    """The first axial slice; the whole of a 2D image."""
    ndim = image.grid.ndim
    return Plane((ndim - 2, ndim - 1), tuple((axis, 0) for axis in range(ndim - 2)))


def _check_room(preparation: Preparation, store: EmbeddingStore) -> None:
    """Raise WriteError when not all slices will be kept: better now than after hours."""
    disk = store.disk
    if disk is None:
        return
    if not store.writes(Worth.PREPARED):
        raise WriteError(disk.trouble)
    needed = preparation.size * preparation.total
    if needed > disk.max_bytes:
        raise WriteError(
            f"{preparation.total} slices take {needed >> 20} MiB on disk, and {disk.max_bytes >> 20} MiB are allowed "
            f"for {disk.folder}. Allow more, make room there, or prepare fewer slices."
        )
