"""Retraining, step by step: decide, validate, train, judge, deploy; what fails on the way leaves the champion serving."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lifecycle.core import paths
from lifecycle.core.contract import load_contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import read_json, write_json
from lifecycle.core.params import load_params, read_yaml
from lifecycle.core.paths import Project
from lifecycle.monitoring.live import ROOT as LIVE
from lifecycle.monitoring.live import describe_alerts, monitor_live
from lifecycle.pipeline.runner import run_stage
from lifecycle.pipeline.workspaces import create_workspace, enter_workspace, link_path, write_yaml
from lifecycle.retraining.rules import NOBODY, list_calls

Record = dict[str, Any]
ROOT = ".lifecycle/challenger"
LOCK = ".lifecycle/retraining.lock"
SOURCE = "data/source.parquet"
NOTHING = 99  # the exit status that says so: Airflow's BashOperator skips what follows
STEPS = ("decide", "validate", "train", "judge", "deploy")
NOTEBOOKS = {
    "validate": ("collect", "validate"),
    "train": ("features", "tune", "train"),
    "judge": ("evaluate", "explain", "deploy"),
}


def retrain(project: Project, log: Path, step: str | None = None) -> int:
    """Do one step, or all in order; gives 0, or NOTHING where there is nothing (more) to do.

    Every step stands on what the one before left in the challenger's root. Raises ProjectError or StageError.
    """
    with hold_lock(project):
        for name in [step] if step else STEPS:
            if not DOERS[name](project, log):
                return NOTHING
    return 0


@contextmanager
def hold_lock(project: Project) -> Iterator[None]:
    """Be the only one to retrain; raises ProjectError where somebody else is at it."""
    path = project.write(LOCK)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system frees it, however the process ends
        except BlockingIOError:
            raise ProjectError(
                "Another `lifecycle retrain` is at work in this project: wait until it has ended."
            ) from None
        yield


def decide(project: Project, log: Path) -> bool:
    """Look at the log, decide, and where a new model is due make the challenger's root; whether it is."""
    record = monitor_live(project, log)
    print(*describe_alerts(record), sep="\n")
    live = project.output / LIVE
    rules = load_params(project.read(paths.PARAMS)).retrain
    calls = list_calls(record, max_age_days=rules.max_age_days, on_drift=rules.on_drift, on_decay=rules.on_decay)
    if not (any(call["due"] for call in calls) or (live / paths.PREVIOUS).exists()):
        print(f"retrain: {NOBODY}")
        return False
    with enter_workspace(live):
        run_stage("retrain", links=[])
    decision = read_json(live / paths.DECISION)
    if decision["rollback"]:
        from lifecycle.promotion.registry import rollback

        done = rollback(project, load_contract(project.read(paths.CONTRACT)).name)
        tell(project, decision, "rolled back", decision["comparison"])
        print(f"retrain: model {done.model[:12]} is the champion again: {decision['comparison']}")
        return False
    print(f"retrain: {decision['because']}")
    if not decision["due"]:
        tell(project, decision, "kept", decision["because"])
        return False
    build_challenger(project, live, decision)
    return True


def build_challenger(project: Project, live: Path, decision: Record) -> Path:
    """The root in which the challenger is made: the chosen rows as its source, the newest of them as its hold-out."""
    study, rows = decision["study"], decision["rows"]
    root = create_workspace(
        project,
        ROOT,
        {
            "collect": {"source": SOURCE, "watch": SOURCE},
            "features": {"split": "order", "test_share": rows["test_share"]},
            "tune": {name: study[name] for name in ("trials", "startup_trials", "first")},
        },
    )
    shutil.copyfile(live / paths.RETRAINING_TABLE, root / SOURCE)
    write_json(decision, root / "decision.json")
    write_json({}, root / paths.PROFILE)  # the rows may have moved: that is why
    narrow_contract(root / paths.CONTRACT, root / SOURCE)
    (root / "models").mkdir()
    shutil.copyfile(project.output / paths.CHAMPION, root / paths.CHAMPION)
    link_path(project.output / paths.RELEASES, root / paths.RELEASES)
    return root


def narrow_contract(path: Path, source: Path) -> None:
    """Take out of a contract the columns that a table has not: a log knows what requests hold, and no ids."""
    import pyarrow.parquet as pq

    known = set(pq.read_schema(source).names)
    contract = read_yaml(path)
    contract["columns"] = {name: column for name, column in contract["columns"].items() if name in known}
    contract["fairness"] = [name for name in contract.get("fairness", []) if name in known]
    write_yaml(contract, path)
    load_contract(path)


def open_challenger(project: Project) -> Path:
    """The challenger's root; raises ProjectError before there is one."""
    root = project.output / ROOT
    if not (root / paths.PARAMS).is_file():
        raise ProjectError("There is no challenger: `lifecycle retrain decide` makes its root where a model is due.")
    return root


def run_notebooks(project: Project, step: str) -> None:
    """Run a step's notebooks in the challenger's root; MLflow is the project's."""
    root = open_challenger(project)
    address = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{project.output.resolve() / 'mlflow.db'}"
    with enter_workspace(root, {"MLFLOW_TRACKING_URI": address}):
        for stage in NOTEBOOKS[step]:
            page = run_stage(stage)
            print(f"retrain: {stage}: {page.as_uri()}", flush=True)


def validate(project: Project, log: Path) -> bool:
    """Hold the chosen rows against the contract."""
    run_notebooks(project, "validate")
    return True


def train(project: Project, log: Path) -> bool:
    """Features, study and fit, the champion's settings first."""
    run_notebooks(project, "train")
    return True


def judge(project: Project, log: Path) -> bool:
    """The gate and the blessing; whether the challenger may and should be champion."""
    run_notebooks(project, "judge")
    root = open_challenger(project)
    verdict, blessing = read_json(root / paths.VERDICT), read_json(root / paths.BLESSING)
    for judged in (verdict, blessing):
        if not judged["blessed"]:
            return keep(project, root, judged["because"])
    if not verdict["better"]:
        return keep(project, root, "The challenger is blessed, but not shown to be better than the champion.")
    return True


def keep(project: Project, root: Path, because: str) -> bool:
    """Say and record that the champion stays."""
    print(f"retrain: the champion stays: {because}")
    tell(project, read_json(root / "decision.json"), "kept", because)
    return False


def deploy(project: Project, log: Path) -> bool:
    """Promote the challenger: running servers follow."""
    from lifecycle.promotion.registry import promote_candidate

    root = open_challenger(project)
    name = load_contract(project.read(paths.CONTRACT)).name
    done = promote_candidate(Project(root, project.output), name)
    decision = read_json(root / "decision.json")
    if not done.moved:
        return keep(project, root, done.because)
    tell(project, decision, "promoted", done.because, challenger=done.model)
    print(f"retrain: model {done.model[:12]}, version {done.version}, is now the champion: {done.because}")
    return True


def tell(project: Project, decision: Record, outcome: str, because: str, challenger: str | None = None) -> None:
    """Add a line to the record of all retraining: when, of which data, what came of it and why."""
    line = {
        "at": decision["at"], "champion": decision["model"], "due": decision["due"], "outcome": outcome,
        "challenger": challenger and challenger[:12], "because": because,
    }  # fmt: skip
    with project.write(paths.RETRAININGS).open("ab") as file:
        file.write((json.dumps(line, ensure_ascii=False) + "\n").encode())


DOERS: dict[str, Callable[[Project, Path], bool]] = {
    "decide": decide, "validate": validate, "train": train, "judge": judge, "deploy": deploy
}  # fmt: skip
