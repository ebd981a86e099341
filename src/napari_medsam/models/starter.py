"""The `starter` model: a small network trained on synthetic images alone, behind the seam of `base`.

It looks at the box and as much again around it. The first prompt on a box is a second look: the features of that view
are made once and kept, so a further click costs only the light decoder. Without a box it looks at several scales
about the marks, takes the mask that it judges best, and looks again at its bounds.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import ImageError
from napari_medsam.models.base import Embedding, ModelSpec, Prediction
from napari_medsam.models.starter_views import View
from napari_medsam.prompts import Box, Point, PromptKind, Prompts

if TYPE_CHECKING:
    import torch

    from napari_medsam.models.starter_network import StarterNetwork

WEIGHTS = Path(__file__).parent / "weights" / "starter.safetensors"
VIEW = 64
SCALES = (16, 32, 64, 128, 256)
"""Sides in pixels of the views that are tried where there is no box."""

ALL_FLIPS: tuple[tuple[int, ...], ...] = ((), (-1, -2), (-1,), (-2,))
"""Axes of a view that are mirrored; answers to all are averaged, which is a little better than one."""

FLIPS = 4
LEAD = 0.1
"""The first candidate, trained to be right by itself, is left for another only when that scores this much more."""

SPREAD = 1 / 40
KEPT = 32
"""Views and answers kept."""

FloatArray = NDArray[np.float32]
BoxTuple = tuple[float, float, float, float]
Mark = tuple[tuple[tuple[float, float], ...], bool]
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
    """Segmenter with the weights that come with the package."""

    def __init__(self, weights: Path | None = None, view: int = VIEW, flips: int = FLIPS) -> None:
        path = weights or WEIGHTS
        self._network, digest = load_network(path)
        self._view = view
        self._flips = ALL_FLIPS[:flips]
        self._looks: Recent[tuple[torch.Tensor, ...]] = Recent()
        self._answers: Recent[tuple[FloatArray, FloatArray]] = Recent()
        self._spec = ModelSpec(
            name="starter",
            title="Starter (trained on synthetic images)",
            digest=f"starter-1-{view}-{flips}-{digest}",
            prompts=frozenset(PromptKind),
            needs_network=False,
            licence="Apache-2.0",
            about=(
                "A small network that comes with the plugin, trained on synthetic images only. It is not MedSAM and "
                "has seen no patient: check every outline."
            ),
        )

    @property
    def spec(self) -> ModelSpec:
        """What the model is and takes."""
        return self._spec

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        """The grey plane and its digest: all looks are at boxes, and are made when a box is there."""
        if plane.dtype != np.uint8 or not (plane.ndim == 2 or (plane.ndim == 3 and plane.shape[-1] == 3)):
            raise ImageError(
                f"A plane is uint8, (rows, columns) or (rows, columns, 3), not {plane.dtype} {plane.shape}."
            )
        grey = plane if plane.ndim == 2 else plane @ np.array([0.299, 0.587, 0.114], np.float32)
        grey = np.ascontiguousarray(np.rint(grey), dtype=np.uint8)
        digest = hashlib.blake2b(grey.tobytes(), digest_size=16, person=str(grey.shape).encode()[:16]).digest()
        shape = (int(grey.shape[0]), int(grey.shape[1]))
        return Embedding(self._spec.digest, shape, {"grey": grey, "digest": np.frombuffer(digest, np.uint8)})

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        """Candidate masks for the box, replaying the marks one after the other."""
        self._spec.check(prompts)
        prompts = prompts.fitted(embedding.shape)
        marks = all_marks(prompts, embedding.shape)
        if prompts.box is None:
            box = self._find(embedding, marks)
        else:
            b = prompts.box
            box = (float(b.row0), float(b.column0), float(b.row1), float(b.column1))
        turned = tall(embedding, box)
        look = Look(embedding, box, turned, self._view)
        logits, quality = self._replay(look, marks)
        maps = look.view.back(logits, look.plane.shape, -9.0)
        maps = np.swapaxes(maps, 1, 2) if turned else maps
        return prediction(maps, quality, marks)

    def _replay(self, look: Look, marks: Sequence[Mark]) -> tuple[FloatArray, FloatArray]:
        previous: FloatArray | None = None
        answer = self._answer(look, (), None)
        for count in range(1, len(marks) + 1):
            previous = answer[0][preferred(answer[1])]
            answer = self._answer(look, tuple(marks[:count]), previous)
        return answer

    def _answer(
        self, look: Look, marks: tuple[Mark, ...], previous: FloatArray | None
    ) -> tuple[FloatArray, FloatArray]:
        """Logits (k, v, v) and quality (k,) of one round."""
        key = (look.key, marks)
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
            mask = look.view.back(logits[best : best + 1], look.plane.shape, -9.0)[0] > 0
            mask = mask.T if turned else mask
            if mask.sum() >= 4 and (found is None or quality[best] > found[0]):
                found = float(quality[best]), around(mask)
        if found is None:
            return fitting(low - 4, high + 4, embedding.shape)
        return found[1]


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


def load_network(path: Path) -> tuple[StarterNetwork, str]:
    """The network in evaluation mode with single precision weights, and a digest of the file."""
    import torch
    from safetensors import safe_open

    from napari_medsam.models.starter_network import NetworkConfig, StarterNetwork, folded

    with safe_open(str(path), framework="pt") as file:
        state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        raw = json.loads((file.metadata() or {})["config"])
    config = NetworkConfig(tuple(raw["widths"]), tuple(raw["blocks"]))
    network = StarterNetwork(config)
    network.load_state_dict(state, strict=False)
    network.eval().requires_grad_(False)
    folded(network)
    ready: Any = network  # versions of torch differ in how they type `to`
    ready.to(memory_format=torch.channels_last)
    return network, hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def agreement(masks: torch.Tensor) -> torch.Tensor:
    """Mean Dice between the answers to the mirrorings, (k,) of (f, k, v, v) bool: a sure mask keeps its shape."""
    count = masks.shape[0]
    flat = masks.flatten(2).float().transpose(0, 1)
    both = flat @ flat.transpose(1, 2)
    size = flat.sum(2)
    dice = (2 * both + 1e-3) / (size[:, :, None] + size[:, None, :] + 1e-3)
    others = dice.sum((1, 2)) - count
    return others / max(count * (count - 1), 1) if count > 1 else others + 1


def all_marks(prompts: Prompts, shape: tuple[int, int]) -> list[Mark]:
    """Points and strokes as sets of plane positions with their sign."""
    marks: list[Mark] = [(((float(p.row), float(p.column)),), p.positive) for p in prompts.points]
    for stroke in prompts.strokes:
        pixels = stroke.pixels(shape)
        marks.append((tuple((float(r), float(c)) for r, c in pixels), stroke.positive))
    return marks


def tall(embedding: Embedding, box: BoxTuple) -> bool:
    """Whether to look at the transposed plane, so that a plane and its transpose get the same answer."""
    height, width = box[2] - box[0], box[3] - box[1]
    if height != width:
        return bool(height > width)
    rows, columns = slice(int(box[0]), int(box[2])), slice(int(box[1]), int(box[3]))
    part = embedding.arrays["grey"][rows, columns]
    return bool(part.tobytes() > np.ascontiguousarray(part.T).tobytes())


def around(mask: NDArray[np.bool_]) -> BoxTuple:
    """Bounds of a mask, a pixel around."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    low, high = np.array([rows[0], columns[0]]), np.array([rows[-1], columns[-1]]) + 1
    return fitting(low - 1, high + 1, mask.shape)


def fitting(low: NDArray[Any], high: NDArray[Any], shape: tuple[int, ...]) -> BoxTuple:
    """A box clipped to the plane."""
    low, high = np.maximum(low, 0), np.minimum(high, shape)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


class Look:
    """One view of a plane: what the network is shown, and where marks lie in it."""

    def __init__(
        self,
        embedding: Embedding,
        box: BoxTuple | None,
        turned: bool,
        size: int,
        square: tuple[NDArray[Any], float] | None = None,
    ) -> None:
        grey = np.asarray(embedding.arrays["grey"])
        self.turned = turned
        self.plane = grey.T if turned else grey
        self.box = None if box is None else ((box[1], box[0], box[3], box[2]) if turned else box)
        if self.box is not None:
            self.view = View.around(self.box, size)
        elif square is not None:
            (row, column), side = square
            self.view = View(float(row) - side / 2, float(column) - side / 2, side, side, size)
        self.key = (embedding.arrays["digest"].tobytes(), self.view, self.box, turned)

    def channels(self) -> FloatArray:
        """(4, v, v) as the encoder takes them."""
        size = self.view.size
        shape = (self.plane.shape[0], self.plane.shape[1])
        box = np.zeros((size, size), np.float32) if self.box is None else self.view.box_map(self.box)
        flag = np.full((size, size), float(self.box is not None), np.float32)
        return np.stack([self.view.look(self.plane) / 255, self.view.inside(shape), box, flag])

    def prompt_maps(self, marks: Sequence[Mark], previous: FloatArray | None) -> FloatArray:
        """(3, v, v) as the decoder takes them."""
        size = self.view.size
        maps = np.zeros((3, size, size), np.float32)
        at = np.arange(size, dtype=np.float32)
        spread = 2 * (SPREAD * size) ** 2
        for points, positive in marks:
            for row, column in points:
                r, c = self.view.to_view(column, row) if self.turned else self.view.to_view(row, column)
                mark = np.exp(-((at - r) ** 2) / spread)[:, None] * np.exp(-((at - c) ** 2) / spread)[None]
                np.maximum(maps[1 - positive], mark, out=maps[1 - positive])
        if previous is not None:
            maps[2] = 1 / (1 + np.exp(-previous)) - 0.5
        return maps


def preferred(quality: FloatArray) -> int:
    """The candidate to show, of their (k,) qualities."""
    best = int(quality.argmax())
    return best if quality[best] > quality[0] + LEAD else 0


def prediction(maps: FloatArray, quality: FloatArray, marks: Sequence[Mark]) -> Prediction:
    """Masks that hold every positive and no negative mark, of (k, rows, columns) logits."""
    masks = np.stack([obedient(m, marks) for m in maps])
    return Prediction(masks, quality.astype(np.float64), preferred(quality))


def obedient(logits: FloatArray, marks: Sequence[Mark]) -> NDArray[np.bool_]:
    """The mask of some logits, bent about a mark that it would not obey."""
    out = logits
    pixels = [(np.floor(np.array(points) + 0.5).astype(int), positive) for points, positive in marks]
    for at, positive in pixels:
        inside = ((at >= 0) & (at < logits.shape)).all(1)
        r, c = at[inside].T
        wrong = (out[r, c] > 0) != positive
        if wrong.any():
            out = bent(out, r[wrong], c[wrong], 1.0 if positive else -1.0)
    mask = out > 0
    for at, positive in pixels:
        inside = ((at >= 0) & (at < logits.shape)).all(1)
        mask[tuple(at[inside].T)] = positive
    return np.asarray(mask)


def bent(logits: FloatArray, rows: NDArray[Any], columns: NDArray[Any], sign: float) -> FloatArray:
    """Logits raised (or lowered) in small hills at pixels, enough to change the sign there."""
    out = logits.copy()
    reach = max(1.0, 0.06 * float(np.sqrt(max(int(np.count_nonzero(logits > 0)), 1))))
    wide = int(np.ceil(4 * reach))
    for row, column in zip(rows, columns, strict=True):
        if out[row, column] * sign > 0:
            continue
        r0, c0 = max(row - wide, 0), max(column - wide, 0)
        part = out[r0 : row + wide + 1, c0 : column + wide + 1]
        r, c = np.arange(r0, r0 + part.shape[0])[:, None], np.arange(c0, c0 + part.shape[1])[None]
        hill = np.exp(-((r - row) ** 2 + (c - column) ** 2) / (2 * reach**2))
        part += (sign * (abs(float(out[row, column])) + 0.5) * hill).astype(np.float32)
    return out


def predict(image: NDArray[Any], window: tuple[float, float] | None, box: Sequence[int]) -> NDArray[np.bool_]:
    """For score_planes.py: `python score_planes.py starter:predict`."""
    from napari_medsam.intensity import Window, percentile_window, to_uint8

    global _SHARED
    if _SHARED is None:
        _SHARED = Starter()
    plane = to_uint8(image, Window(*window) if window else percentile_window(image))
    prompts = Prompts(Box(*(int(v) for v in box)))
    return _SHARED.decode(_SHARED.encode(plane), prompts).mask


_SHARED: Starter | None = None

__all__ = ["Point", "Starter", "predict"]
