from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.monitoring.drift import compare_window
from lifecycle.monitoring.reference import (
    BINS,
    LEVELS,
    Kind,
    count_levels,
    count_window,
    sketch_column,
    sketch_reference,
)
from tests.support.frames import KINDS, agree, frames


@settings(max_examples=12, deadline=None)
@given(frames(), frames(), st.integers(0, 10))
def test_the_counts_of_parts_add_up_to_those_of_the_whole(before: pd.DataFrame, now: pd.DataFrame, place: int) -> None:
    reference = sketch_reference(before, KINDS)
    parts = [count_window(part, reference) for part in (now.iloc[:place], now.iloc[place:])]
    whole = count_window(now, reference)
    agree(parts[0] + parts[1], whole)
    agree(parts[1] + parts[0], whole)
    for name, counted in whole.columns.items():
        assert counted.present + counted.missing == len(now), name


@settings(max_examples=12, deadline=None)
@given(frames(), frames())
def test_a_reference_is_plain_json_and_counts_the_same_after_a_journey(before: pd.DataFrame, now: pd.DataFrame) -> None:
    reference = sketch_reference(before, KINDS)
    read = json.loads(json.dumps(reference, allow_nan=False))
    assert read == reference
    agree(count_window(now, read), count_window(now, reference))
    for name, sketch in read["columns"].items():
        inside = sum(sketch["counts"]) if sketch["kind"] == "numeric" else sum(sketch["categories"].values())
        assert inside + sketch.get("other", 0) + sketch["missing"] == len(before), name


@settings(max_examples=12, deadline=None)
@given(frames(), st.sets(st.sampled_from(sorted(KINDS))))
def test_a_column_that_a_window_lacks_is_absent_in_every_row_and_others_do_not_matter(
    frame: pd.DataFrame, lost: set[str]
) -> None:
    reference = sketch_reference(frame, KINDS)
    narrow = frame.drop(columns=sorted(lost)).assign(other="x")
    shuffled = narrow[sorted(narrow.columns, reverse=True)]
    counts = count_window(shuffled, reference)
    agree(counts, count_window(frame.assign(**dict.fromkeys(lost)), reference))
    for name in KINDS:
        if name in lost:
            assert (counts.columns[name].present, counts.columns[name].missing) == (0, len(frame))


@pytest.mark.parametrize("distinct", [1, 2, 10, BINS])
def test_numbers_are_counted_exactly_where_there_are_few(distinct: int) -> None:
    rng = np.random.default_rng(0)
    support = np.sort(rng.normal(size=distinct))
    values = pd.Series(np.append(support, rng.choice(support, 2000)))
    sketch = sketch_column(values, "numeric")
    expected = values.value_counts().sort_index()
    assert sketch["counts"] == [0, *expected.tolist(), 0]  # what lies beyond the reference has bins of its own
    assert sketch["edges"] == [*support.tolist(), np.nextafter(support[-1], np.inf)]
    assert np.array(sketch["sums"])[1:-1] / sketch["counts"][1:-1] == pytest.approx(support)
    assert sketch["mean"] == pytest.approx(values.mean()) and sketch["median"] == values.median()
    assert sketch["sd"] == pytest.approx(values.std(ddof=0), abs=1e-12)


def test_numbers_of_many_values_are_counted_in_bins_of_about_equal_size() -> None:
    values = pd.Series(np.random.default_rng(0).lognormal(size=20_000))
    sketch = sketch_column(values, "numeric")
    assert len(sketch["counts"]) == BINS + 2 and sum(sketch["counts"]) == len(values)
    assert max(sketch["counts"]) < 1.2 * len(values) / BINS
    assert sum(sketch["sums"]) == pytest.approx(values.sum())


def test_a_value_that_many_share_has_a_bin_of_its_own() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([np.zeros(5000), rng.normal(5, 1, 5000)])
    sketch = sketch_column(pd.Series(rng.permutation(values)), "numeric")
    edges = [-np.inf, *sketch["edges"], np.inf]
    (place,) = [number for number in range(len(edges) - 1) if edges[number] <= 0 < edges[number + 1]]
    assert 5000 <= sketch["counts"][place] < 5100


@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, 1 / 3, -1e-3, 1e9 + 0.1, 1e-12])
@pytest.mark.parametrize("rows", [1, 2, 7, 1000])
def test_a_constant_column_has_no_spread_and_stays_where_it_is(value: float, rows: int) -> None:
    reference = sketch_reference(pd.DataFrame({"x": [value] * rows}), {"x": "numeric"})
    sketch = reference["columns"]["x"]
    assert (sketch["mean"], sketch["sd"]) == (value, 0.0)
    row = compare_window(reference, count_window(pd.DataFrame({"x": [value] * 300}), reference)).iloc[0]
    assert row["distance"] == 0.0 and not row["p"] <= 0.9 and row["psi"] == 0.0  # one row can tell nothing


@pytest.mark.parametrize("huge", [1e160, 1.7e308, -1.7e308])
@pytest.mark.filterwarnings("error")
def test_a_number_at_the_end_of_the_scale_spoils_no_sum(huge: float) -> None:
    """A client may send it: no limit of the contract need forbid it."""
    values = np.random.default_rng(0).normal(10, 1, 1000)
    spoilt = pd.DataFrame({"x": np.append(values, [huge, huge, -huge])})
    reference = sketch_reference(spoilt, {"x": "numeric"})
    json.dumps(reference, allow_nan=False)
    quiet = sketch_reference(pd.DataFrame({"x": values}), {"x": "numeric"})
    for record in (reference, quiet):
        row = compare_window(record, count_window(spoilt, record)).iloc[0]
        assert np.isfinite([row["p"], row["psi"], row["distance"], row["mean"]]).all()


def test_one_level_has_one_name_however_it_is_written() -> None:
    spellings: list[pd.Series] = [
        pd.Series([1, 1, 0]), pd.Series([1.0, 1.0, 0.0]), pd.Series([True, True, False]),
        pd.Series([True, 1, 0.0], dtype=object), pd.Series([1, 1, 0], dtype="Int64"), pd.Series(["1", "1", "0"]),
        pd.Series([True, True, False], dtype="boolean"), pd.Series([1, 1, 0], dtype="category"),
        pd.Series([1, 1, 0], dtype="float32"), pd.Series([1.0, 1.0, -0.0]), pd.Series([1, "1", False], dtype=object),
    ]  # fmt: skip
    for spelling in spellings:
        assert count_levels(spelling).counts == {"1": 2, "0": 1}, spelling.dtype
        with_gap = pd.concat([spelling.astype(object), pd.Series([None], dtype=object)])
        counted = count_levels(with_gap)
        assert (counted.counts, counted.missing) == ({"1": 2, "0": 1}, 1), spelling.dtype


def test_levels_keep_the_names_that_they_have() -> None:
    words = ["", " ", "nan", "None", "a b", "ü☃", "1.50", "0.1"]
    assert count_levels(pd.Series(words)).counts == dict.fromkeys(words, 1)
    assert count_levels(pd.Series([0.1, 2.5, np.inf, 1e30])).counts == {
        "0.1": 1, "2.5": 1, "inf": 1, str(int(1e30)): 1
    }  # fmt: skip


def test_a_category_that_no_row_has_is_no_level() -> None:
    """Parquet keeps the categories of a column, used or not."""
    values = pd.Series(pd.Categorical(["a", "b", "a"], categories=["a", "b", "c"]))
    assert count_levels(values).counts == {"a": 2, "b": 1}
    assert sketch_column(values, "categories")["categories"] == {"a": 2, "b": 1}


def test_the_commonest_levels_are_kept_apart_and_the_rest_is_one() -> None:
    names = [f"level {number}" for number in range(LEVELS + 200)]
    often = pd.Series([name for place, name in enumerate(names) for _ in range(3 if place % 2 else 1)])
    sketch = sketch_column(often, "categories")
    assert len(sketch["categories"]) == LEVELS and set(names[1::2]) <= set(sketch["categories"])
    assert sum(sketch["categories"].values()) + sketch["other"] == len(often)
    reference = sketch_reference(pd.DataFrame({"x": often}), {"x": "categories"})
    row = compare_window(reference, count_window(pd.DataFrame({"x": often}), reference)).iloc[0]
    assert row["psi"] == pytest.approx(0, abs=1e-9) and row["distance"] == pytest.approx(0, abs=1e-9)
    assert row["new"] == () and row["vanished"] == () and row["p"] > 0.5


def test_a_window_read_in_parts_is_judged_as_one_read_whole() -> None:
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
    reference = sketch_reference(draw(2000), kinds)
    assert reference["components"] is not None
    window = draw(900)
    whole = compare_window(reference, count_window(window, reference))
    parts = [count_window(window.iloc[start : start + 100], reference) for start in range(0, 900, 100)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    pd.testing.assert_frame_equal(compare_window(reference, total), whole, rtol=1e-9)


def test_a_turned_relation_shows_where_no_column_has_moved() -> None:
    rng = np.random.default_rng(0)

    def draw(rows: int, sign: float) -> pd.DataFrame:
        x = rng.normal(size=rows)
        return pd.DataFrame({"x": x, "y": sign * x + rng.normal(0, 0.5, rows), "z": rng.normal(size=rows)})

    reference = sketch_reference(draw(3000, 1), {"x": "numeric", "y": "numeric", "z": "numeric"})
    turned, same = (
        compare_window(reference, count_window(draw(800, sign), reference)).set_index("column") for sign in (-1, 1)
    )
    assert turned.loc["(multivariate)", "p"] < 1e-10 and turned.loc["(multivariate)", "distance"] > 0.5
    assert same.loc["(multivariate)", "p"] > 0.01
    assert turned.loc[["x", "y", "z"], "p"].min() > 0.001
