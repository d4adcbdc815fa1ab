from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.core.errors import ProjectError
from lifecycle.validation import conversion
from lifecycle.validation.conversion import (
    DTYPES,
    convert_column,
    convert_columns,
    count_zones,
    list_wordless,
    read_raw,
    solidify,
    spell_out,
)
from tests.support.contracts import make_contract


def convert(values: list[Any], dtype: str, raw: str = "str", form: str = "") -> list[Any]:
    column = convert_column(pd.Series(values, dtype=raw), dtype, form)
    assert column.dtype == DTYPES[dtype]
    return [None if pd.isna(value) else value for value in column]


@pytest.mark.parametrize(
    ("form", "raw", "values", "days"),
    [
        (
            "%d/%m/%Y",
            "str",
            ["31/12/2024", " 01/02/2024 ", "12/31/2024", None],
            ["2024-12-31", "2024-02-01", None, None],
        ),
        ("%m/%d/%Y", "str", ["12/31/2024", "01/02/2024", "31/12/2024"], ["2024-12-31", "2024-01-02", None]),
        ("%d/%m/%Y", "str", ["31/12/2024", "2024-12-30T00:00:00"], ["2024-12-31", "2024-12-30"]),  # as a log has them
        ("%Y%m%d", "Int64", [20241231, 20241331, None], ["2024-12-31", None, None]),
        ("%Y-%m-%d %H:%M:%S %z", "str", ["2024-12-31 01:00:00 +0100"], ["2024-12-31"]),
        ("epoch seconds", "Int64", [1735603200, None], ["2024-12-31", None]),
        ("epoch milliseconds", "str", ["1735603200000", "soon"], ["2024-12-31", None]),
        ("epoch seconds", "float64", [1735603200.0, float("inf")], ["2024-12-31", None]),
    ],
)
def test_moments_are_read_as_the_contract_says_they_are_written(
    form: str, raw: str, values: list[Any], days: list[str | None]
) -> None:
    assert convert(values, "datetime", raw, form) == [None if day is None else pd.Timestamp(day) for day in days]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-(10**17), 10**17)))
def test_whole_numbers_in_text_are_exact(numbers: list[int]) -> None:
    assert convert([f" {number} " for number in numbers], "int64") == numbers


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_numbers_in_text_come_back(numbers: list[float]) -> None:
    assert convert([repr(number) for number in numbers], "float64") == numbers


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(allow_nan=False)))
def test_only_whole_floats_become_whole_numbers(numbers: list[float]) -> None:
    whole = [int(n) if abs(n) <= 2**53 and n == int(n) else None for n in numbers]
    assert convert(numbers, "int64", "float64") == whole


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text()), st.sampled_from(["int64", "float64", "bool", "datetime"]))
def test_any_text_converts_or_is_missing(texts: list[str], dtype: str) -> None:
    assert len(convert(texts, dtype)) == len(texts)


@pytest.mark.parametrize(
    ("text", "dtype", "expected"),
    [
        ("12.0", "int64", 12), ("1e3", "int64", 1000), ("1.5", "int64", None), ("1_000", "int64", None),
        ("٣", "int64", None),
        ("1,234.5", "float64", None), ("nan", "float64", None), ("inf", "float64", None), (".5", "float64", 0.5),
        ("TRUE", "bool", True), (" no ", "bool", False), ("0", "bool", False), ("maybe", "bool", None),
        ("2024-02-29", "datetime", pd.Timestamp(2024, 2, 29)), ("2024-02-30", "datetime", None),
        ("2024-01-01T00:30:00+01:00", "datetime", pd.Timestamp(2023, 12, 31, 23, 30)), ("01/02/2024", "datetime", None),
        ("2024-01-01 10:00:00.123456789", "datetime", pd.Timestamp(2024, 1, 1, 10, 0, 0, 123456)),
        ("20240101", "datetime", None), ("9999-12-31", "datetime", pd.Timestamp(9999, 12, 31)),
    ],
)  # fmt: skip
def test_text(text: str, dtype: str, expected: Any) -> None:
    assert convert([text], dtype) == [expected]


def test_between_kinds() -> None:
    assert convert([1, None], "float64", "Int64") == [1.0, None]
    assert convert([5.0, None, 5.5], "string", "float64") == ["5", None, "5.5"], "codes with gaps, as pandas has them"
    assert convert([2**53 + 1, 2**53], "float64", "Int64") == [None, float(2**53)]
    assert convert([1, 0, 2, None], "bool", "Int64") == [True, False, None, None]
    assert convert([True, None], "int64", "boolean") == [1, None]
    assert convert([7, None], "string", "Int64") == ["7", None]
    assert convert([1_700_000_000], "datetime", "Int64") == [None]
    moments = pd.Series(pd.to_datetime(["2024-07-01 12:00"])).dt.tz_localize("Europe/Berlin")
    assert convert_column(moments, "datetime").tolist() == [pd.Timestamp(2024, 7, 1, 10)]
    assert convert_column(moments, "string").tolist() == ["2024-07-01T12:00:00+02:00"]
    for dtype in ("int64", "float64", "bool"):
        assert convert_column(moments, dtype).isna().all()


def test_blank_is_missing_and_broken_is_pointed_at() -> None:
    columns = make_contract().columns
    raw = pd.DataFrame({name: pd.Series(["", "  ", "x", "3"], dtype="str") for name in columns})
    typed, broken = convert_columns(raw, columns)
    assert typed["months"].tolist() == [pd.NA, pd.NA, pd.NA, 3]
    assert broken["months"].tolist() == [False, False, True, False]
    assert typed["plan"].isna().tolist() == [True, True, False, False]
    assert "plan" not in broken
    solid = solidify(typed.iloc[3:], columns)
    assert {name: str(solid[name].dtype) for name in ("id", "months", "spend", "plan")} == {
        "id": "int64", "months": "int64", "spend": "float64", "plan": "str",
    }  # fmt: skip


def test_zones_are_counted() -> None:
    assert count_zones(pd.Series(["2024-01-01T10:00Z", "2024-01-01 10:00+0100", "2024-01-01", None], dtype="str")) == (
        2,
        1,
    )
    naive = pd.Series(pd.to_datetime(["2024-01-01", None]))
    assert count_zones(naive) == (0, 1)
    assert count_zones(naive.dt.tz_localize("UTC")) == (1, 0)


def write_raw(path: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_every_plain_arrow_type_is_read(tmp_path: Path) -> None:
    contract = make_contract(
        when={"role": "text", "dtype": "datetime"},
        name={"role": "pii", "dtype": "string", "pii": "drop"},
        junk={"role": "ignored", "dtype": "string"},
    )
    table = {
        "id": pa.array([2**60 + 1, None], pa.int64()),
        "months": pa.array([1, 2], pa.uint8()),
        "spend": pa.array([Decimal("1.50"), None], pa.decimal128(5, 2)),
        "plan": pa.array(["pro", None]).dictionary_encode(),
        "senior": pa.array([True, None]),
        "left": pa.array(["no", "yes"], pa.large_string()),
        "when": pa.array([date(2024, 1, 2), None]),
        "name": pa.array(["Ann", "Bob"]),
        "junk": pa.array([[1], [2]]),
    }
    raw = next(read_raw(write_raw(tmp_path / "raw.parquet", table), contract))
    assert list(raw) == ["id", "months", "spend", "plan", "senior", "left", "when"]
    assert raw["id"].tolist() == [2**60 + 1, pd.NA]
    typed, broken = convert_columns(raw, {name: contract.columns[name] for name in raw})
    assert not broken
    assert typed["spend"].tolist()[0] == 1.5
    assert typed["senior"].tolist() == [1, pd.NA]
    assert typed["plan"].tolist() == ["pro", np.nan]
    assert typed["when"].tolist()[0] == pd.Timestamp(2024, 1, 2)


def test_columns_must_agree(tmp_path: Path) -> None:
    contract = make_contract()
    table = {name: pa.array([1]) for name in contract.columns}
    with pytest.raises(ProjectError, match=r"no column 'plan', which data/contract\.yaml describes"):
        next(read_raw(write_raw(tmp_path / "a.parquet", {k: v for k, v in table.items() if k != "plan"}), contract))
    with pytest.raises(ProjectError, match=r"'näme x', which data/contract\.yaml does not describe.*role: ignored"):
        next(read_raw(write_raw(tmp_path / "b.parquet", {**table, "näme x": pa.array([1])}), contract))
    with pytest.raises(ProjectError, match=r"'plan' of the raw table holds list"):
        next(read_raw(write_raw(tmp_path / "c.parquet", {**table, "plan": pa.array([[1]])}), contract))


def test_parts_of_any_size_hold_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = 500
    columns = {
        "id": rng.integers(0, 9, rows),
        "months": pa.array(rng.choice(["1", " 2", "x", ""], rows), mask=rng.random(rows) < 0.1),
        "spend": rng.normal(size=rows),
        "plan": np.char.add("plan ", np.arange(rows).astype(str)),
        "senior": rng.random(rows) < 0.5,
        "left": rng.choice(["no", "yes"], rows),
    }
    path = write_raw(tmp_path / "raw.parquet", {name: pa.array(values) for name, values in columns.items()})
    (whole,) = read_raw(path, make_contract())
    assert [name for name in whole if whole[name].dtype == "category"] == ["months", "left"]
    monkeypatch.setattr(conversion, "_find_repetitive", lambda *_: [])
    (plain,) = read_raw(path, make_contract())
    pd.testing.assert_frame_equal(spell_out(whole), plain)
    for one, other in zip(
        convert_columns(whole, make_contract().columns), convert_columns(plain, make_contract().columns), strict=True
    ):
        pd.testing.assert_frame_equal(spell_out(pd.DataFrame(one)), pd.DataFrame(other))
    monkeypatch.undo()
    parts = list(read_raw(path, make_contract(), rows=7))
    pd.testing.assert_frame_equal(pd.concat(map(spell_out, parts)), plain)
    assert [part.index[0] for part in parts] == list(range(0, rows, 7))
    pd.testing.assert_frame_equal(
        pd.concat(map(spell_out, read_raw(path, make_contract(), ["plan"]))), plain.drop(columns="plan")
    )


def test_columns_of_small_numbers_are_told_from_the_statistics(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": ["a", "b", None],
            "small": [1, 2, 999_999],
            "large": [1, 2, 1_000_000],
            "rate": [0.5, float("nan"), 7.0],
            "phone": [1.0, 447961425548.0, None],
            "half": pa.array(np.array([1, 2, 3], dtype="float16")),
            "none": pa.array([None] * 3, pa.float64()),
            "flag": [True, False, None],
            "day": [date(2024, 1, 1)] * 3,
        }
    )
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    assert list_wordless(tmp_path / "t.parquet", 10**6) == ["small", "rate", "half", "none", "flag", "day"]
    pq.write_table(table, tmp_path / "t.parquet", write_statistics=False)
    assert list_wordless(tmp_path / "t.parquet", 10**6) == ["half", "flag", "day"]


def test_an_empty_table_is_one_empty_part(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "raw.parquet", {name: pa.array([], pa.string()) for name in make_contract().columns})
    (part,) = read_raw(path, make_contract())
    assert part.shape == (0, 6)
