"""Which model is in use, and the way to another one: its state, its file, its download; all off the GUI thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_medsam.engine import Errand, Outcome
from napari_medsam.errors import DownloadCancelled, DownloadError, MedsamError
from napari_medsam.models import registry
from napari_medsam.models.base import Model, ModelSpec
from napari_medsam.models.checkpoints.places import Places, State
from napari_medsam.models.compute import AUTO, Compute, available, device_of
from napari_medsam.models.loading import Loader
from napari_medsam.models.row import Row
from napari_medsam.models.threads import THREADS
from napari_medsam.prompts import PromptKind
from napari_medsam.widgets import model_work
from napari_medsam.widgets.compat import setting, store_setting
from napari_medsam.widgets.model_work import Ask, Backstage, Failed, Fetched, Going, Looked, Recognised, Unclear

LOAD = "model"
"""Key of the errand that loads a model: a later choice replaces one that has not begun."""

DEVICES = (AUTO, "cpu", "mps", "cuda", "cuda:1", "cuda:2", "cuda:3")
"""Offered until torch has said which are there: to ask it would cost seconds."""


@dataclass(frozen=True)
class Loaded:
    """What is known of a model once it is loaded.

    Parameters
    ----------
    spec : ModelSpec
    device : str
        Where it runs; empty for a built-in one.
    devices : tuple of str
        Those of this machine; empty for a built-in one.
    """

    spec: ModelSpec
    device: str = ""
    devices: tuple[str, ...] = ()


class ModelChoice(QObject):
    """The model in use in one viewer.

    A model that is not built in is loaded before it is used: until then, and when it fails, the one in use stays.
    Nothing here knows the viewer, so the lane, which has `load`, does not keep a closed one alive.
    """

    changed = Signal()
    """Something that is shown of the models has changed."""
    settled = Signal()
    """A choice has come into effect, or has failed: questions that wait for an answer have to be asked again."""
    errand = Signal(object)
    """For the lane, whose outcome is for `receive`."""
    said = Signal(str, str)
    failed = Signal(object)
    progressed = Signal(str, object, object)
    """A download goes on: name of the model whose file it is ("": it ended), bytes done, bytes in all (0: unknown)."""

    def __init__(self) -> None:
        super().__init__()
        self.reference = _at_once(setting("proposals.model", registry.DEFAULT))
        self.loaded: Loaded | None = None
        self.loading = ""
        """The reference that is being loaded, "" for none."""
        self.fetching = ""
        """Name of the model that is being fetched, "" for none."""
        self.states: Mapping[str, State] = {}
        self.folder = ""
        """Where what is fetched is kept; "" until it was looked up, as `states` is empty until then."""
        self._compute = self._runs_on = _compute()
        self._newest = 0
        self._begun = False
        self._at_start = ""
        self._devices: tuple[str, ...] = ()
        self._stop = threading.Event()
        self._stage = Backstage()
        self._stage.came.connect(self._take)

    @property
    def row(self) -> Row:
        """The row of the model in use."""
        return registry.parse(self.reference)[0]

    @property
    def devices(self) -> tuple[str, ...]:
        """Where a model can be made to run, as far as is known."""
        return (AUTO, *self._devices) if self._devices else DEVICES

    @property
    def compute(self) -> Compute:
        """Where models are to run, by the settings of now."""
        return _compute()

    # -- choosing ----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Load the model of the settings, if its weights are here, else say what it needs. Only once."""
        name = str(setting("proposals.model", registry.DEFAULT))
        if not self._begun and name in registry.names() and not is_at_once(name):
            self._at_start = name
            self.look()
        self._begun = True

    def choose(self, reference: str) -> None:
        """Use another model as soon as it is loaded; a built-in one at once.

        Raises
        ------
        ModelError
            There is no such model.
        """
        registry.parse(reference)
        self._begun, self._at_start = True, ""
        self._compute = _compute()
        self._ask_lane(reference)
        if is_at_once(reference):
            self.reference, self.loaded = reference, None
            self.settled.emit()
            self.changed.emit()

    def receive(self, outcome: Outcome) -> None:
        """Take the outcome of an errand; one that was overtaken by a later choice counts no more."""
        errand = outcome.request
        if errand.draft != LOAD or errand.ticket != self._newest:
            return
        self.loading = ""
        if outcome.error is None:
            self._use(errand.model, outcome.value)
        elif errand.anew:
            store_setting("models.device", self._runs_on.device)
            store_setting("models.precision", self._runs_on.precision)
        self._compute = self._runs_on
        self.settled.emit()
        self.changed.emit()
        if outcome.error is not None:
            self.failed.emit(outcome.error)

    def choose_file(self, path: str | Path, ask: Ask | None = None) -> None:
        """Use a file of weights where it is, as what its content says it is; `ask` is asked when that is not clear."""
        self.said.emit(f"Looking into {Path(path).name} ...", "busy")
        self._stage.start(partial(model_work.recognise, str(path), ask))

    def remember(self, path: str | Path, name: str) -> None:
        """Keep what the user said of a file that fits several models, and use it."""
        self._stage.start(partial(model_work.remember, str(path), name))

    def set_compute(self, *, device: str | None = None, precision: str | None = None) -> None:
        """Run elsewhere or with another precision; the model in use is loaded anew. What fails is taken back."""
        if device is not None:
            store_setting("models.device", device)
        if precision is not None:
            store_setting("models.precision", precision)
        self._compute = _compute()
        reference = self.loading or self.reference
        if is_at_once(reference):
            self._runs_on = self._compute
            self.said.emit(f"That is for models with weights; {registry.title(reference)} runs as before.", "ready")
        else:
            self._ask_lane(reference, anew=True)
        self.changed.emit()

    # -- weights -----------------------------------------------------------------------------------------------

    def load(self, reference: str) -> Model:
        """Make a model; called on the lane."""
        return Loader(_places(), self._compute)(reference)

    def look(self) -> None:
        """Look up the state of all models; `changed` when it is there."""
        self._stage.start(partial(model_work.look, _weights()))

    def set_folder(self, path: str) -> None:
        """Look for weights in this folder first, and keep what is fetched there."""
        store_setting("models.weights", path)
        self.look()

    def fetch(self, name: str) -> None:
        """Fetch the weights of a model (and those beside), then use it. One download at a time."""
        row = registry.row(name)
        if self.fetching:
            going = registry.row(self.fetching).title
            self.failed.emit(DownloadError(f"{going} is being fetched. Wait for it, or stop it first."))
            return
        self.fetching, self._stop = name, threading.Event()
        self.said.emit(f"Fetching {row.title} ...", "busy")
        self.progressed.emit(name, 0, 0)
        self._stage.start(partial(model_work.fetch, name, _weights(), self._stage, self._stop))

    def stop_fetching(self) -> None:
        """Stop the download; what is there is kept for the next try."""
        self._stop.set()

    def close(self) -> None:
        """Stop what is going on; from whatever thread."""
        self._stop.set()

    # -- inside ------------------------------------------------------------------------------------------------

    def _ask_lane(self, reference: str, *, anew: bool = False) -> None:
        at_once = is_at_once(reference)
        act: Callable[[Any], Loaded] = _built_in if at_once else partial(_loaded, self._compute)
        instead = "" if reference == self.reference else self.reference
        errand = Errand(LOAD, reference, act, anew=anew, instead=instead)
        self._newest = errand.ticket
        self.loading = "" if at_once else reference
        if not at_once:
            self.said.emit(f"Loading {registry.title(reference)} ...", "busy")
            self.changed.emit()
        self.errand.emit(errand)

    def _use(self, reference: str, loaded: Loaded) -> None:
        self.reference, self.loaded = reference, loaded
        self._runs_on = self._compute
        self._devices = loaded.devices or self._devices
        if not is_at_once(reference):
            self.said.emit(f"{registry.title(reference)} is ready.", "ready")

    def _take(self, message: object) -> None:
        """What a thread of `Backstage` has sent."""
        match message:
            case Looked(states, folder):
                self.states, self.folder = states, str(folder)
                self._begin()
                self.changed.emit()
            case Recognised(reference):
                self.choose(reference)
            case Unclear(path, rows, ask):
                self.said.emit(f"Whose weights are in {Path(path).name}?", "busy")
                ask(path, rows)
            case Going(row, done, total):
                if self.fetching:
                    self.progressed.emit(row, done, total)
            case Fetched(name, error):
                self._end_fetching(name, error)
            case Failed(error):
                self.failed.emit(error)

    def _begin(self) -> None:
        """Load the model at start, or say what it lacks; a model that was chosen meanwhile stays."""
        name, self._at_start = self._at_start, ""
        if not name:
            return
        if self.states[name].ready:
            self.choose(name)
            return
        said = f"{registry.row(name).title}, the model at start, is not used: {self.states[name].text}."
        self.said.emit(f'{said} {registry.title(self.reference)} is. See "..." beside Model.', "error")

    def _end_fetching(self, name: str, error: MedsamError | None) -> None:
        self.fetching = ""
        self.progressed.emit("", 0, 0)
        self.look()
        if isinstance(error, DownloadCancelled):
            self.said.emit("The download was stopped; it goes on from there next time.", "ready")
        elif error is not None:
            self.failed.emit(error)
        else:
            self.choose(name)


def is_at_once(reference: str) -> bool:
    """Whether a model comes with the package, so that it needs no file and can be used at once."""
    row, path = registry.parse(reference)
    return row.built_in and path is None


def said_of(row: Row, kind: PromptKind) -> str:
    """What the user should know about a kind of prompt with this model: why not, or what stands in; else nothing."""
    if kind in row.prompts:
        return ""
    if kind in row.stand_ins:
        return f"{row.title}: {row.stand_ins[kind]} (a stand-in)."
    if row.automatic:
        return f"{row.title} labels by itself and takes no prompts. Choose another model to draw prompts."
    takes = ", ".join(one.value for one in PromptKind if one in row.takes)
    return f"{row.title} does not take a {kind.value}; it takes: {takes}. Choose another model for it."


def _at_once(reference: Any) -> str:
    """The model to begin with: a built-in one, or the default; `begin` loads another when there is an image."""
    name = str(reference)
    return name if name in registry.names() and is_at_once(name) else registry.DEFAULT


def _built_in(model: Any) -> Loaded:
    return Loaded(model.spec)


def _loaded(compute: Compute, model: Any) -> Loaded:
    return Loaded(model.spec, str(device_of(compute)), available())


def _compute() -> Compute:
    """Where models are to run, by the settings of now; how many threads they take is set on the way."""
    THREADS.set_to = int(setting("models.threads", 0)) or None
    return Compute(str(setting("models.device", AUTO)), str(setting("models.precision", AUTO)))


def _weights() -> str:
    return str(setting("models.weights", ""))


def _places() -> Places:
    """Where weights are, by the settings of now."""
    return Places.from_environment(_weights())
