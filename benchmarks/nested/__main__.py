"""Nested cross-validation of the whole procedure on eight public tables, against CatBoost, LightGBM and FLAML.

    python -m benchmarks.nested [--tables telco ...] [--folds 5] [--seconds 60] [--again lifecycle ...] [--peers catboost,lightgbm,flaml]

Each table is adopted from its file with `lifecycle adopt FILE --target COLUMN` and validated in a copy of the project, once. The
contract comes from all rows: it reads names, types and values of the columns, and of the target its two classes and
whether a column alone nearly tells them apart, so that a leak is ignored. The parameters of adopt depend on the numbers of rows
of the classes. Features are computed row by row and learn nothing. Everything else happens within an outer fold.

The outer folds are five, stratified, and of whole groups where an id repeats or rows are equal; all competitors have the same. On the
training part of each, the procedure of the notebooks `tune` and `train` runs as it is: the study of adopt's families and trials
with inner folds, cross-validation, the choice of a calibration, and the fit. CatBoost and LightGBM run with default
hyperparameters, FLAML for `--seconds`, on the same rows and columns as the source has them, categories as categories, without
ids. All have two threads. The outer fold is scored by ROC AUC, log loss and Brier score.

The difference of the areas has a 95 % interval and a p-value that are corrected for folds that share training rows (Nadeau & Bengio
2003), and the p-values of a peer for the number of tables (Holm 1979). With five folds they find only large differences of a
single table; the mean over the tables is the sharper comparison.

Each (table, fold, competitor) is kept in `.lifecycle/benchmarks/nested.jsonl` at once, so that the same command resumes an
interrupted run; `--again lifecycle` measures ours anew where the result is of another commit. FLAML comes last: its budget is of the clock, so that other programs take
from it; the report has its processor seconds. The report is `results/nested.md`.

Limits: on no table significantly worse than CatBoost or LightGBM, better than both in the mean of the tables, and in the mean at
most 0.005 below FLAML.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from benchmarks.command import Benchmark, announce, run_benchmark
from benchmarks.environments import FOLDER
from benchmarks.figures import Figure
from benchmarks.isolated import measure_apart
from benchmarks.machine import RESULTS, read_commit
from benchmarks.nested.results import (
    AUTOML,
    OURS,
    FoldResult,
    Results,
    keep_result,
    list_figures,
    read_results,
    write_report,
)
from benchmarks.nested.tables import TABLES, PreparedTable, load_prepared, prepare_rows, prepare_table
from benchmarks.own_tables.__main__ import measure_peer
from benchmarks.project import CHECKOUT
from lifecycle.core import paths
from lifecycle.pipeline.runner import ENVIRONMENT

KEPT_RESULTS = FOLDER / "nested.jsonl"
QUICK_STUDY: dict[str, Any] = {
    "trials": 2, "startup_trials": 1, "folds": 2, "families": {"logistic": {"C": [0.1, 1.0]}}, "first": {}
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A fold of a table to be measured for a competitor."""

    table: str
    folder: Path
    fold: int
    peer: str


def measure_fold(task: Task, prepared: PreparedTable, seconds: float, *, apart: bool) -> FoldResult:
    """Let a competitor learn on the training part of an outer fold and score the fold."""
    fit, judge = prepared.folds[task.fold]
    target = prepared.declaration["target"]
    chosen: dict[str, Any] = {}
    budget = seconds if task.peer == AUTOML else 0.0
    if task.peer == OURS:
        environment = {**ENVIRONMENT, "OMP_NUM_THREADS": str(prepared.threads)} if apart else None
        words = (str(task.folder), task.fold)
        cost = measure_apart("benchmarks.nested.procedure:predict_fold", *words, apart=apart, environment=environment)
        probability = np.array(cost.result["probability"])
        chosen = {name: value for name, value in cost.result.items() if name != "probability"}
    else:
        cost = measure_peer(task.peer, prepared.rows.iloc[fit], prepared.rows.iloc[judge], target, budget, apart=apart)
        probability = np.array(cost.result)
    labels = prepared.rows[target].to_numpy()[judge]
    return FoldResult(
        task.table, task.fold, task.peer, prepared.split, budget, len(fit), len(judge), prepared.rows.shape[1] - 1,
        float(labels.mean()), float(roc_auc_score(labels, probability)), float(log_loss(labels, probability)),
        float(brier_score_loss(labels, probability)), cost.seconds, cost.processor, read_commit(), chosen,
    )  # fmt: skip


def list_tasks(tables: Sequence[str], folders: dict[str, Path], folds: int, peers: Sequence[str]) -> Iterator[Task]:
    """Return what to measure in order: the AutoML, whose budget is of the clock, after all others."""
    for group in ([OURS, *(peer for peer in peers if peer != AUTOML)], [peer for peer in peers if peer == AUTOML]):
        for table in tables:
            for fold in range(folds):
                yield from (Task(table, folders[table], fold, peer) for peer in group)


def measure(options: argparse.Namespace) -> list[Figure]:
    """Measure each fold that has no result yet, and report all of them."""
    if options.small:
        return measure_small(options)
    folders = {name: FOLDER / f"nested/{name}-{options.folds}" for name in options.tables}
    prepared = {}
    for name, folder in folders.items():
        announce(f"{name}: adopted and validated, unless that was done before")
        prepared[name] = prepare_table(TABLES[name], options.folds, folder)
    kept, tasks = read_results(KEPT_RESULTS), [*list_tasks(options.tables, folders, options.folds, options.peers)]
    output = (options.output or CHECKOUT / RESULTS) / "nested.md"

    def find(task: Task) -> FoldResult | None:
        budget = options.seconds if task.peer == AUTOML else 0.0
        return kept.get((task.table, task.fold, task.peer, prepared[task.table].split, budget))

    commit = read_commit()
    waiting = [
        task for task in tasks
        if (result := find(task)) is None or (task.peer in options.again and result.commit != commit)
    ]  # fmt: skip
    for done, task in enumerate(waiting):
        left = _estimate_seconds(waiting[done:], [*kept.values()])
        announce(
            f"{task.table}, fold {task.fold + 1} of {options.folds}, {task.peer}: {len(tasks) - len(waiting) + done} of {len(tasks)} done{left}"
        )
        result = measure_fold(task, prepared[task.table], options.seconds, apart=True)
        kept[result.key] = result
        keep_result(result, KEPT_RESULTS)
        announce(f"  ROC AUC {result.roc_auc:.4f} in {result.seconds:.0f} s {result.chosen.get('family', '')}".rstrip())
        results = Results([found for each in tasks if (found := find(each))], options.folds)
        write_report(results, output)
    results = Results([found for each in tasks if (found := find(each))], options.folds)
    write_report(results, output)
    return list(list_figures(results))


def _estimate_seconds(waiting: Sequence[Task], known: Sequence[FoldResult]) -> str:
    """Return about how long the tasks take, from the mean of the results of each competitor, as text; "" before the first."""
    if not known:
        return ""
    seconds = pd.DataFrame({"peer": [each.peer for each in known], "seconds": [each.seconds for each in known]})
    means = seconds.groupby("peer")["seconds"].mean()
    left = sum(float(means.get(task.peer, means.max())) for task in waiting)
    return (
        f", about {time.strftime('%-H h %M min', time.gmtime(left)) if left < 86_400 else f'{left / 3600:.0f} h'} left"
    )


def measure_small(options: argparse.Namespace) -> list[Figure]:
    """Measure two folds of the small project's table in this process."""
    root = paths.open_project().root
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "customers")
        prepare_rows(root, pd.read_parquet(root / "data/customers.parquet"), options.folds, folder, QUICK_STUDY)
        prepared = load_prepared(folder)
        tasks = list_tasks(["customers"], {"customers": folder}, options.folds, options.peers)
        found = [measure_fold(task, prepared, options.seconds, apart=False) for task in tasks]
        results = Results(found, options.folds)
        write_report(results, Path(name, "nested.md"))
    return list(list_figures(results))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark's own options."""
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--folds", type=int, default=5, help="outer folds")
    parser.add_argument("--seconds", type=float, default=60.0, help="FLAML's budget for a fold")
    parser.add_argument(
        "--again",
        nargs="+",
        default=[],
        help=f"of {OURS} and the peers, those to measure anew where another commit was measured",
    )


BENCHMARK = Benchmark("nested", measure, add_options, small={"peers": ["lightgbm"], "folds": 2, "seconds": 1.0})

if __name__ == "__main__":
    sys.exit(run_benchmark(BENCHMARK))
