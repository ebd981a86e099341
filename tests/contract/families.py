"""Every family behind the seam at its real input size, with few and narrow layers and random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_medsam.models import litemedsam, medsam, medsam2, mobile_sam, msa, registry, sam, sam2, sammed2d, samus
from napari_medsam.models.base import Segmenter
from napari_medsam.models.compute import Compute
from napari_medsam.models.frame import Frame, InputPrompts, corners_of
from napari_medsam.models.frame_lite import LITE
from napari_medsam.models.frame_medsam import MEDSAM
from napari_medsam.models.frame_sam import SAM
from napari_medsam.models.frame_sam2 import MEDSAM2, SAM2
from napari_medsam.models.frame_squash import MED2D, MSA, SAMUS, ends_of
from napari_medsam.models.sam_encoder import EncoderConfig
from napari_medsam.models.sam_segmenter import Answer, SamSegmenter
from napari_medsam.models.scribble import ScribbleSegmenter
from napari_medsam.models.stand_in import stand_in_of
from napari_medsam.models.tiny_vit import AT_256, AT_1024

CPU = Compute("cpu", "float32")


def narrow(size: int) -> EncoderConfig:
    """A ViT of two blocks: one with windows, one without."""
    # large patches and few channels would change the decoder; a narrow token does not
    return EncoderConfig(width=24, depth=2, heads=2, global_blocks=(1,), size=size)


def narrow_tiny_vit(config: Any) -> Any:
    """A TinyViT with one block a stage."""
    return replace(config, widths=(8, 16, 24, 32), depths=(1, 1, 1, 1), heads=(1, 1, 1, 1))


def narrow_hiera(config: Any) -> Any:
    """A Hiera with five blocks, one of them without windows."""
    return replace(config, width=16, blocks=(1, 1, 2, 1), global_blocks=(3,))


@dataclass(frozen=True)
class Family:
    """One family.

    Parameters
    ----------
    row : str
        The row whose prompts and licence it has.
    frame : Frame
    size : int
        Side of the input that the network sees.
    logits : int
        Side of the decoder's masks.
    network : callable
        Makes its network, with random weights, on a device.
    """

    row: str
    frame: Frame
    size: int
    logits: int
    network: Callable[[Compute], Any]
    exchanged: bool = False
    """Whether clicks are shown to it with row and column exchanged."""

    def segmenter(self, network: Any = None) -> Segmenter:
        """The family's adapter around a network, its own by default."""
        spec = registry.row(self.row).spec("random")
        chosen = network or self.network(CPU)
        if self.row == "litemedsam-scribble":
            return ScribbleSegmenter(spec, self.frame, chosen)
        made = SamSegmenter(spec, self.frame, chosen, corners=ends_of if self.frame is MED2D else corners_of)
        return stand_in_of(made) if spec.stand_ins else made


def _lite(compute: Compute) -> Any:
    return litemedsam.network(narrow_tiny_vit(AT_256), compute)


FAMILIES = (
    Family("sam-vit-b", SAM, 1024, 256, lambda on: sam.network(narrow(1024), on)),
    Family("mobile-sam", SAM, 1024, 256, lambda on: mobile_sam.network(narrow_tiny_vit(AT_1024), on)),
    Family("medsam", MEDSAM, 1024, 256, lambda on: medsam.network(narrow(1024), on)),
    Family("litemedsam", LITE, 256, 256, _lite),
    Family("litemedsam-scribble", LITE, 256, 256, _lite),
    Family("sam-med2d", MED2D, 256, 64, lambda on: sammed2d.network(sammed2d.Med2dConfig(narrow(256)), on)),
    Family(
        "ft-sam", MED2D, 256, 64, lambda on: sammed2d.network(sammed2d.Med2dConfig(narrow(256), adapters=False), on)
    ),
    Family("samus", SAMUS, 256, 128, lambda on: samus.network(samus.SamusConfig(replace(narrow(256), patch=8)), on)),
    Family("msa-melanoma", MSA, 1024, 256, lambda on: msa.network(msa.MsaConfig(narrow(1024)), on), True),
    Family("sam2.1-tiny", SAM2, 1024, 256, lambda on: sam2.network(narrow_hiera(sam2.TINY), on)),
    Family("medsam2", MEDSAM2, 512, 128, lambda on: medsam2.network(narrow_hiera(medsam2.CONFIG), on)),
)


@cache
def segmenter_of(row: str) -> Segmenter:
    """The segmenter of a family; weights are random, and the same each time."""
    torch.manual_seed(5)
    return next(family for family in FAMILIES if family.row == row).segmenter()


class Echo:
    """A network that answers with what it is shown: the box, discs around points, or the mask. Its frame does the rest.

    Parameters
    ----------
    size : int
        Side of the input.
    logits : int
        Side of the masks it answers with.
    exchanged : bool
        Whether it knows that points come with row and column exchanged.
    """

    RADIUS = 0.08
    """Of a disc, as a part of the input."""

    def __init__(self, size: int, logits: int, *, exchanged: bool = False) -> None:
        self.size, self.logits, self.exchanged = size, logits, exchanged
        self.seen: NDArray[np.float32] | None = None

    def embed(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
        """Remember what is seen."""
        self.seen = image
        return {"mean": np.array([image.mean()])}

    def answer(self, features: Any, prompts: InputPrompts) -> Answer:
        """Answer +9 in what is shown, -9 elsewhere."""
        at = (np.arange(self.logits) + 0.5) * self.size / self.logits
        x, y = at[None, :], at[:, None]
        shown = np.zeros((self.logits, self.logits), dtype=bool)
        if prompts.box is not None:
            x0, y0, x1, y1 = prompts.box
            # of inclusive pixel indices to edges, half a pixel of the plane: within this test's tolerance
            shown |= (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
        points = prompts.points[:, ::-1] if self.exchanged else prompts.points
        for (px, py), label in zip(points, prompts.labels, strict=True):
            if label == 1:
                shown |= (x - px) ** 2 + (y - py) ** 2 <= (self.RADIUS * self.size) ** 2
        if prompts.mask is not None:
            step = prompts.mask.shape[0] / self.logits
            cells = ((np.arange(self.logits) + 0.5) * step).astype(int)
            shown |= prompts.mask[np.ix_(cells, cells)] > 0
        logits = np.where(shown, 9.0, -9.0).astype(np.float32)[None]
        return Answer(logits, np.array([0.5], dtype=np.float32))
