"""Tests of the Airflow DAG: its file, and runs in an environment with Airflow on a project whose steps are a script."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from lifecycle.cli.main import lifecycle, main
from lifecycle.retraining.steps import STEPS
from tests.support.dags import DAG_FILE, STEPS_FILE, Airflow

SCRIPT = """#!/bin/sh
echo "$*" >>calls
echo "$2: page $LIFECYCLE_ROOT/.lifecycle/challenger/reports/$2.html"
exit "$(cat "statuses/$2" 2>/dev/null || echo 0)"
"""
LOAD = """
import json, sys

from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import AirflowFailException

bag = DagBag(sys.argv[1])
dag = bag.dags["model_retraining"]
try:
    named = dag.user_defined_macros["find_project"]()
except AirflowFailException as error:
    named = str(error)
print(json.dumps({
    "errors": bag.import_errors, "schedule": dag.schedule, "timezone": str(dag.timezone), "catchup": dag.catchup,
    "runs": dag.max_active_runs, "doc": dag.doc_md, "tags": sorted(dag.tags), "named": named,
    "tasks": [{
        "name": task.task_id, "after": sorted(task.upstream_task_ids), "retries": task.retries, "owner": task.owner,
        "pause": task.retry_delay.total_seconds(), "limit": task.execution_timeout.total_seconds(),
        "doc": task.doc_md, "command": task.bash_command,
    } for task in dag.topological_sort()],
}))
"""
TASKS = ["fetch", "validate_data", "train", "validate_model", "deploy"]
NAMES = ["decide", "validate", "train", "evaluate", "deploy"]
DONE, SKIPPED, FAILED, UNREACHED = "success", "skipped", "failed", "upstream_failed"


@pytest.fixture(scope="module")
def tree(checkout: Path) -> ast.Module:
    return ast.parse((checkout / DAG_FILE).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def loaded(airflow: Airflow, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Airflow found in the file."""
    folder = str((checkout / DAG_FILE).parent)
    done = airflow.call("python", "-c", LOAD, folder, home=tmp_path_factory.mktemp("loaded"))
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture
def scripted_project(tmp_path: Path) -> Path:
    """A project's folder whose `lifecycle` notes each call and ends with the status that `statuses/STEP` holds."""
    root = tmp_path / 'a project; exit 1 "$(exit 1)"'  # read by a shell, this would be the end
    program = root / ".venv/bin/lifecycle"
    program.parent.mkdir(parents=True)
    program.write_text(SCRIPT)
    program.chmod(0o755)
    (root / "statuses").mkdir()
    return root


def list_packages(tree: ast.Module) -> set[str]:
    """The top-level packages that a file imports."""
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return {str(name).partition(".")[0] for name in imported}


def test_the_dag_imports_airflow_and_the_standard_library_only(tree: ast.Module, checkout: Path) -> None:
    assert "airflow" in list_packages(tree)
    assert list_packages(tree) - {"airflow"} <= sys.stdlib_module_names
    steps = ast.parse((checkout / STEPS_FILE).read_text(encoding="utf-8"))
    assert list_packages(steps) <= sys.stdlib_module_names


def test_the_tasks_and_the_command_have_the_same_steps() -> None:
    assert {step.task: step.name for step in STEPS} == dict(zip(TASKS, NAMES, strict=True))
    choices = next(each.type.choices for each in lifecycle.commands["retrain"].params if each.name == "step")
    assert list(choices) == NAMES
    assert main(["retrain", "fetch"]) == 2


def test_airflows_lock_holds_what_is_declared_and_no_address(checkout: Path) -> None:
    lock = (checkout / "ops/airflow/requirements.txt").read_text(encoding="utf-8")
    locked = dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", lock, re.MULTILINE))
    declared = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]["airflow"]
    for requirement in map(Requirement, declared):
        assert requirement.specifier.contains(locked[requirement.name]), requirement
    assert "://" not in lock and "--index" not in lock
    for entry in re.split(r"^(?=\S+==)", lock, flags=re.MULTILINE)[1:]:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]


@pytest.mark.integration
def test_airflow_loads_the_dag(loaded: dict[str, Any]) -> None:
    assert loaded["errors"] == {}
    assert (loaded["schedule"], loaded["timezone"]) == ("0 2 * * 0", "UTC")
    assert (loaded["catchup"], loaded["runs"]) == (False, 1)
    assert [(task["name"], task["after"]) for task in loaded["tasks"]] == [
        (name, before) for name, before in zip(TASKS, [[], *([name] for name in TASKS[:-1])], strict=True)
    ]
    for task, step in zip(loaded["tasks"], NAMES, strict=True):
        assert (task["retries"], task["pause"]) == (2, 300)
        assert 0 < task["limit"] <= 6 * 3600
        assert task["command"] == f".venv/bin/lifecycle retrain {step}"  # nothing is put into it later
        assert task["doc"] and task["owner"] == "lifecycle"
    assert loaded["doc"] and loaded["tags"]
    assert "lifecycle_root" in loaded["named"] and "LIFECYCLE_ROOT" in loaded["named"]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("statuses", "calls", "states", "state"),
    [
        pytest.param({}, NAMES, [DONE] * 5, DONE, id="all is done"),
        pytest.param({"decide": 99}, NAMES[:1], [SKIPPED] * 5, DONE, id="not required"),
        pytest.param({"evaluate": 99}, NAMES[:4], [DONE, DONE, DONE, SKIPPED, SKIPPED], DONE, id="not better"),
        pytest.param(
            {"train": 1}, ["decide", "validate", "train", "train", "train"],
            [DONE, DONE, FAILED, UNREACHED, UNREACHED], FAILED, id="an error is tried three times",
        ),
    ],
)  # fmt: skip
def test_a_run(
    airflow: Airflow, scripted_project: Path, tmp_path: Path, statuses: dict[str, int], calls: list[str], states: list[str],
    state: str,
) -> None:  # fmt: skip
    """What a step's exit status makes of the steps after it, and of the run; the pages are in the log."""
    for step, status in statuses.items():
        (scripted_project / "statuses" / step).write_text(str(status))
    run = airflow.run_dag(scripted_project, tmp_path / "home")
    assert (scripted_project / "calls").read_text().splitlines() == [f"retrain {step}" for step in calls], run.log
    assert (run.state, run.tasks) == (state, dict(zip(TASKS, states, strict=True))), run.log
    assert run.status == (0 if state == DONE else 1)
    for step in calls:
        assert f"{step}: page {scripted_project}/.lifecycle/challenger/reports/{step}.html" in run.log


@pytest.mark.integration
def test_the_variable_of_airflow_goes_first_and_a_wrong_folder_fails_at_once(
    airflow: Airflow, scripted_project: Path, tmp_path: Path
) -> None:
    run = airflow.run_dag(scripted_project, tmp_path / "home", AIRFLOW_VAR_LIFECYCLE_ROOT=str(tmp_path / "elsewhere"))
    assert (run.status, run.state) == (1, FAILED)
    assert run.tasks == dict(zip(TASKS, [FAILED, *[UNREACHED] * 4], strict=True)), run.log
    assert f"{tmp_path}/elsewhere has no .venv/bin/lifecycle" in run.log
    assert run.log.count("starting task_id=fetch") == 1
    assert not (scripted_project / "calls").exists()
