"""uvicorn's HTTP/1.1 protocol with limits on the size and the duration of requests, and connections closed carefully."""

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

_LINGER_SECONDS = 2.0  # in which a refused client may finish its request
_MAX_IGNORED_BYTES = 32 * 1024 * 1024  # of such a request
_MAX_HEAD_BYTES = 64 * 1024
_MAX_PIPELINED = 100  # requests of a connection that wait for an earlier one


class _JoiningTransport:
    """A transport that writes the head of a response together with its body, in one system call.

    close: called by uvicorn's `close` after everything is written. left: the last response was written; later data is
    discarded.
    """

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.transport, self.finish, self.head, self.left = transport, close, b"", False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        """Hold back the head of a response (not an interim 1xx); write anything else, preceded by a held head."""
        if self.left:
            return
        if not self.head and data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):
            self.head = data
            return
        self.transport.write(self.head + data if self.head else data)
        self.head = b""

    def flush(self) -> None:
        """Write a held head: that of a response without a body."""
        if self.head:
            self.write(b"")

    def is_closing(self) -> bool:
        """Return whether later data is discarded."""
        return self.left or self.transport.is_closing()

    def close(self) -> None:
        """Write a held head and close."""
        self.flush()
        self.finish()


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol with limits on a request's duration and head, and with careful closing.

    uvicorn itself waits forever, reads heads and trailers of any size, loses the body of a request that requests an
    upgrade to another protocol, and closes while a client still sends, so that the client may not read the response.
    Three of the overridden methods are private to uvicorn (`_unsupported_upgrade_warning`) or to its httptools
    implementation (`send_400_response`, `shutdown`); requirements.txt pins the version, and tests/serving/test_app.py
    covers each of them.
    """

    arrival_seconds = 10.0  # from the start of a connection, or of a request, to the request's last byte
    last_request_seconds = 0.0  # in which an idle connection may still send a request when the server stops
    timer: TimerHandle | None = None
    inside = False  # between a request's first byte and its last
    chunk = b""  # the bytes that arrived last
    head_bytes = 0  # of a request, outside its body, after the chunk of its first byte
    postponed: tuple[int, str] | None = None  # a refusal that waits for earlier responses
    leaving = False  # the last response was written
    ignored = 0  # bytes that arrived since

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer of the first request."""
        self.inner = transport
        super().connection_made(_JoiningTransport(transport, self.leave))  # type: ignore[arg-type]
        self.timer = self.loop.call_later(self.arrival_seconds, self.give_up)

    def data_received(self, data: bytes) -> None:
        """Parse bytes; start a timer for the rest of an incomplete request."""
        if self.leaving or self.postponed is not None:
            self.ignored += len(data)
            if self.ignored > _MAX_IGNORED_BYTES:
                self.inner.abort()
            return
        self.chunk = data
        super().data_received(data)
        self.head_bytes += len(data)
        if not self.inside:
            return
        if self.timer is None:
            self.timer = self.loop.call_later(self.arrival_seconds, self.give_up)
        if self.head_bytes > _MAX_HEAD_BYTES:
            self.refuse(431, f"A request may have at most {_MAX_HEAD_BYTES} bytes outside its body.")

    def on_message_begin(self) -> None:
        """Handle the first byte of a request."""
        self.inside, self.head_bytes = True, -len(self.chunk)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Handle the end of a request's head."""
        if len(self.pipeline) >= _MAX_PIPELINED:
            raise ValueError("too many requests at once")  # the parser stops, as it does for invalid HTTP
        if not self.wants_upgrade():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Handle a part of a request's body."""
        self.head_bytes -= len(body)
        super().on_body(body)

    def wants_upgrade(self) -> bool:
        """Return whether a request wants another protocol, in which case the parser skips its body."""
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"

    def _unsupported_upgrade_warning(self) -> None:
        """Parse a request for an upgrade again without it: a server may ignore the header (RFC 9110, section 7.8)."""
        error = sys.exc_info()[1]
        assert isinstance(error, HttpParserUpgrade)
        rest = self.chunk[error.args[0] :]
        lines = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        version = self.parser.get_http_version().encode()
        head = b"%b %b HTTP/%b\r\n%b\r\n" % (self.parser.get_method(), self.url, version, b"".join(lines))
        self.parser = HttpRequestParser(self)
        self.data_received(head + rest)

    def on_message_complete(self) -> None:
        """Handle the last byte of a request."""
        if self.wants_upgrade():
            return
        self.inside = False
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Write a held head (a response to HEAD has no body) and a postponed refusal."""
        self.transport.flush()  # type: ignore[attr-defined]
        super().on_response_complete()
        if self.postponed is not None and self.cycle.response_complete:
            self.refuse(*self.postponed)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timer."""
        if self.timer is not None:
            self.timer.cancel()
        super().connection_lost(exc)

    def give_up(self) -> None:
        """Refuse a request that is too slow."""
        self.refuse(408, f"The request did not arrive within {self.arrival_seconds:g} s.")

    def send_400_response(self, msg: str) -> None:
        """Refuse invalid HTTP."""
        self.inside = True  # the rest is not read
        self.refuse(400, "The request is not HTTP/1.1, or it is one of too many that were sent at once.")

    def refuse(self, status: int, detail: str) -> None:
        """Respond with a problem (RFC 9457) and close; a request that has a response gets no second one."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        earlier = cycle is not None and cycle.scope is not self.scope  # of a request that is complete
        if earlier and not cycle.response_complete:
            self.postponed = status, detail
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
        """Close; read on for a while when the client is still sending, so that it can read the response.

        The kernel resets a connection that is closed with unread bytes (RFC 9112, section 9.6).
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
            self.timer = self.loop.call_later(_LINGER_SECONDS, self.inner.close)

    def shutdown(self) -> None:
        """Close when the server stops; an idle connection stays open for a moment, because a request may be under way."""
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(self.last_request_seconds, super().shutdown)
        else:
            super().shutdown()
