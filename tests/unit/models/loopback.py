"""A web server on 127.0.0.1 that misbehaves as told. Every wait in it is bounded, and ends when it is closed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LIMIT = 60
"""Requests that are answered; a client that never gives up fails its test instead of hanging it."""

STALL = 5.0
"""Seconds after which a stalled answer is cut."""


@dataclass
class Asked:
    """One request, as it came."""

    method: str
    path: str
    headers: dict[str, str]


Answer = Callable[["Handler"], None]


@dataclass
class Loopback:
    """Answers one after the other, as listed; the last one stays."""

    answers: list[Answer]
    asked: list[Asked] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Loopback:
        outer = self

        class Bound(Handler):
            loopback = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def ranges(self) -> list[str]:
        """The Range of each request for content; empty for none."""
        return [asked.headers.get("Range", "") for asked in self.asked if asked.method == "GET"]

    def next(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        if len(self.asked) > LIMIT:
            return status(503)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Handler(BaseHTTPRequestHandler):
    """Answers as its server's script says."""

    loopback: Loopback
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = Asked(self.command, self.path, dict(self.headers))
        self.close_connection = True
        with suppress(ConnectionError):  # the client left
            self.loopback.next(asked)(self)

    do_HEAD = do_GET

    def head(self, code: int, length: int | None, **headers: str) -> None:
        self.send_response(code)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Connection", "close")
        self.end_headers()

    def say(self, content: bytes) -> None:
        if self.command != "HEAD":
            self.wfile.write(content)
            self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        """Nothing on the terminal."""


def status(code: int, **headers: str) -> Answer:
    def answer(handler: Handler) -> None:
        handler.head(code, 4, **headers)
        handler.say(b"nope")

    return answer


def redirect(to: str, **headers: str) -> Answer:
    return lambda handler: handler.head(302, 0, Location=to, **headers)


def silence(handler: Handler) -> None:
    """No answer at all."""
    handler.loopback.over.wait(STALL)


def page(code: int = 200, kind: str = "text/html; charset=utf-8") -> Answer:
    content = b"<!DOCTYPE html><html><body>Please log in</body></html>"

    def answer(handler: Handler) -> None:
        handler.head(code, len(content), Content_Type=kind)
        handler.say(content)

    return answer


@dataclass(frozen=True)
class Content:
    """A file as a good server gives it, with ranges; the fields make it a bad one.

    Parameters
    ----------
    body : bytes
    etag, modified : str
        Sent unless empty, and compared with If-Range.
    cut : int, optional
        Bytes of the answer after which the connection ends.
    stall : int, optional
        Bytes of the answer after which nothing more comes.
    ranges : bool
        Whether Range is looked at.
    blind : bool
        Whether If-Range is not looked at.
    length : bool
        Whether Content-Length is sent.
    slow : float
        Seconds between pieces.
    shift : int
        How much later than asked a range begins.
    headers : mapping
    """

    body: bytes
    etag: str = '"one"'
    modified: str = ""
    cut: int | None = None
    stall: int | None = None
    ranges: bool = True
    blind: bool = False
    length: bool = True
    slow: float = 0.0
    shift: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    def __call__(self, handler: Handler) -> None:
        start = self._start(handler)
        told = dict(self.headers) | ({"ETag": self.etag} if self.etag else {})
        told |= {"Last_Modified": self.modified} if self.modified else {}
        if start is not None and start >= len(self.body):
            handler.head(416, 0, Content_Range=f"bytes */{len(self.body)}", **told)
            return
        begin = (start + self.shift) if start is not None else 0
        content = self.body[begin:]
        if start is not None:
            told["Content_Range"] = f"bytes {begin}-{len(self.body) - 1}/{len(self.body)}"
        handler.head(200 if start is None else 206, len(content) if self.length else None, **told)
        self._send(handler, content)

    def _start(self, handler: Handler) -> int | None:
        asked = handler.headers.get("Range", "")
        if not self.ranges or not asked.startswith("bytes="):
            return None
        known = handler.headers.get("If-Range", "")
        if known and not self.blind and known not in (self.etag, self.modified):
            return None
        return int(asked.removeprefix("bytes=").partition("-")[0])

    def _send(self, handler: Handler, content: bytes) -> None:
        end = next((n for n in (self.cut, self.stall) if n is not None), len(content))
        for at in range(0, end, 2**15):
            handler.say(content[at : min(at + 2**15, end)])
            if self.slow and handler.loopback.over.wait(self.slow):
                return
        if self.stall is not None:
            handler.loopback.over.wait(STALL)
