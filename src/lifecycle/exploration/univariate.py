"""How well a single column tells the classes apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from lifecycle.exploration.association import Kind

Series: TypeAlias = "pd.Series[Any]"
Array = np.ndarray[Any, Any]

FOLDS = 5  # for the rates of levels
PRIOR = 10.0  # rows at the overall rate that each level's rate is smoothed with


def measure_univariate_auc(frame: pd.DataFrame, kinds: Mapping[str, Kind], target: Array, seed: int) -> pd.DataFrame:
    """How well each column alone separates the classes (`target`: booleans, shape (rows,)), the best first.

    Columns: column, roc_auc (0.5 to 1), by. A number is judged by its order, in either direction, a category by its
    rate of positives in the other folds, either also by whether it is there at all: `by` says which told more, value or
    presence. Empty where one class alone is there.
    """
    rows = []
    if 0 < target.sum() < len(target):
        folds = np.random.default_rng(seed).permutation(len(target)) % FOLDS
        for name, kind in kinds.items():
            present = frame[name].notna().to_numpy()
            if kind == "numeric":
                score = frame[name].to_numpy(dtype="float64", na_value=np.nan)
                by_value = fold_auc(measure_auc(score[present], target[present]))
            else:
                by_value = max(0.5, measure_auc(rate_levels(frame[name], target, folds)[present], target[present]))
            by_presence = fold_auc(measure_auc(present.astype(float), target))
            rows.append((name, max(by_value, by_presence), "presence" if by_presence > by_value else "value"))
    table = pd.DataFrame(rows, columns=["column", "roc_auc", "by"])
    return table.sort_values("roc_auc", ascending=False, kind="stable", ignore_index=True)


def fold_auc(area: float) -> float:
    """The area in whichever direction separates."""
    return max(area, 1 - area)


def rate_levels(column: Series, target: Array, folds: Array) -> Array:
    """The smoothed rate of positives of each row's level, from the rows of the other folds alone: float64 (rows,).

    Micci-Barreca (2001, SIGKDD Explorations 3): a level seen in one row says nothing of it, so that many levels do not
    pass for knowledge of the answer.
    """
    codes = pd.factorize(column, use_na_sentinel=False)[0]
    cells = codes * FOLDS + folds
    size = FOLDS * (int(codes.max(initial=0)) + 1)
    rows, positives = (np.bincount(cells, minlength=size), np.bincount(cells, weights=target, minlength=size))
    others = rows.reshape(-1, FOLDS).sum(axis=1)[codes] - rows[cells]
    hits = positives.reshape(-1, FOLDS).sum(axis=1)[codes] - positives[cells]
    return np.asarray((hits + PRIOR * target.mean()) / (others + PRIOR))


def measure_auc(score: Array, target: Array) -> float:
    """The area under the ROC curve, ties half (Hanley & McNeil 1982, Radiology 143); 0.5 where a class is absent."""
    positives = int(target.sum())
    negatives = len(target) - positives
    if not positives or not negatives:
        return 0.5
    ranks = pd.Series(score).rank().to_numpy()
    return float((ranks[target].sum() - positives * (positives + 1) / 2) / (positives * negatives))
