"""How structures lie together: a layout by chance, turned and mirrored."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from anatomy import abdomen, breast, chest, head, neck, pelvis, radiograph
from free_layouts import blobs, cells, noise_and_blobs, noise_regions, tubes
from shapes import Rng, Scene, Warp

LAYOUTS: tuple[tuple[Callable[[Scene], None], float], ...] = (
    (noise_regions, 0.05),
    (noise_and_blobs, 0.10),
    (blobs, 0.17),
    (cells, 0.07),
    (tubes, 0.07),
    (abdomen, 0.14),
    (chest, 0.12),
    (pelvis, 0.09),
    (neck, 0.08),
    (head, 0.05),
    (breast, 0.04),
    (radiograph, 0.15),
)


def draw_scene(rng: Rng) -> Scene:
    """A scene of a random layout, turned and mirrored at random."""
    weights = np.array([w for _, w in LAYOUTS])
    scene = Scene(rng, Warp.draw(rng, float(rng.choice([0.0, 4.0, 10.0]))))
    layout = LAYOUTS[int(rng.choice(len(LAYOUTS), p=weights / weights.sum()))][0]
    scene.origin = layout.__name__
    layout(scene)
    for i in range(2, len(scene.tissue)):
        if rng.random() < 0.06:
            scene.twins.append((i, int(rng.integers(max(i - 4, 1), i))))
    labels = np.rot90(scene.labels, int(rng.integers(4)))
    scene.replace(np.ascontiguousarray(labels[:, ::-1] if rng.random() < 0.5 else labels))
    return scene
