"""Raw columns in the contract's types: what converts without loss is converted, what does not is pointed at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lifecycle.contract import Column, Contract, Role
from lifecycle.paths import CONTRACT, ProjectError

Series: TypeAlias = "pd.Series[Any]"

DTYPES = {"string": "str", "int64": "Int64", "float64": "float64", "bool": "boolean", "datetime": "datetime64[us]"}
SOLID = {"Int64": "int64", "boolean": "bool"}  # what a column without missing values is stored as
EXPECTED = {
    "string": "text",
    "int64": "a whole number",
    "float64": "a number",
    "bool": "true or false",
    "datetime": "an ISO 8601 date or time",
}
EXACT = 2**53  # the whole numbers up to here are exact as float64
WORDS = {"true": True, "yes": True, "1": True, "1.0": True, "false": False, "no": False, "0": False, "0.0": False}
NUMBER = r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*"
WHOLE = r"\s*[+-]?[0-9]{1,18}\s*"
MOMENT = r"[0-9]{4}-[0-9]{2}(-[0-9]{2}([T ].*)?)?"
OFFSET = r"[0-9]{2}:?[0-9]{2}.*(?:Z|[+-][0-9]{2}:?[0-9]{2})\s*$"  # a time of day that says its distance from UTC


def read_raw(path: Path, contract: Contract) -> pd.DataFrame:
    """Read the raw table's columns, in the contract's order; those that the contract drops or ignores are never loaded.

    Whole numbers and booleans come with room for missing values (Int64, boolean), text as str, moments as
    datetime64[us]; the index counts rows from 0. Raises ProjectError when table and contract do not have the same
    columns, or for a column of lists or other values that are not plain.
    """
    check_columns(pq.read_schema(path).names, contract)
    names = [name for name, column in contract.columns.items() if not is_dropped(column)]
    table = pq.read_table(path, columns=names)
    return pd.DataFrame({name: read_plain(table[name], name) for name in names})


def is_dropped(column: Column) -> bool:
    """Whether the contract itself says that nothing may see the column."""
    return column.role is Role.IGNORED or (column.role is Role.PII and column.pii == "drop")


def check_columns(names: list[str], contract: Contract) -> None:
    """Refuse a table that lacks a column of the contract, or has one that it does not know (ProjectError)."""
    if missing := [name for name in contract.columns if name not in names]:
        raise ProjectError(f"The raw table has no column {list_names(missing)}, which {CONTRACT} describes.")
    if unknown := [name for name in names if name not in contract.columns]:
        raise ProjectError(
            f"The raw table has column {list_names(unknown)}, which {CONTRACT} does not describe: "
            "add it there (with `role: ignored` if nothing may use it)."
        )


def list_names(names: list[str], most: int = 8) -> str:
    """Names in quotes, the first few of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


def read_plain(column: pa.ChunkedArray, name: str) -> Series:
    """An Arrow column as a series of plain values; raises ProjectError naming a column that is not plain."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    dtype: pd.BooleanDtype | pd.Int64Dtype | pd.StringDtype | None = None
    if pa.types.is_boolean(kind):
        dtype = pd.BooleanDtype()
    elif pa.types.is_integer(kind) and kind != pa.uint64():
        column, dtype = column.cast(pa.int64()), pd.Int64Dtype()
    elif pa.types.is_floating(kind):
        column = column.cast(pa.float64())
    elif pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", tz=kind.tz), safe=False)
    elif pa.types.is_date(kind):
        column = column.cast(pa.timestamp("ms")).cast(pa.timestamp("us"))
    elif pa.types.is_null(kind) or pa.types.is_decimal(kind) or kind == pa.uint64() or is_text(kind):
        column, dtype = column.cast(pa.string()), pd.StringDtype(na_value=np.nan)
    else:
        raise ProjectError(
            f"Column {name!r} of the raw table holds {kind}: expected numbers, text, moments or booleans."
        )
    plain: Series = column.to_pandas(types_mapper=lambda _: dtype)
    return plain


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type is one of its kinds of string."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def convert_columns(raw: pd.DataFrame, columns: Mapping[str, Column]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Convert every column to its contract's type; rows do not depend on each other.

    Returns the typed frame (dtypes as in `DTYPES`; what cannot be converted is missing there) and, for each column that
    has such cells, a boolean mask of them, shape (rows,). Blank text is missing, not broken.
    """
    typed, broken = {}, {}
    for name, column in columns.items():
        present = drop_blanks(raw[name])
        typed[name] = convert_column(present, column.dtype)
        unread = (present.notna() & typed[name].isna()).to_numpy()
        if unread.any():
            broken[name] = unread
    return pd.DataFrame(typed, index=raw.index), broken


def drop_blanks(raw: Series) -> Series:
    """The column with text of spaces alone as missing."""
    if raw.dtype != "str":
        return raw
    return map_distinct(raw, lambda values: values.mask(values.str.strip() == ""))


def map_distinct(raw: Series, function: Callable[[Series], Series]) -> Series:
    """Apply a function of a series to the distinct values alone, and spread its answer over the rows."""
    codes, values = pd.factorize(raw)
    answer = function(pd.Series(values, dtype=raw.dtype)).array
    taken = pd.api.extensions.take(answer, codes, allow_fill=True)
    return pd.Series(taken, index=raw.index)


def convert_column(raw: Series, dtype: str) -> Series:
    """Convert a plain column to a contract's dtype; what would lose something, or makes no sense, is missing."""
    if dtype == "string":
        return to_text(raw)
    if raw.dtype == "str":
        parse = {"int64": parse_whole, "float64": parse_number, "bool": parse_truth, "datetime": parse_moment}[dtype]
        return map_distinct(raw, parse)
    if dtype == "datetime":
        return to_moment(raw)
    if pd.api.types.is_datetime64_any_dtype(raw):
        return make_missing(raw, DTYPES[dtype])
    if dtype == "float64":
        return to_number(raw)
    if dtype == "int64":
        return raw.astype("Int64") if raw.dtype != "float64" else to_whole(raw)
    numbers = to_number(raw)
    return (numbers == 1).astype("boolean").mask(~numbers.isin([0, 1]))


def make_missing(raw: Series, dtype: str) -> Series:
    """A column of the dtype in which everything is missing."""
    return pd.Series(pd.array([None] * len(raw), dtype=dtype), index=raw.index)  # type: ignore[call-overload]


def to_text(raw: Series) -> Series:
    """Any column as text: moments in ISO 8601, numbers as Python writes them."""
    if raw.dtype == "str":
        return raw
    if pd.api.types.is_datetime64_any_dtype(raw):
        return map_distinct(raw, lambda values: pd.Series([value.isoformat() for value in values], dtype="str"))
    return raw.astype("str")


def to_number(raw: Series) -> Series:
    """Numbers and booleans as float64; whole numbers that float64 cannot hold exactly are missing."""
    if raw.dtype == "float64":
        return raw
    whole = raw.astype("Int64")
    return whole.mask(whole.abs() > EXACT).astype("float64")


def to_whole(raw: Series) -> Series:
    """Float64 as Int64; fractions, infinities and what is beyond float64's exact whole numbers are missing."""
    exact = (raw == raw.round()) & (raw.abs() <= EXACT)
    return raw.where(exact).astype("Int64")


def to_moment(raw: Series) -> Series:
    """Moments as datetime64[us], in UTC where they have a zone; numbers are missing, for their unit is not known."""
    if not pd.api.types.is_datetime64_any_dtype(raw):
        return make_missing(raw, "datetime64[us]")
    if isinstance(raw.dtype, pd.DatetimeTZDtype):
        raw = raw.dt.tz_convert("UTC").dt.tz_localize(None)
    return raw.astype("datetime64[us]")


def parse_number(text: Series) -> Series:
    """Decimal numbers in text as float64; thousands separators, units, `inf` and `nan` are not numbers."""
    return pd.to_numeric(text.where(text.str.fullmatch(NUMBER)), errors="coerce").astype("float64")


def parse_whole(text: Series) -> Series:
    """Whole numbers in text as Int64, exact to 18 digits; `12.0` and `1e3` are whole too."""
    exact = text.str.fullmatch(WHOLE)
    digits = pd.to_numeric(text.where(exact, "0")).astype("Int64")
    return digits.where(exact, to_whole(parse_number(text.mask(exact))))


def parse_truth(text: Series) -> Series:
    """true, yes, 1 and false, no, 0, in any case, as boolean."""
    return text.str.strip().str.lower().map(WORDS).astype("boolean")


def parse_moment(text: Series) -> Series:
    """ISO 8601 dates and times as datetime64[us], in UTC where they name an offset; below a microsecond is cut off."""
    text = text.str.strip()
    iso = text.where(text.str.fullmatch(MOMENT)).str.replace(r"(\.\d{6})\d+", r"\1", regex=True)
    moments = pd.to_datetime(iso, errors="coerce", utc=True, format="ISO8601")
    return moments.dt.tz_localize(None).astype("datetime64[us]")


def count_zones(raw: Series) -> tuple[int, int]:
    """How many moments of a raw column name their offset from UTC, and how many do not."""
    present = int(raw.notna().sum())
    if isinstance(raw.dtype, pd.DatetimeTZDtype):
        return present, 0
    if raw.dtype != "str":
        return 0, present
    aware = int(raw.str.contains(OFFSET, regex=True).fillna(False).sum())
    return aware, present - aware


def solidify(typed: pd.DataFrame, columns: Mapping[str, Column]) -> pd.DataFrame:
    """The frame as it is stored: int64 and bool where the contract allows no missing values."""
    solid = {name: SOLID[DTYPES[column.dtype]] for name, column in columns.items() if is_solid(column)}
    return typed.astype(solid)


def is_solid(column: Column) -> bool:
    """Whether a contract's column has a dtype without room for missing values."""
    return not column.nullable and DTYPES[column.dtype] in SOLID
