"""Land the new rows of a database table, each once."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lifecycle.core.errors import ProjectError
from lifecycle.sources.landing import Commit, Landing, Rejected, conform, find_dates, unify_schemas
from lifecycle.sources.typing import widen_type

if TYPE_CHECKING:
    import sqlalchemy as sa
from lifecycle.sources.sql import (
    DatabaseOptions,
    connect,
    fetch_batches,
    find_column,
    find_relation,
    format_row,
    logger,
    select_columns,
)
from lifecycle.sources.sql_types import settle_types


def land_rows(source: str, root: Path, options: DatabaseOptions, landing: Landing) -> Iterator[Commit]:
    """Land the rows whose watermark is at or above the last landed one (minus `overlap`), in order; yield a commit for each batch.

    The statement's snapshot is the upper bound. Rows that are landed already are recognised by their content, key
    included; a row that occurs twice in the source is landed twice. Rows without a watermark are not landed, and a warning
    reports them. A column keeps the type that it was landed with: a row with a value that does not fit it is quarantined, as
    is one with a watermark that does not fit its column's type. Raises ProjectError and UnavailableError as open_query does, and when watermarks come out of order.
    """
    import sqlalchemy as sa

    with connect(source, root) as connection:
        relation, declared = find_relation(connection, options)
        schema = _find_types(connection, relation, declared, landing, options)
        mark = find_column(relation, str(options.watermark))
        for name in (options.watermark, options.time, *(options.key or [])):
            if name is not None and name not in schema.names:
                raise ProjectError(f"Column {name!r} must be in the result, which has {', '.join(schema.names)}.")
        keys = [find_column(relation, name) for name in options.key or [key.name for key in relation.primary_key]]
        _check_watermark(connection, schema.field(mark.name), options)
        nulls = sa.select(sa.func.count()).select_from(relation).where(mark.is_(None))
        if not landing.commits and (count := connection.scalar(nulls)):  # it may read the whole table, but only once
            logger.warning("%s rows of %s have no %s: they are not landed.", count, landing.source, mark.name)
        seen = _read_landed(landing, schema, mark.name, options.overlap)
        statement = select_columns(connection, relation, schema).where(mark.is_not(None)).order_by(mark, *keys)
        if seen.bound is not None:
            statement = statement.where(_is_at_or_above(connection, mark, seen.bound))
        done = sum(commit.rows + commit.rejected for commit in landing.commits)
        reached, highest = seen.last, None
        for rows, batch, reasons in fetch_batches(connection, statement, schema, options.batch):
            marks, dates = batch.column(mark.name), None
            if options.time is not None:
                dates, wrong = find_dates(batch.column(options.time))
                reasons.update((place, f"{options.time} is not a time") for place in wrong if place not in reasons)
            highest = _check_order(marks, highest, mark.name)
            kept = seen.find_new(batch, reasons)
            rejected = [
                Rejected({"source": landing.source}, value, reasons[place])
                for place, value in ((place, format_row(schema, rows[place])) for place in sorted(reasons))
                if not seen.is_refused(value)
            ]
            if highest is not None and (reached is None or highest > reached):
                reached = highest
            count = len(kept) + len(rejected)
            if count:
                table = pa.Table.from_batches([batch]).take(kept)
                dates = None if dates is None else dates.take(kept)
                position = {"watermark": _format_watermark(reached)}
                name = quote(options.table or "query", safe="")
                yield landing.land(name, done, done + count - 1, table, position, dates=dates, rejected=rejected)
                done += count


def _find_types(
    connection: sa.Connection, relation: sa.FromClause, declared: pa.Schema, landing: Landing, options: DatabaseOptions
) -> pa.Schema:
    """Return the types in which rows are landed: those of the landed rows where there are some."""
    known = pa.schema([]) if landing.schema is None else landing.schema
    sqlite = connection.dialect.name == "sqlite"
    schema = declared
    if options.query is None or sqlite:
        schema = settle_types(connection, relation, schema, {str(options.watermark), *known.names})

    def find_type(column: pa.Field) -> pa.DataType:
        if column.name not in known.names:
            return column.type
        before = known.field(column.name).type
        # SQLite's declared types bind no cell, and text holds what PostgreSQL's had no place for
        landed = sqlite or pa.types.is_string(before) or widen_type(before, column.type) is not None
        return landing.widen(column.name, column.type) if landed else column.type

    return pa.schema([(column.name, find_type(column)) for column in schema])


@dataclass
class _Landed:
    """The landed rows that a watermark alone cannot distinguish from new ones.

    last, bound: the highest landed watermark, and the lowest that is read again (None at the beginning). rows: how often
    each row from `bound` on is landed, by the digest of its columns in `schema`.
    """

    landing: Landing
    mark: str
    last: Any
    bound: Any
    schema: pa.Schema
    rows: Counter[bytes]

    def find_new(self, batch: pa.RecordBatch, reasons: Mapping[int, str]) -> pa.Array:
        """Return the positions of the rows to land."""
        fresh = np.ones(batch.num_rows, bool)
        fresh[list(reasons)] = False
        if self.bound is not None:
            marks = batch.column(self.mark)
            fresh &= _fill_nulls(pc.greater_equal(marks, pa.scalar(self.bound, marks.type)))
            places = np.flatnonzero(fresh & _fill_nulls(pc.less_equal(marks, pa.scalar(self.last, marks.type))))
            for place, digest in zip(places, _digest_rows(batch.take(pa.array(places)), self.schema), strict=True):
                fresh[place] = not _remove_one(self.rows, digest)
        return pa.array(np.flatnonzero(fresh))

    @cached_property
    def refused(self) -> Counter[bytes]:
        """Count how often each row was in quarantine at the beginning."""
        files = [file for commit in self.landing.commits for file in commit.quarantine]
        texts = [(self.landing.folder / file.path).read_text(encoding="utf-8") for file in files]
        return Counter(base64.b64decode(json.loads(line)["value"]) for text in texts for line in text.splitlines())

    def is_refused(self, value: bytes) -> bool:
        """Return whether a row is in quarantine already."""
        return _remove_one(self.refused, value)


def _read_landed(landing: Landing, schema: pa.Schema, mark: str, overlap: float) -> _Landed:
    """Read the landed rows from the last watermark minus `overlap` on."""
    known = pa.schema([]) if landing.schema is None else landing.schema
    common = pa.schema([unify_schemas(known, schema).field(name) for name in known.names if name in schema.names])
    kind = schema.field(mark).type
    last = _parse_watermark(landing.position.get("watermark"), kind)
    bound = last
    if last is not None and overlap:
        bound = last - (timedelta(seconds=overlap) if isinstance(last, date) else type(last)(overlap))
    rows: Counter[bytes] = Counter()
    for commit in reversed(landing.commits if last is not None else []):
        reached = _parse_watermark(commit.position.get("watermark"), kind)
        if reached is None or reached < bound:
            break  # no earlier one can be higher
        for file in commit.files:
            again = pc.field(mark) >= pa.scalar(bound, known.field(mark).type)
            table = pq.read_table(landing.folder / file.path, filters=again, partitioning=None)
            rows.update(_digest_rows(table, common))
    return _Landed(landing, mark, last, bound, common, rows)


def _digest_rows(part: pa.Table | pa.RecordBatch, schema: pa.Schema) -> Iterator[bytes]:
    """Return a digest of each row's values in the columns and types of `schema`."""
    columns = [column.to_pylist() for column in conform(part, schema).columns]
    return (hashlib.blake2b(repr(row).encode(), digest_size=16).digest() for row in zip(*columns, strict=True))


def _remove_one(counter: Counter[bytes], key: bytes) -> bool:
    """Remove one of a key from a counter; return whether there was one."""
    found = counter.get(key, 0)
    if found:
        counter[key] = found - 1
    return found > 0


def _fill_nulls(mask: pa.Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Replace null by false in a mask."""
    values: np.ndarray[Any, np.dtype[np.bool_]] = mask.fill_null(False).to_numpy(zero_copy_only=False)
    return values


def _check_watermark(connection: sa.Connection, column: pa.Field, options: DatabaseOptions) -> None:
    """Raise ProjectError for a watermark whose order is not reliable."""
    kind = column.type
    text = (
        pa.types.is_string(kind) and connection.dialect.name == "sqlite" and not options.overlap
    )  # text is sorted by a collation
    if not (text or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
            or pa.types.is_timestamp(kind) or pa.types.is_date(kind)):  # fmt: skip
        raise ProjectError(f"Option watermark: column {column.name!r} is {kind}: expected a number, a date or a time.")


def _check_order(marks: pa.Array, highest: Any, name: str) -> Any:
    """Return the highest watermark so far; raise ProjectError when one comes after a higher one."""
    marks = marks.drop_null()
    if not len(marks):
        return highest
    if (highest is not None and marks[0].as_py() < highest) or pc.any(pc.less(marks[1:], marks[:-1])).as_py():
        raise ProjectError(
            f"Column {name!r} is out of order, though the database sorted it: are its times text in several formats?"
        )
    return marks[-1].as_py()


def _format_watermark(value: Any) -> str | None:
    """Format a watermark for the commit record."""
    return value.isoformat() if isinstance(value, date) else None if value is None else str(value)


def _parse_watermark(text: str | None, kind: pa.DataType) -> Any:
    """Parse a commit record's watermark to a value of its column's type."""
    if text is None:
        return None
    try:
        return pa.scalar(text).cast(kind).as_py()
    except pa.ArrowInvalid as error:
        raise ProjectError(f"The landed watermark {text!r} is not of type {kind}, which the column has now.") from error


def _is_at_or_above(connection: sa.Connection, mark: sa.ColumnElement[Any], bound: Any) -> sa.ColumnElement[bool]:
    """Return the condition that a row's watermark is at or above `bound`, or near it when the database cannot compare it."""
    import sqlalchemy as sa

    if connection.dialect.name == "sqlite" and isinstance(
        bound, date
    ):  # times are text in any format: compare their days
        return sa.type_coerce(mark, sa.String) >= bound.isoformat()[:10]
    return mark >= sa.literal(bound, mark.type)
