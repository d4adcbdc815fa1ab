import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.exploration.binning import Binned, bin_categories, bin_durations, bin_numbers, bin_periods, label_value


def count(binned: Binned) -> dict[str, int]:
    return {label: int((binned.codes == code).sum()) for code, label in enumerate(binned.labels)}


def test_rare_categories_become_other() -> None:
    column = pd.Series([*"aaaabbbccd", None])
    assert count(bin_categories(column, 2)) == {"a": 4, "b": 3, "other (2 categories)": 3}
    binned = bin_categories(column, 9, order=["d", "c", "b", "a"])
    assert count(binned) == {"d": 1, "c": 2, "b": 3, "a": 4} and binned.codes[-1] == -1


def test_few_distinct_numbers_have_one_bin_each() -> None:
    assert count(bin_numbers(pd.Series([3, 1, 1, 2]), 3)) == {"1": 2, "2": 1, "3": 1}
    assert count(bin_numbers(pd.Series([0.5, np.nan, np.inf]), 3)) == {"0.5": 1}
    assert bin_numbers(pd.Series([np.nan, np.nan]), 3).labels == ()


def test_many_numbers_have_equal_bins_with_round_edges() -> None:
    binned = bin_numbers(pd.Series(np.random.default_rng(0).uniform(0, 1000, 10_000)), 4)
    assert binned.labels == ("under 250", "250 to 500", "500 to 750", "750 or more")
    assert min(count(binned).values()) > 2300


def test_a_frequent_value_has_its_own_bin() -> None:
    gains = pd.Series(np.concatenate([np.zeros(900), np.random.default_rng(0).uniform(100, 9000, 100)]))
    found = count(bin_numbers(gains, 5))
    assert found == {"0": 900, "over 0": 100}
    counts = pd.Series([0] * 895 + [*range(1, 106)])
    assert count(bin_numbers(counts, 10)) == {"0": 895, "1 or more": 105}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.floats(-1e12, 1e12) | st.integers(-5, 5).map(float) | st.none(), max_size=60),
    st.integers(2, 8),
    st.sampled_from([bin_numbers, lambda column, most: bin_durations(column, "months", most)]),
)
def test_bins_keep_the_order_and_every_row(values: list, most: int, cut: object) -> None:
    column = pd.Series(values, dtype="float64")
    binned = cut(column, most)  # type: ignore[operator]
    assert ((binned.codes >= 0) == column.notna()).all()
    assert binned.codes.max(initial=-1) < max(len(binned.labels), 1)
    assert len(binned.labels) <= 2 * most + 1
    codes = binned.codes[column.notna()][np.argsort(column[column.notna()], kind="stable")]
    assert (np.diff(codes) >= 0).all()


@pytest.mark.parametrize(
    ("unit", "high", "labels"),
    [
        ("months", 72, ("under 6", "6 to 11", "66 or more")),
        ("days", 364, ("under 90", "90 to 179", "270 or more")),
        ("sols", 1000, ("under 100", "100 to 199", "900 or more")),
    ],
)
def test_cohorts_have_customary_lengths(unit: str, high: int, labels: tuple[str, ...]) -> None:
    found = bin_durations(pd.Series(np.arange(high + 1)), unit, 12).labels
    assert (found[0], found[1], found[-1]) == labels


def test_a_long_tail_of_durations_is_one_cohort() -> None:
    binned = bin_durations(pd.Series([*range(1, 1000), 10**6]), "", 10)
    assert len(binned.labels) == 10 and binned.labels[-1] == "900 or more"


@pytest.mark.parametrize(
    ("start", "end", "first", "last", "size"),
    [
        ("2024-01-01", "2024-01-10", "2024-01-01", "2024-01-10", 10),
        ("2023-01-15", "2024-12-31", "2023-01", "2024-12", 24),
        ("1990-05-01", "2020-05-01", "1990", "2020", 31),
    ],
)
def test_periods_are_as_fine_as_fits(start: str, end: str, first: str, last: str, size: int) -> None:
    column = pd.Series([*pd.date_range(start, end, periods=200), pd.NaT])
    binned = bin_periods(column, 36)
    assert (binned.labels[0], binned.labels[-1], len(binned.labels)) == (first, last, size)
    assert (np.diff(binned.codes[:-1]) >= 0).all() and binned.codes[-1] == -1
    assert count(bin_periods(column.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"), 36)) == count(binned)


def test_close_values_have_unique_labels() -> None:
    assert bin_numbers(pd.Series([1.00000001, 1.00000002]), 5).labels == ("1", "1 (2)")
    with pytest.raises(ValueError, match="labels must be unique"):
        Binned(np.zeros(1, dtype=np.int32), ("a", "a"))


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "True"), (3.0, "3"), (12000, "12,000"), (0.30000000000000004, "0.3"), (2019, "2019"), ("Yes", "Yes")],
)
def test_values_are_formatted_for_a_reader(value: object, text: str) -> None:
    assert label_value(value) == text
