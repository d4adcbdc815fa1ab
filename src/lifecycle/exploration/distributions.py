"""Numeric columns by class: medians, and histograms with bins that suit the values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_Bools = NDArray[np.bool_]
_Floats = NDArray[np.float64]

_HISTOGRAM_BINS = 30
_SKEWED = 12  # a column that reaches this many times its median is drawn on a logarithmic scale


def compare_medians(frame: pd.DataFrame, names: Sequence[str], positive: _Bools) -> pd.DataFrame:
    """Return the median of each numeric column with values, by class: column, positive_median, negative_median."""
    rows = []
    for name in names:
        values = frame[name].to_numpy(dtype="float64", na_value=np.nan)
        finite = np.isfinite(values)
        if finite.any():
            rows.append((name, _median_of(values[finite & positive]), _median_of(values[finite & ~positive])))
    return pd.DataFrame(rows, columns=["column", "positive_median", "negative_median"])


def _median_of(values: _Floats) -> float:
    """Return the median, NaN without values."""
    return float(np.median(values)) if len(values) else float("nan")


def count_bins(frame: pd.DataFrame, names: Sequence[str], positive: _Bools) -> pd.DataFrame:
    """Return histograms of numeric columns, with the same bins for both classes: column, left, right, positives, negatives."""
    parts = []
    for name in names:
        values = frame[name].to_numpy(dtype="float64", na_value=np.nan)
        finite = np.isfinite(values)
        if not finite.any():
            continue
        edges = _choose_bins(values[finite])
        hits = np.histogram(values[finite & positive], edges)[0]
        others = np.histogram(values[finite & ~positive], edges)[0]
        parts.append(
            pd.DataFrame(
                {"column": name, "left": edges[:-1], "right": edges[1:], "positives": hits, "negatives": others}
            )
        )
    columns = ["column", "left", "right", "positives", "negatives"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({name: [] for name in columns})


def _choose_bins(present: _Floats) -> _Floats:
    """Choose about HISTOGRAM_BINS bins of equal width, whole for whole numbers; a tail of 1 % that would squeeze the rest is left out.

    Positive numbers that reach SKEWED times their median get bins of equal ratio.
    """
    low, high = float(present.min()), float(present.max())
    first, median, last = (float(point) for point in np.quantile(present, (0.005, 0.5, 0.995)))
    whole = bool((present == np.round(present)).all())
    if low > 0 and last > _SKEWED * median and (not whole or median >= _HISTOGRAM_BINS):
        return np.geomspace(first, last, _HISTOGRAM_BINS + 1)
    if last > first and (high - low) > 1.5 * (last - first):
        low, high = first, last
    if whole:
        low, high = np.floor(low), np.ceil(high)
        width = max(1.0, np.ceil((high - low + 1) / _HISTOGRAM_BINS))
        return np.asarray(low - 0.5 + width * np.arange(np.ceil((high - low + 1) / width) + 1))
    if low == high:
        return np.array([low - 0.5, high + 0.5])
    return np.linspace(low, high, _HISTOGRAM_BINS + 1)
