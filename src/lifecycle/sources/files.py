"""Tables in files on any file system; many files are one table, read in bounded memory."""

from __future__ import annotations

import codecs
import io
import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Protocol
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs
from pydantic import AfterValidator, Field, StringConstraints

from lifecycle.core.errors import ProjectError
from lifecycle.core.paths import OPTIONS
from lifecycle.core.tables import Rejects, Stream
from lifecycle.sources import excel, kinds
from lifecycle.sources.addresses import split_glob
from lifecycle.sources.archive import list_tables, open_member
from lifecycle.sources.blocks import Open
from lifecycle.sources.cells import Kind, Kinds, choose_type, join_kinds
from lifecycle.sources.delimited import DelimitedTable, open_delimited
from lifecycle.sources.dialect import Dialect, detect_dialect
from lifecycle.sources.json_records import inspect_json
from lifecycle.sources.parquet import (
    describe_changes,
    explain_error,
    find_index,
    open_fragment,
    read_fragments,
    show_types,
    unify_schemas,
)
from lifecycle.sources.selection import (
    TableOptions,
    build_filter,
    build_text_filter,
    check_names,
    choose_columns,
    select,
    translate_errors,
)

_THREADS = 8  # beginnings and ends of files that are read at the same time, as each is a round trip to an object store
HEAD_BYTES = 1 << 20  # of a file that show how it is written
_DELIMITERS = {".tsv": "\t", ".tab": "\t", ".psv": "|"}  # by the ending
_NULL_KEY = "__HIVE_DEFAULT_PARTITION__"

logger = logging.getLogger("lifecycle.sources")


def _check_encoding(name: str) -> str:
    """Return the name of a known text encoding; raise ValueError for another."""
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise ValueError(f"{name!r} is not the name of a text encoding") from None


def _check_range(text: str) -> str:
    """Return a range of cells as it was given; raise ValueError for other text."""
    excel.parse_range(text)
    return text


_Character = Annotated[str, StringConstraints(max_length=1)]


class FileOptions(TableOptions):
    """The options of files: which part is read, how delimited text is written, and which cells of a workbook are read."""

    encoding: Annotated[str, AfterValidator(_check_encoding)] | None = None  # of delimited text; UTF-8 if absent
    delimiter: Annotated[str, Field(min_length=1)] | None = (
        None  # between cells of delimited text; a comma if absent, a tab in .tsv and .tab, a bar in .psv
    )
    quote: _Character | None = None  # around cells of delimited text; `"` if absent, empty for none
    escape: _Character | None = None  # before a quote or delimiter that belongs to the cell; none if absent
    skip: Annotated[int, Field(ge=0)] | None = None  # lines of delimited text before the header; 0 if absent
    header: bool | None = None  # whether the first row names the columns; true if absent
    skip_space: bool | None = None  # whether spaces after a delimiter are left out; false if absent
    quotes_all: bool | None = (
        None  # whether all cells are quoted, so that a quoted word may mean missing; false if absent
    )
    null_values: tuple[str, ...] = ()  # words that mean missing, where they are not quoted
    sheet: str | int | None = None  # of a workbook, by its name or its number from 1; the first with data if absent
    range: Annotated[str, AfterValidator(_check_range)] | None = (
        None  # of cells of a sheet, as in `B3:F200` or `B3`; all if absent
    )


_TEXT_OPTIONS = ("encoding", "delimiter", "quote", "escape", "skip", "skip_space", "quotes_all")
_EXCEL_OPTIONS = ("sheet", "range")


@dataclass(frozen=True)
class Found:
    """The files of a source: each path in `system` with its name in messages, and the folder whose subfolders are keys."""

    system: fs.FileSystem
    paths: Mapping[str, str]
    source: str
    base: str = ""


@dataclass(frozen=True)
class TableFile:
    """A file of a table: its name in messages, its kind, how it is opened, its folders, and the keys in their names.

    path: in a file system, if it is not within an archive or compressed.
    """

    name: str
    kind: str
    open: Open
    folders: tuple[str, ...] = ()
    keys: dict[str, Any] = field(default_factory=dict)
    path: str = ""

    def read_head(self) -> bytes:
        """Read the file's first bytes."""
        with translate_errors(self.name, f"is not readable as {self.kind[1:]}"), self.open() as stream:
            return read_up_to(stream, HEAD_BYTES)

    def read_whole(self) -> io.BytesIO:
        """Read a workbook, which is in memory as a whole."""
        with self.open() as stream:
            return io.BytesIO(stream.read())


class _Part(Protocol):
    """A file whose columns are known: the kinds of their values, and a reader of the columns that are needed."""

    @property
    def kinds(self) -> Kinds: ...
    def read(self, needed: pa.Schema, /) -> Iterator[pa.RecordBatch]: ...


@dataclass(frozen=True)
class Again:
    """Batches that are read anew at each iteration."""

    read: Callable[[], Iterator[pa.RecordBatch]]

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self.read()


def read_up_to(stream: Any, size: int) -> bytes:
    """Read bytes until there are so many of them, or no more."""
    parts = []
    while size and (piece := stream.read(size)):
        parts.append(piece)
        size -= len(piece)
    return b"".join(parts)


# Files.


def list_files(found: Found) -> list[TableFile]:
    """List the files of a table, those within archives as well, in the order of their paths; they are of one kind.

    The kind is that of the ending, and of the content where the ending does not say. Raises ProjectError naming the file.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        listed = pool.map(partial(_list_file, found), sorted(found.paths))
        files = [file for part in listed for file in part]
    names = sorted({".jsonl" if file.kind in kinds.LINES else file.kind for file in files})
    if len(names) > 1:
        raise ProjectError(f"{found.source} holds files of more than one kind: {', '.join(names)}.")
    return files


def _list_folders(path: str, base: str) -> tuple[str, ...]:
    """List the folders of a path below `base`."""
    return PurePosixPath(path).relative_to(base).parts[:-1] if base else ()


def _list_file(found: Found, path: str) -> list[TableFile]:
    """Return a file, or the files within it if it is an archive."""
    system, name, folders = found.system, found.paths[path], _list_folders(path, found.base)
    with translate_errors(name, "is not readable"):
        if system.get_file_info(path).size == 0:
            raise ProjectError(f"{name} is empty.")
        kind, compression = kinds.split_ending(path)
        if kinds.needs_content(path):
            kind, compression = _look_into(
                partial(_open_plain, system, path), path, name, partial(list_tables, system, path, name)
            )
    if kind == kinds.ZIP:
        return _list_members(system, path, name, folders)
    return [TableFile(name, kind, partial(_open_plain, system, path, compression), folders, path=path)]


def _look_into(open_file: Any, path: str, name: str, list_members: Any) -> tuple[str, str | None]:
    """Return the kind and the compression of a file by its first bytes; the content is right where the ending is not."""
    with open_file() as stream:
        head = read_up_to(stream, 1 << 13)
    compression = kinds.find_compression(head)
    if compression is not None:
        with translate_errors(name, "is not readable"), open_file(compression) as stream:
            head = read_up_to(stream, 1 << 13)
    return kinds.find_kind(path, name, head, list_members), compression


def _list_members(system: fs.FileSystem, path: str, name: str, folders: tuple[str, ...]) -> list[TableFile]:
    """List the tables within an archive."""
    files = []
    for member in list_tables(system, path, name):
        shown = f"{name}/{member}"
        open_file = partial(_open_inner, system, path, name, member)
        kind, compression = kinds.split_ending(member)
        if kinds.needs_content(member):
            kind, compression = _look_into(open_file, member, shown, list)
        if kind == kinds.ZIP:
            raise ProjectError(f"{shown} is an archive within an archive: {kinds.ACCEPTED}.")
        inside = (*folders, *PurePosixPath(member).parts[:-1])
        files.append(TableFile(shown, kind, partial(open_file, compression), inside))
    return files


def _open_plain(system: fs.FileSystem, path: str, compression: str | None = None) -> AbstractContextManager[Any]:
    """Open a file as a stream of bytes without its compression."""
    stream: AbstractContextManager[Any] = system.open_input_stream(path, compression=compression)
    return stream


@contextmanager
def _open_inner(
    system: fs.FileSystem, path: str, name: str, member: str, compression: str | None = None
) -> Iterator[Any]:
    """Open a file within an archive as a stream of bytes without its compression."""
    with open_member(system, path, name, member) as stream:
        yield pa.CompressedInputStream(pa.PythonFile(stream), compression) if compression else stream


def _find_keys(files: Sequence[TableFile]) -> tuple[list[TableFile], pa.Schema]:
    """Return the files with the keys in the names of their folders, and the keys' types."""
    texts = []
    for file in files:
        pairs = (folder.split("=", 1) for folder in file.folders if "=" in folder)
        texts.append({key: None if value == _NULL_KEY else unquote(value) for key, value in pairs})
    names = list(dict.fromkeys(name for found in texts for name in found))
    whole = {
        name: all(re.fullmatch(r"-?(0|[1-9]\d{0,17})", found[name] or "0") for found in texts if name in found)
        for name in names
    }
    keyed = [
        replace(
            file,
            keys={
                name: int(value) if whole[name] and value is not None else value
                for name, value in ((name, found.get(name)) for name in names)
            },
        )
        for file, found in zip(files, texts, strict=True)
    ]
    return keyed, pa.schema([(name, pa.int64() if whole[name] else pa.string()) for name in names])


def _prune_files(files: Sequence[TableFile], keys: pa.Schema, options: FileOptions, source: str) -> list[TableFile]:
    """Return the files whose keys match the filter, so that the others are not opened; at least one, for its columns."""
    expression = build_filter(keys, [clause for clause in options.filter if clause[0] in keys.names], source)
    if expression is None:
        return list(files)
    table = pa.Table.from_pylist([file.keys for file in files], schema=keys)
    kept = table.append_column("", pa.array(range(len(files)))).filter(expression).column("").to_pylist()
    return [files[index] for index in kept] or list(files[:1])


# Tables.


def open_files(found: Found, options: FileOptions) -> Stream:
    """Open files of one kind as one table, with the rows in the order of the paths.

    Folders named `key=value` are columns (int64 when all values are whole numbers, else string). A column that a file lacks is
    null there. Text files arrive as text, JSON and workbooks with exact types, and are read anew at each iteration; rows that
    cannot be read go to the stream's `rejected`. Raises ProjectError naming the file, column or option.
    """
    stream, notes = open_noted(found, options)
    for note in notes:
        logger.warning("%s", note)
    return stream


def open_noted(found: Found, options: FileOptions) -> tuple[Stream, tuple[str, ...]]:
    """Open files as one table (see `open_files`); return the stream, and what was seen that a reader should know."""
    files = list_files(found)
    _check_options(files[0].kind, options, found.source)
    files, keys = _find_keys(files)
    files = _prune_files(files, keys, options, found.source)
    if files[0].kind == ".parquet":
        return _open_parquet(found, files, keys, options)
    rejected = Rejects()
    parts: list[_Part] = []
    notes: list[str] = []
    for file in files:
        with translate_errors(file.name, f"is not readable as {file.kind[1:]}"):
            part, noted = _open_part(file, options, rejected)
        parts.append(part)
        notes += noted
    joined = join_kinds(part.kinds for part in parts)
    notes += _describe_absent(files, [part.kinds for part in parts])
    schema = pa.schema([(name, choose_type(kind)) for name, kind in joined.items()])
    for key in keys:
        if key.name not in schema.names:
            schema = schema.append(key)
    chosen = choose_columns(schema, options, found.source)
    matching = build_text_filter(schema, options.filter, found.source)

    def read() -> Iterator[pa.RecordBatch]:
        rejected.clear()
        for file, part in zip(files, parts, strict=True):
            wanted = {*chosen.names, *(clause[0] for clause in options.filter)} - (file.keys.keys() - part.kinds.keys())
            needed = pa.schema([column for column in schema if column.name in wanted])
            with translate_errors(file.name, f"is not readable as {file.kind[1:]}"):
                for batch in part.read(needed):
                    yield matching.apply(_add_keys(batch, file, schema)).select(chosen.names)

    return Stream(chosen, Again(read), text=True, rejected=rejected), tuple(notes)


def _add_keys(batch: pa.RecordBatch, file: TableFile, schema: pa.Schema) -> pa.RecordBatch:
    """Add the keys of a file's folders to a batch."""
    for name, value in file.keys.items():
        if name not in batch.schema.names:
            batch = batch.append_column(name, pa.repeat(pa.scalar(value, schema.field(name).type), batch.num_rows))
    return batch


def _check_options(kind: str, options: FileOptions, source: str) -> None:
    """Raise ProjectError for an option that is for another kind of file."""
    allowed = {"header", "null_values"} if kind in (*kinds.TEXT, *excel.KINDS) else set()
    allowed |= set(_TEXT_OPTIONS if kind in kinds.TEXT else _EXCEL_OPTIONS if kind in excel.KINDS else ())
    given = {
        name for name in options.model_fields_set - {"columns", "filter"} if getattr(options, name) not in (None, ())
    }
    if wrong := sorted((given & set(FileOptions.model_fields)) - allowed):
        raise ProjectError(f"{source} is read as {kind}, which does not take the option {wrong[0]} (collect.options).")


def _open_part(file: TableFile, options: FileOptions, rejected: Rejects) -> tuple[_Part, Sequence[str]]:
    """Inspect a file of text, JSON or a workbook; return its reader, and what was seen that a reader should know."""
    if file.kind in kinds.JSON:
        return inspect_json(file.open, file.name, rejected, lines=file.kind in kinds.LINES), ()
    if file.kind in excel.KINDS:
        book = excel.inspect_excel(
            file.read_whole(),
            file.name,
            options.sheet,
            options.range,
            options.null_values,
            header=options.header is not False,
        )
        return book, book.notes
    return _open_text(file, options, rejected)


def _describe_absent(files: Sequence[TableFile], columns: Sequence[Collection[str]]) -> list[str]:
    """Describe the columns that some of the files lack, in sentences; `columns` are those of each file."""
    notes = []
    for name in dict.fromkeys(chain.from_iterable(columns)):
        absent = [file.name for file, own in zip(files, columns, strict=True) if name not in own]
        if absent:
            notes.append(
                f"{absent[0]} has no column {name!r}, which is missing in its rows"
                + (f" (and in those of {len(absent) - 1:,} more files)." if len(absent) > 1 else ".")
            )
    return notes


def _open_parquet(
    found: Found, files: Sequence[TableFile], keys: pa.Schema, options: FileOptions
) -> tuple[Stream, tuple[str, ...]]:
    """Open Parquet files as one table; numbers of several types become the widest."""
    unpacked = [_unpack(found.system, file) for file in files]

    def inspect(place: int) -> ds.ParquetFileFragment:
        system, path, _ = unpacked[place]
        with translate_errors(files[place].name, "is not readable as parquet"):
            fragment = open_fragment(system, path, files[place].keys, keys)
            check_names(fragment.physical_schema, files[place].name)
        return fragment

    with ThreadPoolExecutor(_THREADS) as pool:
        fragments = list(pool.map(inspect, range(len(files))))
    named = {*(options.columns or ()), *(clause[0] for clause in options.filter)}
    notes: list[str] = []
    schemas = []
    for file, fragment in zip(files, fragments, strict=True):
        schema = fragment.physical_schema
        index = [name for name in find_index(schema) if name not in named]
        if index:
            notes.append(
                f"{file.name}: {', '.join(index)} is the index of a pandas frame without a name, and is left out."
            )
        schemas.append(pa.schema([column for column in schema if column.name not in index]) if index else schema)
        notes += describe_changes(schemas[-1], file.name)
    notes += _describe_absent(files, [schema.names for schema in schemas])
    schema = unify_schemas([file.name for file in files], schemas, None if options.columns is None else named)
    for key in keys:
        if key.name not in schema.names:
            schema = schema.append(key)

    def read(chosen: pa.Schema, expression: ds.Expression | None) -> Iterator[pa.RecordBatch]:
        with translate_errors(found.source, "is not readable as parquet"):
            try:
                yield from read_fragments(fragments, schema, chosen, expression)
            except pa.ArrowException as error:
                raise explain_error(error, schema, schemas, found.source) or error from error
        assert unpacked  # they are removed with their last reader

    return select(show_types(schema), options, found.source, read), tuple(dict.fromkeys(notes))


def _unpack(system: fs.FileSystem, file: TableFile) -> tuple[fs.FileSystem, str, Any]:
    """Return the file system and the path of a file that is read at any place, and what holds it meanwhile."""
    if file.path:
        return system, file.path, None
    held = tempfile.NamedTemporaryFile()  # noqa: SIM115 - it is removed with its last reader
    with file.open() as stream:
        shutil.copyfileobj(stream, held)
    held.flush()
    return fs.LocalFileSystem(), held.name, held


@dataclass(frozen=True)
class _TextFile:
    """A file of delimited text as a part of a table."""

    table: DelimitedTable

    @property
    def kinds(self) -> Kinds:
        """Every column is text."""
        return dict.fromkeys(self.table.names, Kind.TEXT)

    def read(self, needed: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Read the needed columns; missing columns are null."""
        names = set(self.table.names)
        own = [name for name in needed.names if name in names]
        for batch in self.table.read(own or self.table.names[:1]):  # without columns, the first one counts the rows
            missing = pa.nulls(batch.num_rows, pa.string())
            arrays = [batch[name] if name in names else missing for name in needed.names]
            yield pa.RecordBatch.from_arrays(arrays, schema=needed) if arrays else batch


def _open_text(file: TableFile, options: FileOptions, rejected: Rejects) -> tuple[_Part, Sequence[str]]:
    """Open a file of delimited text; raise ProjectError, which names the options to set, when it clearly does not fit them."""
    dialect = make_dialect(file, options)
    table = open_delimited(file.open, file.name, dialect, rejected, null_values=options.null_values)
    if better := _find_better(file, table, options):
        text = ", ".join(f"{name}: {value!r}" for name, value in better.items())
        fault = "is not UTF-8 text" if "encoding" in better else f"has one column {table.names[0]!r} as it is read"
        raise ProjectError(f"{file.name} {fault}: set {OPTIONS} to {{{text}}}, which its first lines suggest.")
    return _TextFile(table), table.notes


def _find_better(file: TableFile, table: DelimitedTable, options: FileOptions) -> dict[str, Any]:
    """Return the options that a file seems to need: when its text is in another encoding, or when it has one column alone."""
    head, given = file.read_head(), list_given(options)
    misread = "encoding" not in given and not is_utf8(head)
    narrow = "delimiter" not in given and _count_named(table) <= 1
    if not misread and not narrow:
        return {}
    detected = detect_dialect(head, name=file.name, given=given).dialect
    other = narrow and detected.delimiter != table.dialect.delimiter
    split = other and _count_named(open_delimited(file.open, file.name, detected, Rejects())) > 1
    recoded = misread and detected.encoding != table.dialect.encoding
    return name_changes(file, detected, options) if split or recoded else {}


def _count_named(table: DelimitedTable) -> int:
    """Return how many columns have a name in the header."""
    return sum(not re.fullmatch(r"column_\d+", name) for name in table.names)


def name_changes(file: TableFile, dialect: Dialect, options: FileOptions) -> dict[str, Any]:
    """Return the options that make a file be read in a dialect, without those that are given or need no mention."""
    usual = make_dialect(file, options)
    return {
        name: value
        for name, value in dialect.to_json().items()
        if name not in list_given(options) and value != getattr(usual, name)
    }


def is_utf8(head: bytes) -> bool:
    """Return whether bytes are UTF-8, of which the last character may be cut."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return b"\0" not in head[:4096]


def list_given(options: FileOptions) -> dict[str, Any]:
    """Return what the options say about how delimited text is written."""
    names = [name for name in Dialect.model_fields if name in FileOptions.model_fields]
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def make_dialect(file: TableFile, options: FileOptions) -> Dialect:
    """Return the dialect as which a file is read: that of its ending, changed by the options."""
    ending = kinds.split_ending(file.name)[0]
    return Dialect.model_validate({"delimiter": _DELIMITERS.get(ending, ",")} | list_given(options))


def find_local_files(source: str, root: Path) -> Found:
    """Find a local file, or those of a glob or folder; what begins with a dot or an underscore is left out."""
    path = root / source
    if path.is_file():
        return Found(fs.LocalFileSystem(), {str(path): source}, source)
    folder, pattern = (path, "**/*") if path.is_dir() else (root / split_glob(source)[0], split_glob(source)[1])
    found = [file for file in folder.glob(pattern) if file.is_file()] if pattern else []
    paths = {str(file): str(PurePosixPath(split_glob(source)[0], file.relative_to(folder))) for file in found}
    return leave_hidden(Found(fs.LocalFileSystem(), paths, source, str(folder)), f"looked for {path}")


def leave_hidden(found: Found, looked: str) -> Found:
    """Leave out files whose name or folder begins with a dot or an underscore; raise ProjectError when none is left."""
    shown = {
        path: name
        for path, name in found.paths.items()
        if not any(part.startswith((".", "_")) for part in PurePosixPath(path).relative_to(found.base).parts)
    }
    if not shown:
        raise ProjectError(f"{found.source} does not exist ({looked}).")
    return replace(found, paths=shown)
