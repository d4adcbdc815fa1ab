"""Small tables as people have them: each holds one kind of trouble, what is true of it, and whether adopt is right or says so.

A table has a column `x` that the target `y` follows from, and the column in question. `truth` is its content: what a careful
person would read, one value a row.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 300
DAYS = pd.date_range("2024-01-01", periods=ROWS, freq="2D")
HOURS = pd.date_range("2024-01-01", periods=ROWS, freq="61min")
_CITIES = ("Zürich", "Genève", "Köln", "Bern")


@dataclass(frozen=True)
class Messy:
    """A table: what is odd about it, the column in question, its true values (None: they are not compared), and the file.

    outcome: `right` when adopt reads the true values, `with a check` when a line on the terminal names the column, `refused` when
    the command says why the table cannot be adopted. role: the role that the column must get; "" for any.
    """

    kind: str
    column: str
    truth: Sequence[Any] | None
    file: str
    content: bytes
    outcome: str = "right"
    role: str = ""
    words: tuple[str, ...] = ()
    rejected: int = 0  # rows that go to quarantine
    files: dict[str, bytes] = field(default_factory=dict)


def _draw() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.random.Generator]:
    rng = np.random.default_rng(7)
    x = np.round(rng.normal(size=ROWS), 3)
    return x, np.where(rng.random(ROWS) < 1 / (1 + np.exp(-2 * x)), "yes", "no"), rng


def _csv(
    name: str, cells: Sequence[str], *, delimiter: str = ",", quote: bool = False, encoding: str = "utf-8"
) -> bytes:
    """Write the column in question beside x and y; `quote` quotes its cells."""
    x, y, _ = _draw()
    shown = [f'"{cell}"' if quote or delimiter in cell else cell for cell in cells]
    lines = [
        delimiter.join((name, "x", "y")),
        *(delimiter.join(row) for row in zip(shown, map(str, x), y, strict=True)),
    ]
    return ("\n".join(lines) + "\n").encode(encoding)


def _cycle(words: Sequence[Any]) -> list[Any]:
    return [words[place % len(words)] for place in range(ROWS)]


def _sprinkle(cells: Sequence[str], mark: str, every: int = 20) -> list[str]:
    return [mark if place % every == 3 else cell for place, cell in enumerate(cells)]


def _expect(values: Sequence[Any], every: int = 20) -> list[Any]:
    return [None if place % every == 3 else value for place, value in enumerate(values)]


def _parquet(name: str, column: pa.Array, more: dict[str, pa.Array] | None = None) -> bytes:
    x, y, _ = _draw()
    sink = io.BytesIO()
    pq.write_table(pa.table({name: column, **(more or {}), "x": x, "y": pa.array(y.tolist())}), sink)
    return sink.getvalue()


def _json(rows: Sequence[dict[str, Any]]) -> bytes:
    _, y, _ = _draw()
    return "".join(json.dumps({**row, "y": label}) + "\n" for row, label in zip(rows, y.tolist(), strict=True)).encode()


def _excel(name: str, values: Sequence[Any], above: Sequence[Sequence[Any]] = (), merged: Sequence[str] = ()) -> bytes:
    import openpyxl

    x, y, _ = _draw()
    book = openpyxl.Workbook()
    sheet = book.active
    for row in above:
        sheet.append(list(row))
    sheet.append([name, "x", "y"])
    for row in zip(values, x.tolist(), y.tolist(), strict=True):
        sheet.append(list(row))
    for span in merged:
        sheet.merge_cells(span)
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


TABLES: dict[str, Messy] = {}
_X, _Y, _RNG = _draw()
_WHOLE = _RNG.integers(1_000, 99_999, ROWS)
_MONEY = np.round(_RNG.uniform(1, 2_000, ROWS), 2)
_FEW = np.round(_RNG.integers(0, 41, ROWS) / 10, 1)
_PHONES = [f"+4479{number:08d}" for number in _RNG.choice(10**8, ROWS, replace=False)]
_LONG_IDS = [str(89_111_702_272_002_019_000 + place) for place in range(ROWS)]
_LONG_NUMBERS = [891_117_022_720_020_190 + place for place in range(60)]
_CITY = _cycle(_CITIES)
_ZIPS = _cycle(["01730", "02139", "10001", "33101", "94105", "00501"])
_GERMAN = [f"{value:.2f}".replace(".", ",") for value in _MONEY]


def _add(
    name: str, kind: str, column: str, truth: Sequence[Any] | None, content: bytes, file: str = "", **rest: Any
) -> None:
    TABLES[name] = Messy(kind, column, truth, file or f"{name}.csv", content, **rest)


def _add_personal_data() -> None:
    """Personal data."""
    _add("phone", "telephone numbers", "phone", None, _csv("phone", _PHONES), role="pii", outcome="with a check")
    _add("first_names", "first names of few values", "first_name", _cycle(["Ann", "Bob", "Cyd"]),
        _csv("first_name", _cycle(["Ann", "Bob", "Cyd"])), role="categorical", outcome="with a check")  # fmt: skip
    _add("contact", "telephone numbers without a country", "kontakt2", None,
        _csv("kontakt2", [f"07{number:09d}" for number in _RNG.choice(10**9, ROWS, replace=False)]), role="pii", outcome="with a check")  # fmt: skip
    _add("ssn", "social security numbers without hyphens", "ssn", None,
        _csv("ssn", [f"{area:03d}{rest:06d}" for area, rest in zip(_RNG.integers(100, 600, ROWS), _RNG.choice(999_999, ROWS, replace=False) + 1, strict=True)]),
        role="pii", outcome="with a check")  # fmt: skip
    surnames = _cycle(
        [
            f"{start}{end}"
            for start in ("Mei", "Hub", "Kell", "Schneid", "Web")
            for end in ("er", "ert", "inger", "ler", "ner")
        ]
    )
    padded = _cycle(["Bern  ", "Genf  ", "Zürich"])
    _add(
        "padded_words",
        "categories filled up with blanks",
        "place",
        padded,
        _csv("place", padded),
        role="categorical",
        outcome="with a check",
    )
    persons = _cycle(
        [
            f"{first} {last}"
            for first in ("Anna", "Jörg", "Zoë")
            for last in ("Meier", "Li Wang", "O. Berg", "Suter", "Frei", "Roth", "Graf", "Kunz")
        ]
    )
    _add(
        "persons",
        "names of persons in a column that does not say so",
        "ansprech",
        persons,
        _csv("ansprech", persons),
        role="categorical",
        outcome="with a check",
    )
    _add(
        "surnames",
        "names of persons that occur again and again",
        "last_name",
        surnames,
        _csv("last_name", surnames),
        role="categorical",
        outcome="with a check",
    )
    mails = _cycle([f"{name}@example.com" for name in ("ada", "ben", "cleo", "dan")])
    _add(
        "few_mails",
        "a few e-mail addresses, again and again",
        "seller",
        None,
        _csv("seller", mails),
        role="pii",
        outcome="with a check",
    )


def _add_identifiers() -> None:
    """Identifiers."""
    _add("long_id", "identifiers of 20 digits", "order_id", _LONG_IDS, _csv("order_id", _LONG_IDS), role="id")
    _add("long_group", "identifiers of 20 digits that repeat", "customer_id", _cycle(_LONG_IDS[:100]),
        _csv("customer_id", _cycle(_LONG_IDS[:100])), role="id", words=("--id", "customer_id"))  # fmt: skip
    _add(
        "text_id",
        "digits stored as text in Parquet",
        "order_id",
        _LONG_IDS,
        _parquet("order_id", pa.array(_LONG_IDS)),
        "text_id.parquet",
        role="id",
    )
    _add("unsigned_id", "unsigned whole numbers beyond 2^63", "user_id", [str(2**63 + place) for place in range(ROWS)],
        _parquet("user_id", pa.array([2**63 + place for place in range(ROWS)], pa.uint64())), "unsigned_id.parquet", role="id")  # fmt: skip
    _add("long_numbers", "identifiers of 18 digits that repeat, as numbers in Parquet", "sender", _cycle(_LONG_NUMBERS),
        _parquet("sender", pa.array(_cycle(_LONG_NUMBERS))), "long_numbers.parquet", role="categorical")  # fmt: skip
    _add("few_ids", "customer numbers of few customers", "customer_id", _cycle(range(1000, 1060)),
        _csv("customer_id", [str(number) for number in _cycle(range(1000, 1060))]), role="categorical", outcome="with a check")  # fmt: skip
    _add("few_numbers", "customer numbers of few customers, with a name that could be that of a quantity", "customer_no", _cycle(range(1000, 1060)),
        _csv("customer_no", [str(number) for number in _cycle(range(1000, 1060))]), role="numeric", outcome="with a check")  # fmt: skip
    _add("inexact", "long numbers with gaps, which pandas wrote as doubles", "order_id", None, _parquet("order_id", pa.array(_expect([float(2**53 + 2 + 2 * place % 150) for place in range(ROWS)]), pa.float64())),
        "inexact.parquet", role="numeric", outcome="with a check")  # fmt: skip
    _add("some_ids", "customer numbers, some of them missing", "customer_id", _expect([*range(7000, 7900, 3)]),
        _parquet("customer_id", pa.array(_expect([*range(7000, 7900, 3)]))), "some_ids.parquet", role="id", outcome="with a check")  # fmt: skip
    _add("some_long", "numbers of which some have 18 digits", "ref", None, _csv("ref", [str(910_000_000_000_000_000 + place if place % 4 == 0 else 12_345_678 + place) for place in range(ROWS)]),
        outcome="with a check")  # fmt: skip
    _add("padded_id", "customer numbers with leading zeros", "customer", [f"{place * 7:08d}" for place in range(ROWS)],
        _csv("customer", [f"{place * 7:08d}" for place in range(ROWS)]), role="id")  # fmt: skip
    _add("respondents", "numbers of respondents, one of which is missing", "Respondent ID", [None, *range(1, ROWS)],
        _csv("Respondent ID", ["", *map(str, range(1, ROWS))]), role="id", outcome="with a check")  # fmt: skip
    _add("gaps", "unique whole numbers with gaps", "policy", None, _csv("policy", [str(10_000 + 3 * place + place % 2) for place in range(ROWS)]),
        role="id", outcome="with a check")  # fmt: skip


def _add_codes() -> None:
    """Codes."""
    _add(
        "zip",
        "postal codes with leading zeros, in quotes",
        "zip",
        _ZIPS,
        _csv("zip", _ZIPS, quote=True),
        role="categorical",
    )
    _add("fips", "codes with leading zeros", "fips", _cycle(["01001", "01003", "06037", "36061"]),
        _csv("fips", _cycle(["01001", "01003", "06037", "36061"])), role="categorical")  # fmt: skip
    _add("collide", "codes that differ by leading zeros alone", "code", _cycle(["007", "07", "7", "12"]), _csv("code", _cycle(["007", "07", "7", "12"])),
        role="categorical")  # fmt: skip
    _add("plain_zip", "postal codes without leading zeros", "zip", [int(z) for z in _cycle(["10001", "33101", "94105"])],
        _csv("zip", _cycle(["10001", "33101", "94105"])), role="categorical", outcome="with a check")  # fmt: skip


def _add_words_that_may_mean_missing() -> None:
    """Words that may mean missing."""
    _add("namibia", "NA as a word, in quotes", "country", _cycle(["NA", "NC", "NE", "US", "ZA"]), _csv("country", _cycle(["NA", "NC", "NE", "US", "ZA"]), quote=True),
        role="categorical")  # fmt: skip
    _add("none", "None and NULL among categories", "garage", _cycle(["None", "NULL", "TA", "Gd"]), _csv("garage", _cycle(["None", "NULL", "TA", "Gd"])),
        role="categorical", outcome="with a check")  # fmt: skip
    quoted = [f'"{word}"' for word in _cycle(["NA", "DE", "FR"])]
    _add("r_file", "R's file: NA without quotes is missing, with quotes a word", "country", _expect(_cycle(["NA", "DE", "FR"])),
        _csv("country", _sprinkle(quoted, "NA")), outcome="with a check")  # fmt: skip
    _add(
        "question",
        "? in a column of numbers",
        "c",
        _expect(_WHOLE.tolist()),
        _csv("c", _sprinkle(list(map(str, _WHOLE)), "?")),
        role="numeric",
    )
    _add(
        "dash",
        "- in a column of numbers",
        "c",
        _expect(_FEW.tolist()),
        _csv("c", _sprinkle(list(map(str, _FEW)), "-")),
        role="numeric",
    )
    _add("unknown", "an unknown word in a column of numbers", "c", _expect(_WHOLE.tolist()),
        _csv("c", _sprinkle(list(map(str, _WHOLE)), "auf Anfrage")), role="numeric", outcome="with a check")  # fmt: skip
    _add(
        "sentinel",
        "-999 in a column of numbers",
        "c",
        _expect(_FEW.tolist()),
        _csv("c", _sprinkle(list(map(str, _FEW)), "-999")),
        role="numeric",
        outcome="with a check",
    )

    _add("sentinel_form", "-999,00 in a column of decimal commas", "c", _expect(_FEW.tolist()),
        _csv("c", _sprinkle([str(value).replace(".", ",") for value in _FEW], "-999,00"), delimiter=";"), role="numeric", outcome="with a check")  # fmt: skip
    _add("sentinel_long", "99999999 in a column of numbers", "c", _expect(_WHOLE.tolist()), _csv("c", _sprinkle(list(map(str, _WHOLE)), "99999999")),
        role="numeric", outcome="with a check")  # fmt: skip
    balances = [-999 if place == 7 else 40 * place - 3_000 for place in range(ROWS)]
    _add(
        "sentinel_within",
        "one -999 between other numbers",
        "c",
        balances,
        _csv("c", list(map(str, balances))),
        role="numeric",
        outcome="with a check",
    )
    answers = _cycle([1, 2, 3, 4, 5, 98, 99])
    _add(
        "refused_answers",
        "98 and 99 among the answers 1 to 5",
        "q",
        answers,
        _csv("q", list(map(str, answers))),
        role="numeric",
        outcome="with a check",
    )
    days = _cycle([-1, 3, 14, 60, 200])
    _add(
        "minus_one",
        "-1 as the only number below zero",
        "c",
        days,
        _csv("c", list(map(str, days))),
        role="numeric",
        outcome="with a check",
    )


def _add_numbers() -> None:
    """Numbers."""
    _add("comma", "decimal commas", "amount", _MONEY.tolist(), _csv("amount", _GERMAN, delimiter=";"), role="numeric")
    _add("comma_few", "decimal commas, few values", "amount", _FEW.tolist(),
        _csv("amount", [str(value).replace(".", ",") for value in _FEW], delimiter=";"), role="numeric")  # fmt: skip
    _add(
        "thousands",
        "thousands marks",
        "amount",
        _WHOLE.tolist(),
        _csv("amount", [f"{value:,}" for value in _WHOLE]),
        role="numeric",
        outcome="with a check",
    )
    _add("swiss", "apostrophes as thousands marks", "amount", [float(f"{value * 100:.2f}") for value in _MONEY],
        _csv("amount", [f"{value * 100:,.2f}".replace(",", "'") for value in _MONEY]), role="numeric")  # fmt: skip
    _add(
        "currency",
        "a currency",
        "amount",
        _MONEY.tolist(),
        _csv("amount", [f"${value:,.2f}" for value in _MONEY]),
        role="numeric",
    )
    _add("euro", "a currency behind, with marks of a locale", "amount", (_MONEY * 10).round(2).tolist(),
        _csv("amount", [f"{value:,.2f} €".translate(str.maketrans(",.", ".,")) for value in (_MONEY * 10).round(2)], delimiter=";"), role="numeric")  # fmt: skip
    _add("percent", "percent", "rate", _FEW.tolist(), _csv("rate", [f"{value}%" for value in _FEW]), role="numeric")
    _add("full_stops", "full stops that seem to group thousands", "c", None, _csv("c", [f"{value:,}".replace(",", ".") for value in _WHOLE // 20]),
        role="numeric", outcome="with a check")  # fmt: skip
    _add("percent_mixed", "percent, and numbers without", "rate", None, _csv("rate", [f"{value}%" if place % 4 else str(value / 100) for place, value in enumerate(_FEW)]),
        role="numeric", outcome="with a check")  # fmt: skip
    _add("clock_mixed", "durations with hours and without", "time_used", None, _csv("time_used", [f"{place % 60}:07" if place % 3 else f"1:{place % 60:02}:07" for place in range(ROWS)]),
        role="numeric", outcome="with a check")  # fmt: skip
    _add("trailing_minus", "a minus behind the number", "balance", (_MONEY * np.where(_X > 0, 1, -1)).tolist(),
        _csv("balance", [f"{value:.2f}{'' if sign > 0 else '-'}" for value, sign in zip(_MONEY, _X, strict=True)]), role="numeric")  # fmt: skip
    _add("clock", "times of day", "start_time", [(place * 61 % 1440) * 60 for place in range(ROWS)], _csv("start_time", list(HOURS.strftime("%H:%M:%S"))),
        role="numeric")  # fmt: skip
    _add("half", "numbers of 16 bits in Parquet", "c", _FEW.astype(np.float16).astype(float).tolist(), _parquet("c", pa.array(_FEW.astype(np.float16))),
        "half.parquet", role="numeric")  # fmt: skip
    _add("thousands_k", "numbers such as 4.2k", "followers", None, _csv("followers", _cycle([str(place * 90) if place < 12 else f"{place / 10}k" for place in range(60)])),
        role="categorical", outcome="with a check")  # fmt: skip
    _add("top_coded", "numbers of which the highest is 85+", "years", None, _csv("years", _cycle([*map(str, range(40, 85)), "85+"])),
        role="categorical", outcome="with a check")  # fmt: skip
    _add(
        "huge",
        "numbers at the limit of float64",
        "a",
        _cycle([1e308, -1e308, 1e300, 0.5]),
        _csv("a", _cycle(["1e308", "-1e308", "1e300", "0.5"])),
    )


def _add_times() -> None:
    """Times."""
    for name, kind, column, form, unit in (
        ("two_digits", "years of two digits", "order_date", "%d.%m.%y", DAYS), ("month_names", "names of months", "order_date", "%d-%b-%y", DAYS),
        ("iso_basic", "ISO 8601 without hyphens", "at", "%Y%m%dT%H%M%SZ", HOURS), ("compact", "yyyymmddHHMMSS", "at", "%Y%m%d%H%M%S", HOURS),
        ("utc", "UTC behind a time, as BigQuery writes it", "at", "%Y-%m-%d %H:%M:%S UTC", HOURS), ("tweets", "times of Twitter", "created_at", "%a %b %d %H:%M:%S +0000 %Y", HOURS),
        ("sas_time", "dates and times of SAS", "at", "%d%b%Y:%H:%M:%S", HOURS), ("twelve_hours", "AM and PM", "order_date", "%m/%d/%Y %I:%M %p", HOURS), ("german_date", "days, months and years with full stops", "datum", "%d.%m.%Y", DAYS),
    ):  # fmt: skip
        truth = list(unit.floor("min") if "%M" in form and "%S" not in form else unit)
        _add(name, kind, column, truth, _csv(column, list(unit.strftime(form))), role="time", outcome="with a check")
    _add("german_months", "names of months in German", "seit", None, _csv("seit", [f"{day.day}. {'Januar' if day.month < 7 else 'Juli'} {day.year - day.month}" for day in DAYS]),
        outcome="with a check")  # fmt: skip
    _add(
        "japanese_date",
        "dates with 年, 月 and 日",
        "seit",
        None,
        _csv("seit", list(DAYS.strftime("%Y年%m月%d日"))),
        role="id",
        outcome="with a check",
    )
    months = pd.date_range("2024-01-01", periods=20, freq="MS")
    _add(
        "yyyymm",
        "months as yyyymm",
        "period",
        _cycle(list(months)),
        _csv("period", _cycle(list(months.strftime("%Y%m")))),
        role="time",
        outcome="with a check",
    )
    _add("microseconds", "microseconds since 1970", "timestamp", list(HOURS), _csv("timestamp", [str(moment.value // 1000) for moment in HOURS]),
        role="time", outcome="with a check")  # fmt: skip
    _add("fractions", "seconds since 1970 with fractions", "timestamp", [moment + pd.Timedelta("250ms") for moment in HOURS],
        _csv("timestamp", [f"{moment.timestamp() + 0.25:.2f}" for moment in HOURS]), role="time", outcome="with a check")  # fmt: skip
    _add("excel_days", "serial days of a spreadsheet", "order_date", list(DAYS), _csv("order_date", [str((day - pd.Timestamp(1899, 12, 30)).days) for day in DAYS]),
        role="time", outcome="with a check")  # fmt: skip
    zeros = _sprinkle(list(DAYS.strftime("%Y-%m-%d")), "0000-00-00")
    ends = [pd.Timestamp(9999, 12, 31) if place % 20 == 3 else day for place, day in enumerate(DAYS)]
    _add("open_end", "9999-12-31 among dates", "end_date", ends, _csv("end_date", [str(day.date()) for day in ends]),
        role="text", outcome="with a check")  # fmt: skip
    _add("zero_date", "0000-00-00", "signup_date", _expect(list(DAYS)), _csv("signup_date", zeros), role="text")
    firsts = [pd.Timestamp(2020 + place % 5, 1 + place % 12, 1) for place in range(ROWS - 2)] + [pd.Timestamp(2024, 12, 31), pd.Timestamp(2024, 6, 15)]  # fmt: skip
    _add("month_first", "the month first, as two dates prove", "order_date", firsts, _csv("order_date", [day.strftime("%m/%d/%Y") for day in firsts]),
        role="time", outcome="with a check")  # fmt: skip
    ambiguous = [pd.Timestamp(2024, 1 + place % 12, 1 + place % 11) for place in range(ROWS)]
    _add(
        "day_or_month",
        "day and month in an order that nothing proves",
        "seen",
        None,
        _csv("seen", [day.strftime("%d/%m/%Y") for day in ambiguous]),
        outcome="with a check",
    )


def _add_files() -> None:
    """Files."""
    _add(
        "semicolon",
        "semicolons and a byte order mark",
        "city",
        _CITY,
        _csv("city", _CITY, delimiter=";", encoding="utf-8-sig"),
        role="categorical",
        outcome="right",
    )
    _add("pipe", "vertical bars", "city", _CITY, _csv("city", _CITY, delimiter="|"), role="categorical")
    _add(
        "tab", "tabs in a .txt file", "city", _CITY, _csv("city", _CITY, delimiter="\t"), "tab.txt", role="categorical"
    )
    _add("utf16", "UTF-16", "city", _CITY, _csv("city", _CITY, encoding="utf-16"), role="categorical")
    _add(
        "latin1",
        "Latin-1, in the header too",
        "größe",
        _CITY,
        _csv("größe", _CITY, encoding="latin-1"),
        role="categorical",
        outcome="with a check",
    )
    _add(
        "sep_line",
        "a line sep=; above the header",
        "city",
        _CITY,
        b"sep=;\n" + _csv("city", _CITY, delimiter=";"),
        role="categorical",
    )
    _add("trailing", "empty columns at the end", "city", _CITY,
        b"city,x,y,,\n" + b"".join(line + b",,\n" for line in _csv("city", _CITY).splitlines()[1:]), role="categorical", outcome="with a check")  # fmt: skip
    objects = _cycle(['{"a": 1, "b": "x"}', '{"a": 2, "b": "it\'s"}', "[]"])
    _add(
        "json_cells",
        "JSON in quoted cells",
        "tags",
        objects,
        _csv("tags", [cell.replace('"', '""') for cell in objects]),
        role="categorical",
    )
    lines = _csv("city", _CITY).splitlines(keepends=True)
    _add(
        "joined",
        "the header again, as of joined files",
        "y",
        None,
        b"".join([*lines[:100], lines[0], *lines[100:]]),
        outcome="with a check",
        role="target",
    )
    _add("twice", "a header twice", "x", _CITY, _csv("x", _CITY), role="categorical", outcome="with a check")
    ragged = _csv("city", _CITY).splitlines()
    _add("ragged", "a row with a cell too many", "city", [*_CITY[:4], *_CITY[5:]], b"\n".join([*ragged[:5], ragged[5] + b",more", *ragged[6:]]) + b"\n",
        role="categorical", rejected=1, outcome="with a check")  # fmt: skip
    _add(
        "empty_object",
        "{} in JSON lines",
        "meta",
        None,
        _json([{"meta": {}, "x": value} for value in _X.tolist()]),
        "empty_object.jsonl",
        role="ignored",
    )
    _add("mixed", "numbers as text and as numbers in JSON lines", "visits", [place % 90 for place in range(ROWS)],
        _json([{"visits": str(place % 90) if place % 50 == 0 else place % 90, "x": _X.tolist()[place]} for place in range(ROWS)]), "mixed.jsonl", role="numeric")  # fmt: skip
    _add(
        "excel",
        "Excel, with a title above the table",
        "city",
        _CITY,
        _excel("city", _CITY, [["Report of May"], []]),
        "excel.xlsx",
        role="categorical",
        outcome="with a check",
    )
    pairs = [f"A{row}:A{row + 1}" for row in range(2, ROWS + 2, 2)]
    _add(
        "excel_merged",
        "Excel, with merged cells",
        "region",
        _cycle(["N", None, "S", None]),
        _excel("region", _cycle(["N", None, "S", None]), merged=pairs),
        "excel_merged.xlsx",
        role="categorical",
        outcome="with a check",
    )
    _add(
        "excel_types",
        "dates and numbers of Excel",
        "signed",
        list(DAYS),
        _excel("signed", [day.to_pydatetime() for day in DAYS]),
        "excel_types.xlsx",
    )


def _add_names_and_levels() -> None:
    """Names and levels."""
    for name, column in (
        ("self", "self"),
        ("question_name", "?notes"),
        ("colon_name", ":p"),
        ("reasons", "reasons"),
        ("spaces", "a b c"),
        ("umlaut", "ß"),
    ):
        _add(f"name_{name}", f"a column named {column}", column, _CITY, _csv(column, _CITY), role="categorical")
    levels = _cycle(["? unsure", ": x", "sure", "- no", "#1", "a, b"])
    _add(
        "levels",
        "categories that begin with ? or : or #",
        "c",
        levels,
        _csv("c", levels, quote=True),
        role="categorical",
    )

    odd = _cycle(["A", "A\u200b", "Zürich", "Zu\u0308rich"])
    _add(
        "invisible",
        "categories that differ by invisible characters",
        "c",
        odd,
        _csv("c", odd),
        role="categorical",
        outcome="with a check",
    )
    _add(
        "marks",
        "X or nothing, as in SAP's exports",
        "LOEVM",
        _cycle(["X", None]),
        _csv("LOEVM", _cycle(["X", ""])),
        role="categorical",
    )


def _add_nothing_to_learn_from_and_targets() -> None:
    """Nothing to learn from, and targets."""
    _add("labels", "labels that differ by case and blanks", "y", None,
        b"a,y\n" + b"".join(f"{value},{word}\n".encode() for value, word in zip(_X, np.where(_RNG.random(ROWS) < 0.5, _Y, np.char.upper(_Y)), strict=True)), outcome="with a check")  # fmt: skip
    _add("target_na", "NA among the labels", "y", None,
        b"a,y\n" + b"".join(f"{value},{word}\n".encode() for value, word in zip(_X, _sprinkle(_Y.tolist(), "NA"), strict=True)), outcome="with a check")  # fmt: skip
    _add("only_text", "a column of free text alone", "t", None,
        b"t,y\n" + b"".join(f"free text number {place} goes here,{word}\n".encode() for place, word in enumerate(_Y)), outcome="refused")  # fmt: skip
    _add(
        "only_ids",
        "identifiers alone",
        "id",
        None,
        b"id,y\n" + b"".join(f"{place},{word}\n".encode() for place, word in enumerate(_Y)),
        outcome="refused",
    )


def _add_splits() -> None:
    """Splits."""
    _add(
        "missing_ids",
        "identifiers that are missing",
        "cust",
        None,
        _csv("cust", _sprinkle([f"K{place % 100}" for place in range(ROWS)], "")),
        outcome="with a check",
        role="id",
        words=("--id", "cust"),
    )


_add_personal_data()
_add_identifiers()
_add_codes()
_add_words_that_may_mean_missing()
_add_numbers()
_add_times()
_add_files()
_add_names_and_levels()
_add_nothing_to_learn_from_and_targets()
_add_splits()


def write_messy(table: Messy, folder: Path) -> Path:
    """Write a table's file; return its path."""
    path = folder / table.file
    path.write_bytes(table.content)
    return path
