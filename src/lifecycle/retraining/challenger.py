"""Run the steps of retraining: decide, validate, train, evaluate, deploy. A step that fails leaves the champion in place."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from lifecycle.core import paths
from lifecycle.core.contract import load_contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import lock_file, write_json
from lifecycle.core.params import load_params, read_yaml
from lifecycle.core.paths import Project
from lifecycle.monitoring.live import WORKSPACE as LIVE_WORKSPACE
from lifecycle.monitoring.live import describe_alerts, monitor_live
from lifecycle.pipeline.forkserver import run_stage
from lifecycle.pipeline.workspaces import create_workspace, enter_workspace, link_path, write_yaml
from lifecycle.promotion.records import Blessing, Verdict
from lifecycle.retraining.records import Retraining, RetrainingDecision
from lifecycle.retraining.rules import NOT_TRIGGERED, list_triggers
from lifecycle.retraining.steps import NOTHING_TO_DO, STEPS
from lifecycle.retraining.window import describe_entity, name_entity

_WORKSPACE = ".lifecycle/challenger"
_LOCK = ".lifecycle/retraining.lock"
_SOURCE = "data/source.parquet"  # of the challenger's table, in its workspace
_DECISION = "decision.json"  # the same


def retrain(project: Project, log: Path, step: str | None = None) -> int:
    """Run one step, or all in order; return 0, or NOTHING_TO_DO where there is nothing (more) to do.

    Each step continues from what the step before left in the challenger's workspace. Raises ProjectError or StageError.
    """
    with _hold_lock(project):
        for name in [step] if step else [known.name for known in STEPS]:
            if not _run_step(project, log, name):
                return NOTHING_TO_DO
    return 0


def _run_step(project: Project, log: Path, name: str) -> bool:
    """Run a step's stages, and what it does besides; return whether the next step has something to do."""
    stages = next(step.stages for step in STEPS if step.name == name)
    if stages:
        _run_stages(project, stages)
    return name not in _ACTIONS or _ACTIONS[name](project, log)


@contextmanager
def _hold_lock(project: Project) -> Iterator[None]:
    """Keep other processes from retraining this project; raise ProjectError where one already does."""
    with ExitStack() as stack:
        try:
            stack.enter_context(lock_file(project.write(_LOCK), blocking=False))
        except BlockingIOError:
            raise ProjectError(
                "Another `lifecycle retrain` is running in this project: wait until it has ended."
            ) from None
        yield


def _decide(project: Project, log: Path) -> bool:
    """Monitor the log and decide; create the challenger's workspace if a new model is required, and return whether it is."""
    report = monitor_live(project, log)
    print(*describe_alerts(report), sep="\n")
    live = project.output / LIVE_WORKSPACE
    triggers = list_triggers(report, load_params(project.read(paths.PARAMS)).retrain)
    if not (any(rule.met for rule in triggers) or (live / paths.PREVIOUS).exists()):
        print(f"retrain: {NOT_TRIGGERED}")
        return False
    with enter_workspace(live):
        run_stage("retrain", links=[])
    decision = RetrainingDecision.read(live / paths.DECISION)
    if decision.rollback:
        from lifecycle.promotion.registry import rollback

        done = rollback(project, load_contract(project.read(paths.CONTRACT)).name)
        _record_outcome(project, decision, "rolled back", decision.comparison)
        print(f"retrain: model {done.model[:12]} is the champion again: {decision.comparison}")
        return False
    print(f"retrain: {decision.because}")
    if not decision.required:
        _record_outcome(project, decision, "kept", decision.because)
        return False
    _create_challenger(project, live, decision)
    return True


def _create_challenger(project: Project, live: Path, decision: RetrainingDecision) -> None:
    """Create the challenger's workspace, with the chosen rows as its source, and the rule by which they are held out."""
    chosen = decision.rows
    by_place = chosen.rule.kind == "rows"
    share = chosen.held_out / max(chosen.old + chosen.new + chosen.held_out, 1) if by_place else chosen.rule.share
    split = {"split": "order" if by_place else "auto", "test_share": share, "gap": ""}
    root = create_workspace(
        project,
        _WORKSPACE,
        {
            "collect": {"source": _SOURCE, "watch": _SOURCE},
            "features": split | {"rule": {} if by_place else chosen.rule.to_json()},
            "train": {"onset": decision.onset.isoformat() if decision.onset else ""},
            "tune": decision.study.to_json(),
        },
    )
    shutil.copyfile(live / paths.RETRAINING_TABLE, root / _SOURCE)
    decision.write(root / _DECISION)
    write_json({}, root / paths.PROFILE)  # the rows may have drifted, which is why a model is trained
    _narrow_contract(root / paths.CONTRACT, root / _SOURCE)
    (root / "models").mkdir()
    shutil.copyfile(project.output / paths.CHAMPION, root / paths.CHAMPION)
    link_path(project.output / paths.RELEASES, root / paths.RELEASES)


def _narrow_contract(path: Path, source: Path) -> None:
    """Remove the columns from a contract that a table does not have: a log has those of requests, and may name the entity."""
    import pyarrow.parquet as pq

    known = set(pq.read_schema(source).names)
    entity = name_entity(load_contract(path))
    contract = read_yaml(path)
    contract["columns"] = {name: column for name, column in contract["columns"].items() if name in known}
    if entity in known:
        contract["columns"][entity] = describe_entity().model_dump(mode="json", exclude_defaults=True)
    contract["fairness"] = [name for name in contract.get("fairness", []) if name in known]
    write_yaml(contract, path)
    load_contract(path)


def _open_challenger(project: Project) -> Path:
    """Return the challenger's workspace; raise ProjectError if there is none."""
    root = project.output / _WORKSPACE
    if not (root / paths.PARAMS).is_file():
        raise ProjectError(
            "There is no challenger: `lifecycle retrain decide` prepares one if a new model is required."
        )
    return root


def _run_stages(project: Project, stages: tuple[str, ...]) -> None:
    """Run stages in the challenger's workspace, with the project's MLflow store."""
    root = _open_challenger(project)
    address = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{project.output.resolve() / 'mlflow.db'}"
    with enter_workspace(root, {"MLFLOW_TRACKING_URI": address}):
        for stage in stages:
            page = run_stage(stage)
            print(f"retrain: {stage}: {page.as_uri()}", flush=True)


def _evaluate(project: Project, log: Path) -> bool:
    """Return whether the challenger has passed the gates and is better than the champion."""
    from lifecycle.promotion.registry import compare_candidate

    root = _open_challenger(project)
    verdict, blessing = Verdict.read(root / paths.VERDICT), Blessing.read(root / paths.BLESSING)
    for blessed, because in ((verdict.blessed, verdict.because), (blessing.blessed, blessing.because)):
        if not blessed:
            return _keep_champion(project, root, because)
    not_better = compare_candidate(Project(root, project.output), load_contract(project.read(paths.CONTRACT)).name)
    return not_better is None or _keep_champion(project, root, not_better)


def _keep_champion(project: Project, root: Path, because: str) -> bool:
    """Print and record that the champion stays."""
    print(f"retrain: the champion stays: {because}")
    _record_outcome(project, RetrainingDecision.read(root / _DECISION), "kept", because)
    return False


def _deploy(project: Project, log: Path) -> bool:
    """Promote the challenger; running servers load it. Return whether it became the champion."""
    from lifecycle.promotion.registry import promote_candidate

    root = _open_challenger(project)
    name = load_contract(project.read(paths.CONTRACT)).name
    done = promote_candidate(Project(root, project.output), name)
    if not done.moved:
        return _keep_champion(project, root, done.because)
    decision = RetrainingDecision.read(root / _DECISION)
    _record_outcome(project, decision, "promoted", done.because, challenger=done.model)
    print(f"retrain: model {done.model[:12]}, version {done.version}, is now the champion: {done.because}")
    return True


def _record_outcome(
    project: Project, decision: RetrainingDecision, outcome: Literal["kept", "promoted", "rolled back"], because: str,
    challenger: str | None = None,
) -> None:  # fmt: skip
    """Append a line to the record of all retrainings: when, of which model, the outcome and its reason."""
    line = Retraining(
        at=decision.at, champion=decision.model, required=decision.required, outcome=outcome,
        challenger=challenger and challenger[:12], because=because,
    )  # fmt: skip
    with project.write(paths.RETRAININGS).open("ab") as file:
        file.write((json.dumps(line.to_json(), ensure_ascii=False) + "\n").encode())


def read_retrainings(root: Path) -> list[Retraining]:
    """Read the record of all retrainings, oldest first."""
    path = root / paths.RETRAININGS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Retraining.parse(json.loads(line), f"{path}: line {number}") for number, line in enumerate(lines, 1)]


_ACTIONS: dict[str, Callable[[Project, Path], bool]] = {
    "decide": _decide, "evaluate": _evaluate, "deploy": _deploy,
}  # fmt: skip
