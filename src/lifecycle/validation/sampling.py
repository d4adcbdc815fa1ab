"""Samples of a long table in bounded memory: some of its rows, and counts of its distinct values.

Both are chosen by a hash, so that the result does not depend on how the table is cut into parts.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pandas as pd

Series: TypeAlias = "pd.Series[Any]"
Array = np.ndarray[Any, Any]

_CELLS = 1 << 24  # of a sample: 128 MB of numbers
ROWS = 1 << 20  # of a sample of few columns: quantiles are off by 0.1 % of the ranks (two standard errors)
_DISTINCT = (
    1 << 16
)  # values that are counted separately; beyond, their number is estimated within 0.8 % (two standard errors)
_ABSENT = np.uint64(0x9E3779B97F4A7C15)  # the hash of a missing value


def scramble(words: Array, seed: int = 0) -> Array:
    """Return a one-to-one hash of 64-bit values, uint64 (the finaliser of SplitMix64; Steele et al. 2014, OOPSLA)."""
    mixed = words + np.uint64((seed + 1) * int(_ABSENT) % 2**64)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def hash_values(values: Series, seed: int = 0) -> Array:
    """Return a hash of each value, uint64 (rows,), equal for missing values and for equal values (0.0 and -0.0)."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        hashes = hash_values(pd.Series(values.cat.categories), seed)
        return np.append(hashes, _ABSENT)[values.cat.codes.to_numpy()]
    kind = values.dtype.kind
    if kind == "f":
        words = (values.to_numpy() + 0.0).view(np.uint64)
    elif kind in "iub":
        words = values.to_numpy(dtype="int64", na_value=0).view(np.uint64)
    elif kind == "M":
        words = values.to_numpy(dtype="datetime64[us]").view(np.uint64)
    else:
        missing = values.isna()
        texts = values.to_numpy(dtype=object)
        hashes = pd.util.hash_array(np.where(missing, "", texts) if missing.any() else texts, categorize=False)
        words = np.where(missing, _ABSENT, hashes)
        return scramble(words, seed) if seed else words
    return np.where(values.isna(), _ABSENT, scramble(words, seed))


def count_distinct(values: Series) -> tuple[Series, Array]:
    """Return the distinct values, without missing ones, and their counts, int64."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes, distinct = values.cat.codes.to_numpy(), pd.Series(values.cat.categories)
    else:
        codes, index = pd.factorize(values)
        distinct = pd.Series(index, dtype=values.dtype)
    counts = np.bincount(codes + 1, minlength=len(distinct) + 1)[1:]
    return distinct[counts > 0], counts[counts > 0]


def limit_rows(columns: int) -> int:
    """Return the number of rows of a sample with so many columns."""
    return min(ROWS, _CELLS // max(columns, 1))


def limit_distinct(columns: int) -> int:
    """Return how many distinct values are counted in each of so many columns."""
    return min(_DISTINCT, _CELLS // 8 // max(columns, 1))


def find_span(part: pd.DataFrame) -> slice:
    """Return the range of a part's rows in the table."""
    start = int(part.index[0]) if len(part) else 0
    return slice(start, start + len(part))


def choose_rows(span: slice, size: int, rows: int) -> Array:
    """Return which rows of the span belong to a sample of about `size` of all `rows`: booleans.

    Each row is chosen with the same probability, by a hash of its position; all are when there are at most `size`.
    """
    if rows <= size:
        return np.ones(span.stop - span.start, dtype=bool)
    return scramble(np.arange(span.start, span.stop, dtype=np.uint64)) < np.uint64(int(size / rows * 2**64))


class Tally:
    """Counts distinct values: all of up to `limit`, beyond that those with the smallest hashes.

    The count of a kept value is exact (bottom-k sketch: Cohen & Kaplan 2007, PODC).
    """

    def __init__(self, limit: int = _DISTINCT) -> None:
        self.limit = limit
        self.hashes = np.array([], dtype=np.uint64)  # ascending
        self.counts = np.array([], dtype=np.int64)
        self.values: Array | None = None  # in the column's own type
        self.full = False

    def add(self, values: Series, counts: Array | None = None) -> None:
        """Count values without missing ones; `counts`, int64, says how often each occurs."""
        if counts is None and values.dtype.kind == "O":  # hashing text is slow: hash each distinct one once
            values, counts = count_distinct(values)
        elif values.hasnans:
            values = values.dropna()
        hashes = hash_values(values)
        if self.full:
            least = hashes <= self.hashes[-1]
            hashes, values = hashes[least], values[least]
            counts = None if counts is None else counts[least]
        codes, fresh = pd.factorize(hashes)
        added = np.bincount(codes, weights=counts, minlength=len(fresh)).astype(np.int64)
        places = np.searchsorted(self.hashes, fresh)
        known = np.append(self.hashes, 0)[places] == fresh if len(self.hashes) else np.zeros(len(fresh), dtype=bool)
        self.counts[places[known]] += added[known]
        if not known.all():
            first = np.zeros(len(fresh), dtype=np.int64)
            first[codes[::-1]] = np.arange(len(codes))[::-1]
            kept = values.iloc[first[~known]]
            numeric = isinstance(kept.dtype, np.dtype)
            self.insert(fresh[~known], added[~known], kept.to_numpy() if numeric else kept.to_numpy(dtype=object))

    def insert(self, hashes: Array, counts: Array, values: Array) -> None:
        """Add new values, and drop those beyond the limit."""
        hashes, counts = np.append(self.hashes, hashes), np.append(self.counts, counts)
        order = np.argsort(hashes, kind="stable")
        self.full = self.full or len(order) > self.limit
        order = order[: self.limit]
        self.hashes, self.counts = hashes[order], counts[order]
        self.values = (values if self.values is None else np.append(self.values, values))[order]

    @property
    def distinct(self) -> int:
        """The number of distinct values; beyond the limit it is estimated from the density of the smallest hashes."""
        if not self.full:
            return len(self.hashes)
        return round((self.limit - 1) / (int(self.hashes[-1]) / 2**64))

    def list_counts(self) -> Series:
        """Return the counts by value, int64, in the order of the hashes."""
        return pd.Series(self.counts, index=pd.Index([] if self.values is None else self.values, dtype=object))

    def find_commonest(self) -> Any:
        """Return the most common value, the smallest of several; None without values."""
        counts = self.list_counts()
        return min(counts.index[counts == counts.max()], default=None)
