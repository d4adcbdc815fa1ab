"""The order of a table in time: rows that step back, gaps, and the period in which rows arrive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from lifecycle.core.contract import Column, Role
from lifecycle.validation.conversion import convert_columns, count_zones
from lifecycle.validation.duplicates import Places, Spool, gather_places, hash_rows, merge_places
from lifecycle.validation.rules import WINDOW, Array, name_keys
from lifecycle.validation.sampling import hash_values

_HOUR = 3_600_000_000  # microseconds
_PERIODS = {"hour": 1, "day": 24, "week": 168, "four weeks": 672}  # in hours
_START = int(WINDOW[0].timestamp()) // 3600  # the first hour of the plausible window, since 1970
_MISSING_TIME = -(2**62)  # stands for a missing time
_BUSY = 10  # rows of an average period, from which an empty period counts as a gap


@dataclass(frozen=True)
class Course:
    """A summary of the time column; times are in UTC where they name an offset."""

    first: pd.Timestamp
    last: pd.Timestamp
    aware: int  # cells with an offset from UTC
    naive: int
    backwards: Places  # rows older than the row before (of the same id, when ids repeat)
    period: str
    gaps: tuple[tuple[pd.Timestamp, pd.Timestamp], ...]  # the times on both sides of each gap


class CourseTracer:
    """Follows the time column of a table in parts, without implausible times.

    The order within each id is computed from records in `folder` (`duplicates.Spool`), which are removed with the block.
    """

    def __init__(self, columns: Mapping[str, Column], folder: Path, rows: int) -> None:
        self.name = next((name for name, column in columns.items() if column.role is Role.TIME), None)
        self.keys = name_keys(columns)
        self.columns = {name: columns[name] for name in (self.name, *self.keys) if name is not None}
        self.spool = Spool(folder, rows, 3)
        self.hours = np.zeros(int((WINDOW[1] - WINDOW[0]) / pd.Timedelta("1h")), dtype=bool)  # hours that have rows
        self.count, self.first, self.last = 0, -_MISSING_TIME, _MISSING_TIME
        self.previous = _START * _HOUR
        self.zones = np.zeros(2, dtype=np.int64)
        self.backwards: list[Places] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.spool.__exit__()

    def add(self, safe: pd.DataFrame) -> None:
        """Add rows, whose index holds their positions in the table."""
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
            self.spool.add(ids, np.where(plausible & known, stamps, _MISSING_TIME), places)
        stamps, places = stamps[plausible], places[plausible]
        if not len(stamps):
            return
        self.hours[np.unique(stamps // _HOUR) - _START] = True
        self.backwards.append(gather_places([places[np.diff(stamps, prepend=self.previous) < 0]]))
        self.previous = stamps[-1]
        self.first, self.last = min(self.first, stamps.min()), max(self.last, stamps.max())
        self.count += len(stamps)

    def trace(self) -> Course | None:
        """Return the summary of all added rows; None without a time column or without times in it."""
        if not self.count:
            return None
        period, gaps = _find_gaps(np.flatnonzero(self.hours) + _START, self.count)
        within = [_list_backwards(records) for records in self.spool] if self.keys else []
        grouped = any(repeat for repeat, _ in within)
        backwards = [found for _, found in within] if grouped else self.backwards
        first, last = (pd.Timestamp(int(stamp), unit="us") for stamp in (self.first, self.last))
        aware, naive = map(int, self.zones)
        return Course(first, last, aware, naive, merge_places(backwards), period, gaps)


def _list_backwards(records: Array) -> tuple[bool, Places]:
    """Return whether ids of records (id, time, position) repeat, and the rows older than the previous one of their id."""
    grouped = bool(pd.Series(records[:, 0]).duplicated().any())
    stamps = records[:, 1].view(np.int64)
    order = np.argsort(records[:, 0], kind="stable")
    order = order[stamps[order] != _MISSING_TIME]
    same = np.diff(records[order, 0]) == 0
    back = order[1:][same & (np.diff(stamps[order]) < 0)]
    return grouped, gather_places([records[back, 2].astype(np.int64)])


def _choose_period(hours: Array, count: int) -> str:
    """Choose the finest period with at least ten rows on average; `hours` are those with rows, counted since 1970."""
    fine = (name for name, width in _PERIODS.items() if count >= _BUSY * len(np.unique(hours // width)))
    return next(fine, list(_PERIODS)[-1])


def _find_gaps(hours: Array, count: int) -> tuple[str, tuple[tuple[pd.Timestamp, pd.Timestamp], ...]]:
    """Find stretches without rows, longer than twice the 95th percentile of the steps between periods with rows.

    `hours` are those since 1970 with rows, int64, ascending; `count` is the number of rows. Returns the period that is
    used, and the times on both sides of each gap.
    """
    period = _choose_period(hours, count)
    width = _PERIODS[period]
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
