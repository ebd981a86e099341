"""Parts of a body, drawn into a Scene: bones, the trunk, organs with what is inside them."""

from __future__ import annotations

import numpy as np
from shapes import SIDE, Scene, arc, blob, inset, wander
from structures import Pair, halo, inside, random_outline


def bone(scene: Scene, outline: np.ndarray, wall: float, weight: float = 1.2) -> None:
    """A bright rim with marrow inside; people outline the whole."""
    scene.shell(outline, wall, "bone", "marrow", (weight, 0.08, 0.04))


def vertebra(scene: Scene, at: Pair, size: float) -> None:
    """Body, arch with canal and cord, and processes; the union is a target."""
    rng = scene.rng
    first = len(scene.tissue)
    arch = (at[0] + 1.25 * size, at[1])
    for side in (-1, 1):
        path = [at, (at[0] + 1.1 * size, at[1] + side * 0.8 * size), (at[0] + size * 1.2, at[1] + side * size * 1.5)]
        scene.line(np.array(path), size * rng.uniform(0.25, 0.5), "bone", 0)
    scene.line(np.array([arch, (at[0] + size * rng.uniform(1.9, 2.6), at[1])]), size * rng.uniform(0.2, 0.4), "bone", 0)
    scene.fill(blob(rng, arch, (0.75 * size, 0.95 * size), 0, 0.05), "bone", 0)
    body = blob(rng, at, (size * rng.uniform(0.75, 1), size * rng.uniform(0.95, 1.3)), 0, 0.05)
    scene.fill(body, "bone", 0)
    scene.fill(inset(body, size * rng.uniform(0.08, 0.2)), "marrow", 0.5)
    bones = range(first, len(scene.tissue))
    canal = blob(rng, arch, (0.45 * size, 0.55 * size), 0, 0.05)
    fluid, cord = scene.shell(canal, size * rng.uniform(0.1, 0.25), "fluid", "soft", (0.5, 0.8, 0.0))
    scene.unite(*bones, weight=2.5)
    scene.unite(*bones, fluid, cord, weight=0.2)


def ribs(scene: Scene, centre: Pair, radii: Pair, count: int) -> None:
    """Slanted pieces of rim around the trunk."""
    rng = scene.rng
    for start in np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.normal(0, 0.1, count):
        width = rng.uniform(4, 9)
        span = rng.uniform(0.06, 0.35)
        path = arc(
            centre, (radii[0] * rng.uniform(0.95, 1.02), radii[1] * rng.uniform(0.95, 1.02)), start, start + span
        )
        a = scene.line(path, width, "bone", 0.0)
        b = scene.line(path[1:-1], width * rng.uniform(0.2, 0.6), "marrow", 0)
        scene.unite(a, b, weight=0.9)


def trunk(scene: Scene) -> tuple[Pair, Pair]:
    """Skin, fat, muscle wall and cavity; returns centre and radii of the cavity."""
    rng = scene.rng
    centre = (SIDE / 2 + rng.normal(0, 6), SIDE / 2 + rng.normal(0, 6))
    radii = (rng.uniform(70, 110), rng.uniform(88, 126))
    scene.fill(blob(rng, centre, radii, 0, 0.02), "fat", 0.1)
    muscle = blob(rng, centre, (radii[0] * rng.uniform(0.8, 0.95), radii[1] * rng.uniform(0.8, 0.95)), 0, 0.02)
    scene.fill(muscle, "muscle", 0)
    inner = (radii[0] * rng.uniform(0.66, 0.78), radii[1] * rng.uniform(0.66, 0.8))
    scene.fill(blob(rng, centre, inner, 0, 0.03), str(rng.choice(["fat", "soft", "air"], p=[0.6, 0.3, 0.1])), 0)
    return centre, inner


def back(scene: Scene, centre: Pair, inner: Pair) -> None:
    """Spine, the muscles beside it and the great vessels before it."""
    rng = scene.rng
    size = rng.uniform(12, 22)
    spine = (centre[0] + inner[0] * rng.uniform(0.7, 0.95), centre[1] + rng.normal(0, 3))
    for side in (-1, 1):
        at = (spine[0] + size * rng.uniform(1.2, 1.8), spine[1] + side * size * rng.uniform(1.2, 1.8))
        scene.fill(
            blob(rng, at, (size * rng.uniform(0.6, 1), size * rng.uniform(0.9, 1.5)), side * 0.3, 0.07), "muscle"
        )
    vertebra(scene, spine, size)
    for side in (-1, 1):
        if rng.random() < 0.6:
            at = (spine[0] - size * 0.1, spine[1] + side * size * rng.uniform(1.5, 2))
            scene.fill(
                blob(rng, at, (size * rng.uniform(0.5, 1), size * rng.uniform(0.4, 0.7)), 0.3 * side, 0.06), "muscle"
            )
        at = (spine[0] - size * rng.uniform(1.1, 1.7), spine[1] + side * size * rng.uniform(0.3, 1.2))
        r = size * rng.uniform(0.35, 0.75)
        scene.fill(blob(rng, at, (r, r * rng.uniform(0.85, 1.2)), 0, 0.03), "blood", 1.5)


def organ(scene: Scene, outline: np.ndarray, at: Pair, size: float) -> None:
    """A solid organ, perhaps with vessels or lesions inside; the whole is the target."""
    rng = scene.rng
    halo(scene, outline, 0.4)
    host = scene.fill(outline, "soft", 0)
    parts = [host]
    for _ in range(int(rng.integers(0, 5))):
        spot = np.array(at) + rng.normal(0, 0.4 * size, 2)
        parts.append(inside(scene, host, random_outline(scene, (spot[0], spot[1]), size * rng.uniform(0.06, 0.22))))
    scene.unite(*parts, weight=1.5)


def kidney(scene: Scene, at: Pair, size: float, side: int) -> None:
    """A bean: cortex, medulla and pelvis."""
    rng = scene.rng
    outline = blob(
        rng, at, (size, size * rng.uniform(0.55, 0.8)), rng.normal(0, 0.5), 0.06, -side * rng.uniform(0, 0.6)
    )
    halo(scene, outline, 0.6)
    a, b = scene.shell(outline, size * rng.uniform(0.12, 0.3), "blood", "soft", (1.2, 0.1, 0.1))
    if rng.random() < 0.6:
        pelvis = (at[0] + rng.normal(0, 2), at[1] - side * size * rng.uniform(0.1, 0.6))
        outline = blob(rng, pelvis, (size * 0.35, size * 0.22), rng.uniform(0, 3), 0.15)
        c = scene.fill(outline, str(rng.choice(["fat", "fluid"])), 0.1)
        scene.unite(a, b, c, weight=0.4)


def bowel(scene: Scene, at: Pair, size: float) -> None:
    """A wall around gas, fluid or stool, in one or two parts with a level."""
    rng = scene.rng
    outline = random_outline(scene, at, size)
    halo(scene, outline, 0.4)
    a, b = scene.shell(
        outline, size * rng.uniform(0.08, 0.25), "soft", str(rng.choice(["air", "fluid", "soft"])), (1.2, 0.2, 0.1)
    )
    if rng.random() < 0.4:
        c = inside(scene, b, random_outline(scene, (at[0] + size * rng.uniform(-0.7, 0.7), at[1]), size * 0.7))
        scene.unite(a, b, c, weight=1.2)


def lung(scene: Scene, outline: np.ndarray, at: Pair, size: float) -> tuple[int, ...]:
    """A lung of two lobes with vessels; lobes and whole are targets, vessels belong to them."""
    rng = scene.rng
    upper = scene.fill(outline, "air", 0)
    lower = scene.label("air")
    if rng.random() < 0.65:
        scene.twins.append((lower, upper))
    before = scene.labels
    angle = rng.uniform(0, 2 * np.pi)
    corner = np.array(at) + size * 0.3 * rng.normal(0, 1, 2)
    far = corner + 2 * size * np.array([np.cos(angle), np.sin(angle)])
    cut = blob(rng, (far[0], far[1]), (2 * size, 2 * size), 0, 0.01)
    scene.fill(cut, "air", 0, lower)
    scene.replace(np.where((scene.labels == lower) & (before != upper), before, scene.labels))
    vessels = [scene.label("blood"), scene.label("blood")]
    for _ in range(int(rng.integers(0, 25))):
        spot = np.array(at) + rng.normal(0, 0.4 * size, 2)
        before = scene.labels
        path = wander(rng, (spot[0], spot[1]), rng.uniform(0, 6.3), 4, int(rng.integers(2, 8)), 0.3)
        mark = scene.line(path, rng.uniform(1.5, 5), "blood", 0, vessels[0])
        on = (scene.labels == mark) & (before != mark)
        kept = np.where(on & (before == upper), vessels[0], np.where(on & (before == lower), vessels[1], before))
        scene.replace(kept.astype(np.uint8))
    scene.unite(upper, vessels[0], weight=1.0)
    scene.unite(lower, vessels[1], weight=1.0)
    scene.unite(upper, lower, *vessels, weight=1.5)
    return upper, lower, *vessels


def dome(scene: Scene, at: Pair, size: float) -> None:
    """The diaphragm with liver or spleen that rises into a lung and leaves it a crescent."""
    rng = scene.rng
    angle = rng.uniform(0, 2 * np.pi)
    away = size * rng.uniform(0.05, 0.4)
    centre = (at[0] + away * np.cos(angle), at[1] + away * np.sin(angle) * 0.6)
    outline = blob(
        rng, centre, (size * rng.uniform(0.3, 0.75), size * rng.uniform(0.25, 0.5)), rng.normal(0, 0.3), 0.06
    )
    scene.fill(outline, "soft", 1.0)


def heart(scene: Scene, at: Pair, size: float) -> None:
    """Four chambers, one in a thick wall; with little contrast they differ by shape alone."""
    rng = scene.rng
    turn = rng.uniform(0, 2 * np.pi) if rng.random() < 0.4 else rng.normal(0.5, 0.4)
    scene.fill(blob(rng, at, (size, size * rng.uniform(0.8, 1.1)), turn, 0.05), str(rng.choice(["fat", "muscle"])), 0.3)
    chambers: list[int] = []
    axis, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    for along, side, scale in ((-0.45, -0.4, 0.42), (-0.45, 0.4, 0.4), (0.35, -0.45, 0.45)):
        spot = np.array(at) + size * (along * axis + side * across)
        radii = (size * scale * rng.uniform(0.85, 1.3), size * scale * rng.uniform(0.75, 1.1))
        outline = blob(rng, (spot[0], spot[1]), radii, turn + rng.normal(0, 0.4), 0.08, rng.normal(0, 0.2))
        chambers.append(scene.fill(outline, "blood", 1.3))
        if len(chambers) > 1 and rng.random() < 0.4:
            scene.twins.append((chambers[-1], chambers[-2]))
    spot = np.array(at) + size * (0.35 * axis + 0.3 * across)
    outline = blob(rng, (spot[0], spot[1]), (size * rng.uniform(0.5, 0.75), size * rng.uniform(0.4, 0.55)), turn, 0.05)
    wall = size * rng.uniform(0.1, 0.2)
    rim, inner = scene.shell(outline, wall, "muscle", "blood", (0.5, 1.5, 0.6))
    if rng.random() < 0.6:
        opening = spot - axis * size * rng.uniform(0.5, 0.7)
        before = scene.labels
        mark = scene.fill(blob(rng, (opening[0], opening[1]), (size * 0.4, size * 0.35), turn, 0.05), "blood", 0.4)
        scene.replace(np.where((scene.labels == mark) & (before == inner), before, scene.labels))
    scene.unite(rim, weight=0.9)
