"""Summarise a table by the counts that drift is measured on, so that no rows need to be kept, of the reference or of a window.

The reference is plain JSON and goes with the model. The counts of windows add up, so that a window can be read in parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, Literal

import numpy as np
import pandas as pd

from lifecycle.core.contract import ENCODED_CATEGORIES
from lifecycle.core.histograms import Array, CategoryCounts, NumericHistogram, count_sorted, cut_quantiles
from lifecycle.core.records import Record
from lifecycle.core.values import name_category, to_numbers
from lifecycle.monitoring.components import fit_components, measure_errors
from lifecycle.monitoring.entities import (
    EntitySketch,
    correlate_codes,
    correlate_numbers,
    count_together,
    sketch_entities,
)

Kind = Literal["numeric", "categories"]

_BINS = 256  # of a numeric column; exact where it has no more distinct values
_CATEGORIES = 500  # of a categorical column that are counted one by one; the others are counted together


@dataclass(frozen=True)
class NumericSummary:
    """A numeric column's histogram with the sum of the numbers in each bin, and sums of x and x² about the reference's mean."""

    histogram: NumericHistogram
    sums: Array
    total: float
    square: float

    @property
    def counts(self) -> Array:
        """The number of values in each bin."""
        return self.histogram.counts

    @property
    def missing(self) -> int:
        """The number of missing values."""
        return self.histogram.missing

    @property
    def present(self) -> int:
        """The number of values that are not missing."""
        return self.histogram.present

    def __add__(self, other: NumericSummary) -> NumericSummary:
        return NumericSummary(
            self.histogram + other.histogram,
            self.sums + other.sums,
            self.total + other.total,
            self.square + other.square,
        )


@dataclass(frozen=True)
class WindowCounts:
    """A window: its rows, the counts of each column, and the components' errors (rows measured, sum, sum of squares).

    entities: how often the entities of its rows repeat; None where the log names none.
    """

    rows: int
    columns: dict[str, NumericSummary | CategoryCounts]
    errors: tuple[int, float, float]
    entities: EntitySketch | None = None

    @property
    def together(self) -> float:
        """How many of the rows the entity of a row has, in the mean over rows."""
        return 1.0 if self.entities is None or not self.rows else max(1.0, self.entities.pairs / self.rows)

    def __add__(self, other: WindowCounts) -> WindowCounts:
        columns: dict[str, Any] = {name: self.columns[name] + other.columns[name] for name in self.columns}  # type: ignore[operator]
        measured, total, square = (one + two for one, two in zip(self.errors, other.errors, strict=True))
        entities = [each.entities or each.rows for each in (self, other)]
        known = [each for each in entities if isinstance(each, EntitySketch)]
        nameless = EntitySketch(sum(each for each in entities if isinstance(each, int)), np.zeros(1, np.int64))
        sketch = reduce(add, known, nameless) if known else None
        return WindowCounts(self.rows + other.rows, columns, (int(measured), total, square), sketch)


def build_reference(
    frame: pd.DataFrame, kinds: Mapping[str, Kind], trained: pd.DataFrame | None = None, entities: Array | None = None
) -> Record:
    """Return the reference of the columns of a table as plain JSON: {"rows", "columns": {name: summary}, "components"}.

    trained: the rows that the model learned from, whose categories are not new when they occur later.
    entities: the entity of each row, from 0, where rows of one are not independent; "rows_together" then says how many rows the
    entity of a row has, and every column how much they resemble one another.
    Columns of kind `numeric` hold numbers, those of kind `categories` anything that str can name. The cost is a sort of each
    numeric column, and rows x columns² for the components, which are fitted on a bounded number of rows.
    """
    columns = {name: summarize_column(frame[name], kind, entities) for name, kind in kinds.items()}
    for name, kind in kinds.items():
        if trained is not None and kind == "categories":
            columns[name]["trained"] = _list_common(_count_categories(trained[name]), ENCODED_CATEGORIES)
    together = {} if entities is None else {"rows_together": count_together(entities)}
    return {"rows": len(frame), "columns": columns, "components": fit_components(frame, columns, entities), **together}


def summarize_column(values: pd.Series, kind: Kind, entities: Array | None = None) -> Record:
    """Return one column of the reference as plain JSON.

    With `entities`, the entity of each row from 0, it says how much rows of one resemble one another: "correlation" of the values that
    are present, "missing_correlation" of whether one is.
    """
    alike = {} if entities is None else _correlate_column(values, kind, entities)
    if kind == "categories":
        return {**_summarize_categories(_count_categories(values)), **alike}
    present = to_numbers(values)
    present = np.sort(present[np.isfinite(present)])
    mean, sd = (float(present.mean()), float(present.std())) if len(present) else (0.0, 0.0)
    if len(present) and present[0] == present[-1]:  # rounding would move the mean of a constant in its last digit
        mean, sd = float(present[0]), 0.0
    edges = _cut_edges(present)
    summary = _summarize_sorted(present, len(values), edges, mean)
    return {
        "kind": kind,
        "missing": summary.missing,
        "mean": mean,
        "sd": sd,
        "median": float(present[[(len(present) - 1) // 2, len(present) // 2]].mean()) if len(present) else None,
        "edges": edges.tolist(),
        "counts": summary.counts.tolist(),
        "sums": summary.sums.tolist(),
        **alike,
    }


def _correlate_column(values: pd.Series, kind: Kind, entities: Array) -> Record:
    """Return how much the values of rows of one entity resemble one another."""
    if kind == "categories":
        codes = pd.factorize(values)[0].astype(np.int64)
        present = codes >= 0
        found = correlate_codes(codes[present], entities[present])
    else:
        numbers = to_numbers(values)
        present = np.isfinite(numbers)
        found = correlate_numbers(numbers[present], entities[present])
    return {"correlation": found, "missing_correlation": correlate_codes(present.astype(np.int64), entities)}


def _summarize_categories(counted: CategoryCounts) -> Record:
    """Return the most frequent categories, and the number of rows of all others."""
    kept = _list_common(counted, _CATEGORIES)
    return {
        "kind": "categories",
        "missing": counted.missing,
        "categories": kept,
        "other": counted.present - sum(kept.values()),
    }


def _list_common(counted: CategoryCounts, most: int) -> dict[str, int]:
    """Return the most frequent categories with their counts."""
    names = sorted(counted.counts, key=lambda name: (-counted.counts[name], name))[:most]
    return {name: counted.counts[name] for name in names}


def _cut_edges(ordered: Array) -> Array:
    """Return every distinct value as an edge, or quantiles where there are more than _BINS, and the float above the maximum.

    The first and the last bin are therefore empty in the reference: values beyond its range show there.
    """
    distinct = ordered[np.flatnonzero(np.diff(ordered, prepend=-np.inf))] if len(ordered) else ordered
    if not len(ordered) or len(distinct) > _BINS:
        return cut_quantiles(ordered, _BINS)
    return np.append(distinct, np.nextafter(ordered[-1], np.inf))


def count_window(frame: pd.DataFrame, reference: Record, entities: pd.Series | None = None) -> WindowCounts:
    """Count a window's values in the reference's bins and categories; a column that the frame lacks is missing in every row.

    entities: the entity of each row, missing for a row of its own.
    The cost is a sort of each numeric and a count of each categorical column; memory beyond the frame is one column.
    """
    columns: dict[str, NumericSummary | CategoryCounts] = {}
    for name, summary in reference["columns"].items():
        values = frame[name] if name in frame else pd.Series(np.nan, index=frame.index, dtype=object)
        if summary["kind"] == "categories":
            columns[name] = _count_categories(values)
        else:
            columns[name] = _summarize_numbers(values, np.asarray(summary["edges"]), summary["mean"])
    sketch = None if entities is None else sketch_entities(entities)
    return WindowCounts(len(frame), columns, measure_errors(frame, reference), sketch)


def _summarize_numbers(values: pd.Series, edges: Array, middle: float) -> NumericSummary:
    """Count numbers in bins [edge, next edge), open at both ends; infinities are missing, as NaN is.

    Sorting first is five times as fast as a binary search for every value.
    """
    array = to_numbers(values)
    return _summarize_sorted(np.sort(array[np.isfinite(array)]), len(array), edges, middle)


def _summarize_sorted(finite: Array, rows: int, edges: Array, middle: float) -> NumericSummary:
    """Summarise a column of so many rows, given its finite numbers in ascending order."""
    histogram = count_sorted(finite, edges, rows - len(finite))
    running = np.concatenate([[0.0], np.cumsum(finite)])
    centred = finite - middle
    total, square = float(centred.sum()), float(centred @ centred)
    return NumericSummary(histogram, np.diff(running[histogram.offsets]), total, square)


def _count_categories(values: pd.Series) -> CategoryCounts:
    """Count the categories of a column by name (see `name_category`)."""
    counted = values.value_counts(sort=False)
    counts: dict[str, int] = {}
    for category, count in zip(counted.index.tolist(), counted.tolist(), strict=True):
        if count:  # pandas' categorical type may list categories that no row has
            name = name_category(category)
            counts[name] = counts.get(name, 0) + count
    return CategoryCounts(counts, len(values) - int(counted.sum()))
