"""Acceptance tests: start the real server in a separate process and send it normal, malformed and concurrent requests."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.core.records import Record
from lifecycle.promotion.records import Champion
from lifecycle.serving.settings import PREFIX, name_variable

Reply = tuple[int, dict[str, str], bytes]
_ADDRESS = re.compile(r"answers at http://[^:]+:(\d+)/")
_TIMEOUT_SECONDS = 30.0  # for a server to start or stop, and for an answer
_ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3.5, -0.0, 1e308, -1e308, 2**53 + 1, 10**400, "", " ", "x" * 5000, "\u0000", "𝄞", "'; --",
    [], {}, [[]], {"a": {}}, "NaN", "null", "2026-13-45", "2026-01-31T12:00:00Z",
)  # fmt: skip
_ODD_BODIES: tuple[bytes, ...] = (
    b"", b" ", b"null", b"true", b"1", b'"x"', b"[]", b"[[]]", b"{}", b"[{}]", b"NaN", b"-Infinity", b"{", b"[" * 5000,
    b'{"a":' * 5000, b"\xff\xfe", b"\x00", b"\xef\xbb\xbf{}", b"<xml/>", b"a=1&b=2", b'{"a": 1e99999}', b'{"\\ud800": 1}',
)  # fmt: skip


@dataclass
class ServerProcess:
    """A running server; `seconds` is the time from its start until it was ready."""

    process: subprocess.Popen[str]
    port: int
    seconds: float
    errors: list[str] = field(default_factory=list)  # lines that it wrote to stderr

    def ask(self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
        """Send one request on a new connection; return status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_TIMEOUT_SECONDS)
        try:
            return ask(connection, path, body, headers)
        finally:
            connection.close()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the process to end and return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(_TIMEOUT_SECONDS)

    @property
    def memory(self) -> int:
        """The resident memory, in bytes, of the largest of its processes."""
        return max(read_memory(pid) for pid in [self.process.pid, *list_children(self.process.pid)])


def ask(
    connection: http.client.HTTPConnection, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> Reply:
    """Send one request on an open connection: POST with a body, GET without; return status, headers and body."""
    content = {"Content-Type": "application/json"} if body is not None else {}
    connection.request("GET" if body is None else "POST", path, body, {**content, **(headers or {})})
    answer = connection.getresponse()
    return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()


@contextmanager
def start_server(root: Path, *, ready: bool = True, workers: int = 1, **settings: Any) -> Iterator[ServerProcess]:
    """Start `lifecycle serve` for the project in `root` on a free loopback port; stop it when the block ends.

    settings become environment variables; those of this process are not passed on. Raises ProjectError with the server's output when it does not start.
    """
    named = {name_variable(key): str(value) for key, value in settings.items()}
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(PREFIX) and key != paths.FEATURE_STORE_VARIABLE
    }
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "lifecycle.cli.main", "serve", "--port", "0", "--workers", str(workers)],
        env={**kept, **named, paths.ROOT_VARIABLE: str(root), "PYTHONUNBUFFERED": "1"}, cwd=root,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    errors: list[str] = []
    reader = threading.Thread(target=errors.extend, args=(process.stderr,), daemon=True)
    reader.start()
    try:
        found = _ADDRESS.search(process.stdout.readline())
        if found is None:
            process.wait(_TIMEOUT_SECONDS)
            reader.join(_TIMEOUT_SECONDS)
            raise ProjectError(f"the server did not start: {''.join(errors)[-1000:].strip()}")
        server = ServerProcess(process, int(found[1]), 0.0, errors)
        wait_until_up(server, "/ready" if ready else "/health")
        server.seconds = time.monotonic() - began
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()
        reader.join(1)


def wait_until_up(server: ServerProcess, path: str) -> None:
    """Wait until a probe answers 200; raise ProjectError with its last answer otherwise."""
    end, answer = time.monotonic() + _TIMEOUT_SECONDS, ""
    while time.monotonic() < end and server.process.poll() is None:
        try:
            status, _, body = server.ask(path)
            if status == 200:
                return
            answer = body.decode()
        except OSError:
            pass
        time.sleep(0.01)
    raise ProjectError(f"{path} never answered 200: {answer or 'no answer'} {''.join(server.errors)[-1000:]}")


def prepare_workspace(root: Path, bundle: Path, champion: Champion) -> Path:
    """Create a root from which a server answers with a bundle: the release and a champion.json that names it."""
    import shutil

    release = root / paths.RELEASES / str(champion.model)[:12] / "bundle"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(bundle, release)
    champion.write(root / paths.CHAMPION)
    return root


def list_children(pid: int) -> list[int]:
    """Return the ids of the processes that a process started; none if it has ended."""
    with suppress(psutil.NoSuchProcess):
        return [child.pid for child in psutil.Process(pid).children()]
    return []


def read_memory(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    return int(psutil.Process(pid).memory_info().rss)


def vary_requests(rows: list[Record], count: int, seed: int) -> Iterator[tuple[bytes, dict[str, str]]]:
    """Yield bodies and headers that a careless or hostile client may send: odd values, fields, shapes, bytes and types."""
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    for number in range(count):
        row = dict(chance.choice(rows))
        kind = number % 8
        headers = {"Content-Type": "application/json"}
        if kind <= 2:
            for name in chance.sample(sorted(row), chance.randint(1, min(3, len(row)))):
                row[name] = chance.choice(_ODD_VALUES)
        elif kind == 3:
            row.pop(chance.choice(sorted(row)))
            row[chance.choice(["", "x", "__proto__", "é" * 200])] = chance.choice(_ODD_VALUES)
        elif kind == 4:
            yield chance.choice(_ODD_BODIES), headers
            continue
        elif kind == 5:
            headers["Content-Type"] = chance.choice(
                ["text/plain", "application/xml", "", "application/json; charset=utf-16"]
            )
        elif kind == 6:
            whole = json.dumps([row] * chance.choice([1, 2, 1001])).encode()
            yield whole[: chance.randint(0, len(whole))] if chance.random() < 0.5 else whole, headers
            continue
        else:
            damaged = bytearray(json.dumps(row).encode())
            for _ in range(chance.randint(1, 4)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            yield bytes(damaged), headers
            continue
        yield json.dumps(row).encode(), headers


def count_crashes(server: ServerProcess, rows: list[Record], count: int, seed: int) -> list[str]:
    """Send odd requests; return a sentence for each that got a 5xx, no answer, or an answer that is not JSON."""
    found = []
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=_TIMEOUT_SECONDS)
    for body, headers in vary_requests(rows, count, seed):
        try:
            status, answered, content = ask(connection, "/predict", body, headers)
            if answered.get("connection") == "close":
                connection.close()
            if status >= 500 or "json" not in answered.get("content-type", ""):
                found.append(f"{body[:100]!r} was answered with {status}")
            json.loads(content)
        except (OSError, http.client.HTTPException, ValueError) as error:
            found.append(f"{body[:100]!r}: {type(error).__name__}: {error}")
            connection.close()
    connection.close()
    return found


@dataclass
class Load:
    """The clients' view: seconds of each answered request, the replies with their times, a sentence for each failure."""

    seconds: list[float] = field(default_factory=list)
    replies: list[tuple[float, Record]] = field(default_factory=list)  # time on the monotonic clock, reply
    failures: list[str] = field(default_factory=list)


@contextmanager
def put_under_load(server: ServerProcess, rows: list[Record], clients: int = 4) -> Iterator[Load]:
    """Run clients that send requests without a pause until the block ends or the server accepts no new connection.

    A refused connection means that the server has ended; anything else but a complete answer is a failure.
    """
    load, stop = Load(), threading.Event()

    def drive(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=_TIMEOUT_SECONDS)
        turn = number
        while not stop.is_set():
            body = json.dumps(rows[turn % len(rows)]).encode()
            turn += clients
            began = time.perf_counter()
            try:
                status, headers, content = ask(connection, "/predict", body)
            except ConnectionRefusedError:
                return
            except (OSError, http.client.HTTPException) as error:
                load.failures.append(f"{type(error).__name__}: {error}")
                return
            load.seconds.append(time.perf_counter() - began)
            if status != 200:
                load.failures.append(f"status {status}: {content[:200]!r}")
                continue
            load.replies.append((time.monotonic(), json.loads(content)))
            if headers.get("connection") == "close":
                connection.close()
        connection.close()

    with ThreadPoolExecutor(clients) as pool:
        futures = [pool.submit(drive, number) for number in range(clients)]
        try:
            yield load
        finally:
            stop.set()
            for future in futures:
                future.result(_TIMEOUT_SECONDS)
