"""Workbooks as a table: typed cells, sheets, ranges."""

import datetime as dt
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import ProjectError
from lifecycle.sources.detect import detect_options
from lifecycle.sources.dispatch import open_source, read_source
from lifecycle.sources.excel import Range, parse_range

MOMENT = dt.datetime.fromisoformat("2024-01-05 03:04:05")


def save(path: Path, *sheets: tuple[str, list[list[Any]]]) -> str:
    """Save a workbook of sheets, each with its name and its rows."""
    book = openpyxl.Workbook()
    book.remove(book.active)  # type: ignore[arg-type]
    for name, rows in sheets:
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path.name


def read(name: str, root: Path, **options: Any) -> pa.Table:
    return read_source(name, root, options)[0]


def test_cells_have_their_types(tmp_path: Path) -> None:
    rows = [
        ["whole", "part", "text", "at", "day", "clock", "ok", "mixed", "none"],
        [1, 1.5, "007", MOMENT, dt.date(2024, 1, 5), dt.time(9, 30), True, 5, None],
        [2**53, 2, "NA", MOMENT, dt.date(2024, 1, 6), dt.time(23, 59, 59), False, "a", None],
        [None, None, None, None, None, None, None, 2.5, None],
        [3, 0, "x", None, None, None, None, True, None],
        [4, 0, "x", None, None, None, None, dt.date(2024, 1, 5), None],
    ]
    table = read(save(tmp_path / "t.xlsx", ("one", rows)), tmp_path)
    kinds = [
        pa.int64(),
        pa.float64(),
        pa.string(),
        pa.timestamp("us"),
        pa.timestamp("us"),
        pa.string(),
        pa.bool_(),
        pa.string(),
        pa.string(),
    ]
    assert table.schema.types == kinds
    assert table["whole"].to_pylist() == [1, 2**53, None, 3, 4]
    assert table["text"].to_pylist() == ["007", "NA", None, "x", "x"]
    assert table["at"].to_pylist()[:2] == [MOMENT, MOMENT]
    assert table["day"].to_pylist()[1] == dt.datetime.fromisoformat("2024-01-06")
    assert table["clock"].to_pylist()[:2] == ["09:30:00", "23:59:59"]
    assert table["mixed"].to_pylist() == ["5", "a", "2.5", "TRUE", "2024-01-05"]
    assert table["none"].null_count == 5
    assert read("t.xlsx", tmp_path, null_values=["NA", "x"])["text"].to_pylist() == ["007", None, None, None, None]
    assert read("t.xlsx", tmp_path, columns=["text"], filter=[["whole", "==", 4]]).to_pylist() == [{"text": "x"}]


def test_the_sheet_and_the_range_that_are_asked_for(tmp_path: Path) -> None:
    notes = [
        ["Report", None, None],
        [None, None, None],
        [None, "a", "b", "c"],
        [None, 1, "x", 9],
        [None, 2, "y", 9],
        ["sum", 3],
    ]
    name = save(tmp_path / "t.xlsx", ("empty", []), ("2024", [["n"], [1]]), ("notes", notes))
    assert read(name, tmp_path).to_pylist() == [{"n": 1}]
    assert read(name, tmp_path, sheet=2).to_pylist() == read(name, tmp_path, sheet=2024).to_pylist() == [{"n": 1}]
    for options in ({"sheet": "notes", "range": "B3:C5"}, {"sheet": 3, "range": "$b$3:$c$5"}):
        assert read(name, tmp_path, **options).to_pylist() == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    whole = read(name, tmp_path, sheet="notes", range="B3")
    assert whole.column_names == ["a", "b", "c"] and whole.num_rows == 3
    headless = read(name, tmp_path, sheet="notes", range="B4:C5", header=False)
    assert headless.to_pydict() == {"column_1": [1, 2], "column_2": ["x", "y"]}


def test_what_was_seen_is_said(tmp_path: Path) -> None:
    rows = [["n", None, "n", None], [1, 2, 3, None], [None, None, None, None], [4, 5, 6, None]]
    name = save(tmp_path / "t.xlsx", ("one", rows), ("two", [["m"], [1]]))
    detected = detect_options(name, tmp_path, {})
    assert detected.options == {"sheet": "one"}
    assert detected.notes == (
        "t.xlsx has several sheets with data: 'one' is read, not 'two' (option sheet).",
        "t.xlsx: column 2 has no name and is called 'column_2'.",
        "t.xlsx: column 3 is a second 'n' and is called 'n_2'.",
        "t.xlsx: 1 rows without a value are left out.",
    )
    assert read(name, tmp_path, **detected.options).to_pydict() == {"n": [1, 4], "column_2": [2, 5], "n_2": [3, 6]}
    assert detect_options(name, tmp_path, {"sheet": "two"}).options == {}


def test_workbooks_of_a_folder_are_one_table(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    save(tmp_path / "in/a.xlsx", ("s", [["n", "t"], [1, "x"]]))
    save(tmp_path / "in/b.xlsx", ("s", [["t", "n"], [7, "y"]]))
    with open_source("in", tmp_path) as stream:
        assert stream.text
        for _ in range(2):
            rows = [row for batch in stream for row in batch.to_pylist()]
            assert rows == [{"n": "1", "t": "x"}, {"n": "y", "t": "7"}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sheet": "three"}, r"t\.xlsx has no sheet 'three' \(collect\.options\.sheet\): it has \['one', 'chart'\]"),
        ({"sheet": 3}, r"t\.xlsx has no sheet 3 .*it has 2"),
        ({"range": "Z9:Z10"}, r"t\.xlsx has no cells in the range Z9:Z10 of the sheet 'one'"),
        ({"sheet": "chart"}, r"t\.xlsx has no cells in the sheet 'chart'"),
        ({"delimiter": ";"}, r"t\.xlsx is read as \.xlsx, which does not take the option delimiter"),
    ],
)
def test_what_is_not_there_is_one_sentence(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    save(tmp_path / "t.xlsx", ("one", [["n"], [1]]), ("chart", []))
    with pytest.raises(ProjectError, match=message):
        read("t.xlsx", tmp_path, **options)


@pytest.mark.parametrize(
    ("text", "span"),
    [("A1", Range(0, 0)), ("B3:F200", Range(2, 1, 199, 5)), ("$AA$1:AB2", Range(0, 26, 1, 27)), ("xfd1:XFD1048576", Range(0, 16383, 1048575, 16383))],
)  # fmt: skip
def test_a_range_is_written_as_in_excel(text: str, span: Range) -> None:
    assert parse_range(text) == span


@pytest.mark.parametrize("text", ["", "3", "B", "B0", "B3:", "B3:A4", "B3:C2", "B3-C4", "Sheet!B3"])
def test_another_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a range of cells|ends before it begins"):
        parse_range(text)


@given(
    cells=st.lists(
        st.none() | st.booleans() | st.integers(-(10**14), 10**14) | st.floats(-1e9, 1e9).map(lambda number: round(number, 3))
        | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=5),
        min_size=1, max_size=12,
    )
)  # fmt: skip
def test_no_cell_is_lost(tmp_path_factory: pytest.TempPathFactory, cells: list[Any]) -> None:
    """Numbers, words and nothing are read back, as values of one type or as text."""
    folder = tmp_path_factory.mktemp("excel")
    plain = [None if isinstance(cell, str) and cell.startswith("=") else cell for cell in cells]  # a formula
    pd.DataFrame({"key": range(len(plain)), "cell": pd.Series(plain, dtype=object)}).to_excel(
        folder / "t.xlsx", index=False
    )
    column = read("t.xlsx", folder)["cell"]
    for found, value in zip(column.to_pylist(), plain, strict=True):
        if column.type == pa.string() and value is not None and not isinstance(value, str):
            assert (found == str(value).upper()) if isinstance(value, bool) else float(found) == value
        else:
            assert found == value
