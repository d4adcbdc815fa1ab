"""Replay a simulated year of production offline: traffic, late labels, monitoring and retraining, month after month."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from lifecycle.core import paths
from lifecycle.core.contract import Contract, load_contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import read_json, replace_file, write_json
from lifecycle.core.params import Params, Simulate, load_params
from lifecycle.core.paths import Project
from lifecycle.core.records import Record
from lifecycle.core.tables import write_table
from lifecycle.modeling.metrics import measure_tally, tally_scores
from lifecycle.monitoring import scenarios
from lifecycle.pipeline.runner import list_links
from lifecycle.pipeline.workspaces import create_workspace, enter_workspace
from lifecycle.prediction_log.compaction import write_partitions
from lifecycle.promotion.releases import find_release_folder, read_champion
from lifecycle.reporting.monitoring import draw_replay
from lifecycle.reporting.pages import render_page, render_part
from lifecycle.retraining.challenger import read_retrainings, retrain
from lifecycle.retraining.records import Replay, ReplayMonth, Score
from lifecycle.retraining.window import name_entity
from lifecycle.serving.bundle import Bundle, load_bundle, to_requests
from lifecycle.serving.monitor_report import MonitorReport

_WORKSPACE = ".lifecycle/replay"


def replay_year(project: Project, name: str | None = None) -> Path:
    """Replay the months of `simulate` with one of its scenarios; return the path of the page, reports/replay.html.

    Each row of the validated table is scored in one month only, so that no case repeats, and a challenger learns from the
    log alone. Each month the current champion scores the traffic, then monitoring reads the log and retraining does what it would do on
    a server, in the workspace .lifecycle/replay: the project's own champion stays. Every step draws from base.seed, so
    the same project writes the same bytes. Raises ProjectError for an unknown scenario, or before `make repro`.
    """
    params = load_params(project.read(paths.PARAMS))
    name = name or Path(params.monitor.log).name
    known = params.simulate.model_dump()["scenarios"]
    if name not in known:
        raise ProjectError(f"{paths.PARAMS}: simulate.scenarios has no {name!r}; it has {', '.join(known) or 'none'}.")
    contract = load_contract(project.read(paths.CONTRACT))
    valid = pd.read_parquet(project.read(paths.VALIDATED_TABLE))
    scenarios.check_scenario(name, known[name], valid, contract)
    workspace = _create_workspace(project, valid)
    months = []
    with enter_workspace(workspace.root, {"MLFLOW_TRACKING_URI": f"sqlite:///{workspace.root / 'mlflow.db'}"}):
        for month in _replay_months(workspace, params, known[name], valid, contract):
            months.append(month)
            print(f"replay: {_describe_month(month)}", file=sys.stderr, flush=True)
    record = Replay(scenario=name, what=scenarios.describe_scenario(known[name]), months=months)
    record.write(project.write(paths.REPLAY))
    return _write_page(project, contract, record)


def _create_workspace(project: Project, valid: pd.DataFrame) -> Project:
    """Create the workspace: the project's champion and parameters, no old rows, and an MLflow store of its own."""
    if read_champion(project.output).model is None:
        raise ProjectError(f"{paths.CHAMPION} names no model: `make repro` makes one.")
    root = create_workspace(project, _WORKSPACE, {})
    (root / paths.VALIDATED_TABLE).parent.mkdir(parents=True)
    write_table(valid.iloc[:0], root / paths.VALIDATED_TABLE)
    shutil.copytree(project.read(paths.RELEASES), root / paths.RELEASES)
    champion = read_champion(project.output).model_copy(update={"previous": None})
    champion.write(root / paths.CHAMPION)
    (root / paths.PREDICTIONS).mkdir(parents=True)
    return Project(root, root)


def _replay_months(
    workspace: Project, params: Params, scenario: Record, valid: pd.DataFrame, contract: Contract
) -> Iterator[ReplayMonth]:  # fmt: skip
    """Yield the months one after the other, each with its traffic, monitoring and retraining."""
    simulate, seed = params.simulate, params.base.seed
    valid = valid.assign(**{scenarios.ENTITY: valid.get(name_entity(contract), pd.Series(valid.index))})
    month_of = np.random.default_rng(seed).permutation(len(valid)) % simulate.months + 1
    log = workspace.root / paths.PREDICTIONS
    first, first_cost = _load_champion(workspace)
    for month in range(1, simulate.months + 1):
        champion, cost = _load_champion(workspace)
        pool = valid[month_of == month].reset_index(drop=True)
        frame = scenarios.draw_month(pool, scenario, contract, month=month, rows=len(pool), seed=seed)
        _add_month(log, champion, frame, contract, simulate, month, seed)
        before = len(read_retrainings(workspace.output))
        retrain(workspace, log)
        report = MonitorReport.read(workspace.output / paths.LIVE_MONITORING)
        added = read_retrainings(workspace.output)[before:]
        yield ReplayMonth(
            month=f"{scenarios.begin_month(simulate.first, month):%Y-%m}",
            changed=scenario["kind"] != "none" and month >= scenario["begin"],
            champion=champion.name,
            severity=report.severity,
            alerts=report.alerts,
            outcome=added[-1] if added else None,
            served=_measure_month(champion, cost, frame, contract),
            stale=_measure_month(first, first_cost, frame, contract),
        )


def _load_champion(workspace: Project) -> tuple[Bundle, dict[str, float]]:
    """Load the champion's bundle in the workspace, and what its errors cost."""
    folder = find_release_folder(workspace.output, str(read_champion(workspace.output).model))
    return load_bundle(folder / "bundle"), read_json(folder / "model.json")["cost"]


def _add_month(
    log: Path, champion: Bundle, frame: pd.DataFrame, contract: Contract, simulate: Simulate, month: int, seed: int
) -> None:  # fmt: skip
    """Write a month's predictions, and the labels that arrive in it, of its own rows and of earlier ones."""
    records = list(
        scenarios.score_month(
            champion, frame, contract, first=simulate.first, month=month, label_days=simulate.label_days,
            label_share=simulate.label_share, seed=seed,
        )
    )  # fmt: skip
    waiting = log.parent / "waiting.json"  # labels that arrive in later months
    labels = read_json(waiting) if waiting.exists() else []
    end = int(scenarios.begin_month(simulate.first, month + 1).timestamp()) * 1_000_000
    labels += [record for record in records if record["kind"] == "feedback"]
    known = [record for record in labels if record["at"] < end]
    write_json([record for record in labels if record["at"] >= end], waiting)
    predictions = [record for record in records if record["kind"] == "prediction"]
    write_partitions(log, scenarios.SIMULATED_LOG, [*predictions, *known])


def _measure_month(bundle: Bundle, cost: dict[str, float], frame: pd.DataFrame, contract: Contract) -> Score:
    """Measure a model on a month's rows with all their labels."""
    rows = to_requests(frame, bundle.schema.names)
    label = (frame[contract.target] == contract.positive).to_numpy().astype(np.int8)
    measured = measure_tally(tally_scores(label, np.asarray(bundle.score(rows))), bundle.manifest.threshold, cost)
    return Score(roc_auc=float(measured["roc_auc"]), cost=float(measured["cost"]))


def _describe_month(month: ReplayMonth) -> str:
    """Return a month in a line."""
    outcome = month.outcome
    moved = outcome is not None and outcome.outcome != "kept"
    done = f", {outcome.outcome} {outcome.challenger or ''}".rstrip() if outcome and moved else ""
    return (
        f"{month.month} (simulated): champion {month.champion}, ROC AUC {month.served.roc_auc:.3f}, cost per row "
        f"{month.served.cost:.3f}; monitoring: {month.severity}{done}"
    )


def describe_events(record: Replay) -> list[str]:
    """Return what happened in the year, one sentence per event."""
    changed = next((month.month for month in record.months if month.changed), None)
    fired = next((month for month in record.months if month.severity != "ok"), None)
    promoted = [month for month in record.months if month.outcome and month.outcome.outcome == "promoted"]
    events = [f"The scenario {record.scenario} begins in {changed}: {record.what}." if changed else "Nothing changes."]
    if fired is None:
        events.append("No alert fired.")
    else:
        events.append(f"The first alert fired at the end of {fired.month}: {fired.alerts[0].message}")
    events += [
        f"At the end of {month.month} a challenger was trained, passed the quality gate and was promoted: {month.outcome.because}"
        for month in promoted
        if month.outcome
    ]
    if not promoted:
        events.append("No challenger was promoted.")
    served = float(np.mean([month.served.cost for month in record.months]))
    stale = float(np.mean([month.stale.cost for month in record.months]))
    events.append(
        f"Over the year the cost per row was {served:.3f} with retraining; it would have been {stale:.3f} with the first model, "
        "without retraining."
    )
    return events


def _write_page(project: Project, contract: Contract, record: Replay) -> Path:
    """Write reports/replay.html: the year in sentences, a figure and a table."""
    rows = [
        {
            "month": month.month, "champion": month.champion, "severity": month.severity,
            "roc_auc": f"{month.served.roc_auc:.3f}", "cost": f"{month.served.cost:.3f}",
            "outcome": month.outcome.outcome if month.outcome else "",
            "because": month.outcome.because if month.outcome else "",
        }
        for month in record.months
    ]  # fmt: skip
    body = render_part("replay.html.j2", events=describe_events(record), picture=draw_replay(record.months), rows=rows)
    page = project.write(paths.REPLAY_PAGE)
    with replace_file(page) as aside:
        text = render_page("A simulated year", body, project=contract.name, links=list_links(), current=page.name)
        aside.write_text(text, encoding="utf-8")
    return page
