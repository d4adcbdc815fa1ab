"""A year of production, played offline: traffic, truths, monitoring and retraining, month after month, in a root of its own."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core import paths
from lifecycle.core.contract import Contract, load_contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import read_json, replace_file, write_json
from lifecycle.core.params import load_params
from lifecycle.core.paths import Project
from lifecycle.core.tables import write_table
from lifecycle.modeling.metrics import measure_tally, tally_scores
from lifecycle.monitoring import scenarios
from lifecycle.pipeline.runner import list_links
from lifecycle.pipeline.workspaces import create_workspace, enter_workspace
from lifecycle.prediction_log.compaction import write_partitions
from lifecycle.promotion.releases import find_release, read_champion
from lifecycle.reporting.monitoring import draw_year
from lifecycle.reporting.pages import render_page, render_part
from lifecycle.retraining.challenger import retrain
from lifecycle.serving.bundle import Bundle, load_bundle, to_requests

Record = dict[str, Any]
ROOT = ".lifecycle/replay"


def replay_year(project: Project, name: str | None = None) -> Path:
    """Play the months of `simulate` with one of its scenarios; gives the page that tells them, reports/replay.html.

    Each row of the validated table is asked for in one month, so that no case comes twice; a challenger learns from the log alone. Each month the champion of that time scores the traffic, then monitoring looks at the log and retraining does what it
    would do on a server, in .lifecycle/replay: the project's own champion stays. Every step draws from base.seed, so that
    the same project gives the same bytes. Raises ProjectError for an unknown scenario, or before `make repro`.
    """
    params = load_params(project.read(paths.PARAMS))
    name = name or Path(params.monitor.log).name
    known = params.simulate.model_dump()["scenarios"]
    if name not in known:
        raise ProjectError(f"{paths.PARAMS}: simulate.scenarios has no {name!r}; it has {', '.join(known) or 'none'}.")
    scenario, settings, seed = known[name], params.simulate, params.base.seed
    contract = load_contract(project.read(paths.CONTRACT))
    valid = pd.read_parquet(project.read(paths.VALIDATED_TABLE))
    scenarios.check_scenario(name, scenario, valid, contract)
    month_of = np.random.default_rng(seed).permutation(len(valid)) % settings.months + 1
    stage = open_stage(project, valid)
    log = stage.root / paths.PREDICTIONS
    first, first_cost = load_champion(stage)
    months: list[Record] = []
    with enter_workspace(stage.root, {"MLFLOW_TRACKING_URI": f"sqlite:///{stage.root / 'mlflow.db'}"}):
        for month in range(1, settings.months + 1):
            champion, cost = load_champion(stage)
            pool = valid[month_of == month].reset_index(drop=True)
            frame = scenarios.draw_month(pool, scenario, contract, month=month, rows=len(pool), seed=seed)
            add_month(log, champion, frame, contract, settings.model_dump(), month, seed)
            moves = len(read_lines(stage))
            retrain(stage, log)
            told = read_json(stage.output / paths.LIVE_MONITORING)
            line = read_lines(stage)[moves:]
            months.append({
                "month": f"{scenarios.begin_month(settings.first, month):%Y-%m}",
                "changed": scenario["kind"] != "none" and month >= scenario["begin"],
                "champion": champion.name,
                "severity": told["severity"],
                "alerts": told["alerts"],
                "outcome": line[-1] if line else None,
                "served": measure_month(champion, cost, frame, contract),
                "stale": measure_month(first, first_cost, frame, contract),
            })  # fmt: skip
            print(f"play: {describe_month(months[-1])}", file=sys.stderr, flush=True)
    record = {"scenario": name, "what": scenarios.describe_scenario(scenario), "months": months}
    write_json(record, project.write(paths.REPLAY))
    return write_page(project, contract, record)


def open_stage(project: Project, valid: pd.DataFrame) -> Project:
    """The root in which it is played: the project's champion and settings, no old rows, and an MLflow store of its own."""
    if read_champion(project.output)["model"] is None:
        raise ProjectError(f"{paths.CHAMPION} names no model: `make repro` makes one.")
    root = create_workspace(project, ROOT, {})
    (root / paths.VALIDATED_TABLE).parent.mkdir(parents=True)
    write_table(valid.iloc[:0], root / paths.VALIDATED_TABLE)
    shutil.copytree(project.read(paths.RELEASES), root / paths.RELEASES)
    champion = {**read_champion(project.output), "previous": None}
    write_json(champion, root / paths.CHAMPION)
    (root / paths.PREDICTIONS).mkdir(parents=True)
    return Project(root, root)


def load_champion(stage: Project) -> tuple[Bundle, dict[str, float]]:
    """The bundle that is live on the stage, and what its errors cost."""
    folder = find_release(stage.output, read_champion(stage.output)["model"])
    return load_bundle(folder / "bundle"), read_json(folder / "model.json")["cost"]


def add_month(
    log: Path, champion: Bundle, frame: pd.DataFrame, contract: Contract, settings: Record, month: int, seed: int
) -> None:
    """Write a month's predictions, and the truths that are told in it, of its own rows and of earlier ones."""
    records = list(
        scenarios.score_month(
            champion, frame, contract, first=settings["first"], month=month, label_days=settings["label_days"],
            label_share=settings["label_share"], seed=seed,
        )
    )  # fmt: skip
    waiting = log.parent / "waiting.json"  # truths that nobody knows yet
    later = read_json(waiting) if waiting.exists() else []
    end = int(scenarios.begin_month(settings["first"], month + 1).timestamp()) * 1_000_000
    truths = [*later, *(record for record in records if record["kind"] == "feedback")]
    known = [record for record in truths if record["at"] < end]
    write_json([record for record in truths if record["at"] >= end], waiting)
    predictions = [record for record in records if record["kind"] == "prediction"]
    write_partitions(log, scenarios.NAME, [*predictions, *known])


def read_lines(stage: Project) -> list[Record]:
    """What retraining has recorded on the stage."""
    path = stage.output / paths.RETRAININGS
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def measure_month(bundle: Bundle, cost: dict[str, float], frame: pd.DataFrame, contract: Contract) -> dict[str, float]:
    """What a model does on a month's rows, all truths known: ROC AUC, and the cost a row."""
    rows = to_requests(frame, bundle.schema.names)
    truth = (frame[contract.target] == contract.positive).to_numpy().astype(np.int8)
    measured = measure_tally(tally_scores(truth, np.asarray(bundle.score(rows))), bundle.manifest.threshold, cost)
    return {name: float(measured[name]) for name in ("roc_auc", "cost")}


def describe_month(month: Record) -> str:
    """A month in a line."""
    outcome = month["outcome"]
    done = (
        ""
        if outcome is None or outcome["outcome"] == "kept"
        else f", {outcome['outcome']} {outcome['challenger'] or ''}"
    )
    return (
        f"{month['month']}: {month['champion']} serves, ROC AUC {month['served']['roc_auc']:.3f}, cost a row "
        f"{month['served']['cost']:.3f}; monitoring says {month['severity']}{done}"
    )


def describe_year(record: Record) -> list[str]:
    """What happened, a sentence an event."""
    months = record["months"]
    changed = next((month["month"] for month in months if month["changed"]), None)
    rung = next((month for month in months if month["severity"] != "quiet"), None)
    promoted = [month for month in months if (month["outcome"] or {}).get("outcome") == "promoted"]
    told = [f"From {changed} on, {record['what']}." if changed else "Nothing changes."]
    if rung is None:
        told.append("Nothing rang.")
    else:
        told.append(f"It rang first at the end of {rung['month']}: {rung['alerts'][0]['message']}")
    told += [
        f"At the end of {month['month']} a challenger was trained, blessed and promoted: {month['outcome']['because']}"
        for month in promoted
    ]
    if not promoted:
        told.append("No challenger was promoted.")
    served, stale = (float(np.mean([month[key]["cost"] for month in months])) for key in ("served", "stale"))
    told.append(
        f"Over the year a row cost {served:.3f}; with the first model left alone it would have cost {stale:.3f}: that is what a stale model costs."
    )
    return told


def write_page(project: Project, contract: Contract, record: Record) -> Path:
    """Write reports/replay.html: the year in sentences, a picture and a table."""
    rows = [
        {
            "month": month["month"], "champion": month["champion"], "severity": month["severity"],
            "roc_auc": f"{month['served']['roc_auc']:.3f}", "cost": f"{month['served']['cost']:.3f}",
            "outcome": (month["outcome"] or {}).get("outcome", ""), "because": (month["outcome"] or {}).get("because", ""),
        }
        for month in record["months"]
    ]  # fmt: skip
    body = render_part(
        "replay.html.j2",
        what=record["what"],
        events=describe_year(record),
        picture=draw_year(record["months"]),
        rows=rows,
    )
    page = project.write(paths.REPLAY_PAGE)
    with replace_file(page) as aside:
        text = render_page("A year, played", body, project=contract.name, links=list_links(), current=page.name)
        aside.write_text(text, encoding="utf-8")
    return page
