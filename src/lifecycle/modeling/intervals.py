"""Intervals that keep their level with few cases: Student's t on a scale without bounds, Wilson's and Newcombe's."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri, stdtrit

Array = np.ndarray[Any, Any]
Estimate = dict[str, float]  # value, low, high; and p for a test

LEVEL = 0.95  # of every interval


def count_cases(target: Array, entities: Array | None = None) -> float:
    """Return how many independent cases the rarer class has: its rows, or its entities by their effective number.

    Entities of unequal size count for less than their number, (Σ n)² / Σ n² (Kish 1965; Carter, Schnepel & Steigerwald
    2017, Review of Economics and Statistics 99). target: 0 or 1, shape (rows,); entities: from 0, shape (rows,).
    """
    actual = np.asarray(target) == 1
    if entities is None:
        return float(min(actual.sum(), (~actual).sum()))
    return min(count_effective(np.bincount(entities[rows])) for rows in (actual, ~actual))


def count_effective(sizes: Array) -> float:
    """Return the effective number of entities of these sizes, which is less than their number where the sizes differ."""
    sizes = np.asarray(sizes, np.float64)
    return float(sizes.sum() ** 2 / max((sizes**2).sum(), 1.0))


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


def bound_draws(value: Any, draws: Array, cases: float) -> tuple[Array, Array]:
    """Return the interval of values, shape (...), from their bootstrap draws, shape (replicates, ...).

    cases: see `count_cases`. Each end is that of Student's interval by the draws' deviation, or of the expanded percentile
    interval where that is further out (Hesterberg 2015, The American Statistician 69): few cases make a deviation too small, and
    draws of few cases that differ much lean to one side.
    """
    errors = float(widen_reach(max(cases, 2.0), LEVEL))
    reach, tail = errors * draws.std(axis=0, ddof=1), float(ndtr(-errors))
    first, last = np.quantile(draws, [tail, 1 - tail], axis=0)
    return np.minimum(value - reach, first), np.maximum(value + reach, last)


def estimate_draws(value: float, draws: Array, cases: float) -> Estimate:
    """Return one value with the interval of `bound_draws`."""
    low, high = bound_draws(value, draws, cases)
    return {"value": float(value), "low": float(low), "high": float(high)}


def bound_share(hits: Any, rows: Any, z: float | None = None) -> tuple[Array, Array]:
    """Return Wilson's interval of a proportion `hits` / `rows` (Wilson 1927, JASA 22); from 0 to 1 without rows."""
    z = float(ndtri((1 + LEVEL) / 2)) if z is None else z
    hits, rows = np.asarray(hits, np.float64), np.asarray(rows, np.float64)
    middle, spread = hits + z * z / 2, z * np.sqrt(hits * (1 - hits / np.maximum(rows, 1)) + z * z / 4)
    return np.maximum((middle - spread) / (rows + z * z), 0.0), np.minimum((middle + spread) / (rows + z * z), 1.0)


def bound_gap(hits: tuple[float, float], rows: tuple[float, float], pairs: int = 1) -> Estimate:
    """Return the difference of two proportions with Newcombe's interval (1998, Stat. Med. 17, method 10).

    With `pairs` the interval holds for the most extreme of so many pairs (Bonferroni).
    """
    z = float(ndtri(1 - (1 - LEVEL) / 2 / pairs))
    first, second = (hit / row for hit, row in zip(hits, rows, strict=True))
    low, high = bound_share(np.array(hits), np.array(rows), z)
    value = first - second
    return {
        "value": value,
        "low": float(value - np.hypot(first - low[0], high[1] - second)),
        "high": float(value + np.hypot(high[0] - first, second - low[1])),
    }


def bound_auc(area: Any, positives: Any, negatives: Any, inflation: Any = 1.0) -> tuple[Array, Array]:
    """Return Newcombe's interval of a ROC AUC (2006, Stat. Med. 25, method 5) as arrays of the inputs' shape.

    It needs only the area and the two counts, and does not collapse when a small group is ranked perfectly. inflation: so
    many times fewer rows count, at least one of each class.
    """
    counts = (np.maximum(np.asarray(count, np.float64) / inflation, 1.0) for count in (positives, negatives))
    area, m, n = np.broadcast_arrays(np.asarray(area, np.float64), *counts)
    z = float(ndtri((1 + LEVEL) / 2))

    def lies_outside(theta: Array) -> Array:
        middle = (m + n) / 2
        shape = 2 * middle - 1 - (3 * middle - 3) / ((2 - theta) * (1 + theta))
        return np.asarray((area - theta) ** 2 > z * z * theta * (1 - theta) * shape / (m * n), dtype=bool)

    bounds = []
    for end in (0.0, 1.0):
        outer, inner = np.full(area.shape, end), area.copy()
        for _ in range(50):
            middle = (outer + inner) / 2
            outside = lies_outside(middle)
            outer, inner = np.where(outside, middle, outer), np.where(outside, inner, middle)
        bounds.append(np.where(np.isfinite(area), inner, np.nan))
    return bounds[0], bounds[1]
