"""The seam: what every model offers, on the image's own grid, in (row, column). No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import UnsupportedError
from napari_medsam.prompts import PromptKind, Prompts

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class ModelSpec:
    """What a model is and takes; the GUI and the command line show it.

    Parameters
    ----------
    name : str
        The short name by which a user chooses it.
    title : str
        One line for the chooser.
    digest : str
        Changes whenever an encode could give another result: code version, weights, settings.
    prompts : frozenset of PromptKind
        The prompts that it was made for.
    needs_network : bool
        Whether something must be fetched before the first use.
    licence : str
        Licence of the weights, or of the code where there are none.
    about : str
        A sentence or two, honest about the limits.
    stand_ins : mapping of PromptKind to str
        Prompts that it was not made for and takes all the same, and what is done with each, in words for the user.
    """

    name: str
    title: str
    digest: str
    prompts: frozenset[PromptKind]
    needs_network: bool
    licence: str
    about: str
    stand_ins: Mapping[PromptKind, str] = field(default_factory=dict)

    @property
    def takes(self) -> frozenset[PromptKind]:
        """The prompts that can be given: those that it was made for, and those with a stand-in."""
        return self.prompts | frozenset(self.stand_ins)

    def check(self, prompts: Prompts) -> None:
        """Raise UnsupportedError when `prompts` hold a kind that the model does not take."""
        refused = sorted(kind.value for kind in prompts.kinds - self.takes)
        if refused:
            takes = ", ".join(sorted(kind.value for kind in self.takes))
            what = f"{self.title} does not take a {' or '.join(refused)}; it takes: {takes}."
            raise UnsupportedError(f"{what} Remove it or choose another model.")


@dataclass(frozen=True)
class Embedding:
    """What a model keeps of one plane: named arrays, never written to after they are made.

    Parameters
    ----------
    model : str
        Digest of the model that made it.
    shape : (int, int)
        Rows and columns of the plane.
    arrays : mapping of str to array
        The model's own.
    """

    model: str
    shape: tuple[int, int]
    arrays: Mapping[str, NDArray[np.generic]]

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return sum(a.nbytes for a in self.arrays.values())


@dataclass(frozen=True)
class Prediction:
    """Every candidate mask of one object on one plane.

    Parameters
    ----------
    masks : (k, rows, columns) bool array
    scores : (k,) float array
        The model's own estimate of quality, 0 to 1.
    chosen : int
        The candidate that the model's own rule prefers.
    note : str
        What the user should know about this answer: that a stand-in was used, or another device.
    """

    masks: BoolArray
    scores: NDArray[np.float64]
    chosen: int = 0
    note: str = ""

    @property
    def mask(self) -> BoolArray:
        """The chosen mask, (rows, columns)."""
        return np.asarray(self.masks[self.chosen])

    @property
    def score(self) -> float:
        """The score of the chosen mask."""
        return float(self.scores[self.chosen])


@runtime_checkable
class Segmenter(Protocol):
    """A model that makes masks from prompts. Planes are uint8, (rows, columns) or (rows, columns, 3)."""

    @property
    def spec(self) -> ModelSpec:
        """What the model is and takes."""
        ...

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        """Do the slow part, which depends on the plane only."""
        ...

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        """Do the fast part, once per change of prompts. `prompts` are fitted to the plane."""
        ...


@runtime_checkable
class Labeller(Protocol):
    """A model that names all that it knows on a plane, without prompts."""

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the values 1, 2, ... that it writes."""
        ...

    def label(self, values: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Label a plane, (rows, columns), in the image's own units (HU for CT); 0 is background."""
        ...


Model = Segmenter | Labeller
