"""From a few slices to the volume, for scripts: one call, what was done stays."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_medsam.api.callbacks import call_back
from napari_medsam.api.segmenting import loaded_model, model_name
from napari_medsam.api.tasks import Task
from napari_medsam.embeddings import EmbeddingStore
from napari_medsam.errors import MedsamError, PromptError
from napari_medsam.image import Image
from napari_medsam.intensity import Window
from napari_medsam.labels import ArrayLabels, grown_dtype
from napari_medsam.masks import Overlap
from napari_medsam.models.base import Model
from napari_medsam.models.registry import DEFAULT
from napari_medsam.propagation.growth import Growth, Written
from napari_medsam.propagation.plan import Way, steps_of
from napari_medsam.propagation.prompting import Prompting
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.stopping import StopRules
from napari_medsam.propagation.subject import Span
from napari_medsam.propagation.walk import walk
from napari_medsam.propagation.ways import default_way
from napari_medsam.session import Session
from napari_medsam.shapes import CleanUp

RULES, PROMPTING = StopRules(), Prompting()


@dataclass(frozen=True)
class FoundSlice:
    """An object on a slice, found by a run.

    Parameters
    ----------
    value : int
        Its label.
    position : int
        Along the stack.
    score : float
        0 to 1.
    source : int
        Position of the key slice that it came from; its own where it was prompted.
    """

    value: int
    position: int
    score: float
    source: int


@dataclass(frozen=True)
class EndedAt:
    """How one direction from a key slice ended: the last slice with the object, and why there."""

    value: int
    source: int
    direction: str
    position: int
    why: str


@dataclass(frozen=True)
class Propagated:
    """What a run has given, as far as it came.

    Parameters
    ----------
    labels : int array of the image's grid shape
    names : mapping of int to str
        Name of each value.
    slices : tuple of FoundSlice
        By label, then position.
    ended : tuple of EndedAt
    notes : tuple of str
        What to know about the answers, and of what could not be written; often empty.
    kept : int
        How often an object was found where nothing was written, since the slice was certain.
    hidden : tuple of FoundSlice
        Where an object was found, but nothing of it was written: every pixel belongs to others, which are kept.
    cancelled : bool
    error : MedsamError, optional
        What broke it off; None when nothing did.
    """

    labels: NDArray[Any] = field(repr=False)
    names: Mapping[int, str]
    slices: tuple[FoundSlice, ...]
    ended: tuple[EndedAt, ...]
    notes: tuple[str, ...] = ()
    kept: int = 0
    hidden: tuple[FoundSlice, ...] = ()
    cancelled: bool = False
    error: MedsamError | None = None


def propagate_image(
    image: Image,
    tasks: Iterable[Task] = (),
    *,
    stack: Stack | None = None,
    labels: ArrayLike | None = None,
    names: Mapping[int, str] | None = None,
    values: Collection[int] = (),
    way: Way | None = None,
    rules: StopRules = RULES,
    prompting: Prompting = PROMPTING,
    span: Span | None = None,
    stops: Collection[int] = (),
    window: Window | None = None,
    model: str | Model = DEFAULT,
    overlap: Overlap = Overlap.KEEP,
    clean_ups: Sequence[CleanUp] = (),
    store: EmbeddingStore | None = None,
    progress: Callable[[int, int], object] = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Propagated:
    """Follow objects through a stack of slices, from prompts on some and from labels that are there.

    Parameters
    ----------
    image : Image
    tasks : iterable of Task
        Prompts on slices of the stack. Those of one value, or of one name, are one object. Others: all are one, or, if
        a slice has several, each is one.
    stack : Stack, optional
        The slices to go through; when left out, those behind the first task's along its last hidden axis (depth).
    labels : int array of the image's grid shape, optional
        To start from; not written to.
    names : mapping of int to str, optional
        Of the objects in `labels`.
    values : collection of int
        Objects in `labels` to carry on, from the slices that have them.
    way : Way, optional
        The best that the model offers when left out.
    rules : StopRules
    prompting : Prompting
    span : Span, optional
        The range, which nothing leaves; all slices when left out.
    stops : collection of int
        A direction ends with such a slice.
    window : Window, optional
    model : str or model
    overlap : Overlap
    clean_ups : sequence of CleanUp
        Done to each object in turn, in the end.
    store : EmbeddingStore, optional
        Where embeddings are found and kept; `user_store()` has those of volumes that were prepared.
    progress : callable
        Gets how many masks are done and how many there are at most, after each.
    cancelled : callable
        Asked before each slice; once it says True, the run ends and what is done stays. An interrupt (Ctrl-C) passes
        like any other; but once this says True, it only leaves the slice in hand.

    Returns
    -------
    Propagated
        Also when the run was cancelled, or broken off by an error on its way, be it one of a callback.

    Raises
    ------
    MedsamError
        What was passed in cannot be used; the message says why and what to do.
    """
    every, through = _checked(image, tasks, stack, clean_ups)
    session = _document(image, labels, names, window, model, overlap)
    proposed = _propose(session, through, every)
    loaded, chosen = _means(model, way, every)
    plan = partial(session.plan_propagation, through, way=chosen, rules=rules, prompting=prompting, values=values)
    growth = plan(span=span, stops=stops, owners=proposed.owners, spans=proposed.spans)
    error = _walk(growth, loaded, store or EmbeddingStore(), progress, cancelled)
    return _written(session, growth, clean_ups, proposed.names, error)


def _checked(
    image: Image, tasks: Iterable[Task], stack: Stack | None, clean_ups: Sequence[CleanUp]
) -> tuple[list[Task], Stack]:
    """The tasks and the stack, if all of them, and the operations in the end, can be used."""
    every = list(tasks)
    if stack is None and not every:
        raise PromptError("Nothing says which slices to go through. Give a prompt on one of them, or the stack.")
    through = Stack.through(every[0].plane, image.grid.shape) if stack is None else stack
    shape = through.size, *through.plane(0).shape_in(image.grid.shape)
    for clean_up in clean_ups:
        clean_up.check(shape, (through.pitch(image.grid), *through.pixel(image.grid)))
    for i, task in enumerate(every, start=1):
        if through.position(task.plane) is None:
            at = ", ".join(str(index) for _, index in task.plane.index)
            raise PromptError(f"Slice {at} of prompt {i} does not lie in the stack that is gone through.")
    return every, through


def _means(model: str | Model, way: Way | None, tasks: Sequence[Task]) -> tuple[Model | None, Way]:
    """The model, None where none is needed, and the way: its best when left out."""
    if way is Way.SHAPES and not tasks:
        return None, way
    loaded = loaded_model(model)
    return loaded, way or default_way(loaded)


def _document(
    image: Image,
    labels: ArrayLike | None,
    names: Mapping[int, str] | None,
    window: Window | None,
    model: str | Model,
    overlap: Overlap,
) -> Session:
    """A session on labels of its own."""
    own = ArrayLabels.empty(image.grid.shape) if labels is None else ArrayLabels(np.array(labels))
    session = Session(image, window=window, model=model_name(model), labels=own, names=names)
    session.overlap = overlap
    return session


@dataclass
class _Proposed:
    """Which object each proposal is of, by key; and what was said of the objects, by label."""

    owners: dict[str, int] = field(default_factory=dict)
    spans: dict[int, Span] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)


def _propose(session: Session, stack: Stack, tasks: Sequence[Task]) -> _Proposed:
    """Draw the tasks' prompts, and give a label to each object that has a value, a name or a range of its own.

    Raises
    ------
    LabelsError
        A label is beyond what can be stored.
    """
    proposed = _Proposed()
    dtype = session.labels.read(stack.plane(0)).dtype
    taken = max((task.value or 0 for task in tasks), default=0)
    fresh = itertools.count(max(session.next_value(), taken + 1))
    by_name: dict[str, int] = {name: value for value, name in session.names.items()}
    by_name |= {task.name: task.value for task in tasks if task.name and task.value}
    for i, task in enumerate(tasks):
        session.ask(task.plane, task.prompts, str(i))
        if not (task.value or task.name or task.span):
            continue
        value = task.value or by_name.get(task.name) or next(fresh)
        grown_dtype(dtype, value)  # refused now rather than after the run
        proposed.owners[str(i)] = value
        if task.name:
            by_name[task.name] = value
            proposed.names[value] = task.name
        if task.span is not None:
            known = proposed.spans.get(value, task.span)
            proposed.spans[value] = Span(min(known.first, task.span.first), max(known.last, task.span.last))
    return proposed


def _walk(
    growth: Growth,
    model: Model | None,
    store: EmbeddingStore,
    progress: Callable[[int, int], object],
    cancelled: Callable[[], bool],
) -> MedsamError | None:
    """Walk the plan into the growth; the error that broke it off, None when it came to its end or was cancelled."""
    results, total = walk(growth.plan, model, store), steps_of(growth.plan)
    try:
        while not call_back("cancelled", cancelled):
            result = next(results, None)
            if result is None:
                growth.finish()
                return None
            growth.add(result)
            call_back("progress", partial(progress, growth.steps, total))
    except MedsamError as error:
        return error
    except KeyboardInterrupt:
        if not cancelled():
            raise
    return None


def _written(
    session: Session, growth: Growth, clean_ups: Sequence[CleanUp], names: Mapping[int, str], error: MedsamError | None
) -> Propagated:
    """Write what was found, tidy it up, and tell of it."""
    stopped = error is None and not growth.complete
    written = session.write_growth(growth)
    account = _Account(session, growth, written, names)
    for value in written.pixels:
        if value in names:
            session.rename(value, names[value])
        for clean_up in clean_ups:
            session.write_clean_up(session.clean_up(value, growth.plan.stack, clean_up))
    assert isinstance(session.labels, ArrayLabels)
    return Propagated(
        session.labels.data,
        session.names,
        _in_order(account.slices),
        account.ended,
        (*growth.notes(), *account.notes),
        written.kept,
        _in_order(account.hidden),
        stopped,
        error,
    )


class _Account:
    """What came of a growth that was written just now.

    Parameters
    ----------
    session : Session
    growth : Growth
    written : Written
    names : mapping of int to str
        Of objects that have none in the session yet.
    """

    def __init__(self, session: Session, growth: Growth, written: Written, names: Mapping[int, str]) -> None:
        self.slices: list[FoundSlice] = []
        self.hidden: list[FoundSlice] = []
        self._names = {**session.names, **names}
        self._over: dict[int, set[int]] = {}
        values = written.values
        for at in growth.positions:
            current = session.labels.read(growth.plan.stack.plane(at))
            for number, found in growth.found(at).items():
                here = FoundSlice(values[number], at, found.score, found.source)
                self._take(here, current[found.packed.region][found.packed.inner()])
        ends = ((values[e.number], e.source, e.direction.name.lower(), e.position, str(e.why)) for e in growth.ended)
        self.ended = tuple(EndedAt(*end) for end in sorted(ends, key=lambda end: end[:3]))

    def _take(self, here: FoundSlice, under: NDArray[Any]) -> None:
        """Note a slice where the labels are `under` its mask, (k,)."""
        if (under == here.value).any():
            self.slices.append(here)
        else:
            self.hidden.append(here)
            self._over.setdefault(here.value, set()).update(np.unique(under).tolist())

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each object that could not be written on some slices."""
        told = []
        for value, others in sorted(self._over.items()):
            at = sorted(here.position for here in self.hidden if here.value == value)
            named = ", ".join(self._names.get(other, str(other)) for other in sorted(others))
            told.append(
                f"{self._names.get(value, f'object {value}')!r} was found on {_places(at)}, where every pixel of it "
                f"belongs to other objects ({named}), so nothing was written there. Choose to overwrite them."
            )
        return tuple(told)


def _in_order(slices: Iterable[FoundSlice]) -> tuple[FoundSlice, ...]:
    return tuple(sorted(slices, key=lambda here: (here.value, here.position)))


def _places(positions: Sequence[int]) -> str:
    """Ascending positions in words: "slice 3", or "slices 2 to 4, 7"."""
    runs: list[list[int]] = []
    for at in positions:
        if runs and at == runs[-1][-1] + 1:
            runs[-1].append(at)
        else:
            runs.append([at])
    told = ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)
    return f"slice{'s' if len(positions) > 1 else ''} {told}"
