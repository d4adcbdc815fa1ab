"""Decide the Arrow types of a database's columns, from their declared types and the cells that do not fit these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lifecycle.sources.typing import EXACT, FEW

if TYPE_CHECKING:
    import sqlalchemy as sa

_COUNTED = 200  # columns whose cells one query counts
_DAY = "[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]"  # as SQLite's GLOB matches it
_CLOCK = "[0-2][0-9]:[0-5][0-9]*"
_NUMBERS = ("integer", "real")
_STORED = (*_NUMBERS, "text", "blob")  # what a cell of SQLite is


def find_type(kind: sa.types.TypeEngine[Any], free: pa.DataType) -> pa.DataType:
    """Return the Arrow type of a database column, `free` for a number without declared digits."""
    import sqlalchemy as sa

    if (base := getattr(kind, "data_type", None)) is not None:  # a domain of PostgreSQL
        return find_type(base, free)
    if isinstance(kind, sa.types.NullType):
        return free if pa.types.is_null(free) else pa.string()
    if isinstance(kind, sa.Boolean):
        return pa.bool_()
    if isinstance(kind, sa.Numeric) and not isinstance(kind, sa.Float):
        return _find_decimal(kind.precision, kind.scale, free)
    if isinstance(kind, sa.Integer):
        wide = isinstance(kind, sa.BigInteger) and getattr(kind, "unsigned", False)  # of MySQL
        return pa.uint64() if wide else pa.int64()
    if isinstance(kind, sa.Float) or is_interval(kind):
        return pa.float64()
    if isinstance(kind, sa.DateTime):
        return pa.timestamp("us", "UTC" if kind.timezone else None)
    if isinstance(kind, sa.Date):
        return pa.date32()
    if isinstance(kind, sa.Time) and not kind.timezone:
        return pa.time64("us")
    return pa.binary() if isinstance(kind, sa.LargeBinary) else pa.string()


def _find_decimal(precision: int | None, scale: int | None, free: pa.DataType) -> pa.DataType:
    """Return decimal128 when a number's digits are declared and fit, else `free`."""
    if precision is None or scale is None or not 0 <= scale <= precision <= 38:
        return free
    return pa.decimal128(precision, scale)


def find_described(column: Any, types: Any, free: pa.DataType) -> pa.DataType:
    """Return the Arrow type of a column in psycopg's description."""
    found = types.get(column.type_code)
    name = "" if found is None or found.array_oid == column.type_code else found.name
    if name == "numeric":
        return _find_decimal(column.precision, column.scale, free)
    return _DESCRIBED.get(name, pa.string())


def is_interval(kind: sa.types.TypeEngine[Any]) -> bool:
    """Return whether a column is a length of time."""
    import sqlalchemy as sa

    return isinstance(kind, sa.Interval) or kind.__visit_name__ == "INTERVAL"


def settle_types(
    connection: sa.Connection, relation: sa.FromClause, schema: pa.Schema, settled: Collection[str] = ()
) -> pa.Schema:
    """Return the types that a table's columns are read with, from counts of the cells that do not fit the declared ones.

    A column keeps its declared type when at most 1 % of its cells do not fit. Otherwise it is text, or, in SQLite, whose
    cells each have a type, the type of all its cells. The columns `settled` are not counted, if they have a type.
    """
    types = dict(zip(schema.names, schema.types, strict=True))
    sqlite = connection.dialect.name == "sqlite"
    if sqlite or connection.dialect.name == "postgresql":
        find = _find_stored_misfit if sqlite else _find_declared_misfit
        open_types = {name: kind for name, kind in types.items() if name not in settled or pa.types.is_null(kind)}
        misfits = {name: find(relation.c[name], kind) for name, kind in open_types.items()}
        counts = {name: {"misfit": misfit} for name, misfit in misfits.items() if misfit is not None}
        wrong = dict(_count_cells(connection, relation, counts))
        again = {
            name: _describe_cells(relation.c[name], sqlite=sqlite)
            for name, kind in open_types.items()
            if pa.types.is_null(kind) or (name in wrong and wrong[name]["misfit"])
        }
        decide = _decide_stored if sqlite else _decide_declared
        for name, found in _count_cells(connection, relation, again):
            types[name] = decide(types[name], found + wrong.get(name, Counter()))
    return pa.schema([(name, pa.string() if pa.types.is_null(kind) else kind) for name, kind in types.items()])


def _count_cells(
    connection: sa.Connection, relation: sa.FromClause, counts: Mapping[str, Mapping[str, sa.ColumnElement[bool]]]
) -> Iterator[tuple[str, Counter[str]]]:
    """Count the cells of each column for which each of its conditions holds; yield columns and counts."""
    import sqlalchemy as sa

    chosen = list(counts)
    for names in (chosen[first : first + _COUNTED] for first in range(0, len(chosen), _COUNTED)):
        sums = [sa.func.sum(sa.case((holds, 1), else_=0)) for name in names for holds in counts[name].values()]
        found = iter(connection.execute(sa.select(*sums).select_from(relation)).one())
        yield from ((name, Counter({key: int(next(found) or 0) for key in counts[name]})) for name in names)


def _describe_cells(column: sa.ColumnElement[Any], *, sqlite: bool) -> dict[str, sa.ColumnElement[bool]]:
    """Return what a cell that is not null may be: in SQLite its storage class, and whether float64 would alter it."""
    import sqlalchemy as sa

    if not sqlite:
        return {"cells": column.is_not(None)}
    stored = sa.func.typeof(column)
    return {**{name: stored == name for name in _STORED}, "inexact": _is_inexact(column)}


def _is_inexact(column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Return the condition that a cell of SQLite is a whole number that float64 may not hold."""
    import sqlalchemy as sa

    plain = sa.type_coerce(column, sa.types.NullType())
    return sa.and_(sa.func.typeof(plain) == "integer", sa.not_(plain.between(-EXACT, EXACT)))


def _find_stored_misfit(column: sa.ColumnElement[Any], kind: pa.DataType) -> sa.ColumnElement[bool] | None:
    """Return the condition that a cell of SQLite does not fit the type, None where all fit or there is no type."""
    import sqlalchemy as sa

    plain = sa.type_coerce(column, sa.types.NullType())

    def is_other(*classes: str) -> sa.ColumnElement[bool]:
        return sa.func.typeof(plain).not_in([*classes, "null"])

    if pa.types.is_boolean(kind):
        return plain.not_in([0, 1])
    if pa.types.is_integer(kind):
        return is_other("integer")
    if pa.types.is_floating(kind):
        return sa.or_(is_other(*_NUMBERS), _is_inexact(column))
    if pa.types.is_decimal(kind):
        most = 10 ** (kind.precision - kind.scale)
        beyond = sa.or_(sa.func.round(plain, kind.scale) != plain, plain >= most, plain <= -most)
        return sa.or_(is_other(*_NUMBERS), beyond)
    if pa.types.is_temporal(kind):
        forms = [_CLOCK] if pa.types.is_time(kind) else [_DAY]
        if pa.types.is_timestamp(kind):
            forms.append(f"{_DAY}[ T]{_CLOCK}")
        return sa.and_(*(sa.not_(plain.op("GLOB")(form)) for form in forms))
    return is_other("blob") if pa.types.is_binary(kind) else None


def _decide_stored(kind: pa.DataType, found: Counter[str]) -> pa.DataType:
    """Return the type of a SQLite column: the declared one, if nearly all cells fit, that of its cells, or text."""
    cells, words = sum(found[name] for name in _STORED), found["text"] + found["blob"]
    misfits = cells if pa.types.is_null(kind) else found["misfit"]
    if pa.types.is_decimal(kind) and misfits > words:  # more digits than declared: the cells are binary floating point
        kind, misfits = pa.float64(), words + found["inexact"]
    if misfits <= FEW * cells:
        return kind
    if not words and not found["real"]:
        return pa.int64()
    if not words and not found["inexact"]:
        return pa.float64()
    return pa.binary() if found["blob"] == cells else pa.string()


def _find_declared_misfit(column: sa.ColumnElement[Any], kind: pa.DataType) -> sa.ColumnElement[bool] | None:
    """Return the condition that a value of PostgreSQL has no place in the Arrow type, None where all have one."""
    import sqlalchemy as sa

    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return sa.not_(sa.and_(sa.func.isfinite(column), sa.extract("year", column).between(1, 9999)))
    if pa.types.is_decimal(kind):
        return column == sa.literal_column("'NaN'::numeric")
    if pa.types.is_time(kind):
        return column == sa.literal_column("'24:00'::time")
    if is_interval(column.type):
        return sa.or_(sa.extract("year", column) != 0, sa.extract("month", column) != 0)
    return None


def _decide_declared(kind: pa.DataType, found: Counter[str]) -> pa.DataType:
    """Return a PostgreSQL column's declared type if nearly all its cells fit, else text."""
    return kind if found["misfit"] <= FEW * found["cells"] else pa.string()


_DESCRIBED = {
    "bool": pa.bool_(), "int2": pa.int64(), "int4": pa.int64(), "int8": pa.int64(), "float4": pa.float64(),
    "float8": pa.float64(), "interval": pa.float64(), "timestamp": pa.timestamp("us"), "timestamptz": pa.timestamp("us", "UTC"),
    "date": pa.date32(), "time": pa.time64("us"), "bytea": pa.binary(),
}  # fmt: skip  # PostgreSQL's types that are not text
