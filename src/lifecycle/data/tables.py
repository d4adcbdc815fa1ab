"""Tables on disk: Parquet files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lifecycle.paths import hash_file, replace_file


def write_table(table: pa.Table | pd.DataFrame, path: Path) -> str:
    """Write a table (a frame without its index) as Parquet; returns the file's SHA-256, hexadecimal."""
    if isinstance(table, pd.DataFrame):
        table = pa.Table.from_pandas(table, preserve_index=False)
    with replace_file(path) as aside:
        pq.write_table(table, aside, compression="zstd")
        return hash_file(aside)
