"""The built-in model: a geodesic active contour on the evidence of a box and points. No weights, no network.

A box with its surroundings is resampled to a fixed number of cells (`workframe`). What speaks for each cell is the
region term (`evidence`), and the region is found with the iterative convolution-thresholding method (`geodesic`). A
box gets three answers, from three hypotheses about where in it the object is; points without a box get one for each
of several sizes, of which the best are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    prompts=frozenset({PromptKind.BOX, PromptKind.POINT, PromptKind.STROKE}),
    needs_network=False,
    licence="Apache-2.0",
    about=(
        "A classical method, not a neural network: a geodesic active contour driven by the intensities in and "
        "around the box. Good on compact objects that differ from their surroundings; poor where only anatomy tells "
        "the border. Draw a box; a point alone often finds the wrong size."
    ),
    quick=True,
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

SCORE = (0.5, 0.55, -0.9)
"""The score is SCORE[0] + SCORE[1] e + SCORE[2] b, between 0 and 1: e is the Dice to be expected if the log-odds were
right, b how far the region stays from a side of the box (a box is drawn around its object). A least squares fit."""

FLAT_SCORE = 0.2
"""The score of a mask in a box that shows nothing is at most this."""

POINT_SCORE = (0.4, 1.35)
"""Without a box: POINT_SCORE[0] e + POINT_SCORE[1] s, between 0 and 1, with s how much more edge (1 - g) there is along
the outline than within. A least squares fit."""

MOST_CANDIDATES = 3

LEAST_GROWTH = 3.0
"""An object around a point is thought to reach at least this far, in pixels."""

POINT_SIZES = (0.03, 0.06, 0.12, 0.24)
"""How far objects around points are thought to reach, as parts of the geometric mean of the plane's sides."""


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
class _Hypothesis:
    """Where the object may be in a frame: what its evidence is computed from. All arrays (n, m) but the scene's."""

    scene: Scene
    g: FloatArray
    core: FloatArray
    rim: FloatArray


@dataclass(frozen=True)
class _Solution:
    """Log-odds and characteristic function on the cells, both (n, m)."""

    logodds: FloatArray
    u: FloatArray


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
        around it and the positive pixels; it is empty only if negative pixels cover all of that.

        Raises
        ------
        UnsupportedError, PromptError
            The prompts cannot be used, or contradict each other.
        ModelError
            The embedding is another model's.
        """
        if embedding.model != self.spec.digest:
            raise ModelError(f"The embedding is of {embedding.model}, not {self.spec.digest}; encode the plane again.")
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
    row0, column0 = np.minimum(bounds[:2], pixels.min(axis=0))
    row1, column1 = np.maximum(bounds[2:], pixels.max(axis=0) + 1)
    return int(row0), int(column0), int(row1), int(column1)


def _in_box(levels: list[NDArray[np.float32]], bounds: Bounds, marks: _Marks) -> list[_Candidate]:
    """Masks of the hypotheses about a box, the best first.

    The best is chosen without the clicks, which then correct it: a click never makes the mask jump to another.
    """
    frame = frame_of(levels, bounds)
    hypotheses = _hypotheses(frame)
    scores = [_score(frame, _solve(h, ())) for h in hypotheses]
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    best, clicks = _corrected(hypotheses[order[0]], marks)
    found = [best, *(_solve(hypotheses[i], clicks) for i in order[1:])]
    most = FLAT_SCORE if hypotheses[0].scene.flat else 1.0
    return [_Candidate(_mask(frame, s.u, marks, levels[0].shape), min(_score(frame, s), most)) for s in found]


def _hypotheses(frame: WorkFrame) -> list[_Hypothesis]:
    """The object fills the box; it is smaller, at its centre; it is what the first leaves of the box."""
    core, rim = evidence.centre(frame, 1.0), evidence.surroundings(frame)
    filling = _Hypothesis(Scene.of(frame, evidence.place_terms(frame, 1.0)), _edges(frame), core, rim)
    terms = evidence.place_terms(frame, SMALLER)
    smaller = replace(filling, scene=replace(filling.scene, terms=terms), core=evidence.centre(frame, SMALLER))
    taken = _solve(filling, ()).u
    rest = frame.inside & (taken == 0)
    if not rest.any():
        return [filling, smaller]
    return [filling, smaller, replace(filling, core=rest.astype(np.float64), rim=rim + taken)]


def _corrected(hypothesis: _Hypothesis, marks: _Marks) -> tuple[_Solution, list[Click]]:
    """Solve with the clicks, each of which corrects what those before it led to."""
    clicks: list[Click] = []
    solution = _solve(hypothesis, clicks)
    for pixels, positive in zip(marks.pixels, marks.positive, strict=True):
        cells = hypothesis.scene.frame.cells_of(pixels)
        if len(cells):
            clicks.append(Click(cells, positive, _reach(solution.u, cells, positive)))
            solution = _solve(hypothesis, clicks)
    return solution, clicks


def _edges(frame: WorkFrame) -> FloatArray:
    """The edge weight g, (n, m); edges count as such above the root mean square of the slope in the box."""
    smooth = ndimage.gaussian_filter(frame.values, (EDGE_SIGMA, EDGE_SIGMA, 0), mode="nearest")
    slope2 = np.zeros(frame.shape)
    for axis in (0, 1):
        if frame.shape[axis] > 1:
            slope2 += (np.gradient(smooth, axis=axis) ** 2).sum(axis=2)
    scale = max(float(np.sqrt(slope2[frame.inside].mean())), LEAST_SLOPE)
    return geodesic.edge_weight(np.sqrt(slope2), scale)


def _solve(hypothesis: _Hypothesis, clicks: Sequence[Click]) -> _Solution:
    logodds = evidence.log_odds(hypothesis.scene, hypothesis.core, hypothesis.rim, clicks)
    linear = LAMBDA * hypothesis.g - REGION * logodds
    linear[~hypothesis.scene.frame.inside] = geodesic.HARD
    # where both signs share a cell the positive one holds it, so that a seed is never lost; the pixels are set later
    for click in sorted(clicks, key=lambda c: c.positive):
        linear[tuple(click.cells.T)] = -geodesic.HARD if click.positive else geodesic.HARD
    start = (linear <= 0).astype(np.float64)
    return _Solution(logodds, geodesic.minimise(start, np.sqrt(hypothesis.g), TAU, linear))


def _mask(frame: WorkFrame, u: FloatArray, marks: _Marks, plane_shape: tuple[int, ...]) -> BoolArray:
    """The region on the plane with every marked pixel as it was marked; where that leaves nothing, an ellipse."""
    row0, column0, row1, column1 = frame.bounds
    region = frame.to_plane(geodesic.heat(u, OUTLINE_TAU)) >= 0.5
    plane = np.zeros(plane_shape[:2], dtype=bool)
    for inside in (region, _ellipse(*region.shape)):
        plane[row0:row1, column0:column1] = inside
        plane[tuple(marks.of(True).T)] = True
        plane[tuple(marks.of(False).T)] = False
        if plane.any():
            break
    return plane


def _ellipse(height: int, width: int) -> BoolArray:
    rows, columns = np.ogrid[1 - height : height : 2, 1 - width : width : 2]
    return np.asarray((rows / height) ** 2 + (columns / width) ** 2 <= 1)


def _reach(u: FloatArray, cells: NDArray[np.intp], positive: bool) -> float:
    """How far a click speaks, in cells: towards the border of what it corrects, little where it agrees with `u`."""
    wrong = (u > 0) != positive
    if not wrong[tuple(cells.T)].any():
        return LEAST_REACH
    depth = ndimage.distance_transform_edt(wrong)[tuple(cells.T)].max()
    return max(REACH * float(depth), LEAST_REACH)


def _score(frame: WorkFrame, solution: _Solution) -> float:
    """Estimate of the Dice of a mask in a box: see SCORE."""
    gap = _widest_gap(frame.inside, solution.u > 0)
    return float(np.clip(SCORE[0] + SCORE[1] * _expected_dice(frame, solution) + SCORE[2] * gap, 0, 1))


def _point_score(frame: WorkFrame, solution: _Solution, g: FloatArray) -> float:
    """Estimate of the Dice of a mask around points: see POINT_SCORE."""
    if not solution.u.any():
        return 0.0
    soft = geodesic.heat(solution.u, 1.0)
    outline = soft * (1 - soft)
    edge = ((1 - g) * outline).sum() / outline.sum() - (1 - g)[solution.u > 0].mean()
    return float(np.clip(POINT_SCORE[0] * _expected_dice(frame, solution) + POINT_SCORE[1] * edge, 0, 1))


def _expected_dice(frame: WorkFrame, solution: _Solution) -> float:
    """The Dice to be expected if the log-odds were right (the ratio of the expectations)."""
    probability = expit(solution.logodds[frame.inside])
    both = (probability * solution.u[frame.inside]).sum()
    return float(2 * both / (probability.sum() + solution.u.sum()))


def _widest_gap(inside: BoolArray, region: BoolArray) -> float:
    """How far the region is from the side of the box that it misses most, as a part of the box's extent; 0 to 1."""
    if not region.any():
        return 1.0
    gaps = []
    for axis in (0, 1):
        box, hit = np.flatnonzero(inside.any(axis=axis)), np.flatnonzero(region.any(axis=axis))
        gaps += [(hit[0] - box[0]) / len(box), (box[-1] - hit[-1]) / len(box)]
    return float(max(gaps))


def _around_points(levels: list[NDArray[np.float32]], marks: _Marks) -> list[_Candidate]:
    """Masks of several sizes around the positive pixels, the best first."""
    shape = levels[0].shape[0], levels[0].shape[1]
    pixels = marks.of(True)
    found = []
    for part in POINT_SIZES:
        grow = max(part * float(np.sqrt(shape[0] * shape[1])), LEAST_GROWTH)
        start = np.maximum(pixels.min(axis=0) - round(grow), 0)
        stop = np.minimum(pixels.max(axis=0) + 1 + round(grow), shape)
        frame = frame_of(levels, (int(start[0]), int(start[1]), int(stop[0]), int(stop[1])))
        distance = evidence.distance_to(frame, frame.cells_of(pixels)) / grow
        scene = Scene.of(frame, evidence.round_terms(distance))
        core, rim = evidence.near_to(frame, distance), np.where(frame.inside, 0.0, 1.0)
        hypothesis = _Hypothesis(scene, _edges(frame), core, rim)
        solution = _corrected(hypothesis, marks)[0]
        mask = _mask(frame, solution.u, marks, shape)
        found.append(_Candidate(mask, _point_score(frame, solution, hypothesis.g)))
    return sorted(found, key=lambda c: -c.score)[:MOST_CANDIDATES]
