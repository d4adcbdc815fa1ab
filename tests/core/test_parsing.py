"""Text is parsed as people and programs write it, exactly or not at all."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.parsing import EXACT, NumberFormat, parse_text

_FORMS = [
    "1234.5",
    "1234,5",
    "1,234.5",
    "1.234,5",
    "1 234,5",
    "1'234.5",
    "$1,234.5",
    "1.234,5 €",
    "1234,5 %",
    "1234.5-",
]


def parse(
    words: list[str | None], dtype: str, form: str = "", null_values: tuple[str, ...] = ()
) -> tuple[list[Any], list[bool]]:
    values, failed = parse_text(pa.array(words, pa.string()), dtype, form, null_values)
    return values.to_pylist(), failed.to_pylist()


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("", {"1": 1, "-2.5": -2.5, " 3 ": 3, "+4": 4, "1e3": 1000, ".5": 0.5, "5.": 5, "\u00a07\u00a0": 7}),
        ("1234,5", {"1152,06": 1152.06, "-0,5": -0.5, "7": 7}),
        ("1.234,5", {"1.152,06": 1152.06, "12.345": 12345, "1152,06": 1152.06, "1.234.567": 1234567}),
        ("1,234.5", {"37,951": 37951, "1,234.50": 1234.5, "1,00,000": 100000, "0.5": 0.5}),
        ("1 234,5", {"1 234,5": 1234.5, "1\u00a0234,5": 1234.5, "1\u202f234\u202f567": 1234567}),
        ("1'234.5", {"1'234.5": 1234.5}),
        ("$1,234.5", {"$70,104.50": 70104.5, "-$5.10": -5.1, "$-5.10": -5.1, "($5.10)": -5.1, "$5.10-": -5.1, "5": 5}),
        ("1.234,5 €", {"1.234,50 €": 1234.5, "12,3€": 12.3, "-3 €": -3}),
        ("1234.5 %", {"77.6%": 77.6, "-3 %": -3}),
        ("1234.5-", {"12.5-": -12.5, "(3)": -3, "\u22124": -4, "5": 5}),
        ("clock", {"00:00": 0, "01:01:00": 3660, "12:00 AM": 0, "12:30 pm": 45000, "23:59:59.5": 86399.5, "36:00": 129600}),
    ],
)  # fmt: skip
def test_numbers_are_read_with_their_marks(form: str, words: dict[str, float]) -> None:
    values, failed = parse([*words], "float64", form)
    assert values == pytest.approx([*words.values()]) and not any(failed)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("", ["1,5", "1 000", "inf", "nan", "0x1A", "$5", "5%", "1.2.3", "--1", "1-"]),
        ("1.234,5", ["1.5", "1.23", "1,2,3", "12.34.567", "1,234.5"]),
        ("1,234.5", ["1.234,5", "1,23", ",5,"]),
        ("$1,234.5", ["€5", "5 USD", "$"]),
        ("1234,5", ["1.234,5", "1.5"]),
        ("clock", ["7:5", "12:60", "noon", "1:2:3"]),
    ],
)
def test_what_does_not_fit_the_format_is_not_read(form: str, words: list[str]) -> None:
    values, failed = parse(words, "float64", form)
    assert values == [None] * len(words) and all(failed)


def test_an_example_of_a_format_is_checked() -> None:
    for wrong in ("", "1.234", "1,234,5", "12345", "abc", "1.234.5", "#,##0.00"):
        with pytest.raises(ValueError, match="would be written"):
            NumberFormat.read(wrong)


@given(st.decimals(-(10**9), 10**9, allow_nan=False, places=2), st.sampled_from(_FORMS))
def test_a_written_number_is_read_back(number: Decimal, form: str) -> None:
    marks = NumberFormat.read(form)
    text = f"{abs(number):,.2f}".replace(",", "T").replace(".", marks.decimal).replace("T", marks.thousands)
    text = f"{'-' if number < 0 else ''}{marks.prefix}{text}{marks.suffix}"
    assert parse([text], "float64", form) == ([float(number)], [False])


@given(st.integers(-(2**70), 2**70))
def test_a_whole_number_is_exact_or_refused(number: int) -> None:
    values, failed = parse([str(number), "1.5"], "int64")
    fits = -(2**63) <= number < 2**63
    assert values == [number if fits else None, None] and failed == [not fits, True]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_read_as_it_was_written(number: float) -> None:
    assert parse([repr(number)], "float64")[0] == [number]
    whole = number == np.trunc(number) and abs(number) <= EXACT
    assert parse([repr(number)], "int64")[0] == [int(number) if whole else None]


@given(st.lists(st.none() | st.text(max_size=12), max_size=20), st.sampled_from(["int64", "float64", "bool", "datetime"]),
       st.sampled_from(["", *_FORMS, "clock"]))  # fmt: skip
def test_any_text_is_read_or_refused_and_each_cell_alone(words: list[str | None], dtype: str, form: str) -> None:
    form = form if dtype in ("int64", "float64") else ""
    values, failed = parse(words, dtype, form)
    for word, value, wrong in zip(words, values, failed, strict=True):
        assert parse([word], dtype, form) == ([value], [wrong])
        blank = word is None or not word.strip()
        assert (value is None) == (wrong or blank)


@pytest.mark.parametrize(
    ("form", "word", "expected"),
    [
        ("", "2024-01-03", "2024-01-03T00:00:00"),
        ("", "2024-01-03 10:00:00+02:00", "2024-01-03T08:00:00"),
        ("", "2024-01-03T10:00:00.123456789Z", "2024-01-03T10:00:00.123456"),
        ("%d.%m.%y", "01.02.24", "2024-02-01T00:00:00"),
        ("%d.%m.%y", "2024-05-06", "2024-05-06T00:00:00"),  # a server's log has ISO 8601
        ("%m/%d/%Y %I:%M %p", "01/03/2024 01:01 PM", "2024-01-03T13:01:00"),
        ("%Y%m", "202401", "2024-01-01T00:00:00"),
        ("%Y%m%dT%H%M%SZ", "20240101T102030Z", "2024-01-01T10:20:30"),
        ("epoch seconds", "1704067200.25", "2024-01-01T00:00:00.250000"),
        ("epoch milliseconds", "1704067200001", "2024-01-01T00:00:00.001000"),
        ("epoch microseconds", "1704067200000001", "2024-01-01T00:00:00.000001"),
        ("epoch nanoseconds", "1704067200000001999", "2024-01-01T00:00:00.000001"),
        ("excel days", "45292.5", "2024-01-01T12:00:00"),
    ],
)
def test_times_are_read_in_their_format(form: str, word: str, expected: str) -> None:
    values, failed = parse([word], "datetime", form)
    assert values[0].isoformat() == expected and failed == [False]


@pytest.mark.parametrize(
    ("form", "word"), [("", "0000-00-00"), ("", "20240103"), ("", "5"), ("%Y%m", "202413"), ("epoch seconds", "1e30"), ("excel days", "x")]
)  # fmt: skip
def test_what_is_no_time_is_refused(form: str, word: str) -> None:
    assert parse([word], "datetime", form) == ([None], [True])


def test_words_may_mean_missing() -> None:
    assert parse(["?", " k.A. ", "5", "x", "", None], "int64", "", ("?", "k.A.")) == (
        [None, None, 5, None, None, None],
        [False, False, False, True, False, False],
    )
    assert parse(["NA", "DE"], "string", "", ("NA",)) == ([None, "DE"], [False, False])


def test_text_in_pieces_is_read_as_a_whole() -> None:
    pieces = pa.chunked_array([["1,5", "x"], ["2"]])
    values, failed = parse_text(pieces, "float64", "1234,5")
    assert (values.to_pylist(), failed.to_pylist()) == ([1.5, None, 2.0], [False, True, False])
