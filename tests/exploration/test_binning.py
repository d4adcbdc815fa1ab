import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.exploration.binning import Levels, cut_categories, cut_durations, cut_numbers, cut_periods, label_value


def count(levels: Levels) -> dict[str, int]:
    return {label: int((levels.codes == code).sum()) for code, label in enumerate(levels.labels)}


def test_the_commonest_categories_stay_and_the_rest_is_summed_up() -> None:
    column = pd.Series([*"aaaabbbccd", None])
    assert count(cut_categories(column, 2)) == {"a": 4, "b": 3, "other (2 levels)": 3}
    levels = cut_categories(column, 9, order=["d", "c", "b", "a"])
    assert count(levels) == {"d": 1, "c": 2, "b": 3, "a": 4} and levels.codes[-1] == -1


def test_few_numbers_are_levels_each() -> None:
    assert count(cut_numbers(pd.Series([3, 1, 1, 2]), 3)) == {"1": 2, "2": 1, "3": 1}
    assert count(cut_numbers(pd.Series([0.5, np.nan, np.inf]), 3)) == {"0.5": 1}
    assert cut_numbers(pd.Series([np.nan, np.nan]), 3).labels == ()


def test_many_numbers_are_bands_of_about_equal_size_at_round_edges() -> None:
    levels = cut_numbers(pd.Series(np.random.default_rng(0).uniform(0, 1000, 10_000)), 4)
    assert levels.labels == ("under 250", "250 to 500", "500 to 750", "750 or more")
    assert min(count(levels).values()) > 2300


def test_a_heavy_value_is_a_band_of_its_own() -> None:
    gains = pd.Series(np.concatenate([np.zeros(900), np.random.default_rng(0).uniform(100, 9000, 100)]))
    found = count(cut_numbers(gains, 5))
    assert found == {"0": 900, "over 0": 100}
    counts = pd.Series([0] * 895 + [*range(1, 106)])
    assert count(cut_numbers(counts, 10)) == {"0": 895, "1 or more": 105}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.floats(-1e12, 1e12) | st.integers(-5, 5).map(float) | st.none(), max_size=60),
    st.integers(2, 8),
    st.sampled_from([cut_numbers, lambda column, most: cut_durations(column, "months", most)]),
)
def test_bands_keep_the_order_and_lose_no_row(values: list, most: int, cut: object) -> None:
    column = pd.Series(values, dtype="float64")
    levels = cut(column, most)  # type: ignore[operator]
    assert ((levels.codes >= 0) == column.notna()).all()
    assert levels.codes.max(initial=-1) < max(len(levels.labels), 1)
    assert len(levels.labels) <= 2 * most + 1
    codes = levels.codes[column.notna()][np.argsort(column[column.notna()], kind="stable")]
    assert (np.diff(codes) >= 0).all()


@pytest.mark.parametrize(
    ("unit", "high", "labels"),
    [
        ("months", 72, ("under 6", "6 to 11", "66 or more")),
        ("days", 364, ("under 90", "90 to 179", "270 or more")),
        ("sols", 1000, ("under 100", "100 to 199", "900 or more")),
    ],
)
def test_durations_step_as_people_count_them(unit: str, high: int, labels: tuple[str, ...]) -> None:
    found = cut_durations(pd.Series(np.arange(high + 1)), unit, 12).labels
    assert (found[0], found[1], found[-1]) == labels


def test_a_long_tail_of_durations_is_one_cohort() -> None:
    levels = cut_durations(pd.Series([*range(1, 1000), 10**6]), "", 10)
    assert len(levels.labels) == 10 and levels.labels[-1] == "900 or more"


@pytest.mark.parametrize(
    ("start", "end", "first", "last", "size"),
    [
        ("2024-01-01", "2024-01-10", "2024-01-01", "2024-01-10", 10),
        ("2023-01-15", "2024-12-31", "2023-01", "2024-12", 24),
        ("1990-05-01", "2020-05-01", "1990", "2020", 31),
    ],
)
def test_time_is_cut_as_finely_as_it_fits(start: str, end: str, first: str, last: str, size: int) -> None:
    column = pd.Series([*pd.date_range(start, end, periods=200), pd.NaT])
    levels = cut_periods(column, 36)
    assert (levels.labels[0], levels.labels[-1], len(levels.labels)) == (first, last, size)
    assert (np.diff(levels.codes[:-1]) >= 0).all() and levels.codes[-1] == -1
    assert count(cut_periods(column.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"), 36)) == count(levels)


def test_values_too_close_to_tell_apart_still_have_labels_of_their_own() -> None:
    assert cut_numbers(pd.Series([1.00000001, 1.00000002]), 5).labels == ("1", "1 (2)")
    with pytest.raises(ValueError, match="labels must differ"):
        Levels(np.zeros(1, dtype=np.int32), ("a", "a"))


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "True"), (3.0, "3"), (12000, "12,000"), (0.30000000000000004, "0.3"), (2019, "2019"), ("Yes", "Yes")],
)
def test_values_are_written_as_a_reader_would(value: object, text: str) -> None:
    assert label_value(value) == text
