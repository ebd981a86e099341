"""The document of one image: what is proposed, what is accepted, and what was grown from there.

`Session` is the one mutable object. Everything that enters or leaves it is frozen, but for a `Growth`, which collects
the results of a run through a stack until they are written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.drafts import Accepted, Draft, Drafts, refuse_hidden, require_writable
from napari_medsam.errors import LabelsError, PromptError
from napari_medsam.geometry import Plane
from napari_medsam.image import Image
from napari_medsam.intensity import Window, suggest_window
from napari_medsam.labelling import Findings, Labelled
from napari_medsam.labels import ArrayLabels, LabelStore
from napari_medsam.masks import BoolArray, Overlap, paintable, revised
from napari_medsam.models.registry import DEFAULT
from napari_medsam.objects import ObjectNames
from napari_medsam.propagation.bystanders import Bystanders
from napari_medsam.propagation.gathering import NEW
from napari_medsam.propagation.growth import Growth, Written
from napari_medsam.propagation.plan import Way
from napari_medsam.propagation.planning import Order, Scene, planned, replanned
from napari_medsam.propagation.prompting import Prompting
from napari_medsam.propagation.provenance import Provenance, Reviewed, by_doubt, following
from napari_medsam.propagation.recording import Recording, require_labels, values_for
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.stopping import StopRules
from napari_medsam.propagation.subject import Span
from napari_medsam.propagation.tidying import Tidied, steps, tidied
from napari_medsam.shapes import CleanUp

__all__ = ["Accepted", "Draft", "Session"]

RULES, PROMPTING = StopRules(), Prompting()
"""When nothing else is asked for."""


class Session(Drafts):
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
        super().__init__(image, suggest_window(image.sample())[1] if window is None else window, model)
        self.overlap = Overlap.KEEP
        self.target: int | None = None
        self.new_name = ""
        self._objects = ObjectNames(names)
        self._provenance = Provenance()
        self._accepted: dict[str, Accepted] = {}
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
        if labels is not self._labels:
            self._provenance, self._accepted = Provenance(), {}
        self._labels = labels
        self._objects = ObjectNames(self.names)

    @property
    def names(self) -> dict[int, str]:
        """Name of each object; setting it replaces them all."""
        return self._objects.names

    @names.setter
    def names(self, names: Mapping[int, str]) -> None:
        self._objects = ObjectNames(names)

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
        self._accepted[key] = Accepted(key, value, draft.plane, pixels)
        return self._accepted[key]

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
            require_writable(draft.mask, draft.revises or self.target)

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

        self._put(noted())
        return Labelled(len(findings), {value: count for value, count in pixels.items() if count})

    # -- following ---------------------------------------------------------------------------------------------

    def plan_propagation(
        self,
        stack: Stack,
        *,
        way: Way,
        rules: StopRules = RULES,
        prompting: Prompting = PROMPTING,
        span: Span | None = None,
        stops: Collection[int] = (),
        values: Collection[int] = (),
        owners: Mapping[str, int] | None = None,
        spans: Mapping[int, Span] | None = None,
    ) -> Growth:
        """Plan a run through a stack: walk its `plan`, give it the results, and write it with `write_growth`.

        It follows the proposals on slices of the stack, and objects of the labels from their certain slices. What an
        earlier run has grown in the range is replaced. A slice from which the user has taken an object is not passed.

        Parameters
        ----------
        stack : Stack
        way : Way
        rules : StopRules
        prompting : Prompting
        span : Span, optional
            The range; the whole stack when left out.
        stops : collection of int
            "Stop here" slices.
        values : collection of int
            Objects to follow; the target, if there is one, when left out.
        owners : mapping of str to int, optional
            The object of proposals, by key, where it is neither the one that they revise nor the target. Without
            any, each is a new object where a slice has several, otherwise all are one.
        spans : mapping of int to Span, optional
            Ranges of objects that have one of their own, by label.

        Raises
        ------
        PromptError
            Nothing says where an object is, or a proposal lies outside the range or cannot be used.
        GeometryError
            The range or a stop lies outside the stack, or it is a single slice.
        """
        order = Order(stack, way, rules, prompting, span, stops, dict(spans or {}))
        followed = values or ([] if self.target is None else [self.target])
        self._accepted.clear()
        return planned(self._scene, order, followed, self._owners | dict(owners or {}))

    def replan(
        self,
        value: int,
        stack: Stack,
        position: int,
        *,
        way: Way,
        rules: StopRules = RULES,
        prompting: Prompting = PROMPTING,
        span: Span | None = None,
        stops: Collection[int] = (),
    ) -> Growth:
        """Plan to follow an object from one slice outward again, up to the next on each side that is certain.

        Raises
        ------
        PromptError
            The object is not on that slice, and was not taken away there; or nothing certain is left around it.
        GeometryError
            As `plan_propagation`.
        """
        order = Order(stack, way, rules, prompting, span, stops)
        self._accepted.clear()
        return replanned(self._scene, order, value, position, self._owners)

    def write_growth(self, growth: Growth) -> Written:
        """Write what a run has found, as one undo step. Proposals that it went out from are accepted with it.

        What the user has drawn, accepted, corrected or taken away of an object on a slice, also while the run was
        under way, is kept. The overlap rule counts.

        Raises
        ------
        LabelsError
            The labels are others now, or a value cannot be stored; what was written before stays, and is one step.
        """
        require_labels(growth, self.labels)
        recording = Recording(growth, self.labels, values_for(growth, self._accepted, self.next_value()))
        if growth.writes:
            own = [(value, growth.plan.stack) for value, _ in recording.objects]
            try:
                self._put(recording.steps(self.overlap), own)
            finally:
                self._note(recording)
        return recording.written

    def review(self, value: int, stack: Stack) -> list[Reviewed]:
        """The slices of a stack that have an object, or had it taken away, in order. Reads all of its labels once."""
        return self._scene.trail(value, stack).along(range(stack.size))

    def reviewed(self, value: int, stack: Stack, position: int) -> Reviewed | None:
        """One slice of an object; None where it is not, and was not taken away either."""
        return self._scene.trail(value, stack).at(position)

    def doubtful(self, value: int, stack: Stack) -> list[Reviewed]:
        """The slices of an object that a run has grown, lowest score first."""
        return by_doubt(self.review(value, stack))

    def next_doubtful(self, value: int, stack: Stack, position: int) -> Reviewed | None:
        """The slice after `position` in the order of doubt, and after the last the first again; None: none was grown.

        The most doubtful one where `position` is none of them.
        """
        return following(self.doubtful(value, stack), position)

    def clean_up(self, value: int, stack: Stack, cleanup: CleanUp) -> Tidied:
        """What an object would be after an operation on all slices of a stack together; nothing is written.

        Raises
        ------
        LabelsError
            There is nothing of the object in the stack.
        """
        return tidied(value, stack, cleanup, self.image.grid, self._scene.look(value, stack))

    def write_clean_up(self, shown: Tidied) -> None:
        """Write what `clean_up` has shown, as one undo step.

        What was grown stays so: it may still be replaced by another run.

        Raises
        ------
        LabelsError
            The object has changed since.
        """
        shown.require_unchanged(self._scene.look(shown.value, shown.stack))
        self._put(steps(shown, self.labels))

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

    @property
    def _scene(self) -> Scene:
        """What a run is planned from."""
        drafts = tuple(self.drafts.values())
        return Scene(self.image, self.window, self.labels, self.names, self._provenance, drafts, self.new_name)

    @property
    def _owners(self) -> dict[str, int]:
        """The object that each proposal belongs to; NEW: to none yet."""
        return {draft.key: draft.revises or self.target or NEW for draft in self.drafts.values()}

    def _put(self, slices: Iterable[tuple[Plane, NDArray[Any]]], own: Collection[tuple[int, Stack]] = ()) -> None:
        """Write slices as one undo step; what runs have grown of objects but `own` stays so where it is changed."""
        others = Bystanders(self._scene, own)
        try:
            self.labels.put(others.watch(slices))
        finally:
            others.note()

    def _note(self, recording: Recording) -> None:
        """Bring names, provenance and proposals in step with what was written."""
        recording.remember(self._objects, self._scene)
        if self.new_name in recording.names:
            self.new_name = ""
        for key in recording.settle(self.drafts):
            del self.drafts[key]

    def _write(self, plane: Plane, mask: BoolArray) -> tuple[int, int]:
        """Write a mask for the target, or a new object; (pixels changed, value)."""
        value = self.next_value() if self.target is None else self.target
        before = self.labels.read(plane)
        where = paintable(before, mask, value, self.overlap)
        if not where.any():
            refuse_hidden(before[mask], value, self.names)
        others = Bystanders(self._scene, self._provenance.stacks_of(value))
        others.look(plane, np.where(where, 0, before))
        self.labels.write(plane, where, value)
        others.note()
        (self._objects.make if self.target is None else self._objects.extend)(value, self.new_name, plane)
        self.new_name = ""
        return int(np.count_nonzero(where)), value

    def _revise(self, draft: Draft, mask: BoolArray) -> tuple[int, int]:
        """Put a mask in place of what the object has on the slice; (pixels changed, value)."""
        before = self.labels.read(draft.plane)
        after = revised(before, mask, draft.revises, self.overlap)
        if not (after == draft.revises).any():
            refuse_hidden(before[mask], draft.revises, self.names)
        self._put([(draft.plane, after)], self._provenance.stacks_of(draft.revises))
        self._objects.extend(draft.revises, "", draft.plane)
        return int(np.count_nonzero(after != before)), draft.revises
