"""Collect: the raw table as it came, streamed to Parquet, with a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lifecycle.core.contract import Contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.paths import LANDED, PARAMS
from lifecycle.core.progress import show_progress
from lifecycle.core.tables import read_batches, write_batches
from lifecycle.sources.addresses import find_local, hide_secrets
from lifecycle.sources.dispatch import is_growing, open_source

DISTINCT = 10_000  # distinct values of a column that are counted; beyond, they are "more than"


def check_watch(source: str, options: Mapping[str, Any], watch: str) -> None:
    """Refuse a local or a growing source that DVC does not watch (ProjectError): its changes would go unnoticed."""
    wanted = LANDED if is_growing(source, options) else find_local(source)
    if wanted is not None and PurePosixPath(wanted) != PurePosixPath(watch):
        kind = "of landed rows" if wanted == LANDED else "on this machine"
        raise ProjectError(
            f"{PARAMS}: collect.watch is {watch!r}, but collect.source is {hide_secrets(source)!r}, {kind}: "
            f"set collect.watch to {wanted!r}, so that a change there makes the stage stale."
        )


def check_columns(schema: pa.Schema, contract: Contract, source: str) -> None:
    """Refuse a table without the contract's target (ProjectError)."""
    if contract.target not in schema.names:
        raise ProjectError(f"{source} has no column {contract.target!r}, the contract's target; it has {schema.names}.")


def collect_table(
    source: str, root: Path, options: Mapping[str, Any], contract: Contract, path: Path
) -> dict[str, Any]:
    """Stream a source to a Parquet file; returns the manifest: source, version, content hash, rows, columns and dtypes.

    Memory is that of a few batches. Raises ProjectError when the source cannot be read, or lacks the target.
    """
    name = hide_secrets(source)
    with open_source(source, root, options) as stream:
        check_columns(stream.schema, contract, name)
        sha256 = write_batches(show_progress(stream, f"collect: {name}"), stream.schema, path)
        return {
            "source": name,
            "version": stream.version,
            "sha256": sha256,
            "rows": pq.read_metadata(path).num_rows,
            "columns": {field.name: str(field.type) for field in stream.schema},
        }


def read_head(path: Path, rows: int = 5) -> pd.DataFrame:
    """The first rows of a Parquet file."""
    head: pd.DataFrame = next(read_batches(path, rows=rows)).to_pandas()
    return head


def describe_columns(path: Path) -> pd.DataFrame:
    """Each column's type, missing values and distinct values, of a Parquet file: one row a column; one column in memory."""
    rows = []
    for field in pq.read_schema(path):
        missing, distinct = count_values(path, field.name)
        rows.append({"column": field.name, "dtype": str(field.type), "missing": missing, "distinct": distinct})
    return pd.DataFrame(rows).set_index("column")


def count_values(path: Path, name: str) -> tuple[int, int | str]:
    """A column's missing and distinct values; the latter a word where they are many, or of a type that does not compare."""
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
