"""The prediction log's readers: sealed segments become Parquet, a file a kind and day; damage is counted and put aside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import orjson

from lifecycle.core.errors import ProjectError
from lifecycle.prediction_log.writer import OPEN, SEALED, SEGMENTS, Record

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# What a record of each kind has, beside the features of a prediction and whatever else the server told: absent ones are null.
KINDS = {
    "prediction": {
        "id": "string",
        "at": "time",
        "model": "string",
        "probability": "double",
        "prediction": "string",
        "degraded": "bool",
    },
    "feedback": {"id": "string", "at": "time", "label": "string"},
    "shadow": {"id": "string", "at": "time", "model": "string", "probability": "double"},
}
ACCEPTED = {"string": (str,), "time": (int,), "double": (float, int), "bool": (bool,)}
FEATURES = "features"
PREFIX = f"{FEATURES}."
LAST = 253_402_300_800_000_000  # the year 10000, in microseconds
SMALLEST, LARGEST = -(2**63), 2**63 - 1


def read_segment(path: Path) -> tuple[list[Record], int]:
    """A segment's records in the order of writing, and how many lines are damaged: torn, altered, or no record of a kind.

    Raises FileNotFoundError where there is no such file.
    """
    records, damaged = split_lines(path.read_bytes())
    return records, len(damaged)


def read_predictions(
    folder: Path, kind: str = "prediction", since: datetime | None = None, until: datetime | None = None
) -> pa.Table:
    """All records of a kind from `since` on and before `until`, sorted by `at` (then by the time of writing).

    Segments that are not compacted yet count too. `at` is timestamp[us, UTC]; `features` (predictions only) is a struct.
    Where files disagree a column takes the wider of null, bool, int64, double, string. Raises ProjectError for an unknown
    kind, a time without a zone, or a broken file.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind not in KINDS:
        raise ProjectError(f"The prediction log has no kind {kind!r}: expected one of {', '.join(KINDS)}.")
    for moment in (since, until):
        if moment is not None and moment.tzinfo is None:
            raise ProjectError(f"{moment} has no time zone: the prediction log expected one.")
    parts: dict[str, list[pa.Table]] = {}
    for path in find_segments(folder):
        records = try_segment(path)
        if records is not None:
            parts[path.stem] = [build_table([record for record in records if record["kind"] == kind], kind)]
    seen = set(parts)
    # Files are looked for after the segments: one that was compacted meanwhile is found here.
    for path in find_files(folder / kind, since, until):
        if path.stem not in seen:
            parts.setdefault(path.stem, []).extend(read_file(path))
    table = merge_tables([table for name in sorted(parts) for table in parts[name]], kind)
    at = table["at"]
    if since is not None:
        table = table.filter(pc.greater_equal(at, pa.scalar(since, at.type)))
    if until is not None:
        table = table.filter(pc.less(table["at"], pa.scalar(until, at.type)))
    return fold_features(table.sort_by("at"), kind)


def frame_features(table: pa.Table, names: Sequence[str]) -> pd.DataFrame:
    """The features `names` of a table of predictions as a frame; what the log does not have is None in every row."""
    import pandas as pd

    features = table["features"].combine_chunks()
    known = {field.name for field in features.type}
    columns = {name: features.field(name).to_pandas() if name in known else None for name in names}
    return pd.DataFrame(columns, index=range(len(table)))


def find_span(folder: Path) -> tuple[datetime, datetime]:
    """The first and the last moment that predictions may have: whole days of partitions, records of segments.

    Raises ProjectError for an empty log.
    """
    kind = "prediction"
    days = [day for _, day in find_partitions(folder / kind)]
    moments = [datetime.combine(day, time.min, UTC) for day in days[:1]]
    moments += [datetime.combine(day, time.max, UTC) for day in days[-1:]]
    for path in find_segments(folder):
        at = [record["at"] for record in try_segment(path) or [] if record["kind"] == kind]
        moments += [datetime.fromtimestamp(value / 1e6, UTC) for value in (min(at), max(at))] if at else []
    if not moments:
        raise ProjectError(f"{folder} holds no predictions: expected a prediction log, as the server writes it.")
    return min(moments), max(moments)


def split_lines(data: bytes) -> tuple[list[Record], list[bytes]]:
    """The records of a segment's bytes, and the lines that are none, as they are."""
    records, damaged = [], []
    for line in data.split(b"\n"):
        record = parse_line(line)
        if record is not None:
            records.append(record)
        elif line:
            damaged.append(line + b"\n")
    return records, damaged


def parse_line(line: bytes) -> Record | None:
    """The record that a line says; None where the line is not whole or the record is of no kind."""
    text = line[9:]
    if line[:9] != b"%08x " % crc32(text):
        return None
    try:
        record = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) and is_record(record) else None


def is_record(record: Record) -> bool:
    """Whether it has a kind, a time, and the types of its kind."""
    columns, at = KINDS.get(str(record.get("kind"))), record.get("at")
    if columns is None or type(at) is not int or not 0 <= at < LAST:
        return False
    for name, column in columns.items():
        value = record.get(name)
        if value is not None and type(value) not in ACCEPTED[column]:
            return False
    return isinstance(record.get(FEATURES, {}), dict)


def find_segments(folder: Path) -> list[Path]:
    """The segments, oldest first, open ones too."""
    return sorted(path for path in (folder / SEGMENTS).glob("*") if path.suffix in {OPEN, SEALED})


def try_segment(path: Path) -> list[Record] | None:
    """A segment's records, also when it was sealed since it was found; None when it was compacted."""
    for name in (path, path.with_suffix(SEALED)):
        with suppress(FileNotFoundError):
            return read_segment(name)[0]
    return None


def find_partitions(folder: Path) -> list[tuple[Path, date]]:
    """A kind's partitions with their days, oldest first."""
    return [(path, date.fromisoformat(path.name[5:])) for path in sorted(folder.glob("date=????-??-??"))]


def find_files(folder: Path, since: datetime | None, until: datetime | None) -> Iterator[Path]:
    """A kind's Parquet files of the days between two moments, oldest first."""
    first = date.min if since is None else since.astimezone(UTC).date()
    last = date.max if until is None else until.astimezone(UTC).date()
    for path, day in find_partitions(folder):
        if first <= day <= last:
            yield from sorted(path.glob("*.parquet"))


def read_file(path: Path) -> list[pa.Table]:
    """A Parquet file with a column for each feature; none when it was pruned since it was found."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return [pq.ParquetFile(path).read().flatten()]
    except FileNotFoundError:
        return []
    except (pa.ArrowInvalid, OSError) as error:
        raise ProjectError(f"{path} is not a Parquet file of the prediction log ({error}).") from error


def build_table(records: list[Record], kind: str) -> pa.Table:
    """Records of one kind as a table with a column for each feature."""
    import pyarrow as pa

    known = KINDS[kind]
    names = dict.fromkeys(name for record in records for name in record if name not in {"kind", FEATURES, *known})
    columns = {name: fix_column((record.get(name) for record in records), column) for name, column in known.items()}
    columns |= {name: infer_column([record.get(name) for record in records]) for name in names}
    rows = [record.get(FEATURES) or {} for record in records]
    features = dict.fromkeys(name for row in rows for name in row)
    columns |= {PREFIX + name: infer_column([row.get(name) for row in rows]) for name in features}
    return pa.table(columns)


def fix_column(values: Iterable[Any], column: str) -> pa.Array:
    """A column whose type is known."""
    import pyarrow as pa

    if column == "time":
        return pa.array(values, pa.timestamp("us", "UTC"))
    if column == "double":
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array(values, pa.type_for_alias(column))


def infer_column(values: list[Any]) -> pa.Array:
    """A column of the narrowest of null, bool, int64, double, string that can say all its values."""
    import pyarrow as pa

    types = {type(value) for value in values} - {type(None)}
    if not types:
        return pa.nulls(len(values))
    if types == {bool}:
        return pa.array(values, pa.bool_())
    if types <= {bool, int, float}:
        if float not in types and all(value is None or SMALLEST <= value <= LARGEST for value in values):
            return pa.array([None if value is None else int(value) for value in values], pa.int64())
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([spell_value(value) for value in values], pa.string())


def spell_value(value: Any) -> str | None:
    """A value as text: texts as they are, all else as JSON."""
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


def merge_tables(tables: list[pa.Table], kind: str) -> pa.Table:
    """Tables under one another, with the columns of all; one that a table lacks is null there."""
    import pyarrow as pa

    tables = [build_table([], kind), *tables]
    names = dict.fromkeys(name for table in tables for name in table.column_names)
    ladder = [pa.null(), pa.bool_(), pa.int64(), pa.float64(), pa.string()]
    columns = {}
    for name in names:
        parts = [table[name] if name in table.column_names else pa.nulls(len(table)) for table in tables]
        types = {part.type for part in parts} - {pa.null()}
        type_ = max(types, key=ladder.index) if len(types) > 1 else next(iter(types), pa.null())
        chunks = [widen_column(part, type_) for part in parts]
        columns[name] = pa.chunked_array([chunk for part in chunks for chunk in getattr(part, "chunks", [part])], type_)
    return pa.table(columns)


def widen_column(column: Any, type_: pa.DataType) -> Any:
    """A column (an Array or a ChunkedArray) in a wider type."""
    import pyarrow as pa

    if column.type == type_:
        return column
    if type_ == pa.string() and column.type != pa.null():
        return pa.array([spell_value(value) for value in column.to_pylist()], type_)
    return column.cast(type_, safe=False)


def fold_features(table: pa.Table, kind: str) -> pa.Table:
    """The table with its features in one struct column, which a table of predictions always has."""
    import pyarrow as pa

    names = [name for name in table.column_names if name.startswith(PREFIX)]
    plain = table.drop_columns(names)
    if names:
        features = table.select(names).rename_columns([name.removeprefix(PREFIX) for name in names])
        return plain.append_column(FEATURES, features.to_struct_array())
    if kind == "prediction":
        return plain.append_column(FEATURES, pa.array([{}] * len(table), pa.struct([])))
    return plain
