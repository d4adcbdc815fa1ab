"""Measures of association between columns of any kind, on one scale from 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lifecycle.core.errors import ProjectError

Kind = Literal["numeric", "categorical"]
_Floats = NDArray[np.float64]
_Codes = NDArray[np.int64]

_MAX_CELLS = 1_000_000  # a larger contingency table is counted sparsely


def associate(frame: pd.DataFrame, kinds: Mapping[str, Kind], *, ranks: bool = True) -> pd.DataFrame:
    """Measure the association of each pair of columns.

    Returns a square frame of float64 from 0 (none) to 1 (complete), in the order of `kinds`; the diagonal is 1.

    Two numeric columns: |Spearman's rho|; two categorical ones: Cramer's V; one of each: the correlation ratio of the
    ranks. V and the ratio are corrected for chance, so that a column with many categories does not look strong. Without
    `ranks`, |Pearson's r| and the correlation ratio of the values themselves. A pair is measured on the rows that have
    both values (a number's rank is among all rows that have one). The association of a constant or empty column is 0.
    Booleans are categorical. Raises ProjectError for a column that is not in the frame, ValueError for an unknown kind.
    """
    _check_kinds(frame, kinds)
    names = list(kinds)
    numeric = [name for name in names if kinds[name] == "numeric"]
    categorical = [name for name in names if kinds[name] == "categorical"]
    values = _read_numbers(frame, numeric, ranks=ranks)
    codes = {name: _read_codes(frame[name]) for name in categorical}

    associations = pd.DataFrame(np.eye(len(names)), index=names, columns=names)
    correlations = np.abs(_pearson_matrix(values))
    np.fill_diagonal(correlations, 1.0)
    associations.loc[numeric, numeric] = correlations
    for position, one in enumerate(categorical):
        ratios = [_correlation_ratio(codes[one], values[:, index]) for index in range(len(numeric))]
        associations.loc[one, numeric] = ratios
        associations.loc[numeric, one] = ratios
        for other in categorical[position + 1 :]:
            associations.loc[one, other] = associations.loc[other, one] = _cramer_v(codes[one], codes[other])
    return associations.clip(0.0, 1.0)


def associate_with(frame: pd.DataFrame, kinds: Mapping[str, Kind], target: pd.Series[Any]) -> pd.Series[float]:
    """Measure the association of each column with a categorical `target`, strongest first (ties in the order of `kinds`).

    The measures are those of `associate` on ranks: float64 from 0 to 1, indexed by column.
    """
    _check_kinds(frame, kinds)
    classes = _read_codes(target)
    found = {
        name: _correlation_ratio(classes, _read_numbers(frame, [name], ranks=True)[:, 0])
        if kind == "numeric"
        else _cramer_v(classes, _read_codes(frame[name]))
        for name, kind in kinds.items()
    }
    return pd.Series(found, dtype="float64").sort_values(ascending=False, kind="stable")


def _check_kinds(frame: pd.DataFrame, kinds: Mapping[str, Kind]) -> None:
    """Raise ProjectError for a column that is not in the frame, and ValueError for an unknown kind."""
    for name, kind in kinds.items():
        if name not in frame.columns:
            raise ProjectError(f"The table has no column {name!r}; it has {list(frame.columns)}.")
        if kind not in ("numeric", "categorical"):
            raise ValueError(f"column {name!r}: kind is 'numeric' or 'categorical', not {kind!r}")


def _read_numbers(frame: pd.DataFrame, names: list[str], *, ranks: bool) -> _Floats:
    """Return the columns as float64 (rows, columns), missing and infinite values as NaN; with `ranks`, mean ranks from 1."""
    values = frame[names].astype("float64").replace([np.inf, -np.inf], np.nan)
    return (values.rank() if ranks else values).to_numpy("float64")


def _read_codes(column: pd.Series[Any]) -> _Codes:
    """Return the categories as int64 codes from 0, in the order of their first appearance; -1 where missing."""
    return np.asarray(pd.factorize(column)[0], dtype=np.int64)


def _pearson_matrix(values: _Floats) -> _Floats:
    """Return Pearson's r of each pair of columns (k, k) over the rows that have both; 0 where a column is constant there."""
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
    variance[variance < 1e-9 * rows] = 0.0  # the rounding error of a constant
    bottom = np.sqrt(variance * variance.T)
    return np.asarray(np.divide(covariance, bottom, out=np.zeros_like(bottom), where=bottom > 0))


def _cramer_v(one: _Codes, other: _Codes) -> float:
    """Return Cramer's V of two columns of codes (-1: missing), corrected for chance (Bergsma 2013, J. Korean Stat. Soc. 42)."""
    both = (one >= 0) & (other >= 0)
    one, other = one[both], other[both]
    rows = len(one)
    first, second = np.bincount(one), np.bincount(other)
    height, width = int((first > 0).sum()), int((second > 0).sum())
    if min(height, width) < 2:
        return 0.0
    cells, counts = _count_joint(one, other, len(second))
    expected = first[cells // len(second)] * (second[cells % len(second)] / rows)
    phi2 = float((counts**2 / expected).sum()) / rows - 1.0
    phi2 = max(0.0, phi2 - (height - 1) * (width - 1) / (rows - 1))
    height_, width_ = (size - (size - 1) ** 2 / (rows - 1) for size in (height, width))
    least = min(height_, width_) - 1
    return float(np.sqrt(min(1.0, phi2 / least))) if least > 0 else 0.0


def _count_joint(one: _Codes, other: _Codes, width: int) -> tuple[_Codes, _Codes]:
    """Return the cells (one x width + other) that occur, and their counts, in memory of at most the rows or MAX_CELLS."""
    joint = one * width + other
    if len(joint) and int(joint.max()) >= _MAX_CELLS:
        cells, counts = np.unique(joint, return_counts=True)
        return cells, counts
    table = np.bincount(joint)
    cells = np.flatnonzero(table)
    return cells, table[cells]


def _correlation_ratio(codes: _Codes, values: _Floats) -> float:
    """Return the correlation ratio of numbers by category, corrected for chance: the root of Kelley's epsilon squared.

    Kelley 1935, PNAS 21. On ranks its square is (H - k + 1) / (n - k) of the Kruskal-Wallis H. Rows that lack a category
    (-1) or a number do not count.
    """
    both = (codes >= 0) & np.isfinite(values)
    codes, values = codes[both], values[both]
    rows = len(codes)
    counts = np.bincount(codes)
    groups = int((counts > 0).sum())
    if groups < 2 or rows <= groups:
        return 0.0
    centred = values - values.mean()
    total = float(centred @ centred)
    if total <= 1e-12 * rows * float(np.abs(values).max()) ** 2:
        return 0.0
    sums = np.bincount(codes, weights=centred)
    between = float((sums**2 / np.maximum(counts, 1)).sum())
    corrected = 1.0 - (1.0 - min(1.0, between / total)) * (rows - 1) / (rows - groups)
    return float(np.sqrt(max(0.0, corrected)))


def order_by_cluster(associations: _Floats) -> list[int]:
    """Order columns so that associated ones are neighbours: the leaves of average linkage on 1 - association."""
    from scipy.cluster.hierarchy import leaves_list, linkage

    if len(associations) < 3:
        return list(range(len(associations)))
    distances = np.round(
        1.0 - associations[np.triu_indices(len(associations), 1)], 9
    )  # rounding errors must not swap branches
    return [int(leaf) for leaf in leaves_list(linkage(distances, "average", optimal_ordering=True))]


def rank_pairs(associations: pd.DataFrame) -> pd.DataFrame:
    """List the pairs of columns, the strongest association first: one, other, association."""
    first, second = np.triu_indices(len(associations), 1)
    table = pd.DataFrame(
        {
            "one": associations.index[first],
            "other": associations.index[second],
            "association": associations.to_numpy()[first, second],
        }
    )
    return table.sort_values("association", ascending=False, kind="stable", ignore_index=True)
