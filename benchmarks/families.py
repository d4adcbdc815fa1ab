"""Which family, and which derived features: models compared on the training part alone, which no figure of the hold-out saw.

    python -m benchmarks.families [--shuffles 3] [--folds 5]

Each model is fitted anew on each fold of several shuffles of the training part, by group where an id repeats; the hold-out takes no
part. The peer is the model that `tune` chose. The error of a difference is that of folds that share rows (Nadeau & Bengio 2003;
Bouckaert & Frank 2004 for repeated folds), and p-values are corrected for so many models (Holm).

There is no limit: the figures support the decision about the families. Run `make repro` first.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtr
from sklearn.metrics import roc_auc_score

from benchmarks.command import Benchmark, Progress, run_benchmark
from benchmarks.figures import Figure
from lifecycle.core import paths
from lifecycle.core.files import read_json
from lifecycle.exploration.significance import adjust_holm
from lifecycle.modeling.comparisons import estimate_fold_error
from lifecycle.modeling.encoders import select_features
from lifecycle.modeling.pipelines import fit_pipeline
from lifecycle.modeling.split import split_folds

Array = np.ndarray[Any, Any]
Record = dict[str, Any]
PEER = "the tuned model"
BOOSTING = {"learning_rate": 0.08, "max_features": 0.5}  # as the search spaces allow; four leaves suit few rows


def list_models(features: list[Record], best: Record) -> dict[str, list[tuple[str, Record, list[Record]]]]:
    """Return the models by name, the peer first; the probabilities of several recipes are averaged."""
    plain = [feature for feature in features if feature["source"] != "derived"]
    derived = [feature for feature in features if feature["source"] == "derived"]
    hist = ("hist_boosting", {"max_iter": 120, "max_leaf_nodes": 4, **BOOSTING}, features)
    light = (
        "lightgbm",
        {"n_estimators": 120, "num_leaves": 4, "learning_rate": 0.08, "colsample_bytree": 0.5},
        features,
    )
    trees = ("xgboost", {"n_estimators": 120, "max_depth": 2, "learning_rate": 0.08, "colsample_bytree": 0.5}, features)
    splines = ("logistic", {"knots": 5}, features)
    return {
        PEER: [(best["family"], best["hyperparameters"], features)],
        "logistic regression": [("logistic", {}, plain)],
        **{
            f"logistic regression, + {', '.join(feature['name'] for feature in derived[:count])}": [
                ("logistic", {}, [*plain, *derived[:count]])
            ]
            for count in range(1, len(derived) + 1)
        },
        "logistic regression with splines": [splines],
        "histogram boosting": [hist],
        "LightGBM": [light],
        "XGBoost": [trees],
        "splines and LightGBM, averaged": [splines, light],
    }


def score_folds(
    table: pd.DataFrame, declaration: Record, recipes: list[tuple[str, Record, list[Record]]], folds: list[tuple[Array, Array]]
) -> Array:  # fmt: skip
    """Return the ROC AUC of a model on each fold."""
    X, y = select_features(table, declaration), table[declaration["target"]].to_numpy()
    areas = []
    for fit, judge in folds:
        probability = np.zeros(len(judge))
        for family, hyperparameters, features in recipes:
            names = [feature["name"] for feature in features]
            model = fit_pipeline(family, hyperparameters, features, X.iloc[fit][names], y[fit], seed=0, threads=2)
            probability += model.predict_proba(X.iloc[judge][names])[:, 1]
        areas.append(float(roc_auc_score(y[judge], probability)))
    return np.array(areas)


def measure(options: argparse.Namespace) -> list[Figure]:
    """Compare every model with the tuned one, fold by fold."""
    project = paths.open_project()
    declaration, best = (read_json(project.read(name)) for name in (paths.FEATURES, paths.TUNED))
    table = pd.read_parquet(project.read(paths.TRAIN_TABLE))
    folds = [part for seed in range(options.shuffles) for part in split_folds(table, declaration, options.folds, seed)]
    models = dict(list(list_models(declaration["features"], best).items())[: options.most])
    progress, areas = Progress(len(models), "models"), {}
    for name, recipes in models.items():
        areas[name] = score_folds(table, declaration, recipes, folds)
        progress.advance()
    others = [name for name in models if name != PEER]
    differences = {name: areas[name] - areas[PEER] for name in others}
    errors = {name: max(estimate_fold_error(values, folds), 1e-12) for name, values in differences.items()}
    p = [2 * float(stdtr(len(folds) - 1, -abs(differences[name].mean()) / errors[name])) for name in others]
    adjusted = dict(zip(others, adjust_holm(np.array(p)), strict=True))
    ours = float(areas[PEER].mean())
    return [
        Figure.of(
            f"ROC AUC of {name} (differs by {differences[name].mean():+.4f} ± {errors[name]:.4f}, p = {adjusted[name]:.3f})",
            float(areas[name].mean()), ours, PEER,
        )
        for name in others
    ]  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--shuffles", type=int, default=3, help="how often the rows are cut into folds")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--most", type=int, default=99, help="only the first so many models")


BENCHMARK = Benchmark("families", measure, add_options, small={"shuffles": 1, "folds": 2, "most": 4})

if __name__ == "__main__":
    sys.exit(run_benchmark(BENCHMARK))
