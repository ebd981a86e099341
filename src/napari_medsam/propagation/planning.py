"""Plans runs: whom to follow, from which slices, within which range. Reads labels and proposals, changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medsam.drafts import Draft, read_plane
from napari_medsam.errors import LabelsError, PromptError
from napari_medsam.image import Image
from napari_medsam.intensity import Window, to_uint8
from napari_medsam.labels import LabelStore
from napari_medsam.propagation.gathering import (
    NEW,
    Followed,
    Known,
    Marked,
    Numbers,
    as_key,
    checked_range,
    look_at,
    look_outward,
    new_groups,
    require_inside,
)
from napari_medsam.propagation.growth import Growth
from napari_medsam.propagation.plan import Plan, Way
from napari_medsam.propagation.prompting import Prompting
from napari_medsam.propagation.provenance import Look, Provenance, Trail
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.stopping import StopRules
from napari_medsam.propagation.subject import Span


@dataclass(frozen=True)
class Scene:
    """What a run is planned from, at one moment.

    Parameters
    ----------
    image : Image
    window : Window
    labels : LabelStore
    names : mapping of int to str
    provenance : Provenance
    drafts : sequence of Draft
        The open proposals.
    new_name : str
        Of the next new object; may be empty.
    """

    image: Image
    window: Window
    labels: LabelStore
    names: Mapping[int, str]
    provenance: Provenance
    drafts: Sequence[Draft] = ()
    new_name: str = ""

    def look(self, value: int, stack: Stack) -> Look:
        """What gives the pixels of an object along a stack."""
        return lambda position: np.asarray(self.labels.read(stack.plane(position)) == value)

    def trail(self, value: int, stack: Stack) -> Trail:
        """An object along a stack, as it is now."""
        return self.provenance.trail(value, stack, self.look(value, stack))

    def known(self, value: int, stack: Stack) -> Known:
        """An object that was not looked at yet."""
        return Known(self.trail(value, stack))

    def name(self, value: int) -> str:
        """What to call an object."""
        return self.names.get(value, f"object {value}")


@dataclass(frozen=True)
class Order:
    """What the user asks for.

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
    spans : mapping of int to Span
        Ranges of objects that have one of their own, by label. Nothing leaves `span` for it.
    """

    stack: Stack
    way: Way
    rules: StopRules = field(default_factory=StopRules)
    prompting: Prompting = field(default_factory=Prompting)
    span: Span | None = None
    stops: Collection[int] = ()
    spans: Mapping[int, Span] = field(default_factory=dict)

    def numbers(self) -> Numbers:
        """What makes the objects of the run."""
        return Numbers(self.stops, outward=self.way is not Way.SHAPES)

    def range_of(self, value: int) -> Span:
        """The range of an object, within that of the run, checked; see `gathering.checked_range`."""
        whole = checked_range(self.stack, self.span, self.stops)
        return checked_range(self.stack, self.spans.get(value), self.stops).common(whole)


def planned(scene: Scene, order: Order, values: Collection[int], owners: Mapping[str, int]) -> Growth:
    """A run that follows the proposals on the stack, and objects of the labels.

    Parameters
    ----------
    scene : Scene
    order : Order
    values : collection of int
        Labels of the objects to follow from what they have.
    owners : mapping of str to int
        The label that each proposal belongs to, by key; NEW, or left out: a new object.

    Raises
    ------
    PromptError
        Nothing says where an object is, or a proposal lies outside the range or cannot be used.
    GeometryError
        The range or a stop lies outside the stack, or it is a single slice; or an object's own range lies outside it.
    LabelsError
        A label below 1.
    """
    stack = order.stack
    checked_range(stack, order.span, order.stops)
    drafts = [draft for draft in scene.drafts if stack.position(draft.plane) is not None]
    owned = {draft.key: owners.get(draft.key, NEW) for draft in drafts}
    for draft in drafts:
        require_inside(draft, stack, order.range_of(owned[draft.key]))
    followed = dict.fromkeys([*values, *(value for value in owned.values() if value != NEW)])
    _require_labels(followed)
    known = {value: scene.known(value, stack) for value in followed}
    look_at(known, stack, {value: order.range_of(value) for value in known}, scene.labels.read)
    numbers = order.numbers()
    objects = [
        numbers.existing(value, scene.name(value), each, _marked(scene, order, owners, value), order.range_of(value))
        for value, each in known.items()
    ]
    objects += _new_objects(scene, order, [d for d in drafts if owned[d.key] == NEW], numbers)
    if not objects:
        raise PromptError(
            "Nothing says what to follow. Draw a box or click a point on a slice, or choose an object of the labels."
        )
    return _growth(scene, order, objects)


def replanned(scene: Scene, order: Order, value: int, position: int, owners: Mapping[str, int]) -> Growth:
    """A run of one object from a slice outward, up to the next on each side that is certain.

    Raises
    ------
    PromptError
        The object is not on that slice, and was not taken away there either; or nothing is certain around it.
    GeometryError
        As `planned`; or the slice lies outside the range.
    """
    span, stack = order.range_of(value), order.stack
    if position not in span:
        raise PromptError(f"Slice {position} is outside the range {span.first} to {span.last}. Widen the range.")
    _require_labels([value])
    look, known = scene.look(value, stack), scene.known(value, stack)
    marked = _marked(scene, order, owners, value)
    reached = look_outward(known, position, span, look, marked.prompts.keys())
    near = Marked([d for d in marked.drafts if stack.position(d.plane) in reached], stack, _shape(scene, stack))
    if position not in near.prompts:
        as_key(known, position, look)
    if position not in known.certain.keys() | known.cuts | near.prompts.keys():
        raise PromptError(f"{scene.name(value)!r} is not on slice {position}. Draw it there, or go to one that has it.")
    return _growth(scene, order, [order.numbers().existing(value, scene.name(value), known, near, reached)])


def _new_objects(scene: Scene, order: Order, drafts: Sequence[Draft], numbers: Numbers) -> list[Followed]:
    groups = new_groups(drafts, order.stack)
    shape = _shape(scene, order.stack)
    name = scene.new_name if len(groups) == 1 else ""
    return [numbers.new(name, Marked(group, order.stack, shape), order.range_of(NEW)) for group in groups]


def _marked(scene: Scene, order: Order, owners: Mapping[str, int], value: int) -> Marked:
    """The proposals for one object of the labels."""
    mine = [d for d in scene.drafts if owners.get(d.key) == value and order.stack.position(d.plane) is not None]
    return Marked(mine, order.stack, _shape(scene, order.stack))


def _shape(scene: Scene, stack: Stack) -> tuple[int, int]:
    return stack.plane(0).shape_in(scene.image.grid.shape)


def _growth(scene: Scene, order: Order, objects: Sequence[Followed]) -> Growth:
    subjects = tuple(subject for each in objects for subject in each.subjects)
    pixels = pixels_along(scene.image, order.stack, scene.window)
    plan = Plan(order.stack, subjects, order.way, scene.image.grid, pixels, order.rules, order.prompting)
    return Growth(plan, objects, scene.labels)


def pixels_along(image: Image, stack: Stack, window: Window) -> Callable[[int], NDArray[np.uint8]]:
    """What gives the slice at a position as the model sees it, read when called, and only then."""

    def pixels(position: int) -> NDArray[np.uint8]:
        return to_uint8(read_plane(image, stack.plane(position)), window)

    return pixels


def _require_labels(values: Collection[Any]) -> None:
    for value in values:
        if value < 1:
            raise LabelsError(f"Objects have values from 1; {value} is background.")
