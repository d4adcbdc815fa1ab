"""Train: cross-validate, calibrate and fit the best model of tuning, and set its threshold from costs."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.errors import ProjectError
from lifecycle.core.files import hash_file
from lifecycle.core.paths import PARAMS
from lifecycle.modeling.calibration import CalibratedClassifier, Calibrator, choose_calibration
from lifecycle.modeling.comparisons import estimate_fold_error
from lifecycle.modeling.encoders import select_features
from lifecycle.modeling.families import find_family
from lifecycle.modeling.family import balances_classes
from lifecycle.modeling.metrics import count_decisions
from lifecycle.modeling.pipelines import FeatureRecord, Recipe
from lifecycle.modeling.records import TuningResult
from lifecycle.modeling.task import task_for
from lifecycle.modeling.weights import read_weights, take_weights

Array = np.ndarray[Any, Any]
Folds = list[tuple[Array, Array]]
PACKAGES = ("numpy", "scikit-learn")  # whose versions every saved model depends on


def cross_validate(
    table: pd.DataFrame, declaration: dict[str, Any], folds: Folds, recipe: Recipe, threshold: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fit on each fold; return the scores (a row for each fold and side) and the out-of-fold predictions.

    Predictions have columns row (position), fold, target and probability, in the table's order. Folds that go forward
    in time leave out the oldest rows. Models are fitted with the table's weights; the scores count each row once, as those
    of the hold-out do.
    """
    task, features = task_for(declaration), declaration["features"]
    X, y = select_features(table, declaration), table[declaration["target"]].to_numpy()
    scores, predictions, weights = [], [], read_weights(table, declaration)
    for number, (fit, judge) in enumerate(folds):
        pipeline = recipe.fit(features, X.iloc[fit], y[fit], take_weights(weights, fit))
        for side, rows in (("train", fit), ("test", judge)):
            probability = task.predict(pipeline, X.iloc[rows])
            scores.append({"fold": number, "side": side, **task.score_fold(y[rows], probability, threshold)})
        predictions.append(pd.DataFrame({"row": judge, "fold": number, "target": y[judge], "probability": probability}))
    return pd.DataFrame(scores), pd.concat(predictions).sort_values("row", kind="stable", ignore_index=True)


def summarise_scores(scores: pd.DataFrame, folds: Folds) -> dict[str, dict[str, float]]:
    """Return the mean and standard deviation (n - 1) over the folds of each metric, for train and test.

    test_error is the standard error of the mean for test (see `estimate_fold_error`).
    """
    test = scores[scores["side"] == "test"]
    sides = scores.drop(columns="fold").groupby("side").agg(["mean", "std"])
    names = [name for name in scores.columns if name not in ("fold", "side")]
    return {
        name: {
            f"{side}_{short}": float(sides[name, statistic][side])
            for side in ("train", "test")
            for short, statistic in (("mean", "mean"), ("sd", "std"))
        }
        | {"test_error": estimate_fold_error(test[name].to_numpy(), folds)}
        for name in names
    }


def trace_costs(target: Array, probability: Array, cost: dict[str, float], steps: int = 99) -> pd.DataFrame:
    """Return the mean cost of a decision at each threshold between 0 and 1."""
    thresholds = np.linspace(0, 1, steps + 2)[1:-1]
    positives, negatives = np.sort(probability[target == 1]), np.sort(probability[target == 0])
    missed = np.searchsorted(positives, thresholds, side="left")
    alarmed = len(negatives) - np.searchsorted(negatives, thresholds, side="left")
    total = missed * cost["false_negative"] + alarmed * cost["false_positive"]
    return pd.DataFrame({"threshold": thresholds, "cost": total / len(target)})


def choose_method(calibration: str, compared: pd.DataFrame, hyperparameters: dict[str, Any]) -> str:
    """Return the calibration of params.yaml, or with `auto` the one chosen from `compare_calibrations`.

    Balanced classes shift the probabilities, so that they are always calibrated: raises ProjectError for `none` then.
    """
    balanced = balances_classes(hyperparameters)
    if calibration == "auto":
        return choose_calibration(compared.drop(index="none") if balanced else compared)
    if balanced and calibration == "none":
        raise ProjectError(
            f"{PARAMS}: train.calibration is none, but the best model has class_weight balanced, which shifts its probabilities: "
            "choose auto, sigmoid or isotonic, or take class_weight out of tune.families."
        )
    return calibration


def fit_model(
    table: pd.DataFrame, declaration: dict[str, Any], predictions: pd.DataFrame, recipe: Recipe, calibration: str
) -> CalibratedClassifier:
    """Fit the pipeline on every training row with its weight, and the calibrator on the out-of-fold predictions, unweighted."""
    features: list[FeatureRecord] = declaration["features"]
    X, y = select_features(table, declaration), table[declaration["target"]].to_numpy()
    pipeline = recipe.fit(features, X, y, read_weights(table, declaration))
    calibrator = Calibrator(calibration).fit(predictions["probability"].to_numpy(), predictions["target"].to_numpy())
    return CalibratedClassifier(pipeline, calibrator)


def describe_model(
    declaration: dict[str, Any],
    best: TuningResult,
    *,
    calibration: str,
    cost: dict[str, float],
    onset: str,
    files: dict[str, Path],
) -> dict[str, Any]:
    """Return the metadata that is stored with the model: what its use needs, and the hashes of its inputs.

    rule: which rows were held out from it. onset: since when its rows show what they do, after a concept drift.
    """
    return {
        "family": best.family,
        "hyperparameters": best.hyperparameters,
        "features": [feature["name"] for feature in declaration["features"]],
        "target": declaration["target"],
        "positive": declaration["positive"],
        "threshold": task_for(declaration).set_threshold(cost),
        "calibration": calibration,
        "cost": cost,
        "train_rows": declaration["split"]["train_rows"],
        "rule": declaration["split"]["rule"],
        "onset": onset or None,
        **({"weight": declaration["weight"]} if declaration.get("weight") else {}),
        **{f"{name}_sha256": hash_file(path) for name, path in files.items()},
        "versions": {package: version(package) for package in (*PACKAGES, *find_family(best.family).packages)},
    }


def tabulate_decisions(target: Array, probability: Array, threshold: float) -> pd.DataFrame:
    """Return the confusion matrix at the threshold as a table."""
    counts = count_decisions(target, probability, threshold)
    return pd.DataFrame(
        [[counts["tn"], counts["fp"]], [counts["fn"], counts["tp"]]],
        index=["actually negative", "actually positive"],
        columns=["predicted negative", "predicted positive"],
    )
