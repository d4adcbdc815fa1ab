"""What each feature adds and costs: the tuned model fitted without it, and the time to compute it.

    python -m benchmarks.ablation [--shuffles 2] [--folds 5] [--most N]

Each column is left out in turn, together with the features derived from it, and each derived feature. The ROC AUC is that of
training rows that were held back, each predicted by the mean of the shuffles; p-values come from DeLong's paired test, with Holm's correction for so many features. A derived
feature's cost is the time of its expression for one row.

There is no limit: the figures support the decision about each feature. Run `make repro` first.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from timeit import Timer
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from benchmarks.command import Benchmark, Progress, run_benchmark
from benchmarks.figures import Figure
from lifecycle.core import paths
from lifecycle.core.expressions import parse_expression, to_value
from lifecycle.core.files import read_json
from lifecycle.exploration.significance import adjust_holm
from lifecycle.modeling.comparisons import compare_auc
from lifecycle.modeling.pipelines import fit_pipeline
from lifecycle.serving.bundle import load_bundle

Array = np.ndarray[Any, Any]
Record = dict[str, Any]
PEER = "all features"
CALLS = 2000  # of an expression, timed together


def predict_held_back(
    table: pd.DataFrame, target: Array, features: list[Record], best: Record, options: argparse.Namespace
) -> Array:
    """Return the probabilities of rows that the model was not fitted on, the mean of the shuffles; shape (rows,)."""
    total, X = np.zeros(len(table)), table[[feature["name"] for feature in features]]
    for seed in range(options.shuffles):
        for fit, held_back in StratifiedKFold(options.folds, shuffle=True, random_state=seed).split(X, target):
            rows = X.iloc[fit], target[fit]
            pipeline = fit_pipeline(best["family"], best["hyperparameters"], features, *rows, seed=0, threads=2)
            total[held_back] += pipeline.predict_proba(X.iloc[held_back])[:, 1]
    return total / options.shuffles


def list_reduced(features: list[Record]) -> dict[str, list[Record]]:
    """Return, for each feature, the features that remain without it."""
    return {
        feature["name"]: [
            other for other in features if other is not feature and feature["name"] not in other["columns"]
        ]
        for feature in features
    }


def time_expressions(features: list[Record], row: Record) -> Iterator[Figure]:
    """Return the microseconds that each derived feature takes for one row."""
    for feature in features:
        if feature["expression"] is not None:
            compute = parse_expression(feature["expression"], feature["name"]).compute_one
            seconds = min(Timer(partial(compute, row)).repeat(5, CALLS)) / CALLS
            yield Figure.of(f"µs a row to compute {feature['name']}", seconds * 1e6)


def read_row(project: paths.Project) -> Record:
    """Return one request of the candidate's bundle, its values typed."""
    bundle = load_bundle(project.read(paths.BUNDLE))
    row, dtypes = bundle.golden[0]["request"], bundle.scorer.model.inputs.dtypes
    return {name: to_value(row[name], dtypes[name]) for name in dtypes}


def measure(options: argparse.Namespace) -> list[Figure]:
    """Fit without each feature in turn, and compare with the model of all features."""
    project = paths.open_project()
    table = pd.read_parquet(project.read(paths.TRAIN_TABLE))
    declaration, best = (read_json(project.read(name)) for name in (paths.FEATURES, paths.TUNED))
    row = read_row(project)
    target, features = table[declaration["target"]].to_numpy(), declaration["features"]
    predict = partial(predict_held_back, table, target, best=best, options=options)
    reduced = dict(list(list_reduced(features).items())[-options.most :])
    progress = Progress(len(reduced) + 2, "models")
    whole = predict(features)
    area = compare_auc(target, whole, np.full(len(whole), 0.5))["value"] + 0.5
    progress.advance()

    def compare(kept: list[Record]) -> Record:
        found = compare_auc(target, whole, predict(kept))
        progress.advance()
        return found

    compared = {name: compare(kept) for name, kept in reduced.items()}
    adjusted = adjust_holm(np.array([found["p"] for found in compared.values()]))
    figures = [
        Figure.of(f"ROC AUC without {name} (p = {p:.3f})", area - found["value"], area, PEER)
        for (name, found), p in zip(compared.items(), adjusted, strict=True)
    ]
    useful = [
        feature for feature in features if feature["name"] not in compared or compared[feature["name"]]["value"] > 0
    ]
    again = f"ROC AUC with the {len(useful)} features without which it falls, chosen on these rows"
    figures.append(Figure.of(again, area - compare(useful)["value"], area, PEER))
    return [*figures, *time_expressions(features, row)]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--shuffles", type=int, default=2, help="how often all rows are cut into folds")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--most", type=int, default=0, help="only the last so many features (all)")


BENCHMARK = Benchmark("ablation", measure, add_options, small={"shuffles": 1, "folds": 2, "most": 3})

if __name__ == "__main__":
    sys.exit(run_benchmark(BENCHMARK))
