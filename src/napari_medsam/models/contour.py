"""The built-in model: a geodesic active contour on the evidence of a box and points. No weights, no network.

Inside a box, enlarged by its surroundings and resampled to a fixed number of cells, the region term is the log-odds of
`evidence`, and the region is found with the iterative convolution-thresholding method (`geodesic`). Points without a
box are tried with boxes of several sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_medsam.errors import ImageError, ModelError, PromptError
from napari_medsam.models import evidence, geodesic
from napari_medsam.models.base import Embedding, ModelSpec, Prediction
from napari_medsam.models.evidence import Click
from napari_medsam.models.workframe import Bounds, WorkFrame, frame_of, pyramid_of
from napari_medsam.prompts import Point, Prompts, PromptKind, Stroke

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

SPEC = ModelSpec(
    name="contour",
    title="Contour (built in, no network)",
    digest="contour-1",
    prompts=frozenset(PromptKind),
    needs_network=False,
    licence="Apache-2.0",
    about=(
        "A classical method, not a neural network: a geodesic active contour driven by the intensities in and around "
        "the box. Good on compact objects that differ from their surroundings, poor where only anatomy tells the border."
    ),
)

TAU = 1.5
"""Time of heat flow in a step, in cells squared: the contour's finest detail is about sqrt(2 TAU) cells."""

LAMBDA = -0.1
"""Weight of the area, in places without edges. Negative: the contour grows a little until it meets an edge."""

REGION = 0.15
"""Weight of the log-odds against the contour's length."""

EDGE_SIGMA = 1.0
"""Smoothing before the gradient, in cells."""

POINT_SIZES = (0.03, 0.06, 0.12, 0.24)
"""Half the sides of the boxes tried around points, as parts of the geometric mean of the plane's sides."""


@dataclass(frozen=True)
class _Marks:
    """The pixels, (k, 2), of each point and stroke in the order given, and whether it is positive."""

    pixels: tuple[NDArray[np.intp], ...]
    positive: tuple[bool, ...]

    def of(self, positive: bool) -> NDArray[np.intp]:
        """All pixels of one sign, (k, 2)."""
        chosen = [p for p, sign in zip(self.pixels, self.positive, strict=True) if sign == positive]
        return np.concatenate([np.empty((0, 2), dtype=np.intp), *chosen])


@dataclass(frozen=True)
class _Candidate:
    """A mask on the plane and its score."""

    mask: BoolArray
    score: float


class Contour:
    """A geodesic active contour: box, points and strokes in, masks and scores out. See SPEC.about for its limits.

    Transposing the plane and the prompts transposes the masks exactly: of a problem and its transpose the same one is
    solved (see `_turned`). The one exception is a problem that is its own transpose.
    """

    spec = SPEC

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        """Average the plane over 1, 2, 4, ... pixels; all that does not depend on a box.

        Parameters
        ----------
        plane : (rows, columns) or (rows, columns, 3) uint8 array

        Raises
        ------
        ImageError
            The plane has another type or shape, or no pixels.
        """
        if plane.dtype != np.uint8 or plane.ndim not in (2, 3) or (plane.ndim == 3 and plane.shape[2] != 3):
            raise ImageError(
                f"The contour model takes uint8 planes of (rows, columns) or (rows, columns, 3), not {plane.dtype} "
                f"{plane.shape}. Apply an intensity window first."
            )
        if not plane.size:
            raise ImageError(f"The plane of shape {plane.shape} has no pixels; choose another slice.")
        levels = pyramid_of(plane)
        arrays = {f"level{i}": level for i, level in enumerate(levels)}
        return Embedding(self.spec.digest, (plane.shape[0], plane.shape[1]), arrays)

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        """Segment the object that the prompts mark.

        Every positive pixel is in every mask and no negative one is; a mask stays in the box, or in the smallest box
        around it and the positive pixels; it is never empty.

        Raises
        ------
        UnsupportedError, PromptError
            The prompts cannot be used, or contradict each other.
        ModelError
            The embedding is another model's.
        """
        if embedding.model != self.spec.digest:
            raise ModelError(f"The embedding is of {embedding.model}, not of {self.spec.digest}; encode the plane again.")
        self.spec.check(prompts)
        prompts = prompts.fitted(embedding.shape)
        levels = [np.asarray(embedding.arrays[f"level{i}"], dtype=np.float32) for i in range(len(embedding.arrays))]
        turned = _turned(levels[0], prompts)
        if turned:
            levels = [level.swapaxes(0, 1) for level in levels]
            prompts = prompts.transposed()
        found = _segment(levels, prompts)
        masks = np.stack([c.mask.T if turned else c.mask for c in found])
        return Prediction(masks, np.array([c.score for c in found]), chosen=0)


def _turned(plane: NDArray[np.float32], prompts: Prompts) -> bool:
    """Whether to solve the transposed problem: of the two, the one that comes first in some order.

    Sums of floats depend on their order, so the two could differ in rounding, and a threshold makes that visible.
    """
    straight = (plane.shape[:2], repr(prompts))
    across = (plane.shape[1::-1], repr(prompts.transposed()))
    if straight != across:
        return across < straight
    return plane.swapaxes(0, 1).tobytes() < plane.tobytes()


def _segment(levels: list[NDArray[np.float32]], prompts: Prompts) -> list[_Candidate]:
    shape = levels[0].shape[0], levels[0].shape[1]
    marks = _marks_of(prompts, shape)
    if prompts.box is not None:
        box = prompts.box
        bounds = _union((box.row0, box.column0, box.row1, box.column1), marks.of(True))
        return [_in_box(levels, bounds, marks)]
    return _around_points(levels, marks)


def _marks_of(prompts: Prompts, shape: tuple[int, int]) -> _Marks:
    """The pixels of all points and strokes; PromptError when a pixel is marked both ways."""
    drawn: tuple[Point | Stroke, ...] = (*prompts.points, *prompts.strokes)
    pixels = tuple(np.array([d.pixel]) if isinstance(d, Point) else d.pixels(shape) for d in drawn)
    marks = _Marks(pixels, tuple(d.positive for d in drawn))
    both = set(map(tuple, marks.of(True).tolist())) & set(map(tuple, marks.of(False).tolist()))
    if both:
        row, column = min(both)
        raise PromptError(f"The pixel at row {row}, column {column} is marked both positive and negative; delete one.")
    return marks


def _union(bounds: Bounds, pixels: NDArray[np.intp]) -> Bounds:
    if not len(pixels):
        return bounds
    low, high = pixels.min(axis=0), pixels.max(axis=0) + 1
    return min(bounds[0], int(low[0])), min(bounds[1], int(low[1])), max(bounds[2], int(high[0])), max(bounds[3], int(high[1]))


def _in_box(levels: list[NDArray[np.float32]], bounds: Bounds, marks: _Marks) -> _Candidate:
    shape = levels[0].shape[0], levels[0].shape[1]
    frame = frame_of(levels, bounds)
    clicks: list[Click] = []
    logodds, u = _solve(frame, clicks)
    for pixels, positive in zip(marks.pixels, marks.positive, strict=True):
        cells = frame.cells_of(pixels)
        if len(cells):
            clicks.append(Click(cells, positive, _reach(u, cells, positive)))
            logodds, u = _solve(frame, clicks)
    smooth = geodesic.heat(u, 0.25)
    mask = frame.to_plane(smooth, shape, outside=0.0) >= 0.5
    if not mask.any():
        rows, columns = (frame.to_plane(np.broadcast_to(o, frame.shape), shape, np.inf) for o in frame.offset)
        mask = rows**2 + columns**2 <= 1
    mask[tuple(marks.of(True).T)] = True
    mask[tuple(marks.of(False).T)] = False
    return _Candidate(mask, _score(frame, logodds, u))


def _solve(frame: WorkFrame, clicks: list[Click]) -> tuple[FloatArray, FloatArray]:
    """Log-odds and the characteristic function, both (n, m)."""
    logodds = evidence.place(frame) + evidence.INTENSITY * evidence.intensity(frame, clicks)
    logodds = logodds + evidence.clicked(frame, clicks)
    smooth = ndimage.gaussian_filter(evidence.decorrelated(frame.values), (EDGE_SIGMA, EDGE_SIGMA, 0), mode="nearest")
    slope2 = sum((_slope2(smooth[..., i]) for i in range(smooth.shape[2])), np.zeros(frame.shape))
    scale = max(float(np.sqrt(slope2[frame.inside].mean())), 1e-3)
    g = geodesic.edge_weight(np.sqrt(slope2), scale)
    linear = LAMBDA * g - REGION * logodds
    linear[~frame.inside] = geodesic.HARD
    for click in clicks:
        linear[tuple(click.cells.T)] = -geodesic.HARD if click.positive else geodesic.HARD
    start = (linear <= 0).astype(np.float64)
    return logodds, geodesic.minimise(start, np.sqrt(g), TAU, linear)


def _slope2(channel: FloatArray) -> FloatArray:
    return sum((np.gradient(channel, axis=a) ** 2 for a in (0, 1) if channel.shape[a] > 1), np.zeros(channel.shape))


def _reach(u: FloatArray, cells: NDArray[np.intp], positive: bool) -> float:
    """How far a click speaks: to the border of what it corrects, and a little where it agrees with `u` already."""
    wrong = (u > 0) != positive
    if not wrong[tuple(cells.T)].any():
        return 2.0
    depth = ndimage.distance_transform_edt(wrong)
    return max(1.5 * float(depth[tuple(cells.T)].max()), 2.0)


def _score(frame: WorkFrame, logodds: FloatArray, u: FloatArray) -> float:
    """The Dice to be expected if the log-odds were right."""
    inside = frame.inside
    p = 1 / (1 + np.exp(-logodds[inside]))
    chosen = u[inside]
    return float(np.clip(2 * (p * chosen).sum() / max(p.sum() + chosen.sum(), 1e-9), 0, 1))


def _around_points(levels: list[NDArray[np.float32]], marks: _Marks) -> list[_Candidate]:
    """Masks of boxes of several sizes around the positive pixels, best first."""
    shape = levels[0].shape[0], levels[0].shape[1]
    pixels = marks.of(True)
    low, high = pixels.min(axis=0), pixels.max(axis=0) + 1
    found = []
    for part in POINT_SIZES:
        grow = max(round(part * float(np.sqrt(shape[0] * shape[1]))), 2)
        bounds = (
            max(int(low[0]) - grow, 0),
            max(int(low[1]) - grow, 0),
            min(int(high[0]) + grow, shape[0]),
            min(int(high[1]) + grow, shape[1]),
        )
        found.append(_in_box(levels, bounds, marks))
    return sorted(found, key=lambda c: -c.score)[:3]


