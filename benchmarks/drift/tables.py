"""Generated tables to measure speed on: half of the columns are numbers, half are categories, and some values are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Array = np.ndarray[Any, Any]
CATEGORIES = (2, 3, 5, 10, 20, 50, 100)  # of the categorical columns, in turn
MISSING = 0.01  # of each column


def make_table(rows: int, columns: int, seed: int) -> pd.DataFrame:
    """Return a table of one population, whatever the seed: normal or skewed numbers, some of them rounded; ever rarer categories."""
    generator = np.random.default_rng(seed)
    numbers = columns - columns // 2
    made: dict[str, Any] = {f"number_{place}": draw_numbers(generator, rows, place) for place in range(numbers)}
    made |= {f"category_{place}": draw_categories(generator, rows, place) for place in range(columns - numbers)}
    return pd.DataFrame(made)


def draw_numbers(generator: np.random.Generator, rows: int, place: int) -> Array:
    """Return the numbers of a column, of four kinds in turn; shape (rows,)."""
    draw = (generator.normal, generator.lognormal)[place % 2]
    values = draw(place % 5, 1 + place % 3 / 2, rows)
    if place % 4 >= 2:
        values = np.round(values, place % 4 - 2)
    values[generator.random(rows) < MISSING] = np.nan
    return np.asarray(values)


def draw_categories(generator: np.random.Generator, rows: int, place: int) -> pd.Series:
    """Return the categories of a column as str, with frequencies by Zipf's law."""
    count = CATEGORIES[place % len(CATEGORIES)]
    shares = np.cumsum(1 / np.arange(1, count + 1))
    codes = np.searchsorted(shares / shares[-1], generator.random(rows))
    codes[generator.random(rows) < MISSING] = -1
    words = pd.Index([f"category {number} of {place}" for number in range(count)])
    return pd.Series(pd.Categorical.from_codes(codes, words)).astype("str")


def write_table(path: Path, rows: int, columns: int, seed: int) -> None:
    """Write such a table as Parquet."""
    make_table(rows, columns, seed).to_parquet(path, index=False)
