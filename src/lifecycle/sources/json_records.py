"""Tables in JSON: a record a line, or a list of records; nested records are flattened, and every value stays exact."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from lifecycle.core.errors import ProjectError
from lifecycle.core.tables import Rejects
from lifecycle.sources.blocks import BLOCK_BYTES, Open, read_lines, run_ahead
from lifecycle.sources.cells import NOTHING, Kind, Kinds, classify_whole, join_kinds

_HEAD_BYTES = 1 << 16  # bytes that show how the records are laid out
_LONG = re.compile(rb"(?<=[:\[,\s-])[0-9]{16,}(?=[\s,}\]])")  # a whole number that float64 may not hold
_SURROGATE = re.compile(
    rb"\\u[dD][89a-fA-F]"
)  # half of a character that UTF-16 writes as two, perhaps without the other
_SCALARS = re.compile(rb"[^\"{\[]+,\s*(?=\{)")
_BLANK = b" \t\r\n"
_BEFORE = b":[,- \t\r\n"  # what stands before a number
_EXPECTED = "expected one object a line, a list of objects, or an object with exactly one list of objects"
_SIMPLE = {  # the kinds of a column that Arrow reads exactly, by the column's type
    pa.bool_(): Kind.BOOLEAN,
    pa.int64(): Kind.WHOLE | Kind.LONG,
    pa.float64(): Kind.WHOLE | Kind.FRACTION,
    pa.string(): Kind.TEXT,
}


class _Literal(float):
    """A fraction with its text as in the source."""

    text: str

    def __new__(cls, text: str) -> _Literal:
        value = super().__new__(cls, text)
        value.text = text
        return value


@dataclass(frozen=True)
class _Layout:
    """Where the records are: one a line, or elements that lie between other bytes, after the first `skip` of them."""

    lines: bool
    skip: int = 0
    sequence: bool = False  # elements follow each other to the file's end, without a list around them


@dataclass(frozen=True)
class JsonFile:
    """A file of records, inspected: the kinds of each column, and whether no record is nested."""

    open: Open
    name: str
    kinds: Kinds
    layout: _Layout
    flat: bool = True
    rejected: Rejects = field(default_factory=Rejects)

    def read(self, needed: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Read the needed columns; a column of text has other values as JSON writes them, and missing columns are null.

        Records that cannot be read go to `rejected`.
        """
        simple = self.flat and all(
            self.kinds.get(column.name, NOTHING) in _SIMPLE.get(column.type, NOTHING) for column in needed
        )
        exact = any(
            column.type == pa.string() and Kind.FRACTION in self.kinds.get(column.name, NOTHING) for column in needed
        )

        def parse(block: tuple[int, bytes]) -> tuple[list[pa.RecordBatch], list[tuple[str, str, str]]]:
            table = _parse_fast(block[1], needed) if simple else None
            if table is not None:
                return table.to_batches(), []
            records, broken = _parse_records(block, self, exact)
            arrays = [_build_array([record.get(column.name) for record in records], column.type) for column in needed]
            # Without columns, a batch of a column that is left out later counts the records.
            columns = dict(zip(needed.names, arrays, strict=True)) or {"": pa.nulls(len(records))}
            return [pa.RecordBatch.from_pydict(columns)], broken

        for batches, broken in run_ahead(parse, _read_blocks(self.open, self.layout)):
            for reject in broken:
                self.rejected.add(*reject)
            yield from batches


def inspect_json(open_file: Open, name: str, rejected: Rejects, *, lines: bool) -> JsonFile:
    """Find the columns of a file and the kinds of their values, in one pass; `lines`: its ending says one record a line."""
    layout = _find_layout(open_file, name, lines)
    file = JsonFile(open_file, name, {}, layout, rejected=rejected)
    found: Kinds = {}
    flat = True
    words: list[pa.Schema] = []  # the columns of text in the first block, which need no inference in the others
    for kinds, plain in run_ahead(lambda block: _classify_block(block, file, words), _read_blocks(open_file, layout)):
        found = join_kinds((found, kinds))
        flat &= plain
        if not words:
            words.append(pa.schema([(column, pa.string()) for column, kind in kinds.items() if kind == Kind.TEXT]))
    return JsonFile(open_file, name, found, layout, flat, rejected)


# Records.


def flatten(record: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten a record: nested fields become `a.b`, lists and empty objects JSON text.

    Raises ValueError when two fields get the same name.
    """
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict) and value:
            inner = {f"{name}.{key}": item for key, item in flatten(value).items()}
        else:
            inner = {name: _dump(value) if isinstance(value, list | dict) else value}
        if twice := flat.keys() & inner.keys():
            raise ValueError(f"two values for {min(twice)!r}")
        flat |= inner
    return flat


class _Json(str):
    """JSON text of a list or an object."""


def _dump(value: Any) -> _Json:
    """Write a value as compact JSON."""
    try:
        return _Json(orjson.dumps(value).decode())
    except TypeError:  # whole numbers beyond 64 bits, and fractions with their text
        return _Json(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _classify(value: Any) -> Kind:
    """Return the kind of a flattened value."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return Kind.BOOLEAN
    if isinstance(value, int):
        return classify_whole(value)
    if isinstance(value, float):
        return Kind.FRACTION
    return Kind.OTHER if isinstance(value, _Json) else Kind.TEXT


def write_text(value: Any) -> str | None:
    """Write a flattened value as text, as JSON has it; text is without its quotes."""
    if value is None or isinstance(value, str):
        return value
    return value.text if isinstance(value, _Literal) else str(_dump(value))


def _build_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Convert flattened values to an array of a type that holds them all."""
    if kind == pa.string():
        return pa.array([write_text(value) for value in values], kind)
    if kind == pa.float64():
        return pa.array([None if value is None else float(value) for value in values], kind)
    return pa.array(values, kind)


def _load(line: bytes, exact: bool) -> Any:
    """Parse one record; `exact` keeps the text of fractions. Raises ValueError."""
    if exact or _LONG.search(line):
        return json.loads(line, parse_float=_Literal if exact else None)
    try:
        return orjson.loads(line)
    except ValueError:
        return json.loads(line)  # NaN and Infinity, as Python writes them, are numbers here


def _load_object(line: bytes, exact: bool) -> dict[str, Any]:
    """Parse one record (see `_load`); raise ValueError for a value that is not an object."""
    record = _load(line, exact)
    if not isinstance(record, dict):
        raise ValueError("not an object")  # noqa: TRY004 - it is the file that is wrong
    if _SURROGATE.search(line):
        json.dumps(record, ensure_ascii=False, default=str).encode()  # half of a character raises UnicodeEncodeError
    return record


def _parse_records(
    block: tuple[int, bytes], file: JsonFile, exact: bool
) -> tuple[list[dict[str, Any]], list[tuple[str, str, str]]]:
    """Parse a block's records one by one; return them flattened, and where, text and reason of those that are broken."""
    records, broken = [], []
    thing = "line" if file.layout.lines else "record"
    for number, line in enumerate(block[1].split(b"\n"), block[0]):
        if not line.strip():
            continue
        try:
            records.append(flatten(_load_object(line, exact)))
        except (ValueError, RecursionError) as error:
            reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else _describe(error)
            broken.append((f"{file.name}, {thing} {number}", line.decode(errors="replace").strip(), reason))
    return records, broken


def _describe(error: Exception) -> str:
    """Describe why a record cannot be read, in a few words that are the same for records with the same fault."""
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg}"
    if isinstance(error, UnicodeEncodeError):
        return "half of a character, as of a cut emoji"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _classify_block(block: tuple[int, bytes], file: JsonFile, words: Sequence[pa.Schema]) -> tuple[Kinds, bool]:
    """Return the kinds of a block's columns, and whether no record is nested."""
    if not _has_long(block[1]) and (table := _parse_fast(block[1], *words, infer=True)) is not None:
        found = {column.name: _classify_column(table[column.name]) for column in table.schema}
        if None not in found.values():
            return {name: kind for name, kind in found.items() if kind is not None}, True
    records, _ = _parse_records(block, file, exact=False)
    kinds: Kinds = {}
    for record in records:
        for name, value in record.items():
            kinds[name] = kinds.get(name, NOTHING) | _classify(value)
    nested = b"{" in block[1].replace(b"\n{", b"\n").lstrip(_BLANK)[1:]
    return kinds, not nested


def _has_long(block: bytes) -> bool:
    """Return whether a block may hold a whole number that float64 does not hold: sixteen digits or more."""
    array = np.frombuffer(block, np.uint8)
    digits = (array - np.uint8(ord("0"))) < 10
    run = digits  # the positions from which there are 1, 2, 4, 8, 16 digits
    for width in (1, 2, 4, 8):
        run = run[:-width] & run[width:]
    starts = np.flatnonzero(run[1:] & ~digits[: max(len(run) - 1, 0)])
    return any(block[start] in _BEFORE for start in starts)


def _classify_column(column: pa.ChunkedArray) -> Kind | None:
    """Return the kind of a column as Arrow infers it; None for one that is not plain."""
    kind = column.type
    if pa.types.is_null(kind) or column.null_count == len(column):
        return None if pa.types.is_nested(kind) else NOTHING
    if pa.types.is_int64(kind):
        ends = pc.min_max(column).as_py()
        return classify_whole(ends["min"]) | classify_whole(ends["max"])
    if pa.types.is_timestamp(kind):  # text that looks like a time
        return Kind.TEXT
    return {pa.bool_(): Kind.BOOLEAN, pa.float64(): Kind.FRACTION, pa.string(): Kind.TEXT}.get(kind)


def _parse_fast(block: bytes, known: pa.Schema | None = None, *, infer: bool = False) -> pa.Table | None:
    """Parse a block with Arrow: the known columns, or all, others with their inferred types.

    Returns None unless every line is a record of these types.
    """
    options = {"explicit_schema": known, "unexpected_field_behavior": "infer" if infer else "ignore"}
    whole = pa.json.ReadOptions(block_size=len(block) + 1, use_threads=False)
    try:
        block.decode()
        table = pa.json.read_json(pa.BufferReader(block), whole, pa.json.ParseOptions(**options))
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    rows = sum(1 for line in block.split(b"\n") if line.strip())
    same = table.num_rows == rows and len(set(table.column_names)) == len(table.column_names)
    return table if same else None


# Blocks.


def _find_layout(open_file: Open, name: str, named: bool) -> _Layout:
    """Find out how a file's records are laid out; raise ProjectError when it holds none."""
    with open_file() as stream:
        head = stream.read(_HEAD_BYTES)
        more = bool(stream.read(1))
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ProjectError(f"{name} is UTF-16 text: expected JSON in UTF-8.")
    mark = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
    text = head[mark:]
    start = mark + len(text) - len(text.lstrip(_BLANK))
    first = head[start : start + 1]
    if first == b"[":
        inner = head[start + 1 :].lstrip(_BLANK)
        if inner[:1] not in {b"{", b"]", b""}:
            raise ProjectError(f"{name} is a list of other things than objects: {_EXPECTED}.")
        return _Layout(False, start + 1)
    if not text.strip() and not more:
        raise ProjectError(f"{name} is empty.")
    lines = [line for line in text.split(b"\n") if line.strip()]
    whole = lines[:-1] if more and len(lines) > 1 else lines
    good = sum(map(_is_object, whole))
    if named and (good or first != b"{"):
        return _Layout(True, mark)
    if first != b"{":
        raise ProjectError(f"{name} is not JSON: {_EXPECTED}.")
    if 2 * good > len(whole) and (more or len(lines) > 1):
        return _Layout(True, mark)
    try:
        return _find_list(open_file, name, start)
    except ProjectError:
        if named:
            return _Layout(True, mark)  # every line is broken
        raise


def _is_object(line: bytes) -> bool:
    """Return whether a line is a JSON object."""
    try:
        return isinstance(_load(line, exact=False), dict)
    except (ValueError, RecursionError):
        return False


def _find_list(open_file: Open, name: str, start: int) -> _Layout:
    """Find the one list of objects in an object, or objects that follow each other."""
    lists, place, depth, inside, ended = [], 0, 0, False, False
    with open_file() as stream:
        _skip(stream, start)
        place = start
        while chunk := _read_chunk(stream):
            depths, brackets, inside = _scan(chunk, depth, inside)
            if ended and chunk.strip(_BLANK):
                return _Layout(False, start, sequence=True)
            array = np.frombuffer(chunk, np.uint8)
            for position in np.flatnonzero(brackets & (depths == 2) & (array == ord("["))):
                following = chunk[position + 1 : position + 1 + _HEAD_BYTES].lstrip(_BLANK)
                if not following:
                    following = _peek(open_file, place + int(position) + 1)
                if following[:1] == b"{":
                    lists.append(place + int(position) + 1)
            closed = np.flatnonzero(brackets & (depths == 0))
            if len(closed):
                if chunk[closed[0] + 1 :].strip(_BLANK):
                    return _Layout(False, start, sequence=True)
                ended = True
            depth, place = int(depths[-1]), place + len(chunk)
    if len(lists) == 1:
        return _Layout(False, lists[0])
    found = "without a list of objects" if not lists else f"with {len(lists):,} lists of objects"
    raise ProjectError(f"{name} is one object {found}: {_EXPECTED}.")


def _peek(open_file: Open, place: int) -> bytes:
    """Return the first bytes after a place, without blank ones."""
    with open_file() as stream:
        _skip(stream, place)
        following: bytes = stream.read(_HEAD_BYTES)
        return following.lstrip(_BLANK)


def _read_chunk(stream: Any, size: int = BLOCK_BYTES) -> bytes:
    """Read bytes that do not end within an escape sequence."""
    chunk: bytes = stream.read(size)
    while chunk.endswith(b"\\") and (more := stream.read(1)):
        chunk += more
    return chunk


def _scan(chunk: bytes, depth: int, inside: bool) -> tuple[Any, Any, bool]:
    """Return the depth after each byte, int64, which bytes are brackets, bool, and whether the chunk ends inside a string.

    `depth` and `inside` are those at the chunk's beginning.
    """
    plain = re.sub(rb"\\.", b"__", chunk, flags=re.DOTALL) if b"\\" in chunk else chunk
    array = np.frombuffer(plain, np.uint8)
    quotes = np.cumsum(array == ord('"')) + inside
    outside = (quotes & 1) == 0
    up = ((array == ord("{")) | (array == ord("["))) & outside
    down = ((array == ord("}")) | (array == ord("]"))) & outside
    depths = depth + np.cumsum(up.astype(np.int64) - down)
    return depths, up | down, bool(len(quotes) and quotes[-1] & 1)


def _read_blocks(open_file: Open, layout: _Layout) -> Iterator[tuple[int, bytes]]:
    """Yield blocks of records, one a line, each with the number of its first line or record, from 1."""
    with open_file() as stream:
        _skip(stream, layout.skip)
        if layout.lines:
            yield from read_lines(stream)
            return
        number = 1
        for elements in _split_elements(stream):
            yield number, b"\n".join(elements)
            number += len(elements)


def _skip(stream: Any, count: int) -> None:
    """Read over some bytes."""
    while count and (piece := stream.read(min(count, BLOCK_BYTES))):
        count -= len(piece)


def _split_elements(stream: Any) -> Iterator[list[bytes]]:
    """Yield the elements of a list, or objects that follow each other, each on one line; what cannot be parted comes last."""
    rest = b""
    while chunk := _read_chunk(stream, max(BLOCK_BYTES, len(rest))):
        buffer = rest + chunk
        depths, brackets, _ = _scan(buffer, 0, inside=False)
        over = np.flatnonzero(brackets & (depths < 0))  # the end of the list
        ends = np.flatnonzero(brackets & (depths == 0))
        last = int(over[0]) if len(over) else len(buffer)
        edges = [0, *(int(end) + 1 for end in ends if end < last)]
        elements = [part for begin, end in pairwise(edges) for part in _part_scalars(_join_line(buffer[begin:end]))]
        if elements:
            yield elements
        rest = buffer[edges[-1] : last]
        if len(over):
            break
    if left := _join_line(rest):
        yield [left]


def _part_scalars(element: bytes) -> list[bytes]:
    """Part an object from numbers and words such as null before it, as they have no brackets by which to part them."""
    found = _SCALARS.match(element)
    return [element] if found is None else [*found[0].rstrip(b", ").split(b","), element[found.end() :]]


def _join_line(element: bytes) -> bytes:
    """Return an element on one line: JSON has no line ends within strings."""
    return element.strip(_BLANK + b",").replace(b"\r", b" ").replace(b"\n", b" ")
