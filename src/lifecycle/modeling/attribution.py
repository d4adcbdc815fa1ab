"""Importances, effects and Shapley values of the columns, for any model that can predict.

Attributions and effects are in probability, so that 0.05 is five percentage points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.ranking import measure_roc_auc
from lifecycle.core.tables import set_columns

Array = np.ndarray[Any, Any]
Predict = Callable[[pd.DataFrame], Array]

_BATCH = 100_000  # rows that a model predicts at once
_CELLS = 4_000_000  # cells that a model predicts at once: fewer rows of a wide table
_EVALUATIONS = 400_000  # predictions that one method may use; a wide table is explained on fewer rows


@dataclass(frozen=True)
class Attribution:
    """Shapley values of some rows: `base` + shapley.sum(axis=1) is the rows' probability.

    shapley: (rows, columns), in the order of `names`. error: the same shape, the standard error that the choice of
    background rows and orders leaves. base: the mean probability of the background. probability: (rows,).
    """

    names: list[str]
    shapley: Array
    error: Array
    base: float
    probability: Array


def fit_budget(wanted: int, evaluations: int, least: int = 20) -> int:
    """Return the number of rows to explain: `wanted`, limited by EVALUATIONS at `evaluations` each, but at least `least`."""
    return min(wanted, max(least, _EVALUATIONS // max(1, evaluations)))


def sample_rows(table: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    """Return at most `rows` random rows, without replacement, in the table's order."""
    if rows >= len(table):
        return table
    return table.iloc[np.sort(np.random.default_rng(seed).choice(len(table), rows, replace=False))]


def choose_background(predict: Predict, table: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    """Choose rows to average over, spread evenly over the predictions, so that their mean prediction is the table's.

    Systematic sampling of the rows sorted by prediction (a seeded sample of them in a long table).
    """
    table = sample_rows(table, _BATCH, seed)
    if rows >= len(table):
        return table
    order = np.argsort(predict(table), kind="stable")
    places = ((np.arange(rows) + 0.5) * (len(table) / rows)).astype(np.int64)
    return table.iloc[np.sort(order[places])]


def _limit_batch(columns: int) -> int:
    """Return how many rows of so many columns a model predicts at once."""
    return min(_BATCH, max(1, _CELLS // max(columns, 1)))


def _predict_mixed(predict: Predict, table: pd.DataFrame, sources: Array) -> Array:
    """Predict rows whose columns come from different rows: `sources` (rows, columns) are positions in `table`."""
    step = _limit_batch(sources.shape[1])
    parts = [
        predict(pd.DataFrame(
            {name: table[name].take(chunk[:, place]).array for place, name in enumerate(table.columns)}, copy=False
        ))
        for chunk in np.split(sources, range(step, len(sources), step))
    ]  # fmt: skip
    return np.concatenate(parts)


def permute_columns(predict: Predict, table: pd.DataFrame, target: Array, repeats: int, seed: int) -> pd.DataFrame:
    """Measure the ROC AUC lost when a column's values are shuffled among the rows (Breiman 2001; Fisher et al. 2019).

    `table` has the model's columns only; `target` is 0 or 1, shape (rows,). Returns a row per column, in the table's
    order: column, importance (the mean drop over the repeats), error (its standard error, 0 with one repeat). Each
    repeat uses the same shuffle for all columns, so that their differences are not due to the shuffles.

    scikit-learn's permutation_importance predicts once per column and repeat and draws a new shuffle each time; one call
    for many columns takes half of the time for a linear model and a sixth for boosting.
    """
    rows = len(table)
    shuffles = np.random.default_rng(seed).permuted(np.tile(np.arange(rows), (repeats, 1)), axis=1)
    base = measure_roc_auc(predict(table)[None, :], target)[0]
    columns = table.shape[1]
    drops = np.empty((columns, repeats))
    size = max(1, _limit_batch(columns) // (repeats * rows))  # columns at once: every call has a fixed cost
    for begin in range(0, columns, size):
        places = np.arange(begin, min(begin + size, columns))
        sources = np.broadcast_to(np.arange(rows)[:, None], (len(places), repeats, rows, columns)).copy()
        sources[np.arange(len(places)), :, :, places] = shuffles
        shuffled = _predict_mixed(predict, table, sources.reshape(-1, columns)).reshape(-1, rows)
        drops[places] = base - measure_roc_auc(shuffled, target).reshape(-1, repeats)
    error = drops.std(axis=1, ddof=1) / np.sqrt(repeats) if repeats > 1 else np.zeros(len(drops))
    return pd.DataFrame({"column": list(table.columns), "importance": drops.mean(axis=1), "error": error})


def attribute_rows(predict: Predict, rows: pd.DataFrame, background: pd.DataFrame, seed: int) -> Attribution:
    """Return the (interventional) Shapley values of each row's probability over the columns of `background`.

    The worth of a set of columns is the mean prediction with those columns from the row and the others from each
    background row. Values are sampled by permutations (Castro et al. 2009; Strumbelj & Kononenko 2014): for each
    background row, a random order of the columns is walked forwards and backwards (antithetic: Mitchell et al. 2022, JMLR
    23), and each step replaces the background's value of a column by the row's. As every walk ends at the row, base + the
    sum is exactly its prediction. Takes rows x background x 2 x (columns - 1) predictions.
    """
    names = list(background.columns)
    explained, behind, columns = len(rows), len(background), len(names)
    ranks = np.random.default_rng(seed).permuted(np.tile(np.arange(columns), (explained * behind, 1)), axis=1)
    both = pd.concat([rows[names], background], ignore_index=True)
    ends = predict(both)
    own, other = np.repeat(np.arange(explained), behind), explained + np.tile(np.arange(behind), explained)
    size = max(1, _limit_batch(columns) // max(columns - 1, 1))
    parts = [
        _walk_orders(predict, both, ends, own[begin : begin + size], other[begin : begin + size], order)
        for begin in range(0, len(ranks), size)
        for order in [ranks[begin : begin + size]]
    ]
    walks = np.concatenate(parts).reshape(explained, behind, columns)
    spread = walks.std(axis=1, ddof=1) if behind > 1 else np.zeros((explained, columns))
    return Attribution(
        names, walks.mean(axis=1), spread / np.sqrt(behind), float(ends[explained:].mean()), ends[:explained]
    )


def _walk_orders(predict: Predict, both: pd.DataFrame, ends: Array, own: Array, other: Array, ranks: Array) -> Array:
    """Return what each column adds on the way from row `other` to row `own` of `both`, averaged with the reverse order.

    `ranks` (walks, columns) is each column's place in the order; `ends` are the predictions of `both`. The result has
    the shape of `ranks`.
    """
    walks, columns = ranks.shape
    step = np.arange(1, columns)[:, None]
    added = np.zeros(ranks.shape)
    for order in (ranks, columns - 1 - ranks):
        path = np.empty((walks, columns + 1))
        path[:, 0], path[:, -1] = ends[other], ends[own]
        if columns > 1:
            sources = np.where(order[:, None, :] < step, own[:, None, None], other[:, None, None])
            path[:, 1:-1] = _predict_mixed(predict, both, sources.reshape(-1, columns)).reshape(walks, -1)
        added += np.take_along_axis(np.diff(path, axis=1), order, axis=1) / 2
    return added


def rank_columns(attribution: Attribution, table: pd.DataFrame) -> pd.DataFrame:
    """Return the global importance, largest first: column, importance (mean |value|) and direction.

    Direction is Spearman's correlation of a numeric column's values with their attributions, NaN for others. `table`
    holds the rows that were explained.
    """
    directions = [
        table[name].corr(pd.Series(attribution.shapley[:, place], index=table.index), method="spearman")
        if pd.api.types.is_numeric_dtype(table[name]) and table[name].max() > table[name].min()
        else np.nan
        for place, name in enumerate(attribution.names)
    ]
    importance = np.abs(attribution.shapley).mean(axis=0)
    frame = pd.DataFrame({"column": attribution.names, "importance": importance, "direction": directions})
    return frame.sort_values("importance", ascending=False, kind="stable", ignore_index=True)


def choose_grid(column: pd.Series, points: int = 20, categories: int = 10) -> list[Any]:
    """Return the values at which a column's effect is computed: quantiles of a number, else the most common categories.

    For a number with at most `categories` distinct values these are the values.
    """
    present = column.dropna()
    if not pd.api.types.is_numeric_dtype(column):
        counts = present.value_counts()
        order = sorted(counts.index, key=lambda category: (-counts[category], str(category)))
        return order[:categories]
    distinct = np.unique(present.to_numpy(np.float64))
    if len(distinct) > categories:
        distinct = np.unique(present.quantile(np.linspace(0.01, 0.99, points), interpolation="nearest"))
    return [float(value) for value in distinct]


def trace_effect(predict: Predict, table: pd.DataFrame, name: str, grid: list[Any]) -> pd.DataFrame:
    """Return the model's partial dependence on a column, and its spread over rows.

    A row per grid value: value; category, the mean prediction (partial dependence, Friedman 2001); mean, low and high:
    the mean, the 10th and the 90th percentile of the rows' own curves (individual conditional expectation, Goldstein et
    al. 2015), each centred at its mean over the grid. The same bits as scikit-learn's partial_dependence, in one call of
    the model instead of one per grid value.
    """
    repeated = table.iloc[np.tile(np.arange(len(table)), len(grid))].reset_index(drop=True)
    values = np.repeat(np.array(grid, dtype=object), len(table))
    changed = set_columns(repeated, {name: pd.Series(values, dtype=table[name].dtype)})
    curves = predict(changed).reshape(len(grid), len(table))
    centred = curves - curves.mean(axis=0)
    low, high = np.quantile(centred, [0.1, 0.9], axis=1)
    return pd.DataFrame(
        {"value": pd.Series(grid, dtype=object), "mean": centred.mean(axis=1), "low": low, "high": high,
         "category": curves.mean(axis=1)}
    )  # fmt: skip


def trace_observed(probability: Array, column: pd.Series, grid: list[Any]) -> Array:
    """Return the mean prediction of the rows at each grid value minus that of all rows; NaN where there are no rows.

    Numbers count for the nearest grid value. Both `probability` and `column` have shape (rows,).
    """
    if pd.api.types.is_numeric_dtype(column):
        marks = np.asarray(grid, dtype=np.float64)
        values = column.to_numpy(np.float64, na_value=np.nan)
        places = np.searchsorted((marks[1:] + marks[:-1]) / 2, values)
        places = np.where(np.isnan(values), -1, places)
    else:
        places = pd.Index(grid).get_indexer(pd.Index(column))
    known = places >= 0
    rows = np.bincount(places[known], minlength=len(grid))
    total = np.bincount(places[known], weights=probability[known], minlength=len(grid))
    return np.asarray(np.where(rows > 0, total / np.maximum(rows, 1), np.nan) - probability.mean())


def measure_redundancy(table: pd.DataFrame, categories: int = 20) -> dict[str, float]:
    """Return the adjusted R squared of the linear regression of each numeric column on the others.

    It is computed for all at once, as 1 - 1 / the variance inflation factor, which is the diagonal of the inverse
    correlation matrix (Marquardt 1970). Categories become indicators of the `categories` most common ones. Constant columns
    are left out; the result is empty with fewer than twice as many rows as indicators.
    """
    parts: dict[str, Array] = {}
    numeric = []
    for name in table.columns:
        column = table[name]
        if pd.api.types.is_numeric_dtype(column):
            values = column.to_numpy(np.float64, na_value=np.nan)
            if np.isfinite(values).any():
                numeric.append(name)
                parts[name] = np.where(np.isfinite(values), values, np.nanmean(values))
        elif column.dtype.kind != "M":
            for category in choose_grid(column, categories=categories):
                parts[f"{name}\0{category}"] = (column == category).to_numpy(np.float64)
    matrix = np.column_stack(list(parts.values())) if parts else np.empty((len(table), 0))
    spread = matrix.std(axis=0)
    names = [name for name, scale in zip(parts, spread, strict=True) if scale > 1e-12]
    matrix = matrix[:, spread > 1e-12]
    rows, width = matrix.shape
    if width < 2 or rows < 2 * width:
        return {}
    matrix = (matrix - matrix.mean(axis=0)) / matrix.std(axis=0)
    inverse = np.linalg.inv(
        matrix.T @ matrix / rows + 1e-6 * np.eye(width)
    )  # a ridge, because indicators are collinear
    free = 1 - 1 / np.diag(inverse)
    adjusted = 1 - (1 - free) * (rows - 1) / (rows - width)
    found = dict(zip(names, adjusted, strict=True))
    return {name: float(np.clip(found[name], 0.0, 1.0)) for name in numeric if name in found}
