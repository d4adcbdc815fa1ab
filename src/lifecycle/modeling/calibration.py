"""Calibrate probabilities with out-of-fold predictions, so that they match the observed rates."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

Array = np.ndarray[Any, Any]
_METHODS = ("none", "sigmoid", "isotonic")
_SLOPE = 1e-6  # of a step of the isotonic map
_LIMIT = 1e-6  # probabilities are kept this far from 0 and 1: a log loss stays finite


class Calibrator(BaseEstimator):  # type: ignore[misc]
    """A map from probability to probability: none, sigmoid (Platt 1999, on the log-odds) or isotonic (Zadrozny 2002).

    An isotonic map has steps. A slope of a millionth breaks their ties by the probability that went in, so that the ranking
    of rows is kept.
    """

    def __init__(self, method: str = "sigmoid") -> None:
        self.method = method

    def fit(self, probabilities: Array, target: Array) -> Self:
        """Fit the map to out-of-fold probabilities and their labels (0 or 1), both of shape (rows,)."""
        if self.method == "sigmoid":
            line = LogisticRegression(C=np.inf, max_iter=1000).fit(_to_log_odds(probabilities)[:, None], target)
            self.slope_, self.intercept_ = float(line.coef_[0, 0]), float(line.intercept_[0])
        elif self.method == "isotonic":
            steps = IsotonicRegression(out_of_bounds="clip").fit(probabilities, target)
            inner, levels = steps.X_thresholds_, steps.y_thresholds_
            self.knots_ = np.concatenate([[0.0], inner, [1.0]])
            level = np.concatenate([levels[:1], levels, levels[-1:]])
            self.levels_ = _LIMIT + (1 - 2 * _LIMIT - _SLOPE) * level + _SLOPE * self.knots_
        return self

    def predict(self, probabilities: Array) -> Array:
        """Return the calibrated probabilities, shape (rows,)."""
        if self.method == "sigmoid":
            log_odds = self.slope_ * _to_log_odds(probabilities) + self.intercept_
            return np.asarray(1 / (1 + np.exp(-log_odds)))
        if self.method == "isotonic":
            return np.asarray(np.clip(np.interp(probabilities, self.knots_, self.levels_), _LIMIT, 1 - _LIMIT))
        return np.asarray(probabilities, dtype="float64")


class CalibratedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A fitted classifier followed by a fitted calibrator; classes are 0 and 1."""

    def __init__(self, classifier: Any, calibrator: Calibrator) -> None:
        self.classifier = classifier
        self.calibrator = calibrator

    @property
    def classes_(self) -> Array:
        """The classes in the order of predict_proba's columns."""
        return np.array([0, 1])

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict_proba(self, X: pd.DataFrame) -> Array:
        """Return calibrated probabilities, shape (rows, 2)."""
        column = list(self.classifier.classes_).index(1)
        positive = self.calibrator.predict(self.classifier.predict_proba(X)[:, column])
        return np.column_stack([1 - positive, positive])

    def predict(self, X: pd.DataFrame) -> Array:
        """Return the more likely class, shape (rows,)."""
        return (self.predict_proba(X)[:, 1] >= 0.5).astype(int)


def _to_log_odds(probabilities: Array) -> Array:
    """Return log(p / (1 - p)), kept finite."""
    inside = np.clip(probabilities, _LIMIT, 1 - _LIMIT)
    return np.asarray(np.log(inside / (1 - inside)))


def compare_calibrations(probabilities: Array, target: Array, fold: Array) -> pd.DataFrame:
    """Return each method's log loss on folds that it was not fitted on, the simplest method first.

    `probabilities` are out-of-fold, `fold` numbers the fold of each row; all of shape (rows,). Columns: log_loss, and
    error, the standard error of its difference from the lowest one, row by row.
    """
    losses = {}
    for method in _METHODS:
        calibrated = np.empty(len(target))
        for number in np.unique(fold):
            judge = fold == number
            calibrated[judge] = (
                Calibrator(method).fit(probabilities[~judge], target[~judge]).predict(probabilities[judge])
            )
        inside = np.clip(calibrated, _LIMIT, 1 - _LIMIT)
        losses[method] = -np.log(np.where(target == 1, inside, 1 - inside))
    rows = pd.DataFrame(losses)
    means = rows.mean()
    differences = rows.sub(rows[means.idxmin()], axis=0)
    return pd.DataFrame({"log_loss": means, "error": differences.std() / np.sqrt(len(rows))})


def choose_calibration(compared: pd.DataFrame) -> str:
    """Return the simplest method whose log loss is within one standard error of the lowest (Breiman et al. 1984, 3.4.3)."""
    within = compared["log_loss"] - compared["log_loss"].min() <= compared["error"]
    return str(compared.index[within.to_numpy()][0])
