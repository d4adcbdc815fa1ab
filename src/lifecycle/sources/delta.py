"""Delta tables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.dataset as ds
from pydantic import Field

from lifecycle.core.errors import ProjectError
from lifecycle.core.tables import Stream
from lifecycle.sources.addresses import DELTA_SCHEME
from lifecycle.sources.parquet import read_fragments, show_types
from lifecycle.sources.selection import TableOptions, select, translate_errors


class DeltaOptions(TableOptions):
    """The options of a Delta table; `version` is the one to read, the newest by default."""

    version: Annotated[int, Field(ge=0)] | None = None  # the one to read; the newest by default


def open_delta(source: str, root: Path, options: DeltaOptions) -> Stream:
    """Open a Delta table in a folder (relative to `root`) or an object store; the stream's version is the table's."""
    try:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError
    except ImportError as error:
        raise ProjectError(f"{source} needs the package deltalake, which is not installed.") from error
    place = source.removeprefix(DELTA_SCHEME)
    plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    address = place if "://" in place else str(root / place)
    try:
        table = DeltaTable(
            address, version=options.version, storage_options={"AWS_ALLOW_HTTP": "true"} if plain else None
        )
        dataset = table.to_pyarrow_dataset()
    except (DeltaError, OSError, ValueError) as error:
        raise ProjectError(f"{source} could not be read as a Delta table: {' '.join(str(error).split())}") from error

    def read(chosen: pa.Schema, expression: ds.Expression | None) -> Iterator[pa.RecordBatch]:
        with translate_errors(source, "could not be read as a Delta table"):
            fragments = dataset.get_fragments(filter=expression)
            yield from read_fragments(fragments, dataset.schema, chosen, expression)

    stream = select(show_types(dataset.schema), options, source, read)
    return Stream(stream.schema, stream.batches, f"Delta version {table.version()}")
