"""Interactions: pairs of columns whose joint effect on the target differs from the sum of their separate effects."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lifecycle.exploration.binning import Binned
from lifecycle.exploration.significance import holm_pvalues

_Floats = NDArray[np.float64]
_Bools = NDArray[np.bool_]

_MAX_ITERATIONS = 1000  # of the proportional fitting; two nearly redundant columns need hundreds
_TOLERANCE = 1e-7  # of the fitted counts, as a share of all rows


def find_interactions(binned: Mapping[str, Binned], positive: _Bools) -> pd.DataFrame:
    """Measure the interaction of every pair of columns.

    Returns the columns one, other, strength, statistic, freedom and p, the strongest interaction first.

    For a pair the model of no interaction is additive on the logit: logit P(positive) = a[category of one] +
    b[category of other]. `strength` is what that leaves unexplained: the root mean square, over rows, of a cell's rate
    minus its fitted rate, less the part expected by chance (a rate, 0..1). `statistic` is the likelihood ratio G2 against the
    additive model, `freedom` its degrees of freedom, and `p` its chi-square tail, corrected for the number of pairs
    (Holm 1979, Scand. J. Stat. 6). The fit is iterative proportional fitting of the no-three-way-interaction model
    (Bishop, Fienberg and Holland 1975, Discrete Multivariate Analysis, ch. 3), of all pairs at once. `positive` is bool
    (rows,). Rows that lack either value do not count.
    """
    pairs = list(combinations([name for name in binned if len(binned[name].labels) > 1], 2))
    columns = ["one", "other", "strength", "statistic", "freedom", "p"]
    if not pairs:
        return pd.DataFrame({name: pd.Series(dtype="str" if name in columns[:2] else "float64") for name in columns})
    widest = max(len(category.labels) for category in binned.values())
    observed = np.stack([_count_pair(binned[one], binned[other], positive, widest) for one, other in pairs])
    fitted = _fit_additive(observed)
    strength, statistic, freedom = _measure_fit(observed, fitted)
    table = pd.DataFrame(pairs, columns=columns[:2])
    table = table.assign(strength=strength, statistic=statistic, freedom=freedom, p=holm_pvalues(statistic, freedom))
    return table.sort_values("strength", ascending=False, kind="stable", ignore_index=True)


def tabulate_pair(one: Binned, other: Binned, positive: _Bools) -> pd.DataFrame:
    """Tabulate the cells of a pair that have rows: one, other (labels, ordered categories), rows, positives, rate, expected.

    `expected` is the additive model's rate.
    """
    observed = _count_pair(one, other, positive, max(len(one.labels), len(other.labels), 1))
    rows, fitted = observed.sum(axis=-1), _fit_additive(observed[None])[0]
    first, second = np.nonzero(rows)
    counts, hits = rows[first, second], observed[first, second, 1]
    return pd.DataFrame(
        {
            "one": pd.Categorical([one.labels[code] for code in first], list(one.labels), ordered=True),
            "other": pd.Categorical([other.labels[code] for code in second], list(other.labels), ordered=True),
            "rows": counts.astype("int64"),
            "positives": hits.astype("int64"),
            "rate": hits / counts,
            "expected": fitted[first, second, 1] / counts,
        }
    )


def _count_pair(one: Binned, other: Binned, positive: _Bools, width: int) -> _Floats:
    """Count the rows of each cell by class, (width, width, 2), of the rows that have both values; 0 beyond the labels."""
    both = (one.codes >= 0) & (other.codes >= 0)
    joint = (one.codes[both].astype(np.int64) * width + other.codes[both]) * 2 + positive[both]
    return np.bincount(joint, minlength=width * width * 2).reshape(width, width, 2).astype(np.float64)


def _fit_additive(observed: _Floats) -> _Floats:
    """Return the counts (pairs, width, width, 2) that the additive logit model expects, by iterative proportional fitting."""
    cells = observed.sum(axis=3, keepdims=True)
    total = np.maximum(cells.sum(axis=(1, 2, 3)), 1.0)
    fitted = np.repeat(cells / 2, 2, axis=3)
    margins = {axis: observed.sum(axis=axis, keepdims=True) for axis in (2, 1)}
    for _ in range(_MAX_ITERATIONS):
        before = fitted
        for axis, margin in margins.items():
            fitted = _scale_to(fitted, margin, axis)
        fitted = _scale_to(fitted, cells, 3)
        if (np.abs(fitted - before).max(axis=(1, 2, 3)) / total).max() < _TOLERANCE:
            break
    return fitted


def _scale_to(fitted: _Floats, margin: _Floats, axis: int) -> _Floats:
    """Scale the counts so that their sums over `axis` equal the margin."""
    sums = fitted.sum(axis=axis, keepdims=True)
    return np.asarray(fitted * np.divide(margin, sums, out=np.zeros_like(margin), where=sums > 0))


def _measure_fit(observed: _Floats, fitted: _Floats) -> tuple[_Floats, _Floats, _Floats]:
    """Return strength, G2 and degrees of freedom of each pair (pairs,); see find_interactions."""
    rows = observed.sum(axis=3)
    filled = rows > 0
    safe = np.where(filled, rows, 1.0)
    rate, expected = observed[..., 1] / safe, fitted[..., 1] / safe
    ratio = np.divide(observed, fitted, out=np.ones_like(observed), where=(observed > 0) & (fitted > 0))
    statistic = np.maximum(2 * (observed * np.log(ratio)).sum(axis=(1, 2, 3)), 0.0)
    freedom = filled.sum(axis=(1, 2)) - _count_effects(filled)
    variance = np.where(filled, expected * (1 - expected), 0.0).sum(axis=(1, 2)) / np.maximum(
        filled.sum(axis=(1, 2)), 1
    )
    left = (rows * (rate - expected) ** 2).sum(axis=(1, 2)) - freedom * variance
    strength = np.sqrt(np.maximum(left, 0.0) / np.maximum(rows.sum(axis=(1, 2)), 1.0))
    return np.where(freedom > 0, strength, 0.0), statistic, freedom.astype(np.float64)


def _count_effects(filled: _Bools) -> NDArray[np.int64]:
    """Count the effects that the additive model can identify from the cells with rows: the rank of its design matrix."""
    width = filled.shape[1]
    one, other = np.divmod(np.arange(width * width), width)
    design = np.concatenate([np.eye(width)[one], np.eye(width)[other]], axis=1)
    return np.asarray(np.linalg.matrix_rank(filled.reshape(len(filled), -1, 1) * design), dtype=np.int64)
