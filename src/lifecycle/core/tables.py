"""Parquet tables, written and read in parts; a table appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lifecycle.core.errors import ProjectError
from lifecycle.core.files import hash_file, replace_file

GROUP = 1 << 17  # rows of a row group, and of a part that is in memory at once
_TEXT = 10_000  # characters of a row that could not be read
_CELLS = 1 << 22  # of a part at most: a table of more than 32 columns is read in parts of fewer rows


def set_columns(frame: pd.DataFrame, columns: Mapping[str, Any]) -> pd.DataFrame:
    """Return a frame with columns replaced or appended; `DataFrame.assign` cannot set one that is named `self`."""
    changed = frame.copy(deep=False)
    for name, values in columns.items():
        changed[name] = values
    return changed


def size_part(columns: int) -> int:
    """Return how many rows of a table with so many columns are in memory at once."""
    return min(GROUP, _CELLS // max(columns, 1) + 1)


@dataclass(frozen=True)
class Reject:
    """A row that could not be read: where it is in the source (as in `a.csv, line 7`), its text, and the reason."""

    where: str
    text: str
    reason: str


class Rejects:
    """The rows of a source that could not be read, in the source's order; they go to the quarantine.

    They are in memory, so a source of which most rows are broken stops: `add` raises ProjectError beyond `MOST` rows.
    """

    MOST = 1_000_000

    def __init__(self) -> None:
        self.rows: list[Reject] = []

    def add(self, where: str, text: str, reason: str) -> None:
        """Add a row, of which at most 10,000 characters are kept."""
        if len(self.rows) >= self.MOST:
            raise ProjectError(f"More than {self.MOST:,} rows cannot be read; the last one is {where}: {reason}.")
        self.rows.append(Reject(where, text[:_TEXT], reason))

    def clear(self) -> None:
        """Forget all rows: the source is read again from its beginning."""
        self.rows.clear()

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Stream:
    """A table that is being read: batches of one schema, and the version of their source ("" without one).

    Batches are iterated once, unless `text` is set: then every column is text as the source has it (or has an exact type),
    the contract decides what it means, and iterating again reads the source again. `rejected` grows while they are read.
    `notes` are sentences of what a reader should know of the source.
    """

    schema: pa.Schema
    batches: Iterable[pa.RecordBatch]
    version: str = ""
    text: bool = False
    rejected: Rejects = field(default_factory=Rejects)
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return iter(self.batches)


class TableWriter:
    """Writes a table in parts of any length; the same rows give the same bytes however they were cut.

    A thread encodes one row group while the next one is collected.
    """

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self.schema = schema
        self.group = size_part(len(schema))
        self.rows = 0
        self.writer = writer
        self.thread = ThreadPoolExecutor(1)
        self.writing: Future[None] | None = None
        self.waiting: list[pa.Table] = []
        self.held = 0

    def write(self, part: pa.Table | pa.RecordBatch | pd.DataFrame) -> None:
        """Add rows of the writer's schema; a frame's index is left out."""
        if isinstance(part, pd.DataFrame):
            part = pa.Table.from_pandas(part, schema=self.schema, preserve_index=False)
        elif isinstance(part, pa.RecordBatch):
            part = pa.Table.from_batches([part])
        self.waiting.append(part)
        self.held += part.num_rows
        self.rows += part.num_rows
        if self.held >= self.group:
            joined = pa.concat_tables(self.waiting)
            whole = self.held - self.held % self.group
            self.encode(joined.slice(0, whole))
            self.waiting, self.held = [joined.slice(whole)], self.held - whole

    def encode(self, table: pa.Table) -> None:
        """Write row groups after those before them; raise the error of those, if any."""
        if self.writing:
            self.writing.result()
        whole = table.combine_chunks()  # otherwise pages would end where parts end
        self.writing = self.thread.submit(self.writer.write_table, whole, row_group_size=self.group)

    def flush(self) -> None:
        """Write the last row group."""
        if self.held or not self.rows:
            self.encode(pa.concat_tables(self.waiting or [self.schema.empty_table()]))
        self.waiting, self.held = [], 0
        if self.writing:
            self.writing.result()


@contextmanager
def open_table(path: Path, schema: pa.Schema) -> Iterator[TableWriter]:
    """Yield a writer of a Parquet file that appears at `path` when the block succeeds."""
    with replace_file(path) as aside, pq.ParquetWriter(aside, schema, compression="zstd") as writer:
        table = TableWriter(writer, schema)
        with table.thread:
            yield table
            table.flush()


def write_batches(parts: Iterable[pa.RecordBatch | pa.Table], schema: pa.Schema, path: Path) -> str:
    """Write a stream of parts as one Parquet file; return the file's SHA-256, hexadecimal."""
    with open_table(path, schema) as table:
        for part in parts:
            table.write(part)
    return hash_file(path)


def write_table(table: pa.Table | pd.DataFrame, path: Path) -> str:
    """Write a table (a frame without its index) as Parquet; return the file's SHA-256, hexadecimal."""
    if isinstance(table, pd.DataFrame):
        table = pa.Table.from_pandas(table, preserve_index=False)
    return write_batches([table], table.schema, path)


def open_parts(path: Path, dictionaries: Sequence[str] = ()) -> pq.ParquetFile:
    """Open a Parquet file to read it in parts, the columns `dictionaries` as dictionaries."""
    # Arrow keeps pre-buffered data until the file is closed, so memory would grow with the file
    return pq.ParquetFile(path, read_dictionary=list(dictionaries), pre_buffer=False)


def read_batches(path: Path, columns: Sequence[str] | None = None, rows: int = GROUP) -> Iterator[pa.RecordBatch]:
    """Read `columns` (all) of a Parquet file, in that order, in parts of at most `rows` rows."""
    with open_parts(path) as file:
        for batch in file.iter_batches(batch_size=rows, columns=None if columns is None else list(columns)):
            yield batch if columns is None else batch.select(list(columns))


def count_rows(path: Path) -> int:
    """Return the number of rows of a Parquet file, from its footer."""
    return int(pq.read_metadata(path).num_rows)
