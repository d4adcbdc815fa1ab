"""HTTP/1.1 as uvicorn and httptools speak it, with bounds on what a client may send and how slowly, closed with care."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio import TimerHandle
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lifecycle.serving.guards import CLOSE, PROBLEM

LINGER = 2.0  # seconds in which a client that was refused may end its request
MOST_IGNORED = 32 * 1024 * 1024  # bytes of it
LARGEST_HEAD = 64 * 1024  # bytes
MOST_PIPELINED = 100  # requests of a connection that wait for the one before them


class Together:
    """A transport that writes a response's head with its body: one system call, and one time that the client wakes.

    close: what uvicorn's `close` does, once all is written. left: the last answer was given; what else is written is lost.
    """

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.transport, self.finish, self.head, self.left = transport, close, b"", False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        """Keep a head (an interim 1xx has no body to wait for); write anything else, after the head that was kept."""
        if self.left:
            return
        if not self.head and data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):
            self.head = data
            return
        self.transport.write(self.head + data if self.head else data)
        self.head = b""

    def flush(self) -> None:
        """Write what was kept: the head of an answer without a body."""
        if self.head:
            self.write(b"")

    def is_closing(self) -> bool:
        """Whether nothing else is written."""
        return self.left or self.transport.is_closing()

    def close(self) -> None:
        """Write what was kept, and close."""
        self.flush()
        self.finish()


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 that bounds how long a request's arrival and how large its head may be, and closes with care.

    uvicorn waits for ever, reads heads and trailers of any size, loses the body of a request that asks for another protocol,
    and closes while a client still sends, who then may not read why.
    """

    patience = 10.0  # seconds from a connection's, or a request's, beginning to the request's last byte
    farewell = 0.0  # seconds that a connection without a request has to send one, when the server stops
    timer: TimerHandle | None = None
    inside = False  # between a request's first byte and its last
    chunk = b""  # what came last
    beside = 0  # bytes of a request that are not its body, beyond those that came with its first
    owed: tuple[int, str] | None = None  # a refusal that waits for the answers before it
    leaving = False  # the last answer was given
    ignored = 0  # bytes that came since

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a request."""
        self.inner = transport
        super().connection_made(Together(transport, self.leave))  # type: ignore[arg-type]
        self.timer = self.loop.call_later(self.patience, self.give_up)

    def data_received(self, data: bytes) -> None:
        """Take bytes; wait for the rest of a request that came in part. One that came whole needs no clock."""
        if self.leaving or self.owed is not None:
            self.ignored += len(data)
            if self.ignored > MOST_IGNORED:
                self.inner.abort()
            return
        self.chunk = data
        super().data_received(data)
        self.beside += len(data)
        if not self.inside:
            return
        if self.timer is None:
            self.timer = self.loop.call_later(self.patience, self.give_up)
        if self.beside > LARGEST_HEAD:
            self.refuse(431, f"A request may have at most {LARGEST_HEAD} bytes beside its body.")

    def on_message_begin(self) -> None:
        """A request's first byte."""
        self.inside, self.beside = True, -len(self.chunk)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The end of a request's head."""
        if len(self.pipeline) >= MOST_PIPELINED:
            raise ValueError("too many requests at once")  # the parser stops, as where it reads no HTTP
        if not self.wants_upgrade():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a request's body."""
        self.beside -= len(body)
        super().on_body(body)

    def wants_upgrade(self) -> bool:
        """Whether a request asks for another protocol, in which case the parser skips its body."""
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"

    def _unsupported_upgrade_warning(self) -> None:
        """Read such a request again without its wish: nobody is obliged to grant it (RFC 9110, 7.8)."""
        error = sys.exc_info()[1]
        assert isinstance(error, HttpParserUpgrade)
        rest = self.chunk[error.args[0] :]
        lines = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        version = self.parser.get_http_version().encode()
        head = b"%b %b HTTP/%b\r\n%b\r\n" % (self.parser.get_method(), self.url, version, b"".join(lines))
        self.parser = HttpRequestParser(self)
        self.data_received(head + rest)

    def on_message_complete(self) -> None:
        """A request's last byte."""
        if self.wants_upgrade():
            return
        self.inside = False
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer was given; that to HEAD is a head alone."""
        self.transport.flush()  # type: ignore[attr-defined]
        super().on_response_complete()
        if self.owed is not None and self.cycle.response_complete:
            self.refuse(*self.owed)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self.timer is not None:
            self.timer.cancel()
        super().connection_lost(exc)

    def give_up(self) -> None:
        """Refuse a request that is too slow."""
        self.refuse(408, f"The request did not arrive within {self.patience:g} s.")

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self.inside = True  # what else comes is not read
        self.refuse(400, "The request is not HTTP/1.1, or it is one of too many that were sent at once.")

    def refuse(self, status: int, detail: str) -> None:
        """Answer with RFC 9457's problem, and close. What was answered already is not answered twice."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        earlier = cycle is not None and cycle.scope is not self.scope  # that of a request which came whole
        if earlier and not cycle.response_complete:
            self.owed = status, detail
            return
        if earlier or cycle is None or not cycle.response_started:
            phrase = HTTPStatus(status).phrase
            problem = {"type": "about:blank", "title": phrase, "status": status, "detail": detail}
            body = json.dumps(problem).encode()
            headers = [*PROBLEM, CLOSE, (b"content-length", str(len(body)).encode())]
            head = b"".join(b"%b: %b\r\n" % header for header in headers)
            self.inner.write(f"HTTP/1.1 {status} {phrase}\r\n".encode() + head + b"\r\n" + body)
        self.leave()

    def leave(self) -> None:
        """Close. A client that is still sending is heard out for a while: closed at once, it could not read the answer.

        The kernel resets a connection that is closed with bytes unread (RFC 9112, 9.6).
        """
        self.transport.left = True  # type: ignore[attr-defined]
        if not self.inside:
            self.inner.close()
        elif not self.leaving and not self.inner.is_closing():
            self.leaving = True
            self.inner.resume_reading()
            if self.timer is not None:
                self.timer.cancel()
            if self.inner.can_write_eof():
                self.inner.write_eof()
            self.timer = self.loop.call_later(LINGER, self.inner.close)

    def shutdown(self) -> None:
        """The server stops: a connection without a request has a little time, for one may be on its way."""
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(self.farewell, super().shutdown)
        else:
            super().shutdown()
