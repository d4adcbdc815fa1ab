"""One time read in plain Python is the time that the columns of training have."""

# ruff: noqa: DTZ001 - moments are in UTC, without a zone

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.core.moments import COUNTED, count_moment, read_moment
from lifecycle.validation.conversion import convert_column

FORMATS = [
    "", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%y", "%d-%b-%Y", "%d. %B %Y", "%Y%m%d", "%Y%m%d%H%M%S", "%Y%m", "%d.%m.%Y %H:%M",
    "%m/%d/%Y %I:%M %p", "%d/%b/%Y:%H:%M:%S %z", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%d-%m", "%y-%m-%d",
]  # fmt: skip
ZONES = st.sampled_from([None, UTC, timezone(timedelta(hours=5.5)), timezone(timedelta(hours=-3))])
TIMES = st.datetimes(datetime(1971, 1, 1), datetime(2068, 12, 31), timezones=ZONES)


def read(text: str, form: str = "") -> datetime | None:
    """The moment that the server reads, None for a refusal."""
    try:
        return read_moment(text, form)
    except ValueError:
        return None


def convert(text: str, form: str = "") -> datetime | None:
    """The moment that training reads, None for a cell that is not converted."""
    moment = convert_column(pd.Series([text], dtype="str"), "datetime", form)[0]
    return None if pd.isna(moment) else moment.to_pydatetime()


@pytest.mark.parametrize(
    ("text", "form", "moment"),
    [
        ("2016-07-02", "", datetime(2016, 7, 2)),
        (" 2016-07-02 ", "", datetime(2016, 7, 2)),
        ("2016-07", "", datetime(2016, 7, 1)),
        ("2016-07-02T10", "", datetime(2016, 7, 2, 10)),
        ("2016-07-02T10:00", "", datetime(2016, 7, 2, 10)),
        ("2016-07-02 9:05", "", datetime(2016, 7, 2, 9, 5)),
        ("2016-07-02 10:00:30.1234567", "", datetime(2016, 7, 2, 10, 0, 30, 123456)),
        ("2016-07-02 10:00 +02:00", "", datetime(2016, 7, 2, 8)),
        ("2016-07-02T23:30:00-0130", "", datetime(2016, 7, 3, 1)),
        ("02.07.2016", "%d.%m.%Y", datetime(2016, 7, 2)),
        ("2016-07-02", "%d.%m.%Y", datetime(2016, 7, 2)),  # a log has ISO 8601 whatever the format is
        ("2016-07-02", "%Y-%d-%m", datetime(2016, 2, 7)),  # it fits both: the format is what training reads
        ("2016-07-13", "%Y-%m-%d", datetime(2016, 7, 13)),
        ("2016-07-13", "%Y-%d-%m", datetime(2016, 7, 13)),  # it fits ISO 8601 alone
        ("1467417600", "epoch seconds", datetime(2016, 7, 2)),
        ("1467417600000", "epoch milliseconds", datetime(2016, 7, 2)),
        ("2016-07-02", "epoch seconds", datetime(2016, 7, 2)),
    ],
)  # fmt: skip
def test_a_time_is_read_as_training_reads_it(text: str, form: str, moment: datetime) -> None:
    assert read(text, form) == convert(text, form) == moment


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=15, deadline=None)
@given(moment=TIMES, written=st.sampled_from(FORMATS))
def test_what_fits_several_formats_is_read_as_in_training(form: str, moment: datetime, written: str) -> None:
    text = moment.strftime(written) if written else moment.isoformat()
    found, expected = read(text, form), convert(text, form)
    assert found == expected or expected is None


@settings(max_examples=100, deadline=None)
@given(
    st.from_regex(r"\d{4}-\d\d(-\d\d([T ]\d\d?(:?\d\d(:?\d\d(\.\d*)?)?)?)?)?\s?(Z|[+-]\d\d(:?\d\d)?)?", fullmatch=True)
)
def test_what_training_reads_as_iso_8601_the_server_reads(text: str) -> None:
    found, expected = read(text), convert(text)
    assert found == expected or expected is None


@pytest.mark.parametrize(
    "text",
    ["", "now", "12:00", "20160702", "2016-W26-6", "2016-7-2", "2016-13-01", "2016-02-30", "2016-07-02T24:00", "2016-07-02T10:60",
     "2016-07-02+02:00", "2016-07-02T10:00+25:00", "1467417600", "٢٠١٦-٠٧-٠٢",
     "2016-07-02x10:00"],
)  # fmt: skip
def test_what_is_not_a_time_is_refused(text: str) -> None:
    assert read(text) is None and convert(text) is None


@pytest.mark.parametrize("text", ["0001-01-01T00:00+10:00", "9999-12-31T23:59-10:00", "0000-01-01"])
def test_a_time_beyond_the_calendar_is_refused(text: str) -> None:
    assert read(text) is None


def test_every_format_of_numbers_is_known() -> None:
    assert {"epoch seconds", "excel days"} <= COUNTED.keys()


@pytest.mark.parametrize("form", [form for form in COUNTED if form.startswith("epoch")])
@settings(max_examples=40, deadline=None)
@given(st.integers(-(2**33), 2**33) | st.integers(-(2**33), 2**33).map(lambda number: number / 4))
def test_a_number_is_the_time_that_training_reads(form: str, number: float) -> None:
    assert count_moment(number, form) == convert(repr(number), form) == read(repr(number), form)


@pytest.mark.parametrize(
    ("number", "form", "moment"),
    [
        (1467417600, "epoch seconds", datetime(2016, 7, 2)),
        (1467417600.25, "epoch seconds", datetime(2016, 7, 2, 0, 0, 0, 250_000)),
        (1467417600_000_001, "epoch microseconds", datetime(2016, 7, 2, 0, 0, 0, 1)),
        (1467417600_000_001_999, "epoch nanoseconds", datetime(2016, 7, 2, 0, 0, 0, 1)),
        (-1, "epoch nanoseconds", datetime(1969, 12, 31, 23, 59, 59, 999_999)),
        (42553, "excel days", datetime(2016, 7, 2)),
        (42553.5, "excel days", datetime(2016, 7, 2, 12)),
    ],
)
def test_numbers_count_from_their_zero(number: float, form: str, moment: datetime) -> None:
    assert count_moment(number, form) == moment


@pytest.mark.parametrize("form", [form for form in COUNTED if form.startswith("epoch")])
@given(st.floats(allow_nan=False) | st.integers())
def test_a_number_is_a_time_or_refused(form: str, number: float) -> None:
    try:
        assert count_moment(number, form).tzinfo is None
    except ValueError:
        assert abs(number) > 1000
