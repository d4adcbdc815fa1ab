"""Binning: a column as a few categories, bins of numbers, cohorts of durations or periods of time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_Floats = NDArray[np.float64]
_Codes = NDArray[np.int32]

# Customary lengths of a cohort, for each unit that a contract may name.
_STEPS = {
    "second": (1, 5, 15, 30, 60, 300, 900, 3600),
    "minute": (1, 5, 15, 30, 60, 180, 360, 1440),
    "hour": (1, 3, 6, 12, 24, 72, 168, 720),
    "day": (1, 7, 14, 30, 90, 180, 365, 730, 1825),
    "week": (1, 2, 4, 13, 26, 52, 104),
    "month": (1, 2, 3, 6, 12, 24, 60, 120),
}
MISSING = "(missing)"  # the label of missing values
_PERIODS = ("h", "D", "W", "M", "Q", "Y")


@dataclass(frozen=True)
class Binned:
    """A binned column: `codes` int32 (rows,), -1 where missing, are positions in `labels`, which are in order."""

    codes: _Codes
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raise ValueError unless the labels are unique."""
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels must be unique: {self.labels}")


def bin_categories(column: pd.Series[Any], most: int, order: Sequence[Any] | None = None) -> Binned:
    """Keep the `most` frequent values and put the rest into `other`; in `order` if given, else the most frequent first."""
    codes, values = pd.factorize(column)
    counts = np.bincount(codes[codes >= 0], minlength=len(values))
    names = [label_value(value) for value in values]
    common = sorted(range(len(values)), key=lambda code: (-counts[code], names[code]))
    kept, rest = common[:most], common[most:]
    if order is not None:
        places = {label_value(value): place for place, value in enumerate(order)}
        kept = sorted(kept, key=lambda code: places.get(names[code], len(places)))
    table = np.full(len(values) + 1, len(kept), dtype=np.int32)
    table[kept] = np.arange(len(kept), dtype=np.int32)
    table[-1] = -1  # the code -1 of a missing value reads this entry
    other = [f"other ({len(rest):,} {'categories' if len(rest) > 1 else 'category'})"] if rest else []
    labels = [names[code] for code in kept] + other
    return Binned(table[codes], _make_unique(labels))


def bin_numbers(column: pd.Series[Any], most: int) -> Binned:
    """Bin numbers: one bin for each value if there are at most `most`, else `most` bins of about equal size at round edges.

    A value that would fill more than one bin by itself (such as a frequent zero) becomes a bin of its own.
    """
    values = _read_finite(column)
    present = values[np.isfinite(values)]
    if not len(present):
        return _bin_nothing(len(values))
    distinct = pd.unique(present)
    if len(distinct) <= most:
        edges = np.sort(distinct)[1:]
    else:
        edges = _choose_edges(present, most)
    return _bin_at(values, edges, whole=bool((present == np.round(present)).all()))


def bin_durations(column: pd.Series[Any], unit: str, most: int) -> Binned:
    """Bin durations into cohorts of equal width, a customary length for the unit; the last cohort is open-ended."""
    values = _read_finite(column)
    present = values[np.isfinite(values)]
    if not len(present):
        return _bin_nothing(len(values))
    low, high = float(present.min()), float(np.quantile(present, 0.99))
    step = _choose_step((high - low) / most, unit)
    first = np.floor(low / step) * step
    edges = first + step * np.arange(1, max(2, round((high - first) / step)))
    return _bin_at(values, edges[edges <= present.max()], whole=bool((present == np.round(present)).all()))


def bin_periods(column: pd.Series[Any], most: int) -> Binned:
    """Bin times into at most `most` hours, days, weeks, months, quarters or years (UTC), the finest of these that fits."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    present = column.dropna()
    if present.empty:
        return _bin_nothing(len(column))
    for frequency in _PERIODS:
        first, last = present.min().to_period(frequency), present.max().to_period(frequency)
        if last.ordinal - first.ordinal < most or frequency == _PERIODS[-1]:
            break
    ordinals = present.dt.to_period(frequency).array.asi8
    codes = np.full(len(column), -1, dtype=np.int32)
    codes[column.notna().to_numpy()] = ordinals - first.ordinal
    periods = pd.period_range(first, last, freq=frequency)
    labels = periods.start_time.strftime("%Y-%m-%d") if frequency == "W" else periods.astype(str)
    return Binned(codes, tuple(labels))


def _bin_nothing(rows: int) -> Binned:
    """Return the bins of a column without a value."""
    return Binned(np.full(rows, -1, dtype=np.int32), ())


def _read_finite(column: pd.Series[Any]) -> _Floats:
    """Return the column as float64, missing and infinite values as NaN."""
    values = column.to_numpy(dtype="float64", na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)


def _choose_edges(present: _Floats, most: int) -> _Floats:
    """Choose inner edges of bins of about equal size, at numbers as round as the gaps between them allow."""
    quantiles = np.quantile(present, np.linspace(0, 1, most + 1))
    points, repeats = np.unique(quantiles, return_counts=True)
    heavy = points[repeats > 1]
    ends = np.array([present[present > value].min(initial=np.inf) for value in heavy])
    gaps = np.diff(points)
    nearest = np.minimum(np.append(gaps, np.inf), np.append(np.inf, gaps))
    crowded = (nearest <= 1e-12 * np.abs(points)) | (nearest < 1e-300)  # no rounder number fits between the neighbours
    exact = np.isin(points, heavy) | crowded | ~np.isfinite(nearest)
    rounded = np.where(exact, points, _round_to(points, np.where(exact, 1.0, nearest)))
    # The range's ends are not inner edges, unless they are frequent values.
    inner = np.isin(points, heavy) | ((points > points[0]) & (points < points[-1]))
    edges = np.unique(np.concatenate([rounded[inner], ends]))
    edges = edges[(edges > present.min()) & (edges <= present.max())]
    return _join_small(present, edges, fixed=np.isin(edges, [*heavy, *ends]), least=len(present) / most / 4)


def _join_small(present: _Floats, edges: _Floats, *, fixed: NDArray[np.bool_], least: float) -> _Floats:
    """Drop the edges, except `fixed` ones, that would leave fewer than `least` values in a bin."""
    counts = np.histogram(present, [-np.inf, *edges, np.inf])[0]
    kept: list[float] = []
    below = 0
    for edge, stays, count, above in zip(edges.tolist(), fixed, counts[:-1], counts[1:], strict=True):
        below += int(count)
        last = edge == edges[-1] and above < least
        if stays or (below >= least and not last):
            kept.append(edge)
            below = 0
    return np.array(kept)


def _round_to(values: _Floats, gaps: _Floats) -> _Floats:
    """Round each value to 1 or 5 times a power of ten, at most a quarter of its gap, so that neighbours stay distinct."""
    rounded = []
    for value, gap in zip(values.tolist(), gaps.tolist(), strict=True):
        power = math.floor(math.log10(gap / 4))
        step = (5 if gap / 4 >= 5 * 10.0**power else 1) * 10.0**power
        rounded.append(round(round(value / step) * step, -power))  # twice, so that 0.3 is not 0.30000000000000004
    return np.array(rounded)


def _choose_step(least: float, unit: str) -> float:
    """Return the smallest customary step of the unit that is at least `least`; beyond those, 1, 2 or 5 times a power of ten."""
    word = unit.strip().lower().removesuffix("s")
    for step in _STEPS.get(word, ()):
        if step >= least:
            return float(step)
    if not least > 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9)))


def _bin_at(values: _Floats, edges: _Floats, *, whole: bool) -> Binned:
    """Bin numbers at the edges (an edge belongs to the bin above it), with labels from the values in each bin."""
    codes = np.searchsorted(edges, values, side="right").astype(np.int32)
    codes[np.isnan(values)] = -1
    held = pd.Series(values).groupby(codes).agg(["min", "max"])
    labels = []
    for band in range(len(edges) + 1):
        single = band in held.index and held["min"][band] == held["max"][band]
        if single:
            labels.append(label_value(float(held["min"][band])))
        elif band == 0:
            labels.append(f"under {label_value(edges[0])}" if len(edges) else "all")
        elif not whole and band - 1 in held.index and held["max"][band - 1] == held["min"][band - 1]:
            end = f" to {label_value(edges[band])}" if band < len(edges) else ""
            labels.append(f"over {label_value(float(held['max'][band - 1]))}{end}")
        elif band == len(edges):
            labels.append(f"{label_value(edges[-1])} or more")
        else:
            labels.append(f"{label_value(edges[band - 1])} to {label_value(edges[band] - 1 if whole else edges[band])}")
    return Binned(codes, _make_unique(labels))


def _make_unique(labels: Sequence[str]) -> tuple[str, ...]:
    """Make labels unique by appending a number to repeated ones: values may differ beyond the digits shown."""
    names: dict[str, None] = {}
    for label in labels:
        number, name = 1, label
        while name in names:
            number += 1
            name = f"{label} ({number})"
        names[name] = None
    return tuple(names)


def label_value(value: Any) -> str:
    """Format a value for a reader: no trailing `.0`, at most six digits, a comma for thousands from 10,000 on."""
    if isinstance(value, (bool, np.bool_, str)):
        return str(value)
    if isinstance(value, (int, float, np.integer, np.floating)):
        number = float(value)
        if number == round(number) and abs(number) < 1e15:
            return f"{int(number):,}" if abs(number) >= 10_000 else f"{int(number)}"
        return f"{number:,.0f}" if abs(number) >= 100_000 else f"{number:.6g}"
    return str(value)
