"""What a person draws on the plane: an outline after their own convention. Boxes: `napari_medsam.models.finetune`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from appearance import coverage
from numpy.typing import NDArray
from scipy import ndimage
from shapes import Rng

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Hand:
    """A person's convention on one picture.

    Parameters
    ----------
    share : float
        A pixel belongs to the object where the object covers more than this of it: most people stay inside of the
        pixels that the border crosses.
    wobble : float
        Deviation of that share from pixel to pixel: some borders are ragged, and the box follows the rags.
    """

    share: float
    wobble: float

    @classmethod
    def draw(cls, rng: Rng) -> Hand:
        """Anyone."""
        return cls(float(rng.uniform(0.45, 0.9)), float(rng.uniform(0.1, 0.4)) if rng.random() < 0.4 else 0.0)

    def outline(self, mask: BoolArray, size: tuple[int, int], rng: Rng) -> BoolArray:
        """A mask on the canvas as drawn on a plane of `size`."""
        covered = coverage(mask, size)
        if self.wobble:
            border = (covered > 0.05) & (covered < 0.95)
            covered = covered + self.wobble * border * rng.standard_normal(size, dtype=np.float32)
        return np.asarray(covered > self.share)


def one_thing(mask: BoolArray, rng: Rng) -> BoolArray:
    """Mostly the largest piece of a mask, now and then any piece or all of them."""
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(pieces.ravel())[1:]
    if sizes.max() > 0.93 * sizes.sum() or rng.random() < 0.08:
        return mask
    chosen = rng.choice(count, p=sizes / sizes.sum()) if rng.random() < 0.3 else sizes.argmax()
    return np.asarray(pieces == chosen + 1)
