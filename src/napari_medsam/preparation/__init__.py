"""Encoding ahead: which slices, in what order, a block at a time, and which of them are ready.

A preparation is a frozen value, and a block of its work a short errand on the lane. So to cancel is to stop asking, to
turn to another slice is to ask for another block, and what was done stays done: the store knows.
"""

from napari_medsam.preparation.blocks import Aim, Block, work_off
from napari_medsam.preparation.plan import Preparation, left, prepare
from napari_medsam.preparation.readiness import Readiness

__all__ = ["Aim", "Block", "Preparation", "Readiness", "left", "prepare", "work_off"]
