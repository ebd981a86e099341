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

from appearance import Shot, picture  # noqa: E402
from layouts import draw_scene  # noqa: E402
from shapes import Rng  # noqa: E402

from napari_medsam.models.starter_views import View  # noqa: E402

BoxTuple = tuple[float, float, float, float]


@dataclass(frozen=True)
class Recipe:
    """What is drawn.

    Parameters
    ----------
    seed : int
    size : int
        Samples a side of a view.
    per_scene : int
        Targets taken from one scene, at most.
    without_box : float
        Share of samples whose object is only pointed at.
    shuffle : int
        Samples kept back and drawn from, so that a batch holds many scenes.
    """

    seed: int = 2026
    size: int = 64
    per_scene: int = 8
    without_box: float = 0.08
    shuffle: int = 384


@dataclass(frozen=True)
class Batch:
    """Samples stacked: (n, size, size) uint8 views, targets and insides, (n, 4) boxes in view samples, (n,) has box."""

    views: NDArray[np.uint8]
    targets: NDArray[np.uint8]
    inside: NDArray[np.uint8]
    boxes: NDArray[np.uint8]
    has_box: NDArray[np.bool_]


Sample = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], bool]


def bounds(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Half-open bounds of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def one_thing(mask: NDArray[np.bool_], rng: Rng) -> NDArray[np.bool_]:
    """Mostly the largest piece of a mask, now and then any piece or all of them."""
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(pieces.ravel())[1:]
    if sizes.max() > 0.93 * sizes.sum() or rng.random() < 0.08:
        return mask
    chosen = rng.choice(count, p=sizes / sizes.sum()) if rng.random() < 0.3 else sizes.argmax()
    return np.asarray(pieces == chosen + 1)


def drawn_box(mask: NDArray[np.bool_], rng: Rng) -> BoxTuple:
    """The bounds as a person draws them: one pixel around, loose by one margin, or each side by itself."""
    row0, column0, row1, column1 = bounds(mask)
    height, width = row1 - row0, column1 - column0
    kind = rng.random()
    if kind < 0.35:
        grow = np.ones(4)
    elif kind < 0.72:
        share = np.exp(rng.uniform(np.log(0.05), np.log(0.5)))
        grow = np.full(4, np.ceil(share * np.sqrt(height * width)))
    else:
        grow = np.round(rng.normal(0.05, 0.07, 4) * (height, width, height, width))
    box = np.array([row0, column0, row1, column1]) + grow * (-1, -1, 1, 1)
    box[:2], box[2:] = np.maximum(box[:2], 0), np.minimum(box[2:], mask.shape)
    if (box[2:] - box[:2] < 2).any():
        return row0, column0, row1, column1
    return tuple(float(v) for v in box)  # type: ignore[return-value]


def loose_view(mask: NDArray[np.bool_], rng: Rng, size: int) -> View:
    """A square view of unknown scale about a point of the object: what there is before any box."""
    row0, column0, row1, column1 = bounds(mask)
    side = max(row1 - row0, column1 - column0, 5) * float(np.exp(rng.uniform(np.log(1.15), np.log(5))))
    at = np.argwhere(mask)[int(rng.integers(np.count_nonzero(mask)))]
    return View(at[0] + 0.5 - side / 2, at[1] + 0.5 - side / 2, side, side, size)


def sample(shot: Shot, mask: NDArray[np.bool_], rng: Rng, recipe: Recipe) -> Sample:
    """One object of a picture, as the network sees it; turned so that the box is not taller than wide."""
    has_box = bool(rng.random() >= recipe.without_box)
    box = drawn_box(mask, rng)
    plane = shot.plane
    if has_box and box[2] - box[0] > box[3] - box[1]:
        plane, mask, box = plane.T, mask.T, (box[1], box[0], box[3], box[2])
    view = View.around(box, recipe.size) if has_box else loose_view(mask, rng, recipe.size)
    cover = view.box_map(box) if has_box else np.zeros((recipe.size,) * 2, np.float32)
    maps = (view.look(plane), view.look(mask) * 255, view.inside(plane.shape) * 255, cover * 255)
    out = [np.rint(m).astype(np.uint8) for m in maps]
    for axis in (0, 1):
        if rng.random() < 0.5:
            out = [np.flip(m, axis) for m in out]
    return out[0], out[1], out[2], out[3], has_box


def scene_samples(recipe: Recipe, index: int) -> list[Sample]:
    """All samples of scene number `index`."""
    rng = np.random.default_rng([recipe.seed, index])
    scene = draw_scene(rng)
    projection = "radiograph" in scene.origin or rng.random() < 0.05
    shot = picture(scene, rng, projection)
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
        mask = one_thing(chosen[shot.labels], rng)
        if usable(mask, rng) and visible(mask, shot.plane, rng):
            out.append(sample(shot, mask, rng, recipe))
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
        columns = list(zip(*taken, strict=True))
        views, targets, inside, boxes = (np.ascontiguousarray(np.stack(c)) for c in columns[:4])
        yield Batch(views, targets, inside, boxes, np.array(columns[4])), scene


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
