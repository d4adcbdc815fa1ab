"""Files as one table: kinds, compressions, globs, folders, types that go together, columns and filters."""

import bz2
import csv
import datetime as dt
import gzip
import io
import logging
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import ProjectError
from lifecycle.core.tables import write_batches
from lifecycle.sources import blocks, delimited, json_records
from lifecycle.sources.dispatch import open_source, read_source

TEXT = b"a,b\n1,x\n2,\n"
LINES = b'{"a": 1, "b": "x"}\n{"a": 2}\n'
ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
TEXT_ROWS = [{"a": "1", "b": "x"}, {"a": "2", "b": None}]


def read(source: str, root: Path, **options: Any) -> pa.Table:
    return read_source(source, root, options)[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv.gz", gzip.compress(TEXT[:8], mtime=0) + gzip.compress(TEXT[8:], mtime=0)),
        ("t.csv.bz2", bz2.compress(TEXT)),
        ("t.csv.zst", pa.compress(TEXT, "zstd", asbytes=True)),
        ("t.csv.lz4", pa.compress(TEXT, "lz4", asbytes=True)),
        ("t.TSV", TEXT.replace(b",", b"\t")),
        ("t.jsonl.gz", gzip.compress(LINES, mtime=0)),
        ("t.ndjson.zst", pa.compress(LINES, "zstd", asbytes=True)),
        ("t.jsonl.bz2", bz2.compress(LINES)),
    ],
)
def test_compressed_text_reads_as_it_is(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert read(name, tmp_path).to_pylist() == (ROWS if "json" in name.replace("ndjson", "json") else TEXT_ROWS)
    (tmp_path / "table.data").write_bytes(content)  # the ending says nothing
    if not name.endswith("TSV"):
        assert read("table.data", tmp_path).to_pylist() == read(name, tmp_path).to_pylist()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut.csv.gz", gzip.compress(TEXT * 99, mtime=0)[:-12], r"cut\.csv\.gz is not readable: Truncated"),
        ("t.parquet.gz", gzip.compress(TEXT, mtime=0), r"t\.parquet\.gz ends in '\.parquet\.gz': expected"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ProjectError, match=message) as raised:
        read(name, tmp_path)
    assert "\n" not in str(raised.value)


CELLS = st.sampled_from(
    ["", "0", "007", "-3", "1.50", "1e3", "x", "NA", 'a"b', "p,q", "two\nlines", "2026-01-01", " nan "]
)


@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=60), quoting=st.sampled_from([0, 1]))
def test_every_cell_of_a_csv_is_its_text(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], quoting: Any
) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=quoting).writerows([("a", "b"), *rows])
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_text(text.getvalue())
    kept = [row for row in rows if quoting or row != ("", "")] if quoting else rows
    found = [(row["a"] or "", row["b"] or "") for row in read("t.csv", path.parent).to_pylist()]
    assert found == kept


def test_words_that_mean_missing_are_named_and_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b\nNA,"NA"\n?,x\n,""\n')
    assert read("t.csv", tmp_path)["a"].to_pylist() == ["NA", "?", None]
    table = read("t.csv", tmp_path, null_values=["NA", "?"])
    assert table.to_pydict() == {"a": [None, None, None], "b": ["NA", "x", ""]}


def test_how_text_is_written(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("name;n\nMüller;1\n".encode("latin-1"))
    assert read("t.csv", tmp_path, delimiter=";", encoding="latin-1").to_pylist() == [{"name": "Müller", "n": "1"}]
    (tmp_path / "u.csv").write_bytes("name\nMüller\n".encode("utf-16"))
    assert read("u.csv", tmp_path, encoding="utf-16").to_pylist() == [{"name": "Müller"}]
    (tmp_path / "v.txt").write_text("made by x\n\n'a b'\t1\n'c\\'d'\t2\n")
    table = read("v.txt", tmp_path, delimiter="\t", quote="'", escape="\\", skip=2, header=False)
    assert table.to_pydict() == {"column_1": ["a b", "c'd"], "column_2": ["1", "2"]}
    (tmp_path / "w.psv").write_text("a|b\n1|2\n")
    assert read("w.psv", tmp_path).to_pylist() == [{"a": "1", "b": "2"}]
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbfa,b\n1,2\n")
    assert read("x.csv", tmp_path).column_names == ["a", "b"]


def test_one_column_alone_is_read_when_the_delimiter_is_given(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("note;more\na;b\nc;d\n")
    with pytest.raises(ProjectError, match=r"t\.csv has one column 'note;more' as it is read: set .*delimiter: ';'"):
        read("t.csv", tmp_path)
    assert read("t.csv", tmp_path, delimiter=",").to_pydict() == {"note;more": ["a;b", "c;d"]}


def test_a_text_is_read_anew_at_each_iteration_and_so_are_its_broken_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3\n4,5,6\n7,8\n")
    with open_source("t.csv", tmp_path) as stream:
        for _ in range(2):
            assert [row for batch in stream for row in batch.to_pylist()] == [
                {"a": "1", "b": "2"}, {"a": "7", "b": "8"}
            ]  # fmt: skip
            assert [reject.where for reject in stream.rejected.rows] == ["t.csv, line 3", "t.csv, line 4"]
            assert [reject.text for reject in stream.rejected.rows] == ["3", "4,5,6"]
        assert stream.text and set(stream.schema.types) == {pa.string()}


def test_files_of_a_folder_may_differ_in_their_columns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("n,old,y\n1,a,0\n")
    (tmp_path / "in/b.csv").write_text("y,n,new\n1,n2,b\n")
    with caplog.at_level(logging.WARNING, "lifecycle.sources"):
        table = read("in", tmp_path)
    assert table.to_pylist() == [
        {"n": "1", "old": "a", "y": "0", "new": None},
        {"n": "n2", "old": None, "y": "1", "new": "b"},
    ]
    assert "in/b.csv has no column 'old', which is missing in its rows." in caplog.text
    assert "in/a.csv has no column 'new', which is missing in its rows." in caplog.text


@pytest.mark.parametrize(
    ("clause", "rows"),
    [
        (["n", ">", 9], [1, 2, 5]),
        (["n", "==", 10], [1, 5]),
        (["n", "in", [7, 10.0]], [0, 1, 5]),
        (["n", ">", "9"], [4]),
        (["n", "==", "x"], [4]),
        (["n", "!=", 7], [1, 2, 5]),
        (["id", "==", 89111702272002019001], [1]),
        (["at", ">=", dt.date(2026, 1, 2)], [1, 2]),
        (["at", "<", dt.datetime.fromisoformat("2026-01-02 12:00")], [0, 1]),
        (["ok", "==", True], [0, 2]),
        (["ok", "not in", [True]], [1, 3, 4, 5]),
    ],
)  # fmt: skip
def test_a_filter_compares_text_as_its_value(tmp_path: Path, clause: list[Any], rows: list[int]) -> None:
    (tmp_path / "t.csv").write_text(
        "row,n,id,at,ok\n"
        "0,7,89111702272002019000,2026-01-01,true\n"
        "1, 10,89111702272002019001,2026-01-02T11:00:00,False\n"
        "2,1e2,1,2026-01-02 12:00:00,TRUE\n"
        "3,,2,0000-00-00,\n"
        "4,x,3,soon,yes\n"
        "5,10.0,4,,no\n"
    )
    found = read("t.csv", tmp_path, filter=[clause], columns=["row"])["row"].to_pylist()
    assert found == [str(row) for row in rows]


def save_days(root: Path, suffix: str) -> None:
    """A folder by day and shop: the second day lacks a column, has another and whole numbers for fractions."""
    days = {
        "date=2026-01-01/shop=1": pd.DataFrame({"n": [1.5, 2.5], "old": ["a", "b"]}),
        "date=2026-01-02/shop=1": pd.DataFrame({"n": [3, 4], "new": [True, False]}),
        "date=2026-01-02/shop=2": pd.DataFrame({"n": [5], "new": [True]}),
    }
    for number, (folder, frame) in enumerate(days.items()):
        path = root / "in" / folder / f"part-{number}{suffix}"
        path.parent.mkdir(parents=True)
        if suffix == ".parquet":
            frame.to_parquet(path, index=False)
        elif suffix == ".csv.gz":
            frame.to_csv(path, index=False)
        else:
            frame.to_json(path, orient="records", lines=True)
    for hidden in ("in/_SUCCESS", "in/.part.crc", "in/_old/part.csv"):
        (root / hidden).parent.mkdir(exist_ok=True)
        (root / hidden).write_text("not a table")


@pytest.mark.parametrize("suffix", [".csv.gz", ".parquet", ".jsonl"])
def test_a_partitioned_folder_is_one_table(tmp_path: Path, suffix: str) -> None:
    save_days(tmp_path, suffix)
    table = read("in", tmp_path)
    assert table.column_names == ["n", "old", "new", "date", "shop"]
    text = suffix == ".csv.gz"
    assert table["n"].to_pylist() == (["1.5", "2.5", "3", "4", "5"] if text else [1.5, 2.5, 3.0, 4.0, 5.0])
    assert table["old"].to_pylist() == ["a", "b", None, None, None]
    assert table["new"].to_pylist() == [None, None, *(["True", "False", "True"] if text else [True, False, True])]
    assert table["date"].to_pylist() == ["2026-01-01"] * 2 + ["2026-01-02"] * 3
    assert table["shop"].to_pylist() == [1, 1, 1, 1, 2]
    assert read("in/", tmp_path) == read(f"in/*/*/part-*{suffix}", tmp_path) == table
    assert read(f"in/date=2026-01-02/*/*{suffix}", tmp_path).column_names == ["n", "new", "shop"]


@pytest.mark.parametrize("suffix", [".csv.gz", ".parquet", ".jsonl"])
@pytest.mark.parametrize(
    ("clauses", "numbers"),
    [
        ([["date", "==", "2026-01-02"]], [3, 4, 5]),
        ([["date", "==", "2026-01-02"], ["n", ">", 3]], [4, 5]),
        ([["new", "=", True]], [3, 5]),
        ([["shop", "in", [2, 3]]], [5]),
        ([["old", "not in", ["a"]], ["n", "<", 5]], [2.5, 3, 4]),
    ],
)
def test_filters_choose_rows_by_keys_and_columns(
    tmp_path: Path, suffix: str, clauses: list[Any], numbers: list[float]
) -> None:
    save_days(tmp_path, suffix)
    table = read("in", tmp_path, filter=clauses, columns=["shop", "n"])
    assert table.column_names == ["shop", "n"]
    assert [float(number) for number in table["n"].to_pylist()] == numbers


def test_a_filter_opens_only_the_files_of_its_keys(tmp_path: Path) -> None:
    save_days(tmp_path, ".parquet")
    (tmp_path / "in/date=2026-01-01/shop=1/part-0.parquet").write_bytes(b"broken")
    assert read("in", tmp_path, filter=[["date", ">", "2026-01-01"]]).num_rows == 3
    with pytest.raises(ProjectError, match=r"in/date=2026-01-01/shop=1/part-0\.parquet is not readable as parquet"):
        read("in", tmp_path)


def test_a_date_filter_compares_as_its_column(tmp_path: Path) -> None:
    frame = pd.DataFrame({"at": pd.date_range("2026-01-01", periods=4, tz="UTC"), "n": range(4)})
    frame.to_parquet(tmp_path / "t.parquet", index=False, row_group_size=2)
    assert read("t.parquet", tmp_path, filter=[["at", ">=", "2026-01-03T00:00:00Z"]])["n"].to_pylist() == [2, 3]


def test_categories_of_several_files(tmp_path: Path) -> None:
    for number, words in enumerate((["a", "b"], ["c", "a"])):
        frame = pd.DataFrame({"c": pd.Categorical(words)})
        frame.to_parquet(tmp_path / f"{number}.parquet", index=False)
    with open_source("*.parquet", tmp_path) as stream:
        write_batches(stream, stream.schema, tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet")["c"].to_pylist() == ["a", "b", "c", "a"]


@pytest.mark.parametrize(
    ("contents", "source", "options", "message"),
    [
        ({"in/a.csv": "n\n1\n", "in/b.jsonl": '{"n": 1}'}, "in", {}, r"in holds files of more than one kind: \.csv, \.jsonl"),
        ({"in/a.csv": "n\n1\n", "in/README": "x"}, "in", {}, r"in holds files of more than one kind: \.csv, \.txt"),
        ({"in/_a.csv": "n\n1\n"}, "in", {}, "in does not exist"),
        ({}, "no/*.csv", {}, r"no/\*\.csv does not exist"),
        ({"a.csv": "n\n1\n"}, "a.csv", {"cell": 1}, r"collect\.options has cell, which a\.csv does not take: it takes columns, filter"),
        ({"a.csv": "n\n1\n"}, "a.csv", {"sheet": 1}, r"a\.csv is read as \.csv, which does not take the option sheet"),
        ({"a.csv": "n\n1\n"}, "a.csv", {"range": "B3:"}, r"collect\.options\.range of a\.csv: 'B3:' is not a range of cells"),
        ({"a.csv": "n\n1\n"}, "a.csv", {"columns": ["m"]}, r"a\.csv has no column 'm'.*\['n'\]"),
        ({"a.csv": "n\n1\n"}, "a.csv", {"columns": ["n", "n"]}, r"more than one column named 'n'"),
        ({"a.csv": "n\n1\n"}, "a.csv", {"columns": []}, r"collect\.options\.columns of a\.csv"),
        ({"a.csv": "n\n1\n"}, "a.csv", {"filter": [["m", "==", 1]]}, r"a\.csv has no column 'm' for the filter"),
        ({"a.csv": "n\n1\n"}, "a.csv", {"filter": [["n", "~", 1]]}, r"collect\.options\.filter\.0\.1 of a\.csv"),
        ({"k=1/a.csv": "n\n1\n"}, "", {"filter": [["k", "==", "x"]]}, r"does not fit its column of type int64"),
        ({"a.csv": "n\n1\n"}, "a.csv", {"filter": [["n", "in", 1]]}, r"needs a list"),
        ({"a.csv": "n\n1\n"}, "a.csv", {"filter": [["n", "==", None]]}, r"compares with null"),
        ({"a.csv": "n\n1\n"}, "a.csv", {"filter": [["n", ">", 1]]}, r"a\.csv has no rows that match the filter"),
        ({"k=1/a.csv": "n\n1\n"}, "k=*", {"filter": [["k", ">", 1]]}, r"does not exist"),
        ({"in/k=1/a.csv": "n\n1\n"}, "in", {"filter": [["k", ">", 1]]}, r"in has no rows that match the filter"),
        ({"a.csv": "n\n1\n"}, "a.csv", {"encoding": "klingon"}, r"collect\.options\.encoding.*'klingon' is not the name"),
        ({"a.jsonl": '{"n": 1}'}, "a.jsonl", {"delimiter": ";"}, r"a\.jsonl is read as \.jsonl, which does not take the option delimiter"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_one_sentence(
    tmp_path: Path, contents: dict[str, str], source: str, options: dict[str, Any], message: str
) -> None:
    for name, text in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(ProjectError, match=message) as raised:
        read(source, tmp_path, **options)
    assert "\n" not in str(raised.value)


def test_the_same_rows_are_the_same_bytes_however_they_were_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pd.DataFrame({"a": range(5000), "b": [f"é{n}" for n in range(5000)]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    frame.to_json(tmp_path / "t.json", orient="records")
    for name in ("t.csv", "t.jsonl", "t.json"):
        hashes = set()
        for block in (500, 7000, 1 << 22):
            monkeypatch.setattr(blocks, "BLOCK_BYTES", block)
            monkeypatch.setattr(json_records, "BLOCK_BYTES", block)
            monkeypatch.setattr(delimited, "_BLOCK_BYTES", block)
            with open_source(name, tmp_path) as stream:
                hashes.add(write_batches(stream, stream.schema, tmp_path / "t.parquet"))
        assert len(hashes) == 1


@pytest.mark.parametrize("inner", ["a.csv", "a.csv.gz", "deep/a.jsonl", "a.parquet", "a.xlsx"])
def test_an_archive_of_one_table_is_that_table(tmp_path: Path, inner: str) -> None:
    frame = pd.DataFrame({"n": [1, 2], "t": ["x", "y"]})
    if inner.endswith("xlsx"):
        frame.to_excel(tmp_path / "inner", index=False, engine="openpyxl")
    elif inner.endswith("parquet"):
        frame.to_parquet(tmp_path / "inner", index=False)
    elif inner.endswith("jsonl"):
        frame.to_json(tmp_path / "inner", orient="records", lines=True)
    else:
        frame.to_csv(tmp_path / "inner", index=False, compression="gzip" if inner.endswith("gz") else None)
    (tmp_path / "in").mkdir()
    for name in ("t.zip", "table", "in/t.zip"):
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(tmp_path / "inner", inner)
            archive.writestr("__MACOSX/._a.csv", "noise")
            archive.writestr("empty/", "")
    for name in ("t.zip", "table", "in"):
        assert read(name, tmp_path)["t"].to_pylist() == ["x", "y"]
        assert [int(n) for n in read(name, tmp_path)["n"].to_pylist()] == [1, 2]


def test_an_archive_of_several_tables_is_one_table(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("day=2/b.csv", "n\n3\n4,5\n")
        archive.writestr("day=1/a.csv", "n\n1\n2\n")
    with open_source("t.zip", tmp_path) as stream:
        rows = [row for batch in stream for row in batch.to_pylist()]
        assert rows == [{"n": "1", "day": 1}, {"n": "2", "day": 1}, {"n": "3", "day": 2}]
        assert [reject.where for reject in stream.rejected.rows] == ["t.zip/day=2/b.csv, line 3"]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"../a.csv": "n\n1\n"}, r"t\.zip holds '\.\./a\.csv', a path that leads out of the archive"),
        ({"a.csv": "n\n1\n", "b.jsonl": "{}"}, r"t\.zip holds files of more than one kind: \.csv, \.jsonl"),
        ({"a.zip": "PK"}, r"t\.zip/a\.zip is an archive within an archive"),
        ({".hidden": "x"}, r"t\.zip is an archive without a table"),
        ({"a.bin": "\x07\x08" * 9}, r"t\.zip/a\.bin is not text"),
    ],
)
def test_an_archive_that_is_no_table_is_one_sentence(tmp_path: Path, members: dict[str, str], message: str) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    with pytest.raises(ProjectError, match=message):
        read("t.zip", tmp_path)


@pytest.mark.parametrize("name", ["table.xls", "table.xlsx"])
def test_text_that_is_called_a_workbook_is_text(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("n\tt\n1\tx\n")
    assert read(name, tmp_path, delimiter="\t").to_pydict() == {"n": ["1"], "t": ["x"]}


@pytest.mark.parametrize("name", ["table", "table.data", "table.csv"])
def test_the_content_says_what_the_ending_does_not(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({"n": [1, 2], "t": ["x", "y"]})
    path = tmp_path / name
    frame.to_parquet(path, index=False)
    assert read(name, tmp_path).to_pydict() == {"n": [1, 2], "t": ["x", "y"]}
    with path.open("wb") as file:
        frame.to_excel(file, index=False, engine="openpyxl")
    assert read(name, tmp_path).to_pydict() == {"n": [1, 2], "t": ["x", "y"]}
    frame.to_csv(path, index=False)
    assert read(name, tmp_path).to_pydict() == {"n": ["1", "2"], "t": ["x", "y"]}
    if not name.endswith(".csv"):
        frame.to_json(path, orient="records")
        assert read(name, tmp_path).to_pydict() == {"n": [1, 2], "t": ["x", "y"]}
