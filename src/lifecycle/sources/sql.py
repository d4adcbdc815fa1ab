"""Read SQL databases by their SQLAlchemy address: a table or a query, in Arrow batches."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa
from pydantic import Field, model_validator

from lifecycle.core.errors import ProjectError
from lifecycle.core.params import Strict, parse_strictly
from lifecycle.core.paths import OPTIONS
from lifecycle.core.tables import Rejects, Stream
from lifecycle.sources.addresses import hide_secrets
from lifecycle.sources.landing import UnavailableError
from lifecycle.sources.sql_types import find_described, find_type, is_interval, settle_types
from lifecycle.sources.typing import convert_values, describe_type, format_value, infer_type

if TYPE_CHECKING:
    import sqlalchemy as sa

logger = logging.getLogger("lifecycle")

_SAMPLE_ROWS = 10_000  # rows whose values determine the types of a query when the database does not report them
_FETCH_ROWS = 10_000  # rows of a round trip
_CONNECT_TIMEOUT = 10  # seconds to connect
_WATERMARK = pa.decimal128(38, 10)  # a watermark without declared digits
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?(E[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_INTERVAL = re.compile(rb"(?:([+-]?\d+) days? ?)?(?:([+-]?)(\d+):(\d\d):(\d\d(?:\.\d+)?))?")  # without months
_NATIVE = {
    "bool",
    "int2",
    "int4",
    "int8",
    "oid",
    "float4",
    "float8",
    "bytea",
    "interval",
}  # PostgreSQL's that are not read as text


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

    scheme, separator, _ = _name_dialect(source).partition("://")
    try:
        registry.load(scheme.lower().replace("+", "."))
    except NoSuchModuleError:
        return False
    except ImportError:  # the dialect is known, its driver is missing
        return True
    return bool(separator)


def _name_dialect(source: str) -> str:
    """Return an address with SQLAlchemy's name of PostgreSQL, which many services call postgres."""
    return re.sub("^postgres://", "postgresql://", source)


@contextmanager
def open_query(source: str, root: Path, options: Mapping[str, Any]) -> Iterator[Stream]:
    """Stream a table, sorted by its primary key (or `order_by`, or all columns), or a query, with a server-side cursor.

    No value is altered. Numbers with declared digits are decimal128, those without are text; times with a zone are UTC;
    JSON, arrays, ranges, money, bits, UUIDs and types that Arrow lacks are text. A table's column of which more than 1 % of
    the cells do not fit its declared type is text as a whole; fewer such cells are rows in `rejected`, with their key.
    Raises ProjectError, without the password, for an unknown table or column; UnavailableError for a server that does not
    answer.
    """
    with connect(source, root) as connection:
        if not options:
            raise ProjectError(
                f"{hide_secrets(source)} needs the option table or query ({OPTIONS}, or --option table=NAME of adopt); "
                f"the tables are: {_list_tables(connection)}."
            )
        chosen = read_options(options)
        relation, schema = find_relation(connection, chosen)
        if chosen.query is None or connection.dialect.name == "sqlite":
            schema = settle_types(connection, relation, schema)
        if chosen.query is None:
            order = chosen.order_by or [key.name for key in relation.primary_key] or _list_orderable(relation, schema)
            statement: sa.Executable = select_columns(connection, relation, schema).order_by(
                *(find_column(relation, name) for name in order)
            )
        else:
            statement = _build_text(chosen.query)
        rejected = Rejects()
        keys = chosen.key or [key.name for key in relation.primary_key]
        yield Stream(schema, read_rows(connection, statement, schema, keys, rejected), rejected=rejected)


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
                # text that is not UTF-8 reaches Arrow, which refuses the cell and not the table
                _find_driver(connection).text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
                connection.exec_driver_sql("PRAGMA query_only = ON")
                connection.exec_driver_sql("BEGIN")
            elif connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            if _loads_text(connection):
                _load_text(connection)
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


def _find_driver(connection: sa.Connection) -> Any:
    """Return the driver's own connection."""
    return connection.connection.driver_connection


def _loads_text(connection: sa.Connection) -> bool:
    """Return whether the driver is psycopg, which can leave values as the text that PostgreSQL shows."""
    return connection.dialect.name == "postgresql" and connection.dialect.driver == "psycopg"


def _load_text(connection: sa.Connection) -> None:
    """Leave values as PostgreSQL's text: exact, where Python's types have no infinity, no year 10,000 and no BC."""
    from psycopg.adapt import Loader
    from psycopg.types.string import TextLoader

    class SecondsLoader(Loader):
        """Loads an interval without months as its seconds, another one as text."""

        def load(self, data: Any) -> float | str:
            found = _INTERVAL.fullmatch(bytes(data))
            if found is None:
                return bytes(data).decode()
            days, sign, hours, minutes, seconds = found.groups(b"0")
            clock = int(hours) * 3600 + int(minutes) * 60 + Decimal(seconds.decode())
            return float(int(days) * 86_400 + (-clock if sign == b"-" else clock))

    driver = _find_driver(connection)
    for kind in driver.adapters.types:
        if kind.name not in _NATIVE:
            driver.adapters.register_loader(kind.oid, TextLoader)
    driver.adapters.register_loader("interval", SecondsLoader)
    for setting, value in {"DateStyle": "ISO", "IntervalStyle": "postgres"}.items():
        if not str(driver.info.parameter_status(setting)).startswith(value):
            connection.exec_driver_sql(f"SET LOCAL {setting} = '{value}'")


def _parse_address(source: str, root: Path) -> sa.URL:
    """Expand ${NAME} from the environment and place SQLite's file below `root`; raise ProjectError when that fails."""
    import sqlalchemy as sa
    from sqlalchemy import exc

    def expand(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise ProjectError(f"collect.source names ${{{found[1]}}}, but the environment has no variable {found[1]}.")
        return quote(os.environ[found[1]], safe="")

    try:
        url = sa.make_url(re.sub(r"\$\{(\w+)\}", expand, _name_dialect(source)))
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


def find_relation(connection: sa.Connection, options: DatabaseOptions) -> tuple[sa.FromClause, pa.Schema]:
    """Return the table (or the query as one) and the requested columns with their declared types, null without one."""
    import sqlalchemy as sa
    from sqlalchemy import exc

    def find_free(name: str) -> pa.DataType:
        """Return the type of a number without declared digits."""
        if connection.dialect.name == "sqlite":
            return pa.null()
        return _WATERMARK if name == options.watermark else pa.string()

    if options.query is not None:
        schema = _describe_query(connection, options.query, find_free)
        named = [sa.column(name, _to_sql(kind)) for name, kind in zip(schema.names, schema.types, strict=True)]
        relation: sa.FromClause = _build_text(options.query).columns(*named).subquery("rows")
    else:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Did not recognize type", exc.SAWarning)  # such a column is text
                warnings.filterwarnings("ignore", "Could not instantiate type", exc.SAWarning)  # such as tinyint(1)
                relation = sa.Table(
                    str(options.table),
                    sa.MetaData(),
                    schema=options.schema_name,
                    autoload_with=connection,
                    resolve_fks=False,
                )
        except exc.NoSuchTableError as error:
            where = "" if options.schema_name is None else f" in schema {options.schema_name!r}"
            raise ProjectError(
                f"There is no table {options.table!r}{where}; the tables are: {_list_tables(connection, options.schema_name)}."
            ) from error
        schema = pa.schema([(column.name, find_type(column.type, find_free(column.name))) for column in relation.c])
    columns = options.columns or schema.names
    for name in columns:
        find_column(relation, name)
    return relation, pa.schema([schema.field(name) for name in dict.fromkeys(columns)])


def _list_tables(connection: sa.Connection, schema: str | None = None) -> str:
    """Return the names of a database's tables and views, as text."""
    import sqlalchemy as sa

    inspector = sa.inspect(connection)
    return ", ".join(sorted([*inspector.get_table_names(schema), *inspector.get_view_names(schema)])) or "none"


def find_column(relation: sa.FromClause, name: str) -> sa.ColumnElement[Any]:
    """Return a column by its name; raise ProjectError listing the columns."""
    if name not in relation.c:
        raise ProjectError(f"There is no column {name!r}; the columns are: {', '.join(relation.c.keys())}.")
    return relation.c[name]


def _list_orderable(relation: sa.FromClause, schema: pa.Schema) -> list[str]:
    """List the columns that can be sorted by, without JSON, arrays of it, and types that SQLAlchemy does not know."""
    import sqlalchemy as sa

    kinds = {name: relation.c[name].type for name in schema.names}
    unsorted = (sa.JSON, sa.types.NullType)
    return [name for name, kind in kinds.items() if not isinstance(getattr(kind, "item_type", kind), unsorted)]


def select_columns(connection: sa.Connection, relation: sa.FromClause, schema: pa.Schema) -> sa.Select[Any]:
    """Select the columns of a schema, as the driver has their values: SQLAlchemy's types would parse JSON and times.

    PostgreSQL's money is selected as its digits, which its text has only in the database's locale.
    """
    import sqlalchemy as sa

    as_text = _loads_text(connection)

    def select(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        if as_text and column.type.__visit_name__ == "MONEY":
            column = sa.cast(column, sa.Numeric)
        if as_text and is_interval(column.type) and pa.types.is_string(schema.field(str(column.key)).type):
            column = sa.cast(column, sa.Text)
        if as_text or connection.dialect.name == "sqlite" or isinstance(column.type, sa.JSON):
            return sa.type_coerce(column, sa.types.NullType())
        return column

    return sa.select(*(select(relation.c[name]).label(name) for name in schema.names))


def _build_text(query: str) -> sa.TextClause:
    """Return a query as it is written, where a colon does not mark a parameter."""
    import sqlalchemy as sa

    return sa.text(query.strip().rstrip(";").replace(":", r"\:") + "\n")  # the last line of the query may be a comment


def _to_sql(kind: pa.DataType) -> sa.types.TypeEngine[Any]:
    """Return the type in which values of a query's column are compared."""
    import sqlalchemy as sa

    if pa.types.is_timestamp(kind):
        return sa.DateTime(timezone=kind.tz is not None)
    return sa.Date() if pa.types.is_date(kind) else sa.types.NullType()


def _describe_query(connection: sa.Connection, query: str, find_free: Callable[[str], pa.DataType]) -> pa.Schema:
    """Return the types of a query's result, from its description, or from its first rows; null in SQLite."""
    import sqlalchemy as sa

    empty = connection.execute(
        sa.select(sa.text("*")).select_from(_build_text(query).columns().subquery("rows")).limit(0)
    )
    names: list[str] = list(empty.keys())
    cursor: Any = empty.cursor
    plain = [re.sub(r":\d+$", "", name) for name in names]  # SQLite appends a number to a repeated name
    twice = sorted({name for name in plain if name in names and plain.count(name) > 1})
    if twice:
        raise ProjectError(f"option query has more than one column named {', '.join(map(repr, twice))}.")
    if _loads_text(connection):
        types = _find_driver(connection).adapters.types
        kinds = [find_described(column, types, find_free(column.name)) for column in cursor.description]
    elif connection.dialect.name == "sqlite":
        kinds = [pa.null()] * len(names)
    else:
        rows = connection.execute(_build_text(query)).fetchmany(_SAMPLE_ROWS)
        found = [infer_type(column) for column in zip(*rows, strict=True)] or [pa.null()] * len(names)
        kinds = [pa.string() if pa.types.is_null(kind) else kind for kind in found]
    empty.close()
    return pa.schema(list(zip(names, kinds, strict=True)))


def read_rows(
    connection: sa.Connection, statement: sa.Executable, schema: pa.Schema, keys: Sequence[str], rejected: Rejects
) -> Iterator[pa.RecordBatch]:
    """Stream the rows of a statement; add those with a value that does not fit its column's type to `rejected`."""
    done = 0
    places = [schema.names.index(key) for key in keys if key in schema.names]
    for rows, batch, reasons in fetch_batches(connection, statement, schema, _FETCH_ROWS):
        for place, reason in sorted(reasons.items()):
            key = ", ".join(f"{schema.names[column]} = {rows[place][column]!r}" for column in places)
            text = format_row(schema, rows[place]).decode()
            rejected.add(key if len(places) == len(keys) > 0 else f"row {done + place + 1}", text, reason)
        done += len(rows)
        kept = [place for place in range(len(rows)) if place not in reasons]
        yield batch.take(pa.array(kept, pa.int64())) if reasons else batch


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
                expected = describe_type(column.type)
                reasons.setdefault(place, f"{column.name} is {values[place]!r:.80}, expected {expected}")
        yield rows, pa.RecordBatch.from_arrays(arrays, schema=schema), reasons


def _convert_stored(values: Sequence[Any], kind: pa.DataType) -> tuple[pa.Array, list[int]]:
    """Convert a driver's values like typing.convert_values."""
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        with suppress(pa.ArrowException):  # they are text: parse all at once when they have one format
            return pa.array(values, pa.string()).cast(kind), []
    return convert_values(_adapt_values(values, kind), kind)


def _adapt_values(values: Sequence[Any], kind: pa.DataType) -> Sequence[Any]:
    """Adapt a driver's values to a column's type where it stores them differently: text, numbers and lengths of time."""
    found = set(map(type, values)) - {type(None)}
    if pa.types.is_string(kind):
        return values if found <= {str} else [format_value(value) for value in values]
    if pa.types.is_boolean(kind) and int in found:
        return [bool(value) if type(value) is int and value in {0, 1} else value for value in values]
    if pa.types.is_time(kind) and timedelta in found:  # of MySQL
        return [_find_time(value) if type(value) is timedelta else value for value in values]
    if pa.types.is_temporal(kind) and str in found:
        return _parse_times(values, kind)
    if pa.types.is_decimal(kind) and found & {float, str}:
        return [_find_exact(value, kind.scale) for value in values]
    if timedelta in found:
        return [value.total_seconds() if isinstance(value, timedelta) else value for value in values]
    return values


def _find_exact(value: Any, scale: int) -> Any:
    """Return the decimal that a stored float or text is; another value unchanged."""
    if type(value) is float:
        number = Decimal(f"{value:.{scale}f}")  # of NaN and infinity too, which do not fit
        return number if float(number) == value else value
    return Decimal(value) if type(value) is str and _NUMBER.fullmatch(value) else value


def _find_time(value: timedelta) -> time | timedelta:
    """Return a length of time below a day as a time of day."""
    if not timedelta(0) <= value < timedelta(days=1):
        return value
    return time(value.seconds // 3600, value.seconds // 60 % 60, value.seconds % 60, value.microseconds)


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
    text = json.dumps(dict(zip(schema.names, row, strict=True)), default=format_value, ensure_ascii=False)
    return text.encode(errors="backslashreplace")
