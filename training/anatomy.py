"""Layouts in the manner of anatomy: cross-sections of a body, and a radiograph. Each draws into a Scene."""

from __future__ import annotations

import numpy as np
from free_layouts import noise_regions
from organs import back, bone, bowel, dome, heart, kidney, lung, organ, ribs, trunk
from shapes import SIDE, Outline, Rng, Scene, blob, inset, smooth_noise, wander
from structures import Pair, lesion, log_uniform, place, random_outline, structure


def abdomen(scene: Scene) -> None:
    """A cross-section of the belly."""
    rng = scene.rng
    centre, inner = trunk(scene)
    for _ in range(int(rng.integers(4, 14))):
        at = (centre[0] + rng.uniform(-0.8, 0.6) * inner[0], centre[1] + rng.uniform(-0.8, 0.8) * inner[1])
        bowel(scene, at, rng.uniform(7, 18))
    liver = (centre[0] - inner[0] * rng.uniform(0, 0.35), centre[1] - inner[1] * rng.uniform(0.35, 0.6))
    size = inner[1] * rng.uniform(0.3, 0.6)
    outline = blob(rng, liver, (size * rng.uniform(0.8, 1.3), size), rng.uniform(0, 3), 0.12, rng.normal(0, 0.3))
    organ(scene, outline, liver, size)
    for side in (-1, 1):
        at = (centre[0] + inner[0] * rng.uniform(0.1, 0.5), centre[1] + side * inner[1] * rng.uniform(0.45, 0.7))
        kidney(scene, at, rng.uniform(11, 22), side)
    spleen = (centre[0] + rng.uniform(-0.3, 0.3) * inner[0], centre[1] + inner[1] * rng.uniform(0.65, 0.85))
    scene.fill(
        blob(rng, spleen, (rng.uniform(18, 34), rng.uniform(8, 15)), rng.normal(0, 0.4), 0.08, rng.normal(0, 0.3)),
        "soft",
    )
    for _ in range(int(rng.integers(1, 6))):
        at = (centre[0] + rng.uniform(-0.6, 0.6) * inner[0], centre[1] + rng.uniform(-0.7, 0.7) * inner[1])
        structure(scene, at, rng.uniform(7, 20))
    back(scene, centre, inner)
    ribs(scene, centre, (inner[0] * 1.06, inner[1] * 1.06), int(rng.integers(0, 14)))


def chest(scene: Scene) -> None:
    """A cross-section with lungs, heart, great vessels, ribs and spine."""
    rng = scene.rng
    centre, inner = trunk(scene)
    for side in (-1, 1):
        at = (centre[0] + rng.normal(0, 5), centre[1] + side * inner[1] * 0.5)
        outline = blob(
            rng, at, (inner[0] * 0.85, inner[1] * 0.45), rng.normal(0, 0.1), 0.05, side * rng.uniform(-0.2, 0.3)
        )
        parts = lung(scene, outline, at, inner[0])
        if rng.random() < 0.5:
            dome(scene, at, inner[0])
            scene.unite(*parts, weight=3.0)
    heart(
        scene,
        (centre[0] - inner[0] * rng.uniform(0, 0.35), centre[1] + inner[1] * rng.normal(0.1, 0.1)),
        rng.uniform(22, 44),
    )
    back(scene, centre, inner)
    ribs(scene, centre, (inner[0] * 1.07, inner[1] * 1.07), int(rng.integers(8, 20)))


def pelvis(scene: Scene) -> None:
    """Hips, femora, gluteal and other muscles, bladder."""
    rng = scene.rng
    centre, inner = trunk(scene)
    for _ in range(int(rng.integers(2, 8))):
        bowel(
            scene,
            (centre[0] + rng.uniform(-0.6, 0.4) * inner[0], centre[1] + rng.uniform(-0.5, 0.5) * inner[1]),
            rng.uniform(8, 22),
        )
    for side in (-1, 1):
        lean = side * rng.uniform(0.3, 0.9)
        at = (centre[0] + inner[0] * rng.uniform(0.5, 1), centre[1] + side * inner[1] * rng.uniform(0.5, 0.8))
        radii = (rng.uniform(18, 30), rng.uniform(32, 52))
        scene.fill(blob(rng, at, radii, -lean, 0.06, rng.normal(0, 0.3)), "muscle", 1.3)
        at = (centre[0] + inner[0] * rng.uniform(0, 0.5), centre[1] + side * inner[1] * rng.uniform(0.6, 0.9))
        bone(
            scene,
            blob(rng, at, (rng.uniform(14, 30), rng.uniform(6, 13)), rng.normal(0, 0.7), 0.12, rng.normal(0, 0.4)),
            rng.uniform(2, 5),
        )
        at = (at[0] + rng.uniform(10, 30), at[1] + side * rng.uniform(8, 20))
        size = rng.uniform(9, 19)
        bone(scene, blob(rng, at, (size, size * rng.uniform(0.8, 1.2)), 0, 0.07), size * rng.uniform(0.1, 0.35))
    structure(scene, (centre[0], centre[1]), rng.uniform(12, 30))
    for _ in range(int(rng.integers(2, 9))):
        at = (centre[0] + rng.uniform(-1, 1) * inner[0], centre[1] + rng.uniform(-1, 1) * inner[1])
        scene.fill(random_outline(scene, at, rng.uniform(6, 16)), str(rng.choice(["muscle", "blood", "soft"])))


def neck(scene: Scene) -> None:
    """A small cross-section or a plane along the spine: cord in fluid in bone."""
    rng = scene.rng
    scene.tissue[0] = str(rng.choice(["muscle", "fat", "air"]))
    for _ in range(int(rng.integers(4, 16))):
        structure(scene, place(rng), log_uniform(rng, 10, 40))
    if rng.random() < 0.3:
        path = wander(rng, (0, rng.uniform(80, 170)), 0.0, 20, 14, 0.08)
        width = rng.uniform(14, 36)
        a, b = scene.line(path, width, "fluid", 0.5), scene.line(path, width * rng.uniform(0.4, 0.8), "soft", 1.5)
        scene.unite(a, b, weight=0.6)
        return
    for _ in range(int(rng.integers(1, 3))):
        at = place(rng)
        size = log_uniform(rng, 14, 44)
        squash = rng.uniform(0.6, 1)
        angle = rng.uniform(0, np.pi)
        scene.fill(
            blob(rng, at, (size * rng.uniform(1.3, 2), size * 1.6), angle, 0.08),
            str(rng.choice(["bone", "muscle", "fat"])),
            0.1,
        )
        a = scene.fill(blob(rng, at, (size, size * squash), angle, 0.04), "fluid", 0.1)
        b = scene.fill(
            blob(rng, at, (size * rng.uniform(0.5, 0.85), size * squash * rng.uniform(0.5, 0.85)), angle, 0.04),
            "soft",
            0,
        )
        core = (
            [scene.fill(blob(rng, at, (size * 0.3, size * 0.12), angle, 0.2), "marrow", 0.1)]
            if rng.random() < 0.4
            else []
        )
        scene.unite(b, *core, weight=2.5)
        scene.unite(a, b, *core, weight=0.6)


def head(scene: Scene) -> None:
    """Skull, folded brain, ventricles and lesions with core and swelling."""
    rng = scene.rng
    centre = (SIDE / 2, SIDE / 2)
    outline = blob(rng, centre, (rng.uniform(90, 120), rng.uniform(75, 105)), rng.normal(0, 0.1), 0.02)
    scene.fill(outline, "fat", 0)
    scene.fill(inset(outline, rng.uniform(3, 7)), "bone", 0)
    depth = rng.uniform(8, 16)
    brain = scene.fill(inset(outline, depth), "fluid", 0.1)
    folds = smooth_noise(rng, SIDE, rng.uniform(10, 22))
    grey, white = scene.label("soft"), scene.label("muscle")
    labels = scene.labels
    inner = scene.labels == brain
    labels[inner & (folds > -1.2)] = grey
    labels[inner & (folds > rng.uniform(-0.4, 0.3))] = white
    scene.replace(labels)
    scene.unite(brain, grey, white, weight=0.3)
    for side in (-1, 1):
        at = (centre[0] + rng.normal(0, 10), centre[1] + side * rng.uniform(6, 18))
        scene.fill(
            blob(rng, at, (rng.uniform(14, 36), rng.uniform(4, 10)), side * 0.25, 0.1, rng.normal(0, 0.4)), "fluid", 1.0
        )
    for _ in range(int(rng.integers(2, 7))):
        at = (centre[0] + rng.uniform(-60, 60), centre[1] + rng.uniform(-50, 50))
        lesion(scene, at, log_uniform(rng, 5, 34))


def breast(scene: Scene) -> None:
    """Mottled glandular ground with masses."""
    noise_regions(scene)
    scene.targets = []
    for _ in range(int(scene.rng.integers(3, 9))):
        lesion(scene, place(scene.rng), log_uniform(scene.rng, 6, 36))


def radiograph(scene: Scene) -> None:
    """Two lungs beside a bright middle, seen in projection (ribs come as overlays)."""
    rng = scene.rng
    scene.tissue[0] = "fat"
    middle = SIDE / 2 + rng.normal(0, 8)
    scene.fill(blob(rng, (140, middle), (rng.uniform(120, 160), rng.uniform(100, 128)), 0, 0.02), "muscle", 0)
    for side in (-1, 1):
        wide, tall = rng.uniform(26, 44), rng.uniform(62, 104)
        at = (rng.uniform(105, 140), middle + side * rng.uniform(wide + 8, wide + 26))
        outline = blob(rng, at, (tall, wide), side * rng.uniform(-0.05, 0.22), 0.05, -side * rng.uniform(-0.1, 0.22))
        scene.fill(above_diaphragm(outline, at, (tall, wide), side, rng), "air", 6.0)
    size = rng.uniform(22, 44)
    outline = blob(rng, (rng.uniform(140, 180), middle + rng.normal(10, 12)), (size, size), 0, 0.08)
    scene.fill(outline, "blood", 1.2)
    scene.fill(blob(rng, (rng.uniform(70, 120), middle), (110, rng.uniform(8, 20)), 0, 0.05), "blood", 0.2)
    for _ in range(int(rng.integers(0, 4))):
        structure(scene, place(rng), rng.uniform(6, 20))


def above_diaphragm(outline: Outline, at: Pair, radii: Pair, side: int, rng: Rng) -> Outline:
    """A lung's outline cut off by the dome of the diaphragm, which leaves a pointed angle at its outer side."""
    tall, wide = radii
    across = side * (outline[:, 1] - at[1]) / wide
    dome = rng.uniform(0.0, 0.35) * tall * np.clip(1 - ((across + 0.3) / 1.2) ** 2, 0, 1)
    bottom = at[0] + tall * rng.uniform(0.5, 1.0) + 0.25 * wide * across * rng.uniform(-0.5, 2.0) - dome
    return np.stack([np.minimum(outline[:, 0], bottom), outline[:, 1]], 1)
