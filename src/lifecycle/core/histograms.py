"""Histograms that add up: numbers counted in bins, categories counted by name, and the distance between two of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import chdtri

Array = np.ndarray[Any, Any]
_CHANCE = 0.001  # share of comparisons of samples from one distribution in which the index goes beyond the bound
_PSEUDO_COUNT = 0.5  # added to each count, so that an empty bin leaves the index finite (Jeffreys' prior)


@dataclass(frozen=True)
class NumericHistogram:
    """Counts of numbers in bins, int64 (bins,), how many values are missing, and the range of the finite numbers.

    Bin i holds edges[i - 1] <= x < edges[i]; the first and the last bin are open. `lowest` is inf and `highest` is -inf
    where there is no finite number. Histograms with the same edges can be added.
    """

    edges: Array
    counts: Array
    missing: int
    lowest: float = np.inf
    highest: float = -np.inf

    @property
    def present(self) -> int:
        """The number of values that are not missing."""
        return int(self.counts.sum())

    @property
    def offsets(self) -> Array:
        """Where each bin begins and the last one ends among the sorted numbers, int64 (bins + 1,)."""
        return np.concatenate([[0], np.cumsum(self.counts)])

    def __add__(self, other: NumericHistogram) -> NumericHistogram:
        return NumericHistogram(
            self.edges,
            self.counts + other.counts,
            self.missing + other.missing,
            min(self.lowest, other.lowest),
            max(self.highest, other.highest),
        )


def count_numbers(numbers: Array, edges: Array) -> NumericHistogram:
    """Count numbers, float64 in any order, between ascending edges; NaN is missing, infinities go to the open bins.

    It compares all numbers with one edge after the other, which is faster than sorting where edges are few.
    """
    present = numbers[~np.isnan(numbers)]
    finite = present[np.isfinite(present)]
    at_least = [len(present), *(int(np.count_nonzero(present >= edge)) for edge in edges), 0]
    counts = -np.diff(np.array(at_least, dtype=np.int64))
    lowest, highest = float(finite.min(initial=np.inf)), float(finite.max(initial=-np.inf))
    return NumericHistogram(edges, counts, len(numbers) - len(present), lowest, highest)


def count_sorted(ordered: Array, edges: Array, missing: int = 0) -> NumericHistogram:
    """Count finite numbers that are already in ascending order; the cost hardly depends on the number of edges."""
    places = np.concatenate([[0], np.searchsorted(ordered, edges, side="left"), [len(ordered)]])
    lowest, highest = (float(ordered[0]), float(ordered[-1])) if len(ordered) else (np.inf, -np.inf)
    return NumericHistogram(edges, np.diff(places), missing, lowest, highest)


def cut_quantiles(ordered: Array, bins: int, lowest: float = np.inf, highest: float = -np.inf) -> Array:
    """Return the edges of up to `bins` bins of about equal size, float64, ascending, without repetition.

    `ordered` are finite numbers in ascending order. The edges are their quantiles (by the inverted distribution function,
    so each is one of the numbers), the first of them the minimum, and at the end the float just above the maximum. In a histogram
    of the same numbers the two open bins are therefore empty. `lowest` and `highest` widen the range: pass the range
    of the whole column when the numbers are a sample of it. No numbers: no edges.
    """
    if not len(ordered):
        return np.array([], dtype=np.float64)
    ranks = np.ceil(len(ordered) * np.linspace(0, 1, bins + 1)[:-1]).astype(np.int64) - 1
    quantiles = ordered[np.maximum(ranks, 0)]
    first, last = min(quantiles[0], lowest), max(ordered[-1], highest)
    return np.unique([first, *quantiles[1:], np.nextafter(last, np.inf)])


@dataclass(frozen=True)
class CategoryCounts:
    """Counts by category, how many values are missing, and how many belong to categories that are not listed.

    Any two can be added.
    """

    counts: dict[str, int]
    missing: int
    other: int = 0

    @property
    def present(self) -> int:
        """The number of values that are not missing."""
        return sum(self.counts.values()) + self.other

    def count(self, names: list[str]) -> list[int]:
        """Return the count of each of these categories, 0 for one that is not listed."""
        return [self.counts.get(name, 0) for name in names]

    def __add__(self, other: CategoryCounts) -> CategoryCounts:
        names = self.counts | other.counts
        both = {name: self.counts.get(name, 0) + other.counts.get(name, 0) for name in names}
        return CategoryCounts(both, self.missing + other.missing, self.other + other.other)


def measure_psi(expected: Array, actual: Array) -> float:
    """Return the population stability index of two arrays of counts in the same bins, shape (bins,): 0 when alike, never less.

    It is the sum of (a - e) ln(a / e) over the bins' shares, which is Jeffreys' divergence (1946); Siddiqi (2006, Credit Risk
    Scorecards) calls 0.1 a slight and 0.25 a plain shift. Half a row is added to every bin that either has, so
    that an empty one does not make it infinite. NaN where either has no rows.
    """
    used = (expected > 0) | (actual > 0)
    if not expected.sum() or not actual.sum():
        return float("nan")
    e, a = expected[used] + _PSEUDO_COUNT, actual[used] + _PSEUDO_COUNT
    e, a = e / e.sum(), a / a.sum()
    return max(0.0, float(np.sum((a - e) * np.log(a / e))))


def bound_psi(expected: Array, actual: Array) -> float:
    """Return the index that 1 of 1000 pairs of samples from one distribution exceeds, for these sizes and bins.

    (1/n + 1/m) times a chi-squared quantile with bins - 1 degrees of freedom (Yurdakul & Naranjo 2020, J. Risk Model Valid. 14).
    """
    bins = int(((expected > 0) | (actual > 0)).sum())
    if bins < 2 or not expected.sum() or not actual.sum():
        return 0.0
    return float(chdtri(bins - 1, _CHANCE) * (1 / expected.sum() + 1 / actual.sum()))
