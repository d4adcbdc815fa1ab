"""The cache of computed features: an SQLite file or Redis, chosen by an address."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lifecycle.core.errors import ProjectError

T = TypeVar("T")
Item = tuple[bytes, bytes]  # key, value
SQL_VARIABLES = 500  # in one statement
_CAPACITY = 1_000_000  # entities in an SQLite cache
_SCHEMA = """
CREATE TABLE IF NOT EXISTS cache (key BLOB PRIMARY KEY, value BLOB NOT NULL, expires REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS cache_expires ON cache (expires);
"""


class Cache(Protocol):
    """Values by key, which expire. Every failure of the cache is one of the exceptions in `errors`."""

    name: str  # its address, without a password
    errors: tuple[type[Exception], ...]

    @property
    def capacity(self) -> int | None:
        """The most values that it keeps; None when only the server's memory limits it."""

    def get_many(self, keys: Sequence[bytes], now: float) -> list[bytes | None]:
        """Return the values of keys, in one round trip, None for a missing one."""

    def put_many(self, items: Sequence[Item], now: float, ttl: float) -> None:
        """Store values for `ttl` seconds from `now`."""


class SQLiteCache:
    """A cache in a file, for any number of threads and processes: readers never wait (WAL), writers take turns.

    Its size is limited: from time to time expired values are deleted, and beyond `capacity` those that expire first.
    """

    errors: tuple[type[Exception], ...] = (sqlite3.Error, OSError)

    def __init__(self, path: Path, timeout: float, capacity: int = _CAPACITY) -> None:
        self.path, self.timeout, self.name = path, timeout, f"sqlite:///{path}"
        self.capacity = capacity
        self.local = threading.local()
        self.step = max(1, capacity // 100)  # writes of this process between two checks of the size
        self.written = 0

    def connect(self) -> sqlite3.Connection:
        """Return this thread's connection; a forked process opens its own."""
        held: tuple[int, sqlite3.Connection] | None = getattr(self.local, "held", None)
        if held is not None and held[0] == os.getpid():
            return held[1]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=self.timeout, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")  # a cache that a power cut damages is filled again
        connection.executescript(_SCHEMA)
        self.local.held = os.getpid(), connection
        return connection

    def get_many(self, keys: Sequence[bytes], now: float) -> list[bytes | None]:
        """Return the values of keys."""
        connection = self.connect()
        if len(keys) == 1:
            row = connection.execute(
                "SELECT value FROM cache WHERE key = ? AND +expires > ?", (keys[0], now)
            ).fetchone()
            return [None if row is None else row[0]]
        found: dict[bytes, bytes] = {}
        for part in cut(keys, SQL_VARIABLES):
            places = ",".join("?" * len(part))
            question = f"SELECT key, value FROM cache WHERE key IN ({places}) AND +expires > ?"  # noqa: S608 - question marks only
            found.update(connection.execute(question, (*part, now)))
        return [found.get(key) for key in keys]

    def put_many(self, items: Sequence[Item], now: float, ttl: float) -> None:
        """Store values for `ttl` seconds."""
        connection = self.connect()
        rows = [(key, value, now + ttl) for key, value in items]
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany("INSERT OR REPLACE INTO cache VALUES (?, ?, ?)", rows)
            self.written += len(rows)
            if self.written >= self.step:
                self.prune(connection, now)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def prune(self, connection: sqlite3.Connection, now: float) -> None:
        """Delete expired values, and beyond the capacity those that expire first."""
        self.written = 0
        connection.execute("DELETE FROM cache WHERE expires <= ?", (now,))
        count = connection.execute("SELECT count(*) FROM cache").fetchone()[0]
        if count > self.capacity:
            connection.execute(
                "DELETE FROM cache WHERE key IN (SELECT key FROM cache ORDER BY expires LIMIT ?)",
                (count - self.capacity,),
            )


class RedisCache:
    """A cache in Redis, which expires values itself. A call waits for at most `timeout` seconds.

    Each thread reads on its own connection: taking one from redis-py's pool and checking it takes longer than Redis's
    answer.
    """

    capacity: int | None = None

    def __init__(self, url: str, timeout: float) -> None:
        self.name = hide_password(url)
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise ProjectError(f"{self.name} needs the package `redis`, which is not installed.") from error
        self.errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        self.gone = redis.ConnectionError
        self.local = threading.local()
        try:
            self.client: Any = redis.Redis.from_url(
                url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0),
                protocol=2, driver_info=None,
            )  # fmt: skip
        except ValueError:  # redis-py's message may contain a part of the password
            raise ProjectError(
                f"{self.name} is not an address of Redis: expected redis://[:PASSWORD@]HOST:PORT/DB."
            ) from None

    def ask(self, *words: bytes) -> Any:
        """Return the answer to a command on this thread's connection, or on a new one if that was closed since its last use."""
        local = self.local
        if getattr(local, "process", None) != os.getpid():
            local.connection, local.process, local.used = (
                self.client.connection_pool.make_connection(),
                os.getpid(),
                False,
            )
        while True:
            used, local.used = local.used, False
            try:
                local.connection.send_packed_command(local.connection.pack_command(*words), check_health=False)
                answer = local.connection.read_response(disable_decoding=True)
            except self.gone:
                if not used:
                    raise
            else:
                local.used = True
                return answer

    def get_many(self, keys: Sequence[bytes], now: float) -> list[bytes | None]:
        """Return the values of keys."""
        return [self.ask(b"GET", keys[0])] if len(keys) == 1 else self.ask(b"MGET", *keys)

    def put_many(self, items: Sequence[Item], now: float, ttl: float) -> None:
        """Store values for `ttl` seconds."""
        pipeline = self.client.pipeline(transaction=False)
        for key, value in items:
            pipeline.set(key, value, px=max(1, round(ttl * 1000)))
        pipeline.execute()


def open_cache(url: str, root: Path, timeout: float = 0.1) -> Cache:
    """Return the cache at an address: sqlite:///PATH (absolute, or relative to `root`), redis:// or rediss://.

    It connects at its first use. timeout: seconds that a call may take. Raises ProjectError for another address.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme in ("redis", "rediss"):
        return RedisCache(url, timeout)
    if separator and scheme == "sqlite" and len(rest) > 1 and rest.startswith("/"):
        return SQLiteCache(root / rest[1:], timeout)
    raise ProjectError(
        f"{hide_password(url)!r} is not an address of a feature store: expected sqlite:///PATH, redis://HOST:PORT/DB or rediss://…"
    )


def hide_password(url: str) -> str:
    """Return an address without its secrets: user, password and query."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2].partition('?')[0]}"


def cut(values: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """Return parts of at most `most` values, in order."""
    return (values[start : start + most] for start in range(0, len(values), most))
