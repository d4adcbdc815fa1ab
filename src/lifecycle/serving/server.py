"""Start and stop the server: one process, or several that share a listening socket; SIGTERM drains it first."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from traceback import format_tb
from types import FrameType
from typing import Any

import uvicorn

from lifecycle.core.errors import ProjectError
from lifecycle.serving.protocol import Protocol
from lifecycle.serving.settings import METRICS_FOLDER_VARIABLE, Settings

logger = logging.getLogger("lifecycle.serving")
_BACKLOG = 2048
_GC_THRESHOLDS = (20_000, 20, 50)  # requests create records for the log but no cycles, so collections can be rare
_EXIT_CANNOT_START = 3  # the exit status of a worker that could not start: another start would not help
_RESTART_SECONDS = 1.0  # between two starts of a worker that died
_HANDSHAKE_SECONDS = 0.1  # at the end, for handshakes that are under way
_LAST_REQUEST_SECONDS = 1.0  # after that, for a request that is under way on an idle connection
_ATTACH_FILTER = getattr(socket, "SO_ATTACH_FILTER", 26)  # socket(7)
_DROP_SYN = (  # classic BPF over a TCP segment: drop those whose only flag among SYN and ACK is SYN
    (0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFF),
)  # fmt: skip


class Server(uvicorn.Server):
    """uvicorn's server that drains first: after a signal it serves for `drain` seconds and asks clients to close.

    alone: no other process accepts connections from its socket.
    """

    def __init__(self, config: uvicorn.Config, service: Any, drain: float, *, alone: bool) -> None:
        super().__init__(config)
        self.service, self.drain, self.alone = service, drain, alone
        self.stop_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start draining; stop at once on a second signal."""
        self.should_exit = self.should_exit or self.stop_at is not None
        self.service.draining = True
        self.stop_at = self.stop_at or time.monotonic() + self.drain

    async def on_tick(self, counter: int) -> bool:
        """Return whether to leave the main loop."""
        if self.stop_at is not None and time.monotonic() >= self.stop_at:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept the connections that wait, then close the socket: every accepted connection is answered."""
        listeners = sockets or []
        if self.alone:
            for listener in listeners:
                _drop_handshakes(listener)
        await asyncio.sleep(_HANDSHAKE_SECONDS)
        loop = asyncio.get_running_loop()
        for listener in listeners:
            listener.setblocking(False)
            with suppress(OSError):  # no more connections wait
                while True:
                    connection, _ = listener.accept()
                    connection.setblocking(False)
                    await loop.connect_accepted_socket(self.make_protocol, connection)
        await super().shutdown(sockets)

    def make_protocol(self) -> asyncio.Protocol:
        """Return the protocol of one connection."""
        return Protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON: time, level, message and its own fields, never a request's values."""

    own = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "pid": record.process,
            **{key: value for key, value in vars(record).items() if key not in self.own},
        }
        if record.exc_info and record.exc_info[0]:  # without the error's message, which may hold a request's value
            line["trace"] = "".join([*format_tb(record.exc_info[2]), record.exc_info[0].__name__])
        return json.dumps(line, default=str, ensure_ascii=False)


def _log_as_json() -> None:
    """Write this process's log to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name, level in (
        ("lifecycle.serving", logging.INFO), ("lifecycle.features", logging.INFO), ("uvicorn.error", logging.WARNING),
    ):  # fmt: skip
        log = logging.getLogger(name)
        log.handlers, log.propagate = [handler], False
        log.setLevel(level)


def _open_socket(host: str, port: int) -> socket.socket:
    """Return a listening socket; raise ProjectError when the address cannot be used."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        raise ProjectError(f"Cannot listen on {host}:{port}: {error.strerror or error}.") from error
    listener.set_inheritable(True)
    return listener


def _drop_handshakes(listener: socket.socket) -> None:
    """Let a listening socket start no more handshakes: one between the last accept and the close would be lost.

    Such a client tries again and is refused once the socket is closed. This works only on Linux (with a BPF filter: McCanne
    and Jacobson 1993).
    """
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _DROP_SYN))
    with suppress(OSError):
        listener.setsockopt(
            socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HL", len(_DROP_SYN), ctypes.addressof(code))
        )


def serve(root: Path, settings: Settings) -> int:
    """Serve the project's champion until SIGTERM or Ctrl-C; return the exit status.

    Raises ProjectError when there is no champion or the address is in use.
    """
    _log_as_json()
    with _open_socket(settings.host, settings.port) as listener:
        host, port = listener.getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        if settings.workers == 1:
            os.environ.pop(METRICS_FOLDER_VARIABLE, None)
            return _run_worker(root, settings, listener, address)
        return _supervise(root, settings, listener, address)


def _run_worker(root: Path, settings: Settings, listener: socket.socket, address: str | None = None) -> int:
    """Serve in this process."""
    from lifecycle.serving.app import Service

    service = Service(root, settings)
    app: Any = service
    if settings.cors_origins:
        from starlette.middleware.cors import CORSMiddleware

        app = CORSMiddleware(
            app, allow_origins=settings.cors_origins, allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-api-key"],
        )  # fmt: skip
    Protocol.arrival_seconds, Protocol.last_request_seconds = (
        settings.body_seconds,
        min(_LAST_REQUEST_SECONDS, settings.drain_seconds),
    )
    config = uvicorn.Config(
        app, http=Protocol, ws="none", loop="auto", lifespan="on", log_config=None, access_log=False, server_header=False,
        proxy_headers=False, timeout_keep_alive=75, timeout_graceful_shutdown=30, backlog=_BACKLOG,
    )  # fmt: skip
    gc.collect()
    gc.freeze()  # objects that exist now are permanent: later collections skip them
    gc.set_threshold(*_GC_THRESHOLDS)
    if address:
        _announce(address, service.chain.name)
    Server(config, service, settings.drain_seconds, alone=settings.workers == 1).run(sockets=[listener])
    return 0


def _announce(address: str, model: str) -> None:
    """Print the addresses."""
    print(
        f"serve: model {model} answers at {address}/predict; its API is described at {address}/docs, its dashboard is {address}/dashboard",
        flush=True,
    )


def _work(root: Path, settings: Settings, listener: socket.socket, supervisor: int) -> None:
    """Run a worker process. A terminal's SIGINT reaches it too, and drains it.

    supervisor: the process that started it, which may have ended by now.
    """
    _log_as_json()
    threading.Thread(target=_follow_parent, args=(supervisor,), daemon=True).start()
    try:
        sys.exit(_run_worker(root, settings, listener))
    except ProjectError as error:
        logger.error("a worker cannot start: %s", error)  # noqa: TRY400 - the sentence is enough
        sys.exit(_EXIT_CANNOT_START)


def _follow_parent(parent: int) -> None:
    """Stop when the supervisor has ended in any way."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def _supervise(root: Path, settings: Settings, listener: socket.socket, address: str) -> int:
    """Keep `settings.workers` processes on one listening socket; restart those that die, and stop all together."""
    from prometheus_client.multiprocess import mark_process_dead

    from lifecycle.serving.fallback import load_chain

    chain = load_chain(root, settings.max_rows)  # fail here rather than in every worker
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    folder = tempfile.mkdtemp(prefix="lifecycle-metrics-")
    os.environ[METRICS_FOLDER_VARIABLE] = folder
    context = multiprocessing.get_context("spawn")

    def start() -> BaseProcess:
        process = context.Process(target=_work, args=(root, settings, listener, os.getpid()))
        process.start()
        return process

    status = 0
    try:
        workers = [start() for _ in range(settings.workers)]
        _announce(address, chain.name)
        while not stop.wait(0.2):
            for place, worker in enumerate(workers):
                if worker.is_alive():
                    continue
                mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
                if worker.exitcode == _EXIT_CANNOT_START:
                    status = 1
                    stop.set()
                    break
                logger.error("a worker died", extra={"worker": worker.pid, "status": worker.exitcode})
                stop.wait(_RESTART_SECONDS)
                workers[place] = start()
        for worker in workers:
            worker.terminate()
        if not status:
            time.sleep(settings.drain_seconds)
            _drop_handshakes(listener)
            time.sleep(3 * _HANDSHAKE_SECONDS)  # handshakes under way end
            listener.close()
        for worker in workers:
            worker.join()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return status
