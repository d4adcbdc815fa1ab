"""Tests of the histograms: counts do not depend on the way they are counted and add up; edges are quantiles; PSI."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.histograms import (
    CategoryCounts,
    bound_psi,
    count_numbers,
    count_sorted,
    cut_quantiles,
    measure_psi,
)

NUMBERS = st.lists(st.floats(-1e6, 1e6) | st.integers(-3, 3).map(float), max_size=60).map(np.array)


@given(NUMBERS, NUMBERS)
def test_sorted_and_unsorted_numbers_are_counted_alike(numbers: np.ndarray, others: np.ndarray) -> None:
    numbers, edges = numbers.astype(np.float64), np.unique(others.astype(np.float64))
    one, other = count_numbers(numbers, edges), count_sorted(np.sort(numbers), edges)
    assert one.counts.tolist() == other.counts.tolist()
    assert (one.lowest, one.highest, one.present) == (other.lowest, other.highest, len(numbers))
    assert one.offsets.tolist() == np.searchsorted(np.sort(numbers), [-np.inf, *edges, np.inf]).tolist()


@given(NUMBERS, NUMBERS)
def test_histograms_of_two_parts_add_up_to_that_of_the_whole(first: np.ndarray, second: np.ndarray) -> None:
    first, second, edges = first.astype(np.float64), second.astype(np.float64), np.array([-1.0, 0.0, 2.5])
    added = count_numbers(first, edges) + count_numbers(second, edges)
    whole = count_numbers(np.concatenate([first, second]), edges)
    assert added.counts.tolist() == whole.counts.tolist()
    assert (added.missing, added.lowest, added.highest) == (whole.missing, whole.lowest, whole.highest)


def test_missing_and_infinite_numbers() -> None:
    counted = count_numbers(np.array([np.nan, -np.inf, 1.0, 2.0, np.inf]), np.array([1.0, 2.0]))
    assert counted.counts.tolist() == [1, 1, 2], "bins are closed on the left; infinities are in the open bins"
    assert (counted.missing, counted.present, counted.lowest, counted.highest) == (1, 4, 1.0, 2.0)
    nothing = count_numbers(np.array([np.nan]), np.array([]))
    assert nothing.counts.tolist() == [0] and nothing.missing == 1 and nothing.lowest > nothing.highest


@given(NUMBERS, st.integers(1, 300))
def test_quantile_edges_leave_the_open_bins_empty(numbers: np.ndarray, bins: int) -> None:
    ordered = np.sort(numbers.astype(np.float64))
    edges = cut_quantiles(ordered, bins)
    assert len(edges) <= bins + 1 and (np.diff(edges) > 0).all()
    assert set(edges[:-1]) <= set(ordered), "each edge but the last is one of the numbers"
    counts = count_sorted(ordered, edges).counts
    assert counts[0] == counts[-1] == 0 and counts.sum() == len(ordered)


def test_quantile_edges_cut_bins_of_equal_size_within_a_wider_range() -> None:
    ordered = np.arange(1000.0)
    sizes = count_sorted(ordered, cut_quantiles(ordered, 10)).counts[1:-1]
    assert len(sizes) == 10 and sizes.min() >= 99 and sizes.max() <= 101
    edges = cut_quantiles(ordered, 10, lowest=-5.0, highest=2000.0)
    assert edges[0] == -5.0 and edges[-1] == np.nextafter(2000.0, np.inf)
    assert len(cut_quantiles(np.array([]), 10)) == 0


def test_category_counts_add_up() -> None:
    added = CategoryCounts({"a": 2, "b": 1}, missing=1) + CategoryCounts({"b": 3, "c": 1}, missing=0, other=4)
    assert added == CategoryCounts({"a": 2, "b": 4, "c": 1}, missing=1, other=4)
    assert added.present == 11 and added.count(["c", "x"]) == [1, 0]


def test_psi_is_zero_for_equal_shares_and_undefined_without_rows() -> None:
    assert measure_psi(np.array([50.0, 50.0]), np.array([5000.0, 5000.0])) == pytest.approx(0, abs=1e-3)
    assert measure_psi(np.array([100.0, 0.0]), np.array([0.0, 100.0])) > 5
    assert np.isnan(measure_psi(np.array([0.0, 0.0]), np.array([1.0, 2.0])))
    assert bound_psi(np.array([10.0, 0.0]), np.array([10.0, 0.0])) == 0.0
