"""What is known of a model before anything is loaded: a row of the table. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from napari_medsam.models.base import ModelSpec
from napari_medsam.prompts import PromptKind

QUICK = 0.01
"""The speed, see `Row`, of models that only prepare the plane. Measured at 512 x 512 on one core: contour and starter
encode in 2 ms, and their 1.3 to 1.6 MiB are read and checked in 2 to 3 ms."""


@dataclass(frozen=True)
class WeightFile:
    """One file of weights, and where it comes from.

    Parameters
    ----------
    name : str
        File name under which it is published and kept.
    size : int
        Bytes; 0 where nobody has said.
    sha256 : str
        Hex digest; empty where unknown. The digest of the first download is then kept, and another one refused later.
    url : str
        Direct address; empty where there is none.
    repository : str
        Hugging Face repository, "owner/name"; empty where there is none.
    inside : str
        Path within the repository, `name` when empty.
    page : str
        Where a person gets it by hand, when neither address nor repository is there (Google Drive).
    exact : bool
        Whether `size` is known to the byte; when not, it is shown only.
    seen_sha256 : str
        A digest that one mirror states and nobody has confirmed: it recognises a file, and refuses none.
    """

    name: str
    size: int = 0
    sha256: str = ""
    url: str = ""
    repository: str = ""
    inside: str = ""
    page: str = ""
    exact: bool = True
    seen_sha256: str = ""

    @property
    def fetchable(self) -> bool:
        """Whether it can be fetched without a person."""
        return bool(self.url or self.repository)


@dataclass(frozen=True)
class Row:
    """One model.

    Parameters
    ----------
    name : str
        The short name by which a user chooses it.
    title : str
        One line for the chooser.
    backend : str
        `module:callable` that makes it from a `Sources`; called without arguments for what comes with the package.
    family : str
        Heading under which the chooser shows it.
    about : str
        A sentence or two, honest about the limits.
    licence : str
        Licence of the weights.
    prompts : frozenset of PromptKind
        The prompts that it was made for.
    stand_ins : mapping of PromptKind to str
        See `ModelSpec`.
    classes : tuple of str
        What it labels without any prompt; empty for models that need prompts.
    layout : str
        Which network its weights fit, as `checkpoints.identify` names it; empty where there are none.
    files : tuple of WeightFile
        The same weights in one or more files or formats, the best first; one of them is needed.
    base : str
        Name of the row whose weights are needed beside; empty for none.
    source : str
        Home page of the project.
    built_in : bool
        Whether it can be used as it comes, without a file.
    input_size : int
        Side in pixels of the square that the network sees.
    memory_mb : int
        Measured: what loading it and one encode on a CPU add to the process.
    speed : float
        Measured: time of an encode on a CPU, as a part of SAM ViT-B's.
    """

    name: str
    title: str
    backend: str
    family: str = "Built in"
    about: str = ""
    licence: str = "Apache-2.0"
    prompts: frozenset[PromptKind] = frozenset()
    stand_ins: Mapping[PromptKind, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    layout: str = ""
    files: tuple[WeightFile, ...] = ()
    base: str = ""
    source: str = ""
    built_in: bool = False
    input_size: int = 0
    memory_mb: int = 0
    speed: float = 0.0

    @property
    def takes(self) -> frozenset[PromptKind]:
        """The prompts that can be given: those that it was made for, and those with a stand-in."""
        return self.prompts | frozenset(self.stand_ins)

    @property
    def prompts_in_words(self) -> str:
        """The prompts that it was made for, in a few words."""
        if self.automatic:
            return "nothing: automatic"
        return ", ".join(kind.value for kind in PromptKind if kind in self.prompts)

    @property
    def automatic(self) -> bool:
        """Whether it labels a whole plane without prompts."""
        return bool(self.classes)

    @property
    def quick(self) -> bool:
        """Whether it encodes a plane about as fast as a disk reads its embedding."""
        return 0 < self.speed <= QUICK

    def spec(self, digest: str) -> ModelSpec:
        """The spec of a loaded model of this row; `digest` says which weights and settings."""
        return ModelSpec(
            name=self.name,
            title=self.title,
            digest=f"{self.name}-{digest}",
            prompts=self.prompts,
            needs_network=False,
            licence=self.licence,
            about=self.about,
            stand_ins=self.stand_ins,
            quick=self.quick,
        )
