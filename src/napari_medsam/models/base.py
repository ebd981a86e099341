"""The seam: what every model offers, on the image's own grid, in (row, column). No torch here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import UnsupportedError
from napari_medsam.prompts import Logits, MaskPrompt, PromptKind, Prompts

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
    quick : bool
        Whether a plane is encoded about as fast as its embedding is read from a disk, so that writing gains nothing.
    """

    name: str
    title: str
    digest: str
    prompts: frozenset[PromptKind]
    needs_network: bool
    licence: str
    about: str
    stand_ins: Mapping[PromptKind, str] = field(default_factory=dict)
    quick: bool = False

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
    plane : (rows, columns) or (rows, columns, 3) uint8 array, optional
        What it was made of, lent by who has it at hand: not kept with it, so not part of `nbytes`.
    key : str
        What a store knows it by; empty for one that comes from no store.
    """

    model: str
    shape: tuple[int, int]
    arrays: Mapping[str, NDArray[np.generic]]
    plane: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)
    key: str = field(default="", compare=False)

    @property
    def nbytes(self) -> int:
        """Memory held for as long as it is kept."""
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
    logits : tuple of Logits
        Those of each mask, for the next round of the same object; empty where the model does not start from its own.
    """

    masks: BoolArray
    scores: NDArray[np.float64]
    chosen: int = 0
    note: str = ""
    logits: tuple[Logits, ...] = ()

    @property
    def mask(self) -> BoolArray:
        """The chosen mask, (rows, columns)."""
        return np.asarray(self.masks[self.chosen])

    @property
    def score(self) -> float:
        """The score of the chosen mask."""
        return float(self.scores[self.chosen])

    @property
    def prompt(self) -> MaskPrompt:
        """The chosen mask as a prompt of the next round; PromptError where it is empty."""
        return MaskPrompt(self.mask, self.logits[self.chosen] if self.logits else None)


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
class BatchEncoder(Protocol):
    """A segmenter that encodes several planes at once, where its device gains from that."""

    @property
    def batch(self) -> int:
        """How many planes to give it at a time, at least 1; it may change with what memory is free."""
        ...

    def encode_batch(self, planes: Sequence[NDArray[np.uint8]]) -> list[Embedding]:
        """Embeddings of planes of any shapes, in their order, each with memory of its own."""
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


class Direction(IntEnum):
    """The way through a stack of planes: the step from one position to the next."""

    UP = 1
    DOWN = -1


class Tracker(Protocol):
    """What a model remembers of some objects while they are followed through a stack. Lives on one thread.

    Positions are those of the planes in the stack; objects are numbers of the caller's. What it holds stays bounded
    however many planes it has seen.
    """

    def condition(self, position: int, embedding: Embedding, known: Mapping[int, Prompts]) -> Mapping[int, Prediction]:
        """Take what is known of objects on a plane; a lone mask prompt is the truth there. Their masks on the plane."""
        ...

    def follow(
        self, position: int, embedding: Embedding, objects: Collection[int], direction: Direction
    ) -> Mapping[int, Prediction]:
        """Find objects on a plane from what was seen on others before it; an empty mask where one is not there."""
        ...


@runtime_checkable
class Propagator(Protocol):
    """A model with a memory, that follows objects through a stack of planes by itself."""

    @property
    def spec(self) -> ModelSpec:
        """What the model is and takes."""
        ...

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        """Do the slow part, once per plane: for every object, both directions, and prompts on single planes."""
        ...

    def tracker(self, planes: int) -> Tracker:
        """An empty memory, for a stack of so many planes."""
        ...


Model = Segmenter | Labeller


def require_memory(model: Segmenter | Labeller | Propagator) -> Propagator:
    """The model as one with a memory.

    Raises
    ------
    UnsupportedError
        It has none.
    """
    if isinstance(model, Propagator):
        return model
    raise UnsupportedError(
        f"{model.spec.title} as it is loaded has no memory to follow an object by. Go slice by slice, or choose a "
        "model of the SAM 2 family; a file of it for single images has no memory either, the published .pt has."
    )
