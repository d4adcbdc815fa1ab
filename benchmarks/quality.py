"""How good the tuned winner is: ROC AUC on the five folds that others have published on.

    python -m benchmarks.quality

`StratifiedKFold(5, shuffle=True, random_state=0)` of the whole default table, the winner's settings fitted anew on each
fold, beside plain logistic regression (paired by fold). Run `dvc repro` first.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from scipy.stats import ttest_rel
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from lifecycle.core import paths
from lifecycle.core.files import read_json
from lifecycle.modeling.pipelines import build_pipeline

LIMIT = 0.848


def main() -> int:
    """Measure and print; the exit status says whether the limit holds."""
    project = paths.open_project()
    table = pd.concat(
        [pd.read_parquet(project.read(paths.TRAIN_TABLE)), pd.read_parquet(project.read(paths.TEST_TABLE))]
    )
    declaration = read_json(project.read(paths.FEATURES))
    best = read_json(project.read(paths.TUNED))
    table = table.sort_values(declaration["id"], ignore_index=True)  # the source's order: folds depend on it
    every, plain = declaration["features"], [f for f in declaration["features"] if f["source"] == "column"]
    candidates = {
        f"winner: {best['family']} {best['settings']}": (best["family"], best["settings"], every),
        "plain logistic regression": ("logistic", {}, plain),
    }
    y = table[declaration["target"]].to_numpy()
    scores: dict[str, list[float]] = {name: [] for name in candidates}
    for fit, judge in StratifiedKFold(5, shuffle=True, random_state=0).split(table, y):
        for name, (family, settings, features) in candidates.items():
            X = table[[feature["name"] for feature in features]]
            pipeline = build_pipeline(family, settings, features, seed=0, threads=2).fit(X.iloc[fit], y[fit])
            scores[name].append(float(roc_auc_score(y[judge], pipeline.predict_proba(X.iloc[judge])[:, 1])))
    for name, values in scores.items():
        print(f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}  {name}")
    winner, logistic = scores.values()
    print(
        f"winner - plain logistic: {np.mean(winner) - np.mean(logistic):+.4f}, paired t-test p = {ttest_rel(winner, logistic).pvalue:.4f}"
    )
    return int(np.mean(winner) < LIMIT)


if __name__ == "__main__":
    sys.exit(main())
