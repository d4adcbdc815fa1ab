"""Which part of a table is read: columns, and the rows that match a filter."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet
from pydantic import Field

from lifecycle.core.errors import ProjectError
from lifecycle.core.params import Strict
from lifecycle.core.tables import Stream
from lifecycle.sources.typing import EXACT

Clause = tuple[str, Literal["==", "=", "!=", "<", "<=", ">", ">=", "in", "not in"], Any]

_NUMBER = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"


class TableOptions(Strict):
    """Which part of a table is read: `columns`, in their order, and the rows that match every clause of `filter`."""

    columns: Annotated[list[str], Field(min_length=1)] | None = None  # the columns to read, in this order
    filter: tuple[Clause, ...] = ()  # clauses of column, operator and value that must all hold


@contextmanager
def translate_errors(name: str, doing: str) -> Iterator[None]:
    """Translate a library's exceptions into a ProjectError of one sentence: `name` and what could not be done."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise ProjectError(f"{name} {doing}: {' '.join(str(error).split())}") from error


def check_names(schema: pa.Schema, name: str) -> None:
    """Raise ProjectError when two columns have the same name."""
    repeated = sorted(column for column, count in Counter(schema.names).items() if count > 1)
    if repeated:
        raise ProjectError(f"{name} has more than one column named {', '.join(map(repr, repeated))}.")


def choose_columns(schema: pa.Schema, options: TableOptions, source: str) -> pa.Schema:
    """Return the columns that `options` name, or all; raise ProjectError naming one that the table lacks."""
    for name in options.columns or []:
        if name not in schema.names:
            raise ProjectError(f"{source} has no column {name!r} (collect.options.columns); it has {schema.names}.")
    chosen = schema if options.columns is None else pa.schema([schema.field(name) for name in options.columns])
    check_names(chosen, source)
    return chosen


def select(
    schema: pa.Schema,
    options: TableOptions,
    source: str,
    read: Callable[[pa.Schema, ds.Expression | None], Iterable[pa.RecordBatch]],
) -> Stream:
    """Return the stream of a table that `options` select; `read` reads the selected columns of the matching rows."""
    expression = build_filter(schema, options.filter, source)
    chosen = choose_columns(schema, options, source)
    return Stream(chosen, read(chosen, expression))


def build_filter(schema: pa.Schema, clauses: Sequence[Clause], source: str) -> ds.Expression | None:
    """Join clauses with `and` into an expression, with values of the columns' types; raise ProjectError naming the clause."""
    typed = []
    for column, op, value in clauses:
        clause = f"the filter [{column}, {op}, {value}] (collect.options.filter)"
        if column not in schema.names:
            raise ProjectError(f"{source} has no column {column!r} for {clause}; it has {schema.names}.")
        kind = schema.field(column).type
        many = op in {"in", "not in"}
        if many != isinstance(value, list):
            raise ProjectError(f"{source}: {clause} needs {'a list' if many else 'one value, not a list'}.")
        try:
            values = [pa.scalar(item).cast(kind).as_py() for item in (value if many else [value])]
        except (pa.ArrowException, OverflowError) as error:
            raise ProjectError(f"{source}: {clause} does not fit its column of type {kind}.") from error
        if None in values:
            raise ProjectError(f"{source}: {clause} compares with null, which is never true.")
        typed.append((column, op, values if many else values[0]))
    return pa.parquet.filters_to_expression(typed) if typed else None


@dataclass(frozen=True)
class TextFilter:
    """Clauses on columns of text, each compared as the type of its value; text that is not of that type does not match."""

    casts: tuple[tuple[str, pa.DataType], ...]  # the column of each clause, and the type it is compared as
    expression: ds.Expression | None

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows that match every clause."""
        if self.expression is None:
            return batch
        arrays = [_cast_text(batch[column], kind) for column, kind in self.casts]
        compared = pa.Table.from_arrays([*arrays, pa.array(range(len(batch)))], [*map(str, range(len(arrays))), "row"])
        return batch.take(compared.filter(self.expression)["row"].combine_chunks())


def build_text_filter(schema: pa.Schema, clauses: Sequence[Clause], source: str) -> TextFilter:
    """Build the filter of a table with columns of text; raise ProjectError naming the clause."""
    build_filter(pa.schema([(name, pa.string()) for name in schema.names]), _write_out(clauses), source)
    casts = []
    typed: list[Clause] = []
    for place, (column, op, value) in enumerate(clauses):
        kind = schema.field(column).type
        compared_as = (
            _choose_type(value if isinstance(value, list) else [value], op) if pa.types.is_string(kind) else kind
        )
        casts.append((column, compared_as))
        typed.append((str(place), op, _write_value(value) if compared_as == pa.string() else value))
    compared = pa.schema([(str(place), kind) for place, (_, kind) in enumerate(casts)])
    return TextFilter(tuple(casts), build_filter(compared, typed, source))


def _write_out(clauses: Sequence[Clause]) -> list[Clause]:
    """Return the clauses with values of text, for the checks that do not depend on their types."""
    return [(column, op, _write_value(value)) for column, op, value in clauses]


def _write_value(value: Any) -> Any:
    """Return a value of a clause, or those of its list, as text."""
    if isinstance(value, list):
        return [_write_value(item) for item in value]
    return None if value is None else str(value)


def _choose_type(values: Sequence[Any], op: str) -> pa.DataType:
    """Choose the type as which text is compared with these values."""
    if all(isinstance(value, bool) for value in values):
        return pa.bool_()
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        exact = all(abs(value) <= EXACT for value in values) or op not in {"==", "=", "!=", "in", "not in"}
        return pa.float64() if exact else pa.string()
    if all(isinstance(value, dt.date) for value in values):
        return pa.timestamp("s")
    return pa.string()


def _cast_text(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Cast text to the type of a filter's value; other text is null."""
    if column.type == kind:
        return column
    if kind == pa.bool_():
        lower = pc.utf8_lower(pc.utf8_trim_whitespace(column))
        return pc.if_else(pc.is_in(lower, pa.array(["true", "false"])), pc.equal(lower, "true"), None)
    if kind == pa.float64():
        fits = pc.match_substring_regex(column, _NUMBER)
        return pc.utf8_trim_whitespace(pc.if_else(fits, column, None)).cast(kind)
    if pa.types.is_timestamp(kind):
        text = pc.replace_substring(column, "T", " ", max_replacements=1)
        moments = pc.strptime(pc.utf8_slice_codeunits(text, 0, 19), "%Y-%m-%d %H:%M:%S", "s", error_is_null=True)
        days = pc.strptime(pc.utf8_slice_codeunits(text, 0, 10), "%Y-%m-%d", "s", error_is_null=True)
        return pc.coalesce(moments, days).cast(kind)
    return column.cast(kind)
