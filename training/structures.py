"""Single structures of free form, and where they lie: the vocabulary of all layouts."""

from __future__ import annotations

import numpy as np
from shapes import SIDE, TISSUES, Rng, Scene, blob, inset, polygon

Pair = tuple[float, float]
KINDS = ("plain", "rim", "part", "nested", "mottled", "crescent")


def tissue(rng: Rng) -> str:
    """Any tissue."""
    return str(TISSUES[int(rng.integers(len(TISSUES)))])


def log_uniform(rng: Rng, low: float, high: float) -> float:
    """A number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def place(rng: Rng) -> Pair:
    """Somewhere on the canvas, not at its very edge."""
    return float(rng.uniform(0.05, 0.95) * SIDE), float(rng.uniform(0.05, 0.95) * SIDE)


def random_outline(scene: Scene, centre: Pair, size: float) -> np.ndarray:
    """A compact, long, bent or angular outline of about `size` pixels radius."""
    rng = scene.rng
    aspect = log_uniform(rng, 1, 4) if rng.random() < 0.4 else rng.uniform(1, 1.6)
    radii = (size * aspect**0.5, size / aspect**0.5)
    angle = float(rng.uniform(0, 2 * np.pi))
    if rng.random() < 0.12:
        return polygon(rng, centre, radii, angle)
    bend = float(rng.normal(0, 0.5)) if rng.random() < 0.35 else 0.0
    return blob(rng, centre, radii, angle, float(rng.choice([0.0, 0.05, 0.1, 0.18])), bend)


def halo(scene: Scene, outline: np.ndarray, share: float) -> None:
    """Now and then a thin sheet of fat or fluid about what comes next, which parts it from its like."""
    if scene.rng.random() < share:
        kind = str(scene.rng.choice(["fat", "fluid", "any"], p=[0.7, 0.15, 0.15]))
        scene.fill(inset(outline, -log_uniform(scene.rng, 1.0, 6.0)), kind, 0)


def structure(scene: Scene, centre: Pair, size: float, kind: str | None = None) -> None:
    """One structure: plain, with a rim, with a part inside, nested thrice, or mottled."""
    rng = scene.rng
    outline = random_outline(scene, centre, size)
    halo(scene, outline, 0.12)
    kind = kind or str(rng.choice(KINDS, p=[0.4, 0.2, 0.13, 0.1, 0.1, 0.07]))
    if kind == "plain":
        scene.fill(outline, tissue(rng), 1.0)
    elif kind == "crescent":
        whole = scene.fill(outline, tissue(rng), 1.5)
        shift = rng.uniform(0.15, 0.6, 2) * size * rng.choice([-1, 1], 2)
        bite = random_outline(scene, (centre[0] + shift[0], centre[1] + shift[1]), size * rng.uniform(0.6, 1.0))
        inside(scene, whole, bite)
    elif kind == "rim":
        scene.shell(outline, rng.uniform(0.08, 0.35) * size, tissue(rng), tissue(rng), (1.0, 0.3, 0.3))
    elif kind == "nested":
        a, b = scene.shell(outline, rng.uniform(0.1, 0.3) * size, tissue(rng), tissue(rng), (0.6, 0.0, 0.3))
        c = scene.fill(inset(outline, rng.uniform(0.4, 0.6) * size), tissue(rng), 0.3)
        scene.unite(a, b, c)
        scene.unite(b, c, weight=0.4)
    else:
        whole = scene.fill(outline, tissue(rng), 0)
        parts = [whole]
        for _ in range(1 if kind == "part" else int(rng.integers(2, 6))):
            at = np.array(centre) + rng.normal(0, 0.35 * size, 2)
            parts.append(inside(scene, whole, random_outline(scene, (at[0], at[1]), size * rng.uniform(0.12, 0.45))))
        scene.unite(*parts, weight=1.0)
        scene.unite(whole, weight=0.2)


def inside(scene: Scene, host: int, outline: np.ndarray) -> int:
    """Paint an outline only where `host` is."""
    before = scene.labels
    label = scene.fill(outline, tissue(scene.rng), 0.15)
    after = scene.labels
    scene.replace(np.where((after == label) & (before != host), before, after))
    return label


def lesion(scene: Scene, at: Pair, size: float) -> None:
    """An irregular mass: alone, with a core, or in a swelling."""
    rng = scene.rng
    radii = (size * rng.uniform(0.7, 1.3), size * rng.uniform(0.7, 1.3))
    parts = []
    if rng.random() < 0.4:
        parts.append(scene.fill(blob(rng, at, (radii[0] * 1.5, radii[1] * 1.4), 0, 0.2), tissue(rng), 0.2))
    mass = [scene.fill(blob(rng, at, radii, 0, rng.uniform(0.05, 0.25)), tissue(rng), 0)]
    for _ in range(int(rng.integers(0, 4))):
        spot = np.array(at) + rng.normal(0, 0.35 * size, 2)
        mass.append(inside(scene, mass[0], blob(rng, (spot[0], spot[1]), (radii[0] * 0.45, radii[1] * 0.35), 0, 0.2)))
    scene.unite(*mass, weight=2.0)
    scene.unite(*parts, *mass, weight=0.8)
