"""Every error that this package raises on purpose.

    MedsamError
    |-- InputError (also a ValueError)
    |   |-- GeometryError       a grid, plane or transform that cannot be used
    |   |-- ImageError          an image of the wrong kind, shape or content
    |   |-- IntensityError      a window that is no window
    |   |-- PromptError         a box, point or stroke that cannot be used
    |   |-- LabelsError         label values, names or grids that do not fit
    |   `-- UnsupportedError    a prompt that the chosen model does not take
    |-- FileError (also an OSError)
    |   |-- ReadError
    |   `-- WriteError
    `-- ModelError (also a RuntimeError)

A message says what is wrong, what was found, and what to do next.
"""


class MedsamError(Exception):
    """Base of all errors raised on purpose by napari-medsam."""


class InputError(MedsamError, ValueError):
    """Something that was passed in cannot be used."""


class GeometryError(InputError):
    """A grid, plane or transform cannot be used."""


class ImageError(InputError):
    """An image has the wrong kind, shape or content."""


class IntensityError(InputError):
    """An intensity window is not a window."""


class PromptError(InputError):
    """A box, point or stroke cannot be used."""


class LabelsError(InputError):
    """Label values, names or grids do not fit."""


class UnsupportedError(InputError):
    """The chosen model does not take this kind of prompt."""


class FileError(MedsamError, OSError):
    """A file could not be used."""


class ReadError(FileError):
    """A file could not be read."""


class WriteError(FileError):
    """A file could not be written; what stood there before still stands."""


class ModelError(MedsamError, RuntimeError):
    """A model is unknown, cannot be loaded, or failed."""
