"""Layouts without anatomy: noise, blobs, cells and tubes. Each draws into a Scene."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree
from shapes import SIDE, Scene, smooth_noise, wander
from structures import log_uniform, place, structure, tissue


def noise_regions(scene: Scene) -> None:
    """Level sets of one noise (nested), or the largest of several noises (touching)."""
    rng = scene.rng
    cells = log_uniform(rng, 2, 14)
    if rng.random() < 0.5:
        levels = np.sort(rng.uniform(-1.3, 1.3, int(rng.integers(1, 5))))
        labels = np.digitize(smooth_noise(rng, SIDE, cells) + 0.3 * smooth_noise(rng, SIDE, cells * 2.5), levels)
        count = len(levels) + 1
    else:
        count = int(rng.integers(3, 9))
        labels = np.stack([smooth_noise(rng, SIDE, cells * rng.uniform(0.6, 1.6)) for _ in range(count)]).argmax(0)
    first = len(scene.tissue)
    for _ in range(count):
        scene.label(tissue(rng))
    scene.replace((labels + first).astype(np.uint8))
    for i in range(first, first + count):
        scene.unite(i, weight=1.0)
        scene.unite(*range(i, first + count), weight=0.5)


def noise_and_blobs(scene: Scene) -> None:
    """Structures on a ground of noise."""
    noise_regions(scene)
    scene.targets = [(labels, weight * 0.4) for labels, weight in scene.targets]
    for _ in range(int(scene.rng.integers(3, 12))):
        structure(scene, place(scene.rng), log_uniform(scene.rng, 8, 50))


def blobs(scene: Scene) -> None:
    """Many structures over each other."""
    rng = scene.rng
    typical = log_uniform(rng, 10, 45)
    scene.tissue[0] = tissue(rng)
    for _ in range(int(rng.integers(6, 28))):
        structure(scene, place(rng), float(np.clip(typical * log_uniform(rng, 0.5, 2), 6, 80)))


def cells(scene: Scene) -> None:
    """Touching cells with or without walls: muscles, lobules, tissue under a microscope."""
    rng = scene.rng
    half = SIDE // 2
    seeds = rng.uniform(0, half, (int(log_uniform(rng, 8, 60)), 2))
    grid = np.stack(np.meshgrid(np.arange(half), np.arange(half), indexing="ij"), -1).reshape(-1, 2).astype(np.float64)
    shift = np.stack([smooth_noise(rng, half, 6).ravel(), smooth_noise(rng, half, 6).ravel()], 1)
    distance, nearest = cKDTree(seeds).query(grid + shift * rng.uniform(0, 5), k=2)
    labels = nearest[:, 0] + 2
    wall = rng.uniform(0, 2.5) if rng.random() < 0.7 else 0.0
    labels[distance[:, 1] - distance[:, 0] < wall] = 1
    scene.tissue += [tissue(rng)] + [tissue(rng) for _ in seeds]
    scene.replace(np.repeat(np.repeat(labels.reshape(half, half), 2, 0), 2, 1).astype(np.uint8))
    if rng.random() < 0.4:
        empty = rng.random(len(seeds)) < 0.5
        table = np.arange(len(seeds) + 2)
        table[2:][empty] = 1
        scene.replace(table[scene.labels].astype(np.uint8))
    for i in range(len(seeds)):
        scene.unite(i + 2, weight=0.6)
    for _ in range(int(rng.integers(0, 6))):
        structure(scene, place(rng), log_uniform(rng, 8, 30))


def tubes(scene: Scene) -> None:
    """Vessels and bowel: long curved tubes, some with walls, among a few structures."""
    rng = scene.rng
    scene.tissue[0] = tissue(rng)
    for _ in range(int(rng.integers(2, 7))):
        structure(scene, place(rng), log_uniform(rng, 15, 60))
    for _ in range(int(rng.integers(4, 14))):
        width = log_uniform(rng, 4, 34)
        path = wander(rng, place(rng), rng.uniform(0, 6.3), max(width * 0.4, 3), int(rng.integers(4, 22)), 0.25)
        if rng.random() < 0.3:
            a = scene.line(path, width, tissue(rng), 0.3)
            b = scene.line(path, width * rng.uniform(0.4, 0.8), tissue(rng), 0.3)
            scene.unite(a, b)
        else:
            scene.line(path, width, tissue(rng), 0.8)
