"""The learning curve: how good a recipe is when it is fitted on fewer rows, and whether more rows would help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from lifecycle.core.records import Frozen
from lifecycle.modeling.comparisons import estimate_fold_error
from lifecycle.modeling.encoders import select_features
from lifecycle.modeling.entities import NO_MOMENT, find_entities, find_feature_keys
from lifecycle.modeling.intervals import LEVEL
from lifecycle.modeling.metrics import Array
from lifecycle.modeling.pipelines import Recipe
from lifecycle.modeling.split import Folds
from lifecycle.modeling.task import task_for
from lifecycle.modeling.weights import read_weights, take_weights
from lifecycle.validation.sampling import scramble

_FORWARD = ("time", "time_group")  # strategies in which a fold is fitted on older rows
_MIN_CLASS = 20  # rows of each class that a fold is fitted on, at least


class LearningPoint(Frozen):
    """The mean ROC AUC over the folds for a share of each fold's rows, its standard error, and the rows of a fold."""

    share: float
    rows: int
    roc_auc: float
    error: float


class Area(Frozen):
    """A ROC AUC, or a difference of two, with its 95% interval."""

    value: float
    low: float
    high: float


class LearningCurve(Frozen):
    """The points of the curve, the smallest share first, and what its last step gained; without a step the gain is None."""

    points: list[LearningPoint]
    gain: Area | None


def shrink_folds(table: pd.DataFrame, declaration: Mapping[str, Any], folds: Folds, share: float, seed: int) -> Folds:
    """Return the folds with about a share of the rows that each is fitted on; the rows that it is judged on stay.

    A smaller share is part of a larger one. The rows of an entity stay together where an id repeats; in folds that go
    forward in time the newest rows are kept, as in a table whose history is shorter, and otherwise rows are drawn with the
    classes' shares.
    """
    target = table[declaration["target"]].to_numpy()
    entities = find_entities(table, declaration)
    forward = declaration["split"]["strategy"] in _FORWARD
    units = np.arange(len(table)) if entities is None else entities
    count = int(units.max()) + 1
    order = scramble(np.arange(count, dtype=np.uint64), seed)
    moments = find_feature_keys(table, declaration).moments if forward else None
    if moments is not None:
        newest = np.full(count, NO_MOMENT)
        np.maximum.at(newest, units, moments)
        ranked = np.lexsort((order, newest))[::-1]
    else:
        ranked = np.argsort(order, kind="stable")
    place = np.empty(count, dtype=np.int64)
    place[ranked] = np.arange(count)
    drawn = entities is None and moments is None
    smaller = []
    for fit, judge in folds:
        parts = [fit[target[fit] == code] for code in (0, 1)] if drawn else [fit]
        kept = np.concatenate([_take_first(part, place[units[part]], share) for part in parts])
        smaller.append((fit[np.isin(fit, kept)], judge))
    return smaller


def _take_first(rows: Array, place: Array, share: float) -> Array:
    """Return about a share of the rows, the lowest places first; rows of one place stay together."""
    ordered = np.argsort(place, kind="stable")
    last = place[ordered][max(round(share * len(rows)), 1) - 1]
    return np.asarray(rows[place <= last])


def trace_learning_curve(
    table: pd.DataFrame,
    declaration: Mapping[str, Any],
    folds: Folds,
    recipe: Recipe,
    shares: Sequence[float],
    whole: Array,
    seed: int,
) -> LearningCurve:
    """Return the learning curve of a recipe, which keeps its hyperparameters, within the folds of the cross-validation.

    whole: the ROC AUC of each fold on all of its rows, shape (folds,), which is not measured again. Shares that leave a fold
    fewer than 20 rows of a class are left out. Errors are those of `estimate_fold_error` (Nadeau & Bengio 2003, Machine
    Learning 52); the gain compares all rows with the largest share, in pairs, by their corrected t test.
    """
    task, features = task_for(declaration), declaration["features"]
    X, y = select_features(table, declaration), table[declaration["target"]].to_numpy()
    weights = read_weights(table, declaration)
    measured: list[tuple[float, Folds, Array]] = []
    for share in sorted(set(shares)):
        smaller = shrink_folds(table, declaration, folds, share, seed)
        if min(np.bincount(y[fit], minlength=2).min() for fit, _ in smaller) < _MIN_CLASS:
            continue
        areas = [
            task.score(
                y[judge],
                task.predict(recipe.fit(features, X.iloc[fit], y[fit], take_weights(weights, fit)), X.iloc[judge]),
            )
            for fit, judge in smaller
        ]
        measured.append((share, smaller, np.array(areas)))
    measured.append((1.0, folds, whole))
    points = [
        LearningPoint(
            share=share,
            rows=round(float(np.mean([len(fit) for fit, _ in parts]))),
            roc_auc=float(areas.mean()),
            error=estimate_fold_error(areas, parts),
        )
        for share, parts, areas in measured
    ]
    return LearningCurve(
        points=points, gain=_measure_gain(whole - measured[-2][2], folds) if len(measured) > 1 else None
    )


def _measure_gain(differences: Array, folds: Folds) -> Area:
    """Return the mean of paired differences over the folds with its interval."""
    value, error = float(differences.mean()), estimate_fold_error(differences, folds)
    reach = float(stdtrit(len(folds) - 1, (1 + LEVEL) / 2)) * error
    return Area(value=value, low=value - reach, high=value + reach)
