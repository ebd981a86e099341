"""Outlines of synthetic structures, and the canvas that they are painted on. numpy and Pillow.

An outline is a (k, 2) array of (row, column) vertices on the canvas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Outline = NDArray[np.float64]
Rng = np.random.Generator

SIDE = 256
"""Side of the canvas in pixels."""

TISSUES = ("air", "fat", "soft", "muscle", "fluid", "blood", "bone", "marrow", "any")


def smooth_noise(rng: Rng, side: int, cells: float) -> NDArray[np.float32]:
    """Cubic noise, (side, side), about unit deviation, with about `cells` bumps along a side."""
    count = max(int(cells), 1) + 3
    coarse = rng.standard_normal((count, count), dtype=np.float32)
    at = np.linspace(1, count - 2, side, endpoint=False, dtype=np.float32) + np.float32(rng.random() * 0.9)
    distance = np.abs(at[:, None] - np.arange(count, dtype=np.float32)[None])
    near = np.maximum(1 - distance / 2, 0)
    weights = near * near * (3 - 2 * near)
    weights /= np.sqrt((weights**2).sum(1, keepdims=True))
    return np.asarray(weights @ coarse @ weights.T)


def blob(
    rng: Rng, centre: Sequence[float], radii: Sequence[float], angle: float, rough: float = 0.1, bend: float = 0.0
) -> Outline:
    """A closed outline: a superellipse with wavy radius, bent along its first axis."""
    t = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    power = 2 / (2.0 if rng.random() < 0.5 else rng.uniform(1.5, 4.0))
    u = np.sign(np.cos(t)) * np.abs(np.cos(t)) ** power
    v = np.sign(np.sin(t)) * np.abs(np.sin(t)) ** power
    radius = np.ones_like(t)
    for k in range(1, 7):
        radius += rough * rng.standard_normal() / k**0.7 * np.cos(k * t + rng.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.25, 2.0)
    u, v = u * radius, v * radius
    along, across = u * radii[0], v * radii[1] + bend * radii[0] * (u**2 - 0.4)
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([centre[0] + c * along - s * across, centre[1] + s * along + c * across], 1)


def polygon(rng: Rng, centre: Sequence[float], radii: Sequence[float], angle: float) -> Outline:
    """A few corners around `centre`, corners cut once so that they are a little round."""
    k = int(rng.integers(3, 9))
    t = np.sort(rng.uniform(0, 2 * np.pi, k))
    r = rng.uniform(0.6, 1.1, k)
    u, v = r * np.cos(t) * radii[0], r * np.sin(t) * radii[1]
    c, s = np.cos(angle), np.sin(angle)
    corners = np.stack([centre[0] + c * u - s * v, centre[1] + s * u + c * v], 1)
    after = np.roll(corners, -1, 0)
    return np.stack([0.75 * corners + 0.25 * after, 0.25 * corners + 0.75 * after], 1).reshape(-1, 2)


def inset(outline: Outline, depth: float) -> Outline:
    """The outline moved inwards by `depth` pixels along its normals (roughly)."""
    ahead = np.roll(outline, -1, 0) - np.roll(outline, 1, 0)
    normal = np.stack([ahead[:, 1], -ahead[:, 0]], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    r, c = outline.T
    turn = np.sum(r * np.roll(c, -1) - c * np.roll(r, -1))
    return np.asarray(outline - np.sign(turn) * depth * normal)


def wander(rng: Rng, start: Sequence[float], heading: float, step: float, count: int, curl: float) -> Outline:
    """An open path with persistent heading."""
    turns = np.cumsum(rng.normal(0, curl, count)) + rng.normal(0, curl / 2) * np.arange(count) / 2
    path = np.stack([np.cos(heading + turns), np.sin(heading + turns)], 1) * step
    return np.asarray(np.array(start) + np.cumsum(path, 0))


def arc(centre: Sequence[float], radii: Sequence[float], start: float, end: float, count: int = 14) -> Outline:
    """A piece of an ellipse as an open path."""
    t = np.linspace(start, end, count)
    return np.stack([centre[0] + radii[0] * np.cos(t), centre[1] + radii[1] * np.sin(t)], 1)


@dataclass
class Warp:
    """A smooth displacement shared by all structures of a scene."""

    waves: NDArray[np.float64]

    @classmethod
    def draw(cls, rng: Rng, strength: float) -> Warp:
        """Four random waves of about `strength` pixels."""
        wave_numbers = rng.normal(0, 2.2 / SIDE * np.pi, (4, 2))
        phases = rng.uniform(0, 2 * np.pi, (4, 1))
        amplitudes = rng.normal(0, strength / 2, (4, 2))
        return cls(np.concatenate([wave_numbers, phases, amplitudes], 1))

    def __call__(self, points: Outline) -> Outline:
        """The points, displaced."""
        phase = points @ self.waves[:, :2].T + self.waves[:, 2]
        return np.asarray(points + np.sin(phase) @ self.waves[:, 3:])


@dataclass
class Scene:
    """A label map under construction.

    `tissue[i]` is the tissue of label i; label 0 is what surrounds everything. `twins` are pairs of labels of the very
    same grey and texture, so that nothing shows the border between them. `targets` are (labels, weight): sets of
    labels that a person might outline as one thing.
    """

    rng: Rng
    warp: Warp
    tissue: list[str] = field(default_factory=lambda: ["air"])
    targets: list[tuple[tuple[int, ...], float]] = field(default_factory=list)
    twins: list[tuple[int, int]] = field(default_factory=list)
    origin: str = ""
    image: Image.Image = field(default_factory=lambda: Image.new("L", (SIDE, SIDE), 0))

    def __post_init__(self) -> None:
        self.pen = ImageDraw.Draw(self.image)

    @property
    def full(self) -> bool:
        """Whether no more labels fit."""
        return len(self.tissue) >= 250

    def label(self, tissue: str) -> int:
        """A new label of `tissue` (the last one again when all are used)."""
        if not self.full:
            self.tissue.append(tissue)
        return len(self.tissue) - 1

    def fill(self, outline: Outline, tissue: str, weight: float = 1.0, label: int | None = None) -> int:
        """Paint an outline; it is a target by itself when `weight` is above 0."""
        label = self.label(tissue) if label is None else label
        points = [(float(c), float(r)) for r, c in self.warp(outline)]
        self.pen.polygon(points, fill=label)
        if weight > 0:
            self.targets.append(((label,), weight))
        return label

    def line(self, path: Outline, width: float, tissue: str, weight: float = 1.0, label: int | None = None) -> int:
        """Paint an open path of some width with round ends."""
        label = self.label(tissue) if label is None else label
        points = [(float(c), float(r)) for r, c in self.warp(path)]
        self.pen.line(points, fill=label, width=max(round(width), 1), joint="curve")
        for x, y in (points[0], points[-1]):
            h = width / 2
            self.pen.ellipse([x - h, y - h, x + h, y + h], fill=label)
        if weight > 0:
            self.targets.append(((label,), weight))
        return label

    def shell(
        self, outline: Outline, depth: float, outer: str, inner: str, weights: Sequence[float]
    ) -> tuple[int, int]:
        """A rim and what it holds; `weights` of the whole, the inside and the rim as targets."""
        a = self.fill(outline, outer, 0)
        b = self.fill(inset(outline, depth), inner, 0)
        for labels, weight in zip(((a, b), (b,), (a,)), weights, strict=True):
            if weight > 0:
                self.targets.append((labels, weight))
        return a, b

    def unite(self, *labels: int, weight: float = 1.0) -> None:
        """Several labels as one target."""
        self.targets.append((tuple(labels), weight))

    @property
    def labels(self) -> NDArray[np.uint8]:
        """The label map, (SIDE, SIDE)."""
        return np.array(self.image)

    def replace(self, labels: NDArray[np.uint8]) -> None:
        """Go on with another label map."""
        self.image = Image.fromarray(labels)
        self.pen = ImageDraw.Draw(self.image)
