"""What is proposed on one image, and how to ask for masks.

What enters or leaves is frozen: a `Request` goes to `inference.run`; its `Response` is taken only while its ticket is
the newest of its draft.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.errors import ImageError, LabelsError, MedsamError
from napari_medsam.geometry import Plane
from napari_medsam.image import Image
from napari_medsam.inference import Request, Response, next_ticket
from napari_medsam.intensity import Window, WindowedArray, to_uint8
from napari_medsam.masks import BoolArray
from napari_medsam.models.base import Prediction
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


class Drafts:
    """The proposals on one image; the half of a `Session` that writes nothing.

    Parameters
    ----------
    image : Image
    window : Window
        Intensities to show to the model.
    model : str
        Short name of the model, as in `models.registry`.
    """

    def __init__(self, image: Image, window: Window, model: str) -> None:
        self.image = image
        self.window = window
        self.model = model
        self.drafts: dict[str, Draft] = {}

    @property
    def seen(self) -> WindowedArray:
        """The image in use as the model sees it, through the window in use, computed slice by slice when indexed."""
        return WindowedArray(lambda: self.image.data, lambda: self.window, rgb=self.image.rgb)

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

    def sketch(self, plane: Plane, prompts: Prompts, key: str) -> Request:
        """A request that belongs to no draft: `receive` passes its answer over."""
        plane.check(self.image.grid.shape)
        return self._request(plane, prompts, key)

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
        self.revise({key: now[key][2] for key in now.keys() - set(changed)})
        return [self._ask(key, now[key]) for key in changed]

    def revise(self, objects: Mapping[str, int]) -> None:
        """Say by key of drafts what they are to replace, 0 for nothing; no model is asked for that."""
        for key, value in objects.items():
            if key in self.drafts:
                self.drafts[key] = replace(self.drafts[key], revises=value)

    def ask_again(self) -> list[Request]:
        """Requests for every draft, after the window, the model or the image has changed."""
        return [self._ask(d.key, question(d)) for d in self.drafts.values()]

    def ask_unanswered(self) -> list[Request]:
        """Requests for the drafts without an answer, after waiting requests were dropped."""
        silent = [d for d in self.drafts.values() if d.pending]
        return [self._ask(d.key, question(d)) for d in silent]

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

    # -- inside ------------------------------------------------------------------------------------------------

    def _request(self, plane: Plane, prompts: Prompts, key: str) -> Request:
        pixels = pixels_of(self.image, plane, self.window)
        return Request(next_ticket(), key, plane, prompts, self.model, pixels)

    def _ask(self, key: str, what: tuple[Plane, Prompts, int]) -> Request:
        plane, prompts, revises = what
        return self.ask(plane, prompts, key, revises)

    def _holds(self, key: str, what: tuple[Plane, Prompts, int]) -> bool:
        draft = self.drafts.get(key)
        return draft is not None and question(draft)[:2] == what[:2]


def question(draft: Draft) -> tuple[Plane, Prompts, int]:
    """What is asked for a draft: its slice, its prompts, and the object that it revises."""
    return draft.plane, draft.prompts, draft.revises


def require_writable(mask: BoolArray, value: int | None) -> None:
    """Raise LabelsError when a mask is empty, or is to be written as the background; None: as a new object."""
    if value is not None and value < 1:
        raise LabelsError(f"Objects have values from 1; {value} is background.")
    if not mask.any():
        raise LabelsError("The mask is empty, so there is nothing to accept. Change the prompts, or clear them.")


def refuse_hidden(under: NDArray[Any], value: int, names: Mapping[int, str]) -> None:
    """Raise LabelsError when other objects lie `under` a mask, of which nothing could be written."""
    others = [v for v in np.unique(under).tolist() if v != value]
    if others:
        named = ", ".join(names.get(v, str(v)) for v in others)
        raise LabelsError(
            f"Every pixel of the mask belongs to other objects ({named}). Choose to overwrite them, or undo them first."
        )


def pixels_of(image: Image, plane: Plane, window: Window) -> Callable[[], NDArray[np.uint8]]:
    """What gives the plane as the model sees it: from a copy made now, or of a lazy array, read when called."""
    if image.lazy:
        return lambda: to_uint8(read_plane(image, plane), window)
    copied = read_plane(image, plane)
    return lambda: to_uint8(copied, window)


def read_plane(image: Image, plane: Plane) -> NDArray[Any]:
    """A copy of one slice; ImageError, which says where, when it cannot be read."""
    try:
        return image.plane(plane)
    except (MedsamError, MemoryError):
        raise
    except Exception as error:
        raise ImageError(f"Slice {dict(plane.index)} of {image.name!r} could not be read: {error}.") from error
