"""The servers that are compared: how each is described, started on one core, sent requests, and stopped."""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.environments import make_environment
from benchmarks.project import CHECKOUT, LIFECYCLE
from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.promotion.records import Champion
from lifecycle.serving.acceptance import Reply, ask, list_children, prepare_workspace, read_memory

Record = dict[str, Any]
HERE = Path(__file__).parent
PROGRAMS = Path(sys.executable).parent
PATIENCE = 120.0  # seconds for a server to start
LOCKED = (  # packages of BentoML's environment at the versions of requirements.txt: the model and lifecycle need them
    "joblib", "narwhals", "numpy", "pandas", "pyarrow", "pydantic", "pydantic-core", "ruamel-yaml", "scikit-learn", "scipy",
    "threadpoolctl",
)  # fmt: skip


@dataclass(frozen=True)
class Peer:
    """A server.

    command: returns the command that starts it on a port. path: where it takes requests. wrap: returns a row in the form that
    it takes. read: returns the probability in its answer; None where there is none. ready: the path that answers 200 once it is up;
    None: `path`.
    """

    title: str
    command: Callable[[int], list[str]]
    path: str
    wrap: Callable[[Record], Any]
    read: Callable[[Any], float] | None
    environment: dict[str, str] = field(default_factory=dict)
    ready: str | None = None


@dataclass(frozen=True)
class Server:
    """A running server; `seconds` passed from its start until it was ready."""

    peer: Peer
    port: int
    pid: int
    seconds: float

    @property
    def address(self) -> str:
        """Where it takes requests."""
        return f"http://127.0.0.1:{self.port}{self.peer.path}"

    @property
    def memory(self) -> int:
        """The resident bytes of the largest of its processes."""
        return max(map(read_memory, list_tree(self.pid)))

    def post(self, content: Any) -> bytes:
        """Return the answer to a request; raises ProjectError unless its status is 200."""
        status, _, body = request(self.port, self.peer.path, json.dumps(content).encode())
        if status != 200:
            raise ProjectError(f"{self.peer.title} answered with {status}: {body[:300]!r}.")
        return body


def describe_ours(release: Path, champion: Champion, folder: Path) -> Peer:
    """Describe `lifecycle serve` with default settings, in a project that has nothing but the champion."""
    root = prepare_workspace(folder / "root", release / "bundle", champion)
    return Peer(
        "lifecycle serve", lambda port: [*LIFECYCLE, "serve", "--port", str(port)], "/predict",
        lambda row: row, lambda answer: answer["probability"], {paths.ROOT_VARIABLE: str(root)}, "/ready",
    )  # fmt: skip


def describe_flask(release: Path, folder: Path) -> Peer:
    """Describe Flask's own server, as textbooks start it."""
    command = [sys.executable, "-m", "benchmarks.serving.flask_app", str(release)]
    return Peer(
        "Flask, app.run", lambda port: [*command, str(port)], "/predict", lambda row: row,
        lambda answer: answer["probability"],
    )  # fmt: skip


def describe_gunicorn(release: Path, folder: Path) -> Peer:
    """Describe the same application on gunicorn with its default worker; threads did not make it faster."""
    command = [f"{PROGRAMS}/gunicorn", f"benchmarks.serving.flask_app:make_app({str(release)!r})"]
    return Peer(
        "Flask, gunicorn", lambda port: [*command, "--bind", f"127.0.0.1:{port}"], "/predict",
        lambda row: row, lambda answer: answer["probability"],
    )  # fmt: skip


def describe_mlflow(release: Path, folder: Path) -> Peer:
    """Describe `mlflow models serve` of the fitted model as a pyfunc, in this environment."""
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.ERROR)  # the model has no signature on purpose: checking it costs time
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    mlflow.pyfunc.save_model(
        folder / "mlflow",
        python_model=str(HERE / "mlflow_model.py"),
        artifacts={"release": str(release)},
        pip_requirements=[],
    )
    command = [f"{PROGRAMS}/mlflow", "models", "serve", "-m", str(folder / "mlflow"), "--env-manager", "local"]
    return Peer(
        "mlflow models serve", lambda port: [*command, "-h", "127.0.0.1", "-p", str(port)], "/invocations",
        lambda row: {"dataframe_records": [row]}, lambda answer: answer["predictions"][0],
    )  # fmt: skip


def describe_bentoml(release: Path, folder: Path) -> Peer:
    """Describe BentoML in an environment of its own, because its packages conflict with ours; PYTHONPATH adds `lifecycle`."""
    lock = (CHECKOUT / "requirements.txt").read_text(encoding="utf-8")
    locked = [pin for pin in re.findall(r"^\S+==\S+", lock, re.MULTILINE) if pin.split("==")[0] in LOCKED]
    programs = make_environment("BentoML", HERE / "bentoml.txt", *locked)
    command = [f"{programs}/bentoml", "serve", "benchmarks.serving.bentoml_app:Champion", "--host", "127.0.0.1"]
    environment = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "LIFECYCLE_RELEASE": str(release),
        "BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "true",
    }  # fmt: skip
    return Peer(
        "BentoML", lambda port: [*command, "--port", str(port)], "/predict", lambda row: row,
        lambda answer: answer["probability"], environment,
    )  # fmt: skip


def describe_echo(size: int) -> Peer:
    """Describe bare uvicorn, which leaves out what ours leaves out; its answers have `size` bytes."""
    command = [f"{PROGRAMS}/uvicorn", "benchmarks.serving.echo_app:app", "--loop", "uvloop", "--http", "httptools"]
    silent = ["--no-access-log", "--no-proxy-headers", "--no-server-header"]
    return Peer(
        "echo on uvicorn", lambda port: [*command, *silent, "--port", str(port)], "/", lambda row: row, None,
        {"ECHO_BYTES": str(size)},
    )  # fmt: skip


PEERS = {
    "flask": describe_flask,
    "gunicorn": describe_gunicorn,
    "mlflow": describe_mlflow,
    "bentoml": describe_bentoml,
}


@contextmanager
def start(peer: Peer, row: Record, core: int, folder: Path) -> Iterator[Server]:
    """Start a server on a core and a free loopback port; it ends with the block, with every process that it started.

    Raises ProjectError with the end of its output when it does not answer.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ, "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{CHECKOUT / 'src'}", "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}", **peer.environment,
    }  # fmt: skip
    log = folder / f"{peer.title}.log"
    with log.open("wb") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *peer.command(port)],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        wait_until_up(peer, port, row, process, log)
        yield Server(peer, port, process.pid, time.monotonic() - began)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_up(peer: Peer, port: int, row: Record, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server answers 200; raises ProjectError when it ends first or takes too long."""
    body = None if peer.ready else json.dumps(peer.wrap(row)).encode()
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError, http.client.HTTPException):
            if request(port, peer.ready or peer.path, body)[0] == 200:
                return
        time.sleep(0.01)
    raise ProjectError(f"{peer.title} did not start: {log.read_text(errors='replace')[-1000:].strip()}")


def count_dropped(server: Server) -> int:
    """Return how many records the prediction log of our server has dropped."""
    text = request(server.port, "/metrics", None)[2].decode()
    return int(float(re.findall(r'^prediction_log_records_total{result="dropped"} (\S+)$', text, re.MULTILINE)[0]))


def request(port: int, path: str, body: bytes | None) -> Reply:
    """Send one request on a connection of its own."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        return ask(connection, path, body)


def list_tree(pid: int) -> list[int]:
    """Return a process and all processes below it."""
    return [pid, *(below for child in list_children(pid) for below in list_tree(child))]
