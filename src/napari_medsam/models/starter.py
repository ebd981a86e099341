"""The `starter` model: a small network trained on synthetic images alone, behind the seam of `base`.

It looks at the box and its surroundings. The first prompt on a box is a second look: the features of that view are made
once and kept, so a further click costs only the light decoder. Without a box it looks at several scales about the
marks, takes the mask that it judges best, and looks again at its bounds.

The network sees a box through 64 x 64 samples and places borders to about half a sample. The `contour` follows edges on
the pixels, but does not know what belongs together. So each box is given to both, and where the network is unsure
(its logit below HINT) the contour decides.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_medsam.models import registry
from napari_medsam.models.base import Embedding, ModelSpec, Prediction
from napari_medsam.models.contour import Contour
from napari_medsam.models.frame import as_grey
from napari_medsam.models.sam_segmenter import require_plane
from napari_medsam.models.starter_look import BoxTuple, Look, around, fitting, tall
from napari_medsam.models.starter_marks import FloatArray, Mark, all_marks, obedient
from napari_medsam.models.starter_weights import WEIGHTS, read_weights, ready
from napari_medsam.prompts import Box, Prompts

if TYPE_CHECKING:
    import torch

    from napari_medsam.models.sources import Sources

VIEW = 64
SCALES = (16, 32, 64, 128, 256)
"""Sides in pixels of the views that are tried where there is no box."""

ALL_FLIPS: tuple[tuple[int, ...], ...] = ((), (-1, -2), (-1,), (-2,))
"""Axes of a view that are mirrored; answers to all are averaged, which is a little better than one."""

FLIPS = 4
LEAD = 0.1
"""The first candidate, trained to be right by itself, is left for another only when that scores this much more."""

KEPT = 32
"""Views and answers kept."""

HINT = 1.2
"""The logit by which the contour of a box speaks, for its inside and against its outside; each mark halves it."""

SPEC = registry.row("starter").spec("3")

Value = TypeVar("Value")


class Recent(OrderedDict[Any, Value]):
    """The values used last."""

    def keep(self, key: Any, value: Value) -> Value:
        """Store a value; the oldest leaves when there are too many."""
        self[key] = value
        self.move_to_end(key)
        while len(self) > KEPT:
            self.popitem(last=False)
        return value


class Starter:
    """Segmenter with the weights that come with the package, or others of the same layout.

    Parameters
    ----------
    weights : Path
    view : int
        Samples a side of a view.
    flips : int
        Mirrorings that are averaged, 1 to 4.
    hint : float
        How much the contour of a box counts; 0 for the network alone.
    spec : ModelSpec
        Of the weights; the view, the mirrorings and the file's content are added to its digest.
    """

    def __init__(
        self,
        weights: Path = WEIGHTS,
        view: int = VIEW,
        flips: int = FLIPS,
        hint: float = HINT,
        spec: ModelSpec = SPEC,
    ) -> None:
        read = read_weights(weights)
        self._network = ready(read.network)
        self._contour = Contour()
        self._view = view
        self._hint = hint
        self._flips = ALL_FLIPS[:flips]
        self._looks: Recent[tuple[torch.Tensor, ...]] = Recent()
        self._answers: Recent[tuple[FloatArray, FloatArray]] = Recent()
        self._hints: Recent[FloatArray] = Recent()
        self._spec = replace(spec, digest=f"{spec.digest}-{view}-{flips}-{hint}-{read.digest[:16]}")

    @property
    def spec(self) -> ModelSpec:
        """What the model is and takes."""
        return self._spec

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        """The grey plane, its digest, and what the contour keeps: looks are at boxes, and made when a box is there."""
        require_plane(plane)
        grey = np.ascontiguousarray(as_grey(plane))
        digest = hashlib.blake2b(grey.tobytes(), digest_size=16, person=str(grey.shape).encode()[:16]).digest()
        shape = (int(grey.shape[0]), int(grey.shape[1]))
        arrays = {"grey": grey, "digest": np.frombuffer(digest, np.uint8)}
        return Embedding(self._spec.digest, shape, {**arrays, **self._contour.encode(plane).arrays})

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        """Candidate masks for the box, replaying the marks one after the other."""
        self._spec.check(prompts)
        prompts = prompts.fitted(embedding.shape)
        marks = all_marks(prompts, embedding.shape)
        box = self._box(embedding, prompts, marks)
        look = Look(embedding, box, tall(embedding, box), self._view)
        logits, quality = self._replay(look, marks, None if prompts.mask is None else look.start(prompts.mask))
        maps = look.back(logits)
        if self._hint and prompts.mask is None:
            maps += self._contoured(embedding, box) * np.float32(0.5 ** len(marks))
        return prediction(maps, quality, marks)

    def _contoured(self, embedding: Embedding, box: BoxTuple) -> FloatArray:
        """What the contour of a box adds to the logits, (rows, columns)."""
        key = (embedding.arrays["digest"].tobytes(), box)
        if key in self._hints:
            return self._hints[key]
        levels = {name: array for name, array in embedding.arrays.items() if name.startswith("level")}
        drawn = Prompts(Box(*(int(v) for v in box)))
        mask = self._contour.decode(Embedding(self._contour.spec.digest, embedding.shape, levels), drawn).mask
        return self._hints.keep(key, np.where(mask, self._hint, -self._hint).astype(np.float32))

    def _box(self, embedding: Embedding, prompts: Prompts, marks: Sequence[Mark]) -> BoxTuple:
        """Where to look: the box drawn, else the bounds of the mask given and the marks on it, else a guess."""
        if prompts.box is not None:
            b = prompts.box
            return float(b.row0), float(b.column0), float(b.row1), float(b.column1)
        if prompts.mask is not None:
            held = np.array(prompts.mask.pixels)
            for points, positive in marks:
                at = np.floor(np.array(points) + 0.5).astype(int)
                held[tuple(at.T)] |= positive
            return around(held)
        return self._find(embedding, marks)

    def _replay(
        self, look: Look, marks: Sequence[Mark], start: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Logits (k, v, v) and quality (k,) after the last mark; `start` is the mask given, (v, v), from 0 to 1."""
        previous = start
        key = b"" if start is None else start.tobytes()
        answer = self._answer(look, (), previous, key)
        for count in range(1, len(marks) + 1):
            previous = 1 / (1 + np.exp(-answer[0][preferred(answer[1])]))
            answer = self._answer(look, tuple(marks[:count]), previous, key)
        return answer

    def _answer(
        self, look: Look, marks: tuple[Mark, ...], previous: FloatArray | None, start: bytes
    ) -> tuple[FloatArray, FloatArray]:
        """Logits (k, v, v) and quality (k,) of one round; all that went before follows from `start` and the marks."""
        key = (look.key, marks, start)
        if key in self._answers:
            return self._answers[key]
        import torch

        with one_thread(), torch.inference_mode():
            maps = self._mirrored(torch.from_numpy(look.prompt_maps(marks, previous)))
            logits, quality = self._network.decode(self._features(look), maps)  # type: ignore[arg-type]
            upright = [one.flip(axes) if axes else one for one, axes in zip(logits, self._flips, strict=True)]
            answers = torch.stack(upright)
            scores = torch.sigmoid(quality.mean(0)).sqrt() * agreement(answers > 0) ** 4
        return self._answers.keep(key, (answers.mean(0).numpy(), scores.numpy()))

    def _mirrored(self, maps: torch.Tensor) -> torch.Tensor:
        """(f, k, v, v): the maps in every mirroring."""
        import torch

        return torch.stack([maps.flip(axes) if axes else maps for axes in self._flips])

    def _features(self, look: Look) -> tuple[torch.Tensor, ...]:
        if look.key in self._looks:
            return self._looks[look.key]
        import torch

        with one_thread(), torch.inference_mode():
            channels = self._mirrored(torch.from_numpy(look.channels()))
            return self._looks.keep(look.key, self._network.encode(channels))

    def _find(self, embedding: Embedding, marks: Sequence[Mark]) -> BoxTuple:
        """The bounds of the best mask at any of SCALES about the positive marks."""
        at = np.concatenate([np.array(points) for points, positive in marks if positive])
        low, high = at.min(0), at.max(0) + 1
        turned = tall(embedding, fitting(np.floor(low) - 16, np.ceil(high) + 16, embedding.shape))
        middle = (low + high)[::-1] / 2 if turned else (low + high) / 2
        found: tuple[float, BoxTuple] | None = None
        for scale in SCALES:
            if scale < 1.3 * (high - low).max() or (found and scale > 2 * max(embedding.shape)):
                continue
            look = Look(embedding, None, turned, self._view, (middle, float(scale)))
            logits, quality = self._replay(look, marks)
            best = preferred(quality)
            mask = look.back(logits[best : best + 1])[0] > 0
            if mask.sum() >= 4 and (found is None or quality[best] > found[0]):
                found = float(quality[best]), around(mask)
        if found is None:
            return fitting(low - 4, high + 4, embedding.shape)
        return found[1]


def make(sources: Sources | None = None) -> Starter:
    """The model with the package's own weights, or with those of `sources`.

    Weights that learnt from a person's own outlines know better than the contour where those run, so they decide alone.

    Raises
    ------
    CheckpointError
        The file is not of this model.
    """
    if sources is None:
        return Starter()
    row = sources.row
    about = f"{row.about} With weights of your own: how good they are depends on the labels that they learnt from."
    return Starter(sources.weights, hint=0, spec=replace(row.spec(sources.digest), about=about))


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: beside a busy GUI a team of two spins at each barrier and takes ten times as long."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def agreement(masks: torch.Tensor) -> torch.Tensor:
    """Mean Dice between the answers to the mirrorings, (k,) of (f, k, v, v) bool: a sure mask keeps its shape."""
    count = masks.shape[0]
    flat = masks.flatten(2).float().transpose(0, 1)
    both = flat @ flat.transpose(1, 2)
    size = flat.sum(2)
    dice = (2 * both + 1e-3) / (size[:, :, None] + size[:, None, :] + 1e-3)
    others = dice.sum((1, 2)) - count
    return others / max(count * (count - 1), 1) if count > 1 else others + 1


def preferred(quality: FloatArray) -> int:
    """The candidate to show, of their (k,) qualities."""
    best = int(quality.argmax())
    return best if quality[best] > quality[0] + LEAD else 0


def prediction(maps: FloatArray, quality: FloatArray, marks: Sequence[Mark]) -> Prediction:
    """Masks that hold every positive and no negative mark, of (k, rows, columns) logits."""
    masks = np.stack([obedient(m, marks) for m in maps])
    return Prediction(masks, quality.astype(np.float64), preferred(quality))


def predict(image: NDArray[Any], window: tuple[float, float] | None, box: Sequence[int]) -> NDArray[np.bool_]:
    """For score_planes.py: `python score_planes.py napari_medsam.models.starter:predict`."""
    from napari_medsam.intensity import Window, percentile_window, to_uint8

    global _SHARED
    if _SHARED is None:
        _SHARED = Starter()
    plane = to_uint8(image, Window(*window) if window else percentile_window(image))
    prompts = Prompts(Box(*(int(v) for v in box)))
    return _SHARED.decode(_SHARED.encode(plane), prompts).mask


_SHARED: Starter | None = None
