"""Delimited text, read as text: regular parts by Arrow, the others record by record; a row that cannot be read is rejected."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import IO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from lifecycle.core.tables import Rejects
from lifecycle.sources.dialect import Dialect, Record, Splitter, count_lines
from lifecycle.sources.names import repair_names

_BLOCK_BYTES = 4 << 20  # of text that are examined at once
_PARSED_BYTES = 1 << 19  # of text that a thread parses at once
_WINDOW_BYTES = 1 << 20  # of text with quotes
_SMALL_BYTES = 1 << 16  # an irregular part this small is split record by record
_OPEN_CHARACTERS = 1 << 18  # a quoted cell that is not closed within so many characters is taken as broken
_AHEAD_CHARACTERS = 1 << 10  # of a line and those after it, to see whether it can be read
_NO_CHANCE = 20  # delimiters in lines within a cell that show it to be joined rows
_LONGEST_BYTES = 16 << 20  # of a record
_SAMPLE_RECORDS = 2_000  # from which the columns are found
_LINE_END = re.compile(r"\r\n|\r|\n")
_Follows = Literal["nothing", "irregular", "regular"]


@dataclass(frozen=True)
class _Layout:
    """The columns of a table: their names, and the cells of a row.

    kept: the positions of the named cells; the others are empty. shortest: rows of so many cells or more are taken, as empty
    last cells may be left out. surplus: whether empty cells beyond the last column are no sign that the cells have moved.
    """

    names: list[str]
    cells: int
    kept: list[int]
    shortest: int
    surplus: bool = True
    notes: tuple[str, ...] = ()


@dataclass
class DelimitedTable:
    """A table of delimited text whose columns are all text.

    Bounded memory: a block of the file is in memory at once. An unquoted empty cell is null, a quoted one is empty text. Empty
    lines are skipped. A row with too many cells is rejected, unless those beyond the last column are empty and the last column
    never is: otherwise a delimiter too many may have moved its cells. A row with too few cells is rejected, unless the file
    leaves out the empty cells at the ends of its rows throughout. Rows with a quote that is not closed, or with bytes that
    are not in the encoding, are rejected.

    names: the columns. notes: a sentence on each thing about the columns that a reader of the file would not expect.
    """

    open_bytes: Callable[[], IO[bytes]]
    name: str
    dialect: Dialect
    rejected: Rejects
    null_values: Sequence[str]
    layout: _Layout
    splitter: Splitter = field(init=False)

    def __post_init__(self) -> None:
        self.splitter = Splitter(self.dialect)

    @property
    def names(self) -> list[str]:
        """The columns' names, all different."""
        return self.layout.names

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what was changed or left out to find the columns."""
        return self.layout.notes

    def read(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of `columns` (all), in that order; may be called again.

        Each time, the rows that cannot be read are added to `rejected`.
        """
        chosen = list(self.names if columns is None else columns)
        if not self.names:
            return
        schema = pa.schema([(name, pa.string()) for name in chosen])
        for part in self._parts(chosen):
            yield from part.select(chosen).cast(schema).to_batches()

    def _parts(self, chosen: list[str]) -> Iterator[pa.Table]:
        """Yield tables of all rows; each block is cut where a record ends."""
        rest, line = b"", 1
        begun = False
        with self.open_bytes() as source:
            for chunk, final in _read_text(source, self.dialect.encoding):
                block = rest + chunk
                if not begun:
                    start = self._skip(block, final)
                    if start is None:
                        rest = block
                        continue
                    line += count_lines(block[:start].decode("utf-8", "surrogateescape"))
                    block, begun = block[start:], True
                reading = _Block(self, block, line, final, chosen)
                yield from reading.tables()
                rest, line = block[reading.position :], reading.line

    def _skip(self, block: bytes, final: bool) -> int | None:
        """Return where the first row begins: after the lines to skip and the header; None if the block ends before."""
        text = block.decode("utf-8", "surrogateescape")
        start = _skip_lines(text, self.dialect.skip)
        if self.dialect.header:
            record = next((r for r in self.splitter.split(text, start) if not r.blank), None)
            start = record.end if record else len(text)
        if start == len(text) and not final and len(block) < _LONGEST_BYTES:
            return None
        return len(text[:start].encode("utf-8", "surrogateescape"))


class _Block:
    """A block of a table's text that begins with a record; after `tables`, `position` and `line` are where the rest begins."""

    def __init__(self, table: DelimitedTable, block: bytes, line: int, final: bool, chosen: list[str]) -> None:
        self.table, self.block, self.line, self.final = table, block, line, final
        self.dialect, self.layout = table.dialect, table.layout
        self.position = 0
        labels = _label(self.layout)
        kept, wanted = set(self.layout.kept), set(chosen)
        dropped = [label for at, label in enumerate(labels) if at not in kept]
        self.labels, self.dropped = labels, dropped
        self.chosen = [label for label in labels if label in wanted] + dropped or labels[:1]

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows of the block's whole records: regular parts by Arrow, the others record by record."""
        while self.position < len(self.block):
            stop, follows = self._find_regular()
            if stop > self.position:
                segment = self.block[self.position : stop]
                yield from self._read_regular(segment, self.line)
                self.position = stop
                self.line += _count_line_ends(segment)
            if follows == "nothing":
                return
            if follows == "irregular":
                before = self.position
                text = self.block[before:].decode("utf-8", "surrogateescape")
                rows, end, self.line = self._split(text, self.line, self.final, _SMALL_BYTES)
                if rows:
                    yield self._to_table(rows)
                self.position += len(text[:end].encode("utf-8", "surrogateescape"))
                if self.position == before:
                    return  # more of the text is needed

    # --- regular text -----------------------------------------------------------------------------------------------

    def _find_regular(self) -> tuple[int, _Follows]:
        """Return where the next records end that Arrow reads as we would, and what follows: "nothing" but a cut record."""
        dialect, block, start = self.dialect, self.block, self.position
        byte_sized = len(dialect.delimiter) == 1 and (dialect.delimiter + dialect.quote).isascii()
        aligned = dialect.skip_space and dialect.delimiter == " "
        if not byte_sized or aligned or (dialect.escape and dialect.escape.encode() in block):
            return start, "irregular"
        quote = dialect.quote.encode()
        if not quote or block.find(quote, start) < 0:
            return (len(block) if self.final else _last_line_end(block, start, len(block))), "nothing"
        if dialect.skip_space:
            return start, "irregular"
        stop = start + _WINDOW_BYTES
        if stop < len(block):
            end, follows = self._find_quoted(block[start:stop], quote)
            if end or follows == "irregular":
                return start + end, "irregular" if follows == "irregular" else "regular"
        end, follows = self._find_quoted(block[start:], quote)
        return start + end, follows

    def _find_quoted(self, part: bytes, quote: bytes) -> tuple[int, _Follows]:
        """Do the same for a text with quotes, which open after a delimiter, close before one, or are doubled."""
        text = np.frombuffer(part, np.uint8)
        mark = text == quote[0]
        quotes = np.flatnonzero(mark)
        ends = text == ord("\n")
        if b"\r" in part:
            ends |= text == ord("\r")
        edge = np.ones(len(text) + 2, bool)  # what is before and behind the part does not matter
        edge[1:-1] = (text == ord(self.dialect.delimiter)) | mark | ends
        # a doubled quote closes and opens at once, so a quote before one that opens must be the last that closed
        opens, closes = edge[quotes[0::2]], edge[quotes[1::2] + 2]
        first = len(quotes)
        if not opens.all():
            first = 2 * int(np.argmin(opens))
        if not closes.all():
            first = min(first, 2 * int(np.argmin(closes)) + 1)
        first = min(first, self._find_swallowed(part, quotes, np.flatnonzero(ends)))
        if first < len(quotes):
            return _find_record_end(part, quotes, int(quotes[first])), "irregular"
        whole = self.final and self.position + len(part) == len(self.block)
        if whole and len(quotes) % 2 == 0:
            return len(part), "nothing"
        end = _find_record_end(part, quotes, len(part))
        return end, "irregular" if whole or len(part) - end > _LONGEST_BYTES else "nothing"

    def _find_swallowed(self, part: bytes, quotes: np.ndarray, ends: np.ndarray) -> int:
        """Return which of the quotes is the first that opens a cell that seems to contain rows, or their number if none does."""
        width = self.layout.cells
        inside = np.searchsorted(quotes, ends)
        opened, count = np.unique(inside[inside % 2 == 1], return_counts=True)
        for at in opened[count > 1] if width > 1 else ():
            close = int(quotes[at]) if at < len(quotes) else len(part)
            if _contains_rows(part[int(quotes[at - 1]) + 1 : close], self.dialect.delimiter.encode(), width):
                return int(at - 1)
        return len(quotes)

    def _read_regular(self, segment: bytes, line: int) -> Iterator[pa.Table]:
        """Yield the rows of a regular segment; parts in which Arrow finds a row of another length are split by us."""
        try:
            table = self._parse(segment)
        except pa.ArrowInvalid:
            table = None
        if table is not None and not any(table[label].null_count < len(table) for label in self.dropped):
            yield table
            return
        middle = self._middle(segment) if len(segment) > _SMALL_BYTES else 0
        if middle:
            yield from self._read_regular(segment[:middle], line)
            yield from self._read_regular(segment[middle:], line + _count_line_ends(segment[:middle]))
            return
        rows, _, _ = self._split(segment.decode("utf-8", "surrogateescape"), line, True, len(segment) + 1)
        yield self._to_table(rows)

    def _middle(self, segment: bytes) -> int:
        """Return the end of a record near the middle of a regular segment, 0 if there is none."""
        end = _last_line_end(segment, 0, len(segment) // 2)
        quote = self.dialect.quote.encode()
        while quote and end > 0 and segment.count(quote, 0, end) % 2:
            end = _last_line_end(segment, 0, segment.rfind(quote, 0, end))
        return max(end, 0)

    def _parse(self, segment: bytes) -> pa.Table:
        """Parse a regular segment by Arrow; raise ArrowInvalid for a row of another length or a broken character."""
        dialect = self.dialect
        table = pa.csv.read_csv(
            pa.py_buffer(segment),
            pa.csv.ReadOptions(column_names=self.labels, block_size=_PARSED_BYTES),
            pa.csv.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char=dialect.quote or False,
                double_quote=True,
                newlines_in_values=True,
            ),
            pa.csv.ConvertOptions(
                column_types=dict.fromkeys(self.labels, pa.string()),
                include_columns=self.chosen,
                null_values=["", *self.table.null_values],
                strings_can_be_null=True,
                quoted_strings_can_be_null=dialect.quotes_all,
            ),
        )
        if dialect.skip_space:
            nulls = pa.array(["", *self.table.null_values], pa.string())
            for at, label in enumerate(table.column_names):
                if label == self.labels[0]:
                    continue
                cells = pc.utf8_ltrim(table[label], " ")
                table = table.set_column(
                    at, label, pc.if_else(pc.is_in(cells, nulls), pa.scalar(None, pa.string()), cells)
                )
        return table

    # --- other text -------------------------------------------------------------------------------------------------

    def _split(self, text: str, line: int, final: bool, enough: int) -> tuple[list[list[str | None]], int, int]:
        """Split records until `enough` characters are used; return the rows, where the rest begins, and its line."""
        rows: list[list[str | None]] = []
        start = 0
        again = True
        while again and start < min(enough, len(text)):
            again = False
            for record in self.table.splitter.split(text, start, line):
                if record.end == len(text) and not final and len(text) - record.start < _LONGEST_BYTES:
                    return rows, record.start, record.line
                if record.flaw == "open" and not final and len(text) - record.start < _OPEN_CHARACTERS:
                    return rows, record.start, record.line
                end, lines = self._find_end(text, record)
                for number, part in enumerate(lines):
                    self._reject(part, record.line + number, "a quote is not closed")
                if not lines and not record.blank:
                    self._take(text, record, rows)
                start, line = end, record.line + count_lines(text[record.start : end])
                again = end < record.end
                if again or start >= enough:
                    break
        return rows, start, line

    def _find_end(self, text: str, record: Record) -> tuple[int, list[str]]:
        """Return where a record ends, and the parts to reject where a stray quote joined it with the next lines.

        Then it ends where a line can be read again. A part is a line if the lines look like rows, else all that was joined.
        """
        body = text[record.start : record.end]
        starts = [match.end() for match in _LINE_END.finditer(body) if match.end() < len(body)]
        if not starts:
            return record.end, []
        width, delimiter = self.layout.cells, self.dialect.delimiter.encode()
        swallowed = width > 1 and any(
            _contains_rows(cell.encode("utf-8", "surrogateescape"), delimiter, width)
            for cell, quoted in zip(record.cells, record.quoted, strict=True)
            if quoted and count_lines(cell) > 1
        )
        if not swallowed and not record.flaw and len(record.cells) == width:
            return record.end, []
        lines = [body[start:stop] for start, stop in pairwise([0, *starts, len(body)])] if swallowed else [body]
        for number, (start, stop) in enumerate(pairwise([*starts, len(body)]), 1):
            ahead = text[record.start + start : record.start + max(stop, start + _AHEAD_CHARACTERS)]
            following = next(self.table.splitter.split(ahead), None)
            if width > 1 and following and not following.flaw and len(following.cells) == width:
                return record.start + start, lines[:number] if swallowed else [body[:start]]
        return record.end, lines if swallowed else []

    def _take(self, text: str, record: Record, rows: list[list[str | None]]) -> None:
        """Add a record to the rows, or reject it."""
        layout, cells = self.layout, record.cells
        body = text[record.start : record.end]
        surplus = any(
            cell.strip() or quoted
            for cell, quoted in zip(cells[layout.cells :], record.quoted[layout.cells :], strict=True)
        )
        surplus = surplus or (len(cells) > layout.cells and not layout.surplus)
        if record.flaw == "open":
            reason = "a quote is not closed"
        elif not _is_unicode(body):
            reason = f"bytes that are not {self.dialect.encoding}"
        elif surplus or len(cells) < layout.shortest:
            reason = f"{len(cells)} cells, expected {layout.cells}"
        elif any(at < len(cells) and cells[at].strip() for at in range(layout.cells) if at not in layout.kept):
            reason = "a value in a column without a name"
        else:
            missing = {"", *self.table.null_values}
            row = [
                None if cell in missing and (not quoted or self.dialect.quotes_all) else cell
                for cell, quoted in zip(cells, record.quoted, strict=True)
            ]
            rows.append((row + [None] * layout.cells)[: layout.cells])
            return
        self._reject(body, record.line, reason)

    def _reject(self, text: str, line: int, reason: str) -> None:
        self.table.rejected.add(f"{self.table.name}, line {line}", _printable(text).rstrip("\r\n"), reason)

    def _to_table(self, rows: list[list[str | None]]) -> pa.Table:
        """Return rows as a table of the columns that are read."""
        positions = [self.labels.index(label) for label in self.chosen]
        arrays = [pa.array([row[at] for row in rows], pa.string()) for at in positions]
        return pa.table(dict(zip(self.chosen, arrays, strict=True)))


def open_delimited(
    open_bytes: Callable[[], IO[bytes]],
    name: str,
    dialect: Dialect,
    rejected: Rejects,
    *,
    null_values: Sequence[str] = (),
) -> DelimitedTable:
    """Open delimited text and find its columns; the rows are read by `DelimitedTable.read`.

    null_values: unquoted cells that are missing, besides empty ones. rejected: gets the rows that cannot be read, with their
    line, text and reason. A file without any text has no columns.
    """
    head, final = b"", True
    with open_bytes() as source:
        for chunk, last in _read_text(source, dialect.encoding):
            head, final = head + chunk, last
            if len(head) >= _BLOCK_BYTES // 4:
                break
    text = head.decode("utf-8", "surrogateescape")
    records = Splitter(dialect).split(text, _skip_lines(text, dialect.skip))
    sample = list(islice((record for record in records if not record.blank), _SAMPLE_RECORDS))
    if not final and len(sample) > 1 and sample[-1].end == len(text):
        sample.pop()  # it may be cut
    return DelimitedTable(open_bytes, name, dialect, rejected, null_values, _find_layout(sample, dialect, name))


# --- columns ----------------------------------------------------------------------------------------------------------


def _find_layout(sample: list[Record], dialect: Dialect, name: str) -> _Layout:
    """Find the columns from the first records; their number is that of most rows."""
    if not sample:
        return _Layout([], 0, [], 0)
    rows = sample[1:] if dialect.header else sample
    widths = Counter(len(row.cells) for row in rows if row.flaw != "open")
    usual, count = widths.most_common(1)[0] if widths else (len(sample[0].cells), 0)
    if dialect.header and 2 * count <= len(rows):
        usual = len(sample[0].cells)  # the header counts more than some rows
    if not dialect.header:
        names = [f"column_{at + 1}" for at in range(usual)]
        return _Layout(names, usual, list(range(usual)), _shortest(rows, usual), _ends_filled(rows, usual))
    header = [cell.strip() for cell in sample[0].cells]
    notes: list[str] = []
    alike = [row.cells for row in rows if len(row.cells) == usual]
    if len(header) > usual and len([cell for cell in header if cell]) == usual:
        header = [cell for cell in header if cell]
        notes.append(
            f"The header of {name} has {len(sample[0].cells)} cells and the rows {usual}: empty names were left out."
        )
    elif len(header) < usual and _are_labels([cells[0] for cells in alike]) and usual == len(header) + 1:
        header = ["", *header]
    width = max(len(header), usual)
    kept = list(range(width))
    while (
        len(kept) > 1
        and not "".join(header[kept[-1] :])
        and not any("".join(cells[kept[-1] :]).strip() for cells in alike)
    ):
        kept.pop()  # at the end, without a name and empty
    if len(kept) < width and len(header) > len(kept):
        notes.append(
            f"{name} has {width - len(kept)} empty columns without a name at the end of its rows; they were left out."
        )
    elif len(kept) < width:
        notes.append(
            f"The rows of {name} end with {width - len(kept)} empty cells more than the header; they were left out."
        )
    names, repaired = repair_names((header + [""] * width)[: len(kept)], name)
    notes += repaired
    shortest = min(_shortest(rows, width), usual)
    if len(header) > usual:
        notes.append(f"The rows of {name} have {usual} cells and its header {len(header)}: the last columns are empty.")
    return _Layout(names, width, kept, shortest, _ends_filled(rows, width), tuple(notes))


def _are_labels(cells: list[str]) -> bool:
    """Whether the cells number the rows, as R writes them without a name in the header."""
    return (
        len(cells) > 1
        and all(cell.isdecimal() for cell in cells)
        and {int(b) - int(a) for a, b in pairwise(cells)} == {1}
    )


def _shortest(rows: list[Record], width: int) -> int:
    """Return the least cells of a row: fewer than `width` if the file leaves out empty cells at the ends of its rows.

    It does if many rows are shorter, and no row ends with an empty cell.
    """
    short = [row for row in rows if len(row.cells) < width]
    if len(short) >= max(3, len(rows) / 20) and width > 2 and all(row.cells[-1] for row in rows):
        return 1
    return width


def _ends_filled(rows: list[Record], width: int) -> bool:
    """Whether the last cell of every row of the usual length contains something."""
    return all(row.cells[-1].strip() for row in rows if len(row.cells) == width)


def _label(layout: _Layout) -> list[str]:
    """Return a name for each cell of a row: those of the columns, and different ones for cells that are left out."""
    labels = dict(zip(layout.kept, layout.names, strict=True))
    spare = (f"\0{at}" for at in range(layout.cells))
    return [labels.get(at) or next(spare) for at in range(layout.cells)]


# --- text -------------------------------------------------------------------------------------------------------------


def _read_text(source: IO[bytes], encoding: str) -> Iterator[tuple[bytes, bool]]:
    """Yield blocks of a file as UTF-8 without a byte order mark, and whether it is the last.

    Bytes that are not in the encoding become bytes that are not UTF-8.
    """
    codecs.register_error("lifecycle.broken", lambda error: ("\udcff", error.end))  # type: ignore[attr-defined]
    decoder = None if _is_utf8(encoding) else codecs.getincrementaldecoder(encoding)("lifecycle.broken")
    first = True
    chunk = source.read(_BLOCK_BYTES)
    while True:
        following = source.read(_BLOCK_BYTES) if chunk else b""
        final = not following
        text = chunk if decoder is None else decoder.decode(chunk, final).encode("utf-8", "surrogateescape")
        if first:
            text = text.removeprefix(codecs.BOM_UTF8)
            first = False
        yield text, final
        if final:
            return
        chunk = following


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in {"utf-8", "utf-8-sig", "ascii"}


def _is_unicode(text: str) -> bool:
    """Whether all bytes of a text that was decoded with `surrogateescape` were UTF-8."""
    return text.isascii() or not re.search("[\ud800-\udfff]", text)


def _printable(text: str) -> str:
    """Return a text with U+FFFD for bytes that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _skip_lines(text: str, lines: int) -> int:
    """Return where the text begins after so many lines."""
    ends = islice(_LINE_END.finditer(text), lines)
    return max((match.end() for match in ends), default=0) if lines else 0


def _last_line_end(block: bytes, start: int, stop: int) -> int:
    """Return the end of the last line that ends in block[start:stop], or `start`; a last carriage return may be half of an end."""
    return max(block.rfind(b"\n", start, stop), block.rfind(b"\r", start, max(stop - 1, 0)), start - 1) + 1


def _find_record_end(part: bytes, quotes: np.ndarray, limit: int) -> int:
    """Return the end of the last line that ends in part[:limit] outside quotes, whose positions are given; 0 without one."""
    while True:
        end = _last_line_end(part, 0, limit)
        before = int(np.searchsorted(quotes, end))
        if end == 0 or before % 2 == 0:
            return end
        limit = int(quotes[before - 1])


def _count_line_ends(segment: bytes) -> int:
    return segment.count(b"\n") or segment.count(b"\r")


def _contains_rows(cell: bytes, delimiter: bytes, width: int) -> bool:
    """Whether the whole lines within a cell have as many delimiters as rows, and so many that this is not chance."""
    lines = [line for line in cell.splitlines()[1:-1] if line]
    rows = sum(line.count(delimiter) == width - 1 for line in lines)
    return rows * (width - 1) >= _NO_CHANCE and rows > 0.9 * len(lines)
