"""How strongly columns go together, on one scale from 0 to 1, whatever their kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lifecycle.core.errors import ProjectError

Kind = Literal["numeric", "categorical"]
Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

MAX_CELLS = 1_000_000  # cells of a contingency table up to which it is counted densely


def associate(frame: pd.DataFrame, kinds: Mapping[str, Kind], *, ranks: bool = True) -> pd.DataFrame:
    """The association of each pair of columns: a square frame of float64, 0 (none) to 1, in the order of `kinds`.

    Two numeric columns: |Spearman's rho|; two categorical ones: Cramer's V; one of each: the correlation ratio of the
    ranks. V and the ratio are corrected for chance, so that many levels do not look strong. Without `ranks`,
    |Pearson's r| and the ratio of the values themselves. A pair is judged on the rows that have both (a number's rank
    is that among all rows that have it); a constant or empty column goes with nothing; the diagonal is 1. Booleans are
    categorical. Raises ProjectError for a column that the frame has not, ValueError for an unknown kind.
    """
    check_kinds(frame, kinds)
    names = list(kinds)
    numeric = [name for name in names if kinds[name] == "numeric"]
    categorical = [name for name in names if kinds[name] == "categorical"]
    values = read_numbers(frame, numeric, ranks=ranks)
    codes = {name: read_codes(frame[name]) for name in categorical}

    square = pd.DataFrame(np.eye(len(names)), index=names, columns=names)
    correlations = np.abs(correlate(values))
    np.fill_diagonal(correlations, 1.0)
    square.loc[numeric, numeric] = correlations
    for position, one in enumerate(categorical):
        ratios = [measure_ratio(codes[one], values[:, index]) for index in range(len(numeric))]
        square.loc[one, numeric] = ratios
        square.loc[numeric, one] = ratios
        for other in categorical[position + 1 :]:
            square.loc[one, other] = square.loc[other, one] = measure_cramer(codes[one], codes[other])
    return square.clip(0.0, 1.0)


def associate_with(frame: pd.DataFrame, kinds: Mapping[str, Kind], target: pd.Series[Any]) -> pd.Series[float]:
    """The association of each column with a categorical `target`, strongest first (ties in the order of `kinds`).

    The measures of `associate` on ranks, without the square of all pairs: float64 from 0 to 1, indexed by column.
    """
    check_kinds(frame, kinds)
    classes = read_codes(target)
    found = {
        name: measure_ratio(classes, read_numbers(frame, [name], ranks=True)[:, 0])
        if kind == "numeric"
        else measure_cramer(classes, read_codes(frame[name]))
        for name, kind in kinds.items()
    }
    return pd.Series(found, dtype="float64").sort_values(ascending=False, kind="stable")


def check_kinds(frame: pd.DataFrame, kinds: Mapping[str, Kind]) -> None:
    """Refuse a column that the frame has not (ProjectError) and an unknown kind (ValueError)."""
    for name, kind in kinds.items():
        if name not in frame.columns:
            raise ProjectError(f"The table has no column {name!r}; it has {list(frame.columns)}.")
        if kind not in ("numeric", "categorical"):
            raise ValueError(f"column {name!r}: kind is 'numeric' or 'categorical', not {kind!r}")


def read_numbers(frame: pd.DataFrame, names: list[str], *, ranks: bool) -> Floats:
    """The columns as float64 (rows, columns), absent and infinite values as NaN; with `ranks`, mean ranks from 1."""
    values = frame[names].astype("float64").replace([np.inf, -np.inf], np.nan)
    return (values.rank() if ranks else values).to_numpy("float64")


def read_codes(column: pd.Series[Any]) -> Codes:
    """The levels as int64 codes from 0, in the order of their first appearance; absent is -1."""
    return np.asarray(pd.factorize(column)[0], dtype=np.int64)


def correlate(values: Floats) -> Floats:
    """Pearson's r of each pair of columns (k, k) over the rows that have both; 0 where a column is constant there."""
    present = np.isfinite(values)
    counts = np.maximum(present.sum(axis=0), 1)
    centre = np.where(present, values, 0.0).sum(axis=0) / counts
    filled = np.where(present, values - centre, 0.0)  # centred first, or the sums below would cancel
    scale = np.sqrt((filled**2).sum(axis=0) / counts)
    filled = filled / np.where(scale > 0, scale, 1.0)
    mask = present.astype(np.float64)
    rows = np.maximum(mask.T @ mask, 1.0)
    sums, squares = filled.T @ mask, (filled**2).T @ mask
    covariance = filled.T @ filled - sums * sums.T / rows
    variance = np.maximum(squares - sums**2 / rows, 0.0)
    variance[variance < 1e-9 * rows] = 0.0  # what rounding leaves of a constant
    bottom = np.sqrt(variance * variance.T)
    return np.asarray(np.divide(covariance, bottom, out=np.zeros_like(bottom), where=bottom > 0))


def measure_cramer(one: Codes, other: Codes) -> float:
    """Cramer's V of two columns of codes (-1: absent), corrected for chance (Bergsma 2013, J. Korean Stat. Soc. 42)."""
    both = (one >= 0) & (other >= 0)
    one, other = one[both], other[both]
    rows = len(one)
    first, second = np.bincount(one), np.bincount(other)
    height, width = int((first > 0).sum()), int((second > 0).sum())
    if min(height, width) < 2:
        return 0.0
    cells, counts = count_cells(one, other, len(second))
    expected = first[cells // len(second)] * (second[cells % len(second)] / rows)
    phi2 = float((counts**2 / expected).sum()) / rows - 1.0
    phi2 = max(0.0, phi2 - (height - 1) * (width - 1) / (rows - 1))
    height_, width_ = (size - (size - 1) ** 2 / (rows - 1) for size in (height, width))
    least = min(height_, width_) - 1
    return float(np.sqrt(min(1.0, phi2 / least))) if least > 0 else 0.0


def count_cells(one: Codes, other: Codes, width: int) -> tuple[Codes, Codes]:
    """The cells (one x width + other) that occur, and their counts; never a table larger than the rows or MAX_CELLS."""
    joint = one * width + other
    if len(joint) and int(joint.max()) >= MAX_CELLS:
        cells, counts = np.unique(joint, return_counts=True)
        return cells, counts
    table = np.bincount(joint)
    cells = np.flatnonzero(table)
    return cells, table[cells]


def measure_ratio(codes: Codes, values: Floats) -> float:
    """The correlation ratio of numbers by level, corrected for chance: the root of Kelley's epsilon squared.

    Kelley 1935, PNAS 21. On ranks its square is (H - k + 1) / (n - k) of the Kruskal-Wallis H. Rows that lack a level
    (-1) or a number do not count.
    """
    both = (codes >= 0) & np.isfinite(values)
    codes, values = codes[both], values[both]
    rows = len(codes)
    counts = np.bincount(codes)
    levels = int((counts > 0).sum())
    if levels < 2 or rows <= levels:
        return 0.0
    centred = values - values.mean()
    total = float(centred @ centred)
    if total <= 1e-12 * rows * float(np.abs(values).max()) ** 2:
        return 0.0
    sums = np.bincount(codes, weights=centred)
    between = float((sums**2 / np.maximum(counts, 1)).sum())
    corrected = 1.0 - (1.0 - min(1.0, between / total)) * (rows - 1) / (rows - levels)
    return float(np.sqrt(max(0.0, corrected)))
