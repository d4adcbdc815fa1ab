"""Tables with every kind of column that a log may bring, for hypothesis; and when the counts of two windows are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

from lifecycle.monitoring.reference import Kind, NumericSummary, WindowCounts

KINDS: dict[str, Kind] = {
    "wide": "numeric", "whole": "numeric", "flag": "numeric", "maybe": "numeric", "text": "numeric", "gone": "numeric",
    "word": "categories", "any": "categories", "switch": "categories", "none": "categories",
}  # fmt: skip
WIDE = st.floats(-1e100, 1e100) | st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0])
ANY = st.one_of(st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(), st.text(max_size=3))


@st.composite
def frames(draw: st.DrawFn, most: int = 10) -> pd.DataFrame:
    """A table with every kind of column that a log may bring, of any length."""
    rows = draw(st.integers(0, most))

    def column(values: st.SearchStrategy[Any], dtype: str) -> pd.Series:
        return pd.Series(draw(st.lists(values, min_size=rows, max_size=rows)), dtype=dtype)

    return pd.DataFrame({
        "wide": column(WIDE, "float64"),
        "whole": column(st.integers(-(2**63), 2**63 - 1), "int64"),
        "flag": column(st.booleans(), "bool"),
        "maybe": column(st.none() | st.integers(0, 3), "Int64"),
        "text": column(st.none() | st.sampled_from(["1", "2.5", "x", "inf", ""]), "object"),
        "gone": column(st.none(), "object"),
        "word": column(st.none() | st.sampled_from("abc"), "category"),
        "any": column(ANY, "object"),
        "switch": column(st.none() | st.booleans(), "boolean"),
        "none": column(st.none(), "object"),
    })  # fmt: skip


def agree(one: WindowCounts, other: WindowCounts) -> None:
    """Two windows are the same: counts to the row, sums to rounding."""
    assert one.rows == other.rows and one.errors[0] == other.errors[0]
    assert one.errors[1:] == pytest.approx(other.errors[1:], rel=1e-9, abs=1e-9)
    for name, mine in one.columns.items():
        its = other.columns[name]
        assert mine.missing == its.missing, name
        if isinstance(mine, NumericSummary):
            assert isinstance(its, NumericSummary)
            assert mine.counts.tolist() == its.counts.tolist(), name
            scale = np.abs(mine.sums).max() + np.abs(its.sums).max() + 1
            assert np.abs(mine.sums - its.sums).max() <= 1e-9 * scale * (1 + one.rows), name
            assert mine.square == pytest.approx(its.square, rel=1e-9)
            assert mine.total == pytest.approx(its.total, rel=1e-9, abs=1e-9 * np.sqrt(mine.square * (1 + one.rows)))
        else:
            assert mine.counts == its.counts, name
