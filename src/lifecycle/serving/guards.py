"""API keys and rate limits."""

from __future__ import annotations

import time
from collections import OrderedDict
from hashlib import sha256
from hmac import compare_digest

Headers = list[tuple[bytes, bytes]]
SECURITY: Headers = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
PROBLEM: Headers = [(b"content-type", b"application/problem+json"), *SECURITY]
CLOSE = (b"connection", b"close")
MAX_CLIENTS = 10_000  # whose rates are kept; the one that was not seen for the longest time is dropped


class KeyRing:
    """The accepted keys; without any, every request is accepted."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self.digests = [sha256(key.encode()).digest() for key in keys]

    def read(self, headers: dict[bytes, bytes]) -> bytes:
        """Return the key of a request: `Authorization: Bearer KEY`, or else `X-API-Key: KEY`."""
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        return token.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key", b"")

    def admits(self, headers: dict[bytes, bytes]) -> bool:
        """Return whether a request has an accepted key; all of them are compared, in constant time."""
        if not self.digests:
            return True
        digest = sha256(self.read(headers)).digest()
        return sum(compare_digest(digest, known) for known in self.digests) > 0  # `any` would stop at the first


class RateLimit:
    """A token bucket for each client.

    rate: requests per second, 0 for no limit. burst: seconds of the rate that a client may use at once.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.size = rate, max(1.0, rate * burst)
        self.buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Take a token; return 0, or the seconds until there is one."""
        now = time.monotonic()
        tokens, at = self.buckets.pop(client, (self.size, now))
        tokens = min(self.size, tokens + (now - at) * self.rate)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self.rate
        self.buckets[client] = (tokens - 1 if tokens >= 1 else tokens, now)
        if len(self.buckets) > MAX_CLIENTS:
            self.buckets.popitem(last=False)
        return wait
