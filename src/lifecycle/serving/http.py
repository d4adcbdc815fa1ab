"""Reading request bodies and sending responses and problems over ASGI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

import orjson

from lifecycle.core.records import Record
from lifecycle.serving.guards import CLOSE, PROBLEM, SECURITY, Headers
from lifecycle.serving.schema import RequestError

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[Record], Awaitable[None]]
JSON: Headers = [(b"content-type", b"application/json"), *SECURITY]


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


async def read_body(headers: dict[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """Return the complete body of a JSON request; raise RequestError for another type or more than `limit` bytes.

    The protocol (`serving.protocol`) limits how long the body may take.
    """
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise RequestError(415, f"The body must be application/json, got {kind[:80].decode('latin-1')!r}.")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise RequestError(415, "The body must not be compressed.")
    size = int(headers.get(b"content-length", b"0"))
    body: bytes = b""
    while size <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body += message.get("body", b"")
        size = len(body)
        if not message.get("more_body") and size <= limit:
            return body
    raise RequestError(413, f"The body may have at most {limit} bytes.")


async def send_response(
    scope: Record, send: Send, status: int, headers: Headers, body: bytes, *, close: bool = False
) -> None:
    """Send a response in one piece; one to HEAD has no body. close: ask the client to close the connection."""
    everything = [*headers, (b"content-length", str(len(body)).encode())]
    if close:
        everything.append(CLOSE)
    await send({"type": "http.response.start", "status": status, "headers": everything})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def build_problem(rejection: RequestError, *, draining: bool) -> tuple[Headers, bytes]:
    """Return the headers and the body of a problem (RFC 9457)."""
    status = rejection.status
    problem: Record = {
        "type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": rejection.detail,
    }  # fmt: skip
    headers = list(PROBLEM)
    if status == 422 and rejection.errors:
        problem["errors"] = rejection.errors
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 429:
        headers.append((b"retry-after", str(int(rejection.errors[0]["wait"]) + 1).encode()))
    if status == 405:
        headers.append((b"allow", ", ".join(rejection.errors[0]["allow"]).encode()))
    if status in (408, 413) and not draining:
        headers.append(CLOSE)  # the rest of the body is not read
    return headers, orjson.dumps(problem, default=str)
