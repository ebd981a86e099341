"""The one inference lane: a thread that works off requests, urgent before idle, new before old. No Qt."""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

from napari_medsam.embeddings import EmbeddingStore
from napari_medsam.errors import MedsamError, MemoryShortError, ModelError
from napari_medsam.inference import Request, Response, next_ticket, run
from napari_medsam.models.base import Model, Segmenter
from napari_medsam.models.fallback import free
from napari_medsam.models.threads import THREADS

CLOSE_SECONDS = 10.0
"""How long the interpreter waits at exit for a job that is running."""


class Priority(IntEnum):
    """Order of work; lower first, and of the same the newest request first."""

    PROMPT = 0
    SHOWN = 1
    NEAR = 2
    IDLE = 3


@dataclass(frozen=True)
class Errand:
    """Anything else that needs a model and must not run beside another one: to load it, or to label a slice.

    Parameters
    ----------
    draft : str
        Its key: an errand replaces the one of the same key that has not started.
    model : str
        Reference of the model.
    act : callable
        Gets the model; what it returns is the outcome's value.
    anew : bool
        Load the model again even when it is held: it is to run elsewhere now.
    instead : str
        Reference of the model whose place it takes. When it is there, requests to that one which wait are dropped,
        or they would bring the old one back; who asked has to ask again.
    ahead : bool
        Work ahead of being asked for: dropped wherever a request would be, so that it never brings a model back.
    """

    draft: str
    model: str
    act: Callable[[Any], Any] = field(repr=False)
    anew: bool = False
    instead: str = ""
    ahead: bool = False
    ticket: int = field(default_factory=next_ticket)


@dataclass(frozen=True)
class Outcome:
    """What came of an errand: a value, or the error that prevented it."""

    request: Errand
    value: Any = None
    error: MedsamError | None = None


class Engine:
    """Runs requests on one persistent thread, so that the caller's thread never waits for a model.

    A request replaces the one of the same draft that has not started. Answers go to `deliver` on the lane's own
    thread; whether an answer is still wanted is the session's to say (`Session.receive`). One model is held at a
    time: the next one is loaded beside it, so that one that fails to load costs nothing, and then it is let go.

    Parameters
    ----------
    load : callable
        Makes a model from its reference; called on the lane.
    deliver : callable
        Gets every Response and Outcome. An exception from it stops nothing.
    store : EmbeddingStore, optional
    """

    def __init__(
        self,
        load: Callable[[str], Model],
        deliver: Callable[[Response | Outcome], None],
        store: EmbeddingStore | None = None,
    ) -> None:
        self.store = EmbeddingStore() if store is None else store
        self._load = load
        self._deliver = deliver
        self._held: tuple[str, Model] | None = None
        self._waiting: dict[str, tuple[Priority, Request | Errand]] = {}
        self._running: Request | Errand | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._door = threading.RLock()  # held while an answer is handed over, so that none is after `close`
        self._thread = threading.Thread(target=self._work, name="napari-medsam lane", daemon=True)
        self._thread.start()
        atexit.register(self._close_at_exit)

    @property
    def busy(self) -> bool:
        """Whether a request is running or waiting."""
        with self._changed:
            return self._running is not None or bool(self._waiting)

    def submit(self, request: Request | Errand, priority: Priority = Priority.PROMPT) -> None:
        """Queue a request; one of the same draft that has not started is dropped. Ignored after `close`."""
        with self._changed:
            if not self._closed:
                self._waiting[request.draft] = (priority, request)
                self._changed.notify_all()

    def cancel(self, draft: str | None = None) -> None:
        """Drop the waiting request of a draft, or all requests and work ahead; other errands stay.

        What runs goes on; its answer is late and will be ignored.
        """
        with self._changed:
            if draft is None:
                self._keep_waiting(_stays)
            else:
                self._waiting.pop(draft, None)
            self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until nothing runs or waits; False when `timeout` seconds passed before."""
        with self._changed:
            return self._changed.wait_for(lambda: self._running is None and not self._waiting, timeout)

    def answered(self, ticket: int, timeout: float) -> bool:
        """Block until a request has been answered and its answer handed over; False at once while another one runs.

        Parameters
        ----------
        ticket : int
            Of the request; one that was dropped or never came counts as answered.
        timeout : float
            Seconds after which it is False.
        """

        def open_still() -> bool:
            waiting = any(request.ticket == ticket for _, request in self._waiting.values())
            return waiting or (self._running is not None and self._running.ticket == ticket)

        with self._changed:
            if self._running is not None and self._running.ticket != ticket:
                return False
            return self._changed.wait_for(lambda: not open_still(), timeout)

    def close(self, timeout: float = 0.0) -> None:
        """Stop after the running job; wait for it for at most `timeout` seconds. Nothing is delivered any more."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        with self._door:
            pass
        if timeout and threading.current_thread() is not self._thread:
            self._thread.join(timeout)
        atexit.unregister(self._close_at_exit)

    def _work(self) -> None:
        while (request := self._next()) is not None:
            response = self._answer(request)
            if response.error is not None:
                _forget_frames(response.error)
            with self._door:
                if not self._closed:
                    self._hand_over(response)
            del request, response  # or their pixels are kept until the next one
            with self._changed:
                self._running = None
                self._changed.notify_all()

    def _next(self) -> Request | Errand | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._waiting))
            if self._closed:
                return None
            key = min(self._waiting, key=lambda k: (self._waiting[k][0], -self._waiting[k][1].ticket))
            self._running = self._waiting.pop(key)[1]
            return self._running

    def _answer(self, request: Request | Errand) -> Response | Outcome:
        if isinstance(request, Errand):
            value, error = self._attempt(request.model, request.act, anew=request.anew)
            if error is None and request.instead:
                self._drop_requests(request.instead)
            return Outcome(request, value, error)
        began = time.thread_time()
        with THREADS.undisturbed(awaited=request.awaited):
            response, error = self._attempt(request.model, lambda model: run(request, _prompted(model), self.store))
        found: Response = Response(request, error=error) if response is None else response
        return replace(found, worked=time.thread_time() - began)

    def _attempt(
        self, reference: str, act: Callable[[Any], Any], *, anew: bool = False
    ) -> tuple[Any, MedsamError | None]:
        try:
            return act(self._model(reference, anew=anew)), None
        except MedsamError as error:
            return None, error
        except BaseException as error:  # a library's SystemExit must not end the lane in silence
            failure = ModelError(f"The model {reference!r} could not be used: {error!r}. Choose another model.")
            failure.__cause__ = error
            return None, failure

    def _model(self, reference: str, *, anew: bool) -> Model:
        """The model of a reference; the one that was held is let go when the new one is there."""
        if self._held is not None and self._held[0] == reference and not anew:
            return self._held[1]
        model = self._loaded(reference)
        self._let_go()
        self._held = reference, model
        return model

    def _loaded(self, reference: str) -> Model:
        """Load a model; where there is no room for it beside the one that is held, that one goes first."""
        try:
            return self._load(reference)
        except MemoryShortError:
            if self._held is None:
                raise
        self._let_go()  # the traceback, and with it what the attempt held, is gone here
        return self._load(reference)

    def _let_go(self) -> None:
        if self._held is not None:
            small = self._held[1].spec.quick
            self._held = None
            if not small:
                free()  # networks hold reference cycles, and gigabytes; to look for them all keeps the window waiting

    def _drop_requests(self, reference: str) -> None:
        """Drop the requests to a model that wait, and work ahead for it."""
        with self._changed:
            self._keep_waiting(lambda waiting: _stays(waiting) or waiting.model != reference)

    def _keep_waiting(self, keep: Callable[[Request | Errand], bool]) -> None:
        self._waiting = {key: (rank, waiting) for key, (rank, waiting) in self._waiting.items() if keep(waiting)}

    def _hand_over(self, response: Response | Outcome) -> None:
        with contextlib.suppress(Exception):  # the receiver may be gone: a window closed while this ran
            self._deliver(response)

    def _close_at_exit(self) -> None:
        self.close(CLOSE_SECONDS)


def _stays(waiting: Request | Errand) -> bool:
    """Whether it is kept when what was asked is dropped."""
    return isinstance(waiting, Errand) and not waiting.ahead


def _prompted(model: Model) -> Segmenter:
    if isinstance(model, Segmenter):
        return model
    raise ModelError(f"{model.spec.title} labels by itself and takes no prompts. Choose another model for prompts.")


def _forget_frames(error: BaseException | None) -> None:
    """Let the frames that an error came through forget their variables, which may be a whole network.

    An error is kept for as long as its proposal is; the lines of its traceback stay for a report.
    """
    while error is not None:
        trace = error.__traceback__
        traceback.clear_frames(trace)
        # those that called the one in which it was caught
        caller = None if trace is None else trace.tb_frame.f_back
        with contextlib.suppress(RuntimeError):  # from here on they are still running
            while caller is not None:
                caller.clear()
                caller = caller.f_back
        error = error.__cause__ or error.__context__
