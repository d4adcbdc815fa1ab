from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.core.tables import Rejects
from lifecycle.sources import delimited
from lifecycle.sources.delimited import DelimitedTable, open_delimited
from lifecycle.sources.dialect import Dialect

Rows = list[tuple[str | None, ...]]


def open_text(
    text: str | bytes, rejected: Rejects | None = None, null_values: Sequence[str] = (), **dialect: Any
) -> DelimitedTable:
    data = text if isinstance(text, bytes) else text.encode(dialect.get("encoding", "utf-8"))
    rejects = Rejects() if rejected is None else rejected
    return open_delimited(lambda: io.BytesIO(data), "a.csv", Dialect(**dialect), rejects, null_values=null_values)


def read_rows(table: DelimitedTable, columns: Sequence[str] | None = None) -> Rows:
    batches = list(table.read(columns))
    assert all(field.type == pa.string() for batch in batches for field in batch.schema)
    return [tuple(row.values()) for batch in batches for row in batch.to_pylist()]


def read_with_rejects(text: str | bytes, **dialect: Any) -> tuple[Rows, list[tuple[str, str, str]]]:
    rejected = Rejects()
    rows = read_rows(open_text(text, rejected, **dialect))
    return rows, [(row.where, row.text, row.reason) for row in rejected.rows]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut the text into blocks, windows and parts of a few bytes."""
    for name, size in {"_BLOCK_BYTES": 64, "_WINDOW_BYTES": 32, "_SMALL_BYTES": 16, "_OPEN_CHARACTERS": 200}.items():
        monkeypatch.setattr(delimited, name, size)


def test_cells_are_text_and_unquoted_empty_ones_are_null() -> None:
    table = open_text('a,b,c\n007,,x\n"1,5","", y \n"NA",NA,"say ""hi"""\n', null_values=["NA"])
    assert table.names == ["a", "b", "c"] and table.notes == ()
    assert read_rows(table) == [("007", None, "x"), ("1,5", "", " y "), ("NA", None, 'say "hi"')]
    assert read_rows(table, ["c", "a"]) == [("x", "007"), (" y ", "1,5"), ('say "hi"', "NA")], "it reads again"


def test_quotes_tell_nothing_in_a_file_that_quotes_every_cell() -> None:
    text = '"a","b"\n"NA",""\n'
    assert read_rows(open_text(text, null_values=["NA"], quotes_all=True)) == [(None, None)]
    assert read_rows(open_text(text, null_values=["NA"])) == [("NA", "")]


def test_rows_of_another_length_are_rejected_with_line_text_and_reason() -> None:
    rows, rejected = read_with_rejects('a,b,c\n1,2,3\n\n4,5\n"x\ny",5,6\n7,8,9,10\n11,12,13\n')
    assert rows == [("1", "2", "3"), ("x\ny", "5", "6"), ("11", "12", "13")]
    assert rejected == [
        ("a.csv, line 4", "4,5", "2 cells, expected 3"),
        ("a.csv, line 7", "7,8,9,10", "4 cells, expected 3"),
    ]


@pytest.mark.usefixtures("small_blocks")
def test_a_rejected_row_costs_no_other_row_wherever_blocks_end() -> None:
    lines = [f'{at},"text {at}",{at * 2}' for at in range(200)]
    lines[50], lines[120] = "50,short", '120,"never closed,240'
    rows, rejected = read_with_rejects("id,text,n\n" + "\n".join(lines))
    assert [row[0] for row in rows] == [str(at) for at in range(200) if at not in (50, 120)]
    assert [(where, reason) for where, _, reason in rejected] == [
        ("a.csv, line 52", "2 cells, expected 3"),
        ("a.csv, line 122", "a quote is not closed"),
    ]


def test_a_stray_quote_does_not_swallow_the_rows_that_follow() -> None:
    lines = [f"{at},b{at},c{at}" for at in range(1000)]
    lines[10], lines[900] = '10,"b10,c10', '900,b900",c900'
    rows, rejected = read_with_rejects("a,b,c\n" + "\n".join(lines) + "\n")
    assert len(rows) == 999 and rows[10] == ("11", "b11", "c11")
    assert ("900", 'b900"', "c900") in rows
    assert rejected == [("a.csv, line 12", '10,"b10,c10', "a quote is not closed")]


def test_thousands_of_rows_that_open_a_quote_are_rejected_each() -> None:
    lines = [f'"k{at}",b{at},{at}' for at in range(6000)]
    lines[100:5000] = [f'"k{at},b{at},{at}' for at in range(100, 5000)]
    rows, rejected = read_with_rejects("a,b,c\n" + "\n".join(lines) + "\n")
    assert [row[2] for row in rows] == [str(at) for at in range(6000) if not 100 <= at < 5000]
    assert [text for _, text, _ in rejected] == lines[100:5000]
    assert rejected[-1][0] == "a.csv, line 5001"


def test_rows_that_open_a_quote_at_the_end_are_rejected_each() -> None:
    lines = [*(f'"k{at},b{at},{at}' for at in range(30)), 'last",b']
    rows, rejected = read_with_rejects("a,b,c\n" + "1,2,3\n" * 50 + "\n".join(lines))
    assert rows == [("1", "2", "3")] * 50
    assert [text for _, text, _ in rejected] == lines


def test_quotes_that_are_not_doubled_are_part_of_the_cell_when_the_cells_fit() -> None:
    rows, rejected = read_with_rejects('a,b\n1,"a 9" rod"\n2,5" pipe\n')
    assert rows == [("1", 'a 9" rod'), ("2", '5" pipe')] and not rejected


@pytest.mark.parametrize(
    "text", ["", "\n", "\ufeff", "a", "a,b", '"', 'a,b\n"', 'a,b\n1,"x', "a\0,b\n\0,1\n", "\r\r\r", ",\n,", "\0"]
)
def test_no_text_is_an_error(text: str) -> None:
    rejected = Rejects()
    for header in (True, False):
        table = open_text(text, rejected, header=header)
        assert all(len(row) == len(table.names) for row in read_rows(table))


def test_nul_bytes_belong_to_their_cells() -> None:
    assert read_rows(open_text("a,b\nx\0y,1\n")) == [("x\0y", "1")]


def test_bytes_that_are_not_in_the_encoding_reject_their_row_alone() -> None:
    for encoding, broken in (("utf-8", b"\xff"), ("cp1252", b"\x81"), ("gb18030", b"\xff")):
        rows, rejected = read_with_rejects(b"a,b\n1,x\n2," + broken + b"\n3,z\n", encoding=encoding)
        assert rows == [("1", "x"), ("3", "z")]
        assert [(where, reason) for where, _, reason in rejected] == [
            ("a.csv, line 3", f"bytes that are not {encoding}")
        ]
    assert read_rows(open_text("a,b\n\ufffd,1\n")) == [("\ufffd", "1")], "a sign that the file really contains"


def test_a_repeated_or_empty_name_is_changed_and_told() -> None:
    table = open_text("x,,x,x_2,\n1,2,3,4,5\n")
    assert table.names == ["x", "column_2", "x_3", "x_2", "column_5"]
    assert len(table.notes) == 3 and all("a.csv" in note for note in table.notes)


def test_empty_columns_without_a_name_at_the_end_are_left_out_and_told() -> None:
    rejected = Rejects()
    table = open_text("city,x,,\nRome,1,,\nParis,2,,\nBonn,3,,late\n" * 1, rejected)
    assert len(open_text("city,x,,\nRome,1,,\n").notes) == 1
    assert table.names == ["city", "x", "column_3", "column_4"]
    text = "city,x,,\n" + "Rome,1,,\n" * 3000 + "Bonn,3,,late\n"
    table = open_text(text, rejected)
    assert table.names == ["city", "x"] and len(read_rows(table)) == 3000
    assert [row.reason for row in rejected.rows] == ["a value in a column without a name"]


def test_empty_cells_beyond_the_last_column_are_dropped_only_when_no_cell_may_have_moved() -> None:
    rows, rejected = read_with_rejects("a,b\n1,2\n3,4,\n5,6,,\n7,8,9\n")
    assert rows == [("1", "2"), ("3", "4"), ("5", "6")] and len(rejected) == 1
    rows, rejected = read_with_rejects("a,b\n1,\n3,,4,\n5,\n")
    assert rows == [("1", None), ("5", None)] and len(rejected) == 1


def test_a_delimiter_at_the_end_of_all_rows_is_no_column() -> None:
    table = open_text("a,b\n1,2,\n3,4,\n")
    assert table.names == ["a", "b"] and read_rows(table) == [("1", "2"), ("3", "4")] and len(table.notes) == 1


def test_rows_without_their_empty_last_cells_are_filled_where_the_file_is_so_throughout() -> None:
    text = "a,b,c\n" + "1,2,3\n4\n5,6\n" * 10
    rows, rejected = read_with_rejects(text)
    assert rows[:3] == [("1", "2", "3"), ("4", None, None), ("5", "6", None)] and not rejected
    _, rejected = read_with_rejects(text + "7,8,\n")
    assert len(rejected) == 20


def test_row_numbers_of_r_and_extra_cells_get_names() -> None:
    assert open_text('"x","y"\n"1",5,6\n"2",7,8\n').names == ["column_1", "x", "y"]
    assert open_text("x,y\na,5,6\nb,7,8\n").names == ["x", "y", "column_3"]
    assert open_text("x,,y\n5,6\n7,8\n").names == ["x", "y"]


def test_lines_are_skipped_and_a_missing_header_numbers_the_columns() -> None:
    table = open_text("Report\n\n1;2\n3;4\n", skip=2, delimiter=";", header=False)
    assert table.names == ["column_1", "column_2"] and read_rows(table) == [("1", "2"), ("3", "4")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.usefixtures("small_blocks")
def test_encodings_are_decoded_across_blocks(encoding: str) -> None:
    text = "größe,b\n" + "".join(f"straße {at},é\n" for at in range(100))
    table = open_text(text, encoding=encoding)
    assert table.names == ["größe", "b"] and read_rows(table) == [(f"straße {at}", "é") for at in range(100)]


def test_spaces_after_delimiters_and_between_aligned_columns() -> None:
    text = 'a, b, c\n1, "x, y", \n 2, z,  w\n'
    assert read_rows(open_text(text, skip_space=True)) == [("1", "x, y", None), (" 2", "z", "w")]
    assert read_rows(open_text("a, b\n1, 2\n3, \n", skip_space=True)) == [("1", "2"), ("3", None)]
    text = "id   name   x \n  1  ann   2.5\n 20  bob  13.0  \n"
    assert read_rows(open_text(text, delimiter=" ", skip_space=True)) == [("1", "ann", "2.5"), ("20", "bob", "13.0")]


def test_an_escape_stands_before_quotes_and_delimiters_alone() -> None:
    text = 'a,b\n"say \\"hi\\"",C:\\temp\nx\\,y,\\N\n"back\\\\",2\n'
    assert read_rows(open_text(text, escape="\\")) == [('say "hi"', "C:\\temp"), ("x,y", "\\N"), ("back\\", "2")]


@pytest.mark.parametrize("delimiter", ["||", "<->", "€"])
def test_a_delimiter_of_several_characters_or_bytes(delimiter: str) -> None:
    text = "a,b\n1,2\n".replace(",", delimiter) + f'"x{delimiter}y"{delimiter}3\n'
    assert read_rows(open_text(text, delimiter=delimiter)) == [("1", "2"), (f"x{delimiter}y", "3")]


CELLS = st.text(st.sampled_from(list("ab1,;|\t:^~ \"'\n.é€中#=-")), max_size=8)
TABLES = st.integers(1, 5).flatmap(
    lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=12)
)


@settings(max_examples=300, deadline=None)
@given(
    TABLES,
    st.sampled_from([",", ";", "\t", "|", ":", "^", "~", " "]),
    st.sampled_from(['"', "'"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
    st.booleans(),
    st.sampled_from([64, 1 << 20]),
)
def test_what_csv_writes_reads_back_equal(
    table: list[list[str]], delimiter: str, quote: str, end: str, encoding: str, quoting: Any, last: bool, block: int
) -> None:
    if end == "\r":  # until Python 3.13 the module csv quotes only its own line ends
        table = [[cell.replace("\n", "\r") for cell in row] for row in table]
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, quotechar=quote, lineterminator=end, quoting=quoting)
    writer.writerow([f"c{at}" for at in range(len(table[0]))])
    writer.writerows(table)
    text = file.getvalue() if last else file.getvalue().removesuffix(end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "_BLOCK_BYTES", block)
        patch.setattr(delimited, "_WINDOW_BYTES", max(block // 2, 1))
        rejected = Rejects()
        reader = open_text(text.encode(encoding), rejected, delimiter=delimiter, quote=quote, encoding=encoding)
        rows = read_rows(reader)
    assert not rejected.rows
    assert [["" if cell is None else cell for cell in row] for row in rows] == table


FRAMES = st.integers(2, 4).flatmap(
    lambda width: st.lists(
        st.lists(st.one_of(st.none(), CELLS.filter(bool)), min_size=width, max_size=width), min_size=2, max_size=12
    )
)


@settings(max_examples=150, deadline=None)
@given(FRAMES, st.sampled_from([",", ";", "\t", "|"]), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_what_pandas_writes_reads_back_equal(
    table: list[list[str | None]], delimiter: str, end: str, escape: bool
) -> None:
    frame = pd.DataFrame(table, columns=[f"c{at}" for at in range(len(table[0]))], dtype=object)
    how: dict[str, Any] = {"doublequote": False, "escapechar": "\\"} if escape else {}
    text = frame.to_csv(index=False, sep=delimiter, lineterminator=end, **how)
    rejected = Rejects()
    reader = open_text(text, rejected, delimiter=delimiter, escape="\\" if escape else "")
    assert read_rows(reader) == [tuple(row) for row in table]
    assert not rejected.rows
