"""The passes of validation over a table in parts: a survey of the whole, then the split into valid rows and quarantine.

The memory of a pass does not grow with the table, except for one byte a row; its results do not depend on how the table is
cut into parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa

from lifecycle.core.contract import Column, Contract, Role
from lifecycle.core.progress import show_progress
from lifecycle.core.tables import TableWriter, open_table
from lifecycle.validation.chronology import Course, CourseTracer
from lifecycle.validation.conversion import convert_columns, read_raw, solidify, spell_out
from lifecycle.validation.duplicates import RepeatFinder, Repeats
from lifecycle.validation.open_lists import Unlisted, UnlistedCounter
from lifecycle.validation.outliers import count_beyond, measure_fences, read_numbers
from lifecycle.validation.pii import Protection, protect_table
from lifecycle.validation.profile import Profiler
from lifecycle.validation.rules import Breach, BreachCounter, collect_breaches, join_reasons, name_keys, name_reasons
from lifecycle.validation.sampling import choose_rows, find_span, limit_rows

Series: TypeAlias = "pd.Series[Any]"
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Survey:
    """Measurements of the whole table that the rows are compared with.

    `numbers` are the numeric columns as float64: all rows of a table of up to a million, else a sample; `fences` (see
    `outliers.measure_fences`) are measured on it.
    """

    rows: int
    numbers: pd.DataFrame
    fences: pd.DataFrame
    repeats: Repeats
    course: Course | None


@dataclass(frozen=True)
class Split:
    """The result of the split.

    `reasons`: see `BreachCounter.list_reasons`. `broken`: rows by check. `fences`: with the rows `below` and `above`.
    `missing`: each column's share. `unlisted`: by column with an open list. `profile`: of the valid rows, with the bins of the reference profile. `sample`: valid
    rows, all of a small table, in order. `classes`: valid rows by class.
    """

    valid: int
    quarantined: int
    reasons: pd.DataFrame
    broken: dict[str, int]
    fences: pd.DataFrame
    missing: pd.Series[float]
    unlisted: dict[str, Unlisted]
    profile: dict[str, Any]
    sample: pd.DataFrame
    classes: dict[Any, int]


def read_safe(
    path: Path, contract: Contract, protection: Protection, rows: int | None = None
) -> Iterator[pd.DataFrame]:
    """Read the raw table in parts without personal data, as every pass does except the search for it."""
    for part in read_raw(path, contract, protection.dropped, rows):
        yield protect_table(part, protection)


def survey_table(parts: Iterable[pd.DataFrame], columns: Mapping[str, Column], folder: Path, rows: int) -> Survey:
    """Survey a table of `rows` rows in parts; `folder` holds hashes meanwhile."""
    numeric = {name: column for name, column in columns.items() if column.role is Role.NUMERIC}
    chosen: list[pd.DataFrame] = []
    with RepeatFinder(name_keys(columns), folder, rows) as finder, CourseTracer(columns, folder, rows) as tracer:
        for part in show_progress(parts, "survey", rows):
            span = find_span(part)
            finder.add(part)
            tracer.add(part)
            some = part[[*numeric]][choose_rows(span, limit_rows(len(numeric)), rows)]
            chosen.append(read_numbers(convert_columns(some, numeric)[0], numeric))
        repeats, course = finder.find(), tracer.trace()
    numbers = pd.concat(chosen)
    return Survey(rows, numbers, measure_fences(numbers, columns), repeats, course)


def split_table(
    parts: Iterable[pd.DataFrame],
    survey: Survey,
    columns: Mapping[str, Column],
    like: dict[str, Any] | None,
    paths: tuple[Path, Path],
    size: int,
) -> Split:
    """Write the valid rows, in the contract's types, to the first of the `paths`, and the others, unchanged, to the second.

    Each row is in one of the two, in order. The last column of the quarantine, `reasons`, holds every reason of a row,
    joined by "; ". `like` is the reference profile; `size` the maximum of rows in the sample.
    """
    counter, unlisted, profiler = BreachCounter(columns), UnlistedCounter(columns), Profiler(columns, like)
    target = next(name for name, column in columns.items() if column.role is Role.TARGET)
    missing, beyond = np.zeros(len(columns), dtype=np.int64), np.zeros((len(survey.fences), 2), dtype=np.int64)
    size = min(size, limit_rows(len(columns)))
    sample, classes = [], pd.Series(dtype="int64")
    with ExitStack() as stack:
        writers: list[TableWriter] = []
        for part in show_progress(parts, "split", survey.rows):
            typed, broken = convert_columns(part, columns)
            span = find_span(part)
            breaches = collect_breaches(typed, broken, survey.repeats.repeated[span], survey.fences, columns)
            sound = np.ones(len(part), dtype=bool)
            for breach in breaches:
                sound[breach.rows] = False
            valid = solidify(typed if sound.all() else typed[sound], columns)
            outcome = spell_out(valid), _gather_quarantine(part, breaches, np.flatnonzero(~sound))
            writers = writers or [
                stack.enter_context(open_table(path, pa.Schema.from_pandas(frame.head(0), preserve_index=False)))
                for path, frame in zip(paths, outcome, strict=True)
            ]
            for writer, frame in zip(writers, outcome, strict=True):
                writer.write(frame)
            counter.add(part, breaches)
            unlisted.add(typed)
            profiler.add(valid)
            missing += _count_missing(typed, broken)
            beyond += count_beyond(read_numbers(typed, columns), survey.fences)
            sample.append(outcome[0][choose_rows(span, size, survey.rows)[sound]])
            classes = classes.add(outcome[0][target].value_counts(), fill_value=0)
    below, above = beyond.T
    return Split(
        valid=writers[0].rows,
        quarantined=writers[1].rows,
        reasons=counter.list_reasons(),
        broken=counter.rows,
        fences=survey.fences.assign(below=below, above=above),
        missing=pd.Series(missing / max(survey.rows, 1), index=[*columns], dtype="float64"),
        unlisted=unlisted.list_unlisted(),
        profile=profiler.make_profile(),
        sample=pd.concat(sample, ignore_index=True),
        classes={level: int(count) for level, count in classes.items()},
    )


def _gather_quarantine(safe: pd.DataFrame, breaches: list[Breach], rows: Array) -> pd.DataFrame:
    """Return the rows at these positions (ascending), unchanged, with every reason in the last column."""
    reasons = join_reasons(safe, breaches, rows)
    return (
        spell_out(safe.iloc[rows])
        .assign(**{name_reasons(safe): reasons.to_numpy()})
        .astype({name_reasons(safe): "str"})
    )


def _count_missing(typed: pd.DataFrame, broken: Mapping[str, Array]) -> Array:
    """Count the missing cells of each column, int64 (columns,), without those that could not be converted."""
    unread = [broken[str(name)].sum() if name in broken else 0 for name in typed]
    return np.asarray(typed.isna().sum().to_numpy() - unread)
