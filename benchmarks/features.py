"""What each feature returns and costs: the winner's settings fitted without it, and the time it takes of a prediction.

    python -m benchmarks.features

Each column is left out in turn, with what is derived from it, and each derived feature. ROC AUC of held-back training rows,
by the mean of two shuffles of five folds; p is of the paired test of DeLong. Run `dvc repro` first.
"""

from __future__ import annotations

import sys
from functools import partial
from timeit import Timer
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from lifecycle.core import paths
from lifecycle.core.expressions import parse_expression, to_value
from lifecycle.core.files import read_json
from lifecycle.modeling.metrics import compare_auc
from lifecycle.modeling.pipelines import build_pipeline
from lifecycle.serving.bundle import load_bundle

SHUFFLES = (0, 1)
Record = dict[str, Any]


def predict_held_back(table: pd.DataFrame, target: np.ndarray, features: list[Record], best: Record) -> np.ndarray:
    """Probabilities of rows that were not learned from, the mean of the shuffles; shape (rows,)."""
    total, X = np.zeros(len(table)), table[[feature["name"] for feature in features]]
    for seed in SHUFFLES:
        for fit, judge in StratifiedKFold(5, shuffle=True, random_state=seed).split(X, target):
            pipeline = build_pipeline(best["family"], best["settings"], features, seed=0, threads=2)
            total[judge] += pipeline.fit(X.iloc[fit], target[fit]).predict_proba(X.iloc[judge])[:, 1]
    return total / len(SHUFFLES)


def main() -> int:
    """Measure and print a line for each feature, and one without all those that return nothing."""
    project = paths.open_project()
    table = pd.read_parquet(project.read(paths.TRAIN_TABLE))
    declaration, best = (read_json(project.read(name)) for name in (paths.FEATURES, paths.TUNED))
    bundle = load_bundle(project.read(paths.BUNDLE))
    row, dtypes = bundle.golden[0]["request"], bundle.scorer.model.inputs.dtypes
    values = {name: to_value(row[name], dtypes[name]) for name in dtypes}
    target, features = table[declaration["target"]].to_numpy(), declaration["features"]
    whole = predict_held_back(table, target, features, best)
    lost: dict[str, float] = {}
    for feature in features:
        name, text = feature["name"], feature["expression"]
        kept = [other for other in features if other is not feature and name not in other["columns"]]
        found = compare_auc(target, whole, predict_held_back(table, target, kept, best))
        cost = ""
        if text is not None:
            compute = parse_expression(text, name).compute_one
            cost = f", which takes {min(Timer(partial(compute, values)).repeat(5, 2000)) / 2000 * 1e6:.1f} µs a row"
        print(f"{found['value']:+.4f} lost (p = {found['p']:.3f}) without {name}{cost}")
        lost[name] = found["value"]
    kept = [feature for feature in features if lost[feature["name"]] > 0]
    found = compare_auc(target, whole, predict_held_back(table, target, kept, best))
    print(f"{found['value']:+.4f} lost (p = {found['p']:.3f}) with the {len(kept)} alone that return something")
    return 0


if __name__ == "__main__":
    sys.exit(main())
