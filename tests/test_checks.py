from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.contract import Column, Contract
from lifecycle.data.checks import (
    Breach,
    build_schema,
    collect_breaches,
    compute_fences,
    count_reasons,
    find_duplicates,
    find_gaps,
    find_repeats,
    list_values,
    measure_fences,
    name_reasons,
    share_missing,
    split_rows,
    trace_time,
)
from lifecycle.data.conversion import convert_columns
from tests.contracts import make_contract

GOOD: dict[str, Any] = {"id": "1", "months": "3", "spend": "9.5", "plan": "pro", "senior": "0", "left": "no"}


def make_raw(*rows: dict[str, Any]) -> pd.DataFrame:
    """A raw table of text: a good row, changed."""
    frame = pd.DataFrame([{**GOOD, "id": str(place), **row} for place, row in enumerate(rows)])
    return frame.astype("str")


def sort_out(raw: pd.DataFrame, contract: Contract) -> tuple[list[Breach], pd.DataFrame, pd.DataFrame]:
    columns = contract.columns
    typed, broken = convert_columns(raw, columns)
    repeated, _ = find_repeats(raw, columns)
    breaches = collect_breaches(typed, broken, repeated, measure_fences(typed, columns), columns)
    return breaches, *split_rows(raw, typed, breaches, columns)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"months": "x"}, "months: 'x', expected a whole number"),
        ({"months": "1.5"}, "months: '1.5', expected a whole number"),
        ({"months": "-3"}, "months: '-3', expected at least 0"),
        ({"months": None}, "months: missing, expected a value"),
        ({"months": "  "}, "months: '  ', expected a value"),
        ({"spend": "1e999"}, "spend: '1e999', expected a finite number"),
        ({"plan": "gold"}, "plan: 'gold', expected one of 'basic', 'plus', 'pro'"),
        ({"senior": "2"}, "senior: '2', expected one of 0, 1"),
        ({"left": "maybe"}, "left: 'maybe', expected one of 'no', 'yes'"),
        ({"left": None}, "left: missing, expected a value"),
        ({"id": None}, "id: missing, expected a value"),
        ({"plan": "g" * 99}, f"plan: '{'g' * 40}', expected one of 'basic', 'plus', 'pro'"),
    ],
)
def test_a_broken_row_is_in_quarantine_with_its_reason(row: dict[str, Any], reason: str) -> None:
    raw = make_raw({}, row, {})
    _, valid, quarantine = sort_out(raw, make_contract())
    assert quarantine["reasons"].tolist() == [reason]
    assert quarantine.drop(columns="reasons").equals(raw.iloc[[1]].reset_index(drop=True))
    assert valid["id"].tolist() == [0, 2]


def test_good_rows_are_valid_in_the_contracts_types() -> None:
    breaches, valid, quarantine = sort_out(make_raw({}, {"spend": None}), make_contract())
    assert not breaches
    assert quarantine.empty
    assert list(quarantine) == [*GOOD, "reasons"]
    assert {name: str(dtype) for name, dtype in valid.dtypes.items()} == {
        "id": "int64", "months": "int64", "spend": "float64", "plan": "str", "senior": "int64", "left": "str",
    }  # fmt: skip


def test_every_reason_is_kept_in_the_contracts_order() -> None:
    _, _, quarantine = sort_out(make_raw({"left": "?", "months": "-1", "plan": None}, {}), make_contract())
    assert quarantine["reasons"][0].split("; ") == [
        "months: '-1', expected at least 0",
        "plan: missing, expected a value",
        "left: '?', expected one of 'no', 'yes'",
    ]


CELLS = st.sampled_from([None, "", "1", "0", "-1", "x", "pro", "no", "yes", "inf", "1e400", "2024-01-01"])


@settings(deadline=None, max_examples=5)
@given(st.lists(st.fixed_dictionaries(dict.fromkeys(GOOD, CELLS)), min_size=1, max_size=20))
def test_no_row_is_lost_and_the_valid_ones_keep_the_contract(rows: list[dict[str, Any]]) -> None:
    contract = make_contract()
    raw = pd.DataFrame(rows).astype("str").assign(place=[str(place) for place in range(len(rows))])
    contract = make_contract(place={"role": "text", "dtype": "string"})
    _, valid, quarantine = sort_out(raw, contract)
    assert sorted([*valid["place"], *quarantine["place"]], key=int) == list(raw["place"])
    assert [*valid["place"]] == sorted(valid["place"], key=int)
    assert (quarantine["reasons"].str.len() > 0).all()
    again, broken = convert_columns(valid, contract.columns)
    assert not broken
    build_schema(contract.columns).validate(again)


def test_the_schema_is_panderas() -> None:
    import pandera.pandas as pa

    schema = build_schema(make_contract().columns)
    assert isinstance(schema, pa.DataFrameSchema)
    assert schema.columns["spend"].nullable
    assert not schema.columns["months"].nullable
    assert [check.error for check in schema.columns["months"].checks] == ["range: at least 0"]
    with pytest.raises(pa.errors.SchemaErrors):
        schema.validate(pd.DataFrame({"id": [1]}), lazy=True)


def test_a_repeat_needs_an_id_and_equal_rows() -> None:
    raw = make_raw({"id": "7"}, {"id": "7"}, {"id": "7", "months": "4"}, {"id": None}, {"id": None}, {"id": "7"})
    repeated, varied = find_repeats(raw, make_contract().columns)
    assert repeated.tolist() == [False, True, False, False, False, True]
    assert varied.tolist() == [False, False, True, False, False, False]
    _, _, quarantine = sort_out(raw, make_contract())
    assert quarantine["reasons"].tolist()[0] == "id: '7', expected no repeat of an earlier row"
    columns = {name: column for name, column in make_contract().columns.items() if name != "id"}
    repeated, varied = find_repeats(raw, columns)
    assert not repeated.any()
    assert not varied.any()


def test_duplicates_leave_the_id_aside() -> None:
    raw = make_raw({}, {}, {"months": "4"}, {})
    assert find_duplicates(raw, make_contract().columns).tolist() == [False, True, False, True]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1e6, 1e6), min_size=4))
def test_fences_are_tukeys(values: list[float]) -> None:
    lower, upper = compute_fences(np.array(values))
    first, third = np.percentile(values, 25), np.percentile(values, 75)
    if first == third:
        assert np.isnan(lower)
        assert np.isnan(upper)
    else:
        assert (lower, upper) == pytest.approx((first - 3 * (third - first), third + 3 * (third - first)))


def test_outliers_go_to_quarantine_only_where_the_contract_says_so() -> None:
    raw = make_raw(*({"months": str(value), "spend": str(value)} for value in [*range(20), 500]))
    kept = make_contract()
    fences = measure_fences(convert_columns(raw, kept.columns)[0], kept.columns)
    assert fences.set_index("column")["above"].to_dict() == {"months": 1, "spend": 1}
    assert sort_out(raw, kept)[2].empty
    _, valid, quarantine = sort_out(raw, make_contract(spend={"outliers": "quarantine"}))
    assert quarantine["spend"].tolist() == ["500"]
    assert quarantine["reasons"][0] == "spend: '500', expected -25 to 45 (Tukey's outer fences)"
    assert len(valid) == 20


def test_reasons_are_counted() -> None:
    breaches, _, _ = sort_out(make_raw({"months": "-1"}, {"plan": "x"}, {"months": "-2"}), make_contract())
    counts = count_reasons(breaches)
    assert counts["reason"].tolist() == ["months: expected at least 0", "plan: expected one of 'basic', 'plus', 'pro'"]
    assert counts["rows"].tolist() == [2, 1]
    assert count_reasons([]).empty


def test_long_lists_are_cut() -> None:
    assert list_values(["a", "b"]) == "one of 'a', 'b'"
    assert list_values(list(range(9))) == "one of 0, 1, 2, 3, 4, 5 or 3 more"


def test_a_column_called_reasons_is_kept() -> None:
    assert name_reasons(pd.DataFrame({"reasons": [1], "reasons_": [1]})) == "reasons__"


def test_unreadable_is_not_missing() -> None:
    raw = make_raw({"months": None}, {"months": "x"}, {}, {})
    typed, broken = convert_columns(raw, make_contract().columns)
    assert share_missing(typed, broken)["months"] == 0.25


def make_times(moments: list[Any], ids: list[int] | None = None) -> Any:
    contract = make_contract(when={"role": "time", "dtype": "datetime", "nullable": True})
    columns = {name: contract.columns[name] for name in ("id", "when", "left")}
    raw = make_raw(*({"when": moment} for moment in moments))
    if ids is not None:
        raw["id"] = pd.Series(ids).astype("str")
    typed, broken = convert_columns(raw[list(columns)], columns)
    return raw[list(columns)], typed, broken, columns


def test_the_course_of_time() -> None:
    moments = ["2024-01-02", "2024-01-01T10:00Z", None, "hello", "9999-12-31", "2024-01-03"]
    raw, typed, broken, columns = make_times(moments)
    course = trace_time(raw, typed, columns)
    assert course is not None
    assert (course.first, course.last) == (pd.Timestamp(2024, 1, 1, 10), pd.Timestamp(2024, 1, 3))
    assert (course.aware, course.naive) == (1, 4)
    assert course.backwards.tolist() == [1]
    breaches = collect_breaches(typed, broken, np.zeros(6, bool), measure_fences(typed, columns), columns)
    assert [(breach.rule, breach.rows.tolist()) for breach in breaches] == [("types", [3]), ("window", [4])]
    raw, typed, _, columns = make_times([None, "hello"])
    assert trace_time(raw, typed, columns) is None
    assert trace_time(raw, typed, {"left": columns["left"]}) is None


def test_order_is_that_of_each_id_where_ids_repeat() -> None:
    raw, typed, _, columns = make_times(["2024-01-05", "2024-01-06", "2024-01-01", "2024-01-02"], [1, 1, 2, 2])
    course = trace_time(raw, typed, columns)
    assert course is not None
    assert not len(course.backwards)


def test_gaps() -> None:
    days = pd.Series(pd.date_range("2024-01-01", periods=400, freq="h"))
    assert find_gaps(days)[1] == ()
    holed = pd.concat([days[:100], days[300:]])
    period, gaps = find_gaps(holed)
    assert period == "day"
    assert gaps == ((pd.Timestamp(2024, 1, 6), pd.Timestamp(2024, 1, 13)),)
    working = pd.Series(pd.date_range("2024-01-01", periods=200, freq="B").repeat(20))
    assert find_gaps(working)[1] == ()
    assert find_gaps(days[:1])[1] == ()


def test_names_may_be_anything() -> None:
    column = Column.model_validate({"role": "numeric", "dtype": "int64", "min": 0, "description": "x"})
    target = make_contract().columns["left"]
    columns = {"größe in $ {x}: y": column, "left": target}
    raw = pd.DataFrame({"größe in $ {x}: y": ["-1", "2"], "left": ["no", "no"]}).astype("str")
    typed, broken = convert_columns(raw, columns)
    breaches = collect_breaches(typed, broken, np.zeros(2, bool), measure_fences(typed, columns), columns)
    _, quarantine = split_rows(raw, typed, breaches, columns)
    assert quarantine["reasons"].tolist() == ["größe in $ {x}: y: '-1', expected at least 0"]
