"""What the contract says of rows, as a pandera schema and checked in parts of a table, and what the whole tells: fences, time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import numpy as np
import pandas as pd

from lifecycle.contract import Column, Role
from lifecycle.data.conversion import DTYPES, EXPECTED, convert_columns, count_zones, is_words
from lifecycle.data.repeats import Places, Spool, gather_places, hash_rows, merge_places
from lifecycle.data.samples import hash_values

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
PERIODS = {"hour": 1, "day": 24, "week": 168, "four weeks": 672}  # in hours
START = int(WINDOW[0].timestamp()) // 3600  # the window's first hour, since 1970
NEVER = -(2**62)  # the stamp of a moment that is not there
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


def find_breaches(typed: pd.DataFrame, broken: Mapping[str, Array], columns: Mapping[str, Column]) -> list[Breach]:
    """Every breach of the contract's rules in a part of a typed table; rows do not depend on each other.

    They are those that `build_schema` finds, without pandera's cost for each part. `broken` are the masks of cells that
    could not be converted: these are a breach of type, not of presence.
    """
    breaches = [
        Breach(name, "types", EXPECTED[columns[name].dtype], np.flatnonzero(mask)) for name, mask in broken.items()
    ]
    for name, column in columns.items():
        missing = typed[name].isna().to_numpy()
        if not column.nullable and missing.any():
            unsaid = missing & ~broken[name] if name in broken else missing
            breaches.append(Breach(name, "missing", "a value", np.flatnonzero(unsaid)))
        for rule, expected, test in list_tests(column):
            kept = pd.Series(test(typed[name])).to_numpy(dtype=bool, na_value=True)
            if not kept.all():
                breaches.append(Breach(name, rule, expected, np.flatnonzero(~kept & ~missing)))
    return [breach for breach in breaches if len(breach.rows)]


def sort_breaches(breaches: list[Breach], columns: Mapping[str, Column]) -> list[Breach]:
    """Breaches in the order of the contract's columns, then of the rules."""
    place = {name: position for position, name in enumerate(columns)}
    return sorted(breaches, key=lambda breach: (place[breach.column], RULES.index(breach.rule), breach.expected))


def name_keys(columns: Mapping[str, Column]) -> list[str]:
    """The columns that say whose row it is."""
    return [name for name, column in columns.items() if column.role is Role.ID]


def collect_breaches(
    typed: pd.DataFrame,
    broken: Mapping[str, Array],
    repeated: Array,
    fences: pd.DataFrame,
    columns: Mapping[str, Column],
) -> list[Breach]:
    """All breaches of a part of a table, in the order of the contract's columns: of its rules, of repeats, of fences."""
    breaches = find_breaches(typed, broken, columns) + find_outliers(typed, fences)
    if repeated.any():
        expected = "no repeat of an earlier row"
        breaches.append(Breach(name_keys(columns)[0], "repeats", expected, np.flatnonzero(repeated)))
    return sort_breaches(breaches, columns)


def read_numbers(typed: pd.DataFrame, columns: Mapping[str, Column]) -> pd.DataFrame:
    """The numeric columns as float64, missing values as NaN."""
    numeric = [name for name, column in columns.items() if column.role is Role.NUMERIC]
    return pd.DataFrame(
        {name: typed[name].to_numpy(dtype="float64", na_value=np.nan) for name in numeric}, index=typed.index
    )


def measure_fences(numbers: pd.DataFrame, columns: Mapping[str, Column]) -> pd.DataFrame:
    """Tukey's outer fences of every numeric column: one row a column, in the contract's order.

    Columns: column, lower, upper (3 interquartile ranges beyond the quartiles; Tukey 1977, Exploratory Data Analysis),
    policy (keep, clip, quarantine). A column with equal quartiles has no fences (NaN): there, anything but the commonest
    value would lie outside.
    """
    rows = [
        (name, *compute_fences(values[np.isfinite(values)]), columns[str(name)].outliers)
        for name, values in ((name, numbers[name].to_numpy()) for name in numbers)
    ]
    return pd.DataFrame(rows, columns=["column", "lower", "upper", "policy"])


def count_beyond(numbers: pd.DataFrame, fences: pd.DataFrame) -> Array:
    """How many numbers of each column lie below and above its fences: int64 (columns, 2)."""
    counts = np.zeros((len(fences), 2), dtype=np.int64)
    for place, (name, lower, upper) in enumerate(zip(fences["column"], fences["lower"], fences["upper"], strict=True)):
        values = numbers[name].to_numpy()
        below, above = values < lower, values > upper
        counts[place] = [(below & np.isfinite(values)).sum(), (above & np.isfinite(values)).sum()]
    return counts


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
    shown = ("'" + shown + "'" if is_words(raw) else shown).fillna("missing")
    return f"{breach.column}: " + shown + f", expected {breach.expected}"


class BreachCounter:
    """Takes the breaches of a table's parts; counts rows by reason and by check, and keeps the first of each reason."""

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self.columns = columns
        self.reasons: dict[tuple[str, str, str], tuple[int, str]] = {}  # column, rule, expected: rows, an example
        self.rows: dict[str, int] = {}  # by check: a row that breaks several of its rules counts once

    def add(self, safe: pd.DataFrame, breaches: list[Breach]) -> None:
        """Count a part's breaches; examples count rows from 1 by the part's index."""
        groups: dict[str, list[Array]] = {}
        for breach in breaches:
            key = (breach.column, breach.rule, breach.expected)
            count, example = self.reasons.get(key) or (0, show_first(safe, breach))
            self.reasons[key] = (count + len(breach.rows), example)
            groups.setdefault(self.name_check(breach.column, breach.rule), []).append(breach.rows)
        for name, rows in groups.items():
            self.rows[name] = self.rows.get(name, 0) + len(np.unique(np.concatenate(rows)))

    def name_check(self, column: str, rule: str) -> str:
        """The check that a breach belongs to."""
        if self.columns[column].role is Role.TARGET:
            return "target"
        return "outlier_rows" if rule == "outliers" else rule

    def list_reasons(self) -> pd.DataFrame:
        """Rows by reason, the commonest first: columns column, rule, reason, rows, example, check.

        The index is their order by the contract's columns, then by rule.
        """
        place = {name: position for position, name in enumerate(self.columns)}
        ordered = sorted(self.reasons, key=lambda key: (place[key[0]], RULES.index(key[1]), key[2]))
        rows = [
            (column, rule, f"{column}: expected {expected}", *self.reasons[column, rule, expected])
            for column, rule, expected in ordered
        ]
        table = pd.DataFrame(rows, columns=["column", "rule", "reason", "rows", "example"])
        table["check"] = [self.name_check(*key) for key in zip(table["column"], table["rule"], strict=True)]
        return table.sort_values("rows", ascending=False, kind="stable")


def show_first(safe: pd.DataFrame, breach: Breach) -> str:
    """A breach's first row, as an example; rows are counted from 1."""
    first = Breach(breach.column, breach.rule, breach.expected, breach.rows[:1])
    return f"row {safe.index[first.rows[0]] + 1}: {explain_rows(safe, first).iloc[0]}"


@dataclass(frozen=True)
class Course:
    """A time column at a glance; moments are UTC where they name an offset."""

    first: pd.Timestamp
    last: pd.Timestamp
    aware: int  # cells that name their offset from UTC
    naive: int
    backwards: Places  # rows older than the row before (of the same id, where ids repeat)
    period: str
    gaps: tuple[tuple[pd.Timestamp, pd.Timestamp], ...]  # the moments on both sides of each


class CourseTracer:
    """Takes a table in parts and follows its time column, implausible moments left out.

    Order within each id is told from records in `folder` (`repeats.Spool`), which are gone with the block.
    """

    def __init__(self, columns: Mapping[str, Column], folder: Path, rows: int) -> None:
        self.name = next((name for name, column in columns.items() if column.role is Role.TIME), None)
        self.keys = name_keys(columns)
        self.columns = {name: columns[name] for name in (self.name, *self.keys) if name is not None}
        self.spool = Spool(folder, rows, 3)
        self.hours = np.zeros(int((WINDOW[1] - WINDOW[0]) / pd.Timedelta("1h")), dtype=bool)  # that have rows
        self.count, self.first, self.last = 0, -NEVER, NEVER
        self.previous = START * HOUR
        self.zones = np.zeros(2, dtype=np.int64)
        self.backwards: list[Places] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.spool.__exit__()

    def add(self, safe: pd.DataFrame) -> None:
        """Take rows, whose index holds their positions in the table."""
        if self.name is None:
            return
        self.zones += count_zones(safe[self.name])
        typed, _ = convert_columns(safe, self.columns)
        moments = typed[self.name]
        plausible = ((moments >= WINDOW[0]) & (moments < WINDOW[1])).to_numpy()
        stamps = moments.to_numpy(dtype="datetime64[us]").astype(np.int64)
        places = safe.index.to_numpy(dtype=np.int64)
        if self.keys:
            known = typed[self.keys].notna().all(axis=1).to_numpy()
            ids = hash_rows((hash_values(typed[name]) for name in self.keys), len(typed))
            self.spool.add(ids, np.where(plausible & known, stamps, NEVER), places)
        stamps, places = stamps[plausible], places[plausible]
        if not len(stamps):
            return
        self.hours[np.unique(stamps // HOUR) - START] = True
        self.backwards.append(gather_places([places[np.diff(stamps, prepend=self.previous) < 0]]))
        self.previous = stamps[-1]
        self.first, self.last = min(self.first, stamps.min()), max(self.last, stamps.max())
        self.count += len(stamps)

    def trace(self) -> Course | None:
        """The course of all rows that were taken; None without a time column, or any moment in it."""
        if not self.count:
            return None
        period, gaps = find_gaps(np.flatnonzero(self.hours) + START, self.count)
        within = [list_backwards(records) for records in self.spool] if self.keys else []
        grouped = any(repeat for repeat, _ in within)
        backwards = [found for _, found in within] if grouped else self.backwards
        first, last = (pd.Timestamp(int(stamp), unit="us") for stamp in (self.first, self.last))
        aware, naive = map(int, self.zones)
        return Course(first, last, aware, naive, merge_places(backwards), period, gaps)


def list_backwards(records: Array) -> tuple[bool, Places]:
    """Whether ids of records (id, moment, position) repeat, and the rows older than the row before of the same id."""
    grouped = bool(pd.Series(records[:, 0]).duplicated().any())
    stamps = records[:, 1].view(np.int64)
    order = np.argsort(records[:, 0], kind="stable")
    order = order[stamps[order] != NEVER]
    same = np.diff(records[order, 0]) == 0
    back = order[1:][same & (np.diff(stamps[order]) < 0)]
    return grouped, gather_places([records[back, 2].astype(np.int64)])


def choose_period(hours: Array, count: int) -> str:
    """The finest period of which the mean one that has rows has ten; `hours` that have rows are whole, since 1970."""
    fine = (name for name, width in PERIODS.items() if count >= BUSY * len(np.unique(hours // width)))
    return next(fine, list(PERIODS)[-1])


def find_gaps(hours: Array, count: int) -> tuple[str, tuple[tuple[pd.Timestamp, pd.Timestamp], ...]]:
    """Stretches without rows, longer than twice what is usual (the 95th percentile of steps between busy periods).

    `hours` are those since 1970 that have rows, int64, ascending; `count` are the rows. Returns the period they are counted
    in, and the moments on both sides of each.
    """
    period = choose_period(hours, count)
    width = PERIODS[period]
    busy = np.unique(hours // width)
    steps = np.diff(busy)
    if not len(steps):
        return period, ()
    after = np.flatnonzero(steps > 2 * np.quantile(steps, 0.95, method="lower"))
    ends = [
        (pd.Timestamp(int(busy[i] + 1) * width, unit="h"), pd.Timestamp(int(busy[i + 1]) * width, unit="h"))
        for i in after
    ]
    return period, tuple(ends)
