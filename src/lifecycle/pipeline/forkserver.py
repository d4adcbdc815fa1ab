"""A warm parent: a process that imports once what every stage imports, and forks what runs a stage.

    python -m lifecycle.pipeline.forkserver dvc repro

runs a command with a warm parent, which lives as long as the command does. Below it, `lifecycle run STAGE` and `run_stage`
find the parent by an environment variable. Where there is none, or where it may not do (its code has changed since, say), they
do the same in their own process.

The *parent* accepts connections on a Unix socket. It starts no Python thread and opens no ZeroMQ context, so that it can be
forked. For each connection it forks a *runner*, and that forks a *kernel* before it does anything else; the kernel waits for
its command line. A runner ends when its client goes away, a kernel when its runner does, and the parent when the process
that started it does, however each of them ended.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, NoReturn

from lifecycle.core.errors import ProjectError
from lifecycle.core.paths import find_root

VARIABLE = "LIFECYCLE_FORKSERVER"  # names the parent's socket
Links = list[tuple[str, str]]

# What every runner needs, and the first stage; then what the others need, in their order, while the first is running.
_FIRST = (
    "lifecycle.cli.main", "papermill", "nbconvert.exporters.html", "lifecycle.reporting.pages", "ipykernel.kernelapp",
)  # fmt: skip
_REST = (
    "lifecycle.stages.collect", "lifecycle.stages.validate", "lifecycle.reporting.plots",
    "lifecycle.reporting.quality", "lifecycle.stages.explore", "lifecycle.reporting.exploration",
    "lifecycle.stages.features", "lifecycle.stages.tune", "mlflow", "lifecycle.reporting.fitting",
    "lifecycle.stages.train", "lifecycle.stages.evaluate", "lifecycle.reporting.curves", "lifecycle.stages.explain",
    "lifecycle.stages.deploy", "lifecycle.stages.simulate", "lifecycle.reporting.monitoring",
    "lifecycle.stages.monitor", "lifecycle.stages.retrain", "lifecycle.stages.report", "lifecycle.promotion.registry",
    "mlflow.sklearn",
)  # fmt: skip
# Libraries read these when they are loaded: a client in which one differs from the parent's is refused.
_READ_ON_IMPORT = ("ARROW_", "GOMP_", "LD_", "MKL_", "NPY_", "OMP_", "OPENBLAS_", "PANDAS_", "PYTHON", "SKLEARN_")

_provision: Callable[[Any], Any] | None = None  # in a runner: gives a kernel manager the kernel that waits for it


def run_stage(stage: str, links: Links | None = None) -> Path:
    """Run one stage and return its page's path, by the warm parent where there is one.

    Takes and raises what `lifecycle.pipeline.runner.run_stage` does.
    """
    from lifecycle.pipeline import runner

    global _provision
    provision, _provision = _provision, None
    answer = None if provision else _ask(f"{__name__}:run_stage", stage, links)
    if answer is None:
        return runner.run_stage(stage, links, provision)
    if "error" in answer:
        kinds = {"ProjectError": ProjectError, "StageError": runner.StageError}
        raise kinds.get(answer["error"], RuntimeError)(answer["text"])
    return Path(answer["result"])


def run_command(arguments: list[str]) -> int | None:
    """Run the command `lifecycle` with these arguments by the warm parent and return its exit status; None without one."""
    answer = _ask("lifecycle.cli.main:main", arguments)
    if answer and "error" in answer:
        print(f"lifecycle {arguments[0]}: {answer['text']}", file=sys.stderr)
        return 1
    return answer and answer["result"]  # type: ignore[return-value]


def _ask(function: str, *arguments: Any) -> dict[str, Any] | None:
    """Have the warm parent call a function and return its answer; None if there is no parent or it has refused."""
    request = {"function": function, "arguments": arguments, "code": _identify_code(), "folder": str(Path.cwd())}
    with socket.socket(socket.AF_UNIX) as connection:
        sys.stdout.flush()
        try:
            connection.connect(os.environ[VARIABLE])
            socket.send_fds(connection, [b"\0"], [0, 1, 2])
            connection.sendall(json.dumps({**request, "environment": dict(os.environ)}).encode() + b"\n")
            answers = connection.makefile()
            if answers.readline() != "begun\n":
                return None
        except (KeyError, OSError):
            return None
        try:
            line = answers.readline()
        except KeyboardInterrupt:
            connection.shutdown(socket.SHUT_WR)  # interrupts the runner
            line = answers.readline()
            if not line or "error" in json.loads(line):
                raise
    answer: dict[str, Any] = json.loads(
        line or '{"error": "StageError", "text": "The process of the stage was killed."}'
    )
    return answer


def _identify_code() -> list[str]:
    """The interpreter and the package that this process runs."""
    return [sys.prefix, str(Path(__file__).resolve())]


@contextmanager
def start_parent() -> Iterator[dict[str, str]]:
    """Start a warm parent and give the environment variable that names it; end it on leaving."""
    from lifecycle.pipeline.runner import ENVIRONMENT

    with TemporaryDirectory(prefix="lifecycle-") as folder:
        figures = os.environ.get("MPLCONFIGDIR", folder)
        with suppress(ProjectError):
            figures = os.environ.get("MPLCONFIGDIR") or str(find_root() / ".lifecycle/matplotlib")
        with socket.socket(
            socket.AF_UNIX
        ) as listener:  # closed here at once, so that no client waits for a parent that has died
            listener.bind(f"{folder}/socket")
            listener.listen()
            parent = subprocess.Popen(
                [sys.executable, "-c", f"from {__spec__.name} import serve; serve({listener.fileno()})"],
                env={**os.environ, **ENVIRONMENT, "MPLCONFIGDIR": figures},
                stdin=subprocess.PIPE, pass_fds=[listener.fileno()], start_new_session=True,
            )  # fmt: skip
        try:
            yield {VARIABLE: f"{folder}/socket"}
        finally:
            parent.kill()
            parent.communicate()


def serve(descriptor: int) -> None:
    """Be the parent: import, and fork a runner for each connection, until the launcher is gone, which closes stdin."""
    sys.path.remove("")  # which `python -c` adds; a kernel looks in its own folder instead
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment] # see runner.execute
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # runners leave no zombies
    warnings.filterwarnings("ignore", message="IProgress not found")  # there are no widgets in a report
    waiting = [*_FIRST, *_REST]
    stamps: dict[str, int] = {}
    with socket.socket(fileno=descriptor) as listener:
        while True:
            sources = [sys.stdin, listener] if len(waiting) <= len(_REST) else [sys.stdin]
            ready = select.select(sources, [], [], 0 if waiting else None)[0]
            if sys.stdin in ready:  # the launcher was killed: it does not remove its folder itself
                shutil.rmtree(Path(listener.getsockname()).parent, ignore_errors=True)
                return
            if listener in ready:
                _fork_runner(listener, stamps)
            elif waiting:
                importlib.import_module(waiting.pop(0))
                stamps = {**_stamp_sources(), **stamps}
                gc.freeze()  # a collection in a fork then does not touch, and so copy, what is here


def _stamp_sources() -> dict[str, int]:
    """When the files of this package's loaded modules were last written, in nanoseconds; 0: it is gone."""
    files = [Path(module.__file__ or "") for name, module in sys.modules.items() if name.startswith("lifecycle.")]
    return {str(file): file.stat().st_mtime_ns if file.exists() else 0 for file in files}


def _fork_runner(listener: socket.socket, stamps: dict[str, int]) -> None:
    """Accept a request and fork the process that answers it."""
    connection = listener.accept()[0]
    with connection:
        if os.fork() == 0:
            listener.close()
            _leave(lambda: _attend(connection, stamps))


def _leave(work: Callable[[], None]) -> NoReturn:
    """Do a forked process's work and end it: what its parent would do afterwards is not its to do."""
    try:
        work()
    except BaseException:  # noqa: BLE001 - the last line of a process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(0)


def _attend(connection: socket.socket, stamps: dict[str, int]) -> None:
    """Be a runner: take over a client's request and standard streams, fork the kernel, call the function and answer."""
    global _provision  # noqa: PLW0603
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    for number, descriptor in enumerate(socket.recv_fds(connection, 1, 3)[1]):
        os.dup2(descriptor, number)
        os.close(descriptor)
    request = json.loads(connection.makefile().readline())
    if not _may_run(request, stamps):
        return
    reading, writing = os.pipe()
    kernel = os.fork()
    if kernel == 0:
        connection.close()
        os.close(writing)
        _leave(lambda: _become_kernel(os.fdopen(reading)))
    os.close(reading)
    _provision = _make_provision(kernel, os.fdopen(writing, "w"))
    _move(request)
    connection.sendall(b"begun\n")
    threading.Thread(target=_watch, args=(connection,), daemon=True).start()
    answer = _call(request)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection.sendall(json.dumps(answer, default=str).encode() + b"\n")


def _may_run(request: dict[str, Any], stamps: dict[str, int]) -> bool:
    """Whether a process of the client's own would load just what the parent has loaded."""
    from lifecycle.pipeline.runner import ENVIRONMENT

    theirs = {**request["environment"], **ENVIRONMENT}
    read = [name for name in {*theirs, *os.environ} if name.startswith(_READ_ON_IMPORT)]
    same = all(theirs.get(name) == os.environ.get(name) for name in read)
    return same and request["code"] == _identify_code() and _stamp_sources() == stamps


def _move(request: dict[str, Any]) -> None:
    """Take over a folder and an environment."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])


def _call(request: dict[str, Any]) -> dict[str, Any]:
    """Call the function that a request names; the answer is its result or the error that it raised."""
    from lifecycle.pipeline.runner import StageError

    module, name = request["function"].split(":")
    try:
        return {"result": getattr(importlib.import_module(module), name)(*request["arguments"])}
    except SystemExit as end:  # argparse's
        return {"result": end.code}
    except (ProjectError, StageError) as error:
        return {"error": type(error).__name__, "text": str(error)}
    except (KeyboardInterrupt, Exception):  # noqa: BLE001 - the client raises it
        return {"error": "RuntimeError", "text": traceback.format_exc()}


def _watch(connection: socket.socket) -> None:
    """Interrupt this runner when its client is interrupted or gone."""
    with suppress(OSError):
        connection.recv(1)
    os.kill(os.getpid(), signal.SIGINT)


def _become_kernel(orders: IO[str]) -> None:
    """Be a kernel: wait for the command line that starts one, and do what that would."""
    text = orders.read()
    if not text:  # no kernel was needed
        return
    order = json.loads(text)
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _move(order)
    words = order["words"][order["words"].index("ipykernel_launcher") :]
    sys.argv = words
    if pandas := sys.modules.get("pandas"):
        pandas.set_option("display.max_columns", 20)  # its default if a kernel imports it; elsewhere it is 0
    from ipykernel.kernelapp import IPKernelApp

    IPKernelApp.launch_instance([*words[1:], f"--IPKernelApp.parent_handle={os.getppid()}"])


class _Process:
    """What jupyter_client needs of a `subprocess.Popen`, for a process that was forked."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self, options: int = os.WNOHANG) -> int | None:
        """Return the exit status, None while the process runs."""
        if self.returncode is None and (ended := os.waitpid(self.pid, options))[0]:
            self.returncode = os.waitstatus_to_exitcode(ended[1])
        return self.returncode

    def wait(self) -> int | None:
        """Wait for the process to end, and return its exit status."""
        return self.poll(0)


def _make_provision(pid: int, orders: IO[str]) -> Callable[[Any], Any]:
    """What makes a kernel manager's provisioner: it launches the kernel that has been forked already."""
    from jupyter_client.connect import KernelConnectionInfo
    from jupyter_client.provisioning.local_provisioner import LocalProvisioner

    class ForkProvisioner(LocalProvisioner):
        async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
            environment = {**kwargs["env"], "JPY_PARENT_PID": str(os.getpid())}
            with orders:
                json.dump({"words": cmd, "folder": kwargs["cwd"], "environment": environment}, orders)
            self.process, self.pid, self.pgid = _Process(pid), pid, pid  # type: ignore[assignment]
            return self.connection_info

    return lambda manager: ForkProvisioner(kernel_id=manager.kernel_id, kernel_spec=manager.kernel_spec, parent=manager)


def main(command: list[str]) -> int:
    """Run a command with a warm parent and return its exit status."""
    with start_parent() as variable:
        process = subprocess.Popen(command, env={**os.environ, **variable})
        signal.signal(signal.SIGTERM, lambda number, frame: process.send_signal(number))
        while True:
            with suppress(KeyboardInterrupt):  # the command gets it too, and ends in its own time
                return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
