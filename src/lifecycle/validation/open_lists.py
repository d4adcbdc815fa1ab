"""Count the values that columns with `open` in the contract have beyond their `values`: allowed, and shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lifecycle.core.contract import Column
from lifecycle.validation.sampling import Tally, count_distinct

MOST = 1000  # values of a column that are counted one by one


@dataclass(frozen=True)
class Unlisted:
    """The rows with a value that a column's open list does not have, and the rows of each (of some, if there are many)."""

    rows: int
    counts: dict[Any, int]


class UnlistedCounter:
    """Counts, from parts of a typed table, the values that open lists do not have; the result does not depend on the parts."""

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self.listed = {name: list(column.values or ()) for name, column in columns.items() if column.open}
        self.rows = dict.fromkeys(self.listed, 0)
        self.tallies = {name: Tally(MOST) for name in self.listed}

    def add(self, typed: pd.DataFrame) -> None:
        """Count a part; missing values are in no list, and do not count."""
        for name, listed in self.listed.items():
            values, counts = count_distinct(typed[name])
            unlisted = (values.notna() & ~values.isin(listed)).to_numpy(dtype=bool)
            if unlisted.any():
                self.rows[name] += int(counts[unlisted].sum())
                self.tallies[name].add(values[unlisted], counts[unlisted])

    def list_unlisted(self) -> dict[str, Unlisted]:
        """Return what was counted, by column with an open list, in the contract's order."""
        return {
            name: Unlisted(rows, {value: int(count) for value, count in self.tallies[name].list_counts().items()})
            for name, rows in self.rows.items()
        }
