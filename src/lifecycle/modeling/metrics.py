"""Metrics of a probability of the positive class.

Everything is a function of how many rows of each class stand at each score (a Tally), so that a bootstrap replicate is
a draw of counts, whose time depends on the number of distinct scores, not of rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lifecycle.core.ranking import measure_counted_roc_auc

Array = np.ndarray[Any, Any]

_BINS = 10  # of the expected calibration error
_CELLS = 5_000  # distinct scores in a bootstrap; more are joined with their neighbours in quantile groups
TINY = float(np.finfo(np.float64).eps)  # keeps the log loss of a wrong certainty finite, as scikit-learn does
TITLES = {  # titles in tables, in their order
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC (average precision)",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "predicted_positive": "Share predicted positive",
    "cost": "Cost per row",
    "brier": "Brier score",
    "log_loss": "Log loss",
    "ece": "Calibration error (ten bins of equal width)",
    "ece_mass": "Calibration error (ten bins of equal size)",
}


@dataclass(frozen=True)
class Tally:
    """The number of rows of each class at each distinct score: three float64 arrays of shape (scores,), ascending."""

    score: Array
    positives: Array
    negatives: Array

    @property
    def rows(self) -> Array:
        """Rows at each score, shape (scores,)."""
        return self.positives + self.negatives


def tally_scores(target: Array, probability: Array) -> Tally:
    """Count both classes at each distinct probability.

    `target` is 0 or 1, `probability` within 0 and 1, both of shape (rows,). Raises ValueError otherwise, or
    when a class is absent, as a ranking cannot be measured then.
    """
    target, probability = np.asarray(target), np.asarray(probability, dtype=np.float64)
    if target.shape != probability.shape or target.ndim != 1:
        raise ValueError(f"target and probability need one shape (rows,), not {target.shape} and {probability.shape}")
    if not (np.isin(target, (0, 1)).all() and 0 in target and 1 in target):
        raise ValueError("the target needs both of its classes, as 0 and 1")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("probabilities need to be numbers from 0 to 1")
    score, place = np.unique(probability, return_inverse=True)
    positives = np.bincount(place, weights=target, minlength=len(score))
    return Tally(score, positives, np.bincount(place, minlength=len(score)) - positives)


def join_scores(tally: Tally, cells: int = _CELLS) -> Tally:
    """Return the tally with at most `cells` scores; neighbours are joined in quantile groups at their mean score."""
    if len(tally.score) <= cells:
        return tally
    rows, group = tally.rows, group_scores(tally, cells)
    total = np.bincount(group, weights=rows)
    return Tally(
        np.bincount(group, weights=rows * tally.score) / total,
        np.bincount(group, weights=tally.positives),
        np.bincount(group, weights=tally.negatives),
    )


def group_scores(tally: Tally, cells: int = _CELLS) -> Array:
    """Return the cell of each score: its own, or that of its quantile group where there are more than so many."""
    if len(tally.score) <= cells:
        return np.arange(len(tally.score))
    rows = tally.rows
    group = ((np.cumsum(rows) - rows / 2) * (cells / rows.sum())).astype(np.int64)
    return np.asarray(np.unique(group, return_inverse=True)[1])


def measure_tally(
    tally: Tally, threshold: float, cost: Mapping[str, float], bins: Tally | None = None
) -> dict[str, Array]:
    """Return every metric of a tally, whose counts may have leading axes (replicates), as arrays of those axes' shape.

    roc_auc: area under the ROC curve, ties half (Hanley & McNeil 1982). pr_auc: average precision, which does not
    interpolate (Davis & Goadrich 2006). brier, log_loss: means over rows. ece: expected calibration error in ten bins
    of equal width (Naeini et al. 2015); ece_mass: in ten bins of equal size, as `bins` (this tally if none) has them.
    accuracy, precision, recall, f1, predicted_positive (a share) and cost (per row) are those at the threshold. An
    undefined ratio is NaN.
    """
    positives, negatives, score = tally.positives, tally.negatives, tally.score
    total_positive, total_negative = positives.sum(-1), negatives.sum(-1)
    rows = total_positive + total_negative
    predicted = score >= threshold
    tp, fp = positives[..., predicted].sum(-1), negatives[..., predicted].sum(-1)
    fn, tn = total_positive - tp, total_negative - fp
    caught = np.cumsum(positives[..., ::-1], axis=-1)
    reached = np.cumsum((positives + negatives)[..., ::-1], axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = np.where(reached > 0, caught / reached, 0.0)
        return {
            "roc_auc": measure_counted_roc_auc(positives, negatives),
            "pr_auc": (positives[..., ::-1] * exact).sum(-1) / total_positive,
            "accuracy": (tp + tn) / rows,
            "precision": tp / (tp + fp),
            "recall": tp / total_positive,
            "f1": 2 * tp / (2 * tp + fp + fn),
            "predicted_positive": (tp + fp) / rows,
            "cost": (fp * cost["false_positive"] + fn * cost["false_negative"]) / rows,
            "brier": (positives @ (1 - score) ** 2 + negatives @ score**2) / rows,
            "log_loss": -(positives @ np.log(np.maximum(score, TINY)) + negatives @ np.log(np.maximum(1 - score, TINY)))
            / rows,
            "ece": measure_ece(tally, cut_width(score)),
            "ece_mass": measure_ece(tally, cut_mass(bins or tally)),
        }


def cut_width(score: Array) -> Array:
    """Return the bin (0 to 9) of each score, ten of equal width."""
    return np.minimum((score * _BINS).astype(np.int64), _BINS - 1)


def cut_mass(tally: Tally) -> Array:
    """Return the bin (0 to 9) of each score of a tally without leading axes; bins have about equal size, ties share one."""
    rows = tally.rows
    return np.asarray((np.cumsum(rows) - rows / 2) * (_BINS / rows.sum())).astype(np.int64)


def measure_ece(tally: Tally, bin_of: Array) -> Array:
    """Return the mean over rows of |observed rate - mean probability| of the row's bin (Naeini et al. 2015, AAAI)."""
    return np.asarray(np.abs(measure_gaps(tally, bin_of)).sum(-1))


def measure_gaps(tally: Tally, bin_of: Array) -> Array:
    """Return the observed rate less the mean probability of each bin, times its share of the rows; shape (..., bins)."""
    member = (bin_of[:, None] == np.arange(_BINS)).astype(np.float64)
    gap = (tally.positives - tally.rows * tally.score) @ member
    return np.asarray(gap / tally.rows.sum(-1)[..., None])


def count_decisions(target: Array, probability: Array, threshold: float) -> dict[str, int]:
    """Return the confusion matrix at the threshold: tn, fp, fn, tp."""
    predicted, actual = np.asarray(probability) >= threshold, np.asarray(target) == 1
    return {
        "tn": int((~predicted & ~actual).sum()),
        "fp": int((predicted & ~actual).sum()),
        "fn": int((~predicted & actual).sum()),
        "tp": int((predicted & actual).sum()),
    }
