"""How structures lie together: from free noise to layouts in the manner of anatomy. Each draws into a Scene."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree
from shapes import SIDE, TISSUES, Rng, Scene, Warp, arc, blob, inset, polygon, smooth_noise, wander

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
        cut = at[0] + tall * rng.uniform(0.5, 1.0)
        outline[:, 0] = np.minimum(outline[:, 0], cut + 0.25 * side * (outline[:, 1] - at[1]) * rng.uniform(-1, 1.5))
        scene.fill(outline, "air", 3.0)
    size = rng.uniform(22, 44)
    outline = blob(rng, (rng.uniform(140, 180), middle + rng.normal(10, 12)), (size, size), 0, 0.08)
    scene.fill(outline, "blood", 1.2)
    scene.fill(blob(rng, (rng.uniform(70, 120), middle), (110, rng.uniform(8, 20)), 0, 0.05), "blood", 0.2)
    for _ in range(int(rng.integers(0, 4))):
        structure(scene, place(rng), rng.uniform(6, 20))


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
    (radiograph, 0.09),
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
