import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.core.contract import Column, Contract
from lifecycle.validation import sampling as samples
from lifecycle.validation.chronology import _find_gaps
from lifecycle.validation.conversion import convert_columns
from lifecycle.validation.duplicates import RepeatFinder
from lifecycle.validation.outliers import _compute_fences
from lifecycle.validation.passes import Split, Survey, split_table, survey_table
from lifecycle.validation.rules import _list_values, build_schema, find_breaches, name_reasons
from tests.support.contracts import make_contract

GOOD: dict[str, Any] = {"id": "1", "months": "3", "spend": "9.5", "plan": "pro", "senior": "0", "left": "no"}


def make_raw(*rows: dict[str, Any]) -> pd.DataFrame:
    """A raw table of text: a good row, changed."""
    frame = pd.DataFrame([{**GOOD, "id": str(place), **row} for place, row in enumerate(rows)])
    return frame.astype("str")


def pass_by(raw: pd.DataFrame, columns: Mapping[str, Column], rows: int = 1000) -> tuple[Survey, Split, list[bytes]]:
    """Survey and split a raw table in parts of so many rows; the third are the two files' bytes."""
    parts = [raw.iloc[start : start + rows] for start in range(0, len(raw), rows)]
    with tempfile.TemporaryDirectory() as name:
        paths = Path(name, "valid.parquet"), Path(name, "quarantine.parquet")
        survey = survey_table(parts, columns, Path(name), len(raw))
        split = split_table(parts, survey, columns, None, paths, 1000)
        assert {path.name for path in Path(name).iterdir()} == {path.name for path in paths}
        return survey, split, [path.read_bytes() for path in paths]


def sort_out(raw: pd.DataFrame, contract: Contract) -> tuple[Split, pd.DataFrame, pd.DataFrame]:
    _, split, files = pass_by(raw, contract.columns)
    valid, quarantine = (pd.read_parquet(io.BytesIO(file)) for file in files)
    return split, valid, quarantine


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
    split, valid, quarantine = sort_out(make_raw({}, {"spend": None}), make_contract())
    assert split.reasons.empty
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
    repeats = pass_by(raw, make_contract().columns)[0].repeats
    assert repeats.repeated.tolist() == [False, True, False, False, False, True]
    assert (repeats.varied.count, repeats.varied.first) == (1, (2,))
    _, _, quarantine = sort_out(raw, make_contract())
    assert quarantine["reasons"].tolist()[0] == "id: '7', expected no repeat of an earlier row"
    columns = {name: column for name, column in make_contract().columns.items() if name != "id"}
    repeats = pass_by(raw.drop(columns="id"), columns)[0].repeats
    assert not repeats.repeated.any()
    assert not repeats.varied


def test_duplicates_leave_the_id_aside() -> None:
    duplicated = pass_by(make_raw({}, {}, {"months": "4"}, {}), make_contract().columns)[0].repeats.duplicated
    assert (duplicated.count, duplicated.first) == (2, (1, 3))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1e6, 1e6), min_size=4))
def test_fences_are_tukeys(values: list[float]) -> None:
    lower, upper = _compute_fences(np.array(values))
    first, third = np.percentile(values, 25), np.percentile(values, 75)
    if first == third:
        assert np.isnan(lower)
        assert np.isnan(upper)
    else:
        assert (lower, upper) == pytest.approx((first - 3 * (third - first), third + 3 * (third - first)))


def test_outliers_go_to_quarantine_only_where_the_contract_says_so() -> None:
    raw = make_raw(*({"months": str(value), "spend": str(value)} for value in [*range(20), 500]))
    kept = make_contract()
    split, _, quarantine = sort_out(raw, kept)
    assert split.fences.set_index("column")["above"].to_dict() == {"months": 1, "spend": 1}
    assert quarantine.empty
    _, valid, quarantine = sort_out(raw, make_contract(spend={"outliers": "quarantine"}))
    assert quarantine["spend"].tolist() == ["500"]
    assert quarantine["reasons"][0] == "spend: '500', expected -25 to 45 (Tukey's outer fences)"
    assert len(valid) == 20


def test_reasons_are_counted() -> None:
    split, _, _ = sort_out(make_raw({"months": "-1"}, {"plan": "x"}, {"months": "-2"}), make_contract())
    counts = split.reasons
    assert counts["reason"].tolist() == ["months: expected at least 0", "plan: expected one of 'basic', 'plus', 'pro'"]
    assert counts["rows"].tolist() == [2, 1]
    assert counts["example"].tolist()[0] == "row 1: months: '-1', expected at least 0"
    assert split.broken == {"range": 2, "values": 1}


def test_long_lists_are_cut() -> None:
    assert _list_values(["a", "b"]) == "one of 'a', 'b'"
    assert _list_values(list(range(9))) == "one of 0, 1, 2, 3, 4, 5 or 3 more"


def test_a_column_called_reasons_is_kept() -> None:
    assert name_reasons(pd.DataFrame({"reasons": [1], "reasons_": [1]})) == "reasons__"


def test_unreadable_is_not_missing() -> None:
    split, _, _ = sort_out(make_raw({"months": None}, {"months": "x"}, {}, {}), make_contract())
    assert split.missing["months"] == 0.25


def make_times(moments: list[Any], ids: list[int] | None = None) -> Any:
    contract = make_contract(when={"role": "time", "dtype": "datetime", "nullable": True})
    columns = {name: contract.columns[name] for name in ("id", "when", "left")}
    raw = make_raw(*({"when": moment} for moment in moments))
    if ids is not None:
        raw["id"] = pd.Series(ids).astype("str")
    return raw[list(columns)], columns


def test_the_course_of_time() -> None:
    moments = ["2024-01-02", "2024-01-01T10:00Z", None, "hello", "9999-12-31", "2024-01-03"]
    raw, columns = make_times(moments)
    survey, split, _ = pass_by(raw, columns, rows=2)
    course = survey.course
    assert course is not None
    assert (course.first, course.last) == (pd.Timestamp(2024, 1, 1, 10), pd.Timestamp(2024, 1, 3))
    assert (course.aware, course.naive) == (1, 4)
    assert course.backwards.first == (1,)
    assert [example[:5] for example in split.reasons.set_index("rule").loc[["types", "window"], "example"]] == [
        "row 4", "row 5",
    ]  # fmt: skip
    raw, columns = make_times([None, "hello"])
    assert pass_by(raw, columns)[0].course is None
    assert pass_by(raw[["left"]], {"left": columns["left"]})[0].course is None


def test_order_is_that_of_each_id_where_ids_repeat() -> None:
    moments = ["2024-01-05", "2024-01-06", "2024-01-01", "2024-01-02", "2024-01-04"]
    course = pass_by(*make_times(moments, [1, 1, 2, 2, 1]), rows=1)[0].course
    assert course is not None
    assert course.backwards.first == (4,)
    course = pass_by(*make_times(moments), rows=1)[0].course
    assert course is not None
    assert course.backwards.first == (2,)


def test_gaps() -> None:
    def find(moments: Any) -> Any:
        hours = pd.Series(moments).to_numpy(dtype="datetime64[h]").astype(np.int64)
        return _find_gaps(np.unique(hours), len(hours))

    days = pd.Series(pd.date_range("2024-01-01", periods=400, freq="h"))
    assert find(days)[1] == ()
    period, gaps = find(pd.concat([days[:100], days[300:]]))
    assert period == "day"
    assert gaps == ((pd.Timestamp(2024, 1, 6), pd.Timestamp(2024, 1, 13)),)
    assert find(pd.date_range("2024-01-01", periods=200, freq="B").repeat(20))[1] == ()
    assert find(days[:1])[1] == ()


def test_names_may_be_anything() -> None:
    column = Column.model_validate({"role": "numeric", "dtype": "int64", "min": 0, "description": "x"})
    target = make_contract().columns["left"]
    columns = {"größe in $ {x}: y": column, "left": target}
    raw = pd.DataFrame({"größe in $ {x}: y": ["-1", "2"], "left": ["no", "no"]}).astype("str")
    split = pass_by(raw, columns)[1]
    assert split.reasons["example"].tolist() == ["row 1: größe in $ {x}: y: '-1', expected at least 0"]


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.sampled_from([None, "1", "1.0", "2", "x"]),
            "months": st.sampled_from([None, "", "1", "2", "-1", "x", "900"]),
            "spend": st.sampled_from([None, "0.5", "1", "2", "3", "1e400", "5000"]),
            "plan": st.sampled_from([None, "pro", "plus", "gold", " "]),
            "senior": st.sampled_from(["0", "1", "2"]),
            "left": st.sampled_from(["no", "yes", "maybe"]),
            "when": st.sampled_from([None, "2024-01-01", "2024-01-02T10:00Z", "2023-05-05", "9999-12-31", "?"]),
        }
    ),
    min_size=1,
    max_size=12,
)


@settings(deadline=None, max_examples=12)
@given(ROWS, st.integers(1, 11), st.booleans())
def test_results_and_bytes_do_not_depend_on_the_parts(rows: list[dict[str, Any]], size: int, words: bool) -> None:
    contract = make_contract(
        when={"role": "time", "dtype": "datetime", "nullable": True}, spend={"outliers": "quarantine"}
    )
    raw = pd.DataFrame(rows, columns=[*contract.columns]).astype("str")
    whole = pass_by(raw, contract.columns)
    raw = raw.astype({"plan": "category", "months": "category", "when": "category"}) if words else raw
    parts = pass_by(raw, contract.columns, size)
    assert parts[2] == whole[2]
    for one, other in zip(whole[:2], parts[:2], strict=True):
        for field in vars(one):
            assert_same(getattr(one, field), getattr(other, field))
    assert whole[1].valid + whole[1].quarantined == len(raw)


def assert_same(one: Any, other: Any) -> None:
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other)
    elif isinstance(one, pd.Series):
        pd.testing.assert_series_equal(one, other)
    elif hasattr(one, "repeated"):
        assert one.repeated.tolist() == other.repeated.tolist()
        assert (one.varied, one.duplicated) == (other.varied, other.duplicated)
    else:
        assert one == other


@settings(deadline=None, max_examples=25)
@given(ROWS)
def test_repeats_are_those_that_pandas_finds(rows: list[dict[str, Any]]) -> None:
    raw = pd.DataFrame(rows, columns=[*make_contract().columns]).astype("str")
    with tempfile.TemporaryDirectory() as folder, RepeatFinder(["id"], Path(folder), len(raw)) as finder:
        for start in range(0, len(raw), 3):
            finder.add(raw[start : start + 3])
        repeats = finder.find()
    shared = raw["id"].notna()
    alike = raw.duplicated() & shared
    assert repeats.repeated.tolist() == alike.tolist()
    assert repeats.varied.count == (raw["id"].duplicated() & shared & ~alike).sum()
    assert repeats.duplicated.count == raw.drop(columns="id").duplicated().sum()


@settings(deadline=None, max_examples=15)
@given(ROWS)
def test_breaches_are_those_that_pandera_finds(rows: list[dict[str, Any]]) -> None:
    import pandera.pandas as pa

    contract = make_contract(when={"role": "time", "dtype": "datetime"})
    typed, _ = convert_columns(pd.DataFrame(rows, columns=[*contract.columns]).astype("str"), contract.columns)
    found = {
        (breach.column, "not_nullable" if breach.rule == "missing" else f"{breach.rule}: {breach.expected}", row)
        for breach in find_breaches(typed, {}, contract.columns)
        for row in breach.rows
    }
    expected = set()
    try:
        build_schema(contract.columns).validate(typed, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases
        expected = set(zip(cases["column"], cases["check"], cases["index"].astype(int), strict=True))
    assert found == expected


def test_beyond_a_bound_quantiles_come_from_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(100, 10, 40_000).round(6)
    raw = pd.DataFrame({"spend": values, "left": "no"})
    columns = {name: make_contract().columns[name] for name in raw}
    monkeypatch.setattr(samples, "ROWS", 10_000)
    survey, split, _ = pass_by(raw, columns, 7000)
    assert 9_500 < len(survey.numbers) < 10_500
    lower, upper = survey.fences.loc[0, ["lower", "upper"]]
    assert (lower, upper) == pytest.approx(_compute_fences(values), rel=0.05)
    assert split.fences.loc[0, "above"] == (values > upper).sum()
    assert len(split.sample) < 1100
    again = pass_by(raw, columns, 1234)
    assert_same(again[0].fences, survey.fences)
    assert_same(again[1].sample, split.sample)
