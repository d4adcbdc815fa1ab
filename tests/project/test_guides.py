"""Every shell command of README, tutorials and how-to guides is typed here, in a copy of a built project."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pandas as pd
import pytest

from tests.support import guides
from tests.support.built import commit, repro
from tests.support.dags import Airflow
from tests.support.guides import Guide, read_guide, write_script
from tests.support.servers import find_ports, start_postgresql, start_redis, start_s3

pytestmark = pytest.mark.integration  # minutes, and programs of system packages

HERE = Path(__file__).resolve().parents[2]
PAGES = [HERE / "README.md", *sorted((HERE / "docs").rglob("*.md"))]
GUIDES = {str(guide.path.relative_to(HERE)): guide for guide in map(read_guide, PAGES) if guide.commands}
OURS = ("LIFECYCLE_", "MLFLOW_", "AWS_", "PYTEST_", "JUPYTER_")  # variables of whoever runs the tests
PORTS = {"8000": "LIFECYCLE_SERVE_PORT", "5000": "MLFLOW_PORT", "8888": "JUPYTER_PORT"}  # which the programs read
SERVERS = {"redis": "6379", "postgresql": "5432"}
JUPYTER = '{"ServerApp": {"allow_root": true, "open_browser": false, "token": "", "password": ""}}'
STUB = '#!/bin/sh\necho "$(basename "$0") $*" >>"$GUIDE_CALLS"\n'
SECONDS = 900


@pytest.fixture(scope="module")
def settled(live: Path, warm: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The live project, rebuilt against its champion, and committed: what a user has whose `git status` shows nothing."""
    root = tmp_path_factory.mktemp("guides") / "settled"
    shutil.copytree(live, root, symlinks=True)
    repro(root)
    commit(root, "settled")
    return root


@pytest.fixture
def sandbox(settled: Path, tmp_path: Path, customers: pd.DataFrame) -> Path:
    """A copy with an environment, a CSV file and a database. DVC's cache is shared: what one page builds the next finds."""
    root = tmp_path / "project"
    shutil.copytree(settled, root, symlinks=True, ignore=shutil.ignore_patterns("cache"))
    (root / ".dvc/config.local").write_text(f"[cache]\n    dir = {settled / '.dvc/cache'}\n")
    (root / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        if path.name != ".installed":
            (root / ".venv" / path.name).symlink_to(path)
    (root / ".venv/.installed").touch()  # newer than the lock, so that make leaves it as it is
    for script in (root / "ops").glob("*.sh"):
        script.chmod(0o755)
    customers.rename(columns={"left": "churned"}).to_csv(root / "customers.csv", index=False)
    with sqlite3.connect(root / "shop.db") as shop:
        customers.to_sql("visits", shop, index=False)
    (root / ".git/info/exclude").write_text("/shop.db\n/customers.csv\n")
    return root


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The variables of a user's shell: nothing of the tests', and the environment's programs not on the path."""
    (tmp_path / "jupyter").mkdir()
    (tmp_path / "jupyter/jupyter_server_config.json").write_text(JUPYTER)
    places = [place for place in os.environ["PATH"].split(os.pathsep) if Path(place) != Path(sys.executable).parent]
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(OURS)},
        "PATH": os.pathsep.join(places),
        "PYTEST_ADDOPTS": "--collect-only --quiet",  # `make test` within a test finds the tests, and leaves them alone
        "JUPYTER_CONFIG_DIR": str(tmp_path / "jupyter"),
        "NO_PROXY": "127.0.0.1",
        "GUIDE_PYTHON": sys.executable,
        "GUIDE_STEPS": guides.__file__,
        "GUIDE_CALLS": str(tmp_path / "calls"),
    }


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    """Where a page's servers end."""
    with ExitStack() as stack:
        yield stack


def start_needs(
    guide: Guide, folder: Path, servers: ExitStack, require_program: Callable[[str, str], str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Start the servers that a page needs; returns the ports that stand for those of the page, and variables."""
    ports, variables = {}, {}
    for name in guide.list_words("needs"):
        if name == "s3":
            import s3fs

            server = servers.enter_context(start_s3(folder / "s3"))
            s3fs.S3FileSystem(key=server.key, secret=server.secret, endpoint_url=server.endpoint).mkdir("my-bucket")
            variables |= server.environment
            continue
        if name == "redis":
            address = servers.enter_context(start_redis(folder / "redis"))
        else:
            address = servers.enter_context(start_postgresql(folder / name, require_program("initdb", name)))
        ports[SERVERS[name]] = address.rsplit(":", 1)[1].split("/")[0]
    free = find_ports(len(guide.ports))
    ports = {port: ports.get(port, str(other)) for port, other in zip(guide.ports, free, strict=True)}
    return ports, variables | {PORTS[port]: other for port, other in ports.items() if port in PORTS}


def replace_programs(names: list[str], root: Path, folder: Path) -> None:
    """Put programs that only record how they are called on the path, or in the place of a script of the project."""
    folder.mkdir()
    for name in names:
        path = root / name if "/" in name else folder / name
        path.write_text(STUB)
        path.chmod(0o755)


def type_commands(script: str, root: Path, environment: dict[str, str]) -> str:
    """Type a page's commands in `root`; returns what they printed, and ends whatever still runs."""
    log = root.parent / "log"
    with log.open("wb") as output:
        shell = subprocess.Popen(
            ["bash", "-c", script], cwd=root, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
        try:
            status = shell.wait(SECONDS)
        finally:
            for way in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.killpg(shell.pid, way)
            shell.wait()
    printed = log.read_text(errors="replace")
    assert status == 0, printed[-6000:]
    return printed


@pytest.mark.parametrize("name", GUIDES)
def test_commands_work_as_they_are_shown(
    name: str, sandbox: Path, environment: dict[str, str], servers: ExitStack, tmp_path: Path,
    require_program: Callable[[str, str], str], request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    guide = GUIDES[name]
    require_program("curl", "curl")
    ports, variables = start_needs(guide, tmp_path, servers, require_program)
    stubs = guide.list_words("stub")
    replace_programs(stubs, sandbox, tmp_path / "stubs")
    environment |= variables | {"PATH": f"{tmp_path / 'stubs'}{os.pathsep}{environment['PATH']}"}
    if name.startswith("docs/how-to"):  # whose first page says so
        environment["PATH"] = f"{sandbox / '.venv/bin'}{os.pathsep}{environment['PATH']}"
    if "make airflow" in guide.commands:
        link_airflow(request.getfixturevalue("airflow"), sandbox)
    if "served" in guide.list_words("project"):
        shutil.copytree(sandbox / "data/simulated/logs/none", sandbox / "data/predictions", dirs_exist_ok=True)
    printed = type_commands(write_script(guide, ports), sandbox, environment)
    assert "Traceback" not in printed
    calls = (tmp_path / "calls").read_text() if stubs else ""
    assert all(f"{Path(stub).name} " in calls for stub in stubs), calls


def link_airflow(airflow: Airflow, root: Path) -> None:
    """Give a project the environment of Airflow that the checkout has, as new as its lock."""
    (root / ".lifecycle/airflow").mkdir(parents=True, exist_ok=True)
    (root / ".lifecycle/airflow/venv").symlink_to(airflow.checkout / ".lifecycle/airflow/venv")
    os.utime(root / "ops/airflow/requirements.txt", (0, 0))
