"""The one adapter of all encode-once, prompt-many networks: a frame and a network behind the seam. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import ImageError, ModelError
from napari_medsam.models.base import Embedding, ModelSpec, Prediction
from napari_medsam.models.frame import FloatArray, Frame, InputPrompts, RoundsFrame, corners_of, xy_of
from napari_medsam.models.threads import THREADS
from napari_medsam.prompts import Box, Logits, MaskPrompt, PromptKind, Prompts, Stroke

Features = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Answer:
    """What a network's decoder says.

    Parameters
    ----------
    logits : (k, m, m) float32 array
    scores : (k,) float32 array
        The estimated overlap of each with the truth.
    chosen : int
        The one that the original would show.
    note : str
        What the user should know about this answer.
    """

    logits: FloatArray
    scores: FloatArray
    chosen: int = 0
    note: str = ""


class Network(Protocol):
    """A network in its own frame: arrays in, arrays out; devices and precision are its own business."""

    def embed(self, image: FloatArray) -> Features:
        """Features of an input, (channels, size, size)."""
        ...

    def answer(self, features: Features, prompts: InputPrompts) -> Answer:
        """Masks for prompts on those features."""
        ...


@runtime_checkable
class BatchNetwork(Protocol):
    """A network that takes several inputs at once."""

    @property
    def batch(self) -> int:
        """How many inputs to give it at a time, at least 1; 1 where its device gains nothing from more."""
        ...

    def embed_batch(self, images: Sequence[FloatArray]) -> list[Features]:
        """Features of inputs, (channels, size, size) each, in their order."""
        ...


class SamSegmenter:
    """Segmenter of a network and the frame in which it sees planes.

    Parameters
    ----------
    spec : ModelSpec
    frame : Frame
    network : Network
    corners : callable
        The two corners of a box as (x, y), (2, 2), as the network was trained on them.
    """

    def __init__(
        self,
        spec: ModelSpec,
        frame: Frame,
        network: Network,
        corners: Callable[[Box], NDArray[np.float64]] = corners_of,
    ) -> None:
        self.spec = replace(spec, digest=f"{spec.digest}-{frame.name}")
        self.frame = frame
        self.network = network
        self.corners = corners

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        """Run the encoder on the plane as the family sees it."""
        require_plane(plane)
        THREADS.settle()
        return self._embedding(plane, self.network.embed(self.frame.image(plane)))

    @property
    def batch(self) -> int:
        """How many planes the network gains from at a time."""
        return self.network.batch if isinstance(self.network, BatchNetwork) else 1

    def encode_batch(self, planes: Sequence[NDArray[np.uint8]]) -> list[Embedding]:
        """Run the encoder on several planes, together where the network can."""
        if not isinstance(self.network, BatchNetwork):
            return [self.encode(plane) for plane in planes]
        for plane in planes:
            require_plane(plane)
        THREADS.settle()
        found = self.network.embed_batch([self.frame.image(plane) for plane in planes])
        return [self._embedding(plane, features) for plane, features in zip(planes, found, strict=True)]

    def _embedding(self, plane: NDArray[np.uint8], features: Features) -> Embedding:
        return Embedding(self.spec.digest, (int(plane.shape[0]), int(plane.shape[1])), features, plane)

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        """Run the decoder; strokes count as their pixels' points where the family has no better use for them."""
        self.spec.check(prompts)
        THREADS.settle()
        prompts = prompts.fitted(embedding.shape)
        answer = self.network.answer(embedding.arrays, self.in_frame(prompts, embedding.shape))
        require_finite(answer.logits, self.spec.title)
        masks = self.frame.restore(answer.logits, embedding.shape)
        scores = np.clip(answer.scores, 0, 1).astype(np.float64)
        logits = tuple(Logits(self.spec.digest, embedding.shape, one) for one in answer.logits) if self._rounds else ()
        return Prediction(masks, scores, answer.chosen, answer.note, logits)

    def in_frame(self, prompts: Prompts, shape: tuple[int, int]) -> InputPrompts:
        """Prompts on a plane of `shape` as the network takes them."""
        at = xy_of(prompts.points)
        labels = [int(p.positive) for p in prompts.points]
        for stroke in prompts.strokes:
            spread = along(stroke, shape)
            at = np.concatenate([at, spread])
            labels += [int(stroke.positive)] * len(spread)
        box = None if prompts.box is None else self.frame.positions(self.corners(prompts.box), shape).reshape(4)
        mask = None if prompts.mask is None else self._mask(prompts.mask, shape)
        return InputPrompts(self.frame.positions(at, shape), np.array(labels, dtype=np.int64), box, mask)

    def _mask(self, mask: MaskPrompt, shape: tuple[int, int]) -> FloatArray:
        """A mask prompt, (m, m): from the network's own logits of such a plane where it has them."""
        known = mask.logits
        if isinstance(self.frame, RoundsFrame) and known and (known.model, known.shape) == (self.spec.digest, shape):
            return self.frame.again(known.values)
        return self.frame.mask(mask.pixels)

    @property
    def _rounds(self) -> bool:
        """Whether the network may start from its own logits."""
        return isinstance(self.frame, RoundsFrame) and PromptKind.MASK in self.spec.prompts


STROKE_POINTS = 8
"""A stroke is given to a network that knows points only as at most this many, evenly along it."""


def along(stroke: Stroke, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Some of a stroke's pixels as (x, y), (k, 2)."""
    pixels = stroke.pixels(shape)
    some = np.unique(np.linspace(0, len(pixels) - 1, min(STROKE_POINTS, len(pixels))).astype(int))
    return pixels[some, ::-1].astype(np.float64)


def require_finite(logits: FloatArray, title: str) -> None:
    """Raise ModelError for masks that are no numbers."""
    if not np.isfinite(logits).all():
        raise ModelError(
            f"{title} answers with NaN or infinity: its weights are damaged, "
            "or its precision is too low. Fetch or choose the file again, or set the precision to float32."
        )


def require_plane(plane: NDArray[np.uint8]) -> None:
    """Raise ImageError for what is no uint8 plane."""
    if plane.dtype != np.uint8 or not (plane.ndim == 2 or (plane.ndim == 3 and plane.shape[-1] == 3)):
        raise ImageError(f"A plane is uint8, (rows, columns) or (rows, columns, 3), not {plane.dtype} {plane.shape}.")
