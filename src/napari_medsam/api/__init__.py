"""The short Python API: masks from arrays, files to labels, no window and no Qt.

>>> from napari_medsam import api
>>> prediction = api.segment_plane(ct_slice, box=(95, 120, 180, 230), window=(-160, 240))
>>> prediction.mask, prediction.score

For whole files use `segment_image`, and `propagate_image` to go from a few slices to the volume; or the `Session` that
all of this, the command line and the plugin share.
"""

from napari_medsam.api.following import FoundSlice, Propagated, propagate_image
from napari_medsam.api.labelling import LabelledImage, label_image
from napari_medsam.api.preparing import Prepared, prepare_image, user_store
from napari_medsam.api.segmenting import (
    load_model,
    make_prompts,
    make_window,
    segment_image,
    segment_plane,
)
from napari_medsam.api.tasks import Task, next_frame
from napari_medsam.io import read_image, write_labels
from napari_medsam.models.resident import set_budget as set_device_budget

__all__ = [
    "FoundSlice",
    "LabelledImage",
    "Prepared",
    "Propagated",
    "Task",
    "label_image",
    "load_model",
    "make_prompts",
    "make_window",
    "next_frame",
    "prepare_image",
    "propagate_image",
    "read_image",
    "segment_image",
    "segment_plane",
    "set_device_budget",
    "user_store",
    "write_labels",
]
