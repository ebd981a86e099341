"""Reading images and labels, writing labels. No napari and no Qt: plain arrays and grids."""

from napari_medsam.io.dicom import Series, find_series, is_dicom
from napari_medsam.io.labels import label_path, require_writable, write_labels
from napari_medsam.io.names import names_path, read_names, write_names
from napari_medsam.io.read import SavedLabels, labels_from, read_image, read_labels

__all__ = [
    "SavedLabels",
    "Series",
    "find_series",
    "is_dicom",
    "label_path",
    "labels_from",
    "names_path",
    "read_image",
    "read_labels",
    "read_names",
    "require_writable",
    "write_labels",
    "write_names",
]
