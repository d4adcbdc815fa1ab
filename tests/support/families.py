"""Quick hyperparameters for every family of models; the tests of all families cover a new one by a line here."""

from __future__ import annotations

from typing import Any

QUICK: dict[str, dict[str, Any]] = {
    "logistic": {"C": 1.0, "knots": 4},
    "forest": {"n_estimators": 10, "min_samples_leaf": 10},
    "hist_boosting": {"max_iter": 10, "min_samples_leaf": 10},
    "lightgbm": {"n_estimators": 10, "min_child_samples": 10},
    "xgboost": {"n_estimators": 10, "max_depth": 3},
}
ACCURACY = {"xgboost": 1e-6}  # of a compiled model, where it is not 1e-12: XGBoost computes in float32
