"""Univariate ROC AUC: how well a single column separates the classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from lifecycle.core.ranking import measure_roc_auc
from lifecycle.exploration.association import Kind

Series: TypeAlias = "pd.Series[Any]"
Array = np.ndarray[Any, Any]

_FOLDS = 5  # for the target rates of categories
_PRIOR = 10.0  # rows at the overall rate that smooth each category's rate


def measure_univariate_auc(frame: pd.DataFrame, kinds: Mapping[str, Kind], target: Array, seed: int) -> pd.DataFrame:
    """Measure how well each column alone separates the classes (`target`: booleans, shape (rows,)), the best first.

    Columns: column, roc_auc (0.5 to 1), by. A number ranks the rows in either direction; a category ranks
    them by its rate of positives in the other folds. Both are also ranked by whether the value is present: `by` says
    which of the two, value or presence, separates better. Empty if only one class occurs.
    """
    rows = []
    if 0 < target.sum() < len(target):
        folds = np.random.default_rng(seed).permutation(len(target)) % _FOLDS
        for name, kind in kinds.items():
            present = frame[name].notna().to_numpy()
            if kind == "numeric":
                score = frame[name].to_numpy(dtype="float64", na_value=np.nan)
                by_value = _fold_auc(_measure_auc(score[present], target[present]))
            else:
                by_value = max(
                    0.5, _measure_auc(_encode_target_rates(frame[name], target, folds)[present], target[present])
                )
            by_presence = _fold_auc(_measure_auc(present.astype(float), target))
            rows.append((name, max(by_value, by_presence), "presence" if by_presence > by_value else "value"))
    table = pd.DataFrame(rows, columns=["column", "roc_auc", "by"])
    return table.sort_values("roc_auc", ascending=False, kind="stable", ignore_index=True)


def _fold_auc(area: float) -> float:
    """Return the area in the direction that separates, at least 0.5."""
    return max(area, 1 - area)


def _encode_target_rates(column: Series, target: Array, folds: Array) -> Array:
    """Return the smoothed rate of positives of each row's category, from the rows of the other folds: float64 (rows,).

    Micci-Barreca (2001, SIGKDD Explorations 3): a row's own target does not enter its rate, so that a column
    with many categories is not mistaken for a leak.
    """
    codes = pd.factorize(column, use_na_sentinel=False)[0]
    cells = codes * _FOLDS + folds
    size = _FOLDS * (int(codes.max(initial=0)) + 1)
    rows, positives = (np.bincount(cells, minlength=size), np.bincount(cells, weights=target, minlength=size))
    others = rows.reshape(-1, _FOLDS).sum(axis=1)[codes] - rows[cells]
    hits = positives.reshape(-1, _FOLDS).sum(axis=1)[codes] - positives[cells]
    return np.asarray((hits + _PRIOR * target.mean()) / (others + _PRIOR))


def _measure_auc(score: Array, target: Array) -> float:
    """Return the area under the ROC curve, ties counted half (Hanley & McNeil 1982, Radiology 143); 0.5 without both classes."""
    if target.all() or not target.any():
        return 0.5
    return float(measure_roc_auc(score, target))
