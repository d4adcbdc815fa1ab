"""How good the tuned model is: ROC AUC on five folds, against plain logistic regression.

    python -m benchmarks.quality [--folds 5]

The hyperparameters that `tune` chose are fitted anew on each fold of `StratifiedKFold(5, shuffle=True, random_state=0)` of the
whole table, training and held-out rows together, because published results use these folds. The peer is
scikit-learn's logistic regression with default hyperparameters, without derived features, on the same folds. The p-value is that
of the corrected resampled t-test (Nadeau & Bengio 2003).

Limit: a mean ROC AUC of at least 0.848 on the worked example. Run `make repro` first.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from benchmarks.command import Benchmark, Progress, run_benchmark
from benchmarks.figures import Figure, at_least
from benchmarks.fold_tests import compare_folds
from benchmarks.project import EXAMPLE
from lifecycle.core import paths
from lifecycle.core.contract import load_contract
from lifecycle.core.files import read_json
from lifecycle.modeling.pipelines import fit_pipeline

LEAST_AUC = 0.848  # on the worked example
PEER = "plain logistic regression"
Record = dict[str, Any]


def read_table(project: paths.Project, declaration: Record) -> pd.DataFrame:
    """Return training and held-out rows in the order of the source, on which the folds depend."""
    parts = [pd.read_parquet(project.read(name)) for name in (paths.TRAIN_TABLE, paths.TEST_TABLE)]
    return pd.concat(parts).sort_values(declaration["id"], ignore_index=True)


def measure(options: argparse.Namespace) -> list[Figure]:
    """Fit both on each fold and compare their areas."""
    project = paths.open_project()
    declaration, best = (read_json(project.read(name)) for name in (paths.FEATURES, paths.TUNED))
    table = read_table(project, declaration)
    every, plain = declaration["features"], [f for f in declaration["features"] if f["source"] == "column"]
    candidates = {"ours": (best["family"], best["hyperparameters"], every), PEER: ("logistic", {}, plain)}
    y = table[declaration["target"]].to_numpy()
    areas: dict[str, list[float]] = {name: [] for name in candidates}
    progress = Progress(options.folds, "folds")
    folds = [*StratifiedKFold(options.folds, shuffle=True, random_state=0).split(table, y)]
    for fit, held_out in folds:
        for name, (family, hyperparameters, features) in candidates.items():
            X = table[[feature["name"] for feature in features]]
            pipeline = fit_pipeline(family, hyperparameters, features, X.iloc[fit], y[fit], seed=0, threads=2)
            areas[name].append(float(roc_auc_score(y[held_out], pipeline.predict_proba(X.iloc[held_out])[:, 1])))
        progress.advance()
    ours, peer = (float(np.mean(values)) for values in areas.values())
    print(
        f"ours: {best['family']} {best['hyperparameters']}; standard deviation of the folds {np.std(areas['ours'], ddof=1):.4f}"
    )
    p = compare_folds(np.subtract(*areas.values()), folds)["p"]
    limit = at_least(ours, LEAST_AUC, "ours") if load_contract(project.read(paths.CONTRACT)).name == EXAMPLE else None
    return [
        Figure.of("ROC AUC, mean of the folds", ours, peer, PEER, limit),
        Figure.of("p-value of the difference (paired t-test, corrected for folds that share rows)", p),
    ]


BENCHMARK = Benchmark(
    "quality", measure, lambda parser: parser.add_argument("--folds", type=int, default=5), small={"folds": 2}
)

if __name__ == "__main__":
    sys.exit(run_benchmark(BENCHMARK))
