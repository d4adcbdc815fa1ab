"""Tests of the reference and of a window's counts: exact where values are few, additive, and plain JSON."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.monitoring.drift import compare_window
from lifecycle.monitoring.reference import (
    _BINS,
    _CATEGORIES,
    Kind,
    _count_categories,
    build_reference,
    count_window,
    summarize_column,
)
from tests.support.frames import KINDS, agree, frames


@settings(max_examples=12, deadline=None)
@given(frames(), frames(), st.integers(0, 10))
def test_the_counts_of_parts_add_up_to_those_of_the_whole(before: pd.DataFrame, now: pd.DataFrame, place: int) -> None:
    reference = build_reference(before, KINDS)
    parts = [count_window(part, reference) for part in (now.iloc[:place], now.iloc[place:])]
    whole = count_window(now, reference)
    agree(parts[0] + parts[1], whole)
    agree(parts[1] + parts[0], whole)
    for name, counted in whole.columns.items():
        assert counted.present + counted.missing == len(now), name


@settings(max_examples=12, deadline=None)
@given(frames(), frames())
def test_a_reference_that_is_written_and_read_counts_the_same(before: pd.DataFrame, now: pd.DataFrame) -> None:
    reference = build_reference(before, KINDS)
    read = json.loads(json.dumps(reference, allow_nan=False))
    assert read == reference
    agree(count_window(now, read), count_window(now, reference))
    for name, summary in read["columns"].items():
        inside = sum(summary["counts"]) if summary["kind"] == "numeric" else sum(summary["categories"].values())
        assert inside + summary.get("other", 0) + summary["missing"] == len(before), name


@settings(max_examples=12, deadline=None)
@given(frames(), st.sets(st.sampled_from(sorted(KINDS))))
def test_a_lacking_column_is_missing_in_every_row_and_further_columns_are_ignored(
    frame: pd.DataFrame, lost: set[str]
) -> None:
    reference = build_reference(frame, KINDS)
    narrow = frame.drop(columns=sorted(lost)).assign(other="x")
    shuffled = narrow[sorted(narrow.columns, reverse=True)]
    counts = count_window(shuffled, reference)
    agree(counts, count_window(frame.assign(**dict.fromkeys(lost)), reference))
    for name in KINDS:
        if name in lost:
            assert (counts.columns[name].present, counts.columns[name].missing) == (0, len(frame))


@pytest.mark.parametrize("distinct", [1, 2, 10, _BINS])
def test_few_distinct_numbers_are_counted_exactly(distinct: int) -> None:
    rng = np.random.default_rng(0)
    support = np.sort(rng.normal(size=distinct))
    values = pd.Series(np.append(support, rng.choice(support, 2000)))
    summary = summarize_column(values, "numeric")
    expected = values.value_counts().sort_index()
    assert summary["counts"] == [0, *expected.tolist(), 0]  # the open bins are for values beyond the reference
    assert summary["edges"] == [*support.tolist(), np.nextafter(support[-1], np.inf)]
    assert np.array(summary["sums"])[1:-1] / summary["counts"][1:-1] == pytest.approx(support)
    assert summary["mean"] == pytest.approx(values.mean()) and summary["median"] == values.median()
    assert summary["sd"] == pytest.approx(values.std(ddof=0), abs=1e-12)


def test_numbers_of_many_values_are_counted_in_bins_of_about_equal_size() -> None:
    values = pd.Series(np.random.default_rng(0).lognormal(size=20_000))
    summary = summarize_column(values, "numeric")
    assert len(summary["counts"]) == _BINS + 2 and sum(summary["counts"]) == len(values)
    assert max(summary["counts"]) < 1.2 * len(values) / _BINS
    assert sum(summary["sums"]) == pytest.approx(values.sum())


def test_a_frequent_value_has_its_own_bin() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([np.zeros(5000), rng.normal(5, 1, 5000)])
    summary = summarize_column(pd.Series(rng.permutation(values)), "numeric")
    edges = [-np.inf, *summary["edges"], np.inf]
    (place,) = [number for number in range(len(edges) - 1) if edges[number] <= 0 < edges[number + 1]]
    assert 5000 <= summary["counts"][place] < 5100


@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, 1 / 3, -1e-3, 1e9 + 0.1, 1e-12])
@pytest.mark.parametrize("rows", [1, 2, 7, 1000])
def test_a_constant_column_has_no_standard_deviation_and_does_not_drift(value: float, rows: int) -> None:
    reference = build_reference(pd.DataFrame({"x": [value] * rows}), {"x": "numeric"})
    summary = reference["columns"]["x"]
    assert (summary["mean"], summary["sd"]) == (value, 0.0)
    row = compare_window(reference, count_window(pd.DataFrame({"x": [value] * 300}), reference)).iloc[0]
    assert row["distance"] == 0.0 and not row["p"] <= 0.9 and row["psi"] == 0.0  # one row has no p-value


@pytest.mark.parametrize("huge", [1e160, 1.7e308, -1.7e308])
@pytest.mark.filterwarnings("error")
def test_sums_stay_finite_with_the_largest_floats(huge: float) -> None:
    """A client may send such numbers: a contract need not limit them."""
    values = np.random.default_rng(0).normal(10, 1, 1000)
    spoilt = pd.DataFrame({"x": np.append(values, [huge, huge, -huge])})
    reference = build_reference(spoilt, {"x": "numeric"})
    json.dumps(reference, allow_nan=False)
    quiet = build_reference(pd.DataFrame({"x": values}), {"x": "numeric"})
    for record in (reference, quiet):
        row = compare_window(record, count_window(spoilt, record)).iloc[0]
        assert np.isfinite([row["p"], row["psi"], row["distance"], row["mean"]]).all()


def test_a_category_has_one_name_in_every_dtype() -> None:
    spellings: list[pd.Series] = [
        pd.Series([1, 1, 0]), pd.Series([1.0, 1.0, 0.0]), pd.Series([True, True, False]),
        pd.Series([True, 1, 0.0], dtype=object), pd.Series([1, 1, 0], dtype="Int64"), pd.Series(["1", "1", "0"]),
        pd.Series([True, True, False], dtype="boolean"), pd.Series([1, 1, 0], dtype="category"),
        pd.Series([1, 1, 0], dtype="float32"), pd.Series([1.0, 1.0, -0.0]), pd.Series([1, "1", False], dtype=object),
    ]  # fmt: skip
    for spelling in spellings:
        assert _count_categories(spelling).counts == {"1": 2, "0": 1}, spelling.dtype
        with_gap = pd.concat([spelling.astype(object), pd.Series([None], dtype=object)])
        counted = _count_categories(with_gap)
        assert (counted.counts, counted.missing) == ({"1": 2, "0": 1}, 1), spelling.dtype


def test_texts_are_their_own_names() -> None:
    words = ["", " ", "nan", "None", "a b", "ü☃", "1.50", "0.1"]
    assert _count_categories(pd.Series(words)).counts == dict.fromkeys(words, 1)
    assert _count_categories(pd.Series([0.1, 2.5, np.inf, 1e30])).counts == {
        "0.1": 1, "2.5": 1, "inf": 1, str(int(1e30)): 1
    }  # fmt: skip


def test_an_unused_category_is_not_counted() -> None:
    """Parquet keeps the unused categories of a column."""
    values = pd.Series(pd.Categorical(["a", "b", "a"], categories=["a", "b", "c"]))
    assert _count_categories(values).counts == {"a": 2, "b": 1}
    assert summarize_column(values, "categories")["categories"] == {"a": 2, "b": 1}


def test_only_the_most_frequent_categories_are_counted_one_by_one() -> None:
    names = [f"category {number}" for number in range(_CATEGORIES + 200)]
    often = pd.Series([name for place, name in enumerate(names) for _ in range(3 if place % 2 else 1)])
    summary = summarize_column(often, "categories")
    assert len(summary["categories"]) == _CATEGORIES and set(names[1::2]) <= set(summary["categories"])
    assert sum(summary["categories"].values()) + summary["other"] == len(often)
    reference = build_reference(pd.DataFrame({"x": often}), {"x": "categories"})
    row = compare_window(reference, count_window(pd.DataFrame({"x": often}), reference)).iloc[0]
    assert row["psi"] == pytest.approx(0, abs=1e-9) and row["distance"] == pytest.approx(0, abs=1e-9)
    assert row["new"] == () and row["vanished"] == () and row["p"] > 0.5


def test_a_window_that_is_read_in_parts_compares_as_a_whole_one() -> None:
    rng = np.random.default_rng(0)

    def draw(rows: int) -> pd.DataFrame:
        x = rng.normal(size=rows)
        return pd.DataFrame({
            "x": np.where(rng.random(rows) < 0.1, np.nan, x),
            "y": x + rng.normal(size=rows),
            "n": rng.integers(0, 5, rows),
            "w": rng.choice(["a", "b", None], rows),
        })  # fmt: skip

    kinds: dict[str, Kind] = {"x": "numeric", "y": "numeric", "n": "numeric", "w": "categories"}
    reference = build_reference(draw(2000), kinds)
    assert reference["components"] is not None
    window = draw(900)
    whole = compare_window(reference, count_window(window, reference))
    parts = [count_window(window.iloc[start : start + 100], reference) for start in range(0, 900, 100)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    pd.testing.assert_frame_equal(compare_window(reference, total), whole, rtol=1e-9)


def test_a_changed_relation_between_columns_shows_in_the_multivariate_row() -> None:
    rng = np.random.default_rng(0)

    def draw(rows: int, sign: float) -> pd.DataFrame:
        x = rng.normal(size=rows)
        return pd.DataFrame({"x": x, "y": sign * x + rng.normal(0, 0.5, rows), "z": rng.normal(size=rows)})

    reference = build_reference(draw(3000, 1), {"x": "numeric", "y": "numeric", "z": "numeric"})
    turned, same = (
        compare_window(reference, count_window(draw(800, sign), reference)).set_index("column") for sign in (-1, 1)
    )
    assert turned.loc["(multivariate)", "p"] < 1e-10 and turned.loc["(multivariate)", "distance"] > 0.5
    assert same.loc["(multivariate)", "p"] > 0.01
    assert turned.loc[["x", "y", "z"], "p"].min() > 0.001
