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

HOUR = 3_600_000_000  # in microseconds
PERIODS = {"hour": 1, "day": 24, "week": 168, "four weeks": 672}  # in hours
START = int(WINDOW[0].timestamp()) // 3600  # the window's first hour, since 1970
NEVER = -(2**62)  # the stamp of a moment that is not there
BUSY = 10  # rows in a mean period, from which an empty one is worth a word


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
