"""Start and stop: one process, or several that share a listening socket; SIGTERM lets every request end."""

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
from lifecycle.serving.settings import Settings

logger = logging.getLogger("lifecycle.serving")
MULTIPROC = "PROMETHEUS_MULTIPROC_DIR"
BACKLOG = 2048
COLLECT = (20_000, 20, 50)  # a request leaves records waiting for the log's writer, and no cycles: look seldom
FAILED = 3  # the exit status of a worker that could not start: starting it again would not help
RESTART_SECONDS = 1.0  # between two starts of a worker that died
LAST_CALL = 0.1  # seconds, at the end, for handshakes that are under way
FAREWELL = 1.0  # seconds, after it, for a request that is under way on a connection that was idle
ATTACH_FILTER = getattr(socket, "SO_ATTACH_FILTER", 26)  # socket(7)
NO_NEWCOMERS = (  # classic BPF over a TCP segment: drop those whose only flag among SYN and ACK is SYN
    (0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFF),
)  # fmt: skip


class Server(uvicorn.Server):
    """uvicorn's server that, told to stop, goes on for `drain` seconds asking clients to close, and then ends well.

    alone: no other process accepts from its socket.
    """

    def __init__(self, config: uvicorn.Config, service: Any, drain: float, *, alone: bool) -> None:
        super().__init__(config)
        self.service, self.drain, self.alone = service, drain, alone
        self.stop_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; told twice, stop at once."""
        self.should_exit = self.should_exit or self.stop_at is not None
        self.service.draining = True
        self.stop_at = self.stop_at or time.monotonic() + self.drain

    async def on_tick(self, counter: int) -> bool:
        """Whether to leave the main loop."""
        if self.stop_at is not None and time.monotonic() >= self.stop_at:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take the connections that wait for their turn, then close the socket: whoever was let in is answered."""
        listeners = sockets or []
        if self.alone:
            for listener in listeners:
                refuse_newcomers(listener)
        await asyncio.sleep(LAST_CALL)
        loop = asyncio.get_running_loop()
        for listener in listeners:
            listener.setblocking(False)
            with suppress(OSError):  # until none waits
                while True:
                    connection, _ = listener.accept()
                    connection.setblocking(False)
                    await loop.connect_accepted_socket(self.make_protocol, connection)
        await super().shutdown(sockets)

    def make_protocol(self) -> asyncio.Protocol:
        """The protocol of one connection."""
        return Protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)


class JsonLines(logging.Formatter):
    """A record as one line of JSON: when, how grave, what, and its own fields; never a request's values."""

    own = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "pid": record.process,
            **{key: value for key, value in vars(record).items() if key not in self.own},
        }
        if record.exc_info and record.exc_info[0]:  # without the error's own words, which may hold a request's value
            line["trace"] = "".join([*format_tb(record.exc_info[2]), record.exc_info[0].__name__])
        return json.dumps(line, default=str, ensure_ascii=False)


def log_as_json() -> None:
    """Send this process's log to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name, level in (
        ("lifecycle.serving", logging.INFO), ("lifecycle.data", logging.INFO), ("uvicorn.error", logging.WARNING),
    ):  # fmt: skip
        log = logging.getLogger(name)
        log.handlers, log.propagate = [handler], False
        log.setLevel(level)


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket; raises ProjectError when the address cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        raise ProjectError(f"{host}:{port} cannot be listened on: {error.strerror or error}.") from error
    listener.set_inheritable(True)
    return listener


def refuse_newcomers(listener: socket.socket) -> None:
    """Let a listening socket begin no handshake: between its last accept and its close, one more would be lost.

    Whoever comes tries again, and is refused once the socket is closed. Only Linux can (BPF: McCanne and Jacobson 1993).
    """
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in NO_NEWCOMERS))
    with suppress(OSError):
        listener.setsockopt(
            socket.SOL_SOCKET, ATTACH_FILTER, struct.pack("HL", len(NO_NEWCOMERS), ctypes.addressof(code))
        )


def serve(root: Path, settings: Settings) -> int:
    """Serve the project's champion until SIGTERM or Ctrl-C; the exit status.

    Raises ProjectError when there is nothing to serve, or the address is taken.
    """
    log_as_json()
    with open_socket(settings.host, settings.port) as listener:
        host, port = listener.getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        if settings.workers == 1:
            os.environ.pop(MULTIPROC, None)
            return run_worker(root, settings, listener, address)
        return supervise(root, settings, listener, address)


def run_worker(root: Path, settings: Settings, listener: socket.socket, address: str | None = None) -> int:
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
    Protocol.patience, Protocol.farewell = settings.body_seconds, min(FAREWELL, settings.drain_seconds)
    config = uvicorn.Config(
        app, http=Protocol, ws="none", loop="auto", lifespan="on", log_config=None, access_log=False, server_header=False,
        proxy_headers=False, timeout_keep_alive=75, timeout_graceful_shutdown=30, backlog=BACKLOG,
    )  # fmt: skip
    gc.collect()
    gc.freeze()  # what is there now stays: later collections need not look at it
    gc.set_threshold(*COLLECT)
    if address:
        announce(address, service.lineup.name)
    Server(config, service, settings.drain_seconds, alone=settings.workers == 1).run(sockets=[listener])
    return 0


def announce(address: str, model: str) -> None:
    """Say where to look."""
    print(
        f"serve: model {model} answers at {address}/predict; {address}/docs describes it, {address}/dashboard shows it",
        flush=True,
    )


def work(root: Path, settings: Settings, listener: socket.socket) -> None:
    """What a worker's process does. SIGINT of a terminal reaches it too, and drains it."""
    log_as_json()
    threading.Thread(target=follow_parent, args=(os.getppid(),), daemon=True).start()
    try:
        sys.exit(run_worker(root, settings, listener))
    except ProjectError as error:
        logger.error("a worker cannot start: %s", error)  # noqa: TRY400 - the sentence is enough
        sys.exit(FAILED)


def follow_parent(parent: int) -> None:
    """Stop when the supervisor is gone, however it went."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def supervise(root: Path, settings: Settings, listener: socket.socket, address: str) -> int:
    """Keep `settings.workers` processes on one listening socket; start anew who dies, and stop together."""
    from prometheus_client.multiprocess import mark_process_dead

    from lifecycle.serving.fallback import read_lineup

    lineup = read_lineup(root, settings.max_rows)  # what a worker would refuse is refused here
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    folder = tempfile.mkdtemp(prefix="lifecycle-metrics-")
    os.environ[MULTIPROC] = folder
    context = multiprocessing.get_context("spawn")

    def start() -> BaseProcess:
        process = context.Process(target=work, args=(root, settings, listener))
        process.start()
        return process

    status = 0
    try:
        workers = [start() for _ in range(settings.workers)]
        announce(address, lineup.name)
        while not stop.wait(0.2):
            for place, worker in enumerate(workers):
                if worker.is_alive():
                    continue
                mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
                if worker.exitcode == FAILED:
                    status = 1
                    stop.set()
                    break
                logger.error("a worker died", extra={"worker": worker.pid, "status": worker.exitcode})
                stop.wait(RESTART_SECONDS)
                workers[place] = start()
        for worker in workers:
            worker.terminate()
        if not status:
            time.sleep(settings.drain_seconds)
            refuse_newcomers(listener)  # by whoever knows that all workers end
            time.sleep(3 * LAST_CALL)  # they have theirs now
            listener.close()
        for worker in workers:
            worker.join()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return status
