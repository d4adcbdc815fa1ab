"""Results of tuning for tests."""

from __future__ import annotations

from typing import Any

from lifecycle.modeling.records import TuningResult


def make_result(family: str, hyperparameters: dict[str, Any]) -> TuningResult:
    """Return the result of a study of one trial."""
    return TuningResult(
        family=family, hyperparameters=hyperparameters, roc_auc=0.8, trial=0, trials=1, pruned=0, families={family: 0.8}
    )
