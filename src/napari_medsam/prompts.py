"""What a user says about one object on one plane: frozen values in (row, column) pixels of that plane."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_medsam.errors import PromptError

EDGE = 1e-3
"""Corners closer than this to the edge of a pixel (in pixels) count as on it; Shapes layers store float32."""


class PromptKind(Enum):
    """The kinds of prompt that a model may take."""

    BOX = "box"
    POINT = "point"
    STROKE = "stroke"
    MASK = "mask"


@dataclass(frozen=True)
class Point:
    """A click: a position in pixels, the centre of a pixel at the integer."""

    row: float
    column: float
    positive: bool = True

    @property
    def pixel(self) -> tuple[int, int]:
        """The (row, column) of the pixel that holds the point."""
        return int(np.floor(self.row + 0.5)), int(np.floor(self.column + 0.5))


@dataclass(frozen=True)
class Box:
    """A half-open range of pixels: rows `row0` to `row1 - 1`, columns `column0` to `column1 - 1`."""

    row0: int
    column0: int
    row1: int
    column1: int

    def __post_init__(self) -> None:
        if self.row1 - self.row0 < 2 or self.column1 - self.column0 < 2:
            size = f"{max(self.row1 - self.row0, 0)} x {max(self.column1 - self.column0, 0)}"
            raise PromptError(f"The box covers {size} pixels; draw one of at least 2 x 2.")

    @classmethod
    def around(cls, plane_points: ArrayLike) -> Box:
        """The box of all pixels that the bounds of (k, 2) plane positions touch."""
        points = np.asarray(plane_points, dtype=np.float64)
        if points.ndim != 2 or not len(points):
            raise PromptError("The box has no corners; delete it and draw it again.")
        if not np.isfinite(points).all():
            raise PromptError("The box has a corner at NaN or infinity; delete it and draw it again.")
        row0, column0 = np.floor(points.min(axis=0) + 0.5 + EDGE)
        row1, column1 = np.ceil(points.max(axis=0) + 0.5 - EDGE)
        return cls(int(row0), int(column0), int(row1), int(column1))

    @property
    def outline(self) -> NDArray[np.float64]:
        """The four corners on the outer edges of the pixels, (4, 2), going round; inverse of `around`."""
        top, left, bottom, right = self.row0 - 0.5, self.column0 - 0.5, self.row1 - 0.5, self.column1 - 0.5
        return np.array([[top, left], [top, right], [bottom, right], [bottom, left]])

    @property
    def slices(self) -> tuple[slice, slice]:
        """What selects the box from a plane."""
        return slice(self.row0, self.row1), slice(self.column0, self.column1)

    def clipped(self, shape: tuple[int, int]) -> Box:
        """The part of the box inside a plane of `shape`; PromptError when there is none."""
        rows = max(self.row0, 0), min(self.row1, shape[0])
        columns = max(self.column0, 0), min(self.column1, shape[1])
        if rows[0] >= rows[1] or columns[0] >= columns[1]:
            size = f"{shape[0]} x {shape[1]}"
            raise PromptError(f"The box lies outside the image of {size} pixels; delete it and draw it on the image.")
        return Box(rows[0], columns[0], rows[1], columns[1])


@dataclass(frozen=True)
class Stroke:
    """A drawn line through plane positions, one pixel wide."""

    points: tuple[tuple[float, float], ...]
    positive: bool = True

    def __post_init__(self) -> None:
        if not self.points or not np.isfinite(np.array(self.points, dtype=np.float64)).all():
            raise PromptError("A stroke has no points, or one at NaN or infinity; delete it and draw it again.")

    def pixels(self, shape: tuple[int, int]) -> NDArray[np.intp]:
        """The (k, 2) pixels of a plane of `shape` that the line passes through."""
        at = np.array(self.points, dtype=np.float64)
        if len(at) > 1:
            at = np.concatenate([_between(a, b) for a, b in itertools.pairwise(at)])
        pixels = np.unique(np.floor(at + 0.5).astype(np.intp), axis=0)
        inside = ((pixels >= 0) & (pixels < shape)).all(axis=1)
        return np.asarray(pixels[inside])


ASSUMED_RATIO = 0.75
"""The short axis of a lesion as a part of the long one, where only the long one was drawn: an assumption."""

LINE_MARGIN = 0.1
"""A box around a drawn lesion is larger by this part of its size, in all: lines are drawn from border to border, and
lesions are no ellipses."""

Ends = tuple[tuple[float, float], tuple[float, float]]
"""The two (row, column) ends of a straight line, in pixels."""


@dataclass(frozen=True)
class Line:
    """A RECIST measurement: the long axis of a lesion on one slice, and its short axis where that was drawn.

    Parameters
    ----------
    long : two (row, column) ends
        In pixels.
    short : two (row, column) ends, or ()
        Across the long axis; empty when only the long axis was drawn.

    Raises
    ------
    PromptError
        An end is not finite, or an axis has no length.
    """

    long: Ends
    short: Ends | tuple[()] = ()

    def __post_init__(self) -> None:
        for ends in (self.long, self.short):
            at = np.array(ends, dtype=np.float64)
            if len(at) and (at.shape != (2, 2) or not np.isfinite(at).all() or (at[0] == at[1]).all()):
                raise PromptError("A line has two different ends at finite places; delete it and draw it again.")

    def lengths(self, pixel: tuple[float, float]) -> tuple[float, float]:
        """Length of the long and of the short axis in mm, on pixels of a size in mm, (rows, columns).

        Where no short axis was drawn it is ASSUMED_RATIO times the long one.
        """
        long = _length(self.long, pixel)
        return long, _length(self.short, pixel) if self.short else ASSUMED_RATIO * long

    def box(self, pixel: tuple[float, float]) -> Box:
        """The box of the lesion.

        An ellipse has its centre in the middle of the long axis `u` and semi-axes `u / 2` and `v / 2`, where `v` is
        perpendicular to `u` (in mm) and as long as the short axis. Its bounding box reaches

            h_i = sqrt(u_i ** 2 + v_i ** 2) / 2

        from the centre along axis i (rows, columns). It is widened to hold the ends of the short axis, which need not
        cross in the middle, then enlarged by LINE_MARGIN of its size, and rounded outwards to whole pixels.

        Parameters
        ----------
        pixel : (float, float)
            Size of a pixel along rows and columns, in mm.

        Raises
        ------
        PromptError
            The lesion is smaller than 2 x 2 pixels.
        """
        size = np.asarray(pixel, dtype=np.float64)
        ends = np.array(self.long, dtype=np.float64) * size
        along = ends[1] - ends[0]
        long, short = self.lengths(pixel)
        across = np.array([-along[1], along[0]]) * (short / long)
        half, centre = np.hypot(along, across) / 2, ends.mean(axis=0)
        corners = np.array([centre - half, centre + half, *(np.array(self.short).reshape(-1, 2) * size)])
        low, high = corners.min(axis=0), corners.max(axis=0)
        by = (high - low) * LINE_MARGIN / 2
        return Box.around(np.array([low - by, high + by]) / size)

    def prompts(self, pixel: tuple[float, float], takes: frozenset[PromptKind]) -> Prompts:
        """What a model that was made for the kinds `takes` is asked with; `pixel` as in `box`.

        A box, where it takes one, and the middle of the long axis as a point, where it takes points; else strokes along
        the axes; else the box, for which there may be a stand-in.
        """
        (row0, column0), (row1, column1) = self.long
        middle = (Point((row0 + row1) / 2, (column0 + column1) / 2),)
        points = middle if PromptKind.POINT in takes else ()
        if not points and PromptKind.BOX not in takes and PromptKind.STROKE in takes:
            return Prompts(strokes=tuple(Stroke(tuple(ends)) for ends in (self.long, self.short) if ends))
        box = self.box(pixel) if PromptKind.BOX in takes or not points else None
        return Prompts(box, points)

    def transposed(self) -> Line:
        """The same line with rows and columns exchanged."""
        long, short = ((tuple((c, r) for r, c in ends)) for ends in (self.long, self.short))
        return Line(long, short)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Logits:
    """What a model's decoder said before it was made a mask: finer to start from, but for that model alone.

    Parameters
    ----------
    model : str
        Digest of the model.
    shape : (int, int)
        Rows and columns of the plane.
    values : (m, m) float32 array
        On the decoder's own grid.
    """

    model: str
    shape: tuple[int, int]
    values: NDArray[np.float32] = field(repr=False)


class MaskPrompt:
    """A mask to start from: what the object is so far, by an earlier answer, the brush or another tool.

    Equal to another of the same pixels and logits. The array is copied and cannot be written to.

    Parameters
    ----------
    pixels : (rows, columns) bool array
        On the grid of the whole plane.
    logits : Logits, optional
        Those that the mask was made of; None where it comes from elsewhere. Other models see the pixels.
    """

    def __init__(self, pixels: ArrayLike, logits: Logits | None = None) -> None:
        held = np.array(pixels, dtype=bool)
        if held.ndim != 2 or not held.any():
            raise PromptError("A mask prompt needs the pixels of one plane, with some of them on the object.")
        held.flags.writeable = False
        self.pixels: NDArray[np.bool_] = held
        self.logits = logits
        said = None if logits is None else (logits.model, logits.values.tobytes())
        self._key = (held.shape, np.packbits(held).tobytes(), said)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MaskPrompt) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"MaskPrompt({np.count_nonzero(self.pixels)} pixels of {self.pixels.shape})"


@dataclass(frozen=True)
class Prompts:
    """All prompts of one object on one plane."""

    box: Box | None = None
    points: tuple[Point, ...] = ()
    strokes: tuple[Stroke, ...] = ()
    mask: MaskPrompt | None = None

    def __bool__(self) -> bool:
        return bool(self.kinds)

    @property
    def kinds(self) -> frozenset[PromptKind]:
        """Which kinds are present."""
        present = {
            PromptKind.BOX: self.box is not None,
            PromptKind.POINT: bool(self.points),
            PromptKind.STROKE: bool(self.strokes),
            PromptKind.MASK: self.mask is not None,
        }
        return frozenset(kind for kind, there in present.items() if there)

    def fitted(self, shape: tuple[int, int]) -> Prompts:
        """The same prompts checked against a plane of `shape`: the box clipped, all else inside.

        Raises
        ------
        PromptError
            Nothing was drawn, nothing says where the object is, or a prompt lies outside the image.
        """
        if not self:
            raise PromptError("There is no prompt on this slice. Draw a box, or click a point on the object.")
        signs = [p.positive for p in self.points] + [s.positive for s in self.strokes]
        if self.box is None and self.mask is None and not any(signs):
            raise PromptError("Only negative prompts are here. Add a box, or a positive point on the object.")
        for point in self.points:
            _require_inside(point, shape)
        for stroke in self.strokes:
            if not len(stroke.pixels(shape)):
                raise PromptError("A stroke lies outside the image; delete it and draw it on the image.")
        if self.mask is not None and self.mask.pixels.shape != shape:
            raise PromptError(f"The mask prompt has {self.mask.pixels.shape} pixels and the plane {shape}.")
        return self if self.box is None else replace(self, box=self.box.clipped(shape))

    def transposed(self) -> Prompts:
        """The same prompts with rows and columns exchanged."""
        box = self.box and Box(self.box.column0, self.box.row0, self.box.column1, self.box.row1)
        points = tuple(Point(p.column, p.row, p.positive) for p in self.points)
        strokes = tuple(Stroke(tuple((c, r) for r, c in s.points), s.positive) for s in self.strokes)
        mask = self.mask and MaskPrompt(self.mask.pixels.T)
        return Prompts(box, points, strokes, mask)


def _require_inside(point: Point, shape: tuple[int, int]) -> None:
    if not np.isfinite((point.row, point.column)).all():
        raise PromptError("A point lies at NaN or infinity; delete it and click again.")
    row, column = point.pixel
    if not (0 <= row < shape[0] and 0 <= column < shape[1]):
        raise PromptError(
            f"The point at row {point.row:.1f}, column {point.column:.1f} lies outside the image of "
            f"{shape[0]} x {shape[1]} pixels; delete it or move it onto the image."
        )


def _length(ends: Ends, pixel: tuple[float, float]) -> float:
    (row0, column0), (row1, column1) = ends
    return float(np.hypot((row1 - row0) * pixel[0], (column1 - column0) * pixel[1]))


def _between(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    steps = int(np.ceil(np.abs(b - a).max() * 2)) + 1
    return a + (b - a) * np.linspace(0, 1, max(steps, 2))[:, None]
