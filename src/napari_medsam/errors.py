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
        |-- CheckpointError     weights that cannot be read, or are not what was expected
        |   `-- AmbiguousCheckpointError   weights of which the user has to say whose they are
        |-- DownloadError       weights that could not be fetched
        |   |-- DownloadInterrupted   another try may help
        |   `-- DownloadCancelled     the user wanted to stop
        `-- MemoryShortError    not enough memory for a model, on the device or beside it

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


class CheckpointError(ModelError):
    """Weights cannot be read, or are not what was expected; the message names the file and the next step."""


class AmbiguousCheckpointError(CheckpointError):
    """Weights fit several models that see images differently, so the user has to say whose they are.

    Parameters
    ----------
    message : str
    candidates : tuple of str
        Short names of the models that the weights fit.
    """

    def __init__(self, message: str, candidates: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.candidates = candidates


class DownloadError(ModelError):
    """Weights could not be fetched; what was fetched so far is kept for the next try unless it was wrong."""


class DownloadInterrupted(DownloadError):
    """The server or the connection failed; another try goes on from where this one stopped."""


class DownloadCancelled(DownloadError):
    """The user stopped it; there is nothing to report."""


class MemoryShortError(ModelError):
    """There is not enough memory for a model, on its device or in the machine."""
