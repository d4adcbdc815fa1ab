"""The records that tuning and training write."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from lifecycle.core.records import Frozen
from lifecycle.modeling.backtest import Backtest
from lifecycle.modeling.learning_curve import LearningCurve
from lifecycle.modeling.weak_slices import Suspect


class TuningResult(Frozen):
    """The best trial of a study, and the best score of each family; `importance` is that of each hyperparameter."""

    family: str
    hyperparameters: dict[str, Any]
    roc_auc: float
    trial: int
    trials: int
    pruned: int
    families: dict[str, float]
    importance: dict[str, float] = Field(default_factory=dict)

    def describe_hyperparameters(self) -> str:
        """Return the hyperparameters as text, numbers with four digits."""
        return ", ".join(
            f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}"
            for name, value in self.hyperparameters.items()
        )


class FoldSummary(Frozen):
    """The mean and the standard deviation of a metric over the folds, on the rows of the fit and on the others."""

    train_mean: float
    train_sd: float
    test_mean: float
    test_sd: float
    test_error: float


class TrainingReport(Frozen):
    """What cross-validation found (`cv` by metric), the log loss of each calibration, the decisions, and the slices that are suspected.

    The suspects of `weak_slices` stood out in a search; the evaluation tests them on the hold-out.
    """

    model: str
    cv: dict[str, FoldSummary]
    log_loss: dict[str, float]
    calibration: str
    threshold: float
    weak_slices: list[Suspect]
    learning_curve: LearningCurve
    backtest: Backtest | None
