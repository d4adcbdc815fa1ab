"""A column of text is read as numbers, times or words, from the whole column; what is not certain is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.adoption.guess import Profile
from lifecycle.adoption.reading import Reading, read_column

DAYS = pd.date_range("2023-12-25", periods=60, freq="5D")


def read(words: list[str | None], name: str = "c", **given: Any) -> Reading:
    series = pd.Series(words, dtype="str")
    present = series.dropna()
    return read_column(Profile(name, present, present.value_counts(), len(series) - len(present)), **given)[0]


def spread(word: str, count: int = 60) -> list[str]:
    """Numbers written as 1234.5 is written in `word`."""
    return [word.replace("1234", str(1000 + 37 * place)).replace("5", str(place % 9 + 1)) for place in range(count)]


@pytest.mark.parametrize(
    ("words", "form", "unit"),
    [
        (spread("1234,5"), "1234,5", ""),
        ([f"{1000 + 37 * place:,}.5" for place in range(60)], "1,234.5", ""),
        ([f"{place}.{place % 10}{place % 7} €" for place in range(60)], "1234.5 €", "€"),
        ([f"CHF {place}.50" for place in range(60)], "CHF1234.5", "CHF"),
        ([f"{place} kg" for place in range(60)], "1234.5 kg", "kg"),
        ([f"{place},{place % 10} %" for place in range(60)], "1234,5%", "%"),
        ([f"({place})" if place % 2 else str(place) for place in range(60)], "1234.5-", ""),
        ([f"{place % 24:02d}:{place:02d}" for place in range(60)], "clock", "seconds"),
        ([str(place) for place in range(60)], "", ""),
    ],
)
def test_the_marks_of_numbers_are_found(words: list[str], form: str, unit: str) -> None:
    reading = read(words)
    assert reading.profile.present.dtype in ("Int64", "float64") and reading.profile.distinct > 50
    assert (reading.rules.get("format", ""), reading.rules.get("unit", "")) == (form, unit)


def test_other_columns_decide_what_a_mark_means() -> None:
    words = [f"1.{place:03d}" for place in range(100, 160)]
    assert read(words).profile.present.max() == pytest.approx(1.159) and not read(words).checks
    german = read(words, comma=True)
    assert german.profile.present.max() == 1159 and "thousands mark" in german.checks[0]
    words = [word.replace(".", ",") for word in words]
    assert read(words).profile.present.max() == 1159 and "thousands mark" in read(words).checks[0]
    assert read(words, comma=True).profile.present.max() == pytest.approx(1.159)
    assert not read([*words, "0,5"]).checks


@pytest.mark.parametrize(
    "form",
    [
        "%d.%m.%Y",
        "%m/%d/%Y",
        "%d/%m/%y",
        "%Y/%m/%d",
        "%d-%b-%Y",
        "%B %d, %Y",
        "%Y%m%d",
        "%d.%m.%Y %H:%M",
        "%I:%M %p" and "%m/%d/%Y %I:%M %p",
    ],
)
def test_the_format_of_times_is_found(form: str) -> None:
    reading = read(list(DAYS.strftime(form)))
    assert reading.rules["format"] == form and list(reading.profile.present) == list(DAYS)


def test_one_date_that_proves_the_order_decides() -> None:
    words = [f"{place % 12 + 1:02d}/{place % 11 + 1:02d}/2024" for place in range(200)]
    assert "no value shows the order" in read(words).checks[0]
    assert read([*words, "12/31/2024"]).rules["format"] == "%m/%d/%Y"
    assert read([*words, "31/12/2024"]).rules["format"] == "%d/%m/%Y"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["007", "07", "7"] * 20, ""),
        ([f"{10**17 + place}" for place in range(60)], ""),
        (["4E12", "2E5", "7E1"] * 20, ""),
        (["yes", "no"] * 30, ""),
        (["None", "Gd", "TA"] * 20, "stays a word"),
        (["nan", "Gd", "TA"] * 20, "taken as missing"),
        (["k.A.", "Gd", "TA"] * 20, "taken as missing"),
    ],
)
def test_words_and_codes_stay_text(words: list[str], said: str) -> None:
    reading = read(words)
    assert reading.profile.text and "format" not in reading.rules
    assert said in "; ".join(reading.checks) and bool(said) == bool(reading.checks)


def test_versions_that_become_one_number_are_said() -> None:
    assert "become the same number" in read(["3.1", "3.10", "3.2"] * 20).checks[0]
    assert not read(["3.1", "3.2", "5"] * 20).checks


@pytest.mark.parametrize("mark", ["?", "-", "k.A.", "NA", "#N/A", "on request"])
def test_a_mark_among_numbers_means_missing(mark: str) -> None:
    numbers = [str(place) for place in range(100)]
    reading = read([*numbers, mark, mark, mark])
    assert reading.rules["null_values"] == [mark] and reading.profile.missing == 3
    assert bool(reading.checks) == (mark == "on request")


def test_an_extreme_of_nines_means_missing_and_is_said() -> None:
    numbers = [f"{value:.1f}" for value in np.linspace(0, 50, 100)]
    assert read([*numbers, *["-999"] * 5]).rules["null_values"] == ["-999"]
    assert "-999" in read([*numbers, *["-999"] * 5]).checks[0]
    assert "null_values" not in read([*numbers, "99"] * 2).rules
    assert "null_values" not in read([str(-place) for place in range(950, 1050)]).rules


def test_quoted_words_are_words() -> None:
    assert not read(["NA", "DE", "FR"] * 20, quoted=True).checks
