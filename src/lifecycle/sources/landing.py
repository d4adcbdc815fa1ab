"""The landing zone: what a growing source gave, each row once, whatever crashes.

    FOLDER/date=YYYY-MM-DD/NAME-FIRST-LAST.parquet    rows of one range of the source, by the date of their event time
    FOLDER/_quarantine/NAME-FIRST-LAST.jsonl          what of that range could not be a row, and why
    FOLDER/_commits/NUMBER.json                       which files count, and how far the source is read

Files come first and their commit record last, each written aside, synced and renamed: a file that no record lists is the
leftover of a crash, which no reader sees and the next writer removes. Rows without an event time are in Hive's partition for
null; without the option `time` all files are in FOLDER itself.
"""

from __future__ import annotations

import base64
import fcntl
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
from lifecycle.core.files import hash_file, read_json, sync_folder
from lifecycle.core.tables import GROUP, Stream, TableWriter, read_batches
from lifecycle.sources.typing import widen_type

COMMITS, QUARANTINE = "_commits", "_quarantine"
PARTITION = "date="
UNDATED = f"{PARTITION}__HIVE_DEFAULT_PARTITION__"
ASIDE = ".aside"
EPOCH_UNITS = ((1e11, 1), (1e14, 1e3), (1e17, 1e6), (np.inf, 1e9))  # below the first: seconds, then milliseconds, ...
DAY = 86_400  # seconds


class UnavailableError(ProjectError):
    """A source that does not answer now, and may do later."""


@dataclass(frozen=True)
class File:
    """A landed file: its path below the folder, its rows (or lines), the SHA-256 of its bytes."""

    path: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class Commit:
    """What one commit record says; a whole one stands for all before it."""

    number: int
    source: str
    position: Mapping[str, Any]
    files: list[File] = field(default_factory=list)
    quarantine: list[File] = field(default_factory=list)
    whole: bool = False

    @property
    def rows(self) -> int:
        """How many rows it landed."""
        return sum(file.rows for file in self.files)

    @property
    def rejected(self) -> int:
        """How many records it put into quarantine."""
        return sum(file.rows for file in self.quarantine)


@dataclass(frozen=True)
class Rejected:
    """A record that could not be a row: where it was in the source, its bytes, and what was wrong."""

    where: Mapping[str, Any]
    value: bytes | None
    reason: str


class Landing:
    """The one writer of a landing zone."""

    def __init__(self, folder: Path, source: str, commits: list[Commit]) -> None:
        self.folder, self.source, self.commits = folder, source, commits
        self.schema = read_schema(folder, commits)

    @property
    def position(self) -> Mapping[str, Any]:
        """How far the source is landed, in its own words; empty at the beginning."""
        return self.commits[-1].position if self.commits else {}

    @property
    def files(self) -> list[File]:
        """The files that count, in the order of their rows."""
        return list_files(self.commits)

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
        """Make the rows of the range NAME, FIRST to LAST, durable, all or none, and the position with them.

        `dates` are the rows' partitions (date32; without them there is one partition). The table's types must be those of
        `schema`, or wider ones as `arrays.widen_type` gives them.
        """
        stem = f"{name}-{first:020d}-{last:020d}"
        if table.num_columns:
            self.schema = unify_schemas(self.schema, table.schema)
        files = []
        for partition, part in split_dates(table, dates):
            with write_durably(self.folder, f"{partition}{stem}.parquet") as file:
                pq.write_table(conform(part, self.schema), file, compression="zstd")
            files.append(self.describe(f"{partition}{stem}.parquet", part.num_rows))
        quarantine = []
        if rejected:
            with write_durably(self.folder, f"{QUARANTINE}/{stem}.jsonl") as file:
                file.writelines(spell_rejected(record) for record in rejected)
            quarantine.append(self.describe(f"{QUARANTINE}/{stem}.jsonl", len(rejected)))
        return self.commit(files, quarantine, position)

    def describe(self, path: str, rows: int) -> File:
        """A file as its commit record lists it."""
        return File(path, rows, hash_file(self.folder / path))

    def commit(
        self, files: list[File], quarantine: list[File], position: Mapping[str, Any], *, whole: bool = False
    ) -> Commit:
        """Write the record from which on these files count."""
        number = self.commits[-1].number + 1 if self.commits else 1
        done = Commit(number, self.source, position, files, quarantine, whole)
        with write_durably(self.folder, f"{COMMITS}/{number:010d}.json") as file:
            file.write((json.dumps(asdict(done), indent=2, ensure_ascii=False) + "\n").encode())
        self.commits = [done] if whole else [*self.commits, done]
        return done

    def compact(self) -> int:
        """Join each partition's files of one name into one, and all records into one; returns how many files went.

        The rows stay in their order. A crash leaves the old files or the new ones, never a mixture.
        """
        groups: dict[str, list[File]] = {}
        for file in self.files:
            groups.setdefault(file.path.rsplit("-", 2)[0], []).append(file)
        if not any(len(group) > 1 for group in groups.values()):
            return 0
        files = [group[0] if len(group) == 1 else self.join(stem, group) for stem, group in groups.items()]
        quarantine = [file for commit in self.commits for file in commit.quarantine]
        before = len(self.files)
        self.commit(files, quarantine, self.position, whole=True)
        remove_leftovers(self.folder, self.commits)
        return before - len(files)

    def join(self, stem: str, group: list[File]) -> File:
        """One file with the rows of several."""
        first, last = group[0].path.rsplit("-", 2)[1], group[-1].path.rsplit("-", 1)[1]
        path, schema = f"{stem}-{first}-{last}", self.schema
        assert schema is not None
        with write_durably(self.folder, path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
            table = TableWriter(writer, schema)
            with table.thread:
                for batch in read_files(self.folder, group, schema):
                    table.write(batch)
                table.flush()
        return self.describe(path, table.rows)


@contextmanager
def open_landing(folder: Path, source: str) -> Iterator[Landing]:
    """Be the one who lands a source in a folder, which is made; what a crash left there is removed.

    `source` is what commit records call it. Raises ProjectError where somebody else is at it, or where the folder holds
    another source's rows.
    """
    if not folder.is_dir():
        folder.mkdir(parents=True)
        sync_folder(folder.parent)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)  # the folder is its own lock, freed however the process ends
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ProjectError(f"Another `lifecycle ingest` lands rows in {folder}: wait until it has ended.") from None
        commits = read_commits(folder)
        if commits and commits[-1].source != source:
            raise ProjectError(
                f"{folder} holds the rows of {commits[-1].source}, not of {source}: move it away to land another source."
            )
        remove_leftovers(folder, commits)
        yield Landing(folder, source, commits)
    finally:
        os.close(handle)


@contextmanager
def open_landed(folder: Path) -> Iterator[Stream]:
    """The landed rows, by partition, then by file name; a column that a file has not is null there.

    Raises ProjectError where there are none, and for a file that is not what its commit record says.
    """
    commits = read_commits(folder)
    schema, files = read_schema(folder, commits), list_files(commits)
    if schema is None or not files:
        raise ProjectError(f"{folder} holds no rows: run `lifecycle ingest` first, which lands them.")
    yield Stream(schema, read_files(folder, files, schema))


def read_commits(folder: Path) -> list[Commit]:
    """The commit records that count, oldest first."""
    while True:
        commits: list[Commit] = []
        try:
            for path in sorted((folder / COMMITS).glob("*.json"), reverse=True):
                commits.append(parse_commit(path))
                if commits[-1].whole:
                    break
        except FileNotFoundError:  # compacted between the look and the reading: look again
            continue
        return commits[::-1]


def parse_commit(path: Path) -> Commit:
    """A commit record; raises ProjectError for what is none."""
    try:
        values = read_json(path)
        files, quarantine = ([File(**file) for file in values.pop(key)] for key in ("files", "quarantine"))
        return Commit(files=files, quarantine=quarantine, **values)
    except (TypeError, KeyError, AttributeError) as error:
        raise ProjectError(f"{path} is not a commit record of `lifecycle ingest` ({error}).") from error


def list_files(commits: list[Commit]) -> list[File]:
    """The files that count, in the order of their rows."""
    return sorted((file for commit in commits for file in commit.files), key=lambda file: Path(file.path).parts)


def read_schema(folder: Path, commits: list[Commit]) -> pa.Schema | None:
    """The columns of all landed rows: those of the newest file, for each is written with all that were known then."""
    for commit in reversed(commits):
        for file in commit.files:
            return pq.read_schema(check_file(folder, file))
    return None


def check_file(folder: Path, file: File) -> Path:
    """The path of a landed file; raises ProjectError where it is gone."""
    path = folder / file.path
    if not path.is_file():
        raise ProjectError(
            f"{path} is gone, though a commit record lists it: read again if it was compacted meanwhile, else restore it or "
            f"remove {folder} to land anew."
        )
    return path


def read_files(folder: Path, files: Sequence[File], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of landed files with the columns of `schema`; raises ProjectError for a file that was altered."""
    for file in files:
        path = check_file(folder, file)
        if hash_file(path) != file.sha256:
            raise ProjectError(f"{path} is not what was landed: its SHA-256 is not that of its commit record.")
        for batch in read_batches(path, rows=GROUP):
            yield conform(batch, schema)


def remove_leftovers(folder: Path, commits: list[Commit]) -> None:
    """Remove what no commit record lists."""
    listed = {file.path for commit in commits for file in (*commit.files, *commit.quarantine)}
    listed |= {f"{COMMITS}/{commit.number:010d}.json" for commit in commits}
    ours = (f"*{ASIDE}", "*.parquet", f"{PARTITION}*/*", f"{COMMITS}/*", f"{QUARANTINE}/*")
    for path in {path for pattern in ours for path in folder.glob(pattern)}:
        if path.relative_to(folder).as_posix() not in listed:
            path.unlink()
    for path in folder.glob(f"{PARTITION}*"):
        with suppress(OSError):  # a partition that still has files
            path.rmdir()


@contextmanager
def write_durably(folder: Path, name: str) -> Iterator[IO[bytes]]:
    """Give a file to write, which is at FOLDER/NAME, and on the disk, when the block ends well."""
    path = folder / name
    if not path.parent.is_dir():
        path.parent.mkdir()
        sync_folder(folder)
    aside = path.with_name(f".{path.name}{ASIDE}")
    with aside.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    sync_folder(path.parent)


def spell_rejected(record: Rejected) -> bytes:
    """A line of the quarantine."""
    value = None if record.value is None else base64.b64encode(record.value).decode()
    return (json.dumps({**record.where, "value": value, "reason": record.reason}, ensure_ascii=False) + "\n").encode()


def unify_schemas(known: pa.Schema | None, other: pa.Schema) -> pa.Schema:
    """The columns of both, in the order in which they came; raises ProjectError where types clash."""
    fields = {} if known is None else {column.name: column for column in known}
    for column in other:
        before = fields.get(column.name, column).type
        kind = widen_type(before, column.type)
        if kind is None:
            raise ProjectError(f"Column {column.name!r} is {column.type} now, but was landed as {before}.")
        fields[column.name] = pa.field(column.name, kind)
    return pa.schema(list(fields.values()))


def conform(part: Any, schema: pa.Schema) -> Any:
    """A table or a batch with the columns and types of `schema`; what it lacks is null."""
    if part.schema == schema:
        return part
    columns = [
        part[column.name].cast(column.type, safe=False)
        if column.name in part.schema.names
        else pa.nulls(part.num_rows, column.type)
        for column in schema
    ]
    return type(part).from_arrays(columns, schema=schema)


def split_dates(table: pa.Table, dates: pa.Array | None) -> Iterator[tuple[str, pa.Table]]:
    """A table's rows by partition, in the order of the dates; rows keep their order."""
    if dates is None or not len(dates):
        if table.num_rows:
            yield "", table
        return
    for day in pc.unique(dates).sort():
        chosen = pc.equal(dates, day) if day.is_valid else pc.is_null(dates)
        yield f"{PARTITION}{day.as_py()}/" if day.is_valid else f"{UNDATED}/", table.filter(chosen)


def find_dates(column: pa.Array) -> tuple[pa.Array, list[int]]:
    """The UTC dates (date32) of an event-time column, and the places of what is no time.

    Times without a zone count as UTC. Texts are ISO 8601; numbers are seconds, milliseconds, microseconds or nanoseconds
    since 1970, told by their size.
    """
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        numbers = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        sizes = [np.abs(numbers) < limit for limit, _ in EPOCH_UNITS]
        days = np.floor(numbers / np.select(sizes, [unit for _, unit in EPOCH_UNITS], np.nan) / DAY)
        wrong = np.flatnonzero(np.isnan(days) & column.is_valid().to_numpy(zero_copy_only=False))
        return pa.array(days, pa.float64(), from_pandas=True).cast(pa.int32()).cast(pa.date32()), wrong.tolist()
    if pa.types.is_string(kind):
        for zone in ("UTC", None):
            with suppress(pa.ArrowInvalid):  # all with a zone, or all without: the whole column at once
                return column.cast(pa.timestamp("us", zone)).cast(pa.date32()), []
        found: list[date | None] = []
        strange: list[int] = []
        for place, text in enumerate(column.to_pylist()):
            try:
                found.append(None if text is None else read_date(text))
            except ValueError:
                found.append(None)
                strange.append(place)
        return pa.array(found, pa.date32()), strange
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_null(kind):
        return column.cast(pa.date32(), safe=False), []
    return pa.nulls(len(column), pa.date32()), np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False)).tolist()


def read_date(text: str) -> date:
    """The UTC date of an ISO 8601 time; raises ValueError for anything else."""
    moment = datetime.fromisoformat(text)
    try:
        return (moment if moment.tzinfo is None else moment.astimezone(UTC)).date()
    except OverflowError as error:
        raise ValueError(str(error)) from error
