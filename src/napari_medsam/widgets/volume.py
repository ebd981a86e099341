"""All that is done along the slices of the shown plane: runs, their range, review of what they found, clean-up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_medsam.errors import ImageError, LabelsError, PromptError, UnsupportedError
from napari_medsam.models.row import Row
from napari_medsam.propagation.plan import SPATIAL, Way
from napari_medsam.propagation.prompting import Feed, Prompting, require_promptable
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.stopping import StopRules
from napari_medsam.propagation.ways import ways_of
from napari_medsam.shapes import CleanUp
from napari_medsam.widgets.coordinates import View, to_viewer_world
from napari_medsam.widgets.growing import Growing
from napari_medsam.widgets.longrun import slices
from napari_medsam.widgets.model_choice import ModelChoice
from napari_medsam.widgets.onward import copied_on, corners_to_box
from napari_medsam.widgets.proposals import Proposals
from napari_medsam.widgets.reach import Reach
from napari_medsam.widgets.review import Review
from napari_medsam.widgets.tidying import Tidying
from napari_medsam.widgets.workspace import Workspace

NO_IMAGE = "There is no image to work on. Open one, or take File > Open Sample > CT phantom with known organs (MedSAM)."
NOWHERE = -1
BUSY = "A run is under way. Wait for it, or stop it first."


@dataclass(frozen=True)
class Options:
    """How runs go, until the user says otherwise.

    Parameters
    ----------
    way : Way, optional
        Left out, the best one of the model in use.
    rules : StopRules
    prompting : Prompting
    in_time : bool
        Go along time rather than depth, in images that have it.
    collect : bool
        Keep proposals open when the next one is drawn.
    """

    way: Way | None = None
    rules: StopRules = field(default_factory=StopRules)
    prompting: Prompting = field(default_factory=Prompting)
    in_time: bool = False
    collect: bool = False

    def way_for(self, row: Row) -> Way:
        """The way to take with a model: the chosen one if it offers that, else its best."""
        ways = ways_of(row)
        return self.way if self.way in ways else ways[0]

    def prompting_for(self, row: Row) -> Prompting:
        """How to prompt a model: as chosen if it takes that, else with boxes."""
        refused = why_not(row, self.prompting)
        return replace(self.prompting, feed=Feed.BOX) if refused else self.prompting


class Volume(QObject):
    """The third dimension in one viewer. Methods raise MedsamErrors; the controller says them.

    Parameters
    ----------
    proposals : Proposals
    models : ModelChoice
    """

    changed = Signal()
    said = Signal(str, str)
    noticed = Signal(str)

    def __init__(self, proposals: Proposals, models: ModelChoice) -> None:
        super().__init__()
        self._proposals = proposals
        self._models = models
        self.options = Options()
        self._doubtful: tuple[Stack, int] | None = None
        self.growing = Growing(proposals, models)
        self.tidying = Tidying(proposals)
        self.review = Review(proposals)
        for part in (self.growing, self.tidying):
            part.changed.connect(self.changed)
            part.said.connect(self.said)
            part.noticed.connect(self.noticed)

    # -- what is shown -----------------------------------------------------------------------------------------

    @property
    def shown(self) -> tuple[Stack, int] | None:
        """The stack of the shown slice, and its position there; None where there is none."""
        work, viewer = self._proposals.work, self._proposals.viewer
        if work is None or work.layer not in viewer.layers:  # sliders move before it is said that a layer has gone
            return None
        plane = View(viewer, work.layer).shown()
        if plane is None or not plane.index:
            return None
        shape = work.session.image.grid.shape
        times = [axis for axis, _ in plane.index if axis < len(shape) - SPATIAL]
        stack = Stack.through(plane, shape, times[0] if self.options.in_time and times else None)
        return stack, dict(plane.index)[stack.axis]

    def has_time_at(self, found: tuple[Stack, int] | None) -> bool:
        """Whether the shown slice, as `shown` has told, could be followed through time as well."""
        work = self._proposals.work
        if work is None or found is None:
            return False
        hidden = {found[0].axis, *(axis for axis, _ in found[0].fixed)}
        return len(hidden) > 1 and min(hidden) < work.session.image.grid.ndim - SPATIAL

    @property
    def reach(self) -> Reach:
        """How far runs go in the shown stack."""
        return self.reach_at(self.shown)

    def reach_at(self, found: tuple[Stack, int] | None) -> Reach:
        """The same of what `shown` has told."""
        work = self._proposals.work
        return Reach() if found is None or work is None else work.reaches[found[0]]

    @property
    def value(self) -> int | None:
        """The object that is followed and reviewed: the chosen one, else the one accepted last; None for none."""
        work = self._proposals.work
        try:
            return None if work is None else work.target.to_refine()
        except LabelsError:
            return None

    def follow(self, found: tuple[Stack, int] | None) -> None:
        """Bring the review in step with what is shown, as `shown` has told, and chosen."""
        self.review.about(self._proposals.work, None if found is None else found[0], self.value)

    # -- range -------------------------------------------------------------------------------------------------

    def set_range(self, first: int | None, last: int | None) -> None:
        """Limit runs in the shown stack to the slices between two, both included, in any order; None for an end.

        A slice beyond the last one stands for the last one, which is said.
        """
        stack, _ = self._here()
        last_one = stack.size - 1
        beyond = [end for end in (first, last) if end is not None and end > last_one]
        first, last = (None if end is None else min(end, last_one) for end in (first, last))
        told = f"There is no slice {beyond[0]}: the last one is {last_one}. " if beyond else ""
        self._reach(stack, replace(self.reach, first=first, last=last), told)

    def range_from_here(self) -> None:
        """The range begins with the shown slice."""
        self.set_range(self._here()[1], self.reach.last)

    def range_to_here(self) -> None:
        """The range ends with the shown slice."""
        self.set_range(self.reach.first, self._here()[1])

    def toggle_stop(self) -> None:
        """Runs stop at the shown slice, or do so no more."""
        stack, position = self._here()
        self._reach(stack, self.reach.toggled(position))

    def go(self, position: int) -> None:
        """Show another slice of the shown stack."""
        stack, _ = self._here()
        work, viewer = self._work(), self._proposals.viewer
        (there,) = to_viewer_world(viewer, work.layer, stack.plane(position).to_index([(0, 0)])[0])
        axis = stack.axis + viewer.dims.ndim - work.layer.ndim
        viewer.dims.set_point(axis, there[axis])

    # -- runs --------------------------------------------------------------------------------------------------

    def propagate(self) -> None:
        """Follow the open proposals, and the chosen object, through the shown stack.

        Without both, the object that was accepted last.
        """
        work, (stack, _) = self._idle(), self._here()
        if self._way is Way.BOX:
            corners_to_box(self._proposals, work, stack)
        drawn = any(stack.position(draft.plane) is not None for draft in work.session.drafts.values())
        value = () if drawn or work.session.target is not None else (self._required_value(),)
        self._start(work, stack, lambda settings: work.session.plan_propagation(stack, values=value, **settings))

    def again(self) -> None:
        """Run again outward from the shown slice, up to the next slices that are certain."""
        work, (stack, position) = self._idle(), self._here()
        value = self._required_value()
        self._take_correction(work, stack, position, value)
        self._start(work, stack, lambda settings: work.session.replan(value, stack, position, **settings))

    def next_doubtful(self) -> None:
        """Show the next of the grown slices, and choose its object for corrections.

        The most doubtful first; then, as long as the user stays where this has led, the next in that order. While a
        clean-up is shown, the next slice that it would change.
        """
        work, (stack, position) = self._work(), self._here()
        if changes := sorted(self.tidying.changes(stack)):
            self.go(next((at for at in changes if at > position), changes[0]))
            return
        value = self._required_value()
        after = position if (stack, position) == self._doubtful else NOWHERE
        found = work.session.next_doubtful(value, stack, after)
        if found is None:
            raise LabelsError("There is nothing to review: no run has found this object in this view.")
        work.session.target, self._doubtful = value, (stack, found.position)
        self.go(found.position)
        self.said.emit(f"Slice {found.position}: score {found.score:.2f}. Correct it, then Re-run.", "ready")
        self.changed.emit()

    def copy_to_next_frame(self) -> None:
        """Accept what is proposed on the shown slice, and draw its prompts on the next frame, for the same objects."""
        work = self._work()
        self._proposals.catch_up()
        plane = View(self._proposals.viewer, work.layer).plane()
        (there,) = to_viewer_world(self._proposals.viewer, work.layer, copied_on(self._proposals, work, plane))
        self._proposals.viewer.dims.point = tuple(there)

    def choose(self, options: Options) -> None:
        """Go about runs in another way from now on."""
        self.options = options
        self.follow_model()
        self.changed.emit()

    def follow_model(self) -> None:
        """Another model offers other ways; the box between two corners needs both of them open."""
        self._proposals.collecting = self.options.collect or self._way is Way.BOX

    def look_at(self, cleanup: CleanUp) -> None:
        """Show what an operation would change in the object."""
        self.tidying.show(self._idle(), self._required_value(), self._here(), cleanup)

    # -- life --------------------------------------------------------------------------------------------------

    def put_aside(self) -> None:
        """The image is put aside: what a run has done is written."""
        self.growing.stop("The image was put aside.")
        self.tidying.cancel()
        self.review.about(None, None, None)

    def lose_labels(self) -> None:
        """The labels in use were removed."""
        self.growing.lose_labels()
        self.tidying.cancel()

    def close(self) -> None:
        """Stop, and let go of everything."""
        self.growing.close()
        self.tidying.cancel()
        self.review.close()

    # -- inside ------------------------------------------------------------------------------------------------

    def _work(self) -> Workspace:
        work = self._proposals.work
        if work is None:
            raise ImageError(NO_IMAGE)
        return work

    def _idle(self) -> Workspace:
        work = self._work()
        if self.growing.running:
            raise PromptError(BUSY)
        self._proposals.catch_up()
        self.tidying.cancel()
        return work

    def _here(self) -> tuple[Stack, int]:
        """The stack of the shown slice and its position there; GeometryError says why there is none."""
        work = self._work()
        found = self.shown
        if found is None:
            Stack.through(View(self._proposals.viewer, work.layer).plane(), work.session.image.grid.shape)
            raise ImageError(NO_IMAGE)
        return found

    def _reach(self, stack: Stack, reach: Reach, told: str = "") -> None:
        """Take a choice, and say it after what was `told`."""
        self._work().reaches[stack] = reach
        span = reach.span(stack.size)
        said = f"{told}Runs go from slice {span.first} to {span.last} of {slices(stack.size)}"
        if reach.stops:
            said += f", and stop at {', '.join(str(stop) for stop in sorted(reach.stops))}"
        self.said.emit(f"{said}.", "ready")
        self.changed.emit()

    @property
    def _way(self) -> Way:
        return self.options.way_for(self._models.row)

    def _required_value(self) -> int:
        work = self._work()
        if work.target.layer is None or not work.session.names:
            raise PromptError("There is nothing to follow yet. Draw a box (G) or click a point (H) on the object.")
        return work.target.to_refine()

    def _start(self, work: Workspace, stack: Stack, plan: Callable[[dict[str, Any]], Any]) -> None:
        work.target.check()
        work.revise()
        reach, row = work.reaches[stack], self._models.row
        everything = reach.first is None and reach.last is None
        growth = plan({
            "way": self._way,
            "rules": self.options.rules,
            "prompting": self.options.prompting_for(row),
            "span": None if everything else reach.span(stack.size),
            "stops": reach.stops,
        })  # fmt: skip
        work.target.require_room(growth)
        self.growing.start(work, growth)

    def _take_correction(self, work: Workspace, stack: Stack, position: int, value: int) -> None:
        """Accept what is proposed on the slice from which the object is to be followed again, for that object."""
        session = work.session
        here = [draft for draft in session.drafts.values() if draft.plane == stack.plane(position)]
        if any(draft.pending for draft in here):
            raise PromptError("The mask of this slice is still on its way. Press again when it is there.")
        for draft in here:
            work.require_correction(draft, value, stack)
        chosen, session.target = (session.target, session.new_name), value
        try:
            for draft in here:
                work.revise()
                self._proposals.write(work, draft.key)
        finally:
            session.target, session.new_name = chosen


def why_not(row: Row, prompting: Prompting) -> str:
    """Why a model cannot be prompted so; "" when it can."""
    try:
        require_promptable(row.spec(""), prompting)
    except UnsupportedError as error:
        return str(error)
    return ""
