"""Tables on disk: Parquet files that appear whole or not at all, written and read in parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lifecycle.paths import hash_file, replace_file

GROUP = 1 << 17  # rows of a row group: what is in memory at once of a table that is read or written in parts


@dataclass(frozen=True)
class Stream:
    """A table on its way in: batches of one schema, iterated once, and the version of what they come from ("" without)."""

    schema: pa.Schema
    batches: Iterable[pa.RecordBatch]
    version: str = ""

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return iter(self.batches)


class TableWriter:
    """Takes a table in parts of any length; the same rows give the same bytes however they were cut."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self.schema = schema
        self.rows = 0
        self.writer = writer
        self.waiting: list[pa.Table] = []
        self.held = 0

    def write(self, part: pa.Table | pa.RecordBatch | pd.DataFrame) -> None:
        """Add rows, of the writer's schema; a frame's index is left out."""
        if isinstance(part, pd.DataFrame):
            part = pa.Table.from_pandas(part, schema=self.schema, preserve_index=False)
        elif isinstance(part, pa.RecordBatch):
            part = pa.Table.from_batches([part])
        self.waiting.append(part)
        self.held += part.num_rows
        self.rows += part.num_rows
        if self.held >= GROUP:
            joined = pa.concat_tables(self.waiting)
            whole = self.held - self.held % GROUP
            self.writer.write_table(joined.slice(0, whole), row_group_size=GROUP)
            self.waiting, self.held = [joined.slice(whole)], self.held - whole

    def flush(self) -> None:
        """Write what is left: the last row group."""
        if self.held or not self.rows:
            self.writer.write_table(pa.concat_tables(self.waiting or [self.schema.empty_table()]))
        self.waiting, self.held = [], 0


@contextmanager
def open_table(path: Path, schema: pa.Schema) -> Iterator[TableWriter]:
    """A writer of a Parquet file, which stands at `path` when the block ends well and not before."""
    with replace_file(path) as aside, pq.ParquetWriter(aside, schema, compression="zstd") as writer:
        table = TableWriter(writer, schema)
        yield table
        table.flush()


def write_batches(parts: Iterable[pa.RecordBatch | pa.Table], schema: pa.Schema, path: Path) -> str:
    """Write a stream of parts as one Parquet file; returns the file's SHA-256, hexadecimal."""
    with open_table(path, schema) as table:
        for part in parts:
            table.write(part)
    return hash_file(path)


def write_table(table: pa.Table | pd.DataFrame, path: Path) -> str:
    """Write a table (a frame without its index) as Parquet; returns the file's SHA-256, hexadecimal."""
    if isinstance(table, pd.DataFrame):
        table = pa.Table.from_pandas(table, preserve_index=False)
    return write_batches([table], table.schema, path)


def read_batches(path: Path, columns: Sequence[str] | None = None, rows: int = GROUP) -> Iterator[pa.RecordBatch]:
    """Read a Parquet file in parts of at most so many rows, in order, of `columns` (all) in that order."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=rows, columns=None if columns is None else list(columns)):
            yield batch if columns is None else batch.select(list(columns))
