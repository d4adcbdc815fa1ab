"""The stage `collect`: stream the raw table to Parquet, unchanged, and write a manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lifecycle.core.contract import Contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.paths import LANDED, OPTIONS, PARAMS, REJECTED_TABLE
from lifecycle.core.progress import show_progress
from lifecycle.core.tables import Rejects, Stream, count_rows, read_batches, write_batches, write_table
from lifecycle.sources.addresses import find_local, hide_secrets
from lifecycle.sources.casting import Caster
from lifecycle.sources.detect import detect_options, show_options
from lifecycle.sources.dialect import Dialect
from lifecycle.sources.dispatch import is_growing, open_source
from lifecycle.sources.manifest import RawManifest

REJECTED = ["where", "text", "reason"]  # the columns of the table of rows that could not be read
_TEXT = 100  # characters of such a row that are shown
DISTINCT = 10_000  # distinct values of a column that are counted; beyond, the report says "more than"

_Suggest = Callable[[], str]  # the end of an error's sentence: the options that would be detected


def check_watch(source: str, options: Mapping[str, Any], watch: str) -> None:
    """Raise ProjectError for a local or growing source that DVC does not watch, as its changes would go unnoticed."""
    wanted = LANDED if is_growing(source, options) else find_local(source)
    if wanted is not None and PurePosixPath(wanted) != PurePosixPath(watch):
        kind = "of landed rows" if wanted == LANDED else "on this machine"
        raise ProjectError(
            f"{PARAMS}: collect.watch is {watch!r}, but collect.source is {hide_secrets(source)!r}, {kind}: "
            f"set collect.watch to {wanted!r}, so that DVC runs the stage again when it changes."
        )


def check_columns(schema: pa.Schema, contract: Contract, source: str) -> None:
    """Raise ProjectError for a table without the contract's target."""
    if contract.target not in schema.names:
        raise ProjectError(f"{source} has no column {contract.target!r}, the contract's target; it has {schema.names}.")


def collect_table(
    source: str, root: Path, options: Mapping[str, Any], contract: Contract, path: Path, rejected: Path
) -> RawManifest:
    """Stream a source to a Parquet file; return the manifest: source, version, content hash, rows, columns and dtypes.

    Text is cast as the contract says (see `sources.casting`). The rows that cannot be read go to the Parquet file `rejected`:
    where they are, their text, and the reason. A few batches are in memory at a time. Raises ProjectError when the source
    cannot be read, lacks the target, or when most of its rows cannot be read.
    """
    name, suggest = hide_secrets(source), partial(_suggest_options, source, root, options)
    with open_source(source, root, options) as stream:
        check_columns(stream.schema, contract, name)
        write = _write_cast if stream.text else _write_as_is
        sha256 = write(stream, contract, path, name, suggest)
        write_rejected(stream.rejected, rejected)
        return RawManifest(
            source=name,
            version=stream.version,
            sha256=sha256,
            rows=pq.read_metadata(path).num_rows,
            columns={field.name: str(field.type) for field in pq.read_schema(path)},
        )


def _write_as_is(stream: Stream, contract: Contract, path: Path, name: str, suggest: _Suggest) -> str:
    """Write a table with the types that its source gives it; return the file's SHA-256."""
    return write_batches(_read_whole(stream, name, suggest), stream.schema, path)


class _UnfitError(Exception):
    """Raised at the end of a table when a column has a cell that could not be cast, so that the file is not published."""


def _write_cast(stream: Stream, contract: Contract, path: Path, name: str, suggest: _Suggest) -> str:
    """Write a table of text in the contract's types; return the file's SHA-256.

    Where a cell cannot be cast, the table is read a second time, and the cell's column stays text.
    """

    def cast_all(caster: Caster, label: str) -> Iterator[pa.RecordBatch]:
        yield from map(caster.cast, _read_whole(stream, label, suggest))
        if caster.unfit:
            raise _UnfitError

    caster = Caster(stream.schema, contract.columns)
    try:
        return write_batches(cast_all(caster, name), caster.schema, path)
    except _UnfitError:
        again = Caster(stream.schema, contract.columns, kept=caster.unfit)
        return write_batches(cast_all(again, f"{name}, again for {', '.join(caster.unfit)}"), again.schema, path)


def _read_whole(stream: Stream, source: str, suggest: _Suggest) -> Iterator[pa.RecordBatch]:
    """Yield all batches of a stream, with progress.

    Raises ProjectError at their end, before the table appears, when most rows cannot be read.
    """
    rows = 0
    rejected = stream.rejected
    for batch in show_progress(stream, f"collect: {source}"):
        rows += batch.num_rows
        yield batch
    if len(rejected) > rows:
        first = rejected.rows[0]
        raise ProjectError(
            f"{len(rejected):,} of {rows + len(rejected):,} rows of {source} cannot be read, the first at {first.where} "
            f"({first.reason}){suggest()}."
        )


def _suggest_options(source: str, root: Path, options: Mapping[str, Any]) -> str:
    """Return the options that the beginning of the files suggests in place of the given ones, or the names of such options.

    They end a sentence; the end is empty for files other than delimited text, which have no such options.
    """
    wanted = "delimiter, quote, encoding or skip"
    with suppress(ProjectError):
        others = {name: value for name, value in options.items() if name not in Dialect.model_fields}
        detected = detect_options(source, root, others)
        if not detected.delimited:
            return ""
        found = detected.options
        if found and found != {name: value for name, value in options.items() if name in Dialect.model_fields}:
            wanted = show_options(found)
    return f": the file is probably not written as {OPTIONS} say; set {wanted} there"


def write_rejected(rejected: Rejects, path: Path) -> None:
    """Write the rows that could not be read to a Parquet file; it is empty without any."""
    rows = [(row.where, row.text, row.reason) for row in rejected.rows]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    write_table(pa.table([pa.array(column, pa.string()) for column in columns], REJECTED), path)


def show_rejected(path: Path, rows: int = 5) -> pd.DataFrame:
    """Return the first rows that could not be read, their text cut to a line."""
    head = next(read_batches(path, rows=rows)).to_pandas() if count_rows(path) else pd.DataFrame(columns=REJECTED)
    return head.assign(text=head["text"].str.slice(0, _TEXT))


def describe_rejected(path: Path) -> str:
    """Describe how many rows could not be read, in a sentence of Markdown."""
    count = count_rows(path)
    if not count:
        return "Every row could be read."
    rows = f"{count:,} row{'' if count == 1 else 's'}"
    return f"**{rows} could not be read** and {'is' if count == 1 else 'are'} in `{REJECTED_TABLE}`; the next stage counts them as quarantined."


def read_head(path: Path, rows: int = 5) -> pd.DataFrame:
    """Read the first rows of a Parquet file."""
    head: pd.DataFrame = next(read_batches(path, rows=rows)).to_pandas()
    return head


def describe_columns(path: Path) -> pd.DataFrame:
    """Describe the columns of a Parquet file: type, missing and distinct values, one row each; one column is in memory."""
    rows = []
    for field in pq.read_schema(path):
        missing, distinct = count_values(path, field.name)
        rows.append({"column": field.name, "dtype": str(field.type), "missing": missing, "distinct": distinct})
    return pd.DataFrame(rows).set_index("column")


def count_values(path: Path, name: str) -> tuple[int, int | str]:
    """Count a column's missing and distinct values; the latter as text when there are many, or values cannot be compared."""
    missing = 0
    seen: pa.Array | None = None
    distinct: int | str = 0
    for batch in read_batches(path, [name]):
        values = batch.column(0)
        missing += values.null_count
        if isinstance(distinct, str):
            continue
        if pa.types.is_nested(values.type):
            distinct = "not counted"
            continue
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        found = values.drop_null().unique()
        seen = found if seen is None else pa.concat_arrays([seen, found]).unique()
        distinct = len(seen) if len(seen) <= DISTINCT else f"more than {DISTINCT:,}"
    return missing, distinct
