"""The profile of a table: counts for every column, which add up, and which later tables are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from lifecycle.core.contract import Column, Role
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import read_json
from lifecycle.core.histograms import bound_psi, measure_psi
from lifecycle.validation.sampling import Tally, count_distinct

Series: TypeAlias = "pd.Series[Any]"
_Array = np.ndarray[Any, Any]
_ColumnProfile = dict[str, Any]

_BINS = 10  # of a numeric column, of about equal size, with an open bin on either side
_LEVELS = 100  # categories of a column that are counted separately; the rest is `other`
_NOTABLE = 10  # expected rows, from which the absence of a category is not due to chance


def _profile_table(
    frame: pd.DataFrame, columns: Mapping[str, Column], like: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Profile every column of a typed table: {"rows", "columns": {name: column profile}}.

    Numeric: counts in bins between quantiles. Categorical, boolean and target: counts of categories. Others: the number
    of missing values. Identifying columns are left out. `like` is a profile whose bins and categories are used, so that
    the two can be compared and added.
    """
    numeric = {name: column for name, column in columns.items() if column.role is Role.NUMERIC and name in frame}
    edges = {name: cut_edges(frame[name].to_numpy(dtype="float64", na_value=np.nan)) for name in numeric}
    profiler = Profiler({name: column for name, column in columns.items() if name in frame}, like, edges)
    profiler.add(frame)
    return profiler.make_profile()


class Profiler:
    """Profiles a typed table in parts (see `profile_table`); the result does not depend on the parts.

    Bins are those of `like`, else `edges` (float64, ascending, by column), else a single one.
    """

    def __init__(
        self, columns: Mapping[str, Column], like: dict[str, Any] | None, edges: Mapping[str, _Array] | None = None
    ) -> None:
        known = like["columns"] if like else {}
        self.rows = 0
        self.sketches: dict[str, _NumericCounts | _CategoryCounts | _PresenceCounts] = {}
        for name, column in columns.items():
            usual = known.get(name, {})
            if column.role is Role.NUMERIC:
                bins = usual["edges"] if usual.get("kind") == "numeric" else (edges or {}).get(name, ())
                self.sketches[name] = _NumericCounts(np.array(bins, dtype=np.float64))
            elif column.role in (Role.CATEGORICAL, Role.BOOLEAN, Role.TARGET):
                self.sketches[name] = _CategoryCounts(
                    list(usual["categories"]) if usual.get("kind") == "categories" else []
                )
            elif column.role is not Role.PII:
                self.sketches[name] = _PresenceCounts()

    def add(self, part: pd.DataFrame) -> None:
        """Count a part's rows."""
        self.rows += len(part)
        for name, sketch in self.sketches.items():
            sketch.add(part[name])

    def make_profile(self) -> dict[str, Any]:
        """Return the profile of all counted rows."""
        columns = {name: sketch.describe(self.rows) for name, sketch in self.sketches.items()}
        return {"rows": self.rows, "columns": columns}


class _PresenceCounts:
    """Counts present values."""

    def __init__(self) -> None:
        self.present = 0

    def add(self, values: Series) -> None:
        """Count a part's values."""
        self.present += int(values.count())

    def describe(self, rows: int) -> _ColumnProfile:
        """Return the profile of a column of so many rows."""
        return {"kind": "presence", "missing": rows - self.present, "present": self.present}


class _NumericCounts:
    """Counts of numbers between edges: bin i holds edges[i-1] <= x < edges[i]; the first and the last are open."""

    def __init__(self, edges: _Array) -> None:
        self.edges = edges
        self.counts = np.zeros(len(edges) + 1, dtype=np.int64)
        self.least, self.greatest = np.inf, -np.inf

    def add(self, values: Series) -> None:
        """Count a part's numbers."""
        numbers = values.to_numpy(dtype="float64", na_value=np.nan)
        present = numbers[~np.isnan(numbers)]
        finite = present[np.isfinite(present)]
        self.least, self.greatest = finite.min(initial=self.least), finite.max(initial=self.greatest)
        # how many are at least an edge, edge by edge: quicker than to look up each number's bin
        above = [len(present), *(int(np.count_nonzero(present >= edge)) for edge in self.edges), 0]
        self.counts -= np.diff(above)

    def describe(self, rows: int) -> _ColumnProfile:
        """Return the profile of a column of so many rows."""
        some = self.least <= self.greatest
        return {
            "kind": "numeric",
            "missing": rows - int(self.counts.sum()),
            "least": float(self.least) if some else None,
            "greatest": float(self.greatest) if some else None,
            "edges": self.edges.tolist(),
            "counts": self.counts.tolist(),
        }


def cut_edges(numbers: _Array, least: float = np.inf, greatest: float = -np.inf) -> _Array:
    """Quantiles of finite numbers that differ, from the least to just above the greatest; these may be given."""
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return np.array([], dtype=np.float64)
    inner = np.quantile(finite, np.linspace(0, 1, _BINS + 1), method="inverted_cdf")
    first, last = min(inner[0], least), max(inner[-1], greatest)
    return np.unique([first, *inner[1:-1], np.nextafter(last, np.inf)])


class _CategoryCounts:
    """Counts of the commonest levels (of all that are `known`, too), and of the other rows and levels."""

    def __init__(self, known: list[str]) -> None:
        self.known = dict.fromkeys(known, 0)
        self.fresh = Tally()
        self.present = 0

    def add(self, values: Series) -> None:
        """Count a part's levels."""
        levels, counts = count_distinct(values)
        texts = levels.astype("str") if levels.dtype.kind != "M" else levels.map(str)
        known = texts.isin(self.known).to_numpy()
        for level, count in zip(texts[known], counts[known], strict=True):
            self.known[level] += int(count)
        self.fresh.add(texts[~known], counts[~known])
        self.present += int(counts.sum())

    def describe(self, rows: int) -> _ColumnProfile:
        """Return the profile of a column of so many rows."""
        counts = self.fresh.list_counts().sort_index().sort_values(ascending=False, kind="stable")
        fresh = counts.iloc[: max(0, _LEVELS - len(self.known))]
        levels = self.known | {str(level): int(count) for level, count in fresh.items()}
        return {
            "kind": "categories",
            "missing": rows - self.present,
            "categories": levels,
            "other": {"rows": self.present - sum(levels.values()), "categories": self.fresh.distinct - len(fresh)},
        }


def _merge_profiles(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Merge the profiles of two tables with the same columns and bins (built with `like`).

    Counts add up exactly; when categories were cut off, `other.categories` is the larger of the two. Raises ValueError
    when columns, kinds or edges differ.
    """
    if one["columns"].keys() != other["columns"].keys():
        raise ValueError("only profiles of the same columns can be merged")
    merged = {name: _merge_sketches(name, one["columns"][name], other["columns"][name]) for name in one["columns"]}
    return {"rows": one["rows"] + other["rows"], "columns": merged}


def _merge_sketches(name: str, one: _ColumnProfile, other: _ColumnProfile) -> _ColumnProfile:
    """Merge the profiles of a column's two parts."""
    if one["kind"] != other["kind"] or one.get("edges") != other.get("edges"):
        raise ValueError(
            f"column {name!r} was profiled in two ways: build the second profile with `like` set to the first"
        )
    merged = {**one, "missing": one["missing"] + other["missing"]}
    if one["kind"] == "presence":
        return {**merged, "present": one["present"] + other["present"]}
    if one["kind"] == "numeric":
        least = [value for value in (one["least"], other["least"]) if value is not None]
        greatest = [value for value in (one["greatest"], other["greatest"]) if value is not None]
        counts = [a + b for a, b in zip(one["counts"], other["counts"], strict=True)]
        return {**merged, "least": min(least, default=None), "greatest": max(greatest, default=None), "counts": counts}
    both = [one["categories"], other["categories"]]
    levels = {level: sum(counts.get(level, 0) for counts in both) for level in both[0] | both[1]}
    rest = {"rows": one["other"]["rows"] + other["other"]["rows"]}
    rest["categories"] = max(one["other"]["categories"], other["other"]["categories"])
    return {**merged, "categories": levels, "other": rest}


def load_profile(path: Path) -> dict[str, Any] | None:
    """Read a profile, None when there is none yet (no file, or `{}`); raise ProjectError for other content."""
    profile = read_json(path) if path.is_file() else {}
    if profile == {}:
        return None
    if not isinstance(profile, dict) or not isinstance(profile.get("columns"), dict) or "rows" not in profile:
        raise ProjectError(f"{path} is not a profile: expected an object with `rows` and `columns`.")
    return profile


def compare_profiles(reference: dict[str, Any], current: dict[str, Any]) -> pd.DataFrame:
    """Measure how far each column has moved: one row for each column of `current`, in its order.

    Columns: column, psi, chance (the PSI that chance exceeds in 1 of 1000 comparisons), missing_before, missing_now
    (shares), new and vanished (categories, tuples of str), known (whether the reference has the column). `psi` is NaN
    when there is nothing to compare. `current` must have been built with `like` set to the reference.
    """
    rows = []
    for name, now in current["columns"].items():
        before = reference["columns"].get(name)
        known = before is not None and before["kind"] == now["kind"]
        row = {"column": name, "known": known, "psi": np.nan, "chance": np.nan, "new": (), "vanished": ()}
        row["missing_now"] = now["missing"] / max(current["rows"], 1)
        row["missing_before"] = before["missing"] / max(reference["rows"], 1) if known else np.nan
        if known:
            expected, actual = _align_counts(before, now)
            row["psi"], row["chance"] = (measure_psi(expected, actual), bound_psi(expected, actual))
        if known and now["kind"] == "categories":
            row["new"], row["vanished"] = _compare_levels(before, now)
        rows.append(row)
    names = ["column", "psi", "chance", "missing_before", "missing_now", "new", "vanished", "known"]
    return pd.DataFrame(rows, columns=names)


def _align_counts(before: _ColumnProfile, now: _ColumnProfile) -> tuple[_Array, _Array]:
    """Align the counts of two column profiles of one kind, float64 (bins,); missing values are a bin."""
    if before["kind"] == "presence":
        pair = [before["present"], before["missing"]], [now["present"], now["missing"]]
    elif before["kind"] == "numeric":
        if before["edges"] != now["edges"]:
            raise ValueError(
                "only profiles with the same bins can be compared: build the later one with `like` set to the first"
            )
        pair = [*before["counts"], before["missing"]], [*now["counts"], now["missing"]]
    else:
        levels = list(before["categories"] | now["categories"])
        pair = _count_levels(before, levels), _count_levels(now, levels)
    return np.array(pair[0], dtype=np.float64), np.array(pair[1], dtype=np.float64)


def _count_levels(sketch: _ColumnProfile, levels: list[str]) -> list[int]:
    """Return a column profile's rows in each category, in other categories, and without a value."""
    return [*(sketch["categories"].get(level, 0) for level in levels), sketch["other"]["rows"], sketch["missing"]]


def _compare_levels(before: _ColumnProfile, now: _ColumnProfile) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """List the new and the vanished categories, unless chance explains them or categories were cut off."""

    def list_absent(one: _ColumnProfile, other: _ColumnProfile) -> tuple[str, ...]:
        if other["other"]["rows"]:
            return ()
        total = max(sum(one["categories"].values()) + one["other"]["rows"], 1)
        size = sum(other["categories"].values())
        absent = (level for level, count in one["categories"].items() if not other["categories"].get(level))
        return tuple(level for level in absent if one["categories"][level] / total * size >= _NOTABLE)

    return list_absent(now, before), list_absent(before, now)
