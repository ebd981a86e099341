"""The document of one image: what is proposed, what is accepted, and how to ask for masks.

`Session` is the one mutable object. Everything that enters or leaves it is frozen: a `Request` goes to `inference.run`;
its `Response` is taken only while its ticket is the newest of its draft.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import ImageError, LabelsError, MedsamError, PromptError
from napari_medsam.geometry import Plane
from napari_medsam.image import Image
from napari_medsam.inference import Request, Response, next_ticket
from napari_medsam.intensity import Window, WindowedArray, suggest_window, to_uint8
from napari_medsam.labelling import Findings, Labelled
from napari_medsam.labels import ArrayLabels, LabelStore
from napari_medsam.masks import BoolArray, Overlap, paintable, revised
from napari_medsam.models.base import Prediction
from napari_medsam.models.registry import DEFAULT
from napari_medsam.objects import ObjectNames
from napari_medsam.prompts import Prompts


@dataclass(frozen=True)
class Draft:
    """A proposed object on one plane, not yet in the labels."""

    key: str
    plane: Plane
    prompts: Prompts
    revises: int = 0
    """The object whose pixels on the slice its mask is to replace; 0: the mask is added to the target."""
    ticket: int = 0
    answered: int = 0
    """Ticket of the request that `prediction` or `error` answers."""
    prediction: Prediction | None = None
    candidate: int = 0
    error: MedsamError | None = None
    wanted: bool = False
    """Whether it was accepted before its prediction arrived."""

    @property
    def pending(self) -> bool:
        """Whether the newest request is not answered yet; `mask` is then of an earlier one."""
        return self.ticket != self.answered

    @property
    def mask(self) -> BoolArray | None:
        """The candidate mask in use, (rows, columns); None while there is none."""
        return None if self.prediction is None else np.asarray(self.prediction.masks[self.candidate])

    @property
    def score(self) -> float | None:
        """The score of the candidate in use; None while there is none."""
        return None if self.prediction is None else float(self.prediction.scores[self.candidate])


@dataclass(frozen=True)
class Accepted:
    """What an accept wrote: `pixels` changed on `plane` for the object `value`."""

    key: str
    value: int
    plane: Plane
    pixels: int


class Session:
    """The document of one image. Not thread-safe: use it from one thread, and `run` from any.

    Parameters
    ----------
    image : Image
    window : Window, optional
        Intensities to show to the model; suggested from a sample of the image when left out.
    model : str
        Short name of the model, as in `models.registry`.
    labels : LabelStore, optional
        Where accepted masks go; new, empty labels on the image's grid when left out.
    names : mapping of int to str, optional
        Names of objects that exist already.
    """

    def __init__(
        self,
        image: Image,
        *,
        window: Window | None = None,
        model: str = DEFAULT,
        labels: LabelStore | None = None,
        names: Mapping[int, str] | None = None,
    ) -> None:
        self.image = image
        self.window = suggest_window(image.sample())[1] if window is None else window
        self.model = model
        self.overlap = Overlap.KEEP
        self.target: int | None = None
        self.new_name = ""
        self._objects = ObjectNames(names)
        self.drafts: dict[str, Draft] = {}
        self._labels: LabelStore = ArrayLabels.empty(image.grid.shape)
        self.labels = self._labels if labels is None else labels

    @property
    def labels(self) -> LabelStore:
        """Where accepted masks go. Setting it checks that it has the image's shape."""
        return self._labels

    @labels.setter
    def labels(self, labels: LabelStore) -> None:
        if labels.shape != self.image.grid.shape:
            raise LabelsError(
                f"The labels have {labels.shape} voxels and the image {self.image.grid.shape}; "
                "choose labels of the same image, or new ones."
            )
        self._labels = labels
        self._objects = ObjectNames(self.names)

    @property
    def names(self) -> dict[int, str]:
        """Name of each object; setting it replaces them all."""
        return self._objects.names

    @names.setter
    def names(self, names: Mapping[int, str]) -> None:
        self._objects = ObjectNames(names)

    @property
    def seen(self) -> WindowedArray:
        """The image in use as the model sees it, through the window in use, computed slice by slice when indexed."""
        return WindowedArray(lambda: self.image.data, lambda: self.window, rgb=self.image.rgb)

    # -- asking ------------------------------------------------------------------------------------------------

    def ask(self, plane: Plane, prompts: Prompts, key: str = "0", revises: int = 0) -> Request:
        """Propose an object (or change the proposal `key`), and make the request for its mask.

        Accepted, the mask is added to the target, or replaces all that the object `revises` has on the slice.

        Raises
        ------
        GeometryError
            The plane does not lie in the image.
        """
        plane.check(self.image.grid.shape)
        before = self.drafts.get(key)
        request = self._request(plane, prompts, key)
        if before is None or before.plane != plane:
            before = Draft(key, plane, prompts)
        self.drafts[key] = replace(before, prompts=prompts, revises=revises, ticket=request.ticket, error=None)
        return request

    def warm(self, plane: Plane) -> Request:
        """The request that encodes `plane` ahead of a prompt."""
        plane.check(self.image.grid.shape)
        return self._request(plane, Prompts(), "")

    def update(
        self, drawn: Iterable[tuple[str, Plane, Prompts]], revised: Mapping[str, int] | None = None
    ) -> list[Request]:
        """Make the drafts be what is `drawn`, and return requests for those that are new or changed.

        `revised` says by key which of them are to replace what an object has on the slice. Drafts that were accepted
        before their answer came stay until it comes.
        """
        objects = revised or {}
        now = {key: (plane, prompts, objects.get(key, 0)) for key, plane, prompts in drawn}
        for plane, _, _ in now.values():
            plane.check(self.image.grid.shape)
        self.drafts = {key: d for key, d in self.drafts.items() if key in now or (d.wanted and d.pending)}
        changed = [key for key, what in now.items() if not self._holds(key, what)]
        return [self._ask(key, now[key]) for key in changed]

    def ask_again(self) -> list[Request]:
        """Requests for every draft, after the window, the model or the image has changed."""
        return [self._ask(d.key, _question(d)) for d in self.drafts.values()]

    def ask_unanswered(self) -> list[Request]:
        """Requests for the drafts without an answer, after waiting requests were dropped."""
        silent = [d for d in self.drafts.values() if d.pending]
        return [self._ask(d.key, _question(d)) for d in silent]

    def receive(self, response: Response) -> bool:
        """Take an answer; False when it is late: its draft is gone or has asked again since."""
        draft = self.drafts.get(response.request.draft)
        if draft is None or draft.ticket != response.request.ticket:
            return False
        prediction = response.prediction
        chosen = 0 if prediction is None else prediction.chosen
        self.drafts[draft.key] = replace(
            draft, answered=draft.ticket, prediction=prediction, candidate=chosen, error=response.error
        )
        return True

    def next_candidate(self, key: str) -> Draft:
        """Turn to the draft's next alternative mask, after the last the first again."""
        draft = self.drafts[key]
        if draft.prediction is not None:
            draft = replace(draft, candidate=(draft.candidate + 1) % len(draft.prediction.masks))
            self.drafts[key] = draft
        return draft

    # -- accepting ---------------------------------------------------------------------------------------------

    def accept(self, key: str = "0") -> Accepted | None:
        """Write the draft's mask into the labels, on its own slice only, as one undo step.

        A draft whose answer is still on its way is marked, and None is returned: accept it again when it arrived.

        Raises
        ------
        PromptError
            There is no such draft.
        LabelsError
            The mask is empty, the value cannot be stored, or all pixels belong to other objects. The draft is kept.
        """
        self.check_accept(key)
        draft = self.drafts[key]
        if draft.pending or draft.mask is None:
            self.drafts[key] = replace(draft, wanted=True)
            return None
        pixels, value = self._revise(draft, draft.mask) if draft.revises else self._write(draft.plane, draft.mask)
        del self.drafts[key]
        return Accepted(key, value, draft.plane, pixels)

    def check_accept(self, key: str = "0") -> None:
        """Raise what `accept` would raise, as far as no voxel of the labels need be read for it.

        A draft whose answer is still on its way passes; one that has its answer is not waiting any more, so its mark
        is taken off.

        Raises
        ------
        PromptError
            There is no such draft.
        LabelsError
            The mask is empty, or the target is no object.
        MedsamError
            The error that the draft was answered with.
        """
        draft = self.drafts.get(key)
        if draft is None:
            raise PromptError("There is no such proposal. Draw a box, or click a point on the object.")
        if draft.pending:
            return
        self.drafts[key] = replace(draft, wanted=False)
        if draft.error is not None:
            raise draft.error
        if draft.mask is not None:
            self._check_write(draft.mask, draft.revises or self.target)

    def write_labels(self, findings: Findings) -> Labelled:
        """Write what a model has found without prompts, as one undo step.

        What is named like an object extends that one, the rest becomes new objects. The overlap rule counts.

        Raises
        ------
        LabelsError
            A value cannot be stored; what was written before stays, and is one step.
        """
        values = findings.values_among(self.names, self.next_value())
        pixels = dict.fromkeys(values.values(), 0)
        classes = {value: findings.classes[c] for c, value in values.items()}

        def noted() -> Iterator[tuple[Plane, NDArray[np.int64]]]:
            for plane, after in findings.laid_over(self.labels.read, values, self.overlap):
                changed = after[after != self.labels.read(plane)]
                for value, count in zip(*np.unique(changed, return_counts=True), strict=True):
                    self._objects.add(int(value), classes[int(value)], plane)
                    pixels[int(value)] += int(count)
                yield plane, after

        self.labels.put(noted())
        return Labelled(len(findings), {value: count for value, count in pixels.items() if count})

    def next_value(self) -> int:
        """The value of the next new object: one above all that are in use or named."""
        return max(self.labels.highest(), max(self.names, default=0)) + 1

    def undo(self) -> None:
        """Take back the last change of the labels, whoever made it."""
        self.labels.undo()
        self.refresh_names()

    def redo(self) -> None:
        """Do the last undone change of the labels again."""
        self.labels.redo()
        self.refresh_names()

    def refresh_names(self) -> None:
        """Bring the names in step with the voxels, after an undo that went past this session.

        A target that was made here and is gone is dropped; one that never had a name stays.
        """
        if self.target in self._objects.refresh(self.labels.read):
            self.target = None

    def rename(self, value: int, name: str) -> None:
        """Give an object a name."""
        self._objects.rename(value, name)

    # -- inside ------------------------------------------------------------------------------------------------

    def _request(self, plane: Plane, prompts: Prompts, key: str) -> Request:
        pixels = _pixels(self.image, plane, self.window)
        return Request(next_ticket(), key, plane, prompts, self.model, pixels)

    def _ask(self, key: str, what: tuple[Plane, Prompts, int]) -> Request:
        plane, prompts, revises = what
        return self.ask(plane, prompts, key, revises)

    def _holds(self, key: str, what: tuple[Plane, Prompts, int]) -> bool:
        draft = self.drafts.get(key)
        return draft is not None and _question(draft) == what

    def _check_write(self, mask: BoolArray, value: int | None) -> None:
        if value is not None and value < 1:
            raise LabelsError(f"Objects have values from 1; {value} is background.")
        if not mask.any():
            raise LabelsError("The mask is empty, so there is nothing to accept. Change the prompts, or clear them.")

    def _write(self, plane: Plane, mask: BoolArray) -> tuple[int, int]:
        """Write a mask for the target, or a new object; (pixels changed, value)."""
        value = self.next_value() if self.target is None else self.target
        before = self.labels.read(plane)
        where = paintable(before, mask, value, self.overlap)
        if not where.any():
            self._refuse_hidden(before[mask], value)
        self.labels.write(plane, where, value)
        (self._objects.make if self.target is None else self._objects.extend)(value, self.new_name, plane)
        self.new_name = ""
        return int(np.count_nonzero(where)), value

    def _revise(self, draft: Draft, mask: BoolArray) -> tuple[int, int]:
        """Put a mask in place of what the object has on the slice; (pixels changed, value)."""
        before = self.labels.read(draft.plane)
        after = revised(before, mask, draft.revises, self.overlap)
        if not (after == draft.revises).any():
            self._refuse_hidden(before[mask], draft.revises)
        self.labels.put([(draft.plane, after)])
        self._objects.extend(draft.revises, "", draft.plane)
        return int(np.count_nonzero(after != before)), draft.revises

    def _refuse_hidden(self, under: NDArray[Any], value: int) -> None:
        others = [v for v in np.unique(under).tolist() if v != value]
        if others:
            named = ", ".join(self.names.get(v, str(v)) for v in others)
            raise LabelsError(
                f"Every pixel of the mask belongs to other objects ({named}). Choose to overwrite them, or undo them "
                "first."
            )


def _question(draft: Draft) -> tuple[Plane, Prompts, int]:
    return draft.plane, draft.prompts, draft.revises


def _pixels(image: Image, plane: Plane, window: Window) -> Callable[[], NDArray[np.uint8]]:
    """What gives the plane as the model sees it: from a copy made now, or of a lazy array, read when called."""
    if image.lazy:
        return lambda: to_uint8(_read(image, plane), window)
    copied = _read(image, plane)
    return lambda: to_uint8(copied, window)


def _read(image: Image, plane: Plane) -> NDArray[Any]:
    try:
        return image.plane(plane)
    except (MedsamError, MemoryError):
        raise
    except Exception as error:
        raise ImageError(f"Slice {dict(plane.index)} of {image.name!r} could not be read: {error}.") from error
