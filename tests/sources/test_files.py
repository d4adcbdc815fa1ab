"""Files as one table: kinds, compressions, globs, folders, types that go together, columns and filters."""

import bz2
import csv
import gzip
import io
import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import ProjectError
from lifecycle.core.tables import write_batches
from lifecycle.sources import files
from lifecycle.sources.dispatch import open_source, read_source

TEXT = b"a,b\n1,x\n2,\n"
LINES = b'{"a": 1, "b": "x"}\n{"a": 2}\n'
ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": None}]


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
    assert read(name, tmp_path).to_pylist() == ROWS


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut.csv.gz", gzip.compress(TEXT * 99, mtime=0)[:-12], r"cut\.csv\.gz is not readable as csv: Truncated"),
        ("t.parquet.gz", b"PK", r"t\.parquet\.gz ends in '\.parquet\.gz': expected one of"),
        ("t.gz", b"PK", r"t\.gz ends in '\.gz': expected one of"),
        ("words.jsonl", b'{"a": 1}\n{"a": "x"}\n', r"words\.jsonl is not readable as jsonl: .*changed from number to string"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ProjectError, match=message) as raised:
        read(name, tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("late", "kind"),
    [("7", "int64"), ("", "int64"), ("1.5", "double"), ("x", "string"), ("N/A", "int64"), ("99999999999999999999", "double")],
)  # fmt: skip
def test_a_late_value_makes_its_csv_column_wider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, late: str, kind: str
) -> None:
    monkeypatch.setattr(files, "_BLOCK_BYTES", 4096)
    rows = [(str(number), f'say "{number}",\nor not', "") for number in range(3000)] + [(late, "z", "5")]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("a", "text", "empty"), *rows])
    with caplog.at_level(logging.WARNING, "lifecycle.sources"):
        table = read("t.csv", tmp_path)
    assert [str(column.type) for column in table.schema] == [kind, "string", "int64"]
    assert ("the column 'a' is read as" in caplog.text) == (kind != "int64")
    assert table["text"][2999].as_py() == 'say "2999",\nor not'
    assert (table["empty"].null_count, table["empty"][3000].as_py()) == (3000, 5)
    whole = pa.csv.read_csv(
        tmp_path / "t.csv",
        read_options=pa.csv.ReadOptions(block_size=1 << 24),
        convert_options=pa.csv.ConvertOptions(strings_can_be_null=True),
    )
    assert table == whole


CELLS = st.sampled_from(["", "0", "12", "-3", "1.5", "1e3", "x", "NA", 'a"b', "p,q", "two\nlines", "2026-01-01", "nan"])


@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=60), block=st.integers(60, 200))
def test_csv_in_blocks_is_csv_at_once(tmp_path_factory: pytest.TempPathFactory, rows: list[Any], block: int) -> None:
    """Types and values do not depend on where blocks end, dates among words aside: text stays as it was written."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_text(text.getvalue())
    whole = read("t.csv", path.parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_BLOCK_BYTES", block)
        assert read("t.csv", path.parent) == whole


def test_blank_lines_and_late_types_go_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_BLOCK_BYTES", 256)
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{n},{n}\n\n" for n in range(500)) + "x,1.5\n")
    table = read("t.csv", tmp_path)
    assert table.num_rows == 501 and table["a"].to_pylist()[-2:] == ["499", "x"]
    assert float(table["b"][500].as_py()) == 1.5


def test_json_lines_of_several_blocks_have_one_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_BLOCK_BYTES", 200)
    records: list[dict[str, Any]] = [{"a": n, "deep": {"x": n}} for n in range(100)]
    records += [{"a": 0.5, "late": "é" * 500, "deep": {"y": "z"}}, {}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, records)))
    table = read("t.jsonl", tmp_path)
    assert table.schema.field("a").type == pa.float64()
    assert table["late"].to_pylist()[-2:] == ["é" * 500, None]
    assert table["deep"].to_pylist()[99:] == [{"x": 99, "y": None}, {"x": None, "y": "z"}, None]


def test_times_that_are_words_later_stay_as_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_BLOCK_BYTES", 100)
    times = ["2026-01-01T00:00:00"] * 20 + ["soon"]
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps({"at": at}) for at in times))
    assert read("t.jsonl", tmp_path)["at"].to_pylist() == times
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps({"at": at}) for at in times[:-1]))
    assert read("t.jsonl", tmp_path).schema.field("at").type == pa.timestamp("s")


def test_numbers_that_are_words_later_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_BLOCK_BYTES", 45)
    (tmp_path / "t.jsonl").write_text('{"a": 1}\n' * 20 + '{"a": "x"}\n' * 20)
    with pytest.raises(ProjectError, match=r"t\.jsonl is not readable as jsonl: .*changed from string to number"):
        read("t.jsonl", tmp_path)


def test_encoding_and_delimiter(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("name;n\nMüller;1\n".encode("latin-1"))
    assert read("t.csv", tmp_path, delimiter=";", encoding="latin-1").to_pylist() == [{"name": "Müller", "n": 1}]
    (tmp_path / "u.csv").write_bytes("name\nMüller\n".encode("utf-16"))
    assert read("u.csv", tmp_path, encoding="utf-16").to_pylist() == [{"name": "Müller"}]


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
    assert table["n"].to_pylist() == [1.5, 2.5, 3.0, 4.0, 5.0]
    assert table["old"].to_pylist() == ["a", "b", None, None, None]
    assert table["new"].to_pylist() == [None, None, True, False, True]
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
    assert table["n"].to_pylist() == numbers


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
        (
            {"in/a.csv": "n\n1\n", "in/b.csv": "n\nx\n"}, "in", {},
            r"'n' is int64 in in/a\.csv and string in in/b\.csv",
        ),
        ({"in/a.csv": "n\n1\n", "in/b.jsonl": '{"n": 1}'}, "in", {}, r"in holds files of more than one kind: \.csv, \.jsonl"),
        ({"in/a.csv": "n\n1\n", "in/b.txt": "x"}, "in", {}, r"in/b\.txt ends in '\.txt'"),
        ({"in/_a.csv": "n\n1\n"}, "in", {}, "in does not exist"),
        ({}, "no/*.csv", {}, r"no/\*\.csv does not exist"),
        ({"a.csv": "n\n1\n"}, "a.csv", {"sheet": 1}, r"collect\.options has sheet, which a\.csv does not take: it takes columns, filter"),
        ({"a.csv": "n\n1\n"}, "a.csv", {"columns": ["m"]}, r"a\.csv has no column 'm'.*\['n'\]"),
        ({"a.csv": "n\n1\n"}, "a.csv", {"columns": ["n", "n"]}, r"more than one column named 'n'"),
        ({"a.csv": "n\n1\n"}, "a.csv", {"columns": []}, r"collect\.options\.columns of a\.csv"),
        ({"a.csv": "n\n1\n"}, "a.csv", {"filter": [["m", "==", 1]]}, r"a\.csv has no column 'm' for the filter"),
        ({"a.csv": "n\n1\n"}, "a.csv", {"filter": [["n", "~", 1]]}, r"collect\.options\.filter\.0\.1 of a\.csv"),
        ({"a.csv": "n\n1\n"}, "a.csv", {"filter": [["n", "==", "x"]]}, r"does not fit its column of type int64"),
        ({"a.csv": "n\n1\n"}, "a.csv", {"filter": [["n", "in", 1]]}, r"needs a list"),
        ({"a.csv": "n\n1\n"}, "a.csv", {"filter": [["n", "==", None]]}, r"compares with null"),
        ({"a.csv": "n\n1\n"}, "a.csv", {"filter": [["n", ">", 1]]}, r"a\.csv has no rows that match the filter"),
        ({"k=1/a.csv": "n\n1\n"}, "k=*", {"filter": [["k", ">", 1]]}, r"does not exist"),
        ({"in/k=1/a.csv": "n\n1\n"}, "in", {"filter": [["k", ">", 1]]}, r"in has no rows that match the filter"),
        ({"a.csv": "n\n1\n"}, "a.csv", {"encoding": "klingon"}, r"collect\.options\.encoding.*'klingon' is not the name"),
        ({"a.csv": "n\n\xff\n"}, "a.csv", {"encoding": "ascii"}, r"a\.csv is not readable as csv"),
        ({"a.jsonl": '{"n": 1}'}, "a.jsonl", {"delimiter": ";"}, r"a\.jsonl is not CSV"),
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
    pd.DataFrame({"a": range(5000), "b": [f"é{n}" for n in range(5000)]}).to_csv(tmp_path / "t.csv", index=False)
    hashes = set()
    for block in (500, 7000, 1 << 22):
        monkeypatch.setattr(files, "_BLOCK_BYTES", block)
        with open_source("t.csv", tmp_path) as stream:
            hashes.add(write_batches(stream, stream.schema, tmp_path / "t.parquet"))
    assert len(hashes) == 1
