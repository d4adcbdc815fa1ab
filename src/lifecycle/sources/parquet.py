"""Tables in Parquet files, read by row groups, with the columns that a table of plain values can hold."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import fs

from lifecycle.core.errors import ProjectError
from lifecycle.core.paths import OPTIONS
from lifecycle.sources.blocks import run_ahead

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_NO_FRACTION = r"\.0+$"  # of a second


def open_fragment(system: fs.FileSystem, path: str, keys: dict[str, Any], schema: pa.Schema) -> ds.ParquetFileFragment:
    """Open a Parquet file as a part of a dataset; its footer is read once, and the values of its keys are known."""
    known = ds.scalar(True)
    for name, value in keys.items():
        key = ds.field(name)
        known &= key.is_null() if value is None else key == pa.scalar(value, schema.field(name).type)
    return ds.ParquetFileFormat().make_fragment(path, filesystem=system, partition_expression=known)


def find_index(schema: pa.Schema) -> list[str]:
    """List the columns that hold the index of a pandas frame which has no name: they are not data."""
    try:
        described = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    except ValueError:
        return []
    index = [name for name in described.get("index_columns", []) if isinstance(name, str)]
    unnamed = {column.get("field_name") for column in described.get("columns", []) if column.get("name") is None}
    return [name for name in index if name in unnamed and name in schema.names]


def simplify(schema: pa.Schema) -> pa.Schema:
    """Return a schema with the types as which a file's columns are read: float16 as float32, times of day and bytes as text."""
    return pa.schema([column.with_type(_simplify_type(column.type)) for column in schema], metadata=schema.metadata)


def _simplify_type(kind: pa.DataType) -> pa.DataType:
    """Return the type as which a column is read."""
    types = pa.types
    if types.is_float16(kind):
        return pa.float32()
    if types.is_time(kind) or _is_bytes(kind):
        return pa.string()
    return kind


def describe_changes(schema: pa.Schema, name: str) -> list[str]:
    """Describe the columns of a file that are read as another type, in sentences."""
    notes = []
    for kind, words in (
        (pa.types.is_time, "times of day and are read as text"),
        (pa.types.is_duration, "durations and are read as seconds"),
    ):
        if columns := [column.name for column in schema if kind(column.type)]:
            notes.append(f"{name}: {', '.join(map(repr, columns))} hold {words}.")
    return notes


def read_fragments(
    fragments: Iterable[ds.ParquetFileFragment], schema: pa.Schema, chosen: pa.Schema, expression: ds.Expression | None
) -> Iterator[pa.RecordBatch]:
    """Read Parquet files of a dataset by row groups, in order, as a scan of a whole file keeps it in memory."""
    plain = simplify(schema)

    def read(group: ds.ParquetFileFragment) -> list[pa.RecordBatch]:
        batches = group.to_batches(schema=plain, columns=chosen.names, filter=expression)
        return [_finish_batch(batch, schema, chosen) for batch in batches]

    groups = (group for fragment in fragments for group in fragment.split_by_row_group(filter=expression, schema=plain))
    yield from chain.from_iterable(run_ahead(read, groups))


def _finish_batch(batch: pa.RecordBatch, schema: pa.Schema, chosen: pa.Schema) -> pa.RecordBatch:
    """Write times of day as text without empty fractions, and durations as seconds."""
    arrays = [
        _finish_array(array, schema.field(name).type) for name, array in zip(chosen.names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, chosen.names)


def _finish_array(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Finish a column whose type in the file is `kind`."""
    if pa.types.is_time(kind):
        return pc.replace_substring_regex(array, _NO_FRACTION, "")
    if pa.types.is_duration(array.type):
        ticks = array.cast(pa.int64()).cast(pa.float64(), safe=False)
        return pc.divide(ticks, float(_PER_SECOND[array.type.unit]))
    return array


def unify_types(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    """Return the narrowest type that holds the values of both, None without one."""
    if pa.types.is_date(left) and pa.types.is_timestamp(right) and right.tz is None:
        return right
    if pa.types.is_timestamp(left) and left.tz is None and pa.types.is_date(right):
        return left
    if pa.types.is_dictionary(left) != pa.types.is_dictionary(
        right
    ):  # categories of pandas in one file, text in another
        left, right = _find_value_type(left), _find_value_type(right)
    if pa.types.is_timestamp(left) and pa.types.is_timestamp(right) and left.tz and right.tz and left.tz != right.tz:
        left, right = pa.timestamp(left.unit, "UTC"), pa.timestamp(right.unit, "UTC")
    sides = [pa.schema([("", left)]), pa.schema([("", right)])]
    try:
        return pa.unify_schemas(sides, promote_options="permissive").field(0).type
    except pa.ArrowTypeError:
        return None


def _find_value_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of a column's values: that of its categories, if it has some."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def unify_schemas(
    names: Sequence[str], schemas: Sequence[pa.Schema], needed: Collection[str] | None = None
) -> pa.Schema:
    """Return the columns of all files in order of appearance; raise ProjectError naming a column and two files in conflict.

    needed: the columns that are read, where not all are; others may be in conflict.
    """
    if len(schemas) == 1:
        return schemas[0]
    types: dict[str, tuple[pa.DataType, str]] = {}
    for name, schema in zip(names, schemas, strict=True):
        for column in schema:
            known, where = types.get(column.name, (column.type, name))
            wider = unify_types(known, column.type)
            if wider is None and (needed is None or column.name in needed):
                raise ProjectError(
                    f"The column {column.name!r} is {known} in {where} and {column.type} in {name}: "
                    f"the files of one table need compatible types; write one of them anew, or leave the column out with {OPTIONS}.columns."
                )
            wider = wider or known
            types[column.name] = (wider, where if wider == known else name)
    return pa.schema([(name, kind) for name, (kind, _) in types.items()])


def show_types(schema: pa.Schema) -> pa.Schema:
    """Return the schema of the batches that are read (see `read_fragments`)."""
    types = [pa.float64() if pa.types.is_duration(kind) else kind for kind in simplify(schema).types]
    columns = [column.with_type(kind) for column, kind in zip(schema, types, strict=True)]
    return pa.schema(columns, metadata=schema.metadata)


def explain_error(
    error: pa.ArrowException, schema: pa.Schema, schemas: Sequence[pa.Schema], name: str
) -> ProjectError | None:
    """Explain that bytes are not text, or that whole numbers of one file are altered by the fractions of another.

    schema: that of the table; schemas: those of its files. None for another error.
    """
    fractions = [column.name for column in schema if pa.types.is_floating(column.type)]
    mixed = [column for column in fractions if any(_is_whole(part, column) for part in schemas)]
    if mixed and "not in range" in str(error):
        return ProjectError(
            f"{name}: {', '.join(map(repr, mixed))} has fractions in one file, and whole numbers beyond 2^53, which fractions do not hold, "
            f"in another: leave it out with {OPTIONS}.columns, or write it as one type."
        )
    if "Invalid UTF8" not in str(error):
        return None
    binary = [column.name for column in schema if _is_bytes(column.type)]
    columns = f"column {binary[0]!r}" if len(binary) == 1 else f"one of the columns {', '.join(map(repr, binary))}"
    return ProjectError(f"{name}: {columns} holds bytes that are not text: leave it out with {OPTIONS}.columns.")


def _is_whole(schema: pa.Schema, name: str) -> bool:
    """Return whether a schema has a column of whole numbers with the name."""
    return name in schema.names and bool(pa.types.is_integer(schema.field(name).type))


def _is_bytes(kind: pa.DataType) -> bool:
    """Return whether a type holds bytes."""
    types = pa.types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))
