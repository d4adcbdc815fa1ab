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

    outcome: `right` when adopt reads the true values, `told` when a line on the terminal names the column, `refused` when
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


def _excel(name: str, values: Sequence[Any], above: Sequence[Sequence[Any]] = ()) -> bytes:
    import openpyxl

    x, y, _ = _draw()
    book = openpyxl.Workbook()
    sheet = book.active
    for row in above:
        sheet.append(list(row))
    sheet.append([name, "x", "y"])
    for row in zip(values, x.tolist(), y.tolist(), strict=True):
        sheet.append(list(row))
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


def _made() -> dict[str, Messy]:
    """Return every table by its name."""
    x, y, rng = _draw()
    whole = rng.integers(1_000, 99_999, ROWS)
    money = np.round(rng.uniform(1, 2_000, ROWS), 2)
    few = np.round(rng.integers(0, 41, ROWS) / 10, 1)
    phones = [f"+4479{number:08d}" for number in rng.permutation(10**8)[:ROWS]]
    long_ids = [str(89_111_702_272_002_019_000 + place) for place in range(ROWS)]
    city = _cycle(_CITIES)
    zips = _cycle(["01730", "02139", "10001", "33101", "94105", "00501"])
    german = [f"{value:.2f}".replace(".", ",") for value in money]
    dates = DAYS.strftime
    tables: dict[str, Messy] = {}

    def add(
        name: str, kind: str, column: str, truth: Sequence[Any] | None, content: bytes, file: str = "", **rest: Any
    ) -> None:
        tables[name] = Messy(kind, column, truth, file or f"{name}.csv", content, **rest)

    # Personal data
    add("phone", "telephone numbers", "phone", None, _csv("phone", phones), role="pii", outcome="told")
    add("contact", "telephone numbers without a country", "kontakt2", None,
        _csv("kontakt2", [f"07{number:09d}" for number in rng.permutation(10**9)[:ROWS]]), role="pii", outcome="told")  # fmt: skip
    add("ssn", "social security numbers without hyphens", "ssn", None,
        _csv("ssn", [f"{area:03d}{rest:06d}" for area, rest in zip(rng.integers(100, 600, ROWS), rng.permutation(999_999)[:ROWS] + 1, strict=True)]),
        role="pii", outcome="told")  # fmt: skip
    # Identifiers
    add("long_id", "identifiers of 20 digits", "order_id", long_ids, _csv("order_id", long_ids), role="id")
    add("long_group", "identifiers of 20 digits that repeat", "customer_id", _cycle(long_ids[:100]),
        _csv("customer_id", _cycle(long_ids[:100])), role="id", words=("--id", "customer_id"))  # fmt: skip
    add(
        "text_id",
        "digits stored as text in Parquet",
        "order_id",
        long_ids,
        _parquet("order_id", pa.array(long_ids)),
        "text_id.parquet",
        role="id",
    )
    add("unsigned_id", "unsigned whole numbers beyond 2^63", "user_id", [str(2**63 + place) for place in range(ROWS)],
        _parquet("user_id", pa.array([2**63 + place for place in range(ROWS)], pa.uint64())), "unsigned_id.parquet", role="id")  # fmt: skip
    add("padded_id", "customer numbers with leading zeros", "customer", [f"{place * 7:08d}" for place in range(ROWS)],
        _csv("customer", [f"{place * 7:08d}" for place in range(ROWS)]), role="id")  # fmt: skip
    add("gaps", "unique whole numbers with gaps", "policy", None, _csv("policy", [str(10_000 + 3 * place + place % 2) for place in range(ROWS)]),
        role="id", outcome="told")  # fmt: skip
    # Codes
    add(
        "zip",
        "postal codes with leading zeros, in quotes",
        "zip",
        zips,
        _csv("zip", zips, quote=True),
        role="categorical",
    )
    add("fips", "codes with leading zeros", "fips", _cycle(["01001", "01003", "06037", "36061"]),
        _csv("fips", _cycle(["01001", "01003", "06037", "36061"])), role="categorical")  # fmt: skip
    add("collide", "codes that differ by leading zeros alone", "code", _cycle(["007", "07", "7", "12"]), _csv("code", _cycle(["007", "07", "7", "12"])),
        role="categorical")  # fmt: skip
    add("plain_zip", "postal codes without leading zeros", "zip", [int(z) for z in _cycle(["10001", "33101", "94105"])],
        _csv("zip", _cycle(["10001", "33101", "94105"])), role="categorical", outcome="told")  # fmt: skip
    # Words that may mean missing
    add("namibia", "NA as a word, in quotes", "country", _cycle(["NA", "NC", "NE", "US", "ZA"]), _csv("country", _cycle(["NA", "NC", "NE", "US", "ZA"]), quote=True),
        role="categorical")  # fmt: skip
    add("none", "None and NULL among categories", "garage", _cycle(["None", "NULL", "TA", "Gd"]), _csv("garage", _cycle(["None", "NULL", "TA", "Gd"])),
        role="categorical", outcome="told")  # fmt: skip
    quoted = [f'"{word}"' for word in _cycle(["NA", "DE", "FR"])]
    add("r_file", "R's file: NA without quotes is missing, with quotes a word", "country", _expect(_cycle(["NA", "DE", "FR"])),
        _csv("country", _sprinkle(quoted, "NA")), outcome="told")  # fmt: skip
    add(
        "question",
        "? in a column of numbers",
        "c",
        _expect(whole.tolist()),
        _csv("c", _sprinkle(list(map(str, whole)), "?")),
        role="numeric",
    )
    add(
        "dash",
        "- in a column of numbers",
        "c",
        _expect(few.tolist()),
        _csv("c", _sprinkle(list(map(str, few)), "-")),
        role="numeric",
    )
    add("unknown", "an unknown word in a column of numbers", "c", _expect(whole.tolist()),
        _csv("c", _sprinkle(list(map(str, whole)), "auf Anfrage")), role="numeric", outcome="told")  # fmt: skip
    add(
        "sentinel",
        "-999 in a column of numbers",
        "c",
        _expect(few.tolist()),
        _csv("c", _sprinkle(list(map(str, few)), "-999")),
        role="numeric",
        outcome="told",
    )
    # Numbers
    add("comma", "decimal commas", "amount", money.tolist(), _csv("amount", german, delimiter=";"), role="numeric")
    add("comma_few", "decimal commas, few values", "amount", few.tolist(),
        _csv("amount", [str(value).replace(".", ",") for value in few], delimiter=";"), role="numeric")  # fmt: skip
    add(
        "thousands",
        "thousands marks",
        "amount",
        whole.tolist(),
        _csv("amount", [f"{value:,}" for value in whole]),
        role="numeric",
        outcome="told",
    )
    add("swiss", "apostrophes as thousands marks", "amount", [float(f"{value * 100:.2f}") for value in money],
        _csv("amount", [f"{value * 100:,.2f}".replace(",", "'") for value in money]), role="numeric")  # fmt: skip
    add(
        "currency",
        "a currency",
        "amount",
        money.tolist(),
        _csv("amount", [f"${value:,.2f}" for value in money]),
        role="numeric",
    )
    add("euro", "a currency behind, with marks of a locale", "amount", (money * 10).round(2).tolist(),
        _csv("amount", [f"{value:,.2f} €".translate(str.maketrans(",.", ".,")) for value in (money * 10).round(2)], delimiter=";"), role="numeric")  # fmt: skip
    add("percent", "percent", "rate", few.tolist(), _csv("rate", [f"{value}%" for value in few]), role="numeric")
    add("trailing_minus", "a minus behind the number", "balance", (money * np.where(x > 0, 1, -1)).tolist(),
        _csv("balance", [f"{value:.2f}{'' if sign > 0 else '-'}" for value, sign in zip(money, x, strict=True)]), role="numeric")  # fmt: skip
    add("clock", "times of day", "start_time", [(place * 61 % 1440) * 60 for place in range(ROWS)], _csv("start_time", list(HOURS.strftime("%H:%M:%S"))),
        role="numeric")  # fmt: skip
    add("half", "numbers of 16 bits in Parquet", "c", few.astype(np.float16).astype(float).tolist(), _parquet("c", pa.array(few.astype(np.float16))),
        "half.parquet", role="numeric")  # fmt: skip
    add(
        "huge",
        "numbers at the limit of float64",
        "a",
        _cycle([1e308, -1e308, 1e300, 0.5]),
        _csv("a", _cycle(["1e308", "-1e308", "1e300", "0.5"])),
    )
    # Times
    for name, kind, column, form, unit in (
        ("two_digits", "years of two digits", "order_date", "%d.%m.%y", DAYS), ("month_names", "names of months", "order_date", "%d-%b-%y", DAYS),
        ("iso_basic", "ISO 8601 without hyphens", "at", "%Y%m%dT%H%M%SZ", HOURS), ("compact", "yyyymmddHHMMSS", "at", "%Y%m%d%H%M%S", HOURS),
        ("twelve_hours", "AM and PM", "order_date", "%m/%d/%Y %I:%M %p", HOURS), ("german_date", "days, months and years with full stops", "datum", "%d.%m.%Y", DAYS),
    ):  # fmt: skip
        truth = list(unit.floor("min") if "%M" in form and "%S" not in form else unit)
        add(name, kind, column, truth, _csv(column, list(unit.strftime(form))), role="time", outcome="told")
    months = pd.date_range("2024-01-01", periods=20, freq="MS")
    add(
        "yyyymm",
        "months as yyyymm",
        "period",
        _cycle(list(months)),
        _csv("period", _cycle(list(months.strftime("%Y%m")))),
        role="time",
        outcome="told",
    )
    add("microseconds", "microseconds since 1970", "timestamp", list(HOURS), _csv("timestamp", [str(moment.value // 1000) for moment in HOURS]),
        role="time", outcome="told")  # fmt: skip
    add("fractions", "seconds since 1970 with fractions", "timestamp", [moment + pd.Timedelta("250ms") for moment in HOURS],
        _csv("timestamp", [f"{moment.timestamp() + 0.25:.2f}" for moment in HOURS]), role="time", outcome="told")  # fmt: skip
    add("excel_days", "serial days of a spreadsheet", "order_date", list(DAYS), _csv("order_date", [str((day - pd.Timestamp(1899, 12, 30)).days) for day in DAYS]),
        role="time", outcome="told")  # fmt: skip
    zeros = _sprinkle(list(dates("%Y-%m-%d")), "0000-00-00")
    add("zero_date", "0000-00-00", "signup_date", _expect(list(DAYS)), _csv("signup_date", zeros), role="text")
    firsts = [pd.Timestamp(2020 + place % 5, 1 + place % 12, 1) for place in range(ROWS - 2)] + [pd.Timestamp(2024, 12, 31), pd.Timestamp(2024, 6, 15)]  # fmt: skip
    add("month_first", "the month first, as two dates prove", "order_date", firsts, _csv("order_date", [day.strftime("%m/%d/%Y") for day in firsts]),
        role="time", outcome="told")  # fmt: skip
    ambiguous = [pd.Timestamp(2024, 1 + place % 12, 1 + place % 11) for place in range(ROWS)]
    add(
        "day_or_month",
        "day and month in an order that nothing proves",
        "seen",
        None,
        _csv("seen", [day.strftime("%d/%m/%Y") for day in ambiguous]),
        outcome="told",
    )
    # Files
    add(
        "semicolon",
        "semicolons and a byte order mark",
        "city",
        city,
        _csv("city", city, delimiter=";", encoding="utf-8-sig"),
        role="categorical",
        outcome="right",
    )
    add("pipe", "vertical bars", "city", city, _csv("city", city, delimiter="|"), role="categorical")
    add("tab", "tabs in a .txt file", "city", city, _csv("city", city, delimiter="\t"), "tab.txt", role="categorical")
    add("utf16", "UTF-16", "city", city, _csv("city", city, encoding="utf-16"), role="categorical")
    add(
        "latin1",
        "Latin-1, in the header too",
        "größe",
        city,
        _csv("größe", city, encoding="latin-1"),
        role="categorical",
        outcome="told",
    )
    add(
        "sep_line",
        "a line sep=; above the header",
        "city",
        city,
        b"sep=;\n" + _csv("city", city, delimiter=";"),
        role="categorical",
    )
    add("trailing", "empty columns at the end", "city", city,
        b"city,x,y,,\n" + b"".join(line + b",,\n" for line in _csv("city", city).splitlines()[1:]), role="categorical", outcome="told")  # fmt: skip
    add("twice", "a header twice", "x", city, _csv("x", city), role="categorical", outcome="told")
    ragged = _csv("city", city).splitlines()
    add("ragged", "a row with a cell too many", "city", [*city[:4], *city[5:]], b"\n".join([*ragged[:5], ragged[5] + b",more", *ragged[6:]]) + b"\n",
        role="categorical", rejected=1, outcome="told")  # fmt: skip
    add(
        "empty_object",
        "{} in JSON lines",
        "meta",
        None,
        _json([{"meta": {}, "x": value} for value in x.tolist()]),
        "empty_object.jsonl",
        role="ignored",
    )
    add("mixed", "numbers as text and as numbers in JSON lines", "visits", [place % 90 for place in range(ROWS)],
        _json([{"visits": str(place % 90) if place % 50 == 0 else place % 90, "x": x.tolist()[place]} for place in range(ROWS)]), "mixed.jsonl", role="numeric")  # fmt: skip
    add(
        "excel",
        "Excel, with a title above the table",
        "city",
        city,
        _excel("city", city, [["Report of May"], []]),
        "excel.xlsx",
        role="categorical",
        outcome="told",
    )
    add(
        "excel_types",
        "dates and numbers of Excel",
        "signed",
        list(DAYS),
        _excel("signed", [day.to_pydatetime() for day in DAYS]),
        "excel_types.xlsx",
    )
    # Names and levels
    for name, column in (
        ("self", "self"),
        ("question_name", "?notes"),
        ("colon_name", ":p"),
        ("reasons", "reasons"),
        ("spaces", "a b c"),
        ("umlaut", "ß"),
    ):
        add(f"name_{name}", f"a column named {column}", column, city, _csv(column, city), role="categorical")
    levels = _cycle(["? unsure", ": x", "sure", "- no", "#1", "a, b"])
    add(
        "levels",
        "categories that begin with ? or : or #",
        "c",
        levels,
        _csv("c", levels, quote=True),
        role="categorical",
    )
    # Nothing to learn from, and targets
    add("labels", "labels that differ by case and blanks", "y", None,
        b"a,y\n" + b"".join(f"{value},{word}\n".encode() for value, word in zip(x, np.where(rng.random(ROWS) < 0.5, y, np.char.upper(y)), strict=True)), outcome="told")  # fmt: skip
    add("target_na", "NA among the labels", "y", None,
        b"a,y\n" + b"".join(f"{value},{word}\n".encode() for value, word in zip(x, _sprinkle(y.tolist(), "NA"), strict=True)), outcome="told")  # fmt: skip
    add("only_text", "a column of free text alone", "t", None,
        b"t,y\n" + b"".join(f"free text number {place} goes here,{word}\n".encode() for place, word in enumerate(y)), outcome="refused")  # fmt: skip
    add(
        "only_ids",
        "identifiers alone",
        "id",
        None,
        b"id,y\n" + b"".join(f"{place},{word}\n".encode() for place, word in enumerate(y)),
        outcome="refused",
    )
    # Splits
    add(
        "missing_ids",
        "identifiers that are missing",
        "cust",
        None,
        _csv("cust", _sprinkle([f"K{place % 100}" for place in range(ROWS)], "")),
        role="id",
        words=("--id", "cust"),
    )
    return tables


TABLES = _made()


def write_messy(table: Messy, folder: Path) -> Path:
    """Write a table's file; return its path."""
    path = folder / table.file
    path.write_bytes(table.content)
    return path
