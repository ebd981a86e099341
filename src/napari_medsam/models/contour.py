"""The built-in model: a geodesic active contour on the evidence of a box and points. No weights, no network.

Inside a box, enlarged by its surroundings and resampled to a fixed number of cells, the region term is the log-odds of
`evidence`, and the region is found with the iterative convolution-thresholding method (`geodesic`). Points without a
box are tried with boxes of several sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import expit

from napari_medsam.errors import ImageError, ModelError, PromptError
from napari_medsam.models import evidence, geodesic
from napari_medsam.models.base import Embedding, ModelSpec, Prediction
from napari_medsam.models.evidence import Click, Scene
from napari_medsam.models.workframe import Bounds, WorkFrame, frame_of, pyramid_of
from napari_medsam.prompts import Point, PromptKind, Prompts, Stroke

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

LAMBDA = -0.02
"""Weight of the area, in places without edges. Negative: the contour grows a little until it meets an edge."""

REGION = 0.15
"""Weight of the log-odds against the contour's length."""

EDGE_SIGMA = 1.0
"""Smoothing before the gradient, in cells."""

LEAST_SLOPE = 1e-3
"""Slopes below this (grey values a cell) are no edges, however flat the rest is."""

OUTLINE_TAU = 0.25
"""Time of heat flow that rounds the cells' corners off before the region is drawn on the pixels."""

REACH = 0.75
"""A click that corrects speaks over this part of the distance to the border of what it lies in."""

LEAST_REACH = 2.0
"""A click speaks at least this far, in cells."""

SMALLER = 0.75
"""Size of the object in the second candidate, as a part of the box."""

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


@dataclass(frozen=True)
class _Solution:
    """Log-odds, characteristic function and edge weight on the cells, each (n, m)."""

    logodds: FloatArray
    u: FloatArray
    g: FloatArray


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
        return _in_box(levels, bounds, marks)
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


def _in_box(levels: list[NDArray[np.float32]], bounds: Bounds, marks: _Marks) -> list[_Candidate]:
    """The mask of the box, then a smaller one, then what the first leaves of the box."""
    shape = levels[0].shape[0], levels[0].shape[1]
    frame = frame_of(levels, bounds)
    scene, edges = Scene.of(frame), _edges(frame)
    core, rim = evidence.centre(frame, 1.0), evidence.surroundings(frame)
    clicks: list[Click] = []
    found = [_solve(scene, edges, core, rim, clicks)]
    for pixels, positive in zip(marks.pixels, marks.positive, strict=True):
        cells = frame.cells_of(pixels)
        if len(cells):
            clicks.append(Click(cells, positive, _reach(found[0].u, cells, positive)))
            found = [_solve(scene, edges, core, rim, clicks)]
    smaller = replace(scene, terms=evidence.place_terms(frame, SMALLER))
    found.append(_solve(smaller, edges, evidence.centre(frame, SMALLER), rim, clicks))
    rest = frame.inside & (found[0].u == 0)
    if rest.any():
        found.append(_solve(scene, edges, rest.astype(np.float64), rim + found[0].u, clicks))
    return [_Candidate(_mask(frame, s.u, marks, shape), _score(frame, s)) for s in found]


def _edges(frame: WorkFrame) -> FloatArray:
    """The edge weight g, (n, m); edges count as such above the root mean square of the slope in the box."""
    smooth = ndimage.gaussian_filter(frame.values, (EDGE_SIGMA, EDGE_SIGMA, 0), mode="nearest")
    slope2 = np.zeros(frame.shape)
    for axis in (0, 1):
        if frame.shape[axis] > 1:
            slope2 += (np.gradient(smooth, axis=axis) ** 2).sum(axis=2)
    scale = max(float(np.sqrt(slope2[frame.inside].mean())), LEAST_SLOPE)
    return geodesic.edge_weight(np.sqrt(slope2), scale)


def _solve(scene: Scene, g: FloatArray, core: FloatArray, rim: FloatArray, clicks: list[Click]) -> _Solution:
    logodds = evidence.log_odds(scene, core, rim, clicks)
    linear = LAMBDA * g - REGION * logodds
    linear[~scene.frame.inside] = geodesic.HARD
    for click in clicks:
        linear[tuple(click.cells.T)] = -geodesic.HARD if click.positive else geodesic.HARD
    start = (linear <= 0).astype(np.float64)
    return _Solution(logodds, geodesic.minimise(start, np.sqrt(g), TAU, linear), g)


def _mask(frame: WorkFrame, u: FloatArray, marks: _Marks, shape: tuple[int, int]) -> BoolArray:
    """The region on the plane, never empty, with every marked pixel as it was marked."""
    mask = frame.to_plane(geodesic.heat(u, OUTLINE_TAU), shape, outside=0.0) >= 0.5
    if not mask.any():
        mask = _ellipse(frame.bounds, shape)
    mask[tuple(marks.of(True).T)] = True
    mask[tuple(marks.of(False).T)] = False
    return mask


def _ellipse(bounds: Bounds, shape: tuple[int, int]) -> BoolArray:
    row0, column0, row1, column1 = bounds
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    from_centre = (rows - (row0 + row1 - 1) / 2) / (row1 - row0), (columns - (column0 + column1 - 1) / 2) / (column1 - column0)
    return np.asarray(from_centre[0] ** 2 + from_centre[1] ** 2 <= 0.25)


def _reach(u: FloatArray, cells: NDArray[np.intp], positive: bool) -> float:
    """How far a click speaks, in cells: towards the border of what it corrects, little where it agrees with `u`."""
    wrong = (u > 0) != positive
    if not wrong[tuple(cells.T)].any():
        return LEAST_REACH
    depth = ndimage.distance_transform_edt(wrong)[tuple(cells.T)].max()
    return max(REACH * float(depth), LEAST_REACH)


def _score(frame: WorkFrame, solution: _Solution) -> float:
    """The Dice to be expected if the log-odds were right."""
    inside = frame.inside
    probability, u = expit(solution.logodds[inside]), solution.u[inside]
    return float(np.clip(2 * (probability * u).sum() / max(probability.sum() + u.sum(), 1e-9), 0, 1))


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
        found.append(_in_box(levels, bounds, marks)[0])
    return sorted(found, key=lambda c: -c.score)[:3]
