"""Convert raw columns to the contract's types; cells that cannot be converted without loss are reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lifecycle.core.contract import Column, Contract, Role
from lifecycle.core.errors import ProjectError
from lifecycle.core.parsing import EXACT, parse_text, trim
from lifecycle.core.paths import CONTRACT, OPTIONS
from lifecycle.core.tables import open_parts, set_columns, size_part

Series: TypeAlias = "pd.Series[Any]"

DTYPES = {"string": "str", "int64": "Int64", "float64": "float64", "bool": "boolean", "datetime": "datetime64[us]"}
_NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
_SOLID = {"Int64": "int64", "boolean": "bool"}  # how a column without missing values is stored
EXPECTED = {
    "string": "text",
    "int64": "a whole number",
    "float64": "a number",
    "bool": "true or false",
    "datetime": "an ISO 8601 date or time",
}
_PROBE_ROWS = 1 << 13  # rows that show how repetitive a column of text is
_OFFSET = r"[0-9]{2}:?[0-9]{2}.*(?:Z|[+-][0-9]{2}:?[0-9]{2})\s*$"  # a time of day with its offset from UTC


def read_raw(
    path: Path, contract: Contract, without: Sequence[str] = (), rows: int | None = None
) -> Iterator[pd.DataFrame]:
    """Read the raw table in parts, in the contract's order of columns; dropped and ignored columns are never loaded.

    A part has at most `rows` rows (`tables.size_part`), and its index counts the table's rows from 0; an empty table is
    one empty part. Whole numbers and booleans are nullable (Int64, boolean), text is str or, when values repeat,
    categorical, times are datetime64[us]. `without` names further columns to leave out. Raises ProjectError when table
    and contract do not have the same columns, or for a column of lists or other nested values.
    """
    schema = pq.read_schema(path)
    _check_columns(schema.names, contract)
    names = [name for name, column in contract.columns.items() if not is_dropped(column) and name not in without]
    repetitive, start = _find_repetitive(path, [name for name in names if _is_text(schema.field(name).type)]), 0
    with open_parts(path, repetitive) as file:
        for batch in file.iter_batches(rows or size_part(len(names)), columns=names):
            yield _frame_batch(batch, names, repetitive, start)
            start += len(batch)
    if not start:
        yield _frame_batch(pa.RecordBatch.from_pylist([], schema), names, [], 0)


def _find_repetitive(path: Path, texts: list[str]) -> list[str]:
    """List the text columns of whose first values at most half are distinct, where work per distinct value saves time."""
    with open_parts(path, texts) as file:
        first = next(file.iter_batches(_PROBE_ROWS, columns=texts), None) if texts else None
    return [name for name in texts if first and 2 * len(first[name].unique()) <= len(first)]


def read_frames(path: Path, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
    """Read a validated table in parts, as frames with the stored types; repetitive text is categorical.

    The index counts the table's rows from 0; `columns` (all) are returned in that order.
    """
    schema, start = pq.read_schema(path), 0
    names = schema.names if columns is None else list(columns)
    repetitive = _find_repetitive(path, [name for name in names if _is_text(schema.field(name).type)])
    plain = [name for name in names if name not in repetitive]
    with open_parts(path, repetitive) as file:
        for batch in file.iter_batches(size_part(len(names)), columns=names):
            index = pd.RangeIndex(start, start + len(batch))
            words = {name: _read_categories(batch[name]) for name in repetitive}
            yield set_columns(batch.select(plain).to_pandas(), words)[names].set_axis(index)
            start += len(batch)


def _frame_batch(batch: pa.RecordBatch, names: list[str], repetitive: list[str], start: int) -> pd.DataFrame:
    """Convert a batch to a frame of plain values whose index begins at `start`."""
    index = pd.RangeIndex(start, start + len(batch))
    return pd.DataFrame(
        {
            name: _read_categories(batch[name])
            if name in repetitive
            else read_plain(pa.chunked_array([batch[name]]), name)
            for name in names
        }
    ).set_axis(index)


def _read_categories(column: pa.DictionaryArray) -> Series:
    """Convert text to categories of its distinct values."""
    values = pd.Index(column.dictionary.to_pandas().astype("str"), dtype="str")
    codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return pd.Series(pd.Categorical.from_codes(codes, values, validate=False))


def list_wordless(path: Path, least: float) -> list[str]:
    """List the columns of a table that hold neither text nor, by the file's statistics, numbers of at least `least`."""
    kinds, fields, metadata = pa.types, list(pq.read_schema(path)), pq.read_metadata(path)
    wordless = {
        field.name
        for field in fields
        if kinds.is_boolean(field.type) or kinds.is_temporal(field.type) or kinds.is_float16(field.type)
    }
    numbers = {field.name for field in fields if kinds.is_floating(field.type) or kinds.is_integer(field.type)}
    large = set()
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for chunk in map(group.column, range(group.num_columns)):
            if chunk.path_in_schema in numbers - wordless and not _is_below(chunk, least):
                large.add(chunk.path_in_schema)
    return [field.name for field in fields if field.name in wordless | (numbers - large)]


def _is_below(chunk: pq.ColumnChunkMetaData, least: float) -> bool:
    """Return whether the statistics of a column of numbers in a row group say that all are less than `least`."""
    facts = chunk.statistics
    return facts is not None and (facts.max < least if facts.has_min_max else facts.null_count == chunk.num_values)


def is_dropped(column: Column) -> bool:
    """Return whether the contract excludes the column from everything."""
    return column.role is Role.IGNORED or (column.role is Role.PII and column.pii == "drop")


def _check_columns(names: list[str], contract: Contract) -> None:
    """Raise ProjectError when the table lacks a column of the contract, or has one that the contract does not describe."""
    if missing := [name for name in contract.columns if name not in names]:
        raise ProjectError(f"The raw table has no column {list_names(missing)}, which {CONTRACT} describes.")
    if unknown := [name for name in names if name not in contract.columns]:
        raise ProjectError(
            f"The raw table has column {list_names(unknown)}, which {CONTRACT} does not describe: "
            "add it there (with `role: ignored` if it must not be used)."
        )


def list_names(names: list[str], most: int = 8) -> str:
    """Format names in quotes, the first few of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


def read_plain(column: pa.ChunkedArray, name: str) -> Series:
    """Convert an Arrow column to a series of plain values; raise ProjectError naming a column of nested values."""
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
    elif pa.types.is_null(kind) or pa.types.is_decimal(kind) or kind == pa.uint64() or _is_text(kind):
        column, dtype = column.cast(pa.string()), pd.StringDtype(na_value=np.nan)
    else:
        raise ProjectError(
            f"Column {name!r} of the raw table holds {kind}: expected numbers, text, dates, times or booleans. "
            f"Give it `role: ignored`, or leave it out with {OPTIONS}.columns."
        )
    plain: Series = column.to_pandas(types_mapper=lambda _: dtype)
    return plain


def _is_text(kind: pa.DataType) -> bool:
    """Return whether an Arrow type is one of its string types."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def convert_columns(raw: pd.DataFrame, columns: Mapping[str, Column]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Convert every column to its contract's type; rows do not depend on each other.

    Returns the typed frame (dtypes as in `DTYPES`; text that came as categories stays so; cells that cannot be converted
    are missing) and, for each column with such cells, their boolean mask, shape (rows,). Blank text counts as missing,
    not as an error.
    """
    typed, broken = {}, {}
    for name, column in columns.items():
        present = drop_missing(raw[name], column.null_values)
        typed[name] = convert_column(present, column.dtype, column.format)
        if column.others or column.spellings:
            typed[name] = map_distinct(typed[name], partial(_join_classes, column=column))
        if typed[name] is present:
            continue
        unread = (present.notna() & typed[name].isna()).to_numpy()
        if unread.any():
            broken[name] = unread
    return pd.DataFrame(typed, index=raw.index), broken


def is_words(raw: Series) -> bool:
    """Return whether a raw column is text, as str or as categories of str."""
    return raw.dtype == "str" or isinstance(raw.dtype, pd.CategoricalDtype)


def _join_classes(values: Series, column: Column) -> Series:
    """Map other spellings of a target's classes to them, and its further classes (`others`) to the negative one."""
    spelled = values.replace(column.spellings) if column.spellings else values
    return spelled.mask(spelled.isin(column.others), str(column.negative))


def drop_missing(raw: Series, null_values: tuple[str, ...] = ()) -> Series:
    """Replace by missing values: text of blanks alone, and what means missing, as a word or as a number such as -999."""
    if isinstance(raw.dtype, pd.CategoricalDtype):
        values = raw.cat.categories
        gone = values[_find_missing(values.to_series(), null_values).to_numpy()]
        return raw.cat.remove_categories(gone) if len(gone) else raw
    if is_words(raw):
        missing = _find_missing(raw, null_values)
        return raw.mask(missing) if missing.any() else raw
    if null_values and pd.api.types.is_numeric_dtype(raw):
        numbers = pd.to_numeric(pd.Series(null_values, dtype="str"), errors="coerce").dropna()
        return raw.mask(raw.isin(numbers.tolist())) if len(numbers) else raw
    return raw


def _find_missing(text: Series, null_values: tuple[str, ...]) -> Series:
    """Return which texts are blank or one of the words that mean missing."""
    words = pa.array(["", *(word.strip() for word in null_values)], pa.string())
    found = pc.is_in(trim(pa.array(text, pa.string(), from_pandas=True)), value_set=words)
    return pd.Series(np.asarray(found), index=text.index)


def map_distinct(raw: Series, function: Callable[[Series], Series]) -> Series:
    """Apply a function of a series to the distinct values only, and expand the result to all rows."""
    if isinstance(raw.dtype, pd.CategoricalDtype):
        codes, values = raw.cat.codes.to_numpy(), raw.cat.categories
        answer = function(pd.Series(values)).array
    else:
        codes, values = pd.factorize(raw)
        answer = function(pd.Series(values, dtype=raw.dtype)).array
    taken = pd.api.extensions.take(answer, codes, allow_fill=True)
    return pd.Series(taken, index=raw.index, dtype=answer.dtype)


def spell_out(frame: pd.DataFrame) -> pd.DataFrame:
    """Convert a frame's categories to text, as it is stored."""
    return set_columns(
        frame,
        {
            str(name): map_distinct(frame[name], lambda values: values)
            for name in frame
            if isinstance(frame[name].dtype, pd.CategoricalDtype)
        },
    )


def convert_column(raw: Series, dtype: str, form: str = "") -> Series:
    """Convert a plain column to a contract's dtype; cells that would lose information or make no sense become missing.

    `form` is the contract's `format`.
    """
    if dtype == "string":
        return _to_text(raw)
    if is_words(raw):
        return _parse(raw, dtype, form)
    if dtype == "datetime":
        if form and pd.api.types.is_numeric_dtype(raw):
            return map_distinct(raw, lambda values: _parse(_to_text(_make_whole(values)), dtype, form))
        return _to_moment(raw)
    if pd.api.types.is_datetime64_any_dtype(raw):
        return _make_missing(raw, DTYPES[dtype])
    if dtype == "float64":
        return _to_number(raw)
    if dtype == "int64":
        return _to_whole(raw) if raw.dtype == "float64" else raw if raw.dtype == "Int64" else raw.astype("Int64")
    numbers = _to_number(raw)
    return (numbers == 1).astype("boolean").mask(~numbers.isin([0, 1]))


def _make_whole(values: Series) -> Series:
    """Return whole numbers as Int64, so that their text has no decimal point."""
    whole = values.dtype == "float64" and bool((values.dropna() == values.dropna().round()).all())
    return _to_whole(values) if whole else values


def _make_missing(raw: Series, dtype: str) -> Series:
    """Return a column of the dtype with missing values only."""
    return pd.Series(pd.array([None] * len(raw), dtype=dtype), index=raw.index)  # type: ignore[call-overload]


def _to_text(raw: Series) -> Series:
    """Convert a column to text: times in ISO 8601, numbers as `str` writes them, whole ones without `.0`; categories stay categories."""
    if is_words(raw):
        return raw
    if pd.api.types.is_datetime64_any_dtype(raw):
        return map_distinct(raw, lambda values: pd.Series([value.isoformat() for value in values], dtype="str"))
    text: Series = raw.astype("str")
    return text.str.removesuffix(".0") if raw.dtype == "float64" else text


def _to_number(raw: Series) -> Series:
    """Convert numbers and booleans to float64; whole numbers that float64 cannot hold exactly become missing."""
    if raw.dtype == "float64":
        return raw
    whole = raw.astype("Int64")
    return whole.mask(whole.abs() > EXACT).astype("float64")


def _to_whole(raw: Series) -> Series:
    """Convert float64 to Int64; fractions, infinities and inexact whole numbers become missing."""
    exact = (raw == raw.round()) & (raw.abs() <= EXACT)
    return raw.where(exact).astype("Int64")


def _to_moment(raw: Series) -> Series:
    """Convert times to datetime64[us], in UTC when they have a zone; numbers become missing, as their unit is unknown."""
    if not pd.api.types.is_datetime64_any_dtype(raw):
        return _make_missing(raw, "datetime64[us]")
    if isinstance(raw.dtype, pd.DatetimeTZDtype):
        raw = raw.dt.tz_convert("UTC").dt.tz_localize(None)
    return raw if raw.dtype == "datetime64[us]" else raw.astype("datetime64[us]")


def _parse(text: Series, dtype: str, form: str) -> Series:
    """Parse text, as str or as categories of str (see `core.parsing`)."""

    def parse(values: Series) -> Series:
        parsed, _ = parse_text(pa.array(values, pa.string(), from_pandas=True), dtype, form)
        plain = parsed.to_pandas(types_mapper=_NULLABLE.get)
        return pd.Series(plain, dtype=DTYPES[dtype])

    if isinstance(text.dtype, pd.CategoricalDtype):
        return map_distinct(text, parse)
    return parse(text).set_axis(text.index)


def count_zones(raw: Series) -> tuple[int, int]:
    """Count the times of a raw column with and without an offset from UTC."""
    present = int(raw.notna().sum())
    if isinstance(raw.dtype, pd.DatetimeTZDtype):
        return present, 0
    if not is_words(raw):
        return 0, present
    aware = int(map_distinct(raw.dropna(), lambda texts: texts.str.contains(_OFFSET, regex=True)).sum())
    return aware, present - aware


def solidify(typed: pd.DataFrame, columns: Mapping[str, Column]) -> pd.DataFrame:
    """Convert a frame to the types in which it is stored: int64 and bool where the contract allows no missing values."""
    solid = {name: _SOLID[DTYPES[column.dtype]] for name, column in columns.items() if _is_solid(column)}
    return typed.astype(solid)


def _is_solid(column: Column) -> bool:
    """Return whether a contract's column has a dtype that cannot hold missing values."""
    return not column.nullable and DTYPES[column.dtype] in _SOLID
