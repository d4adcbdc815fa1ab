"""Tables in files: CSV, Parquet and JSON lines on any file system; many files are one table, read in bounded memory."""

from __future__ import annotations

import codecs
import logging
import re
import tempfile
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, repeat, takewhile
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.json
import pyarrow.parquet
from pyarrow import fs
from pydantic import AfterValidator, Field

from lifecycle.core.errors import ProjectError
from lifecycle.core.params import Strict
from lifecycle.core.tables import Stream
from lifecycle.sources.addresses import split_glob

KINDS = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")
COMPRESSIONS = (".gz", ".bz2", ".zst", ".lz4")  # of CSV and JSON lines; Parquet files compress their columns
_BLOCK_BYTES = 1 << 20  # bytes of text that are parsed at once
_FOOTER_THREADS = 8  # Parquet footers that are read at the same time, as each is a round trip to an object store
_READ_AHEAD = 2  # blocks or row groups that are read ahead
_NULL_KEY = "__HIVE_DEFAULT_PARTITION__"
_MISFIT = re.compile(r"In CSV column #(\d+): .*CSV conversion error", re.DOTALL)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

logger = logging.getLogger("lifecycle.sources")


def _check_encoding(name: str) -> str:
    """Return the name of a known text encoding; raise ValueError for another."""
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise ValueError(f"{name!r} is not the name of a text encoding") from None


_Clause = tuple[str, Literal["==", "=", "!=", "<", "<=", ">", ">=", "in", "not in"], Any]


class TableOptions(Strict):
    """Which part of a table is read: `columns`, in their order, and the rows that match every clause of `filter`."""

    columns: Annotated[list[str], Field(min_length=1)] | None = None  # the columns to read, in this order
    filter: tuple[_Clause, ...] = ()  # clauses of column, operator and value that must all hold


class FileOptions(TableOptions):
    """The options of files; `delimiter` and `encoding` are for CSV."""

    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None  # of a CSV file; a comma if absent
    encoding: Annotated[str, AfterValidator(_check_encoding)] | None = None  # of a CSV file; UTF-8 if absent


@dataclass(frozen=True)
class _File:
    """A file of a table: its path, its name in messages, the keys of its partition, and its columns.

    fragment: a Parquet file with its footer. parts: the positions of JSON lines in a spool; None: they are parsed again.
    """

    path: str
    name: str
    keys: dict[str, Any] = field(default_factory=dict)
    schema: pa.Schema | None = None
    fragment: ds.ParquetFileFragment | None = None
    parts: tuple[int, ...] | None = None


class Spool:
    """Keeps batches with different columns and types on disk until their common schema is known."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with its last reader
        weakref.finalize(self, self.file.close)

    def write(self, batch: pa.RecordBatch) -> int:
        """Store a batch; return its position."""
        place = self.file.tell()
        with pa.ipc.new_stream(self.file, batch.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            writer.write_batch(batch)
        return place

    def read(self, place: int, schema: pa.Schema) -> pa.RecordBatch:
        """Read a batch with the columns of `schema`: cast, and null where it lacks one."""
        self.file.seek(place)
        batch = pa.ipc.open_stream(self.file).read_next_batch()
        arrays = [
            batch.column(column.name).cast(column.type)
            if column.name in batch.schema.names
            else pa.nulls(batch.num_rows, column.type)
            for column in schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


@contextmanager
def translate_errors(name: str, doing: str) -> Iterator[None]:
    """Translate a library's exceptions into a ProjectError of one sentence: `name` and what could not be done."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise ProjectError(f"{name} {doing}: {' '.join(str(error).split())}") from error


def _name_kind(path: str, name: str) -> str:
    """Return the kind of a file by its suffix, without that of a compression; raise ProjectError for an unknown one."""
    *inner, kind = PurePosixPath(path.lower()).suffixes or [""]
    if kind in COMPRESSIONS:
        if inner and inner[-1] in KINDS and inner[-1] != ".parquet":
            return inner[-1]
        kind = "".join([*inner[-1:], kind])
    if kind not in KINDS:
        raise ProjectError(
            f"{name} ends in {kind!r}: expected one of {', '.join(KINDS)}, "
            f"or a text file's suffix followed by one of {', '.join(COMPRESSIONS)}."
        )
    return kind


def open_files(
    system: fs.FileSystem, paths: Mapping[str, str], source: str, options: FileOptions, base: str = ""
) -> Stream:
    """Open files of one kind as one table, with the rows in the order of the paths.

    paths: each file's path in `system`, with its name in messages. base: the folder below which folders named
    `key=value` are columns (int64 when all values are whole numbers, else string). A column that a file lacks is null
    there; numbers of several types become the widest. Raises ProjectError naming the file, column or option.
    """
    kinds = {_name_kind(path, name) for path, name in paths.items()}
    if len(kinds) > 1:
        raise ProjectError(f"{source} holds files of more than one kind: {', '.join(sorted(kinds))}.")
    (kind,) = kinds
    text = kind in {".csv", ".tsv"}
    if not text and (options.delimiter or options.encoding):
        raise ProjectError(f"{source} is not CSV: the options delimiter and encoding are for CSV only.")
    if kind == ".tsv" and options.delimiter is None:
        options = options.model_copy(update={"delimiter": "\t"})
    files, keys = _find_keys([_File(path, name) for path, name in sorted(paths.items())], base)
    files = _prune_files(files, keys, options.filter, source)

    spool = Spool()

    def inspect(file: _File) -> _File:
        with translate_errors(file.name, f"is not readable as {kind[1:]}"):
            if system.get_file_info(file.path).size == 0:
                raise ProjectError(f"{file.name} is empty.")
            if kind == ".parquet":
                fragment = _open_fragment(system, file, keys)
                file = replace(file, schema=fragment.physical_schema, fragment=fragment)
            elif text:
                file = replace(file, schema=_infer_csv(system, file, options))
            else:
                schema, parts = _infer_json(system, file, spool)
                file = replace(file, schema=schema, parts=parts)
        check_names(file.schema, file.name)
        return file

    if kind == ".parquet":
        with ThreadPoolExecutor(_FOOTER_THREADS) as pool:
            files = list(pool.map(inspect, files))
    else:
        files = [inspect(file) for file in files]
    schema = _unify_files(files)
    for key in keys:
        if key.name not in schema.names:
            schema = schema.append(key)

    def read_all(chosen: pa.Schema, expression: ds.Expression | None) -> Iterator[pa.RecordBatch]:
        if kind == ".parquet":
            with translate_errors(source, "is not readable as parquet"):
                yield from read_fragments((file.fragment for file in files), schema, chosen, expression)
            return
        for file in files:
            needed = _list_needed(file, schema, chosen, options)
            with translate_errors(file.name, f"is not readable as {kind[1:]}"):
                if text:
                    batches = read_csv(system, file, schema, needed, options)
                elif file.parts is not None:
                    batches = (spool.read(place, needed) for place in file.parts)
                else:
                    batches = read_json(system, file, needed)
                for batch in batches:
                    yield _finish_batch(batch, file, schema, chosen, expression)

    return select(schema, options, source, read_all)


def select(
    schema: pa.Schema,
    options: TableOptions,
    source: str,
    read: Callable[[pa.Schema, ds.Expression | None], Iterable[pa.RecordBatch]],
) -> Stream:
    """Return the stream of a table that `options` select; `read` reads the selected columns of the matching rows."""
    expression = _build_filter(schema, options.filter, source)
    for name in options.columns or []:
        if name not in schema.names:
            raise ProjectError(f"{source} has no column {name!r} (collect.options.columns); it has {schema.names}.")
    chosen = schema if options.columns is None else pa.schema([schema.field(name) for name in options.columns])
    check_names(chosen, source)
    return Stream(chosen, read(chosen, expression))


def check_names(schema: pa.Schema, name: str) -> None:
    """Raise ProjectError when two columns have the same name."""
    repeated = sorted({column for column in schema.names if schema.names.count(column) > 1})
    if repeated:
        raise ProjectError(f"{name} has more than one column named {', '.join(map(repr, repeated))}.")


def _build_filter(schema: pa.Schema, clauses: Sequence[_Clause], source: str) -> ds.Expression | None:
    """Join clauses with `and` into an expression, with values of the columns' types; raise ProjectError naming the clause."""
    typed = []
    for column, op, value in clauses:
        clause = f"the filter [{column}, {op}, {value}] (collect.options.filter)"
        if column not in schema.names:
            raise ProjectError(f"{source} has no column {column!r} for {clause}; it has {schema.names}.")
        kind = schema.field(column).type
        many = op in {"in", "not in"}
        if many != isinstance(value, list):
            raise ProjectError(f"{source}: {clause} needs {'a list' if many else 'one value, not a list'}.")
        try:
            values = [pa.scalar(item).cast(kind).as_py() for item in (value if many else [value])]
        except (pa.ArrowException, OverflowError) as error:
            raise ProjectError(f"{source}: {clause} does not fit its column of type {kind}.") from error
        if None in values:
            raise ProjectError(f"{source}: {clause} compares with null, which is never true.")
        typed.append((column, op, values if many else values[0]))
    return pa.parquet.filters_to_expression(typed) if typed else None


def _find_keys(files: Sequence[_File], base: str) -> tuple[list[_File], pa.Schema]:
    """Return the files with the keys in the names of their folders below `base`, and the keys' types."""
    texts = []
    for file in files:
        folders = PurePosixPath(file.path).relative_to(base).parts[:-1] if base else ()
        pairs = (folder.split("=", 1) for folder in folders if "=" in folder)
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


def _prune_files(files: Sequence[_File], keys: pa.Schema, clauses: Sequence[_Clause], source: str) -> list[_File]:
    """Return the files whose keys match the clauses, so that the others are not opened; at least one, for its columns."""
    expression = _build_filter(keys, [clause for clause in clauses if clause[0] in keys.names], source)
    if expression is None:
        return list(files)
    table = pa.Table.from_pylist([file.keys for file in files], schema=keys)
    kept = table.append_column("", pa.array(range(len(files)))).filter(expression).column("").to_pylist()
    return [files[index] for index in kept] or list(files[:1])


def unify_types(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    """Return the narrowest type that holds the values of both, None without one."""
    if pa.types.is_date(left) and pa.types.is_timestamp(right) and right.tz is None:
        return right
    if pa.types.is_timestamp(left) and left.tz is None and pa.types.is_date(right):
        return left
    sides = [pa.schema([("", left)]), pa.schema([("", right)])]
    try:
        return pa.unify_schemas(sides, promote_options="permissive").field(0).type
    except pa.ArrowTypeError:
        return None


def _unify_files(files: Sequence[_File]) -> pa.Schema:
    """Return the columns of all files in order of appearance; raise ProjectError naming a column and two files in conflict."""
    first = files[0]
    assert first.schema is not None
    if len(files) == 1:
        return first.schema
    types: dict[str, tuple[pa.DataType, str]] = {}
    for file in files:
        assert file.schema is not None
        for column in file.schema:
            known, where = types.get(column.name, (column.type, file.name))
            wider = unify_types(known, column.type)
            if wider is None:
                raise ProjectError(
                    f"The column {column.name!r} is {known} in {where} and {column.type} in {file.name}: "
                    "the files of one table need compatible types."
                )
            types[column.name] = (wider, where if wider == known else file.name)
    return pa.schema([(name, kind) for name, (kind, _) in types.items()])


def _list_needed(file: _File, schema: pa.Schema, chosen: pa.Schema, options: TableOptions) -> pa.Schema:
    """List the columns to read from a text file: the selected ones, and those of the filter."""
    assert file.schema is not None
    wanted = {*chosen.names, *(clause[0] for clause in options.filter)} - (file.keys.keys() - set(file.schema.names))
    return pa.schema([column for column in schema if column.name in wanted])


def _finish_batch(
    batch: pa.RecordBatch, file: _File, schema: pa.Schema, chosen: pa.Schema, expression: ds.Expression | None
) -> pa.RecordBatch:
    """Add the keys of its folders to a batch of a text file, filter it, and select its columns."""
    for name, value in file.keys.items():
        if name not in batch.schema.names:
            batch = batch.append_column(name, pa.repeat(pa.scalar(value, schema.field(name).type), batch.num_rows))
    if expression is not None:
        batch = batch.filter(expression)
    return batch.select(chosen.names)


def _open_fragment(system: fs.FileSystem, file: _File, keys: pa.Schema) -> ds.ParquetFileFragment:
    """Open a Parquet file as a part of a dataset; its footer is read once, and its keys are known."""
    known = ds.scalar(True)
    for name, value in file.keys.items():
        key = ds.field(name)
        known &= key.is_null() if value is None else key == pa.scalar(value, keys.field(name).type)
    return ds.ParquetFileFormat().make_fragment(file.path, filesystem=system, partition_expression=known)


def read_fragments(
    fragments: Iterable[ds.ParquetFileFragment], schema: pa.Schema, chosen: pa.Schema, expression: ds.Expression | None
) -> Iterator[pa.RecordBatch]:
    """Read Parquet files of a dataset by row groups, in order, as a scan of a whole file keeps it in memory."""

    def read(group: ds.ParquetFileFragment) -> list[pa.RecordBatch]:
        return list(group.to_batches(schema=schema, columns=chosen.names, filter=expression))

    groups = (
        group for fragment in fragments for group in fragment.split_by_row_group(filter=expression, schema=schema)
    )
    yield from chain.from_iterable(_run_ahead(read, groups))


def _run_ahead(
    function: Callable[[_Item], _Result], items: Iterable[_Item], threads: int = _READ_AHEAD
) -> Iterator[_Result]:
    """Apply a function to items in threads, at most a few items ahead; yield the results in order."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[_Result]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _open_csv(system: fs.FileSystem, file: _File, options: FileOptions, skip: int = 0, **convert: Any) -> Any:
    """Open a reader of a CSV file's batches, after `skip` lines; `convert` holds pyarrow.csv.ConvertOptions."""
    return pa.csv.open_csv(
        system.open_input_stream(file.path, compression="detect"),
        pa.csv.ReadOptions(block_size=_BLOCK_BYTES, skip_rows_after_names=skip, encoding=options.encoding or "utf8"),
        pa.csv.ParseOptions(delimiter=options.delimiter or ",", newlines_in_values=True),
        pa.csv.ConvertOptions(strings_can_be_null=True, **convert),
    )


def _infer_csv(system: fs.FileSystem, file: _File, options: FileOptions) -> pa.Schema:
    """Infer the columns of a CSV file with types that fit all values; each block is read once and not kept.

    A value that does not fit the earlier blocks widens its column: int64, double, string (or date32, timestamp,
    string). Raises ProjectError for text that is not in the encoding.
    """
    reader = _open_csv(system, file, options)
    schema, rows = reader.schema, 0
    while True:
        check_names(schema, file.name)
        for column in schema:
            if pa.types.is_binary(column.type):
                expected = options.encoding or "UTF-8"
                raise ProjectError(f"{file.name} is not {expected.upper()} text: see column {column.name!r}.")
        try:
            for batch in reader:
                rows += batch.num_rows
        except pa.ArrowInvalid as error:
            misfit = _MISFIT.search(str(error))
            if misfit is None:
                raise
            block = _open_csv(system, file, options, rows).schema
            wider = [
                unify_types(known, kind) or pa.string() for known, kind in zip(schema.types, block.types, strict=True)
            ]
            if wider == schema.types:  # empty lines count as lines but not as rows: this was another block
                wider[int(misfit[1])] = pa.string()
            for column, kind in zip(schema, wider, strict=True):
                if column.type not in {kind, pa.null()}:
                    logger.warning(
                        "%s: the column %r is read as %s: its values are %s up to row %s, but not after it.",
                        file.name, column.name, kind, column.type, f"{rows:,}",
                    )  # fmt: skip
            schema = pa.schema([(column.name, kind) for column, kind in zip(schema, wider, strict=True)])
            reader = _open_csv(system, file, options, rows, column_types=schema)
        else:
            return schema


def read_csv(
    system: fs.FileSystem, file: _File, schema: pa.Schema, needed: pa.Schema, options: FileOptions
) -> Iterator[pa.RecordBatch]:
    """Read the needed columns of a CSV file with the types of `schema`; missing columns are null."""
    # An empty list means all columns: with keys alone, the file's own columns count the rows.
    wanted = {"include_columns": needed.names, "include_missing_columns": bool(needed.names)}
    reader = _open_csv(system, file, options, column_types=schema, **wanted)
    batches = _run_ahead(lambda _: next(reader, None), repeat(None), threads=1)
    yield from takewhile(lambda batch: batch is not None, batches)


def _read_blocks(system: fs.FileSystem, file: _File) -> Iterator[bytes]:
    """Yield a text file in blocks of whole lines, without empty blocks."""
    rest = b""
    with system.open_input_stream(file.path, compression="detect") as stream:
        while piece := stream.read(_BLOCK_BYTES):
            head, newline, tail = piece.rpartition(b"\n")
            if not newline:
                rest += tail
                continue
            block, rest = rest + head + newline, tail
            if block.strip():
                yield block
    if rest.strip():
        yield rest


def _parse_json(block: bytes, **parse: Any) -> pa.Table:
    """Parse JSON lines; `parse` holds pyarrow.json.ParseOptions."""
    whole = pa.json.ReadOptions(block_size=len(block) + 1, use_threads=False)
    return pa.json.read_json(pa.BufferReader(block), read_options=whole, parse_options=pa.json.ParseOptions(**parse))


def _infer_json(system: fs.FileSystem, file: _File, spool: Spool) -> tuple[pa.Schema, tuple[int, ...] | None]:
    """Infer the columns of a JSON-lines file, with types that fit all blocks, and the positions of its spooled rows.

    There are no positions when some blocks hold times and others text in the same column: all blocks are parsed again,
    so that the text stays as it was.
    """
    types: dict[str, pa.DataType] = {}
    parts: list[int] | None = []
    for table in _run_ahead(_parse_json, _read_blocks(system, file)):
        check_names(table.schema, file.name)
        for column in table.schema:
            known = types.get(column.name, column.type)
            wider = unify_types(known, column.type)
            types[column.name] = wider or pa.string()
            if wider is None:
                parts = None
        if parts is not None:
            parts += [spool.write(batch) for batch in table.to_batches()]
    return pa.schema(list(types.items())), None if parts is None else tuple(parts)


def read_json(system: fs.FileSystem, file: _File, needed: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Read the needed columns of a JSON-lines file; missing columns are null."""

    def parse(block: bytes) -> list[pa.RecordBatch]:
        table = _parse_json(block, explicit_schema=needed, unexpected_field_behavior="ignore")
        batches: list[pa.RecordBatch] = table.to_batches()
        return batches

    yield from chain.from_iterable(_run_ahead(parse, _read_blocks(system, file)))


def open_local(source: str, root: Path, options: FileOptions) -> Stream:
    """Open a local file, glob or folder; files and folders whose name begins with a dot or an underscore are left out."""
    path = root / source
    if path.is_file():
        return open_files(fs.LocalFileSystem(), {str(path): source}, source, options)
    folder, pattern = (path, "**/*") if path.is_dir() else (root / split_glob(source)[0], split_glob(source)[1])
    found = [file for file in folder.glob(pattern) if file.is_file()] if pattern else []
    paths = {str(file): str(PurePosixPath(split_glob(source)[0], file.relative_to(folder))) for file in found}
    return open_found(fs.LocalFileSystem(), paths, str(folder), source, options, f"looked for {path}")


def open_found(
    system: fs.FileSystem, paths: Mapping[str, str], folder: str, source: str, options: FileOptions, looked: str
) -> Stream:
    """Open the files found below a folder, without those whose name begins with a dot or an underscore."""
    shown = {
        path: name
        for path, name in paths.items()
        if not any(part.startswith((".", "_")) for part in PurePosixPath(path).relative_to(folder).parts)
    }
    if not shown:
        raise ProjectError(f"{source} does not exist ({looked}).")
    return open_files(system, shown, source, options, folder)
