"""Files of made columns, written as pandas, csv, Excel and Arrow write them, in any dialect and encoding."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from tests.support.columns import LOCALES, Column, Generator, is_whole_day, make_column

TARGET, PLAIN = "y", "plain"  # of each table: its target and a column of plain numbers
_QUOTING = {
    "minimal": csv.QUOTE_MINIMAL,
    "all": csv.QUOTE_ALL,
    "nonnumeric": csv.QUOTE_NONNUMERIC,
    "none": csv.QUOTE_NONE,
}
_LINE_ENDS = {"\n": "LF", "\r\n": "CR LF", "\r": "CR"}


@dataclass(frozen=True)
class Table:
    """A made table: its columns by name with target and plain numbers, the file, and how that was written."""

    columns: dict[str, Column]
    path: Path
    written: str


def make_table(seed: int, folder: Path, width: int = 20) -> Table:
    """Make a table of so many columns, and a target and plain numbers beside them, and write it to a file of some kind."""
    rng = np.random.default_rng(seed)
    rows, locale = int(rng.integers(200, 400)), LOCALES[rng.integers(len(LOCALES))]
    columns: dict[str, Column] = {}
    for place in range(width):
        column = make_column(rng, rows, locale)
        name = str(rng.choice(column.names))
        columns[name if name not in columns else f"{name}_{place}"] = column
    answers = [("no", "yes")[int(value)] for value in rng.random(rows) < 0.4]
    numbers = [f"{value:.3f}" for value in rng.normal(size=rows)]
    columns[PLAIN] = Column("plain number", (), "number", numbers, list(map(float, numbers)), list(map(float, numbers)))
    columns[TARGET] = Column("target", (), "words", answers, answers, answers)
    write = _WRITERS[rng.integers(len(_WRITERS))]
    written, path = write(rng, columns, folder / f"table-{seed}", locale.decimal)
    return Table(columns, path, f"{locale.name}, {written}")


# Text.


def _choose_encoding(rng: Generator, columns: Mapping[str, Column]) -> str:
    """Choose an encoding that has every character of the table."""
    text = "".join([*columns, *("".join(column.cells) for column in columns.values())])
    encodings = ["utf-8", "utf-8", "utf-8-sig", "utf-16"]
    for encoding in ("cp1252", "latin-1"):
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            continue
        encodings += [encoding, encoding]
    return str(rng.choice(encodings))


def _choose_dialect(rng: Generator, columns: Mapping[str, Column], decimal: str) -> dict[str, Any]:
    """Choose a delimiter, quoting and a line end: `;` where commas are decimal marks, mostly."""
    delimiter = str(rng.choice([";", ";", ";", "\t", ",", "|"] if decimal == "," else [",", ",", ",", ";", "\t", "|"]))
    quoting = str(rng.choice(["minimal", "minimal", "all", "nonnumeric", "none"]))
    special = {delimiter, '"', "\n", "\r", "\\"}
    if quoting == "none" and any(special & set(cell) for column in columns.values() for cell in column.cells):
        quoting = "minimal"
    lines = ["\n", "\n", "\r\n", "\r\n"]
    if not any("\n" in cell for column in columns.values() for cell in column.cells):
        lines.append("\r")  # `csv` does not quote a line feed where lines end otherwise
    return {"delimiter": delimiter, "quoting": quoting, "line": str(rng.choice(lines))}


def _end_name(rng: Generator, delimiter: str) -> str:
    """Return the end of a file's name."""
    return str(rng.choice([".csv", ".csv", ".tsv" if delimiter == "\t" else ".txt"]))


def _to_csv_cell(column: Column, row: int, *, numbers: bool) -> Any:
    """Return a cell for `csv`: a number where the writer tells numbers from text and its text says no more."""
    text = column.texts[row]
    if text is None or not numbers or column.native is None:
        return column.mark if text is None else text
    value = column.native[row]
    return value if isinstance(value, int | float) and not isinstance(value, bool) and repr(value) == text else text


def write_csv(rng: Generator, columns: Mapping[str, Column], stem: Path, decimal: str) -> tuple[str, Path]:
    """Write the texts with `csv` of the standard library, in any of its ways to quote."""
    dialect, encoding = _choose_dialect(rng, columns, decimal), _choose_encoding(rng, columns)
    path = stem.with_suffix(_end_name(rng, dialect["delimiter"]))
    rows = len(next(iter(columns.values())).texts)
    escaped = dialect["quoting"] == "minimal" and rng.random() < 0.05
    announced = dialect["delimiter"] == ";" and rng.random() < 0.05
    with path.open("w", encoding=encoding, newline="") as file:
        if announced:
            file.write(f"sep=;{dialect['line']}")
        writer = csv.writer(
            file,
            delimiter=dialect["delimiter"],
            quoting=_QUOTING[dialect["quoting"]],  # type: ignore[arg-type]
            lineterminator=dialect["line"],
            doublequote=not escaped,
            escapechar="\\" if escaped else None,
        )
        writer.writerow(list(columns))
        numbers = dialect["quoting"] == "nonnumeric"
        for row in range(rows):
            writer.writerow([_to_csv_cell(column, row, numbers=numbers) for column in columns.values()])
    extras = f"{', escaped' if escaped else ''}{', sep=' if announced else ''}"
    return _describe(f"csv, {dialect['quoting']}{extras}", dialect, encoding), path


def write_pandas(rng: Generator, columns: Mapping[str, Column], stem: Path, decimal: str) -> tuple[str, Path]:
    """Write a frame with `to_csv`: some columns as values, the others as text."""
    dialect, encoding = _choose_dialect(rng, columns, decimal), _choose_encoding(rng, columns)
    path = stem.with_suffix(_end_name(rng, dialect["delimiter"]))
    frame = pd.DataFrame({
        name: _to_series(column) if column.judge in ("number", "truth") and column.native is not None and not column.mark
        and rng.random() < 0.5 else pd.Series(column.cells, dtype="object")
        for name, column in columns.items()
    })  # fmt: skip
    if dialect["quoting"] == "none":  # what pandas itself writes of values needs quotes in some dialects
        dialect["quoting"] = "minimal"
    frame.to_csv(
        path, sep=dialect["delimiter"], quoting=_QUOTING[dialect["quoting"]], lineterminator=dialect["line"], encoding=encoding,  # type: ignore[call-overload]
        index=False, decimal=decimal,
    )  # fmt: skip
    return _describe(f"pandas, {dialect['quoting']}", dialect, encoding), path


def _to_series(column: Column) -> pd.Series[Any]:
    """Return a column's values as pandas infers them: whole numbers with gaps become floats, booleans objects."""
    return pd.Series(list(column.native or []))


def write_arrow_csv(rng: Generator, columns: Mapping[str, Column], stem: Path, decimal: str) -> tuple[str, Path]:
    """Write Arrow's types, or text, with its CSV writer, which quotes text alone."""
    path = stem.with_suffix(".csv")
    delimiter = str(rng.choice([",", ",", ";", "\t"]))
    arrays = {name: _to_arrow(rng, column, plain=True) for name, column in columns.items()}
    pa_csv.write_csv(pa.table(arrays), path, pa_csv.WriteOptions(delimiter=delimiter))
    return f"arrow csv, {delimiter!r}", path


def _describe(writer: str, dialect: Mapping[str, Any], encoding: str) -> str:
    return f"{writer}, {dialect['delimiter']!r}, {_LINE_ENDS[dialect['line']]}, {encoding}"


# Types.


def _is_native(rng: Generator, column: Column) -> bool:
    """Return whether a format with types gets a column's values, rather than the text that a person typed."""
    return column.native is not None and (column.judge in ("words", "personal") or rng.random() < 0.7)


def write_excel(rng: Generator, columns: Mapping[str, Column], stem: Path, decimal: str) -> tuple[str, Path]:
    """Write an Excel sheet: numbers, dates and booleans as such, or the text that a person typed."""
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    sheet = book.create_sheet("data")
    sheet.append(list(columns))
    made = [_list_excel(rng, column) for column in columns.values()]
    for row in zip(*made, strict=True):
        sheet.append(row)
    path = stem.with_suffix(".xlsx")
    book.save(path)
    return "Excel", path


def _list_excel(rng: Generator, column: Column) -> list[Any]:
    """Return a column's cells for Excel, whose numbers are floats: ids that these cannot hold are text."""
    native = column.native
    wide = native is not None and any(isinstance(value, int) and abs(value) > 10**15 for value in native)
    if native is None or wide or not _is_native(rng, column):
        return [cell or None for cell in column.cells]
    return [column.mark or None if value is None else _plain(value) for value in native]


def _plain(value: Any) -> Any:
    """Return a value of numpy as Python's; the rest stays."""
    return value.item() if isinstance(value, np.generic) else value


def write_json_lines(rng: Generator, columns: Mapping[str, Column], stem: Path, decimal: str) -> tuple[str, Path]:
    """Write JSON lines: values or text; missing ones are null, the mark as text, or left out."""
    left_out = bool(rng.random() < 0.5)
    made = {name: _list_json(rng, column) for name, column in columns.items()}
    path = stem.with_suffix(".jsonl")
    with path.open("w", encoding="utf-8") as file:
        for row in range(len(made[TARGET])):
            record = {name: values[row] for name, values in made.items() if not (left_out and values[row] is None)}
            file.write(json.dumps(record, ensure_ascii=bool(rng.random() < 0.5)) + "\n")
    return f"JSON lines{', missing keys left out' if left_out else ''}", path


def _list_json(rng: Generator, column: Column) -> list[Any]:
    """Return a column's values for JSON, times as ISO 8601."""
    values = column.native if column.native is not None and _is_native(rng, column) else column.texts
    missing = column.mark or None
    return [missing if value is None else value.isoformat() if isinstance(value, date | time) else _plain(value) for value in values]  # fmt: skip


def write_pandas_parquet(rng: Generator, columns: Mapping[str, Column], stem: Path, decimal: str) -> tuple[str, Path]:
    """Write a frame with `to_parquet`, as pandas infers its columns, with or without its index as a column."""
    path = stem.with_suffix(".parquet")
    series = {
        name: _to_series(column) if _is_native(rng, column) else pd.Series([cell or None for cell in column.cells], dtype="object")
        for name, column in columns.items()
    }  # fmt: skip
    frame = pd.DataFrame({
        name: values.astype(str).where(values.notna(), None) if values.dtype == object and _is_wide(values) else values
        for name, values in series.items()
    })  # fmt: skip
    numbered = bool(rng.random() < 0.3)
    frame.set_index(pd.Index(rng.permutation(len(frame)) if numbered else range(len(frame)))).to_parquet(path)
    return f"pandas parquet{', with an index' if numbered else ''}", path


def _is_wide(values: pd.Series[Any]) -> bool:
    """Return whether objects are whole numbers that no type of Parquet's 64 bits holds."""
    return any(isinstance(value, int) and abs(value) >= 2**63 for value in values)


def write_arrow_parquet(rng: Generator, columns: Mapping[str, Column], stem: Path, decimal: str) -> tuple[str, Path]:
    """Write Arrow's many types: integers of any width, decimals, dates and times of any unit, dictionaries."""
    path = stem.with_suffix(".parquet")
    arrays = {name: _to_arrow(rng, column) for name, column in columns.items()}
    pq.write_table(pa.table(arrays), path)
    return "arrow parquet", path


def _to_arrow(rng: Generator, column: Column, *, plain: bool = False) -> pa.Array:
    """Return a column as an Arrow array of one of the types that hold it; `plain`: one that the CSV writer knows."""
    if column.native is None or not _is_native(rng, column) or column.mark:
        texts = [cell or None for cell in column.cells]
        array = pa.array(texts, pa.string())
        return array if plain else _choose(rng, [array, array.cast(pa.large_string()), array.dictionary_encode()])
    values = [_plain(value) if not isinstance(value, np.float16) else value for value in column.native]
    present = [value for value in values if value is not None]
    kind = _choose(rng, _list_types(present, plain=plain))
    return pa.array(values).cast(kind) if is_whole_day(present) and present else pa.array(values, kind)


def _list_types(values: Sequence[Any], *, plain: bool) -> list[pa.DataType]:
    """List the Arrow types that hold values without loss."""
    first = values[0] if values else ""
    if isinstance(first, bool):
        return [pa.bool_()]
    if isinstance(first, int):
        return _list_integers(values, plain=plain)
    if isinstance(first, np.float16):
        return [pa.float16()]
    if isinstance(first, float):
        return [pa.float64()]
    if is_whole_day(values):
        return [pa.date32(), pa.date32(), pa.timestamp("s"), pa.timestamp("ns")]
    if isinstance(first, datetime):
        units = ["ms", "us", "ns"]
        return [*(pa.timestamp(unit) for unit in units), *([] if plain else [pa.timestamp("us", "UTC")])]
    if isinstance(first, time):
        return [pa.time32("s"), pa.time64("us")]
    return [pa.string()] if plain else [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]


def _list_integers(values: Sequence[int], *, plain: bool) -> list[pa.DataType]:
    """List the Arrow types that hold whole numbers."""
    low, high = min(values), max(values)
    found = [kind for kind, least, most in (
        (pa.int16(), -(2**15), 2**15), (pa.int32(), -(2**31), 2**31), (pa.int64(), -(2**63), 2**63), (pa.uint64(), 0, 2**64),
        (pa.float64(), -(2**53), 2**53),
    ) if least <= low and high < most]  # fmt: skip
    return found + [pa.decimal128(38, 0)] * (not found or not plain)


def _choose(rng: Generator, options: Sequence[Any]) -> Any:
    return options[int(rng.integers(len(options)))]


_Writer = Callable[[Generator, Mapping[str, Column], Path, str], tuple[str, Path]]
_WRITERS: tuple[_Writer, ...] = (write_csv, write_csv, write_csv, write_pandas, write_pandas, write_arrow_csv, write_excel,
                                 write_json_lines, write_pandas_parquet, write_arrow_parquet)  # fmt: skip
