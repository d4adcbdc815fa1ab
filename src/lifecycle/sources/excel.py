"""Tables in workbooks of Excel and LibreOffice: a range of a sheet, whose cells have types of their own."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lifecycle.core.errors import ProjectError
from lifecycle.sources.cells import NOTHING, Kind, Kinds
from lifecycle.sources.names import repair_names
from lifecycle.sources.typing import EXACT

if TYPE_CHECKING:
    from python_calamine import CalamineSheet, CalamineWorkbook

KINDS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
_ROWS = 1 << 14  # of a batch
_TOP_ROWS = 200  # among which the header is
_RANGE = re.compile(r"\$?([A-Za-z]{1,3})\$?([1-9]\d{0,6})(?::\$?([A-Za-z]{1,3})\$?([1-9]\d{0,6}))?")
_ZERO = dt.time()


@dataclass(frozen=True)
class Range:
    """A range of cells, counted from 0, its ends included; None: to the end of the sheet."""

    top: int = 0
    left: int = 0
    bottom: int | None = None
    right: int | None = None


def parse_range(text: str) -> Range:
    """Parse a range as Excel writes it (`B3:F200`, or `B3` for all cells from there); raise ValueError for other text."""
    found = _RANGE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a range of cells, such as B3:F200 or B3")
    left, top, right, bottom = found.groups()
    if right is None:
        return Range(int(top) - 1, _count_letters(left))
    span = Range(int(top) - 1, _count_letters(left), int(bottom) - 1, _count_letters(right))
    if span.bottom is not None and span.right is not None and (span.bottom < span.top or span.right < span.left):
        raise ValueError(f"{text!r} ends before it begins")
    return span


def _count_letters(letters: str) -> int:
    """Return the position of a column, from 0, by its letters."""
    position = 0
    for letter in letters.upper():
        position = 26 * position + ord(letter) - ord("A") + 1
    return position - 1


@dataclass(frozen=True)
class ExcelFile:
    """A range of a sheet, inspected: the kinds of each column, and what was seen that a reader should know."""

    sheet: CalamineSheet
    span: Range
    first: int  # the row of the first record
    places: dict[str, int]  # the position of each column in the sheet's rows
    kinds: Kinds
    nulls: frozenset[str]
    notes: tuple[str, ...] = ()

    def read(self, needed: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Read the needed columns; a column of text has other values as they are shown, and missing columns are null."""
        places = {name: place for place, name in enumerate(self.places)}
        rows = _iterate(self.sheet, self.span, self.first, [*self.places.values()], self.nulls)
        while part := list(islice(rows, _ROWS)):
            cells = list(zip(*part, strict=True))
            columns = {
                column.name: _convert(cells[places[column.name]], column.type)
                if column.name in places
                else pa.nulls(len(part), column.type)
                for column in needed
            }
            yield pa.RecordBatch.from_pydict(columns or {"": pa.nulls(len(part))})


def inspect_excel(
    source: Any, name: str, sheet: str | int | None, span: str | None, nulls: Sequence[str], *, header: bool = True
) -> ExcelFile:
    """Open a workbook (a path or a file of bytes), choose its sheet, and find the columns and the kinds of their cells.

    The sheet is the given one, by its name or its number from 1, else the first one with data. The first row of the range
    names the columns. Rows and columns without a value are left out.
    """
    with _open_book(source, name) as book:
        chosen, sheets = _choose_sheet(book, name, sheet)
    area, words = parse_range(span) if span else Range(), frozenset(nulls)
    notes = list(describe_sheets(name, sheets))
    start = chosen.start[1] if chosen.start else 0
    left, right = max(area.left - start, 0), None if area.right is None else area.right - start + 1
    rows = enumerate(chosen.iter_rows())
    inside: Iterator[tuple[int, list[Any]]] = (
        (number, row[left:right]) for number, row in rows if _is_inside(number, area)
    )
    top = next(((number, row) for number, row in inside if any(not _is_blank(cell, words) for cell in row)), None)
    if top is None:
        where = f"the range {span} of " if span else ""
        raise ProjectError(f"{name} has no cells in {where}the sheet {chosen.name!r}.")
    number, titles = top
    rest: Iterator[list[Any]] = (row for _, row in inside)
    if not header:
        rest, titles, number = chain([titles], rest), [""] * len(titles), number - 1
    found, blank = _classify_rows(rest, len(titles), words)
    kept = [place for place, kind in enumerate(found) if kind or not _is_blank(titles[place], frozenset())]
    names, repaired = repair_names([_show(titles[place]) or "" for place in kept], name)
    notes += repaired
    if dropped := len(titles) - len(kept):
        notes.append(f"{name}: {dropped} columns without a name and without a value are left out.")
    if blank:
        notes.append(f"{name}: {blank:,} rows without a value are left out.")
    if merged := _count_merged(chosen, number, start + left):
        notes.append(
            f"{name}: {merged:,} ranges of merged cells have their value in the first cell alone; the other cells are missing."
        )
    places = {title: left + place for title, place in zip(names, kept, strict=True)}
    kinds = {title: found[place] for title, place in zip(names, kept, strict=True)}
    return ExcelFile(chosen, area, number + 1, places, kinds, words, tuple(notes))


@contextmanager
def _open_book(source: Any, name: str) -> Iterator[CalamineWorkbook]:
    """Open a workbook; raise ProjectError when it is broken or protected."""
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError

    try:
        yield CalamineWorkbook.from_object(source)
    except PasswordError as error:
        raise ProjectError(f"{name} is protected by a password: save it without one.") from error
    except CalamineError as error:
        raise ProjectError(f"{name} is not readable as a workbook: {' '.join(str(error).split())}") from error


def list_sheets(source: Any, name: str) -> list[str]:
    """List the sheets of a workbook that have data; raise ProjectError when there is none."""
    with _open_book(source, name) as book:
        return _choose_sheet(book, name, None)[1]


def find_header(source: Any, name: str, sheet: str | int | None) -> int:
    """Return the row of the header, from 0: the first one with more than half as many cells as most rows below it.

    Titles and notes above a table have fewer cells than it.
    """
    with _open_book(source, name) as book:
        chosen, _ = _choose_sheet(book, name, sheet)
    counts = [sum(not _is_blank(cell, frozenset()) for cell in row) for row in islice(chosen.iter_rows(), _TOP_ROWS)]
    filled = [count for count in counts if count]
    usual = max(set(filled), key=lambda count: (filled.count(count), count)) if filled else 0
    return next((place for place, count in enumerate(counts) if 2 * count > usual > 0), 0)


def describe_sheets(name: str, sheets: Sequence[str]) -> tuple[str, ...]:
    """Describe which of several sheets with data is read, in a sentence."""
    if len(sheets) < 2:
        return ()
    others = ", ".join(map(repr, sheets[1:]))
    return (f"{name} has several sheets with data: {sheets[0]!r} is read, not {others} (option sheet).",)


def _classify_rows(rows: Iterator[list[Any]], width: int, words: frozenset[str]) -> tuple[list[Kind], int]:
    """Return the kinds of each column's cells, and the number of rows without a value."""
    kinds, blank = [NOTHING] * width, 0
    while part := list(islice(rows, _ROWS)):
        blank += sum(_is_empty(row, words) for row in part)
        for place, column in enumerate(zip(*part, strict=True)):
            kinds[place] |= _classify(column, words)
    return kinds, blank


def _count_merged(sheet: CalamineSheet, top: int, left: int) -> int:
    """Count the ranges of merged cells below the header; only .xlsx and .xls files tell them."""
    ranges = sheet.merged_cell_ranges or []
    return sum(first_row > top and last_column >= left for (first_row, _), (_, last_column) in ranges)


def _is_empty(row: Sequence[Any], words: frozenset[str]) -> bool:
    """Return whether a row has no value."""
    return all(_is_blank(cell, words) for cell in row)


def _choose_sheet(book: CalamineWorkbook, name: str, sheet: str | int | None) -> tuple[CalamineSheet, list[str]]:
    """Return the sheet to read and the names of the sheets with data (of the given one alone, if one is given)."""
    names = book.sheet_names
    if isinstance(sheet, int) and str(sheet) in names:
        sheet = str(sheet)  # a year, say
    if isinstance(sheet, int):
        if not 1 <= sheet <= len(names):
            raise ProjectError(f"{name} has no sheet {sheet} (collect.options.sheet): it has {len(names)}, {names}.")
        sheet = names[sheet - 1]
    if sheet is not None:
        if sheet not in names:
            raise ProjectError(f"{name} has no sheet {sheet!r} (collect.options.sheet): it has {names}.")
        return book.get_sheet_by_name(sheet), [sheet]
    filled = [one for one in (_open_sheet(book, title) for title in names) if one is not None and one.height > 0]
    if not filled:
        raise ProjectError(f"{name} is empty: none of its sheets {names} has cells.")
    return filled[0], [one.name for one in filled]


def _open_sheet(book: CalamineWorkbook, title: str) -> CalamineSheet | None:
    """Open a sheet; None for one that holds no cells, such as a chart."""
    from python_calamine import CalamineError, WorksheetNotFound

    try:
        return book.get_sheet_by_name(title)
    except (CalamineError, WorksheetNotFound):
        return None


def _is_inside(number: int, span: Range) -> bool:
    """Return whether a row is within the range."""
    return number >= span.top and (span.bottom is None or number <= span.bottom)


def _iterate(
    sheet: CalamineSheet, span: Range, first: int, places: Sequence[int], words: frozenset[str]
) -> Iterator[list[Any]]:
    """Yield the cells of the columns at these places of each row from `first`, missing ones None, without blank rows."""
    for number, row in enumerate(sheet.iter_rows()):
        if number >= first and _is_inside(number, span):
            cells = [None if _is_blank(row[place], words) else row[place] for place in places]
            if any(cell is not None for cell in cells):
                yield cells


def _is_blank(cell: Any, words: frozenset[str]) -> bool:
    """Return whether a cell has no value, or a word that means so."""
    return cell is None or (isinstance(cell, str) and (cell == "" or cell in words))


def _classify(cells: Sequence[Any], words: frozenset[str]) -> Kind:
    """Return the kinds of cells."""
    kinds = NOTHING
    types = set(map(type, cells))
    if str in types and any(not _is_blank(cell, words) for cell in cells if isinstance(cell, str)):
        kinds |= Kind.TEXT
    if float in types or int in types:
        numbers = [float(cell) for cell in cells if type(cell) in {int, float}]
        whole = [number.is_integer() and abs(number) <= EXACT for number in numbers]
        kinds |= (Kind.WHOLE if any(whole) else NOTHING) | (NOTHING if all(whole) else Kind.FRACTION)
    if bool in types:
        kinds |= Kind.BOOLEAN
    if types & {dt.date, dt.datetime}:
        kinds |= Kind.MOMENT
    if types - {str, float, int, bool, dt.date, dt.datetime, type(None)}:
        kinds |= Kind.OTHER
    return kinds


def _convert(cells: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Convert cells, missing ones None, to an array of their column's type, which holds all of the column's cells."""
    if kind == pa.string():
        return pa.array([_show(cell) for cell in cells], kind)
    if pa.types.is_timestamp(kind):
        moments = [
            dt.datetime.combine(cell, _ZERO) if cell is not None and type(cell) is dt.date else cell for cell in cells
        ]
        return pa.array(moments, kind)
    if kind == pa.int64():
        return pa.array(cells, pa.float64()).cast(kind)
    return pa.array(cells, kind)


def _show(cell: Any) -> str | None:
    """Return a cell as text, as a sheet without formats shows it."""
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float) and cell.is_integer() and abs(cell) <= EXACT:
        return str(int(cell))
    if isinstance(cell, dt.datetime):
        return cell.isoformat(sep=" ")
    if isinstance(cell, dt.date):
        return cell.isoformat()
    if isinstance(cell, dt.time):
        return cell.isoformat(timespec="seconds")
    if isinstance(cell, dt.timedelta):
        seconds = int(cell.total_seconds())
        return f"{seconds // 3600:02}:{seconds % 3600 // 60:02}:{seconds % 60:02}"
    return str(cell)
