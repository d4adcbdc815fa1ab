"""The area under the ROC curve: how often a positive row has a higher score than a negative one, ties counting half.

Scores are compared by their ranks (Hanley & McNeil 1982, Radiology 143). Rank sums are exact in float64, so that all
functions of this module return the same bits for the same rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import rankdata

_Array = np.ndarray[Any, Any]


def measure_roc_auc(scores: _Array, target: _Array) -> _Array:
    """Return the ROC AUC of `scores`, of shape (rows,) or (models, rows), whose last axis is that of `target`.

    `target` is boolean, or 0 and 1, of shape (rows,), and needs both classes.
    """
    positive = np.asarray(target) == 1
    positives = int(positive.sum())
    return convert_rank_sum(rankdata(scores, axis=-1)[..., positive].sum(axis=-1), positives, len(positive) - positives)


def convert_rank_sum(rank_sum: Any, positives: Any, negatives: Any) -> _Array:
    """Return the ROC AUC for the sum of the positive rows' mid-ranks, which begin at 1, and the rows of each class."""
    return np.asarray((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


def measure_counted_roc_auc(positives: _Array, negatives: _Array) -> _Array:
    """Return the ROC AUC for the rows of each class at each distinct score, ascending along the last axis."""
    below = np.cumsum(negatives, axis=-1) - negatives / 2
    return np.asarray((positives * below).sum(-1) / (positives.sum(-1) * negatives.sum(-1)))
