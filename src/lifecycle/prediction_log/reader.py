"""Reading the prediction log: segments and Parquet files as tables of predictions, labels, actions and shadow predictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import orjson

from lifecycle.core.errors import ProjectError
from lifecycle.core.records import Record
from lifecycle.prediction_log.writer import FORMAT, FORMAT_FILE, OPEN, SEALED, SEGMENTS

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# The fields of each kind of record, apart from a prediction's features and further fields of the server; missing ones are null.
KINDS = {
    "prediction": {
        "id": "string",
        "at": "time",
        "model": "string",
        "probability": "double",
        "prediction": "string",
        "degraded": "bool",
        "entity": "string",
        "control": "bool",
    },
    "feedback": {"id": "string", "at": "time", "label": "string"},
    "action": {"id": "string", "at": "time", "action": "string"},
    "shadow": {"id": "string", "at": "time", "model": "string", "probability": "double"},
}
_ACCEPTED = {"string": (str,), "time": (int,), "double": (float, int), "bool": (bool,)}
FEATURES = "features"
_PREFIX = f"{FEATURES}."
_LAST = 253_402_300_800_000_000  # the year 10000, in microseconds
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


def read_segment(path: Path) -> tuple[list[Record], int]:
    """Return a segment's records in the order of writing, and the number of damaged lines: torn, altered or unknown.

    Raises FileNotFoundError when there is no such file.
    """
    records, damaged = split_lines(path.read_bytes())
    return records, len(damaged)


def read_predictions(
    folder: Path, kind: str = "prediction", since: datetime | None = None, until: datetime | None = None
) -> pa.Table:
    """Return all records of a kind from `since` on and before `until`, sorted by `at`, then by the time of writing.

    Segments that are not compacted yet are included. `at` is timestamp[us, UTC]; `features` (predictions only) is a struct.
    When files disagree, a column has the widest of the types null, bool, int64, double, string. Raises ProjectError for an
    unknown kind, a time without a zone, a broken file, and a log of another format.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind not in KINDS:
        raise ProjectError(f"The prediction log has no kind {kind!r}, expected one of {', '.join(KINDS)}.")
    for moment in (since, until):
        if moment is not None and moment.tzinfo is None:
            raise ProjectError(f"{moment} has no time zone.")
    _check_format(folder)
    parts: dict[str, list[pa.Table]] = {}
    for path in find_segments(folder):
        records = _try_segment(path)
        if records is not None:
            parts[path.stem] = [build_table([record for record in records if record["kind"] == kind], kind)]
    seen = set(parts)
    # Files are listed after the segments, so that a segment that was compacted in the meantime is found here.
    for path in _find_files(folder / kind, since, until):
        if path.stem not in seen:
            parts.setdefault(path.stem, []).extend(_read_file(path))
    table = _merge_tables([table for name in sorted(parts) for table in parts[name]], kind)
    at = table["at"]
    if since is not None:
        table = table.filter(pc.greater_equal(at, pa.scalar(since, at.type)))
    if until is not None:
        table = table.filter(pc.less(table["at"], pa.scalar(until, at.type)))
    return fold_features(table.sort_by("at"), kind)


def frame_features(table: pa.Table, names: Sequence[str]) -> pd.DataFrame:
    """Return the features `names` of a table of predictions as a frame; an unknown feature is None in every row."""
    import pandas as pd

    features = table["features"].combine_chunks()
    known = {field.name for field in features.type}
    columns = {name: features.field(name).to_pandas() if name in known else None for name in names}
    return pd.DataFrame(columns, index=range(len(table)))


def find_span(folder: Path) -> tuple[datetime, datetime]:
    """Return the earliest and the latest time that predictions may have: whole days of partitions, records of segments.

    Raises ProjectError for an empty log, and for one of another format.
    """
    _check_format(folder)
    kind = "prediction"
    days = [day for _, day in find_partitions(folder / kind)]
    moments = [datetime.combine(day, time.min, UTC) for day in days[:1]]
    moments += [datetime.combine(day, time.max, UTC) for day in days[-1:]]
    for path in find_segments(folder):
        at = [record["at"] for record in _try_segment(path) or [] if record["kind"] == kind]
        moments += [datetime.fromtimestamp(value / 1e6, UTC) for value in (min(at), max(at))] if at else []
    if not moments:
        raise ProjectError(f"{folder} has no predictions: expected a prediction log written by the server.")
    return min(moments), max(moments)


def _check_format(folder: Path) -> None:
    """Raise ProjectError for a log of another format; a folder without records has none yet."""
    path = folder / FORMAT_FILE
    found = path.read_text(encoding="utf-8").strip() if path.is_file() else None
    if found == str(FORMAT) or (found is None and not any((folder / name).is_dir() for name in (SEGMENTS, *KINDS))):
        return
    raise ProjectError(
        f"{folder} has the format {found or 'of an earlier version'}, expected {FORMAT}: run `lifecycle upgrade`."
    )


def split_lines(data: bytes) -> tuple[list[Record], list[bytes]]:
    """Return the records in a segment's bytes, and its damaged lines unchanged."""
    records, damaged = [], []
    for line in data.split(b"\n"):
        record = _parse_line(line)
        if record is not None:
            records.append(record)
        elif line:
            damaged.append(line + b"\n")
    return records, damaged


def _parse_line(line: bytes) -> Record | None:
    """Return the record of a line; None when the line is damaged or the record is of an unknown kind."""
    text = line[9:]
    if line[:9] != b"%08x " % crc32(text):
        return None
    try:
        record = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) and _is_record(record) else None


def _is_record(record: Record) -> bool:
    """Return whether a record has a known kind, a valid time and fields of the right types."""
    columns, at = KINDS.get(str(record.get("kind"))), record.get("at")
    if columns is None or type(at) is not int or not 0 <= at < _LAST:
        return False
    for name, column in columns.items():
        value = record.get(name)
        if value is not None and type(value) not in _ACCEPTED[column]:
            return False
    return isinstance(record.get(FEATURES, {}), dict)


def find_segments(folder: Path) -> list[Path]:
    """Return the segments, oldest first, including open ones."""
    return sorted(path for path in (folder / SEGMENTS).glob("*") if path.suffix in {OPEN, SEALED})


def _try_segment(path: Path) -> list[Record] | None:
    """Return a segment's records, also when it was sealed since it was listed; None when it was compacted."""
    for name in (path, path.with_suffix(SEALED)):
        with suppress(FileNotFoundError):
            return read_segment(name)[0]
    return None


def find_partitions(folder: Path) -> list[tuple[Path, date]]:
    """Return a kind's partitions with their days, oldest first."""
    return [(path, date.fromisoformat(path.name[5:])) for path in sorted(folder.glob("date=????-??-??"))]


def _find_files(folder: Path, since: datetime | None, until: datetime | None) -> Iterator[Path]:
    """Yield a kind's Parquet files of the days between two times, oldest first."""
    first = date.min if since is None else since.astimezone(UTC).date()
    last = date.max if until is None else until.astimezone(UTC).date()
    for path, day in find_partitions(folder):
        if first <= day <= last:
            yield from sorted(path.glob("*.parquet"))


def _read_file(path: Path) -> list[pa.Table]:
    """Return a Parquet file with a column for each feature, in a list; an empty list when it was pruned."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return [pq.ParquetFile(path).read().flatten()]
    except FileNotFoundError:
        return []
    except (pa.ArrowInvalid, OSError) as error:
        raise ProjectError(f"{path} is not a Parquet file of the prediction log ({error}).") from error


def build_table(records: list[Record], kind: str) -> pa.Table:
    """Return records of one kind as a table with a column for each feature."""
    import pyarrow as pa

    known = KINDS[kind]
    names = dict.fromkeys(name for record in records for name in record if name not in {"kind", FEATURES, *known})
    columns = {name: _fix_column((record.get(name) for record in records), column) for name, column in known.items()}
    columns |= {name: _infer_column([record.get(name) for record in records]) for name in names}
    rows = [record.get(FEATURES) or {} for record in records]
    features = dict.fromkeys(name for row in rows for name in row)
    columns |= {_PREFIX + name: _infer_column([row.get(name) for row in rows]) for name in features}
    return pa.table(columns)


def _fix_column(values: Iterable[Any], column: str) -> pa.Array:
    """Return a column of a known type."""
    import pyarrow as pa

    if column == "time":
        return pa.array(values, pa.timestamp("us", "UTC"))
    if column == "double":
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array(values, pa.type_for_alias(column))


def _infer_column(values: list[Any]) -> pa.Array:
    """Return a column of the narrowest of the types null, bool, int64, double, string that holds all values."""
    import pyarrow as pa

    types = {type(value) for value in values} - {type(None)}
    if not types:
        return pa.nulls(len(values))
    if types == {bool}:
        return pa.array(values, pa.bool_())
    if types <= {bool, int, float}:
        if float not in types and all(value is None or _SMALLEST <= value <= _LARGEST for value in values):
            return pa.array([None if value is None else int(value) for value in values], pa.int64())
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([_spell_value(value) for value in values], pa.string())


def _spell_value(value: Any) -> str | None:
    """Return a value as text: strings unchanged, other values as JSON."""
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


def _merge_tables(tables: list[pa.Table], kind: str) -> pa.Table:
    """Concatenate tables with the columns of all; a column that a table lacks is null there."""
    import pyarrow as pa

    tables = [build_table([], kind), *tables]
    names = dict.fromkeys(name for table in tables for name in table.column_names)
    ladder = [pa.null(), pa.bool_(), pa.int64(), pa.float64(), pa.string()]
    columns = {}
    for name in names:
        parts = [table[name] if name in table.column_names else pa.nulls(len(table)) for table in tables]
        types = {part.type for part in parts} - {pa.null()}
        type_ = max(types, key=ladder.index) if len(types) > 1 else next(iter(types), pa.null())
        chunks = [_widen_column(part, type_) for part in parts]
        columns[name] = pa.chunked_array([chunk for part in chunks for chunk in getattr(part, "chunks", [part])], type_)
    return pa.table(columns)


def _widen_column(column: Any, type_: pa.DataType) -> Any:
    """Return a column (an Array or a ChunkedArray) as a wider type."""
    import pyarrow as pa

    if column.type == type_:
        return column
    if type_ == pa.string() and column.type != pa.null():
        return pa.array([_spell_value(value) for value in column.to_pylist()], type_)
    return column.cast(type_, safe=False)


def fold_features(table: pa.Table, kind: str) -> pa.Table:
    """Return the table with its features in one struct column, which a table of predictions always has."""
    import pyarrow as pa

    names = [name for name in table.column_names if name.startswith(_PREFIX)]
    plain = table.drop_columns(names)
    if names:
        features = table.select(names).rename_columns([name.removeprefix(_PREFIX) for name in names])
        return plain.append_column(FEATURES, features.to_struct_array())
    if kind == "prediction":
        return plain.append_column(FEATURES, pa.array([{}] * len(table), pa.struct([])))
    return plain
