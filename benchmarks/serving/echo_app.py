"""A bare ASGI application: it reads the body and answers with $ECHO_BYTES bytes."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

BODY = b"x" * int(os.environ["ECHO_BYTES"])
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer a request (ASGI 3)."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
