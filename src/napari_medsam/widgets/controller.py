"""The bridge between a viewer and its sessions: every choice and action of the dock, the keys and scripts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_medsam.errors import ImageError, LabelsError, MedsamError, PromptError
from napari_medsam.masks import Overlap
from napari_medsam.models.base import Model
from napari_medsam.prompts import PromptKind
from napari_medsam.session import Session
from napari_medsam.widgets.compat import setting
from napari_medsam.widgets.coordinates import View
from napari_medsam.widgets.labelling import Labelling
from napari_medsam.widgets.layer_image import image_of
from napari_medsam.widgets.listener import Listener
from napari_medsam.widgets.model_choice import ModelChoice, said_of
from napari_medsam.widgets.prepare import Prepare
from napari_medsam.widgets.proposals import Proposals
from napari_medsam.widgets.refining import take_up
from napari_medsam.widgets.seen import SeenLayer
from napari_medsam.widgets.storage import Storage
from napari_medsam.widgets.views import turn
from napari_medsam.widgets.volume import NO_IMAGE, Volume
from napari_medsam.widgets.workspace import Workspace, open_workspace


class Controller(QObject):
    """All that can be done in one viewer.

    Parameters
    ----------
    viewer : napari.Viewer
    load : callable, optional
        Makes a model from its reference, called off the GUI thread; `ModelChoice.load` when left out.
    """

    changed = Signal()
    """Something that the panels show has changed."""
    said = Signal(str, str)
    """A line for the status, and its kind: ready, busy or error."""
    done = Signal()
    """Sent when nobody shows this controller any more, from whatever thread notices."""

    def __init__(self, viewer: Any, load: Callable[[str], Model] | None = None) -> None:
        super().__init__()
        self.viewer = viewer
        self.overlap = Overlap(setting("proposals.overlap", Overlap.KEEP.value))
        self.status = ("Choose an image, then draw a box (G).", "ready")
        self.storage = Storage()
        self.models = ModelChoice()
        keys = {"Control-Z": self.undo, "Control-Shift-Z": self.redo}
        self.proposals = Proposals(viewer, load or self.models.load, self.storage.store, keys)
        self.labelling = Labelling(self.proposals, self.models)
        self.volume = Volume(self.proposals, self.models)
        self.prepare = Prepare(self.proposals, self.models)
        self.seen = SeenLayer(viewer)
        self._shelf: dict[Any, Workspace] = {}
        self._closed = False
        self._connect()
        self.done.connect(self.close)
        self.listener = Listener(self)

    def _connect(self) -> None:
        """Have all parts heard, and the lane's outcomes brought to those that wait for them."""
        self.proposals.changed.connect(self.changed)
        self.proposals.said.connect(self.say)
        self.proposals.failed.connect(self.complain)
        self.models.changed.connect(self.changed)
        self.models.settled.connect(self._use_model)
        self.models.errand.connect(self.proposals.do)
        self.models.said.connect(self.say)
        self.models.failed.connect(self.complain)
        self.proposals.outcome.connect(self.models.receive)
        for lane in (self.labelling.lane, self.volume.growing.lane, self.prepare):
            self.proposals.outcome.connect(lane.receive)
            self.models.changed.connect(lane.follow_model)
        for part in (self.labelling, self.volume, self.prepare):
            part.changed.connect(self.changed)
            part.said.connect(self.say)
            part.noticed.connect(self.complain)

    @property
    def work(self) -> Workspace | None:
        """The workspace of the image in use."""
        return self.proposals.work

    @property
    def image(self) -> Any:
        """The Image layer in use, None for none."""
        return None if self.work is None else self.work.layer

    @property
    def session(self) -> Session | None:
        """The session of the image in use."""
        return None if self.work is None else self.work.session

    # -- choices -----------------------------------------------------------------------------------------------

    def choose_image(self, layer: Any) -> None:
        """Work on an Image layer (None for none). What was proposed on the last one is there again on return."""
        if layer is self.image or self._closed:
            return
        self._put_aside()
        if layer is not None:
            self.attempt(lambda: self._open(layer))
            self.models.begin()
        self.changed.emit()

    def choose_window(self, name: str, low: float = 0.0, high: float = 1.0) -> None:
        """Use a preset, percentiles, the layer's contrast, or typed bounds; see `WindowChoice.choose`."""
        work = self.work
        if work is not None:
            self.attempt(lambda: work.window_choice.choose(name, low, high))
            self._use_window(work)

    def choose_model(self, reference: str) -> None:
        """Use another model as soon as it is loaded; proposals are asked again. `models` has files and downloads."""
        self.attempt(lambda: self.models.choose(reference))

    def choose_labels(self, layer: Any) -> None:
        """Continue an existing Labels layer, or (None) start a new one at the next accept."""
        work = self.work
        if work is not None:
            self.attempt(lambda: self._use_labels(work, layer))

    def choose_object(self, value: int | None) -> None:
        """Add accepted masks to the object `value`, or (None) make a new object each time."""
        if self.session is not None:
            self.session.target = value
            self.proposals.read()
            self.changed.emit()

    def choose_overlap(self, overlap: Overlap) -> None:
        """Keep other objects under a new mask, or overwrite them."""
        self.overlap = overlap
        if self.session is not None:
            self.session.overlap = overlap

    def choose_prompts(self, shapes: Any = None, points: Any = None) -> None:
        """Also take prompts from the user's own Shapes and Points layers (None for the plugin's only)."""
        self.proposals.follow_user_layers(shapes, points)

    def name_object(self, name: str) -> None:
        """Name the object that is continued, or the next new one."""
        work = self.work
        if work is None:
            return
        if work.session.target is None:
            work.session.new_name = name
        elif name:
            work.session.rename(work.session.target, name)
            work.target.show_names()
        self.changed.emit()

    def show_seen(self, *, visible: bool) -> None:
        """Show or hide exactly what the model sees, as a layer of its own."""
        if self.work is not None and visible:
            self.seen.show(self.work.layer, self.work.session)
        else:
            self.seen.remove()
        self.changed.emit()

    # -- actions -----------------------------------------------------------------------------------------------

    def draw(self, kind: str) -> None:
        """Make a drawing tool ready, "box", "point", "stroke" or "line"; it is said why when the model takes no such.

        A line is the long axis of a lesion, and a second one across it the short axis; the model gets a box of them.
        """
        work = self._ready_for(PromptKind.BOX if kind == "line" else PromptKind(kind))
        if work is not None and self.attempt(View(self.viewer, work.layer).plane) is not None:
            self.attempt(lambda: self.proposals.use(kind))

    def refine(self) -> None:
        """Take up what an object has on the shown slice: clicks and strokes change it, accept puts it in its place.

        The object chosen for accepts, else the one that was accepted last (or picked in the Labels layer).
        """
        if self._ready_for(PromptKind.MASK) is not None:
            tools = (kind.value for kind in (PromptKind.POINT, PromptKind.STROKE) if kind in self.models.row.takes)
            self.attempt(lambda: take_up(self.proposals, next(tools, "")))

    def label(self, scope: str) -> None:
        """Label without prompts: the axial slice at the sliders ("slice"), or its whole volume ("volume").

        Needs a model that labels by itself, and says so. All that is found is one step to undo.
        """
        if self.work is None:
            self.complain(ImageError(NO_IMAGE))
        else:
            self.attempt(lambda: self.labelling.start(scope))

    def turn(self, view: str) -> None:
        """Show axial, coronal or sagittal slices of the image, superior up."""
        if self.work is None:
            self.complain(ImageError(NO_IMAGE))
        else:
            self.attempt(lambda: turn(self.viewer, self.image, view))
            self.listener.upright = True

    def accept(self) -> None:
        """Write every proposal into the labels, one undo step each; none while a prompt is being dragged."""
        try:
            self.proposals.catch_up()
        except PromptError as error:
            self.complain(error)
            return
        if self.session is None or not self.session.drafts:
            self.say("Nothing to accept. Draw a box (G) or click a point (H) first.")
            return
        free = [key for key in self.session.drafts if key not in self.proposals.held]
        for key in free:
            self.proposals.accept(key)
        if not free:
            self.say("These proposals belong to the run that is under way, and are accepted when it ends.", "busy")

    def clear(self) -> None:
        """Take all proposals and the plugin's own prompts away, but those of a run that is under way."""
        self.proposals.clear()
        if self.volume.growing.running:
            self.say("Proposals cleared. The run goes on with its own: Stop ends it, Undo then takes it back.")
        else:
            self.say("Proposals cleared.")

    def undo(self) -> None:
        """Take back the last change of the labels: an accepted mask or a painted stroke."""
        if self.work is not None:
            self.attempt(self.work.session.undo)
            self._labels_changed()

    def redo(self) -> None:
        """Do the last undone change again."""
        if self.work is not None:
            self.attempt(self.work.session.redo)
            self._labels_changed()

    def next_candidate(self) -> None:
        """Turn to the next alternative mask of the selected proposal."""
        if self.work is not None and self.work.draft is not None:
            self.work.session.next_candidate(self.work.selected)
            self.proposals.show()

    def recompute(self, *, pixels: bool = True) -> None:
        """Read the image again, after its `pixels` or only its transform changed: all proposals are asked anew.

        A run ends when pixels change. With another shape it starts anew, and what was drawn is dropped.
        """
        work = self.work
        if work is None:
            return
        image = self.attempt(lambda: image_of(work.layer))
        if image is None:
            return
        if image.grid.shape != work.session.image.grid.shape:
            self._put_aside()
            self._shelf.pop(work.layer)
            self.choose_image(work.layer)
            self.complain(ImageError(f"{image.name!r} now has {image.grid.shape} voxels; its prompts were dropped."))
            return
        if pixels:
            self.volume.growing.stop("The pixels of the image have changed.")
        work.session.image = work.window_choice.image = image
        self.proposals.place()
        if self.seen.layer is not None:
            self.seen.show(work.layer, work.session)
        self.proposals.submit(work.session.ask_again())

    def lose_labels(self) -> None:
        """The Labels layer in use was removed: the next accept makes a new one."""
        if self.work is not None:
            self.labelling.drop("The labels were removed, so labelling has stopped and nothing was written.")
            self.volume.lose_labels()
            self.work.target.forget()
            self.changed.emit()

    def forget(self, layer: Any) -> None:
        """A layer was removed: what was put aside of it goes too."""
        self._shelf.pop(layer, None)

    def labels_to_save(self) -> Any:
        """The Labels layer in use; LabelsError when nothing was accepted yet."""
        layer = None if self.work is None else self.work.target.layer
        if layer is None:
            raise LabelsError("There are no labels to save yet. Draw a box and accept its mask first.")
        return layer

    def say(self, text: str, kind: str = "ready") -> None:
        """Put a line into the status."""
        self.status = (text, kind)
        self.said.emit(text, kind)

    def complain(self, error: Exception | str) -> None:
        """Show an error in the status and as a notice; nothing else changes."""
        from napari.utils.notifications import show_warning

        self.say(str(error), "error")
        show_warning(str(error))

    def window_closed(self) -> None:
        """Nobody sees what is under way any more: it ends, and what is found is written. Nothing is said."""
        self.labelling.close()
        self.volume.growing.close()

    def close(self) -> None:
        """Stop the lane and let go of the viewer. Prompts and labels stay; preview and model view go."""
        if not self._closed:
            self._closed = True
            self.listener.close()
            self.models.close()
            self.labelling.close()
            self.volume.close()
            self.proposals.close()
            with contextlib.suppress(Exception):  # the viewer may be closing as well
                self.seen.remove()
                self.proposals.preview.remove()
            self._shelf.clear()

    # -- image -------------------------------------------------------------------------------------------------

    def _open(self, layer: Any) -> None:
        work = self._shelf.pop(layer, None)
        if work is None:
            work = open_workspace(self.viewer, layer, self.models.reference)
        work.session.model, work.session.overlap = self.models.reference, self.overlap
        self.proposals.open(work)
        self.listener.follow_image(work.layer)
        self.say("Ready. Draw a box (G) or click a point (H).")

    def _put_aside(self) -> None:
        work = self.work
        self.labelling.stop("The image was put aside.")
        self.prepare.stop("The image was put aside.")
        self.volume.put_aside()
        self.seen.remove()
        self.listener.follow_image(None)
        self.proposals.put_aside()
        if work is not None:
            self._shelf[work.layer] = work

    def _use_model(self) -> None:
        """Ask the model that is in use now; one that was loaded anew, or failed to, for what nobody has answered."""
        session = self.session
        if session is None:
            return
        self.volume.follow_model()
        if self.proposals.takes != self.models.row.prompts:
            self.proposals.takes = self.models.row.prompts
            self.proposals.read_soon()
        another = session.model != self.models.reference
        session.model = self.models.reference
        self.proposals.submit(session.ask_again() if another else session.ask_unanswered())
        self.proposals.warm_soon()

    def _use_window(self, work: Workspace) -> None:
        if work.session.window != work.window_choice.window:
            work.session.window = work.window_choice.window
            self.seen.refresh()
            self.proposals.submit(work.session.ask_again())
            self.proposals.warm_soon()
        self.changed.emit()

    def _use_labels(self, work: Workspace, layer: Any) -> None:
        work.target.require(layer)
        self.volume.growing.leave_labels("Other labels were chosen.")
        work.target.choose(layer)

    def _labels_changed(self) -> None:
        if self.work is not None:
            self.work.target.show_names()
        self.volume.growing.check_origins()
        self.changed.emit()

    def _ready_for(self, kind: PromptKind) -> Workspace | None:
        """The workspace, if there is one and the model takes such a prompt; else it is said why not."""
        row = self.models.row
        if self.work is None:
            self.complain(ImageError(NO_IMAGE))
        elif kind not in row.takes:
            self.say(said_of(row, kind), "error")
        else:
            return self.work
        return None

    def attempt(self, act: Callable[[], Any]) -> Any:
        """Do something that may fail; what it returns, or None when it failed, which is said."""
        try:
            return act()
        except MedsamError as error:
            self.complain(error)
            return None
        except MemoryError:
            self.complain(ImageError("There is not enough memory for this. Close other data, or work on a crop."))
            return None
        finally:
            self.changed.emit()
