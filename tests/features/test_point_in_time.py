"""The point-in-time join: neither the future nor what was not known yet leaks."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.core.errors import ProjectError
from lifecycle.features.point_in_time import join_as_of

START = datetime(2026, 1, 1)  # noqa: DTZ001 - in UTC, without a zone
KEYS = {"entity": "shop", "moment": "asked", "event": "happened"}


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def make_history(*rows: tuple[Any, float, float, Any]) -> pd.DataFrame:
    """Rows of shop, day it happened, day it was known, and stock."""
    return pd.DataFrame({
        "shop": [row[0] for row in rows],
        "happened": pd.to_datetime([day(row[1]) for row in rows]),
        "known": pd.to_datetime([day(row[2]) for row in rows]),
        "stock": [row[3] for row in rows],
    })  # fmt: skip


def ask(*rows: tuple[Any, float]) -> pd.DataFrame:
    return pd.DataFrame({"shop": [row[0] for row in rows], "asked": pd.to_datetime([day(row[1]) for row in rows])})


def test_neither_the_future_nor_a_late_row_leaks() -> None:
    history = make_history(("a", 1, 1, 10), ("a", 3, 9, 30), ("a", 5, 5, 50), ("b", 1, 1, 99))
    asked = ask(("a", 0.9), ("a", 1), ("a", 4), ("a", 4.9), ("a", 5), ("a", 10), ("c", 10))
    found = join_as_of(asked, history, **KEYS, known="known", columns=["stock"])
    assert found["stock"].fillna(-1).tolist() == [-1, 10, 10, 10, 50, 50, -1]
    blind = join_as_of(asked, history, **KEYS, columns=["stock"])
    assert blind["stock"].fillna(-1).tolist() == [-1, 10, 30, 30, 50, 50, -1], "by event time alone the late row leaks"


def test_a_correction_counts_from_when_it_was_known() -> None:
    history = make_history(("a", 1, 1, 10), ("a", 1, 4, 11), ("a", 1, 4, 12))
    found = join_as_of(ask(("a", 3), ("a", 4)), history, **KEYS, known="known")
    assert found["stock"].tolist() == [10, 12], "of two known at once the last"


def test_a_row_that_is_too_old_does_not_match() -> None:
    history = make_history(("a", 1, 1, 10))
    found = join_as_of(
        ask(("a", 3), ("a", 3.001)), history, **KEYS, known="known", max_age=pd.Timedelta(days=2)
    )  # fmt: skip
    assert found["stock"].fillna(-1).tolist() == [10, -1]


def test_moments_are_compared_in_utc() -> None:
    history = pd.DataFrame({
        "shop": ["a", "a"], "stock": [1, 2],
        "happened": pd.to_datetime([datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, 13, tzinfo=UTC)])
        .tz_convert("Asia/Tokyo"),
    })  # fmt: skip
    asked = pd.DataFrame({"shop": ["a", "a"], "asked": pd.to_datetime(["2026-01-01T11:59:59", "2026-01-01T12:59:59"])})
    assert join_as_of(asked, history, **KEYS)["stock"].fillna(-1).tolist() == [-1, 1]
    zoned = asked.assign(asked=asked["asked"].dt.tz_localize("UTC").dt.tz_convert("America/New_York"))
    assert join_as_of(zoned, history, **KEYS)["stock"].fillna(-1).tolist() == [-1, 1]


def test_units_of_time_may_differ() -> None:
    history = make_history(("a", 1, 1, 10)).assign(happened=lambda frame: frame["happened"].astype("datetime64[ns]"))
    asked = ask(("a", 1)).assign(asked=lambda frame: frame["asked"].astype("datetime64[s]"))
    assert join_as_of(asked, history, **KEYS, columns=["stock"])["stock"].tolist() == [10]
    late = history.assign(happened=history["happened"] + pd.Timedelta(1, "ns"))
    assert join_as_of(asked, late, **KEYS, columns=["stock"])["stock"].isna().all(), "a nanosecond later is later"


def test_what_is_absent_matches_nothing_and_the_index_stays() -> None:
    history = make_history((None, 1, 1, 10), ("a", 1, 1, 20))
    history.loc[2] = ["a", pd.NaT, day(0), 30]
    history.loc[3] = ["a", day(2), pd.NaT, 40]
    asked = ask((None, 5), ("a", 5)).set_axis([7, 3])
    asked.loc[9] = ["a", pd.NaT]
    found = join_as_of(asked, history, **KEYS, known="known")
    assert found.index.tolist() == [7, 3, 9] and found["stock"].fillna(-1).tolist() == [-1, 20, -1]


@pytest.mark.parametrize("empty", ["entities", "history", "both"])
def test_a_side_may_be_empty(empty: str) -> None:
    asked, history = ask(("a", 1)), make_history(("a", 1, 1, 10))
    asked = asked if empty == "history" else asked[:0]
    history = history if empty == "entities" else history[:0]
    found = join_as_of(asked, history, **KEYS, known="known")
    assert list(found) == ["shop", "asked", "stock"] and len(found) == len(asked) and found["stock"].isna().all()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"entity": "nowhere"}, "the entities have no column 'nowhere'."),
        ({"known": "nowhere"}, "the history have no column 'nowhere'."),
        ({"event": "stock"}, "the column 'stock' is int64, expected moments"),
        ({"columns": ["nowhere"]}, "the history has no column 'nowhere'."),
        ({"columns": ["shop"]}, "'shop' is a column of both the entities and the history"),
    ],
)
def test_columns_that_cannot_be_joined_are_reported(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ProjectError) as error:
        join_as_of(ask(("a", 1)), make_history(("a", 1, 1, 10)), **{**KEYS, **change})
    assert told in str(error.value)


def join_slowly(asked: pd.DataFrame, history: pd.DataFrame, most: float | None) -> list[Any]:
    """The definition, row by row."""
    found = []
    for _, query in asked.iterrows():
        rows = [
            (row["happened"], row["known"], place, row["stock"])
            for place, row in history.iterrows()
            if row["shop"] == query["shop"] and row["happened"] <= query["asked"] and row["known"] <= query["asked"]
        ]
        best = max(rows, default=None)
        fresh = best is not None and (most is None or query["asked"] - best[0] <= timedelta(days=most))
        found.append(best[3] if best and fresh else -1)
    return found


SHOPS = st.sampled_from("abc")
DAYS = st.integers(0, 6)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(SHOPS, DAYS, DAYS), max_size=15), st.lists(st.tuples(SHOPS, DAYS), max_size=10),
    st.none() | st.integers(0, 4),
)  # fmt: skip
def test_it_is_what_a_loop_over_all_rows_gives(
    rows: list[tuple[str, int, int]], queries: list[tuple[str, int]], most: int | None
) -> None:
    history = make_history(*[(*row, place) for place, row in enumerate(rows)]).astype({"shop": object})
    asked = ask(*queries).astype({"shop": object})
    age = None if most is None else pd.Timedelta(days=most)
    found = join_as_of(asked, history, **KEYS, known="known", max_age=age)
    assert found["stock"].fillna(-1).tolist() == join_slowly(asked, history, most)


def test_it_is_quick_and_order_matters_to_nothing_but_ties() -> None:
    rng = np.random.default_rng(0)
    history = pd.DataFrame({
        "shop": rng.integers(0, 5_000, 200_000),
        "happened": pd.Timestamp(START) + pd.to_timedelta(rng.permutation(200_000), "s"),
        "stock": np.arange(200_000),
    })  # fmt: skip
    asked = pd.DataFrame({
        "shop": rng.integers(0, 6_000, 100_000),
        "asked": pd.Timestamp(START) + pd.to_timedelta(rng.integers(0, 200_000, 100_000), "s"),
    })  # fmt: skip
    began = time.perf_counter()
    found = join_as_of(asked, history, **KEYS)
    assert time.perf_counter() - began < 10
    merged = pd.merge_asof(
        asked.reset_index().sort_values("asked", kind="stable"), history.sort_values("happened"),
        left_on="asked", right_on="happened", by="shop",
    ).set_index("index").sort_index()  # fmt: skip
    pd.testing.assert_series_equal(found["stock"], merged["stock"], check_names=False, check_index=False)
    again = join_as_of(asked, history.sample(frac=1, random_state=0), **KEYS)
    pd.testing.assert_series_equal(found["stock"], again["stock"])
