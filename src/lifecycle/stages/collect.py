"""Collect: the raw table as it came, as Parquet, with a manifest."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lifecycle.contract import Contract
from lifecycle.data.sources import is_local, read_source
from lifecycle.data.tables import write_table
from lifecycle.paths import PARAMS, ProjectError

__all__ = ["check_columns", "check_watch", "describe_columns", "describe_table", "read_source", "write_table"]


def check_watch(source: str, watch: str) -> None:
    """Refuse a local source that DVC does not watch (ProjectError): its changes would go unnoticed."""
    if is_local(source) and source != watch:
        raise ProjectError(
            f"{PARAMS}: collect.watch is {watch!r}, but collect.source is the file {source!r}: "
            "set collect.watch to the same, so that a changed file makes the stage stale."
        )


def check_columns(table: pa.Table, contract: Contract, source: str) -> None:
    """Refuse a table without the contract's target (ProjectError)."""
    if contract.target not in table.column_names:
        raise ProjectError(
            f"{source} has no column {contract.target!r}, the contract's target; it has {table.column_names}."
        )


def describe_columns(table: pa.Table) -> pd.DataFrame:
    """Each column's type, missing values and distinct values: one row a column."""
    rows = [
        {
            "column": name,
            "dtype": str(column.type),
            "missing": column.null_count,
            "distinct": pc.count_distinct(column).as_py(),
        }
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    return pd.DataFrame(rows).set_index("column")


def describe_table(table: pa.Table, *, source: str, version: str, sha256: str) -> dict[str, Any]:
    """The manifest: source, content hash, rows, columns and dtypes."""
    return {
        "source": source,
        "version": version,
        "sha256": sha256,
        "rows": table.num_rows,
        "columns": {field.name: str(field.type) for field in table.schema},
    }
