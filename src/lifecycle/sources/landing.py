"""The landing zone: the rows of a growing source, each once, whatever crashes.

    FOLDER/date=YYYY-MM-DD/NAME-FIRST-LAST.parquet    rows of one range of the source, by the date of their event time
    FOLDER/_quarantine/NAME-FIRST-LAST.jsonl          records of that range that are not valid rows, and why
    FOLDER/_commits/NUMBER.json                       which files are valid, and the position in the source

Files are written first and their commit record last, each to a temporary name, synced and renamed: a file without a commit
record is the leftover of a crash, which readers ignore and the next writer removes. Rows without an event time are in Hive's
partition for null; without the option `time` all files are in FOLDER itself.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lifecycle.core.errors import ProjectError
from lifecycle.core.files import hash_file, lock_handle, read_json, replace_file, sync_folder
from lifecycle.core.paths import LANDED
from lifecycle.core.tables import GROUP, Stream, TableWriter, read_batches
from lifecycle.sources.typing import EXACT, widen_type

COMMITS, _QUARANTINE = "_commits", "_quarantine"
_PARTITION = "date="
_UNDATED = f"{_PARTITION}__HIVE_DEFAULT_PARTITION__"
_TEMPORARY = ".aside"
_EPOCH_UNITS = (
    (1e11, 1),
    (1e14, 1e3),
    (1e17, 1e6),
    (np.inf, 1e9),
)  # numbers below the first are seconds, below the second milliseconds, ...
_DAY = 86_400  # seconds


class UnavailableError(ProjectError):
    """Raised when a source does not answer; it may answer later."""


@dataclass(frozen=True)
class _File:
    """A landed file: its path below the folder, its number of rows (or lines), and its SHA-256."""

    path: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class Commit:
    """A commit record; a whole one replaces all records before it."""

    number: int
    source: str
    position: Mapping[str, Any]
    files: list[_File] = field(default_factory=list)
    quarantine: list[_File] = field(default_factory=list)
    whole: bool = False

    @property
    def rows(self) -> int:
        """The number of landed rows."""
        return sum(file.rows for file in self.files)

    @property
    def rejected(self) -> int:
        """The number of quarantined records."""
        return sum(file.rows for file in self.quarantine)


@dataclass(frozen=True)
class Rejected:
    """A record that is not a valid row: its position in the source, its bytes, and the reason."""

    where: Mapping[str, Any]
    value: bytes | None
    reason: str


class Landing:
    """The only writer of a landing zone."""

    def __init__(self, folder: Path, source: str, commits: list[Commit]) -> None:
        self.folder, self.source, self.commits = folder, source, commits
        self.schema = _read_schema(folder, commits)

    @property
    def position(self) -> Mapping[str, Any]:
        """The position up to which the source is landed, in the source's own terms; empty at the beginning."""
        return self.commits[-1].position if self.commits else {}

    @property
    def files(self) -> list[_File]:
        """The valid files, in the order of their rows."""
        return _list_files(self.commits)

    def widen(self, name: str, found: pa.DataType) -> pa.DataType:
        """Return the type that a landed column has from now on, where values of type `found` arrive.

        That is the landed type: a value that does not fit it is not landed. It becomes float64 from int64 only where that
        alters no landed value, and any type from null.
        """
        known = None if self.schema is None or name not in self.schema.names else self.schema.field(name).type
        if known is None or pa.types.is_null(known):
            return found
        if known == pa.int64() and found == pa.float64():
            return found if self.fits_float(name) else known
        return known

    def fits_float(self, name: str) -> bool:
        """Return whether float64 holds all landed whole numbers of a column."""
        found = (_find_extremes(_check_file(self.folder, file), name) for file in self.files)
        return all(low >= -EXACT and high <= EXACT for low, high in found)

    def land(
        self,
        name: str,
        first: int,
        last: int,
        table: pa.Table,
        position: Mapping[str, Any],
        *,
        dates: pa.Array | None = None,
        rejected: Sequence[Rejected] = (),
    ) -> Commit:
        """Make the rows of the range NAME, FIRST to LAST and the new position durable, all or nothing.

        `dates` are the rows' partitions (date32; without them there is one partition). The table's types must be those of
        `schema`, or wider ones as returned by `typing.widen_type`.
        """
        stem = f"{name}-{first:020d}-{last:020d}"
        if table.num_columns:
            self.schema = unify_schemas(self.schema, table.schema)
        files = []
        for partition, part in _split_dates(table, dates):
            with _write_durably(self.folder, f"{partition}{stem}.parquet") as file:
                pq.write_table(conform(part, self.schema), file, compression="zstd")
            files.append(self.describe(f"{partition}{stem}.parquet", part.num_rows))
        quarantine = []
        if rejected:
            with _write_durably(self.folder, f"{_QUARANTINE}/{stem}.jsonl") as file:
                file.writelines(_format_rejected(record) for record in rejected)
            quarantine.append(self.describe(f"{_QUARANTINE}/{stem}.jsonl", len(rejected)))
        return self.commit(files, quarantine, position)

    def describe(self, path: str, rows: int) -> _File:
        """Describe a file for its commit record."""
        return _File(path, rows, hash_file(self.folder / path))

    def commit(
        self, files: list[_File], quarantine: list[_File], position: Mapping[str, Any], *, whole: bool = False
    ) -> Commit:
        """Write the commit record that makes these files valid."""
        number = self.commits[-1].number + 1 if self.commits else 1
        done = Commit(number, self.source, position, files, quarantine, whole)
        with _write_durably(self.folder, f"{COMMITS}/{number:010d}.json") as file:
            file.write((json.dumps(asdict(done), indent=2, ensure_ascii=False) + "\n").encode())
        self.commits = [done] if whole else [*self.commits, done]
        return done

    def compact(self) -> int:
        """Merge each partition's files of one name, and all commit records; return by how many the files became fewer.

        The rows keep their order. A crash leaves either the old files or the new ones.
        """
        groups: dict[str, list[_File]] = {}
        for file in self.files:
            groups.setdefault(file.path.rsplit("-", 2)[0], []).append(file)
        if not any(len(group) > 1 for group in groups.values()):
            return 0
        files = [group[0] if len(group) == 1 else self.join(stem, group) for stem, group in groups.items()]
        quarantine = [file for commit in self.commits for file in commit.quarantine]
        before = len(self.files)
        self.commit(files, quarantine, self.position, whole=True)
        _remove_leftovers(self.folder, self.commits)
        return before - len(files)

    def join(self, stem: str, group: list[_File]) -> _File:
        """Merge the rows of several files into one."""
        first, last = group[0].path.rsplit("-", 2)[1], group[-1].path.rsplit("-", 1)[1]
        path, schema = f"{stem}-{first}-{last}", self.schema
        assert schema is not None
        with _write_durably(self.folder, path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
            table = TableWriter(writer, schema)
            with table.thread:
                for batch in _read_files(self.folder, group, schema):
                    table.write(batch)
                table.flush()
        return self.describe(path, table.rows)


@contextmanager
def open_landing(folder: Path, source: str) -> Iterator[Landing]:
    """Open a folder as the only process that lands a source in it; remove what a crash left there.

    `source` is its name in commit records. Raises ProjectError when another process is landing rows there, or when the
    folder holds the rows of another source.
    """
    if not folder.is_dir():
        folder.mkdir(parents=True)
        sync_folder(folder.parent)
    handle = os.open(
        folder, os.O_RDONLY | os.O_DIRECTORY
    )  # the folder is its own lock, which the system frees however the process ends
    try:
        try:
            lock_handle(handle, blocking=False)
        except BlockingIOError:
            raise ProjectError(
                f"Another `lifecycle ingest` is landing rows in {folder}: wait until it has ended."
            ) from None
        commits = _read_commits(folder)
        if commits and commits[-1].source != source:
            raise ProjectError(
                f"{folder} holds the rows of {commits[-1].source}, not of {source}: move it away to land another source."
            )
        _remove_leftovers(folder, commits)
        yield Landing(folder, source, commits)
    finally:
        os.close(handle)


@contextmanager
def open_landed(folder: Path) -> Iterator[Stream]:
    """Open the landed rows, by partition, then by file name; a column that a file lacks is null there.

    Raises ProjectError when there are no rows, and for a file that differs from its commit record.
    """
    commits = _read_commits(folder)
    schema, files = _read_schema(folder, commits), _list_files(commits)
    if schema is None or not files:
        raise ProjectError(f"{folder} holds no rows: run `lifecycle ingest` first.")
    yield Stream(schema, _read_files(folder, files, schema))


def _read_commits(folder: Path) -> list[Commit]:
    """Return the valid commit records, oldest first."""
    while True:
        commits: list[Commit] = []
        try:
            for path in sorted((folder / COMMITS).glob("*.json"), reverse=True):
                commits.append(_parse_commit(path))
                if commits[-1].whole:
                    break
        except FileNotFoundError:  # it was compacted between listing and reading: list again
            continue
        return commits[::-1]


def _parse_commit(path: Path) -> Commit:
    """Parse a commit record; raise ProjectError when it is not one."""
    try:
        values = read_json(path)
        files, quarantine = ([_File(**file) for file in values.pop(key)] for key in ("files", "quarantine"))
        return Commit(files=files, quarantine=quarantine, **values)
    except (TypeError, KeyError, AttributeError) as error:
        raise ProjectError(f"{path} is not a commit record of `lifecycle ingest` ({error}).") from error


def _list_files(commits: list[Commit]) -> list[_File]:
    """The valid files, in the order of their rows."""
    return sorted((file for commit in commits for file in commit.files), key=lambda file: Path(file.path).parts)


def _read_schema(folder: Path, commits: list[Commit]) -> pa.Schema | None:
    """Return the columns of all landed rows: those of the newest file, as each file has all columns known by then."""
    for commit in reversed(commits):
        for file in commit.files:
            return pq.read_schema(_check_file(folder, file))
    return None


def _find_extremes(path: Path, name: str) -> tuple[int, int]:
    """Return the least and the greatest number of a column in a file (0 without any), from its footer where it has them."""
    with pq.ParquetFile(path) as file:
        names, groups = file.schema_arrow.names, range(file.metadata.num_row_groups)
        if name not in names or pa.types.is_null(file.schema_arrow.field(name).type):
            return 0, 0
        found = [file.metadata.row_group(group).column(names.index(name)).statistics for group in groups]
        if all(part is not None and part.has_min_max for part in found):
            return min((part.min for part in found), default=0), max((part.max for part in found), default=0)
        extremes = pc.min_max(file.read([name])[name]).as_py()
        return extremes["min"] or 0, extremes["max"] or 0


def _check_file(folder: Path, file: _File) -> Path:
    """Return the path of a landed file; raise ProjectError when it is missing."""
    path = folder / file.path
    if not path.is_file():
        raise ProjectError(
            f"{path} is missing, though a commit record lists it: try again if it was just compacted, else restore it or "
            f"remove {folder} to land anew."
        )
    return path


def _read_files(folder: Path, files: Sequence[_File], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Read the rows of landed files with the columns of `schema`; raise ProjectError for a file that was altered."""
    for file in files:
        path = _check_file(folder, file)
        if hash_file(path) != file.sha256:
            raise ProjectError(
                f"{path} was altered after it was landed: its SHA-256 differs from that of its commit record."
            )
        for batch in read_batches(path, rows=GROUP):
            yield conform(batch, schema)


def _remove_leftovers(folder: Path, commits: list[Commit]) -> None:
    """Remove files that no commit record lists."""
    listed = {file.path for commit in commits for file in (*commit.files, *commit.quarantine)}
    listed |= {f"{COMMITS}/{commit.number:010d}.json" for commit in commits}
    ours = (f"*{_TEMPORARY}", "*.parquet", f"{_PARTITION}*/*", f"{COMMITS}/*", f"{_QUARANTINE}/*")
    for path in {path for pattern in ours for path in folder.glob(pattern)}:
        if path.relative_to(folder).as_posix() not in listed:
            path.unlink()
    for path in folder.glob(f"{_PARTITION}*"):
        with suppress(OSError):  # the partition still has files
            path.rmdir()


@contextmanager
def _write_durably(folder: Path, name: str) -> Iterator[IO[bytes]]:
    """Yield a file to write; it is durable at FOLDER/NAME when the block succeeds."""
    path = folder / name
    if not path.parent.is_dir():
        path.parent.mkdir()
        sync_folder(folder)
    aside = path.with_name(f".{path.name}{_TEMPORARY}")
    with replace_file(path, durable=True, temporary=aside) as temporary, temporary.open("wb") as file:
        yield file


def _format_rejected(record: Rejected) -> bytes:
    """Format a line of the quarantine."""
    value = None if record.value is None else base64.b64encode(record.value).decode()
    return (json.dumps({**record.where, "value": value, "reason": record.reason}, ensure_ascii=False) + "\n").encode()


def unify_schemas(known: pa.Schema | None, other: pa.Schema) -> pa.Schema:
    """Return the columns of both, in order of appearance; raise ProjectError when types conflict."""
    fields = {} if known is None else {column.name: column for column in known}
    for column in other:
        before = fields.get(column.name, column).type
        kind = widen_type(before, column.type)
        if kind is None:
            raise ProjectError(
                f"Column {column.name!r} is {column.type} now, but was landed as {before}: move {LANDED} away to land anew."
            )
        fields[column.name] = pa.field(column.name, kind)
    return pa.schema(list(fields.values()))


def conform(part: Any, schema: pa.Schema) -> Any:
    """Return a table or a batch with the columns and types of `schema`; missing columns are null."""
    if part.schema == schema:
        return part
    columns = [
        _cast_column(part[column.name], column)
        if column.name in part.schema.names
        else pa.nulls(part.num_rows, column.type)
        for column in schema
    ]
    return type(part).from_arrays(columns, schema=schema)


def _cast_column(values: Any, column: pa.Field) -> Any:
    """Cast landed values to a column's type; raise ProjectError when that would alter one."""
    try:
        return values.cast(column.type)
    except pa.ArrowInvalid as error:
        raise ProjectError(
            f"Column {column.name!r} has landed values that are not exact as {column.type} ({error}): "
            f"move {LANDED} away to land anew."
        ) from error


def _split_dates(table: pa.Table, dates: pa.Array | None) -> Iterator[tuple[str, pa.Table]]:
    """Split a table's rows by partition, in the order of the dates; rows keep their order."""
    if dates is None or not len(dates):
        if table.num_rows:
            yield "", table
        return
    for day in pc.unique(dates).sort():
        chosen = pc.equal(dates, day) if day.is_valid else pc.is_null(dates)
        yield f"{_PARTITION}{day.as_py()}/" if day.is_valid else f"{_UNDATED}/", table.filter(chosen)


def find_dates(column: pa.Array) -> tuple[pa.Array, list[int]]:
    """Return the UTC dates (date32) of an event-time column, and the positions of values that are not times.

    Times without a zone are UTC. Text is ISO 8601; numbers are seconds, milliseconds, microseconds or nanoseconds since
    1970, recognised by their size.
    """
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        numbers = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        sizes = [np.abs(numbers) < limit for limit, _ in _EPOCH_UNITS]
        days = np.floor(numbers / np.select(sizes, [unit for _, unit in _EPOCH_UNITS], np.nan) / _DAY)
        wrong = np.flatnonzero(np.isnan(days) & column.is_valid().to_numpy(zero_copy_only=False))
        return pa.array(days, pa.float64(), from_pandas=True).cast(pa.int32()).cast(pa.date32()), wrong.tolist()
    if pa.types.is_string(kind):
        for zone in ("UTC", None):
            with suppress(pa.ArrowInvalid):  # all with a zone, or all without: convert the whole column at once
                return column.cast(pa.timestamp("us", zone)).cast(pa.date32()), []
        found: list[date | None] = []
        strange: list[int] = []
        for place, text in enumerate(column.to_pylist()):
            try:
                found.append(None if text is None else _read_date(text))
            except ValueError:
                found.append(None)
                strange.append(place)
        return pa.array(found, pa.date32()), strange
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_null(kind):
        return column.cast(pa.date32(), safe=False), []
    return pa.nulls(len(column), pa.date32()), np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False)).tolist()


def _read_date(text: str) -> date:
    """Return the UTC date of an ISO 8601 time; raise ValueError for other text."""
    moment = datetime.fromisoformat(text)
    try:
        return (moment if moment.tzinfo is None else moment.astimezone(UTC)).date()
    except OverflowError as error:
        raise ValueError(str(error)) from error
