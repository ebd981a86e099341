"""Samples without end: a view of a made-up plane, what is to be outlined in it, and the box that a person draws.

Scene number i of a seed is always the same, whoever makes it. No real image is read.

    python generator.py sheet.png        # a contact sheet to look at
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from annotator import Hand, one_thing  # noqa: E402
from appearance import picture  # noqa: E402
from layouts import draw_scene  # noqa: E402
from shapes import Rng  # noqa: E402

from napari_medsam.models.finetune.people import bounds  # noqa: E402
from napari_medsam.models.finetune.samples import Batch, Sample, Shares, sample  # noqa: E402


@dataclass(frozen=True)
class Recipe(Shares):
    """What is drawn.

    Parameters
    ----------
    seed : int
    per_scene : int
        Targets taken from one scene, at most.
    shuffle : int
        Samples kept back and drawn from, so that a batch holds many scenes.
    """

    seed: int = 2026
    per_scene: int = 8
    shuffle: int = 384


def scene_samples(recipe: Recipe, index: int) -> list[Sample]:
    """All samples of scene number `index`."""
    rng = np.random.default_rng([recipe.seed, index])
    scene = draw_scene(rng)
    projection = "radiograph" in scene.origin or rng.random() < 0.05
    shot = picture(scene, rng, projection)
    hand = Hand.draw(rng)
    weights = np.array([w for _, w in scene.targets])
    order = rng.choice(
        len(weights), size=min(len(weights), 3 * recipe.per_scene), replace=False, p=weights / weights.sum()
    )
    present = np.bincount(shot.labels.ravel(), minlength=256)
    out: list[Sample] = []
    for i in order:
        labels = scene.targets[int(i)][0]
        if not 20 <= present[list(labels)].sum() <= 0.5 * shot.labels.size:
            continue
        chosen = np.zeros(256, bool)
        chosen[list(labels)] = True
        mask = one_thing(hand.outline(chosen[scene.labels], shot.labels.shape, rng), rng)
        if usable(mask, rng) and visible(mask, shot.plane, rng):
            out.append(sample(shot.plane, mask, rng, recipe))
        if len(out) == recipe.per_scene:
            break
    return out


def visible(mask: NDArray[np.bool_], plane: NDArray[np.uint8], rng: Rng) -> bool:
    """Whether there is a border to be seen: grey just inside differs from grey just outside (now and then not)."""
    row0, column0, row1, column1 = bounds(mask)
    part = slice(max(row0 - 3, 0), row1 + 3), slice(max(column0 - 3, 0), column1 + 3)
    around, grey = mask[part], plane[part].astype(np.float32)
    if grey.std() < 1.5:
        return False
    inner = grey[around & ~ndimage.binary_erosion(around, iterations=2)]
    outer = grey[ndimage.binary_dilation(around, iterations=2) & ~around]
    if not outer.size:
        return False
    contrast = abs(inner.mean() - outer.mean()) / (np.concatenate([inner, outer]).std() + 1)
    return bool(contrast > 0.45 or rng.random() < 0.25)


def usable(mask: NDArray[np.bool_], rng: Rng) -> bool:
    """Whether a person would outline it: of some size, not only threads, mostly not cut by the plane's edge."""
    area = np.count_nonzero(mask)
    if area < 14:
        return False
    row0, column0, row1, column1 = bounds(mask)
    height, width = row1 - row0, column1 - column0
    edges = (row0 == 0) + (column0 == 0) + (row1 == mask.shape[0]) + (column1 == mask.shape[1])
    if edges and (edges > 2 or rng.random() < 0.8):
        return False
    return min(height, width) >= 3 and bool(area > 0.12 * height * width)


def batches(recipe: Recipe, count: int, first_scene: int = 0, stride: int = 1) -> Iterator[tuple[Batch, int]]:
    """Batches of `count` samples without end, each with the number of the next scene; every `stride`-th scene."""
    rng = np.random.default_rng([recipe.seed, first_scene, 7])
    pool: list[Sample] = []
    scene = first_scene
    while True:
        while len(pool) < recipe.shuffle + count:
            pool += scene_samples(recipe, scene)
            scene += stride
        taken = []
        for _ in range(count):
            i = int(rng.integers(len(pool)))
            pool[i], pool[-1] = pool[-1], pool[i]
            taken.append(pool.pop())
        yield Batch.of(taken), scene


def contact_sheet(path: str, columns: int = 12, rows: int = 8) -> None:
    """Save views with the outline of the target (red) and the box (green)."""
    from PIL import Image

    recipe = Recipe(size=96, shuffle=200, per_scene=4)
    batch, _ = next(batches(recipe, columns * rows, 100))
    tiles = []
    for view, target, _, box in zip(batch.views, batch.targets, batch.inside, batch.boxes, strict=True):
        tile = np.repeat(view[:, :, None], 3, 2)
        mask = target > 127
        tile[mask & ~ndimage.binary_erosion(mask)] = (255, 40, 40)
        cover = box > 127
        tile[cover & ~ndimage.binary_erosion(cover)] = (40, 200, 40)
        tiles.append(np.pad(np.concatenate([np.repeat(view[:, :, None], 3, 2), tile], 1), ((2, 2), (2, 2), (0, 0))))
    sheet = np.concatenate([np.concatenate(tiles[i * columns : (i + 1) * columns], 1) for i in range(rows)], 0)
    Image.fromarray(sheet).save(path)


if __name__ == "__main__":
    contact_sheet(sys.argv[1] if len(sys.argv) > 1 else "sheet.png")
