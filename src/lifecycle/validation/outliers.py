"""Outliers: Tukey's outer fences, and the rows beyond them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.contract import Column, Role

Array = np.ndarray[Any, Any]
OUTER = 3.0  # interquartile ranges between a quartile and Tukey's outer fence


def read_numbers(typed: pd.DataFrame, columns: Mapping[str, Column]) -> pd.DataFrame:
    """Return the numeric columns as float64, missing values as NaN."""
    numeric = [name for name, column in columns.items() if column.role is Role.NUMERIC]
    return pd.DataFrame(
        {name: typed[name].to_numpy(dtype="float64", na_value=np.nan) for name in numeric}, index=typed.index
    )


def measure_fences(numbers: pd.DataFrame, columns: Mapping[str, Column]) -> pd.DataFrame:
    """Measure Tukey's outer fences: one row for each numeric column, in the contract's order.

    Columns: column, lower, upper (3 interquartile ranges beyond the quartiles; Tukey 1977, Exploratory Data Analysis),
    policy (keep, clip, quarantine). A column with equal quartiles has no fences (NaN), as every value but the most common
    one would lie outside.
    """
    rows = [
        (name, *_compute_fences(values[np.isfinite(values)]), columns[str(name)].outliers)
        for name, values in ((name, numbers[name].to_numpy()) for name in numbers)
    ]
    return pd.DataFrame(rows, columns=["column", "lower", "upper", "policy"])


def count_beyond(numbers: pd.DataFrame, fences: pd.DataFrame) -> Array:
    """Count the numbers below and above each column's fences: int64 (columns, 2)."""
    counts = np.zeros((len(fences), 2), dtype=np.int64)
    for place, (name, lower, upper) in enumerate(zip(fences["column"], fences["lower"], fences["upper"], strict=True)):
        values = numbers[name].to_numpy()
        below, above = values < lower, values > upper
        counts[place] = [(below & np.isfinite(values)).sum(), (above & np.isfinite(values)).sum()]
    return counts


def _compute_fences(finite: Array) -> tuple[float, float]:
    """Compute Tukey's outer fences of finite numbers; NaN when the quartiles are equal or there are no numbers."""
    if not len(finite):
        return float("nan"), float("nan")
    first, third = (float(value) for value in np.quantile(finite, [0.25, 0.75]))
    if first == third:
        return float("nan"), float("nan")
    return first - OUTER * (third - first), third + OUTER * (third - first)
