"""The warm parent: the same bytes as without it, and nothing that outlives it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest

from lifecycle.pipeline import forkserver
from lifecycle.pipeline.forkserver import VARIABLE, run_stage, start_parent
from lifecycle.pipeline.runner import ENVIRONMENT, StageError
from tests.support.servers import read_command

PARAMETERS = 'write = False\nseed = 1\nthreads = 1\nsource = ""\noptions = {}\nwatch = ""'
NOTE = """import json, os, pathlib, psutil
me = psutil.Process()
pathlib.Path('kernel.json').write_text(json.dumps([me.pid, me.ppid(), me.cmdline()]));"""
# What a library decides when it is imported, when a kernel starts, or from the environment.
CELLS = (
    "import os, sys\nimport numpy as np\nimport pandas as pd\nimport matplotlib.pyplot as plt",
    "pd.DataFrame(np.arange(60.0).reshape(2, 30))",
    "plt.plot(np.exp(np.arange(3.0)));",
    "[pd.get_option(f'display.{name}') for name in ('width', 'max_rows', 'max_columns', 'html.table_schema')]",
    "print({'a', 'b', 'c'}, sys.path, plt.get_backend(), __name__, sorted(globals()))",
    "{key: os.environ.get(key) for key in ('OPENBLAS_CORETYPE', 'PYTHONHASHSEED', 'TZ', 'COLUMNS', 'GIVEN')}",
    "os.getcwd() == os.environ['LIFECYCLE_ROOT'], os.getpgid(0) == os.getpid(), sys.flags.dont_write_bytecode",
    "!echo from a child process; echo and its complaint >&2",
    "import warnings\nwarnings.warn('once')\nprint('told', file=sys.stderr, flush=True)",
)


def write_notebook(root: Path, *cells: str) -> None:
    """Put a notebook of these code cells in the place of the stage collect; it notes which process it runs in."""
    first = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    others = [nbformat.v4.new_code_cell(cell) for cell in (NOTE, *cells)]
    nbformat.write(
        nbformat.v4.new_notebook(cells=[first, *others], metadata=kernel), root / "notebooks/01_collect.ipynb"
    )


def start(root: Path, variable: dict[str, str], *words: str) -> subprocess.Popen[str]:
    """Start `lifecycle` in a process of its own, in which Ctrl-C is not ignored."""
    return subprocess.Popen(
        [sys.executable, "-m", "lifecycle.cli", *words],
        env={**os.environ, "LIFECYCLE_ROOT": str(root), "GIVEN": "1", **variable},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip


def run(root: Path, variable: dict[str, str]) -> tuple[int, str, str]:
    """Run the stage collect; its exit status and what it wrote to stdout and stderr."""
    running = start(root, variable, "run", "collect")
    said, complained = running.communicate(timeout=120)
    return running.returncode, said, complained


def is_warm(root: Path) -> bool:
    """Whether the kernel that has noted itself was forked by a warm parent."""
    return "serve(" in " ".join(json.loads((root / "kernel.json").read_text())[2])


def find_parents() -> list[psutil.Process]:
    """The warm parents that this process has started, the newest last."""
    children = [child for child in psutil.Process().children() if "serve(" in read_command(child.pid)]
    return sorted(children, key=psutil.Process.create_time)


def wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.mark.integration
def test_a_notebook_leaves_the_same_bytes(project: Path, tmp_path: Path, warm_parent: dict[str, str]) -> None:
    write_notebook(project, *CELLS)
    other = shutil.copytree(project, tmp_path / "other")
    for root, variable in ((project, warm_parent), (other, {})):
        status, said, complained = run(root, variable)
        assert status == 0, complained
        assert said.startswith("collect: 12 cells in") and "told" in complained
        assert is_warm(root) == bool(variable)
    for name in ("reports/01_collect.html", "reports/notebooks/01_collect.ipynb"):
        assert (project / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.integration
def test_a_stage_leaves_the_same_bytes(project: Path, tmp_path: Path, warm_parent: dict[str, str]) -> None:
    other = shutil.copytree(project, tmp_path / "other")
    for root, variable in ((project, warm_parent), (other, {})):
        status, _, complained = run(root, variable)
        assert status == 0 and complained == ""
    files = [path.relative_to(other) for path in other.rglob("*") if path.is_file() and ".lifecycle" not in path.parts]
    assert Path("data/raw/table.parquet") in files
    for name in files:
        assert (project / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.integration
def test_a_failure_is_raised_and_written_as_without(
    project: Path, warm_parent: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_notebook(project, "wrong = 1 / 0")
    status, said, complained = run(project, warm_parent)
    assert is_warm(project) and (status, said) == (1, "")
    assert complained == run(project, {})[2]
    assert "ZeroDivisionError: division by zero" in complained
    monkeypatch.setenv(VARIABLE, warm_parent[VARIABLE])
    with pytest.raises(StageError, match="ZeroDivisionError"):
        run_stage("collect")


@pytest.mark.integration
def test_without_its_parent_a_stage_runs_in_its_own_process(project: Path) -> None:
    write_notebook(project)
    others = len(find_parents())
    with start_parent() as variable:
        wait(lambda: len(find_parents()) > others, "the parent has no command line yet")
        find_parents()[-1].kill()
        assert run(project, variable)[0] == 0
        assert not is_warm(project)
    assert run(project, variable)[0] == 0


@pytest.mark.parametrize(
    "change",
    [{"environment": {**os.environ, "OMP_NUM_THREADS": "7"}}, {"code": ["elsewhere", "other.py"]}],
    ids=["environment", "code"],
)
def test_a_client_that_would_load_something_else_is_refused(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in ENVIRONMENT.items():
        monkeypatch.setenv(key, value)
    request = {"environment": dict(os.environ), "code": forkserver._identify_code()}
    stamps = forkserver._stamp_sources()
    assert forkserver._may_run(request, stamps)
    assert not forkserver._may_run({**request, **change}, stamps)
    assert not forkserver._may_run(request, {**stamps, forkserver.__file__: 0}), "a module was edited since"


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interruption_ends_the_runner_and_its_kernel(
    project: Path, warm_parent: dict[str, str], number: signal.Signals
) -> None:
    write_notebook(project, "import time\ntime.sleep(60)")
    running = start(project, warm_parent, "run", "collect")
    wait((project / "kernel.json").exists, "the kernel did not start")
    time.sleep(0.2)
    kernel, runner, _ = json.loads((project / "kernel.json").read_text())
    assert is_warm(project)
    running.send_signal(number)
    complained = running.communicate(timeout=30)[1]
    wait(lambda: not psutil.pid_exists(kernel) and not psutil.pid_exists(runner), "a process outlived its client")
    if number == signal.SIGINT:
        assert running.returncode == 130
        assert "interrupted" in complained


def test_the_parent_lives_as_long_as_its_command() -> None:
    look = f"""import json, os, psutil
me = psutil.Process(os.getppid())
print(json.dumps([os.environ["{VARIABLE}"], [child.pid for child in me.children()]]))
raise SystemExit(7)"""
    words = [sys.executable, "-m", "lifecycle.pipeline.forkserver", sys.executable, "-c", look]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    socket, pids = json.loads(done.stdout)
    assert len(pids) == 2
    assert not any(map(psutil.pid_exists, pids)) and not Path(socket).parent.exists()


def test_the_parent_ends_when_who_started_it_is_killed() -> None:
    look = "import os, psutil, time\nprint([c.pid for c in psutil.Process(os.getppid()).children()], flush=True)\ntime.sleep(60)"
    words = [sys.executable, "-m", "lifecycle.pipeline.forkserver", sys.executable, "-c", look]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout
        parent, command = json.loads(launcher.stdout.readline())
        launcher.kill()
        launcher.stdout.close()
    wait(lambda: not psutil.pid_exists(parent), "the parent outlived the launcher")
    os.kill(command, signal.SIGKILL)


def test_the_parent_has_no_thread_that_a_fork_would_lose(warm_parent: dict[str, str]) -> None:
    parent = find_parents()[0]
    names = {Path(f"/proc/{parent.pid}/task/{thread.id}/comm").read_text().strip() for thread in parent.threads()}
    assert {name for name in names if not name.startswith("python")} <= {"jemalloc_bg_thd"}, "PyArrow's survives a fork"
