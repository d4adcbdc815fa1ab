"""What the contract says of rows, checked with pandera, and what a whole table tells: fences, repeats, time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from lifecycle.contract import Column, Role
from lifecycle.data.conversion import DTYPES, EXPECTED, count_zones, solidify

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema

Series: TypeAlias = "pd.Series[Any]"
Array = np.ndarray[Any, Any]
Severity = Literal["error", "warning", "info"]

RULES = ("types", "missing", "values", "range", "finite", "window", "repeats", "outliers")
WINDOW = (pd.Timestamp(1900, 1, 1), pd.Timestamp(2100, 1, 1))  # moments outside stand for "unknown", or are slips
SHOWN = 40  # characters of a value that a reason quotes
OUTER = 3.0  # interquartile ranges from the quartiles to Tukey's outer fences
HOUR = 3_600_000_000  # in microseconds
PERIODS = {"hour": HOUR, "day": 24 * HOUR, "week": 168 * HOUR, "four weeks": 672 * HOUR}
BUSY = 10  # rows in a mean period, from which an empty one is worth a word


@dataclass(frozen=True)
class Check:
    """One named check of the list: how bad its failing is, whether it failed, how often, and a few examples."""

    name: str
    title: str
    severity: Severity
    status: Literal["passed", "failed", "not applicable"]
    count: int
    message: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Breach:
    """Rows in which one column breaks one rule of the contract: positions, int64 (rows,), and what was expected."""

    column: str
    rule: str
    expected: str
    rows: Array


def build_schema(columns: Mapping[str, Column]) -> DataFrameSchema:
    """The contract's columns as a pandera schema, for a frame in the dtypes of `conversion.DTYPES`.

    Each check's error text is its rule and what it expects, `range: at least 0`.
    """
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            name: pa.Column(
                DTYPES[column.dtype],
                checks=[pa.Check(test, error=f"{rule}: {expected}") for rule, expected, test in list_tests(column)],
                nullable=column.nullable,
            )
            for name, column in columns.items()
        }
    )


def list_tests(column: Column) -> list[tuple[str, str, Any]]:
    """The rules for a column's present values: rule, what it expects in words, and a test of a series."""
    tests: list[tuple[str, str, Any]] = []
    if column.values is not None:
        values = list(column.values)
        tests.append(("values", list_values(values), lambda series: series.isin(values)))
    if column.min is not None:
        tests.append(("range", f"at least {column.min:g}", lambda series: series >= column.min))
    if column.max is not None:
        tests.append(("range", f"at most {column.max:g}", lambda series: series <= column.max))
    if column.dtype == "float64":
        tests.append(("finite", "a finite number", np.isfinite))
    if column.role is Role.TIME:
        years = f"a moment from {WINDOW[0].year} to {WINDOW[1].year - 1}"
        tests.append(("window", years, lambda series: (series >= WINDOW[0]) & (series < WINDOW[1])))
    return tests


def list_values(values: list[Any], most: int = 6) -> str:
    """The values that may occur, the first few of many, in words."""
    more = f" or {len(values) - most} more" if len(values) > most else ""
    return f"one of {', '.join(map(repr, values[:most]))}{more}"


def find_breaches(
    typed: pd.DataFrame, broken: Mapping[str, Array], columns: Mapping[str, Column], schema: DataFrameSchema
) -> list[Breach]:
    """Every breach of the contract's rules in a typed frame (its index counts the rows from 0), rows independent.

    `broken` are the masks of cells that could not be converted: these are a breach of type, not of presence.
    """
    import pandera.pandas as pa

    breaches = [
        Breach(name, "types", EXPECTED[columns[name].dtype], np.flatnonzero(mask)) for name, mask in broken.items()
    ]
    try:
        schema.validate(typed, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases
        for (name, check), group in cases.groupby(["column", "check"], sort=False):
            rows = group["index"].to_numpy(dtype=np.int64)
            if check == "not_nullable":
                rows = rows[~broken[name][rows]] if name in broken else rows
                rule, expected = "missing", "a value"
            else:
                rule, _, expected = check.partition(": ")
            if len(rows):
                breaches.append(Breach(name, rule, expected, np.sort(rows)))
    return breaches


def sort_breaches(breaches: list[Breach], columns: Mapping[str, Column]) -> list[Breach]:
    """Breaches in the order of the contract's columns, then of the rules."""
    place = {name: position for position, name in enumerate(columns)}
    return sorted(breaches, key=lambda breach: (place[breach.column], RULES.index(breach.rule), breach.expected))


def name_keys(columns: Mapping[str, Column]) -> list[str]:
    """The columns that say whose row it is."""
    return [name for name, column in columns.items() if column.role is Role.ID]


def find_repeats(safe: pd.DataFrame, columns: Mapping[str, Column]) -> tuple[Array, Array]:
    """Rows whose id an earlier row has: masks of those like it in all columns, and of the others, each (rows,).

    The first of several rows that are alike is kept. Without an id nothing is a repeat: two rows may well be alike.
    """
    keys = name_keys(columns)
    repeated, varied = np.zeros((2, len(safe)), dtype=bool)
    if keys:
        shared = safe[keys].duplicated(keep=False) & safe[keys].notna().all(axis=1)
        rows = np.flatnonzero(shared)
        part = safe.iloc[rows]
        alike = part.duplicated().to_numpy()
        repeated[rows] = alike
        varied[rows] = part[keys].duplicated().to_numpy() & ~alike
    return repeated, varied


def collect_breaches(
    typed: pd.DataFrame,
    broken: Mapping[str, Array],
    repeated: Array,
    fences: pd.DataFrame,
    columns: Mapping[str, Column],
) -> list[Breach]:
    """All breaches of a table, in the order of the contract's columns: of its rules, of repeats, of fences."""
    breaches = find_breaches(typed, broken, columns, build_schema(columns)) + find_outliers(typed, fences)
    if repeated.any():
        expected = "no repeat of an earlier row"
        breaches.append(Breach(name_keys(columns)[0], "repeats", expected, np.flatnonzero(repeated)))
    return sort_breaches(breaches, columns)


def measure_fences(typed: pd.DataFrame, columns: Mapping[str, Column]) -> pd.DataFrame:
    """Tukey's outer fences of every numeric column: one row a column, in the contract's order.

    Columns: column, lower, upper (3 interquartile ranges beyond the quartiles; Tukey 1977, Exploratory Data Analysis),
    below, above (rows), policy (keep, clip, quarantine). A column with equal quartiles has no fences (NaN): there,
    anything but the commonest value would lie outside.
    """
    rows = []
    for name, column in columns.items():
        if column.role is not Role.NUMERIC:
            continue
        values = typed[name].to_numpy(dtype="float64", na_value=np.nan)
        finite = values[np.isfinite(values)]
        lower, upper = compute_fences(finite)
        below, above = int((finite < lower).sum()), int((finite > upper).sum())
        rows.append((name, lower, upper, below, above, column.outliers))
    return pd.DataFrame(rows, columns=["column", "lower", "upper", "below", "above", "policy"])


def compute_fences(finite: Array) -> tuple[float, float]:
    """Tukey's outer fences of finite numbers; NaN where the quartiles are equal or there are no numbers."""
    if not len(finite):
        return float("nan"), float("nan")
    first, third = (float(value) for value in np.quantile(finite, [0.25, 0.75]))
    if first == third:
        return float("nan"), float("nan")
    return first - OUTER * (third - first), third + OUTER * (third - first)


def find_outliers(typed: pd.DataFrame, fences: pd.DataFrame) -> list[Breach]:
    """Rows beyond the fences of the columns whose contract says `outliers: quarantine`."""
    breaches = []
    for fence in fences[fences["policy"] == "quarantine"].itertuples():
        values = typed[fence.column].to_numpy(dtype="float64", na_value=np.nan)
        rows = np.flatnonzero(np.isfinite(values) & ((values < fence.lower) | (values > fence.upper)))
        if len(rows):
            expected = f"{fence.lower:.4g} to {fence.upper:.4g} (Tukey's outer fences)"
            breaches.append(Breach(str(fence.column), "outliers", expected, rows))
    return breaches


def split_rows(
    safe: pd.DataFrame, typed: pd.DataFrame, breaches: list[Breach], columns: Mapping[str, Column]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The valid rows, in the contract's types, and the others as they came, with every reason; both in order.

    No row is lost: each is in one of the two. Reasons stand in the last column, `reasons`, joined by "; ".
    """
    sound = np.ones(len(safe), dtype=bool)
    for breach in breaches:
        sound[breach.rows] = False
    valid = solidify(typed[sound], columns).reset_index(drop=True)
    quarantine = safe[~sound].reset_index(drop=True)
    return valid, quarantine.assign(**{name_reasons(safe): join_reasons(safe, breaches, np.flatnonzero(~sound))})


def name_reasons(safe: pd.DataFrame) -> str:
    """The name of the column of reasons: `reasons`, with underscores behind it where the table has such a column."""
    name = "reasons"
    while name in safe:
        name += "_"
    return name


def join_reasons(safe: pd.DataFrame, breaches: list[Breach], rows: Array) -> Series:
    """Every reason of each of the rows (positions, ascending), as text joined by "; "."""
    reasons = np.full(len(rows), "", dtype=object)
    for breach in breaches:
        places = np.searchsorted(rows, breach.rows)
        before = reasons[places]
        reasons[places] = before + np.where(before == "", "", "; ") + explain_rows(safe, breach).to_numpy(dtype=object)
    return pd.Series(reasons, dtype="str")


def explain_rows(safe: pd.DataFrame, breach: Breach) -> Series:
    """A breach's reason for each of its rows: `age: -3, expected at least 0`."""
    raw = safe[breach.column].iloc[breach.rows]
    shown = raw.astype("str").str.slice(0, SHOWN)
    shown = ("'" + shown + "'" if raw.dtype == "str" else shown).fillna("missing")
    return f"{breach.column}: " + shown + f", expected {breach.expected}"


def show_rows(safe: pd.DataFrame, breach: Breach, most: int = 3) -> list[str]:
    """A breach's first rows, as examples; rows are counted from 1."""
    few = Breach(breach.column, breach.rule, breach.expected, breach.rows[:most])
    return [f"row {row + 1}: {text}" for row, text in zip(few.rows, explain_rows(safe, few), strict=True)]


def count_reasons(breaches: list[Breach]) -> pd.DataFrame:
    """Rows by reason, the commonest first: columns column, rule, reason, rows."""
    rows = [
        (breach.column, breach.rule, f"{breach.column}: expected {breach.expected}", len(breach.rows))
        for breach in breaches
    ]
    counts = pd.DataFrame(rows, columns=["column", "rule", "reason", "rows"])
    return counts.sort_values("rows", ascending=False, kind="stable", ignore_index=True)


def share_missing(typed: pd.DataFrame, broken: Mapping[str, Array]) -> pd.Series[float]:
    """The share of each column's cells that are missing; those that could not be converted are not."""
    unread = pd.Series({name: float(mask.mean()) for name, mask in broken.items()}, dtype="float64")
    return typed.isna().mean().sub(unread.reindex(typed.columns, fill_value=0.0))


def find_duplicates(safe: pd.DataFrame, columns: Mapping[str, Column]) -> Array:
    """Which rows are alike an earlier one in all but the ids: a mask of shape (rows,)."""
    rest = safe.drop(columns=name_keys(columns))
    return rest.duplicated().to_numpy() if rest.shape[1] else np.zeros(len(safe), dtype=bool)


@dataclass(frozen=True)
class Course:
    """A time column at a glance; moments are UTC where they name an offset."""

    first: pd.Timestamp
    last: pd.Timestamp
    aware: int  # cells that name their offset from UTC
    naive: int
    backwards: Array  # positions of rows older than the row before (of the same id, where ids repeat)
    period: str
    gaps: tuple[tuple[pd.Timestamp, pd.Timestamp], ...]  # the moments on both sides of each


def trace_time(safe: pd.DataFrame, typed: pd.DataFrame, columns: Mapping[str, Column]) -> Course | None:
    """The course of the time column, implausible moments left out; None without such a column, or any moment in it."""
    name = next((name for name, column in columns.items() if column.role is Role.TIME), None)
    if name is None:
        return None
    moments = typed[name][(typed[name] >= WINDOW[0]) & (typed[name] < WINDOW[1])]
    if moments.empty:
        return None
    keys = name_keys(columns)
    grouped = keys and typed[keys].duplicated().any()
    steps = moments.groupby([typed.loc[moments.index, key] for key in keys]).diff() if grouped else moments.diff()
    period, gaps = find_gaps(moments)
    backwards = moments.index[steps < pd.Timedelta(0)].to_numpy(dtype=np.int64)
    return Course(moments.min(), moments.max(), *count_zones(safe[name]), backwards, period, gaps)


def choose_period(stamps: Array) -> str:
    """The finest period of which the mean one that has rows has ten; `stamps` are microseconds, int64."""
    fine = (name for name, width in PERIODS.items() if len(stamps) >= BUSY * len(np.unique(stamps // width)))
    return next(fine, list(PERIODS)[-1])


def find_gaps(moments: Series) -> tuple[str, tuple[tuple[pd.Timestamp, pd.Timestamp], ...]]:
    """Stretches without rows, longer than twice what is usual (the 95th percentile of steps between busy periods).

    Returns the period they are counted in, and the moments on both sides of each.
    """
    stamps = moments.to_numpy(dtype="datetime64[us]").astype(np.int64)
    period = choose_period(stamps)
    width = PERIODS[period]
    busy = np.unique(stamps // width)
    steps = np.diff(busy)
    if not len(steps):
        return period, ()
    after = np.flatnonzero(steps > 2 * np.quantile(steps, 0.95, method="lower"))
    ends = [
        (pd.Timestamp(int(busy[i] + 1) * width, unit="us"), pd.Timestamp(int(busy[i + 1]) * width, unit="us"))
        for i in after
    ]
    return period, tuple(ends)
