"""The contract's rules for rows, as a pandera schema, and checked in parts of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from lifecycle.core.contract import Column, Role
from lifecycle.validation.conversion import DTYPES, EXPECTED, is_words

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema

Series: TypeAlias = "pd.Series[Any]"
Array = np.ndarray[Any, Any]

_RULES = ("types", "missing", "values", "range", "finite", "window", "repeats", "outliers")
WINDOW = (pd.Timestamp(1900, 1, 1), pd.Timestamp(2100, 1, 1))  # times outside stand for "unknown" or are errors
_SHOWN = 40  # characters of a value that are quoted in a reason


@dataclass(frozen=True)
class Breach:
    """Rows in which one column breaks one rule of the contract: positions, int64 (rows,), and what was expected."""

    column: str
    rule: str
    expected: str
    rows: Array


def build_schema(columns: Mapping[str, Column]) -> DataFrameSchema:
    """Build the contract's columns as a pandera schema, for a frame in the dtypes of `conversion.DTYPES`.

    The error text of each check is its rule and what it expects: `range: at least 0`.
    """
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            name: pa.Column(
                DTYPES[column.dtype],
                checks=[pa.Check(test, error=f"{rule}: {expected}") for rule, expected, test in _list_tests(column)],
                nullable=column.nullable,
            )
            for name, column in columns.items()
        }
    )


def _list_tests(column: Column) -> list[tuple[str, str, Any]]:
    """List the rules for a column's present values: the rule, what it expects, and a test of a series."""
    tests: list[tuple[str, str, Any]] = []
    if column.closed is not None:
        values = list(column.closed)
        tests.append(("values", _list_values(values), lambda series: series.isin(values)))
    if column.min is not None:
        tests.append(("range", f"at least {column.min:g}", lambda series: series >= column.min))
    if column.max is not None:
        tests.append(("range", f"at most {column.max:g}", lambda series: series <= column.max))
    if column.dtype == "float64":
        tests.append(("finite", "a finite number", np.isfinite))
    if column.role is Role.TIME:
        years = f"a time from {WINDOW[0].year} to {WINDOW[1].year - 1}"
        tests.append(("window", years, lambda series: (series >= WINDOW[0]) & (series < WINDOW[1])))
    return tests


def _list_values(values: list[Any], most: int = 6) -> str:
    """Describe the allowed values, the first few of many."""
    more = f" or {len(values) - most} more" if len(values) > most else ""
    return f"one of {', '.join(map(repr, values[:most]))}{more}"


def find_breaches(typed: pd.DataFrame, broken: Mapping[str, Array], columns: Mapping[str, Column]) -> list[Breach]:
    """Find every breach of the contract's rules in a part of a typed table; rows do not depend on each other.

    The result is that of `build_schema`, without pandera's cost for each part. `broken` are the masks of cells that could
    not be converted: these break the rule of types, not that of missing values.
    """
    breaches = [
        Breach(name, "types", EXPECTED[columns[name].dtype], np.flatnonzero(mask)) for name, mask in broken.items()
    ]
    for name, column in columns.items():
        missing = typed[name].isna().to_numpy()
        if not column.nullable and missing.any():
            unsaid = missing & ~broken[name] if name in broken else missing
            breaches.append(Breach(name, "missing", "a value", np.flatnonzero(unsaid)))
        for rule, expected, test in _list_tests(column):
            kept = pd.Series(test(typed[name])).to_numpy(dtype=bool, na_value=True)
            if not kept.all():
                breaches.append(Breach(name, rule, expected, np.flatnonzero(~kept & ~missing)))
    return [breach for breach in breaches if len(breach.rows)]


def _sort_breaches(breaches: list[Breach], columns: Mapping[str, Column]) -> list[Breach]:
    """Sort breaches by the contract's columns, then by rule."""
    place = {name: position for position, name in enumerate(columns)}
    return sorted(breaches, key=lambda breach: (place[breach.column], _RULES.index(breach.rule), breach.expected))


def name_keys(columns: Mapping[str, Column]) -> list[str]:
    """List the columns with role id."""
    return [name for name, column in columns.items() if column.role is Role.ID]


def collect_breaches(
    typed: pd.DataFrame,
    broken: Mapping[str, Array],
    repeated: Array,
    fences: pd.DataFrame,
    columns: Mapping[str, Column],
) -> list[Breach]:
    """Collect all breaches of a part of a table, sorted by the contract's columns: rules, repeats and outliers."""
    breaches = find_breaches(typed, broken, columns) + _find_outliers(typed, fences)
    if repeated.any():
        expected = "no repeat of an earlier row"
        breaches.append(Breach(name_keys(columns)[0], "repeats", expected, np.flatnonzero(repeated)))
    return _sort_breaches(breaches, columns)


def _find_outliers(typed: pd.DataFrame, fences: pd.DataFrame) -> list[Breach]:
    """Find rows beyond the fences of the columns with `outliers: quarantine` in the contract."""
    breaches = []
    for fence in fences[fences["policy"] == "quarantine"].itertuples():
        values = typed[fence.column].to_numpy(dtype="float64", na_value=np.nan)
        rows = np.flatnonzero(np.isfinite(values) & ((values < fence.lower) | (values > fence.upper)))
        if len(rows):
            expected = f"{fence.lower:.4g} to {fence.upper:.4g} (Tukey's outer fences)"
            breaches.append(Breach(str(fence.column), "outliers", expected, rows))
    return breaches


def name_reasons(safe: pd.DataFrame) -> str:
    """Return the name of the column of reasons: `reasons`, with underscores appended when the table has such a column."""
    name = "reasons"
    while name in safe:
        name += "_"
    return name


def join_reasons(safe: pd.DataFrame, breaches: list[Breach], rows: Array) -> Series:
    """Join every reason of each of the rows (positions, ascending) with "; "."""
    reasons = np.full(len(rows), "", dtype=object)
    for breach in breaches:
        places = np.searchsorted(rows, breach.rows)
        before = reasons[places]
        reasons[places] = before + np.where(before == "", "", "; ") + _explain_rows(safe, breach).to_numpy(dtype=object)
    return pd.Series(reasons, dtype="str")


def _explain_rows(safe: pd.DataFrame, breach: Breach) -> Series:
    """Describe a breach for each of its rows: `age: -3, expected at least 0`."""
    raw = safe[breach.column].iloc[breach.rows]
    shown = raw.astype("str").str.slice(0, _SHOWN)
    shown = ("'" + shown + "'" if is_words(raw) else shown).fillna("missing")
    return f"{breach.column}: " + shown + f", expected {breach.expected}"


class BreachCounter:
    """Counts the breaches of a table's parts by reason and by check, and keeps the first row of each reason."""

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self.columns = columns
        self.reasons: dict[tuple[str, str, str], tuple[int, str]] = {}  # column, rule, expected: rows, an example
        self.rows: dict[str, int] = {}  # by check: a row that breaks several rules of a check counts once

    def add(self, safe: pd.DataFrame, breaches: list[Breach]) -> None:
        """Count a part's breaches; examples count rows from 1 by the part's index."""
        groups: dict[str, list[Array]] = {}
        for breach in breaches:
            key = (breach.column, breach.rule, breach.expected)
            count, example = self.reasons.get(key) or (0, _show_first(safe, breach))
            self.reasons[key] = (count + len(breach.rows), example)
            groups.setdefault(self.name_check(breach.column, breach.rule), []).append(breach.rows)
        for name, rows in groups.items():
            self.rows[name] = self.rows.get(name, 0) + len(np.unique(np.concatenate(rows)))

    def name_check(self, column: str, rule: str) -> str:
        """Return the check that a breach belongs to."""
        if self.columns[column].role is Role.TARGET:
            return "target"
        return "outlier_rows" if rule == "outliers" else rule

    def list_reasons(self) -> pd.DataFrame:
        """Return the rows by reason, the most common first: columns column, rule, reason, rows, example, check.

        The index is their order by the contract's columns, then by rule.
        """
        place = {name: position for position, name in enumerate(self.columns)}
        ordered = sorted(self.reasons, key=lambda key: (place[key[0]], _RULES.index(key[1]), key[2]))
        rows = [
            (column, rule, f"{column}: expected {expected}", *self.reasons[column, rule, expected])
            for column, rule, expected in ordered
        ]
        table = pd.DataFrame(rows, columns=["column", "rule", "reason", "rows", "example"])
        table["check"] = [self.name_check(*key) for key in zip(table["column"], table["rule"], strict=True)]
        return table.sort_values("rows", ascending=False, kind="stable")


def _show_first(safe: pd.DataFrame, breach: Breach) -> str:
    """Describe a breach's first row as an example; rows are counted from 1."""
    first = Breach(breach.column, breach.rule, breach.expected, breach.rows[:1])
    return f"row {safe.index[first.rows[0]] + 1}: {_explain_rows(safe, first).iloc[0]}"
