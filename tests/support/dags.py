"""Airflow in an environment of its own, and runs of our DAG in it: no scheduler, no server, nothing listens."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

DAG_FILE = "dags/model_retraining.py"
STEPS_FILE = "src/lifecycle/retraining/steps.py"  # which the DAG reads
WAIT = "timedelta(minutes=5)"  # between two tries; `airflow dags test` waits for as long as the scheduler would


@dataclass(frozen=True)
class Run:
    """What a run of the DAG came to."""

    status: int  # of `airflow dags test`
    state: str
    tasks: dict[str, str | None]  # the state of each task
    log: str  # what Airflow and the tasks wrote


@dataclass(frozen=True)
class Airflow:
    """An installed Airflow, and an empty database to begin with."""

    checkout: Path
    database: Path

    def call(self, program: str, *words: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program of Airflow's environment, with nothing of the caller's settings of Airflow or of a project."""
        home.mkdir(parents=True, exist_ok=True)
        if not (home / "airflow.db").exists() and self.database.exists():
            shutil.copyfile(self.database, home / "airflow.db")
        inherited = {
            key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "LIFECYCLE", "PYTHON"))
        }
        ours = {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        }
        return subprocess.run(
            [str(self.checkout / ".lifecycle/airflow/venv/bin" / program), *words],
            cwd=home, env={**inherited, **ours, **environment}, capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip

    def run_dag(self, root: Path, home: Path, **environment: str) -> Run:
        """Run the DAG once with `airflow dags test` on the project in `root`, a second between two tries.

        `home` is a folder of this run's own. `environment` is added to the worker's, or replaces LIFECYCLE_ROOT in it.
        """
        text = (self.checkout / DAG_FILE).read_text(encoding="utf-8")
        assert text.count(WAIT) == 1
        copy = home / DAG_FILE
        copy.parent.mkdir(parents=True)
        copy.write_text(text.replace(WAIT, "timedelta(seconds=1)"), encoding="utf-8")
        (home / STEPS_FILE).parent.mkdir(parents=True)
        shutil.copyfile(self.checkout / STEPS_FILE, home / STEPS_FILE)
        words = ("dags", "test", copy.stem, "2026-01-04")
        done = self.call("airflow", *words, home=home, **{"LIFECYCLE_ROOT": str(root), **environment})
        database = sqlite3.connect(home / "airflow.db")
        try:
            runs = database.execute("SELECT state FROM dag_run").fetchall()
            states = dict(database.execute("SELECT task_id, state FROM task_instance"))
        finally:
            database.close()
        log = done.stdout + done.stderr
        assert len(runs) == 1, log
        return Run(done.returncode, runs[0][0], states, log)


def install_airflow(checkout: Path, home: Path) -> Airflow:
    """`make airflow`, which does nothing where it is up to date, and a database in `home`; OSError says what is wrong."""
    (checkout / ".lifecycle").mkdir(exist_ok=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where uv is
    with (checkout / ".lifecycle/airflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        done = subprocess.run(
            # the project's own environment is the one that runs this test, and stays as it is
            ["make", "--old-file=.venv/.installed", "airflow"],
            cwd=checkout, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise OSError(f"`make airflow` failed: {done.stderr.strip()}")
    airflow = Airflow(checkout, home / "airflow.db")
    done = airflow.call("airflow", "db", "migrate", home=home)
    if done.returncode:
        raise OSError(f"`airflow db migrate` failed: {(done.stdout + done.stderr)[-2000:]}")
    return airflow
