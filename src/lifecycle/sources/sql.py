"""Read SQL databases by their SQLAlchemy address: a table or a query, in Arrow batches."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa
from pydantic import Field, model_validator

from lifecycle.core.errors import ProjectError
from lifecycle.core.params import Strict, parse_strictly
from lifecycle.core.paths import OPTIONS
from lifecycle.core.tables import Stream
from lifecycle.sources.landing import UnavailableError
from lifecycle.sources.typing import convert_values, format_value, infer_type

if TYPE_CHECKING:
    import sqlalchemy as sa

logger = logging.getLogger("lifecycle")

_SAMPLE_ROWS = 10_000  # rows whose values determine the types of a query when the database does not report them
_FETCH_ROWS = 10_000  # rows of a round trip
_CONNECT_TIMEOUT = 10  # seconds to connect


class DatabaseOptions(Strict):
    """The options of a database in `collect.options`; the documentation describes each."""

    table: str | None = None  # the table to read
    schema_name: str | None = Field(None, alias="schema")  # the schema of the table
    query: str | None = None  # a query instead of a table
    columns: list[str] | None = Field(None, min_length=1)  # the columns to read, in this order
    order_by: list[str] | None = Field(None, min_length=1)  # the columns that order the rows
    watermark: str | None = None  # a column that only rises: newer rows are landed
    key: list[str] | None = Field(None, min_length=1)  # the columns that identify a row
    overlap: float = Field(0, ge=0)  # how far below the watermark to read again, for rows that are committed late
    time: str | None = None  # the column whose date decides the partition
    batch: int = Field(50_000, ge=1)  # rows of a commit at most

    @model_validator(mode="after")
    def check_what(self) -> DatabaseOptions:
        """Require a table or a query, not both."""
        if (self.table is None) == (self.query is None):
            raise ValueError("expected a table or a query")
        if self.query is not None and (self.columns or self.order_by) and self.watermark is None:
            raise ValueError("a query names its own columns and order: columns and order_by go with a table")
        return self


def is_database(source: str) -> bool:
    """Return whether a source is a database address: whether SQLAlchemy has a dialect for its scheme."""
    from sqlalchemy.dialects import registry
    from sqlalchemy.exc import NoSuchModuleError

    scheme, separator, _ = source.partition("://")
    try:
        registry.load(scheme.lower().replace("+", "."))
    except NoSuchModuleError:
        return False
    except ImportError:  # the dialect is known, its driver is missing
        return True
    return bool(separator)


@contextmanager
def open_query(source: str, root: Path, options: Mapping[str, Any]) -> Iterator[Stream]:
    """Stream a table, sorted by its primary key (or `order_by`, or all columns), or a query, with a server-side cursor.

    Numbers with a declared precision are decimal128, others float64; times with a zone are UTC; JSON, arrays, UUIDs and
    types that Arrow lacks are text. Raises ProjectError, without the password, for an unknown table or column and for a
    value that does not fit its column's type; UnavailableError for a server that does not answer.
    """
    with connect(source, root) as connection:
        statement, schema = _build_statement(connection, read_options(options))
        yield Stream(schema, read_rows(connection, statement, schema))


def read_options(options: Mapping[str, Any]) -> DatabaseOptions:
    """Parse a database's options; raise ProjectError naming the wrong one."""
    return parse_strictly(DatabaseOptions, options, OPTIONS)


def name_rows(options: DatabaseOptions) -> str:
    """Return the name of the rows in commit records, without the host, as it may move."""
    if options.table is not None:
        return f"the table {options.table if options.schema_name is None else f'{options.schema_name}.{options.table}'}"
    return f"the query {hashlib.sha256(str(options.query).encode()).hexdigest()[:12]}"


@contextmanager
def connect(source: str, root: Path) -> Iterator[sa.Connection]:
    """Connect to read one consistent state of a database; translate errors into one sentence without the password."""
    import sqlalchemy as sa
    from sqlalchemy import exc
    from sqlalchemy.pool import NullPool

    url = _parse_address(source, root)
    shown = url.set(query={}).render_as_string(hide_password=True)

    def describe(error: Exception) -> str:
        text = " ".join(str(getattr(error, "orig", None) or error).split())
        return text.replace(url.password, "***") if url.password else text

    settings = {"connect_timeout": _CONNECT_TIMEOUT} if url.get_backend_name() == "postgresql" else {}
    try:
        engine = sa.create_engine(url, poolclass=NullPool, connect_args=settings)
        with engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA query_only = ON")
                connection.exec_driver_sql("BEGIN")
            elif connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            yield connection
    except ModuleNotFoundError as error:
        raise ProjectError(f"{shown} needs the package {error.name}, which is not installed.") from error
    except exc.NoSuchModuleError as error:
        raise ProjectError(f"{shown}: SQLAlchemy does not know this database or driver: {describe(error)}.") from error
    except exc.DBAPIError as error:
        lost = error.connection_invalidated or isinstance(error, (exc.OperationalError, exc.InterfaceError))
        kind = UnavailableError if lost and url.get_backend_name() != "sqlite" else ProjectError
        raise kind(f"{shown} refuses or does not answer: {describe(error)}") from error
    except exc.SQLAlchemyError as error:
        raise ProjectError(f"{shown}: {describe(error)}") from error


def _parse_address(source: str, root: Path) -> sa.URL:
    """Expand ${NAME} from the environment and place SQLite's file below `root`; raise ProjectError when that fails."""
    import sqlalchemy as sa
    from sqlalchemy import exc

    def expand(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise ProjectError(f"collect.source names ${{{found[1]}}}, but the environment has no variable {found[1]}.")
        return quote(os.environ[found[1]], safe="")

    try:
        url = sa.make_url(re.sub(r"\$\{(\w+)\}", expand, source))
    except (exc.ArgumentError, ValueError) as error:
        raise ProjectError(
            "collect.source is not a database address: expected dialect+driver://user:password@host/name."
        ) from error
    if url.drivername == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite":
        path = root / (url.database or "")
        if not path.is_file():
            raise ProjectError(
                f"{source} does not exist (looked for {path}): expected sqlite:/// and the path of a file."
            )
        return url.set(database=str(path))
    return url


def _build_statement(connection: sa.Connection, options: DatabaseOptions) -> tuple[sa.Executable, pa.Schema]:
    """Build the statement of open_query, and the types of its result."""
    if options.query is not None:
        return _build_text(options.query), _describe_query(connection, options.query)
    relation, schema = find_relation(connection, options)
    keys = options.order_by or [key.name for key in relation.primary_key] or _list_orderable(relation, schema)
    statement = select_columns(connection, relation, schema)
    return statement.order_by(*(find_column(relation, name) for name in keys)), schema


def find_relation(connection: sa.Connection, options: DatabaseOptions) -> tuple[sa.FromClause, pa.Schema]:
    """Return the table (or the query as one) and the requested columns."""
    import sqlalchemy as sa
    from sqlalchemy import exc

    if options.query is not None:
        schema = _describe_query(connection, options.query)
        named = [sa.column(name, _to_sql(kind)) for name, kind in zip(schema.names, schema.types, strict=True)]
        relation: sa.FromClause = _build_text(options.query).columns(*named).subquery("rows")
    else:
        try:
            relation = sa.Table(
                str(options.table),
                sa.MetaData(),
                schema=options.schema_name,
                autoload_with=connection,
                resolve_fks=False,
            )
        except exc.NoSuchTableError as error:
            inspector = sa.inspect(connection)
            names = [*inspector.get_table_names(options.schema_name), *inspector.get_view_names(options.schema_name)]
            where = "" if options.schema_name is None else f" in schema {options.schema_name!r}"
            raise ProjectError(
                f"There is no table {options.table!r}{where}; the tables are: {', '.join(sorted(names)) or 'none'}."
            ) from error
        schema = pa.schema([(column.name, _find_type(column.type)) for column in relation.c])
    columns = options.columns or schema.names
    for name in columns:
        find_column(relation, name)
    return relation, pa.schema([schema.field(name) for name in dict.fromkeys(columns)])


def find_column(relation: sa.FromClause, name: str) -> sa.ColumnElement[Any]:
    """Return a column by its name; raise ProjectError listing the columns."""
    if name not in relation.c:
        raise ProjectError(f"There is no column {name!r}; the columns are: {', '.join(relation.c.keys())}.")
    return relation.c[name]


def _list_orderable(relation: sa.FromClause, schema: pa.Schema) -> list[str]:
    """List the columns that can be sorted by, without JSON and types that SQLAlchemy does not know."""
    import sqlalchemy as sa

    return [name for name in schema.names if not isinstance(relation.c[name].type, (sa.JSON, sa.types.NullType))]


def select_columns(connection: sa.Connection, relation: sa.FromClause, schema: pa.Schema) -> sa.Select[Any]:
    """Select the columns of a schema; SQLite's times stay text, as Arrow parses a whole column at once."""
    import sqlalchemy as sa

    columns: list[sa.ColumnElement[Any]] = [relation.c[name] for name in schema.names]
    if connection.dialect.name == "sqlite":
        columns = [sa.type_coerce(column, sa.types.NullType()).label(column.key) for column in columns]
    return sa.select(*columns)


def _build_text(query: str) -> sa.TextClause:
    """Return a query as it is written, where a colon does not mark a parameter."""
    import sqlalchemy as sa

    return sa.text(query.strip().rstrip(";").replace(":", r"\:") + "\n")  # the last line of the query may be a comment


def _find_type(kind: sa.types.TypeEngine[Any]) -> pa.DataType:
    """Return the Arrow type of a database column."""
    import sqlalchemy as sa

    if isinstance(kind, sa.Boolean):
        return pa.bool_()
    if isinstance(kind, sa.Integer):
        return pa.int64()
    if isinstance(kind, sa.Numeric) and not isinstance(kind, sa.Float):
        return _find_decimal(kind.precision, kind.scale)
    if isinstance(kind, (sa.Float, sa.Interval)) or kind.__visit_name__ == "INTERVAL":
        return pa.float64()
    if isinstance(kind, sa.DateTime):
        return pa.timestamp("us", "UTC" if kind.timezone else None)
    if isinstance(kind, sa.Date):
        return pa.date32()
    if isinstance(kind, sa.Time) and not kind.timezone:
        return pa.time64("us")
    return pa.binary() if isinstance(kind, sa.LargeBinary) else pa.string()


def _find_decimal(precision: int | None, scale: int | None) -> pa.DataType:
    """Return decimal128 when a number's digits are declared and fit, else float64."""
    if precision is None or scale is None or not 0 <= scale <= precision <= 38:
        return pa.float64()
    return pa.decimal128(precision, scale)


def _to_sql(kind: pa.DataType) -> sa.types.TypeEngine[Any]:
    """Return the type in which values of a query's column are compared."""
    import sqlalchemy as sa

    if pa.types.is_timestamp(kind):
        return sa.DateTime(timezone=kind.tz is not None)
    return sa.Date() if pa.types.is_date(kind) else sa.types.NullType()


def _describe_query(connection: sa.Connection, query: str) -> pa.Schema:
    """Return the types of a query's result, from its description, or from its values when there is none (SQLite)."""
    import sqlalchemy as sa

    empty = connection.execute(
        sa.select(sa.text("*")).select_from(_build_text(query).columns().subquery("rows")).limit(0)
    )
    names, cursor = list(empty.keys()), empty.cursor
    plain = [re.sub(r":\d+$", "", name) for name in names]  # SQLite appends a number to a repeated name
    twice = sorted({name for name in plain if name in names and plain.count(name) > 1})
    if twice:
        raise ProjectError(f"option query has more than one column named {', '.join(map(repr, twice))}.")
    if connection.dialect.name == "postgresql" and connection.dialect.driver == "psycopg":
        types = connection.connection.driver_connection.adapters.types  # type: ignore[union-attr]
        kinds = [_find_described(column, types) for column in cursor.description]
    elif connection.dialect.name == "sqlite":
        kinds = _find_stored(connection, query, names)
    else:
        rows = connection.execute(_build_text(query)).fetchmany(_SAMPLE_ROWS)
        kinds = [infer_type(column) for column in zip(*rows, strict=True)] or [pa.string()] * len(names)
    empty.close()
    return pa.schema(
        [(name, pa.string() if pa.types.is_null(kind) else kind) for name, kind in zip(names, kinds, strict=True)]
    )


def _find_described(column: Any, types: Any) -> pa.DataType:
    """Return the Arrow type of a column in psycopg's description."""
    found = types.get(column.type_code)
    name = "" if found is None or found.array_oid == column.type_code else found.name
    if name == "numeric":
        return _find_decimal(column.precision, column.scale)
    return _DESCRIBED.get(name, pa.string())


def _find_stored(connection: sa.Connection, query: str, names: Sequence[str]) -> list[pa.DataType]:
    """Return the Arrow types of a query's values in SQLite, where each value has its own type."""
    import sqlalchemy as sa

    rows = _build_text(query).columns(*map(sa.column, names)).subquery("rows")
    found = connection.execute(
        sa.select(*(sa.func.group_concat(sa.distinct(sa.func.typeof(rows.c[name]))) for name in names))
    ).one()
    kinds = []
    for stored in found:
        types = set((stored or "").split(",")) - {"null", ""}
        kinds.append(
            pa.int64() if types == {"integer"}
            else pa.float64() if types and types <= {"integer", "real"}
            else pa.binary() if types == {"blob"}
            else pa.string()
        )  # fmt: skip
    return kinds


def read_rows(connection: sa.Connection, statement: sa.Executable, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Stream the rows of a statement; raise ProjectError for a value that does not fit its column's type."""
    done = 0
    for rows, batch, reasons in fetch_batches(connection, statement, schema, _FETCH_ROWS):
        if reasons:
            place = min(reasons)
            raise ProjectError(f"Row {done + place + 1} of collect.source: {reasons[place]}.")
        done += len(rows)
        yield batch


def fetch_batches(
    connection: sa.Connection, statement: sa.Executable, schema: pa.Schema, size: int
) -> Iterator[tuple[Sequence[Sequence[Any]], pa.RecordBatch, dict[int, str]]]:
    """Fetch `size` rows at a time; yield them raw, as a batch, and with the reasons of those that do not fit the schema."""
    result = connection.execution_options(stream_results=True, yield_per=size).execute(statement)
    for rows in result.partitions(size):
        arrays: list[pa.Array] = []
        reasons: dict[int, str] = {}
        for column, values in zip(schema, zip(*rows, strict=True), strict=True):
            array, wrong = _convert_stored(values, column.type)
            arrays.append(array)
            for place in wrong:
                reasons.setdefault(place, f"{column.name} is {values[place]!r:.80}, expected {column.type}")
        yield rows, pa.RecordBatch.from_arrays(arrays, schema=schema), reasons


def _convert_stored(values: Sequence[Any], kind: pa.DataType) -> tuple[pa.Array, list[int]]:
    """Convert a driver's values like typing.convert_values."""
    if pa.types.is_temporal(kind):
        with suppress(pa.ArrowException):  # SQLite's times are text: parse all at once when they have one format
            return pa.array(values, pa.string()).cast(kind), []
    return convert_values(_adapt_values(values, kind), kind)


def _adapt_values(values: Sequence[Any], kind: pa.DataType) -> Sequence[Any]:
    """Adapt a driver's values to a column's type where it stores them differently: SQLite's times, booleans and decimals."""
    found = set(map(type, values)) - {type(None)}
    if pa.types.is_string(kind):
        return values if found <= {str} else [format_value(value) for value in values]
    if pa.types.is_boolean(kind) and int in found:
        return [bool(value) if type(value) is int and value in {0, 1} else value for value in values]
    if pa.types.is_temporal(kind) and str in found:
        return _parse_times(values, kind)
    if pa.types.is_decimal(kind) and float in found:
        return [_round_decimal(value, kind.scale) if type(value) is float else value for value in values]
    if timedelta in found:
        return [value.total_seconds() if isinstance(value, timedelta) else value for value in values]
    return values


def _round_decimal(value: float, scale: int) -> Decimal | float:
    """Return the decimal that a stored float represents."""
    return Decimal(f"{value:.{scale}f}") if isfinite(value) else value


def _parse_times(values: Sequence[Any], kind: pa.DataType) -> Sequence[Any]:
    """Parse text as times of a type; other text stays unchanged."""
    parse = {"date32[day]": date.fromisoformat, "time64[us]": time.fromisoformat}.get(str(kind), datetime.fromisoformat)
    parsed = []
    for value in values:
        try:
            parsed.append(parse(value) if type(value) is str else value)
        except ValueError:
            parsed.append(value)
    return parsed


def format_row(schema: pa.Schema, row: Sequence[Any]) -> bytes:
    """Format a row as JSON for the quarantine."""
    return json.dumps(dict(zip(schema.names, row, strict=True)), default=format_value, ensure_ascii=False).encode()


_DESCRIBED = {
    "bool": pa.bool_(), "int2": pa.int64(), "int4": pa.int64(), "int8": pa.int64(), "float4": pa.float64(),
    "float8": pa.float64(), "interval": pa.float64(), "timestamp": pa.timestamp("us"), "timestamptz": pa.timestamp("us", "UTC"),
    "date": pa.date32(), "time": pa.time64("us"), "bytea": pa.binary(),
}  # fmt: skip  # PostgreSQL's types that are not text
