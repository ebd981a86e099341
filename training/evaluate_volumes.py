"""Score weights on slices of labelled volumes that are not among the reference planes, beside the contour.

    python evaluate_volumes.py --volumes FOLDER [--weights FILE] [--csv FILE]

One box a structure, drawn as for the planes. Four groups: structures that are in no plane, on the axial, coronal and
sagittal slice where they are largest; those of the planes, on coronal and sagittal slices; a volume of which no plane
was taken; and other slices of the planes' volumes, which are much like them.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import numpy as np  # noqa: E402
from evaluate import dice, prompt_box  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from napari_medsam.intensity import Window, percentile_window, to_uint8  # noqa: E402
from napari_medsam.io import read_image, read_labels  # noqa: E402
from napari_medsam.models.contour import Contour  # noqa: E402
from napari_medsam.models.finetune.examples import pieces  # noqa: E402
from napari_medsam.models.starter import WEIGHTS, Starter  # noqa: E402
from napari_medsam.prompts import Prompts  # noqa: E402

BoolArray = NDArray[np.bool_]

CT = Window(-160, 240)
LEAST = 40
"""Pixels of the smallest piece that is tried, as in the planes."""


@dataclass(frozen=True)
class Source:
    """A volume with labels.

    Parameters
    ----------
    image, labels : str
        File names.
    group : str
    seen : tuple of int
        Labels that are in the planes, for volumes of many structures.
    near : tuple of int
        Axial slices that are in the planes, for volumes of one structure.
    away : int
        How far from `near` slices are, at least: neighbours of a millimetre show the same, those of 6.5 mm do not.
    window : Window, optional
        Percentiles of each slice where there is none.
    """

    image: str
    labels: str
    group: str
    seen: tuple[int, ...] = ()
    near: tuple[int, ...] = ()
    away: int = 1
    window: Window | None = None


TORSO = (1, 2, 3, 4, 5, 6, 7, 11, 14, 18, 19, 20, 30, 31, 32, 63, 64, 86, 87, 117)
ABDOMEN = (1, 2, 3, 4, 5, 6, 7, 13, 14, 15, 19, 20, 46, 47)
OTHER, SIDE, NEW, NEAR = "other structures", "from the side", "another volume", "other slices"

SOURCES = (
    Source("torso_ct_crop.nii.gz", "torso_ct_crop_labels.nii.gz", OTHER, TORSO, window=CT),
    Source("abdomen_mr.nii.gz", "abdomen_mr_labels.nii.gz", OTHER, ABDOMEN),
    Source("cord_t2s.nii.gz", "cord_t2s_gm_labels.nii.gz", NEW),
    Source("cord_t2.nii.gz", "cord_t2_labels.nii.gz", NEAR, near=(21, 23, 25), away=3),
    Source("cord_t1w.nii.gz", "cord_t1w_labels.nii.gz", NEAR, near=(3, 4, 25), away=3),
    Source("brain1.nrrd", "brain1_labels.nrrd", NEAR, near=(13, 15, 16)),
    Source("brain2.nrrd", "brain2_labels.nrrd", NEAR, near=(8, 9, 10)),
    Source("breast1.nrrd", "breast1_labels.nrrd", NEAR, near=(9, 10)),
)


@dataclass(frozen=True)
class Case:
    """One object on one slice."""

    name: str
    volume: str
    group: str
    plane: NDArray[np.uint8]
    mask: BoolArray


def cases(folder: Path) -> Iterator[Case]:
    """All objects of all volumes."""
    for source in SOURCES:
        values = np.asarray(read_image(folder / source.image).data)
        labels = read_labels(folder / source.labels).array
        volume = source.image.partition(".")[0]
        for axis, at, value, group in slices(source, labels):
            raw = np.take(values, at, axis)
            found = sorted(pieces(np.take(labels, at, axis) == value), key=lambda p: int(p.sum()))
            if found and found[-1].sum() >= LEAST:
                plane = to_uint8(raw, source.window or percentile_window(raw))
                yield Case(f"{volume}_{value:03d}_{'zyx'[axis]}{at:03d}", volume, group, plane, found[-1])


def slices(source: Source, labels: NDArray[Any]) -> Iterator[tuple[int, int, int, str]]:
    """(axis, index, label, group) of what is tried in a volume."""
    for value in np.unique(labels[labels > 0]):
        if source.group == OTHER:
            for axis in (1, 2) if value in source.seen else (0, 1, 2):
                areas = (labels == value).sum(tuple(a for a in range(3) if a != axis))
                yield axis, int(areas.argmax()), int(value), SIDE if value in source.seen else OTHER
        else:
            held = np.flatnonzero((labels == value).any((1, 2)))
            apart = [int(z) for z in held if all(abs(z - n) >= source.away for n in source.near)]
            yield from ((0, z, int(value), source.group) for z in apart[:: max(len(apart) // 12, 1)])


def ellipse(shape: tuple[int, ...], box: Any) -> BoolArray:
    """An ellipse that fills the box."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    down = (rows - (box.row0 + box.row1 - 1) / 2) / ((box.row1 - box.row0) / 2)
    across = (columns - (box.column0 + box.column1 - 1) / 2) / ((box.column1 - box.column0) / 2)
    return np.asarray(down**2 + across**2 <= 1)


def main() -> None:
    """Print a table per volume, per group and over all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", default=str(HERE.parent.parent / "shared" / "data" / "volumes"))
    parser.add_argument("--weights", default=str(WEIGHTS))
    parser.add_argument("--csv")
    arguments = parser.parse_args()
    weights = Path(arguments.weights)
    models: tuple[Any, ...] = (Starter(weights), Starter(weights, hint=0), Contour())
    rows: list[tuple[Case, list[float]]] = []
    for case in cases(Path(arguments.volumes)):
        prompts = Prompts(prompt_box(case.mask))
        found = [dice(m.decode(m.encode(case.plane), prompts).mask, case.mask) for m in models]
        rows.append((case, [*found, dice(ellipse(case.mask.shape, prompts.box), case.mask)]))
    print(
        "| | n | starter | network alone | contour | ellipse | starter above contour |\n|---|---|---|---|---|---|---|"
    )
    names = [*dict.fromkeys(c.volume for c, _ in rows), *dict.fromkeys(c.group for c, _ in rows), "all"]
    for name in names:
        d = np.array([v for c, v in rows if name in (c.volume, c.group, "all")])
        means = " | ".join(f"{v:.3f}" for v in d.mean(0))
        print(f"| {name} | {len(d)} | {means} | {np.mean(d[:, 0] > d[:, 2]):.0%} |")
    if arguments.csv:
        with open(arguments.csv, "w", newline="") as file:
            csv.writer(file).writerows(
                [("name", "starter", "network", "contour", "ellipse"), *((c.name, *v) for c, v in rows)]
            )


if __name__ == "__main__":
    main()
