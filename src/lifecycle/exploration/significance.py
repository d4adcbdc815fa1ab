"""Significance tests of rates by category, and the correction of p-values for their number."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lifecycle.exploration.binning import MISSING

_Floats = NDArray[np.float64]


def holm_pvalues(statistic: _Floats, freedom: _Floats) -> _Floats:
    """Return chi-square p-values (1 without a degree of freedom), adjusted for their number by Holm's method."""
    from scipy.special import gammaincc

    return adjust_holm(np.where(freedom > 0, gammaincc(np.maximum(freedom, 1) / 2, statistic / 2), 1.0))


def adjust_holm(pvalues: _Floats) -> _Floats:
    """Return p-values adjusted for their number by Holm's method, in their order (Holm 1979, Scand. J. Stat. 6)."""
    order = np.argsort(pvalues, kind="stable")
    adjusted = np.maximum.accumulate(np.minimum(pvalues[order] * np.arange(len(pvalues), 0, -1), 1.0))
    corrected = np.empty_like(pvalues)
    corrected[order] = adjusted
    return corrected


def column_pvalues(rates: pd.DataFrame) -> pd.Series[float]:
    """Return, for each column of rate_categories, the p-value of the hypothesis that all its categories have one rate.

    Pearson's chi-square test, corrected for the number of columns (Holm 1979, Scand. J. Stat. 6).
    """
    by_column = rates.groupby("column", sort=False)
    overall = by_column["positives"].transform("sum") / by_column["rows"].transform("sum")
    spread = rates["rows"] * overall * (1 - overall)
    deviation = ((rates["positives"] - rates["rows"] * overall) ** 2 / spread.where(spread > 0, 1.0)).to_numpy()
    statistic = pd.Series(deviation, dtype="float64").groupby(rates["column"].to_numpy(), sort=False).sum()
    freedom = np.asarray(by_column.size(), dtype=np.float64) - 1
    return pd.Series(holm_pvalues(statistic.to_numpy("float64"), freedom), index=statistic.index, dtype="float64")


def measure_trend(rates: pd.DataFrame) -> tuple[float, float]:
    """Test whether a rate rises or falls along ordered categories; return the slope, in rate per category, and its p-value.

    The test is that of Cochran and Armitage (Armitage 1955, Biometrics 11). Rows with a missing value do not count;
    returns (0, 1) if there is nothing to compare.
    """
    from scipy.special import erfc

    table = rates[rates["category"] != MISSING]
    rows, hits = table["rows"].to_numpy("float64"), table["positives"].to_numpy("float64")
    places = np.arange(len(table), dtype="float64")
    total, mean = rows.sum(), hits.sum() / max(rows.sum(), 1.0)
    centred = places - (rows @ places) / max(total, 1.0)
    spread = float(rows @ centred**2)
    if spread == 0 or mean in (0.0, 1.0):
        return 0.0, 1.0
    slope = float(centred @ hits) / spread
    z = abs(slope) * np.sqrt(spread / (mean * (1 - mean)))
    return slope, float(erfc(z / np.sqrt(2)))
