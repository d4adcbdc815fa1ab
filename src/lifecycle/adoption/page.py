"""The page of an adopted table: each column with some of its values, the guess, the reason, and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from lifecycle.adoption.guess import Guess
from lifecycle.adoption.numbers import read_numbers
from lifecycle.adoption.words import Words
from lifecycle.adoption.yaml_text import write_line
from lifecycle.core.contract import ENCODED_CATEGORIES, Column
from lifecycle.core.paths import CONTRACT
from lifecycle.core.records import Record
from lifecycle.reporting.pages import render_page, render_part
from lifecycle.validation.pii import mask_text

_VALUES = 10  # of each column
_LONG = 60  # characters of a value
_LIKE_A_NUMBER = (
    r"[^0-9]*[0-9][0-9.,'’_\s\x{a0}\x{202f}]*(?:[eE][+-]?[0-9]+)?[^0-9]*"  # digits and marks between other text
)
_MOST = 0.5  # of the cells must be numbers for `a number` to be offered


def render_adoption(
    title: str, table: pa.Table, guesses: Mapping[str, Guess], cards: Sequence[Record], notes: Sequence[str]
) -> str:
    """Render the page of an adopted table; the values of personal columns are masked."""
    body = render_part(
        "adoption.html.j2",
        title=title,
        contract=CONTRACT,
        cards=Markup(render_part("cards.html.j2", cards=cards)),  # noqa: S704 - escaped by its template
        notes=notes,
        columns=[_describe_column(name, table, guess) for name, guess in guesses.items()],
    )
    return render_page(
        f"{title}: adopted table",
        body,
        project=title,
        links=[("Adopted table", "adopted.html")],
        current="adopted.html",
    )


def _describe_column(name: str, table: pa.Table, guess: Guess) -> Record:
    """Describe a column: its values, the guess, the reason, what to check, and the lines that could replace its own."""
    column = guess.column
    rules = {key: value for key, value in column.items() if key not in ("role", "dtype", "description")}
    return {
        "name": name,
        "values": _show_values(name, table, personal=column["role"] == "pii"),
        "role": column["role"],
        "dtype": column["dtype"],
        "rules": [f"{key}: {_shorten(str(value))}" for key, value in rules.items()],
        "why": guess.why,
        "checks": guess.checks,
        "alternatives": [(label, write_line(name, other)) for label, other in _list_alternatives(name, table, column)],
    }


def _shorten(text: str) -> str:
    """Cut a long text."""
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"


def _show_values(name: str, table: pa.Table, *, personal: bool) -> list[str]:
    """Return a column's first distinct values as text, masked if they are personal."""
    distinct = table[name].slice(0, 10_000).drop_null()
    try:
        words = [str(value) for value in distinct.unique().slice(0, _VALUES).to_pylist()]
    except pa.ArrowException:  # values that cannot be compared
        words = [str(value) for value in distinct.slice(0, _VALUES).to_pylist()]
    return list(dict.fromkeys(_shorten(mask_text(word) if personal else word) for word in words))


def _list_alternatives(name: str, table: pa.Table, column: Record) -> list[tuple[str, Record]]:
    """List what else the column may be, and its keys in the contract for that."""
    if column["role"] == "target":
        low, high = column["values"]
        other = low if column["positive"] == high else high
        return [(f"to predict {other!r}", {**column, "positive": other})]
    kept = {"description": column["description"]}
    missing = {"nullable": True, "missing": "category"} if column.get("nullable") else {}
    words = {key: column[key] for key in ("null_values",) if key in column}
    options: list[tuple[str, Record]] = []
    if column["role"] != "categorical" and _count_distinct(table[name]) <= ENCODED_CATEGORIES:
        options.append(("a category", {"role": "categorical", "dtype": "string", **missing, **words, **kept}))
    if column["role"] not in ("numeric", "pii") and (form := _find_number_format(table[name])) is not None:
        rules = {"format": form} if form else {}
        options.append(("a number", {"role": "numeric", "dtype": "float64", **missing, **rules, **words, **kept}))
    if column["dtype"] == "datetime" and column["role"] != "time":
        options.append(("the time of a row", {**column, "role": "time"}))
    if column["role"] == "time":
        options.append(("a time that is not the row's", {**column, "role": "text"}))
    if column["role"] != "id":
        options.append(
            ("an identifier", {"role": "id", "dtype": "string", **({"nullable": True} if missing else {}), **kept})
        )
    if column["role"] != "pii":
        options.append(("personal data, which is dropped", {"role": "pii", "dtype": "string", "pii": "drop", **kept}))
    if column["role"] != "ignored":
        options.append(("not used", {"role": "ignored", "dtype": "string", **kept}))
    return [(label, other) for label, other in options if Column.model_validate(other)]


def _count_distinct(column: pa.ChunkedArray) -> int:
    """Count the distinct values of a column's first cells."""
    try:
        return len(column.slice(0, 100_000).unique())
    except pa.ArrowException:
        return ENCODED_CATEGORIES + 1


def _find_number_format(column: pa.ChunkedArray) -> str | None:
    """Return how the column's cells are written as numbers, None if most are not numbers."""
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        return ""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return None
    counted = pc.value_counts(column.slice(0, 1000).cast(pa.string()).combine_chunks().drop_null())
    words = Words(counted.field("values"), counted.field("counts").to_numpy())
    words = words.keep(words.lengths > 0)
    if not len(words) or words.measure_share(words.match(_LIKE_A_NUMBER)) <= _MOST:
        return None
    reading = read_numbers(words)
    return reading.form if words.measure_share(~np.isnan(reading.values)) > _MOST else None
