"""From a label map to the grey plane of a made-up scanner, at that scanner's own resolution. numpy, scipy, Pillow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt, gaussian_filter, uniform_filter1d
from shapes import SIDE, TISSUES, Rng, Scene, arc, smooth_noise

FloatArray = NDArray[np.float32]

CT = {"air": -0.3, "fat": 0.2, "soft": 0.53, "muscle": 0.52, "fluid": 0.42, "blood": 0.56, "bone": 1.0, "marrow": 0.68}
"""Grey values of tissues in a soft-tissue window of CT."""

T1 = {"air": 0.0, "fat": 0.95, "soft": 0.5, "muscle": 0.4, "fluid": 0.15, "blood": 0.3, "bone": 0.08, "marrow": 0.7}
T2 = {"air": 0.0, "fat": 0.75, "soft": 0.45, "muscle": 0.25, "fluid": 0.98, "blood": 0.3, "bone": 0.08, "marrow": 0.55}
US = {"air": 0.05, "fat": 0.4, "soft": 0.5, "muscle": 0.35, "fluid": 0.03, "blood": 0.06, "bone": 0.95, "marrow": 0.1}


@dataclass(frozen=True)
class Shot:
    """One picture of a scene.

    Parameters
    ----------
    plane : (rows, columns) uint8 array
    labels : (rows, columns) uint8 array
        Labels on the plane's own pixels.
    """

    plane: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def grey_table(scene: Scene, rng: Rng) -> FloatArray:
    """A grey value per label."""
    count = len(scene.tissue)
    kind = rng.choice(["ct", "t1", "t2", "us", "palette", "free"], p=[0.27, 0.1, 0.1, 0.03, 0.35, 0.15])
    if kind == "free":
        return rng.random(count, dtype=np.float32)
    known = {"ct": CT, "t1": T1, "t2": T2, "us": US}.get(str(kind))
    if known is None:
        levels = rng.random(int(rng.integers(2, 8)))
        known = {t: float(rng.choice(levels)) for t in TISSUES}
    spread = rng.choice([0.01, 0.03, 0.08, 0.15], p=[0.2, 0.4, 0.25, 0.15])
    wobble = {t: rng.normal(0, 0.05) for t in TISSUES}
    values = [known.get(t, rng.random()) + wobble[t] for t in scene.tissue]
    return (np.array(values) + rng.normal(0, spread, count)).astype(np.float32)


def resample(values: FloatArray, size: tuple[int, int], zoom: float = 1.0) -> FloatArray:
    """Triangle-filtered samples on a raster of `size`; `zoom` above 1 enlarges about the middle."""
    row, column = (_weights(n, SIDE, zoom) for n in size)
    return np.asarray(row @ values @ column.T)


def _weights(count: int, length: int, zoom: float) -> FloatArray:
    step = length / count
    at = ((np.arange(count) + 0.5) * step - length / 2) / zoom + length / 2 - 0.5
    at = np.clip(at, 0, length - 1)
    weights = np.maximum(1 - np.abs(at[:, None] - np.arange(length)[None]) / max(step * 0.8, 1.0), 0)
    return np.asarray(weights / weights.sum(1, keepdims=True), dtype=np.float32)


def nearest(labels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The labels at the centres of the pixels of a raster of `size`."""
    rows = ((np.arange(size[0]) + 0.5) * SIDE / size[0]).astype(int)
    columns = ((np.arange(size[1]) + 0.5) * SIDE / size[1]).astype(int)
    return np.asarray(labels[np.ix_(rows, columns)])


def coverage(mask: NDArray[np.bool_], size: tuple[int, int]) -> FloatArray:
    """How much of each pixel of a raster of `size` a mask on the canvas covers, 0 to 1."""
    row, column = (_shares(n) for n in size)
    return np.asarray(row @ mask.astype(np.float32) @ column.T)


@lru_cache(maxsize=64)
def _shares(count: int) -> FloatArray:
    """The part of each of `count` pixels that each sample of the canvas fills, (count, SIDE)."""
    edges = np.arange(count + 1) * (SIDE / count)
    at = np.arange(SIDE)[None]
    part = np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at)
    return np.asarray(np.maximum(part, 0) * (count / SIDE), dtype=np.float32)


def overlays(grey: FloatArray, rng: Rng) -> FloatArray:
    """Bands of ribs and soft shadows added on top, as in projection."""
    picture = Image.new("L", (SIDE, SIDE), 0)
    pen = ImageDraw.Draw(picture)
    spacing, slant = rng.uniform(14, 30), rng.uniform(-0.4, 0.9)
    turn = int(rng.integers(4))
    for side in (-1, 1):
        for top in np.arange(rng.uniform(0, 40), SIDE, spacing):
            path = arc((top, SIDE / 2), (spacing * slant * 2, SIDE * rng.uniform(0.4, 0.46)), 0, side * 2.4, 20)
            pen.line(
                [(c, r) for r, c in path],
                fill=int(rng.integers(120, 255)),
                width=int(rng.uniform(4, 10)),
                joint="curve",
            )
    bands: FloatArray = np.rot90(np.asarray(picture, dtype=np.float32) / np.float32(255), turn)
    strength = rng.uniform(0.04, 0.22) * rng.choice([1, 1, 1, -1])
    return np.asarray(grey + strength * gaussian_filter(bands, rng.uniform(0.6, 2.5)), dtype=np.float32)


def rounded(grey: FloatArray, labels: NDArray[np.uint8], scene: Scene, rng: Rng) -> FloatArray:
    """Air seen in projection: it thins out to its border, which lies in the grey outside the dark."""
    air = np.array([t == "air" for t in scene.tissue])[labels]
    if not air.any() or rng.random() < 0.15:
        return grey
    depth = distance_transform_edt(air)
    share = np.clip(depth / rng.uniform(8, 40), 0, 1) ** np.exp(rng.uniform(-0.6, 0.9))
    wall = np.float32(np.median(grey[~air])) if not air.all() else np.float32(0)
    return np.where(air, wall + share * (grey - wall), grey).astype(np.float32)


def thick(grey: FloatArray, rng: Rng) -> FloatArray:
    """Borders as in projection: a body that grows thicker inwards from a faint edge."""
    share = np.float32(rng.uniform(0.2, 0.9))
    near, far = gaussian_filter(grey, rng.uniform(0.5, 3)), gaussian_filter(grey, rng.uniform(5, 16))
    return np.asarray(share * near + (1 - share) * far, dtype=np.float32)


def soften(grey: FloatArray, rng: Rng) -> FloatArray:
    """Borders lost in places: blurred where a smooth noise says so."""
    if rng.random() < 0.4:
        blurred = gaussian_filter(grey, rng.uniform(2, 9))
        where = np.clip(smooth_noise(rng, SIDE, rng.uniform(2, 7)) * 2 + rng.uniform(-1, 1), 0, 1)
        grey = grey + where * (blurred - grey)
    return grey


def texture(labels: NDArray[np.uint8], count: int, rng: Rng) -> FloatArray:
    """Fine and coarse texture, each label with its own strength."""
    side = max(labels.shape)
    out = np.zeros(labels.shape, np.float32)
    for low, high in ((3, 12), (12, max(side / 2, 14))):
        if rng.random() < 0.6:
            strength = np.abs(rng.normal(0, rng.choice([0.02, 0.06, 0.12]), count)).astype(np.float32)
            noise = smooth_noise(rng, side, np.exp(rng.uniform(np.log(low), np.log(high))))
            out += strength[labels] * noise[: labels.shape[0], : labels.shape[1]]
    return out


def echo(grey: FloatArray, rng: Rng) -> FloatArray:
    """Fully developed speckle, wider across the beam, log compressed; shadows below some places."""
    width = (rng.uniform(0.3, 0.9), rng.uniform(0.5, 1.8))
    waves = [gaussian_filter(rng.standard_normal(grey.shape, dtype=np.float32), width) for _ in range(2)]
    amplitude = np.hypot(waves[0], waves[1])
    amplitude /= amplitude.mean() + 1e-6
    gain = rng.uniform(3, 30)
    out = np.log1p(gain * np.clip(grey, 0.01, 2) * amplitude) / np.log1p(gain)
    for _ in range(int(rng.integers(0, 4))):
        left, top = rng.integers(grey.shape[1]), rng.integers(grey.shape[0])
        shadow = np.zeros(grey.shape, np.float32)
        shadow[top:, left : left + max(int(rng.uniform(0.02, 0.15) * grey.shape[1]), 2)] = 1
        out *= 1 - rng.uniform(0.2, 0.8) * gaussian_filter(shadow, 1.5)
    return np.asarray(out, dtype=np.float32)


def noise(grey: FloatArray, rng: Rng) -> FloatArray:
    """Noise of one kind: of CT, MR (Rician), counting, speckle or none; sometimes correlated, sometimes stripes."""
    kinds = ("normal", "rician", "counts", "speckle", "ultrasound", "none")
    kind = str(rng.choice(kinds, p=[0.38, 0.2, 0.1, 0.09, 0.07, 0.16]))
    level = float(np.exp(rng.uniform(np.log(0.004), np.log(0.08))))
    field = rng.standard_normal(grey.shape, dtype=np.float32)
    if rng.random() < 0.4:
        field = gaussian_filter(field, rng.uniform(0.4, 1.2))
        field /= field.std() + 1e-6
    if kind == "normal":
        grey = grey + level * field
    elif kind == "rician":
        other = rng.standard_normal(grey.shape, dtype=np.float32)
        grey = np.hypot(grey + level * field, level * other)
    elif kind == "counts":
        grey = grey + level * 1.5 * field * np.sqrt(np.clip(grey, 0, 2))
    elif kind == "ultrasound":
        grey = echo(grey, rng)
    elif kind == "speckle":
        grey = grey * (1 + 2.5 * level * field)
    if rng.random() < 0.08:
        stripes = rng.standard_normal((1, grey.shape[1]), dtype=np.float32) * rng.uniform(0.01, 0.06)
        grey = grey + (uniform_filter1d(stripes, int(rng.integers(1, 4)), axis=1) if rng.random() < 0.5 else stripes)
    return np.asarray(grey, dtype=np.float32)


def shading(grey: FloatArray, rng: Rng) -> FloatArray:
    """A coil's or a probe's uneven gain."""
    if rng.random() < 0.5:
        side = max(grey.shape)
        field = smooth_noise(rng, side, rng.uniform(1, 3))[: grey.shape[0], : grey.shape[1]]
        grey = grey * np.exp(rng.uniform(0.05, 0.4) * field)
    return np.asarray(grey, dtype=np.float32)


def to_plane(grey: FloatArray, rng: Rng) -> NDArray[np.uint8]:
    """Inversion, gamma and a window, as uint8."""
    low, high = np.percentile(grey, (rng.uniform(0, 3), rng.uniform(97, 100)))
    kind = rng.random()
    if kind < 0.4:
        low, high = low - rng.uniform(0, 0.3), high + rng.uniform(0, 0.6)
    elif kind < 0.6:
        low, high = low - (high - low) * rng.uniform(0, 1.2), high + (high - low) * rng.uniform(0, 3)
    elif kind < 0.72:
        middle, width = rng.uniform(low, high), (high - low) * rng.uniform(0.35, 0.9)
        low, high = middle - width / 2, middle + width / 2
    out = np.clip((grey - low) / max(high - low, 1e-3), 0, 1)
    if rng.random() < 0.5:
        out = out ** np.float32(np.exp(rng.normal(0, 0.3)))
    if rng.random() < 0.15:
        out = 1 - out
    return np.asarray(out * 255, dtype=np.uint8)


def picture(scene: Scene, rng: Rng, projection: bool) -> Shot:
    """The scene as one scanner sees it."""
    look = np.arange(256, dtype=np.uint8)
    for label, other in scene.twins:
        look[label] = look[other]
    labels = look[scene.labels]
    grey = grey_table(scene, rng)[labels]
    if projection:
        grey = overlays(thick(rounded(grey, labels, scene, rng), rng), rng)
    grey = soften(grey, rng)
    pixels = SIDE / np.exp(rng.uniform(np.log(1.0), np.log(1.6 if projection else 6.0)))
    uneven = np.exp(rng.normal(0, 0.15)) if rng.random() < 0.25 else 1.0
    size = (max(round(pixels * uneven), 36), max(round(pixels / uneven), 36))
    if rng.random() < 0.7:
        grey = gaussian_filter(grey, rng.uniform(0.2, 0.8) * SIDE / max(size))
    out = resample(grey, size)
    if rng.random() < 0.25:
        share = np.float32(rng.uniform(0.2, 0.5))
        out = (1 - share) * out + share * resample(grey, size, 1 + rng.uniform(-0.08, 0.08))
    small = nearest(scene.labels, size)
    out = out + texture(look[small], len(scene.tissue), rng)
    out = noise(shading(out, rng), rng)
    if rng.random() < 0.25:
        out = gaussian_filter(out, rng.uniform(0.3, 0.9))
    return Shot(to_plane(out, rng), small)
