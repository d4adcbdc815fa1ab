"""Train: the winner, cross-validated, calibrated, fitted on the whole training part, with a threshold from costs."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

from lifecycle.core.files import hash_file
from lifecycle.modeling.calibration import CalibratedClassifier, Calibrator
from lifecycle.modeling.metrics import count_decisions
from lifecycle.modeling.pipelines import FeatureRecord, Settings, build_pipeline

Array = np.ndarray[Any, Any]
Folds = list[tuple[Array, Array]]
PACKAGES = ("numpy", "scikit-learn")  # whose versions a saved model depends on


def cross_validate(
    table: pd.DataFrame, declaration: dict[str, Any], folds: Folds, family: str, settings: Settings,
    threshold: float, seed: int, threads: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """Fit on each fold; returns the scores (a row for each fold and side) and the out-of-fold predictions.

    Predictions have columns row (position), fold, target and probability, in the table's order; forward-in-time folds
    leave the oldest rows out.
    """
    features: list[FeatureRecord] = declaration["features"]
    X, y = table[[feature["name"] for feature in features]], table[declaration["target"]].to_numpy()
    scores, predictions = [], []
    for number, (fit, judge) in enumerate(folds):
        pipeline = build_pipeline(family, settings, features, seed=seed, threads=threads).fit(X.iloc[fit], y[fit])
        for side, rows in (("train", fit), ("test", judge)):
            probability = pipeline.predict_proba(X.iloc[rows])[:, 1]
            scores.append({"fold": number, "side": side, **score_predictions(y[rows], probability, threshold)})
        predictions.append(pd.DataFrame({"row": judge, "fold": number, "target": y[judge], "probability": probability}))
    return pd.DataFrame(scores), pd.concat(predictions).sort_values("row", kind="stable", ignore_index=True)


def score_predictions(target: Array, probability: Array, threshold: float) -> dict[str, float]:
    """The textbook's five: accuracy, precision, recall and F1 at the threshold, and ROC AUC."""
    predicted = probability >= threshold
    return {
        "accuracy": float(accuracy_score(target, predicted)),
        "precision": float(precision_score(target, predicted, zero_division=0)),
        "recall": float(recall_score(target, predicted)),
        "f1": float(f1_score(target, predicted)),
        "roc_auc": float(roc_auc_score(target, probability)),
    }


def summarise_scores(scores: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Mean and standard deviation over the folds (n - 1), train and test, of each metric."""
    sides = scores.drop(columns="fold").groupby("side").agg(["mean", "std"])
    names = [name for name in scores.columns if name not in ("fold", "side")]
    return {
        name: {
            f"{side}_{short}": float(sides[name, statistic][side])
            for side in ("train", "test")
            for short, statistic in (("mean", "mean"), ("sd", "std"))
        }
        for name in names
    }


def choose_calibration(asked: str, losses: dict[str, float]) -> str:
    """The calibration asked for; with `auto` the one with the lowest loss (the simpler one where two are equal)."""
    return asked if asked != "auto" else min(losses, key=losses.__getitem__)


def set_threshold(cost: dict[str, float]) -> float:
    """The probability from which predicting the positive class costs less: FP / (FP + FN) (Elkan, 2001, eq. 2)."""
    return cost["false_positive"] / (cost["false_positive"] + cost["false_negative"])


def trace_costs(target: Array, probability: Array, cost: dict[str, float], steps: int = 99) -> pd.DataFrame:
    """Mean cost of a decision at each threshold between 0 and 1."""
    thresholds = np.linspace(0, 1, steps + 2)[1:-1]
    positives, negatives = np.sort(probability[target == 1]), np.sort(probability[target == 0])
    missed = np.searchsorted(positives, thresholds, side="left")
    alarmed = len(negatives) - np.searchsorted(negatives, thresholds, side="left")
    total = missed * cost["false_negative"] + alarmed * cost["false_positive"]
    return pd.DataFrame({"threshold": thresholds, "cost": total / len(target)})


def fit_model(
    table: pd.DataFrame, declaration: dict[str, Any], predictions: pd.DataFrame, family: str, settings: Settings,
    calibration: str, seed: int, threads: int,
) -> CalibratedClassifier:  # fmt: skip
    """Fit the pipeline on every training row, and the calibrator on the out-of-fold predictions."""
    features: list[FeatureRecord] = declaration["features"]
    X, y = table[[feature["name"] for feature in features]], table[declaration["target"]].to_numpy()
    pipeline = build_pipeline(family, settings, features, seed=seed, threads=threads).fit(X, y)
    calibrator = Calibrator(calibration).fit(predictions["probability"].to_numpy(), predictions["target"].to_numpy())
    return CalibratedClassifier(pipeline, calibrator)


def describe_model(
    declaration: dict[str, Any],
    best: dict[str, Any],
    *,
    calibration: str,
    cost: dict[str, float],
    files: dict[str, Path],
) -> dict[str, Any]:
    """What stands beside the model: enough to use it, and the hashes of what it was made of."""
    return {
        "family": best["family"],
        "settings": best["settings"],
        "features": [feature["name"] for feature in declaration["features"]],
        "target": declaration["target"],
        "positive": declaration["positive"],
        "threshold": set_threshold(cost),
        "calibration": calibration,
        "cost": cost,
        "train_rows": declaration["split"]["train_rows"],
        **{f"{name}_sha256": hash_file(path) for name, path in files.items()},
        "versions": {package: version(package) for package in PACKAGES},
    }


def tabulate_decisions(target: Array, probability: Array, threshold: float) -> pd.DataFrame:
    """The confusion matrix at the threshold."""
    counts = count_decisions(target, probability, threshold)
    return pd.DataFrame(
        [[counts["tn"], counts["fp"]], [counts["fn"], counts["tp"]]],
        index=["truly negative", "truly positive"],
        columns=["called negative", "called positive"],
    )
