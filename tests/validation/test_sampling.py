"""What is kept of a long table: the same however it is cut, exact up to a bound and near beyond it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.validation.sampling import Tally, choose_rows, hash_values

VALUES = st.sampled_from([None, "a", "b", "ä", "", "c", "d", "e", "f", "g"])


def tally(values: pd.Series, limit: int, cut: int) -> Tally:
    counted = Tally(limit)
    for start in range(0, len(values), cut):
        counted.add(values.iloc[start : start + cut])
    return counted


@settings(deadline=None, max_examples=50)
@given(st.lists(VALUES, max_size=40), st.integers(1, 12), st.integers(1, 41), st.sampled_from(["str", "category"]))
def test_counts_of_kept_values_are_exact_however_cut(values: list[Any], limit: int, cut: int, dtype: str) -> None:
    column = pd.Series(values, dtype="str").astype(dtype)
    counted, whole = tally(column, limit, cut), tally(column, limit, 100)
    counts = column.astype("str").value_counts().to_dict()
    assert counted.list_counts().to_dict() == whole.list_counts().to_dict()
    assert counted.list_counts().to_dict().items() <= counts.items()
    assert counted.distinct == whole.distinct
    if len(counts) <= limit:
        assert counted.list_counts().to_dict() == counts
        assert counted.distinct == len(counts)
        assert counted.find_commonest() == min((v for v in counts if counts[v] == max(counts.values())), default=None)


def test_many_distinct_values_are_estimated() -> None:
    counted = tally(pd.Series(np.arange(100_000) * 1.5), 4096, 9000)
    assert len(counted.list_counts()) == 4096
    assert counted.distinct == pytest.approx(100_000, rel=0.05)


def test_equal_values_have_equal_hashes_and_others_differ() -> None:
    numbers = hash_values(pd.Series([0.0, -0.0, 1.0, np.nan, np.nan, np.inf]))
    assert numbers[0] == numbers[1]
    assert numbers[3] == numbers[4]
    assert len(set(numbers)) == 4
    texts = pd.Series(["x", "y", None, "x"], dtype="str")
    assert hash_values(texts).tolist() == hash_values(texts.astype("category")).tolist()
    assert len(set(hash_values(texts))) == 3
    whole = pd.Series(range(-50_000, 50_000))
    assert len(set(hash_values(whole))) == len(whole)
    assert not set(hash_values(whole)) & set(hash_values(whole, seed=1))
    assert hash_values(whole.astype("Int64")).tolist() == hash_values(whole).tolist()


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(0, 5000))
def test_rows_are_chosen_by_their_place_alone(rows: int, size: int, cut: int) -> None:
    cut = min(cut, rows)
    whole = choose_rows(slice(0, rows), size, rows)
    parts = choose_rows(slice(0, cut), size, rows), choose_rows(slice(cut, rows), size, rows)
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert whole.all() if rows <= size else abs(whole.sum() - size) <= 6 * np.sqrt(size) + 6
