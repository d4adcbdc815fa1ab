"""Quick hyperparameters for every family of models; the tests of all families cover a new one by a line here."""

from __future__ import annotations

from typing import Any

QUICK: dict[str, dict[str, Any]] = {
    "logistic": {"C": 1.0, "knots": 4},
    "forest": {"n_estimators": 10, "min_samples_leaf": 10},
    "hist_boosting": {"max_iter": 10, "min_samples_leaf": 10},
}
