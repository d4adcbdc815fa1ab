"""What a model's probability comes from, column by column, for any model: it is only ever asked to predict.

Attributions and effects are in probability, so that 0.05 is five percentage points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

Array = np.ndarray[Any, Any]
Predict = Callable[[pd.DataFrame], Array]

BATCH = 100_000  # rows that a model is asked for at once
CELLS = 4_000_000  # and cells: of a wide table fewer rows
EVALUATIONS = 400_000  # rows that one method may ask a model for; a wide table is explained on fewer rows


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
    """How many rows to explain: `wanted`, or what EVALUATIONS allow at `evaluations` each, never below `least`."""
    return min(wanted, max(least, EVALUATIONS // max(1, evaluations)))


def sample_rows(table: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    """At most `rows` rows at random, without replacement, in the table's order."""
    if rows >= len(table):
        return table
    return table.iloc[np.sort(np.random.default_rng(seed).choice(len(table), rows, replace=False))]


def choose_background(predict: Predict, table: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    """Rows to average over, spread evenly over the predictions, so that their mean prediction is the table's.

    Systematic sampling of the rows sorted by prediction (a seeded sample of them in a long table).
    """
    table = sample_rows(table, BATCH, seed)
    if rows >= len(table):
        return table
    order = np.argsort(predict(table), kind="stable")
    places = ((np.arange(rows) + 0.5) * (len(table) / rows)).astype(np.int64)
    return table.iloc[np.sort(order[places])]


def limit_batch(columns: int) -> int:
    """How many rows of so many columns a model is asked for at once."""
    return min(BATCH, max(1, CELLS // max(columns, 1)))


def predict_mixed(predict: Predict, table: pd.DataFrame, sources: Array) -> Array:
    """Predict rows whose columns come from different rows: `sources` (rows, columns) are positions in `table`."""
    step = limit_batch(sources.shape[1])
    parts = [
        predict(pd.DataFrame(
            {name: table[name].take(chunk[:, place]).array for place, name in enumerate(table.columns)}, copy=False
        ))
        for chunk in np.split(sources, range(step, len(sources), step))
    ]  # fmt: skip
    return np.concatenate(parts)


def permute_columns(predict: Predict, table: pd.DataFrame, target: Array, repeats: int, seed: int) -> pd.DataFrame:
    """How much ROC AUC is lost when one column's values are shuffled among the rows (Breiman 2001; Fisher et al. 2019).

    `table` has the model's columns alone, `target` is 0 or 1, shape (rows,). A row a column, in the table's order, with
    column, importance (mean drop over the repeats), error (its standard error, 0 with one repeat). Each repeat uses the
    same shuffle for all columns, so that columns are compared like with like.
    """
    rows = len(table)
    shuffles = np.random.default_rng(seed).permuted(np.tile(np.arange(rows), (repeats, 1)), axis=1)
    base = measure_area(predict(table)[None, :], target)[0]
    columns = table.shape[1]
    drops = np.empty((columns, repeats))
    size = max(1, limit_batch(columns) // (repeats * rows))  # columns at once: each call costs a wide table dear
    for begin in range(0, columns, size):
        places = np.arange(begin, min(begin + size, columns))
        sources = np.broadcast_to(np.arange(rows)[:, None], (len(places), repeats, rows, columns)).copy()
        sources[np.arange(len(places)), :, :, places] = shuffles
        shuffled = predict_mixed(predict, table, sources.reshape(-1, columns)).reshape(-1, rows)
        drops[places] = base - measure_area(shuffled, target).reshape(-1, repeats)
    error = drops.std(axis=1, ddof=1) / np.sqrt(repeats) if repeats > 1 else np.zeros(len(drops))
    return pd.DataFrame({"column": list(table.columns), "importance": drops.mean(axis=1), "error": error})


def measure_area(scores: Array, target: Array) -> Array:
    """ROC AUC of each row of `scores` (models, rows), by mid-ranks."""
    truth = np.asarray(target) == 1
    m, n = int(truth.sum()), int((~truth).sum())
    return np.asarray((rankdata(scores, axis=1)[:, truth].sum(axis=1) - m * (m + 1) / 2) / (m * n))


def attribute_rows(predict: Predict, rows: pd.DataFrame, background: pd.DataFrame, seed: int) -> Attribution:
    """Shapley values of each row's probability, over the columns of `background`; interventional, in probability.

    The worth of a set of columns is the mean prediction with those columns from the row and the others from each
    background row. Sampled by permutations (Castro et al. 2009; Strumbelj & Kononenko 2014): for each background row a
    random order of the columns, walked forwards and backwards (antithetic: Mitchell et al. 2022, JMLR 23), each step
    turning one column from the background's value to the row's. As every walk ends at the row, base + the sum is its
    prediction exactly. Asks for rows x background x 2 x (columns - 1) predictions.
    """
    names = list(background.columns)
    explained, behind, columns = len(rows), len(background), len(names)
    ranks = np.random.default_rng(seed).permuted(np.tile(np.arange(columns), (explained * behind, 1)), axis=1)
    both = pd.concat([rows[names], background], ignore_index=True)
    ends = predict(both)
    own, other = np.repeat(np.arange(explained), behind), explained + np.tile(np.arange(behind), explained)
    size = max(1, limit_batch(columns) // max(columns - 1, 1))
    parts = [
        walk_orders(predict, both, ends, own[begin : begin + size], other[begin : begin + size], order)
        for begin in range(0, len(ranks), size)
        for order in [ranks[begin : begin + size]]
    ]
    walks = np.concatenate(parts).reshape(explained, behind, columns)
    spread = walks.std(axis=1, ddof=1) if behind > 1 else np.zeros((explained, columns))
    return Attribution(
        names, walks.mean(axis=1), spread / np.sqrt(behind), float(ends[explained:].mean()), ends[:explained]
    )


def walk_orders(predict: Predict, both: pd.DataFrame, ends: Array, own: Array, other: Array, ranks: Array) -> Array:
    """What each column adds on the way from row `other` to row `own` of `both`, mean of an order and its reverse.

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
            path[:, 1:-1] = predict_mixed(predict, both, sources.reshape(-1, columns)).reshape(walks, -1)
        added += np.take_along_axis(np.diff(path, axis=1), order, axis=1) / 2
    return added


def rank_columns(attribution: Attribution, table: pd.DataFrame) -> pd.DataFrame:
    """Global importance: a row a column, greatest first, with column, importance (mean |value|) and direction.

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


def choose_grid(column: pd.Series, points: int = 20, levels: int = 10) -> list[Any]:
    """The values at which a column's effect is asked for: quantiles of a number, the commonest levels of anything else.

    A number with at most `levels` distinct values has those.
    """
    present = column.dropna()
    if not pd.api.types.is_numeric_dtype(column):
        counts = present.value_counts()
        order = sorted(counts.index, key=lambda level: (-counts[level], str(level)))
        return order[:levels]
    distinct = np.unique(present.to_numpy(np.float64))
    if len(distinct) > levels:
        distinct = np.unique(present.quantile(np.linspace(0.01, 0.99, points), interpolation="nearest"))
    return [float(value) for value in distinct]


def trace_effect(predict: Predict, table: pd.DataFrame, name: str, grid: list[Any]) -> pd.DataFrame:
    """What the model says if one column alone changed: the partial dependence and its spread over rows.

    A row a grid value: value; level, the mean prediction (partial dependence, Friedman 2001); and mean, low and high:
    the mean, the 10th and the 90th percentile of the rows' own curves (individual conditional expectation, Goldstein et
    al. 2015), each curve less its own mean over the grid.
    """
    repeated = table.iloc[np.tile(np.arange(len(table)), len(grid))].reset_index(drop=True)
    values = np.repeat(np.array(grid, dtype=object), len(table))
    changed = repeated.assign(**{name: pd.Series(values, dtype=table[name].dtype)})
    curves = predict(changed).reshape(len(grid), len(table))
    centred = curves - curves.mean(axis=0)
    low, high = np.quantile(centred, [0.1, 0.9], axis=1)
    return pd.DataFrame(
        {"value": pd.Series(grid, dtype=object), "mean": centred.mean(axis=1), "low": low, "high": high,
         "category": curves.mean(axis=1)}
    )  # fmt: skip


def trace_observed(probability: Array, column: pd.Series, grid: list[Any]) -> Array:
    """The mean prediction of the rows as they are at each grid value, less that of all; NaN where there are none.

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


def measure_redundancy(table: pd.DataFrame, levels: int = 20) -> dict[str, float]:
    """How far the other columns determine each numeric one: the adjusted R squared of its linear regression on them.

    All at once, as 1 - 1 / the variance inflation factor, which is the diagonal of the inverse correlation matrix
    (Marquardt 1970); categories as indicators of their commonest `levels`. Columns that do not vary are left out; so
    are all where there are not twice as many rows as indicators.
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
            for level in choose_grid(column, levels=levels):
                parts[f"{name}\0{level}"] = (column == level).to_numpy(np.float64)
    matrix = np.column_stack(list(parts.values())) if parts else np.empty((len(table), 0))
    spread = matrix.std(axis=0)
    names = [name for name, scale in zip(parts, spread, strict=True) if scale > 1e-12]
    matrix = matrix[:, spread > 1e-12]
    rows, width = matrix.shape
    if width < 2 or rows < 2 * width:
        return {}
    matrix = (matrix - matrix.mean(axis=0)) / matrix.std(axis=0)
    inverse = np.linalg.inv(matrix.T @ matrix / rows + 1e-6 * np.eye(width))  # a ridge, for indicators are collinear
    free = 1 - 1 / np.diag(inverse)
    adjusted = 1 - (1 - free) * (rows - 1) / (rows - width)
    found = dict(zip(names, adjusted, strict=True))
    return {name: float(np.clip(found[name], 0.0, 1.0)) for name in numeric if name in found}
