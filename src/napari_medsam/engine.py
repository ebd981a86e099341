"""The one inference lane: a thread that works off requests, urgent before idle, new before old. No Qt."""

from __future__ import annotations

import atexit
import contextlib
import threading
from collections.abc import Callable
from enum import IntEnum

from napari_medsam.embeddings import EmbeddingStore
from napari_medsam.errors import MedsamError, ModelError
from napari_medsam.models.base import Segmenter
from napari_medsam.session import Request, Response, run

CLOSE_SECONDS = 10.0
"""How long the interpreter waits at exit for a job that is running."""


class Priority(IntEnum):
    """Order of work; lower first, and of the same the newest request first."""

    PROMPT = 0
    SHOWN = 1
    IDLE = 2


class Engine:
    """Runs requests on one persistent thread, so that the caller's thread never waits for a model.

    A request replaces the one of the same draft that has not started. Answers go to `deliver` on the lane's own
    thread; whether an answer is still wanted is the session's to say (`Session.receive`).

    Parameters
    ----------
    load : callable
        Makes a model from its short name; called on the lane, once per model.
    deliver : callable
        Gets every Response. An exception from it stops nothing.
    store : EmbeddingStore, optional
    """

    def __init__(
        self,
        load: Callable[[str], Segmenter],
        deliver: Callable[[Response], None],
        store: EmbeddingStore | None = None,
    ) -> None:
        self.store = EmbeddingStore() if store is None else store
        self._load = load
        self._deliver = deliver
        self._models: dict[str, Segmenter] = {}
        self._waiting: dict[str, tuple[Priority, Request]] = {}
        self._running: Request | None = None
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

    def submit(self, request: Request, priority: Priority = Priority.PROMPT) -> None:
        """Queue a request; one of the same draft that has not started is dropped. Ignored after `close`."""
        with self._changed:
            if not self._closed:
                self._waiting[request.draft] = (priority, request)
                self._changed.notify_all()

    def cancel(self, draft: str | None = None) -> None:
        """Drop the waiting request of a draft, or all. What runs goes on; its answer is late and will be ignored."""
        with self._changed:
            if draft is None:
                self._waiting.clear()
            else:
                self._waiting.pop(draft, None)
            self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until nothing runs or waits; False when `timeout` seconds passed before."""
        with self._changed:
            return self._changed.wait_for(lambda: self._running is None and not self._waiting, timeout)

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
            with self._door:
                if not self._closed:
                    self._hand_over(response)
            with self._changed:
                self._running = None
                self._changed.notify_all()

    def _next(self) -> Request | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._waiting))
            if self._closed:
                return None
            key = min(self._waiting, key=lambda k: (self._waiting[k][0], -self._waiting[k][1].ticket))
            self._running = self._waiting.pop(key)[1]
            return self._running

    def _answer(self, request: Request) -> Response:
        try:
            if request.model not in self._models:
                self._models[request.model] = self._load(request.model)
            return run(request, self._models[request.model], self.store)
        except MedsamError as error:
            return Response(request, error=error)
        except BaseException as error:  # a library's SystemExit must not end the lane in silence
            failure = ModelError(f"The model {request.model!r} could not be used: {error!r}. Choose another model.")
            failure.__cause__ = error
            return Response(request, error=failure)

    def _hand_over(self, response: Response) -> None:
        with contextlib.suppress(Exception):  # the receiver may be gone: a window closed while this ran
            self._deliver(response)

    def _close_at_exit(self) -> None:
        self.close(CLOSE_SECONDS)
