"""Intervals from bootstrap draws that keep their level with few cases: Student's t, on a scale without bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit, logit, stdtrit

Array = np.ndarray[Any, Any]


def count_cases(target: Array, entities: Array | None = None) -> float:
    """Return how many independent cases the rarer class has: its rows, or its entities by their effective number.

    Entities of unequal size count for less than their number, (Σ n)² / Σ n² (Kish 1965; Carter, Schnepel & Steigerwald
    2017, Review of Economics and Statistics 99). target: 0 or 1, shape (rows,); entities: from 0, shape (rows,).
    """
    actual = np.asarray(target) == 1
    if entities is None:
        return float(min(actual.sum(), (~actual).sum()))
    counts = [np.bincount(entities[rows]).astype(np.float64) for rows in (actual, ~actual)]
    return float(min(count.sum() ** 2 / max((count**2).sum(), 1.0) for count in counts))


def widen_reach(cases: Any, level: float) -> Array:
    """Return by how many standard errors an interval reaches to either side, when the error is estimated from so many cases.

    This is Student's t with cases - 1 degrees of freedom, and the factor by which a bootstrap understates a standard error
    (Efron & Tibshirani 1993, 5.2). Infinite below two cases.
    """
    cases = np.asarray(cases, np.float64)
    freedom = np.maximum(cases - 1, 1e-9)
    with np.errstate(over="ignore", invalid="ignore"):
        reach = stdtrit(np.maximum(freedom, 0.5), (1 + level) / 2) * np.sqrt(cases / freedom)
    return np.where(cases >= 2, reach, np.inf)


def bound_estimate(value: float, error: float, cases: float, level: float, *, share: bool) -> tuple[float, float]:
    """Return the interval of a value with a standard error that was estimated from so many cases; NaN below two cases.

    share: the value is from 0 to 1; its interval is symmetric on the scale of the log-odds, so that it stays within and leans as
    the value's distribution does (Agresti 2013, Categorical Data Analysis, 3.1.6).
    """
    reach = float(widen_reach(cases, level)) * error
    if not np.isfinite(reach):
        return np.nan, np.nan
    if not share:
        return max(0.0, value - reach), value + reach
    middle, half = float(logit(value)), reach / (value * (1 - value))
    return float(expit(middle - half)), float(expit(middle + half))
